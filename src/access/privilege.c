#include "access/privilege.h"

#include "base/mem.h"

#include <string.h>

_Static_assert(PRIVILEGES <= 60, "the upper bits of a set are used for other things");

static const char *const names[] = {
#define PRIVILEGE_TEXT(name, text) [PRIV_##name] = text,
    PRIVILEGE_NAMES(PRIVILEGE_TEXT)
#undef PRIVILEGE_TEXT
};

#define VM_CONFIG                                                                                            \
    (PRIV(VM_Config_CDROM) | PRIV(VM_Config_CPU) | PRIV(VM_Config_Cloudinit) | PRIV(VM_Config_Disk) |        \
     PRIV(VM_Config_HWType) | PRIV(VM_Config_Memory) | PRIV(VM_Config_Network) | PRIV(VM_Config_Options))
#define VM_GUEST_AGENT                                                                                       \
    (PRIV(VM_GuestAgent_Audit) | PRIV(VM_GuestAgent_FileRead) | PRIV(VM_GuestAgent_FileSystemMgmt) |         \
     PRIV(VM_GuestAgent_FileWrite) | PRIV(VM_GuestAgent_Unrestricted))
#define VM_ALL                                                                                               \
    (VM_CONFIG | VM_GUEST_AGENT | PRIV(VM_Allocate) | PRIV(VM_Audit) | PRIV(VM_Backup) | PRIV(VM_Clone) |    \
     PRIV(VM_Console) | PRIV(VM_Migrate) | PRIV(VM_Monitor) | PRIV(VM_PowerMgmt) | PRIV(VM_Replicate) |      \
     PRIV(VM_Snapshot) | PRIV(VM_Snapshot_Rollback))
#define AUDIT                                                                                                \
    (PRIV(Datastore_Audit) | PRIV(Mapping_Audit) | PRIV(Pool_Audit) | PRIV(SDN_Audit) | PRIV(Sys_Audit) |    \
     PRIV(VM_Audit) | PRIV(VM_GuestAgent_Audit))
#define NOT_ADMIN                                                                                            \
    (PRIV(Sys_Modify) | PRIV(Sys_PowerMgmt) | PRIV(Sys_Incoming) | PRIV(Realm_Allocate) |                    \
     PRIV(Permissions_Modify) | PRIV(Mapping_Modify))

static const struct {
    const char *name;
    privileges may;
} roles[] = {
    {"Administrator", PRIVILEGES_ALL},
    {ROLE_NO_ACCESS, 0},
    {"PVEAdmin", PRIVILEGES_ALL & ~NOT_ADMIN},
    {"PVEAuditor", AUDIT},
    {"PVEDatastoreAdmin", PRIV(Datastore_Allocate) | PRIV(Datastore_AllocateSpace) |
                              PRIV(Datastore_AllocateTemplate) | PRIV(Datastore_Audit)},
    {"PVEDatastoreUser", PRIV(Datastore_AllocateSpace) | PRIV(Datastore_Audit)},
    {"PVEMappingAdmin", PRIV(Mapping_Audit) | PRIV(Mapping_Modify) | PRIV(Mapping_Use)},
    {"PVEMappingAuditor", PRIV(Mapping_Audit)},
    {"PVEMappingUser", PRIV(Mapping_Audit) | PRIV(Mapping_Use)},
    {"PVEPoolAdmin", PRIV(Pool_Allocate) | PRIV(Pool_Audit)},
    {"PVEPoolUser", PRIV(Pool_Audit)},
    {"PVESDNAdmin", PRIV(SDN_Allocate) | PRIV(SDN_Audit) | PRIV(SDN_Use)},
    {"PVESDNUser", PRIV(SDN_Audit) | PRIV(SDN_Use)},
    {"PVESysAdmin", PRIV(Sys_Audit) | PRIV(Sys_Console) | PRIV(Sys_Syslog)},
    {"PVETemplateUser", PRIV(VM_Audit) | PRIV(VM_Clone)},
    {"PVEUserAdmin", PRIV(Group_Allocate) | PRIV(Realm_AllocateUser) | PRIV(User_Modify)},
    {"PVEVMAdmin", VM_ALL},
    {"PVEVMUser", VM_GUEST_AGENT | PRIV(VM_Audit) | PRIV(VM_Backup) | PRIV(VM_Console) | PRIV(VM_PowerMgmt) |
                      PRIV(VM_Config_CDROM) | PRIV(VM_Config_Cloudinit)},
};

const char *privilege_name(enum privilege p)
{
    return names[p];
}

bool privilege_parse(const char *name, enum privilege *ret)
{
    for (size_t i = 0; i < PRIVILEGES; i++)
        if (strcmp(names[i], name) == 0) {
            *ret = (enum privilege)i;
            return true;
        }
    return false;
}

bool role_built_in(const char *name, privileges *ret)
{
    for (size_t i = 0; i < ELEMENTS(roles); i++)
        if (strcmp(roles[i].name, name) == 0) {
            *ret = roles[i].may;
            return true;
        }
    return false;
}

const char *role_built_in_name(size_t i)
{
    return i < ELEMENTS(roles) ? roles[i].name : NULL;
}
