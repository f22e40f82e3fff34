/* What names may look like: tables. */
#include "volume/name.h"
#include "volume/traits.h"

#include "base/mem.h"
#include "volume/volume.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void test_volumes(void **state)
{
    static const struct {
        const char *name;
        uint32_t owner;
        bool valid, dir; /* may a driver be asked for it; that of `dir`? */
    } cases[] = {
        {"vm-100-disk-0", 100, true, false},
        {"base-100-disk-0", 100, true, false},
        {"subvol-100-disk-0", 100, true, false},
        {"basevol-100-disk-0", 100, true, false},
        {"vm-999999999-state-s_1", 999999999, true, false},
        {"vm-100-cloudinit", 100, true, false},
        {"base-9-disk-0/vm-100-disk-0", 100, true, false},
        {"basevol-9-disk-0/subvol-100-disk-0", 100, true, false},
        {"base-9-disk-0.raw/vm-100-disk-0.raw", 100, true, false},
        {"100/vm-100-disk-0.raw", 100, true, true},
        {"100/vm-100-disk-0.qcow2", 100, true, true},
        {"100/base-100-disk-0.raw", 100, true, true},
        {"100/vm-100-disk-0.vmdk", 100, true, false},
        {"100/subvol-100-disk-0", 100, true, false},
        {"100/subvol-100-disk-0.subvol", 100, true, false},
        {"9/base-9-disk-0.raw/100/vm-100-disk-0.qcow2", 100, false, false},
        {"", 0, false, false},
        {"/", 0, false, false},
        {"vm-100", 0, false, false},
        {"vm-100-", 0, false, false},
        {"vm--disk-0", 0, false, false},
        {"vm-0100-disk-0", 0, false, false},
        {"vm-1000000000-disk-0", 0, false, false},
        {"vm-100-disk-0@snap", 0, false, false},
        {"vm-100-disk 0", 0, false, false},
        {"xvm-100-disk-0", 0, false, false},
        {"image-100-disk-0", 0, false, false},
        {"vm-100x-disk-0", 0, false, false},
        {"101/vm-100-disk-0.raw", 0, false, false},
        {"100/vm-101-disk-0.raw", 0, false, false},
        {"0100/vm-100-disk-0.raw", 0, false, false},
        {"0100/vm-0100-disk-0.raw", 0, false, false},
        {"99999999999/vm-99999999999-a.raw", 0, false, false},
        {"100/mine.raw", 0, false, false},
        {"100/vm-100-", 0, false, false},
        {"100/vm-100-a/b.raw", 0, false, false},
        {"100/vm-100-a@b.raw", 0, false, false},
        {"100/vm-100-a b.raw", 0, false, false},
        {"100/vm-100-a\n.raw", 0, false, false},
        {"100/.pvesr.vm-100-disk-0.raw", 0, false, false},
        {"100/100/vm-100-disk-0.raw", 0, false, false},
        {"../vm-100-disk-0", 0, false, false},
        {"../100/vm-100-disk-0.raw", 0, false, false},
        {"./vm-100-disk-0", 0, false, false},
        {"/vm-100-disk-0", 0, false, false},
        {"/vm-100-a.raw", 0, false, false},
        {"100//vm-100-disk-0", 0, false, false},
        {"100/../vm-100-disk-0.raw", 0, false, false},
        {"100/../100/vm-100-disk-0.raw", 0, false, false},
        {"vm-9-disk-0/vm-100-disk-0", 0, false, false},
        {"base-9/vm-100-disk-0", 0, false, false},
        {"base-9-disk-0/../vm-100-disk-0", 0, false, false},
        {"base-9-disk-0/vm-100-disk-0/vm-100-disk-0", 0, false, false},
        {"9/base-8-disk-0.raw/100/vm-100-disk-0.qcow2", 0, false, false},
        {"9/base-9-disk-0.raw/101/vm-100-disk-0.qcow2", 0, false, false},
        {"iso/vm-100-disk-0.iso", 0, false, false},
        {"a/b/c/d/vm-100-disk-0", 0, false, false},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        const char *name = cases[i].name, *file = NULL;
        uint32_t id = 0;
        bool valid = volume_name_valid(name, &id, &file);
        if (volume_name_owner(name) != cases[i].owner || valid != cases[i].valid ||
            volume_type_supported("dir", name) != cases[i].dir)
            fail_msg("'%s': owner %u, %svalid", name, volume_name_owner(name), valid ? "" : "not ");
        if (valid && (id != cases[i].owner || strchr(file, '/') || !strstr(name, file)))
            fail_msg("'%s': %u, '%s'", name, id, file);
    }
    assert_false(volume_type_supported("nfs", "100/vm-100-disk-0.raw"));
}

/* One that is too long for a file has an owner all the same. */
static void test_long_volumes(void **state)
{
    char name[2 * VOLUME_FILE_MAX] = "vm-100-";
    memset(name + 7, 'x', VOLUME_FILE_MAX - 7);
    assert_true(volume_name_valid(name, NULL, NULL));
    strcat(name, "x");
    assert_false(volume_name_valid(name, NULL, NULL));
    assert_int_equal(volume_name_owner(name), 100);
}

static void test_snapshots(void **state)
{
    static const struct {
        const char *name;
        bool valid, portable;
    } cases[] = {
        {"a", true, true},
        {"_", true, true},
        {"__replicate_100-0_1700000000__", true, true},
        {TEMPLATE_SNAPSHOT, true, true},
        {ASIDE_PREFIX "100-0_1700000000", true, true},
        {"before-Upgrade_2", true, true},
        {"123456789012345678901234567890123456789012345678901234567890123", true, false},
        {"a23456789012345678901234567890123456789012345678901234567890123", true, true},
        {"a234567890123456789012345678901234567890123456789012345678901234", false, false},
        {"autosnap_2026-01-01_00:00:00_daily", true, false},
        {"2026.01.01", true, false},
        {"v1.2", true, false},
        {"", false, false},
        {"-a", false, false},
        {".a", false, false},
        {"..", false, false},
        {":a", false, false},
        {"a/b", false, false},
        {"a@b", false, false},
        {"a b", false, false},
        {"a\n", false, false},
        {"a\303\244", false, false},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++)
        if (snapshot_name_valid(cases[i].name) != cases[i].valid ||
            snapshot_name_portable(cases[i].name) != cases[i].portable)
            fail_msg("'%s'", cases[i].name);
}

/* A storage may hold whatever a peer may name. */
static void test_alphabets(void **state)
{
    for (int first = 1; first < 256; first++) {
        for (int second = 1; second < 256; second++) {
            const char name[] = {(char)first, (char)second, 0};
            if (snapshot_name_portable(name) && !snapshot_name_valid(name))
                fail_msg("'%s' can be named, but not be", name);
        }
    }
}

static void test_ids(void **state)
{
    assert_true(snapshot_id_valid("0123456789abcdef0123456789abcdef"));
    assert_false(snapshot_id_valid("0123456789abcdef0123456789abcde"));
    assert_false(snapshot_id_valid("0123456789abcdef0123456789abcdef0"));
    assert_false(snapshot_id_valid("0123456789ABCDEF0123456789abcdef"));
    assert_false(snapshot_id_valid("0123456789abcdeg0123456789abcdef"));
    assert_false(snapshot_id_valid(""));
}

/* They become arguments of programs. */
static void test_traits(void **state)
{
    static const struct {
        const char *text;
        bool valid;
    } cases[] = {
        {"refreservation=auto", true},
        {"compression=zstd-3", true},
        {"limit=5368709120", true},
        {"redundant_metadata=most", true},
        {"=x", false},
        {"x", false},
        {"x=", false},
        {"-o=x", false},
        {"x=-r", false},
        {"x=a b", false},
        {"x=/etc", false},
        {"x:y=z", false},
        {"X=y", false},
        {"x=y\n", false},
        {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa=b", false},
    };
    _cleanup_strv_ struct strv all = STRV_INIT;
    for (size_t i = 0; i < ELEMENTS(cases); i++)
        if (trait_valid(cases[i].text) != cases[i].valid)
            fail_msg("'%s' is %svalid", cases[i].text, cases[i].valid ? "not " : "");
    strv_adds(&all, "quota=1", "refquota=2", NULL);
    assert_string_equal(trait_value(&all, "quota"), "1");
    assert_null(trait_value(&all, "quot"));
    trait_remove(&all, "quota");
    assert_int_equal(all.n, 1);
    assert_string_equal(trait_value(&all, "refquota"), "2");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_volumes),   cmocka_unit_test(test_long_volumes),
        cmocka_unit_test(test_snapshots), cmocka_unit_test(test_alphabets),
        cmocka_unit_test(test_ids),       cmocka_unit_test(test_traits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
