/* What the built-in roles may. */
#include "access/privilege.h"

#include "base/mem.h"
#include "base/strv.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

/* A role, and what it may: names with a star at the end stand for all that begin so; "-NAME" takes away. */
static const struct {
    const char *role, *may;
} roles[] = {
    {"Administrator", "*"},
    {"NoAccess", ""},
    {"PVEAdmin",
     "* -Sys.Modify -Sys.PowerMgmt -Sys.Incoming -Realm.Allocate -Permissions.Modify -Mapping.Modify"},
    {"PVEAuditor",
     "VM.Audit VM.GuestAgent.Audit Sys.Audit Datastore.Audit Pool.Audit SDN.Audit Mapping.Audit"},
    {"PVEVMAdmin", "VM.*"},
    {"PVEVMUser",
     "VM.Audit VM.Backup VM.Console VM.PowerMgmt VM.Config.CDROM VM.Config.Cloudinit VM.GuestAgent.*"},
    {"PVETemplateUser", "VM.Audit VM.Clone"},
    {"PVEDatastoreAdmin", "Datastore.*"},
    {"PVEDatastoreUser", "Datastore.AllocateSpace Datastore.Audit"},
    {"PVEPoolAdmin", "Pool.*"},
    {"PVEPoolUser", "Pool.Audit"},
    {"PVESysAdmin", "Sys.Audit Sys.Console Sys.Syslog"},
    {"PVEUserAdmin", "User.* Group.* Realm.AllocateUser"},
    {"PVEMappingAdmin", "Mapping.*"},
    {"PVEMappingAuditor", "Mapping.Audit"},
    {"PVEMappingUser", "Mapping.Audit Mapping.Use"},
    {"PVESDNAdmin", "SDN.*"},
    {"PVESDNUser", "SDN.Audit SDN.Use"},
};

static bool is_meant(const char *word, const char *name)
{
    size_t n = strlen(word);
    return n && word[n - 1] == '*' ? strncmp(word, name, n - 1) == 0 : strcmp(word, name) == 0;
}

static bool should_have(const char *may, const char *name)
{
    _cleanup_strv_ struct strv words = STRV_INIT;
    strv_split(&words, may, " ");
    bool has = false;
    for (size_t i = 0; i < words.n; i++) {
        bool minus = *words.v[i] == '-';
        if (is_meant(words.v[i] + minus, name))
            has = !minus;
    }
    return has;
}

static void test_roles(void **state)
{
    (void)state;
    for (size_t i = 0; i < ELEMENTS(roles); i++) {
        privileges may;
        assert_true(role_built_in(roles[i].role, &may));
        for (size_t p = 0; p < PRIVILEGES; p++)
            if (should_have(roles[i].may, privilege_name(p)) != ((may >> p & 1) != 0))
                fail_msg("%s %s", roles[i].role, privilege_name(p));
        assert_int_equal(may & ~PRIVILEGES_ALL, 0);
    }
    size_t n = 0;
    while (role_built_in_name(n))
        n++;
    assert_int_equal(n, ELEMENTS(roles));
    privileges may;
    assert_false(role_built_in("administrator", &may));
    assert_false(role_built_in("", &may));
}

static void test_names(void **state)
{
    (void)state;
    static const char *const needed[] = {
        "VM.Audit",  "VM.Replicate", "VM.Backup",       "VM.Migrate",     "VM.PowerMgmt",     "VM.Snapshot",
        "Sys.Audit", "Sys.Modify",   "Datastore.Audit", "VM.Config.Disk", "VM.Config.Options"};
    enum privilege p;
    for (size_t i = 0; i < ELEMENTS(needed); i++) {
        assert_true(privilege_parse(needed[i], &p));
        assert_string_equal(privilege_name(p), needed[i]);
    }
    assert_true(privilege_parse("VM.Config.Disk", &p));
    assert_int_equal(p, PRIV_VM_Config_Disk);
    assert_false(privilege_parse("VM_Config_Disk", &p));
    assert_false(privilege_parse("", &p));
    assert_true(privileges_have_all(PRIV(VM_Audit) | PRIV(VM_Backup), PRIV(VM_Audit)));
    assert_false(privileges_have_all(PRIV(VM_Audit), PRIV(VM_Audit) | PRIV(VM_Backup)));
    assert_true(privileges_have_any(PRIV(VM_Audit), PRIV(VM_Audit) | PRIV(VM_Backup)));
    assert_false(privileges_have_any(PRIV(VM_Audit), PRIV(VM_Backup)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_roles), cmocka_unit_test(test_names)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
