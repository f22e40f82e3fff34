/* What a peer says of ZFS streams, true and hostile. */
#include "volume/zfs/zfs.h"

#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define ID "0000000000000000000000000000002a"
#define BASE "00000000000000000000000000000007"

static struct err err;

static const struct {
    const char *what;
    uint64_t type, magic, version, kind, to, from;
    bool volume;
    const char *base;
    bool ok;
    const char *name; /* NULL: the right one */
} begins[] = {
    {"whole", 0, 0x2F5bacbac, 0x45, 3, 42, 0, true, "", true, NULL},
    {"from a base", 0, 0x2F5bacbac, 0x45, 3, 42, 7, true, BASE, true, NULL},
    {"a file system", 0, 0x2F5bacbac, 0x45, 2, 42, 7, false, BASE, true, NULL},
    {"another record", 1, 0x2F5bacbac, 0x45, 3, 42, 0, true, "", false, NULL},
    {"another magic", 0, 0xacbcf505020000, 0x45, 3, 42, 0, true, "", false, NULL},
    {"a package", 0, 0x2F5bacbac, 0x46, 3, 42, 0, true, "", false, NULL},
    {"a file system for a disk", 0, 0x2F5bacbac, 0x45, 2, 42, 0, true, "", false, NULL},
    {"a disk for a file system", 0, 0x2F5bacbac, 0x45, 3, 42, 0, false, "", false, NULL},
    {"another snapshot", 0, 0x2F5bacbac, 0x45, 3, 43, 0, true, "", false, NULL},
    {"from somebody's snapshot, said to be whole", 0, 0x2F5bacbac, 0x45, 3, 42, 7, true, "", false, NULL},
    {"from another base", 0, 0x2F5bacbac, 0x45, 3, 42, 8, true, BASE, false, NULL},
    {"whole, said to be from a base", 0, 0x2F5bacbac, 0x45, 3, 42, 0, true, BASE, false, NULL},
    {"of another name", 0, 0x2F5bacbac, 0x45, 3, 42, 0, true, "", false, "tank/vm-100-disk-0@s2"},
    {"of a name that begins so", 0, 0x2F5bacbac, 0x45, 3, 42, 0, true, "", false, "tank/vm-100-disk-0@s12"},
    {"of a dataset", 0, 0x2F5bacbac, 0x45, 3, 42, 0, true, "", false, "tank/s1"},
    {"of no name", 0, 0x2F5bacbac, 0x45, 3, 42, 0, true, "", false, ""},
};

static void test_begin(void **state)
{
    for (size_t i = 0; i < ELEMENTS(begins); i++) {
        unsigned char record[ZFSRECORD_SIZE] = {0};
        memcpy(record, &begins[i].type, 4);
        memcpy(record + 8, &begins[i].magic, 8);
        memcpy(record + 16, &begins[i].version, 8);
        memcpy(record + 32, &begins[i].kind, 4);
        memcpy(record + 40, &begins[i].to, 8);
        memcpy(record + 48, &begins[i].from, 8);
        const char *name = begins[i].name ? begins[i].name : "tank/vm-100-disk-0@s1";
        memcpy(record + 56, name, strlen(name));
        err = (struct err){0};
        int r = zfs_begin_check(record, begins[i].volume, "s1", ID, begins[i].base, &err);
        if ((r == 0) != begins[i].ok)
            fail_msg("%s: %s", begins[i].what, r == 0 ? "was not refused" : err.text);
        assert_true(r == 0 || err.kind == ERR_DATA);
    }
}

/* The name fills its field, and no zero byte ends it. */
static void test_begin_endless(void **state)
{
    unsigned char record[ZFSRECORD_SIZE] = {0};
    const uint64_t magic = 0x2F5bacbac, version = 0x45, kind = 3, to = 42;
    memcpy(record + 8, &magic, 8);
    memcpy(record + 16, &version, 8);
    memcpy(record + 32, &kind, 4);
    memcpy(record + 40, &to, 8);
    memset(record + 56, 's', sizeof record - 56);
    record[56] = '@';
    assert_int_equal(zfs_begin_check(record, true, "s1", ID, "", &err), -1);
}

static const struct {
    const char *what;
    uint64_t features;
    bool embeds;
} embeds[] = {
    {"what -L and -c make", 1 << 19 | 1 << 22 | 1 << 17, false},
    {"what -L, -c and -e make", 1 << 19 | 1 << 22 | 1 << 17 | 1 << 16, true},
    {"resumed", 1 << 20 | 1 << 16, true},
    {"raw of what is encrypted", 1 << 24 | 1 << 16, false},
};

static const struct {
    const char *release;
    bool lossy;
} releases[] = {
    {"2.1.11-1+deb12u1", false}, {"2.2.99-pve1", false}, {"0.8.6", false}, {"2.3.0-rc1\n", true},
    {"2.4.4-1", true},           {"3.0.0", true},        {"2.10.1", true}, {"", true},
    {"unknown", true},
};

static void test_embedded(void **state)
{
    for (size_t i = 0; i < ELEMENTS(embeds); i++) {
        unsigned char record[ZFSRECORD_SIZE] = {0};
        uint64_t version = embeds[i].features << 2 | 1;
        memcpy(record + 16, &version, 8);
        if (zfs_begin_embeds(record) != embeds[i].embeds)
            fail_msg("%s", embeds[i].what);
    }
    for (size_t i = 0; i < ELEMENTS(releases); i++)
        if (zfs_release_lossy(releases[i].release) != releases[i].lossy)
            fail_msg("'%s'", releases[i].release);
}

/* ---- which of several snapshots of one id is meant ---- */

static struct zfs_snapshot snapshot_of(const char *dataset, unsigned flags, bool is_bookmark)
{
    struct zfs_snapshot x = {.s = {.id = ID, .flags = flags}, .is_bookmark = is_bookmark};
    strcpy(x.dataset, dataset);
    return x;
}

static void test_find(void **state)
{
    struct zfs_snapshot all[] = {snapshot_of("t/kept", SNAPSHOT_APART, false), snapshot_of("t/live", 0, true),
                                 snapshot_of("t/stage", 0, false), snapshot_of("t/old", 0, false),
                                 snapshot_of("t/live", 0, false)};
    static const char *const want[] = {"t/kept", "t/live", "t/stage", "t/old", "t/live"};
    struct zfs_view w = {
        .live = {.name = "t/live"}, .stage = {.name = "t/stage"}, .old = {.name = "t/old"}, .snapshots = all};
    for (w.n = 1; w.n <= ELEMENTS(all); w.n++)
        assert_string_equal(zfs_find_id(&w, ID)->dataset, want[w.n - 1]);
    w.n = ELEMENTS(all);
    assert_ptr_equal(zfs_find_on(&w, "t/live", ID), &all[4]);
    assert_ptr_equal(zfs_find_on(&w, "t/stage", ID), &all[2]);
    assert_null(zfs_find_on(&w, "t", ID));
    assert_null(zfs_find_on(&w, "t/stage", BASE));
    assert_true(zfs_beside(&w));
    strcpy(w.stage.origin, "t/live@s");
    assert_false(zfs_beside(&w));
    strcpy(w.stage.origin, "t/live2@s");
    assert_true(zfs_beside(&w));
    strcpy(w.live.origin, "t/stage@s");
    assert_false(zfs_beside(&w));
    w.live = (struct zfs_dataset){0};
    assert_false(zfs_beside(&w));
}

#define HEAD "resume token contents:\nnvlist version: 0\n"
#define NAME "\ttoname = tank/vm-100-disk-0@s\n"
#define TO "\ttoguid = 0x2a\n"
#define FROM "\tfromguid = 0x7\n"
#define EMBEDDED "\tembedok = 0x1\n"
#define MORE "\tobject = 0x1\n\toffset = 0x4000\n\tbytes = 0x1000\n\tcompressok = 0x1\n"

static const struct {
    const char *what, *told, *base;
    bool raw, ok;
} tokens[] = {
    {"with embedded blocks", HEAD MORE TO NAME EMBEDDED, "", false, true},
    {"raw, which has that, too", HEAD MORE TO NAME EMBEDDED "\trawok = 0x1\n", "", true, true},
    {"whole", HEAD MORE TO NAME, "", false, true},
    {"from a base", HEAD FROM MORE TO NAME, BASE, false, true},
    {"raw", HEAD MORE TO NAME "\trawok = 0x1\n", "", true, true},
    {"raw unasked", HEAD MORE TO NAME "\trawok = 0x1\n", "", false, false},
    {"raw not offered", HEAD MORE TO NAME, "", true, false},
    {"another snapshot", HEAD MORE "\ttoguid = 0x2b\n" NAME, "", false, false},
    {"another volume", HEAD MORE TO "\ttoname = tank/vm-200-disk-0@s\n", "", false, false},
    {"another base", HEAD "\tfromguid = 0x8\n" MORE TO NAME, BASE, false, false},
    {"no base", HEAD MORE TO NAME, BASE, false, false},
    {"a base too many", HEAD FROM MORE TO NAME, "", false, false},
    {"something else", HEAD MORE TO NAME "\tsavedok = 0x1\n", "", false, false},
    {"two snapshots", HEAD MORE "\ttoguid = 0x2b\n" NAME TO, "", false, false},
    {"two bases", HEAD "\tfromguid = 0x8\n" MORE TO NAME FROM, BASE, false, false},
    {"two names", HEAD MORE TO "\ttoname = tank/vm-200-disk-0@s\n" NAME, "", false, false},
    {"nothing", "", "", false, false},
};

/* Each where embedded blocks may come, and where not. */
static void test_token(void **state)
{
    for (size_t n = 0; n < 2 * ELEMENTS(tokens); n++) {
        uint64_t sent;
        size_t i = n / 2;
        bool embedded = n % 2, ok = tokens[i].ok && (embedded || !strstr(tokens[i].told, EMBEDDED));
        _cleanup_free_ char *told = xstrdup(tokens[i].told);
        err = (struct err){0};
        struct zfs_token_want want = {.name = "tank/vm-100-disk-0@s",
                                      .base_id = tokens[i].base,
                                      .id = ID,
                                      .raw = tokens[i].raw,
                                      .embedded = embedded};
        int r = zfs_token_check(told, &want, &sent, &err);
        if ((r == 0) != ok)
            fail_msg("%s: %s", tokens[i].what, r == 0 ? "was not refused" : err.text);
        assert_true(r == 0 ? sent == 0x1000 : err.kind == ERR_DATA);
    }
}

/* ---- a container's properties, which come from a peer ---- */

static const struct {
    const char *text;
    bool valid;
} properties[] = {
    {"", true},
    {"refquota=8589934592", true},
    {"refquota=8589934592 acltype=posix xattr=sa", true},
    {"refquota=", false},
    {"refquota", false},
    {"mountpoint=/etc", false},
    {"refquota=1 mountpoint=none", false},
    {"refquot=1", false},
    {"refquotas=1", false},
    {"=1", false},
    {"atime=on\texec=on", false},
    {"acltype=$(id)", false},
    {"refquota=1 pve-storage:refquota=8589934592", true},
    {"pve-storage:refquota=0", true},
    {"pve-storage:refquota=", false},
    {"pve-storage:refquota=none", false},
    {"pve-storage:refquota=123456789012345678901", false},
    {"pve-storage:other=1", false},
};

static void test_properties(void **state)
{
    (void)state;
    for (size_t i = 0; i < ELEMENTS(properties); i++)
        if (zfs_properties_valid(properties[i].text) != properties[i].valid)
            fail_msg("'%s'", properties[i].text);

    char none[] = "-", on[] = "on", none_as_number[] = "0",
         *values[] = {none_as_number, none, on, none, none, none, none, none, none, on};
    char text[ZFS_PROPERTIES_MAX];
    zfs_properties_join(values, text);
    assert_string_equal(text, "refquota=0 xattr=on setuid=on");
    assert_true(zfs_properties_valid(text));
    char long_one[ZFS_PROPERTIES_MAX];
    memset(long_one, 'x', sizeof long_one - 1);
    long_one[sizeof long_one - 1] = 0;
    values[9] = long_one;
    zfs_properties_join(values, text);
    assert_string_equal(text, "refquota=0 xattr=on");
}

/* ---- linked clones ---- */

static const struct {
    const char *origin;
    bool linked;
} origins[] = {
    {"tank/vm/base-9-disk-0@__base__", true},   {"", false},
    {"tank/vm/base-9-disk-0@other", false},     {"tank/vm/base-9-disk-0@__base__2", false},
    {"tank/vm/base-9-disk-01@__base__", false}, {"tank/vm/pvesr-stage-vm-100-disk-0@__base__", false},
};

static void test_linked(void **state)
{
    (void)state;
    char base[] = "tank/vm/base-9-disk-0";
    struct zfs z = {.base = base}, plain = {0};
    for (size_t i = 0; i < ELEMENTS(origins); i++) {
        struct zfs_dataset d = {0};
        strcpy(d.origin, origins[i].origin);
        if (zfs_linked(&z, &d) != origins[i].linked)
            fail_msg("'%s'", origins[i].origin);
        assert_false(zfs_linked(&plain, &d));
    }
}

static void test_lasting(void **state)
{
    static const struct {
        const char *names, *want;
    } cases[] = {
        {"autosnap_2024-01-01_00:00:02_hourly", "autosnap_2024-01-01_00:00:02_hourly"},
        {"autosnap_2024-01-01_00:00:02_monthly autosnap_2024-01-01_00:00:02_daily",
         "autosnap_2024-01-01_00:00:02_monthly"},
        {"zfs-auto-snap_frequent-2024-01-01-0015 zfs-auto-snap_hourly-2024-01-01-0017",
         "zfs-auto-snap_hourly-2024-01-01-0017"},
        {"zrepl_20240101_000000_000 zrepl_20240101_001000_000", "zrepl_20240101_001000_000"},
        {"taken", NULL},
        {"taken autosnap_2024-01-01_00:00:02_hourly", NULL},
        {"before-2024-01-01 autosnap_2024-01-01_00:00:02_hourly", "before-2024-01-01"},
        {"before-2024-01-01 after-2024-01-01", NULL},
        {"v1234-5", NULL},
        {"__replicate_100-0_1700000000__", NULL},
        {"", NULL},
    };
    (void)state;
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        _cleanup_strv_ struct strv names = STRV_INIT;
        strv_split(&names, cases[i].names, " ");
        const char *got = zfs_part_lasting(&names);
        if (cases[i].want)
            assert_string_equal(got, cases[i].want);
        else
            assert_null(got);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_begin),    cmocka_unit_test(test_begin_endless),
                                       cmocka_unit_test(test_embedded), cmocka_unit_test(test_find),
                                       cmocka_unit_test(test_token),    cmocka_unit_test(test_properties),
                                       cmocka_unit_test(test_lasting),  cmocka_unit_test(test_linked)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
