/* Privileges and roles, as Proxmox VE names them (BEHAVIOUR.md#privileges). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PRIVILEGE_NAMES(P)                                                                                   \
    P(Datastore_Allocate, "Datastore.Allocate")                                                              \
    P(Datastore_AllocateSpace, "Datastore.AllocateSpace")                                                    \
    P(Datastore_AllocateTemplate, "Datastore.AllocateTemplate")                                              \
    P(Datastore_Audit, "Datastore.Audit")                                                                    \
    P(Group_Allocate, "Group.Allocate")                                                                      \
    P(Mapping_Audit, "Mapping.Audit")                                                                        \
    P(Mapping_Modify, "Mapping.Modify")                                                                      \
    P(Mapping_Use, "Mapping.Use")                                                                            \
    P(Permissions_Modify, "Permissions.Modify")                                                              \
    P(Pool_Allocate, "Pool.Allocate")                                                                        \
    P(Pool_Audit, "Pool.Audit")                                                                              \
    P(Realm_Allocate, "Realm.Allocate")                                                                      \
    P(Realm_AllocateUser, "Realm.AllocateUser")                                                              \
    P(SDN_Allocate, "SDN.Allocate")                                                                          \
    P(SDN_Audit, "SDN.Audit")                                                                                \
    P(SDN_Use, "SDN.Use")                                                                                    \
    P(Sys_AccessNetwork, "Sys.AccessNetwork")                                                                \
    P(Sys_Audit, "Sys.Audit")                                                                                \
    P(Sys_Console, "Sys.Console")                                                                            \
    P(Sys_Incoming, "Sys.Incoming")                                                                          \
    P(Sys_Modify, "Sys.Modify")                                                                              \
    P(Sys_PowerMgmt, "Sys.PowerMgmt")                                                                        \
    P(Sys_Syslog, "Sys.Syslog")                                                                              \
    P(User_Modify, "User.Modify")                                                                            \
    P(VM_Allocate, "VM.Allocate")                                                                            \
    P(VM_Audit, "VM.Audit")                                                                                  \
    P(VM_Backup, "VM.Backup")                                                                                \
    P(VM_Clone, "VM.Clone")                                                                                  \
    P(VM_Config_CDROM, "VM.Config.CDROM")                                                                    \
    P(VM_Config_CPU, "VM.Config.CPU")                                                                        \
    P(VM_Config_Cloudinit, "VM.Config.Cloudinit")                                                            \
    P(VM_Config_Disk, "VM.Config.Disk")                                                                      \
    P(VM_Config_HWType, "VM.Config.HWType")                                                                  \
    P(VM_Config_Memory, "VM.Config.Memory")                                                                  \
    P(VM_Config_Network, "VM.Config.Network")                                                                \
    P(VM_Config_Options, "VM.Config.Options")                                                                \
    P(VM_Console, "VM.Console")                                                                              \
    P(VM_GuestAgent_Audit, "VM.GuestAgent.Audit")                                                            \
    P(VM_GuestAgent_FileRead, "VM.GuestAgent.FileRead")                                                      \
    P(VM_GuestAgent_FileSystemMgmt, "VM.GuestAgent.FileSystemMgmt")                                          \
    P(VM_GuestAgent_FileWrite, "VM.GuestAgent.FileWrite")                                                    \
    P(VM_GuestAgent_Unrestricted, "VM.GuestAgent.Unrestricted")                                              \
    P(VM_Migrate, "VM.Migrate")                                                                              \
    P(VM_Monitor, "VM.Monitor")                                                                              \
    P(VM_PowerMgmt, "VM.PowerMgmt")                                                                          \
    P(VM_Replicate, "VM.Replicate")                                                                          \
    P(VM_Snapshot, "VM.Snapshot")                                                                            \
    P(VM_Snapshot_Rollback, "VM.Snapshot.Rollback")

enum privilege {
#define PRIVILEGE_ENUM(name, text) PRIV_##name,
    PRIVILEGE_NAMES(PRIVILEGE_ENUM)
#undef PRIVILEGE_ENUM
        PRIVILEGES
};

typedef uint64_t privileges; /* a set of them: bit 1 << enum privilege */

/* PRIV(VM_Audit) | PRIV(VM_Replicate) */
#define PRIV(name) ((privileges)1 << PRIV_##name)
#define PRIVILEGES_ALL (((privileges)1 << PRIVILEGES) - 1)

static inline bool privileges_have_all(privileges set, privileges wanted)
{
    return (set & wanted) == wanted;
}

static inline bool privileges_have_any(privileges set, privileges wanted)
{
    return (set & wanted) != 0;
}

/* "VM.Audit". */
const char *privilege_name(enum privilege p);
/* False: not known. */
bool privilege_parse(const char *name, enum privilege *ret);

/* The role that takes everything away: it has no privilege, but where it is given nothing else counts. */
#define ROLE_NO_ACCESS "NoAccess"

/* What a built-in role may; 0 for NoAccess. False: no built-in role has this name. */
bool role_built_in(const char *name, privileges *ret);
/* The i-th of them; NULL: no more. */
const char *role_built_in_name(size_t i);
