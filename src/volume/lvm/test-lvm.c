/* The parts of the lvmthin driver that need no device mapper. */
#include "volume/lvm/lvm.h"

#include "base/mem.h"
#include "volume/mark.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#define ID "0123456789abcdef0123456789abcdef"
#define OTHER "fedcba9876543210fedcba9876543210"

static struct err err;

static void test_marks(void **state)
{
    static const char *const owners[] = {"",      "100-0",   "a/b&c,d",
                                         "x=y@z", "~`!%^*|", "1234567890123456789012345678901"};
    static const char *const names[] = {"s", "__replicate_100-0_1700000000__",
                                        "a:b-c.d_e012345678901234567890123456789012345678901234567890"};
    for (size_t i = 0; i < ELEMENTS(owners) * ELEMENTS(names); i++) {
        struct lvm_mark mark = {.seq = i << 40, .flags = i % 2}, back;
        char tag[LVM_TAG_MAX];
        strcpy(mark.m.snapshot, names[i % ELEMENTS(names)]);
        strcpy(mark.m.owner, owners[i / ELEMENTS(names)]);
        strcpy(mark.m.id, ID);
        strcpy(mark.m.base_id, i % 3 ? OTHER : "");
        mark.m.created = (int64_t)i - 3;
        mark.m.size = INT64_MAX;
        mark.m.offset = INT64_MAX - i;
        mark.m.sealed = i % 5 == 0;
        if (i % 2) {
            strcpy(mark.volume, "vm-100-disk-0");
            strcpy(mark.was, names[(i + 1) % ELEMENTS(names)]);
        }
        lvm_mark_print(&mark, tag);
        /* what LVM takes in a tag */
        assert_int_equal(tag[strspn(tag, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
                                         "_+.-/=!:#&")],
                         0);
        if (!lvm_mark_parse(tag, &back))
            fail_msg("%s", tag);
        assert_memory_equal(&mark, &back, sizeof mark);
    }
}

static void test_hostile_marks(void **state)
{
    static const struct {
        const char *tag;
        bool fine;
    } cases[] = {
        {"pvesr=1/s/" ID "/-/100-0/5/4096/0/0/9/1", true},
        {"pvesr=1/s/" ID "//100-0/5/4096/0/0/9/1", true},
        {"pvesr=2/s/" ID "/-/100-0/5/4096/0/0/9/1", false},
        {"pvesr=1/s/" ID "/-/100-0/5/4096/0/0/9", false},
        {"pvesr=1/s/" ID "/-/100-0/5/4096/0/0/9/1/1", false},
        {"pvesr=2/s/" ID "/-/100-0/5/4096/0/0/9/1/vm-100-disk-0/-", true},
        {"pvesr=2/s/" ID "/-/100-0/5/4096/0/0/9/1/vm-100-disk-0/r", true},
        {"pvesr=1/s/" ID "/-/100-0/5/4096/0/0/9/1/vm-100-disk-0/-", false},
        {"pvesr=2/s/" ID "/-/100-0/5/4096/0/0/9/1/vm-100-disk-0", false},
        {"pvesr=2/s/" ID "/-/100-0/5/4096/0/0/9/1/vm-100-disk-0/-/-", false},
        {"pvesr=2/s/" ID "/-/100-0/5/4096/0/0/9/1/disk/-", false},
        {"pvesr=2/s/" ID "/-/100-0/5/4096/0/0/9/1/-/-", false},
        {"pvesr=1/-/" ID "/-/100-0/5/4096/0/0/9/1", false},
        {"pvesr=1/a&2fb/" ID "/-/100-0/5/4096/0/0/9/1", false},
        {"pvesr=1/s&00/" ID "/-/100-0/5/4096/0/0/9/1", false},
        {"pvesr=1/s&0/" ID "/-/100-0/5/4096/0/0/9/1", false},
        {"pvesr=1/s&/" ID "/-/100-0/5/4096/0/0/9/1", false},
        {"pvesr=1/s/" ID "0/-/100-0/5/4096/0/0/9/1", false},
        {"pvesr=1/s/../-/100-0/5/4096/0/0/9/1", false},
        {"pvesr=1/s/" ID "/x/100-0/5/4096/0/0/9/1", false},
        {"pvesr=1/s/" ID "/-/12345678901234567890123456789012/5/4096/0/0/9/1", false},
        {"pvesr=1/s/" ID "/-/100-0/5/4096/4097/0/9/1", false},
        {"pvesr=1/s/" ID "/-/100-0/5/-1/0/0/9/1", false},
        {"pvesr=1/s/" ID "/-/100-0/5/99999999999999999999/0/0/9/1", false},
        {"pvesr=1/s/" ID "/-/100-0/5/4096/0/2/9/1", false},
        {"pvesr=1/s/" ID "/-/100-0/5/4096/0/0/9/2", false},
        {"pvesr=", false},
        {"pvesr", false},
        {"", false},
    };
    struct lvm_mark mark;
    for (size_t i = 0; i < ELEMENTS(cases); i++)
        if (lvm_mark_parse(cases[i].tag, &mark) != cases[i].fine)
            fail_msg("%s", cases[i].tag);
    char long_tag[2000];
    memset(long_tag, '1', sizeof long_tag - 1);
    memcpy(long_tag, "pvesr=1/", 8);
    long_tag[sizeof long_tag - 1] = 0;
    assert_false(lvm_mark_parse(long_tag, &mark));
}

/* Whose an LV with a mark is. */
static void test_bonds(void **state)
{
    static const struct {
        const char *made_for, *snapshot, *was; /* the mark */
        const char *volume, *name;             /* the LV; name NULL: no snapshot */
        enum bond bond;
    } cases[] = {
        {"vm-100-disk-0", "s", "", "vm-100-disk-0", "s", BOND_OURS},
        {"vm-100-disk-0", "s", "", "vm-100-disk-0", "mine", BOND_RENAMED},
        {"vm-100-disk-0", "t", "s", "vm-100-disk-0", "s", BOND_OURS}, /* a rename of ours that was cut */
        {"vm-100-disk-0", "t", "s", "vm-100-disk-0", "t", BOND_OURS},
        {"vm-100-disk-0", "s", "", "base-100-disk-0", "s", BOND_NONE},
        {"vm-100-disk-0", "s", "", "base-100-disk-0", "mine", BOND_RENAMED},
        {"vm-100-disk-0", "s", "", "vm-100-disk-0", NULL, BOND_OURS},
        {"vm-100-disk-0", "s", "", "vm-100-disk-7", NULL, BOND_RENAMED},
        {"", "s", "", "vm-100-disk-0", "mine", BOND_NONE}, /* of an earlier version */
        {"", "s", "", "vm-100-disk-7", NULL, BOND_NONE},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct lvm_mark mark = {0};
        strcpy(mark.volume, cases[i].made_for);
        strcpy(mark.m.snapshot, cases[i].snapshot);
        strcpy(mark.was, cases[i].was);
        if (lvm_mark_bond(&mark, cases[i].volume, cases[i].name) != cases[i].bond)
            fail_msg("case %zu", i);
    }
}

static void test_round(void **state)
{
    static const struct {
        uint64_t bytes, extent, rounded;
    } cases[] = {
        {0, 4 << 20, 4 << 20},       {1, 4 << 20, 4 << 20},
        {4 << 20, 4 << 20, 4 << 20}, {(4 << 20) + 1, 4 << 20, 8 << 20},
        {3000001, 4096, 3002368},    {INT64_MAX, 4 << 20, 0},
        {UINT64_MAX, 4096, 0},       {5, 0, 0},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++)
        assert_true(lvm_round(cases[i].bytes, cases[i].extent) == cases[i].rounded);
}

static void test_pool_status(void **state)
{
    static const struct {
        const char *status;
        bool fine;
        uint64_t total, free, meta_free;
        bool held, out, read_only, fail;
    } cases[] = {
        {"0 204800 thin-pool 1 14/1024 512/1600 - rw discard_passdown queue_if_no_space - 1024\n", true, 1600,
         1088, 1010, false, false, false, false},
        {"0 204800 thin-pool 1 14/1024 1600/1600 77 out_of_data_space discard_passdown error_if_no_space - 9",
         true, 1600, 0, 1010, true, true, false, false},
        {"0 204800 thin-pool 1 14/1024 1/2 - ro discard_passdown error_if_no_space needs_check 9", true, 2, 1,
         1010, false, false, true, false},
        {"0 204800 thin-pool Fail", true, 0, 0, 0, false, false, false, true},
        {"0 204800 thin-pool", false, 0, 0, 0, false, false, false, false},
        {"0 204800 thin 1 2", false, 0, 0, 0, false, false, false, false},
        {"0 204800 thin-pool 1 14/1024 3/2 - rw", false, 0, 0, 0, false, false, false, false},
        {"0 204800 thin-pool 1 14 1/2 - rw", false, 0, 0, 0, false, false, false, false},
        {"0 204800 thin-pool 1 14/1024 1/9223372036854775807 - rw", false, 0, 0, 0, false, false, false,
         false},
        {"", false, 0, 0, 0, false, false, false, false},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct pool_room p;
        if (pool_room_parse(cases[i].status, 65536, &p) != cases[i].fine)
            fail_msg("%s", cases[i].status);
        if (!cases[i].fine)
            continue;
        assert_true(p.total == cases[i].total * 65536 && p.free == cases[i].free * 65536);
        assert_true(p.meta_free == cases[i].meta_free);
        assert_true(p.held == cases[i].held && p.out == cases[i].out);
        assert_true(p.read_only == cases[i].read_only && p.fail == cases[i].fail);
        assert_true(p.needs_check == (strstr(cases[i].status, "needs_check") != NULL));
    }
}

static void test_thin_delta_versions(void **state)
{
    static const struct {
        const char *said;
        bool fine;
    } cases[] = {{"0.7.6\n", true}, {"0.9.0\n", true},      {"1.0.6", true},    {"thin_delta 1.0.12\n", true},
                 {"1.1.0\n", true}, {"2.0.0\n", true},      {"1.0.0\n", false}, {"thin_delta 1.0.5", false},
                 {"1.0\n", false},  {"0.9.0-rc2\n", false}, {"", false},        {"unknown\n", false}};
    for (size_t i = 0; i < ELEMENTS(cases); i++)
        if (thin_delta_version_ok(cases[i].said) != cases[i].fine)
            fail_msg("'%s'", cases[i].said);
}

static void test_reserved_names(void **state)
{
    struct lvm l = {.vg = "vg", .pool = "data", .volume = "vm-100-disk-0"};
    struct err e = {0};
    assert_int_equal(lvm_check_name(&l, "before_update", &e), 0);
    assert_int_equal(lvm_check_name(&l, "tmeta", &e), -1); /* snap_vm-100-disk-0_tmeta */
    assert_int_equal(e.kind, ERR_USAGE);
    assert_int_equal(lvm_check_name(&l, "my_mlog", &e), -1);
}

static void test_names(void **state)
{
    struct lvm l = {.vg = "my-vg", .pool = "data", .volume = "vm-100-disk-0"};
    assert_string_equal(lvm_name(&l, LVM_SNAPSHOT, "__replicate_100-0_1__").s,
                        "snap_vm-100-disk-0___replicate_100-0_1__");
    assert_string_equal(lvm_name(&l, LVM_STAGE, NULL).s, "pvesr_stage_vm-100-disk-0");
    _cleanup_free_ char *device = lvm_device("my-vg", "data-1", "-tpool");
    assert_string_equal(device, "/dev/mapper/my--vg-data--1-tpool");
    assert_int_equal(lvm_check_name(&l, "fine", &err), 0);
    assert_int_equal(lvm_check_name(&l, "a:b", &err), -1);
    assert_int_equal(lvm_check_name(&l, "------------------------------------------------------------", &err),
                     -1);
    static const struct {
        const char *vg, *pool;
        bool fine;
    } stores[] = {
        {"vg", "data", true},     {"my-vg.1", "p_+", true}, {"-y", "data", false},
        {"vg", "--force", false}, {"vg/x", "data", false},  {"vg", "", false},
        {NULL, "data", false},    {"..", "data", false},    {"v g", "data", false},
    };
    for (size_t i = 0; i < ELEMENTS(stores); i++) {
        struct volume_store store = {.id = "s", .vgname = stores[i].vg, .thinpool = stores[i].pool};
        assert_int_equal(lvm_check_store(&store, &err), stores[i].fine ? 0 : -1);
    }
}

/* To which volume an LV belongs. */
static void test_owner(void **state)
{
    static struct lv lvs[] = {
        {.name = "pvesr_stage_vm-102-disk-0"},
        {.name = "vm-100-disk-0"},
        {.name = "vm-100-disk-0_a"},
    };
    static const struct vg g = {.lvs = lvs, .n = ELEMENTS(lvs)};
    static const struct {
        const char *name, *volume, *tag;
        enum lvm_kind kind;
    } cases[] = {
        {"snap_vm-100-disk-0_s", "vm-100-disk-0", "s", LVM_SNAPSHOT},
        {"snap_vm-100-disk-0_a_s", "vm-100-disk-0_a", "s", LVM_SNAPSHOT},
        {"snap_vm-100-disk-0_b_s", "vm-100-disk-0", "b_s", LVM_SNAPSHOT},
        {"snap_vm-100-disk-0___replicate_100-0_1__", "vm-100-disk-0", "__replicate_100-0_1__", LVM_SNAPSHOT},
        {"snap_vm-101-disk-0_a_s", "vm-101-disk-0", "a_s", LVM_SNAPSHOT},
        {"snap_vm-102-disk-0_x", "vm-102-disk-0", "x", LVM_SNAPSHOT},
        {"pvesr_tmp_vm-100-disk-0_s", "vm-100-disk-0", "s", LVM_TEMP},
        {"pvesr_stage_vm-100-disk-0_s", "vm-100-disk-0_s", "", LVM_STAGE},
        {"pvesr_new_base-100-disk-0", "base-100-disk-0", "", LVM_NEW},
        {"vm-100-disk-0", NULL, NULL, 0},
        {"snap_vm-100-disk-0", NULL, NULL, 0},
        {"snap_other_s", NULL, NULL, 0},
        {"snap_", NULL, NULL, 0},
        {"pvesr_stage_", NULL, NULL, 0},
        {"data", NULL, NULL, 0},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct lv lv = {0};
        enum lvm_kind kind;
        const char *volume, *tag;
        strcpy(lv.name, cases[i].name);
        int r = lvm_owner(&g, &lv, &kind, &volume, &tag);
        if (r != !cases[i].volume)
            fail_msg("%s", cases[i].name);
        if (r)
            continue;
        assert_string_equal(volume, cases[i].volume);
        assert_string_equal(tag, cases[i].tag);
        assert_int_equal(kind, cases[i].kind);
    }
}

/* …or from what it was made. */
static void test_owner_by_origin(void **state)
{
    static struct lv lvs[] = {{.name = "vm-100-disk-0"}, {.name = "vm-100-disk-0_a"}};
    static const struct vg g = {.lvs = lvs, .n = ELEMENTS(lvs)};
    for (size_t i = 0; i < ELEMENTS(lvs); i++) {
        struct lv lv = {.name = "snap_vm-100-disk-0_a_s"};
        enum lvm_kind kind;
        const char *volume, *tag;
        strcpy(lv.origin, lvs[i].name);
        assert_int_equal(lvm_owner(&g, &lv, &kind, &volume, &tag), 0);
        assert_string_equal(volume, lvs[i].name);
        assert_string_equal(tag, i == 0 ? "a_s" : "s");
    }
    (void)state;
}

/* The same where a tag says what the name alone does not. */
static void test_owner_by_tag(void **state)
{
    static struct lv lvs[] = {{.name = "vm-100-disk-0"}, {.name = "vm-100-disk-0_a"}};
    static const struct vg g = {.lvs = lvs, .n = ELEMENTS(lvs)};
    static const struct {
        const char *name, *tagged, *volume, *tag, *of;
    } cases[] = {
        {"snap_vm-100-disk-0_a_s", "a_s", "vm-100-disk-0", "a_s", ""},
        {"snap_vm-100-disk-0_a_s", "s", "vm-100-disk-0_a", "s", ""},
        {"snap_vm-100-disk-0_a_s", "other", "vm-100-disk-0_a", "s", ""},
        {"snap_vm-100-disk-0_diverged_s", "s", "vm-100-disk-0", "diverged_s", ""}, /* renamed */
        /* while a commit has only the restore point of a new volume */
        {"snap_vm-100-disk-0_b_s", "s", "vm-100-disk-0_b", "s", "vm-100-disk-0_b"},
        {"snap_vm-100-disk-0_b_s", "b_s", "vm-100-disk-0", "b_s", "vm-100-disk-0"},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct lv lv = {.marked = true};
        enum lvm_kind kind;
        const char *volume, *tag;
        strcpy(lv.name, cases[i].name);
        strcpy(lv.mark.m.snapshot, cases[i].tagged);
        strcpy(lv.mark.volume, cases[i].of);
        assert_int_equal(lvm_owner(&g, &lv, &kind, &volume, &tag), 0);
        assert_string_equal(volume, cases[i].volume);
        assert_string_equal(tag, cases[i].tag);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_marks),           cmocka_unit_test(test_hostile_marks),
        cmocka_unit_test(test_bonds),           cmocka_unit_test(test_round),
        cmocka_unit_test(test_pool_status),     cmocka_unit_test(test_names),
        cmocka_unit_test(test_owner),           cmocka_unit_test(test_owner_by_tag),
        cmocka_unit_test(test_owner_by_origin), cmocka_unit_test(test_thin_delta_versions),
        cmocka_unit_test(test_reserved_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
