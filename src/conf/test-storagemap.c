#include "conf/storagemap.h"

#include "base/mem.h"
#include "conf/job.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- the map ---- */

static const struct {
    const char *text;
    const char *others; /* of a, b, c, d1 */
    const char *why;    /* part of the sentence when it is refused */
} texts[] = {
    {NULL, "aa bb cc d1", NULL},
    {"aa=bb", "bb aa cc d1", NULL},
    {"aa=bb,d1=cc", "bb aa d1 cc", NULL},
    {"x-y.z=aa", "x-y.z bb cc d1", NULL},
    {"", NULL, "'' is not STORAGE=STORAGE"},
    {"aa", NULL, "'aa' is not STORAGE=STORAGE"},
    {"aa=bb,", NULL, "'' is not STORAGE=STORAGE"},
    {"aa=bb, cc=d1", NULL, "' cc=d1' is not STORAGE=STORAGE"},
    {"aa=bb=cc", NULL, "'aa=bb=cc' is not STORAGE=STORAGE"},
    {"aa:bb", NULL, "'aa:bb' is not STORAGE=STORAGE"},
    {"=bb", NULL, "'=bb' is not"},
    {"aa=", NULL, "'aa=' is not"},
    {"a/b=cc", NULL, "'a/b=cc' is not"},
    {"aa=../x", NULL, "'aa=../x' is not"},
    {"aa=aa", NULL, "'aa' is mapped to itself"},
    {"aa=bb,aa=cc", NULL, "'aa' is there twice"},
    {"aa=cc,bb=cc", NULL, "'cc' is there twice"},
    {"aa=bb,bb=cc", NULL, "'bb' is there twice"},
    {"aa=bb,cc=aa", NULL, "'aa' is there twice"},
    {"aa=bb,bb=aa", NULL, "'bb' is there twice"},
};

static void maps_both_ways(void **state)
{
    static const char *const ids[] = {"aa", "bb", "cc", "d1"};
    for (size_t i = 0; i < ELEMENTS(texts); i++) {
        _cleanup_storagemap_ struct storagemap m = {0};
        _cleanup_strv_ struct strv others = STRV_INIT;
        struct err e = {0};
        int r = storagemap_parse(texts[i].text, &m, &e);
        if ((r < 0) != (texts[i].why != NULL) || (r < 0 && !strstr(e.text, texts[i].why)))
            fail_msg("'%s': %d '%s'", texts[i].text, r, e.text);
        for (size_t k = 0; r == 0 && k < ELEMENTS(ids); k++) {
            const char *other = storagemap_other(&m, ids[k]);
            strv_add(&others, other);
            assert_string_equal(storagemap_other(&m, other), ids[k]);
        }
        _cleanup_free_ char *all = strv_join(&others, " ");
        if (r == 0)
            assert_string_equal(all, texts[i].others);
    }
}

static void bounds_the_text(void **state)
{
    char text[STORAGEMAP_TEXT_MAX + 2];
    struct storagemap m = {0};
    struct err e = {0};
    memset(text, 'a', sizeof text - 1);
    text[sizeof text - 1] = 0;
    assert_int_equal(storagemap_parse(text, &m, &e), -1);
    assert_non_null(strstr(e.text, "1024 characters"));
}

/* ---- names ---- */

static const struct {
    const char *from_type, *name, *to_type, *there, *why;
} names[] = {
    {"dir", "100/vm-100-disk-0.raw", "btrfs", "100/vm-100-disk-0.raw", NULL},
    {"btrfs", "100/vm-100-disk-0.raw", "dir", "100/vm-100-disk-0.raw", NULL},
    {"dir", "100/vm-100-disk-0.raw", "lvmthin", "vm-100-disk-0", NULL},
    {"btrfs", "100/vm-100-disk-0.raw", "lvmthin", "vm-100-disk-0", NULL},
    {"lvmthin", "vm-100-disk-0", "btrfs", "100/vm-100-disk-0.raw", NULL},
    {"zfspool", "vm-100-disk-0", "lvmthin", "vm-100-disk-0", NULL},
    {"dir", "100/vm-100-state-g1.raw", "lvmthin", "vm-100-state-g1", NULL},
    {"lvmthin", "vm-100-x.raw", "dir", "100/vm-100-x.raw.raw", NULL},
    {"dir", "100/vm-100-x.raw.raw", "lvmthin", "vm-100-x.raw", NULL},
    /* of one type: whatever it is */
    {"dir", "100/vm-100-disk-0.qcow2", "dir", "100/vm-100-disk-0.qcow2", NULL},
    {"btrfs", "100/subvol-100-disk-0.subvol", "btrfs", "100/subvol-100-disk-0.subvol", NULL},
    {"zfspool", "base-9-disk-0/vm-100-disk-0", "zfspool", "base-9-disk-0/vm-100-disk-0", NULL},
    {"dir", "100/vm-100-disk-0.qcow2", "btrfs", NULL, "convert the disk to raw"},
    {"dir", "100/vm-100-disk-0.qcow2", "lvmthin", NULL, "convert the disk to raw"},
    {"dir", "100/base-100-disk-0.raw", "btrfs", NULL, "full clone"},
    {"lvmthin", "base-100-disk-0", "dir", NULL, "full clone"},
    {"dir", "9/base-9-disk-0.raw/100/vm-100-disk-0.qcow2", "dir",
     "9/base-9-disk-0.raw/100/vm-100-disk-0.qcow2", NULL},
    {"dir", "9/base-9-disk-0.raw/100/vm-100-disk-0.raw", "lvmthin", NULL, "full clone"},
    {"zfspool", "base-9-disk-0/vm-100-disk-0", "lvmthin", NULL, "full clone"},
    {"zfspool", "subvol-100-disk-0", "btrfs", NULL, "containers"},
    {"btrfs", "100/subvol-100-disk-0.subvol", "zfspool", NULL, "containers"},
    {"dir", "vm-100-disk-0.raw", "lvmthin", NULL, "only raw disks"},
    {"dir", "101/vm-100-disk-0.raw", "lvmthin", NULL, "only raw disks"},
    {"dir", "10/vm-100-disk-0.raw", "lvmthin", NULL, "only raw disks"},
    {"dir", "100/vm-100-disk-0.vmdk", "lvmthin", NULL, "only raw disks"},
    {"dir", "100/vm-100-.raw", "lvmthin", NULL, "only raw disks"},
    {"dir", "100/vm-100.raw", "lvmthin", NULL, "only raw disks"},
    {"dir", "iso/x.iso", "lvmthin", NULL, "only raw disks"},
    {"lvmthin", "vm--disk-0", "dir", NULL, "only raw disks"},
    {"lvmthin", "vm-100", "dir", NULL, "only raw disks"},
    {"lvmthin", "", "dir", NULL, "only raw disks"},
};

static void names_volumes(void **state)
{
    for (size_t i = 0; i < ELEMENTS(names); i++) {
        struct err e = {0};
        _cleanup_free_ char *there = storagemap_name(names[i].name, names[i].from_type, names[i].to_type, &e);
        if (!there != !names[i].there ||
            (there ? strcmp(there, names[i].there) != 0 : !strstr(e.text, names[i].why)))
            fail_msg("%s '%s' to %s: '%s' '%s'", names[i].from_type, names[i].name, names[i].to_type, there,
                     e.text);
        if (!there)
            continue;
        _cleanup_free_ char *back = storagemap_name(there, names[i].to_type, names[i].from_type, &e);
        assert_string_equal(back, names[i].name);
    }
}

/* ---- volids ---- */

#define STORAGES                                                                                             \
    "dir: fast\n\tpath /fast\n\nbtrfs: bt\n\tpath /bt\n\nlvmthin: thin\n\tvgname v\n\tthinpool t\n\n"

static const struct {
    const char *map, *volid, *there, *why;
} volids[] = {
    {"fast=thin", "fast:100/vm-100-disk-0.raw", "thin:vm-100-disk-0", NULL},
    {"fast=thin", "thin:vm-100-disk-0", "fast:100/vm-100-disk-0.raw", NULL},
    {"fast=bt", "fast:100/vm-100-disk-0.raw", "bt:100/vm-100-disk-0.raw", NULL},
    {"fast=bt", "thin:vm-100-disk-0", "thin:vm-100-disk-0", NULL},
    {NULL, "gone:whatever/it-is", "gone:whatever/it-is", NULL},
    {"fast=gone", "fast:100/vm-100-disk-0.raw", NULL, "storage 'gone' of target-storage 'fast=gone'"},
    {"gone=fast", "gone:100/vm-100-disk-0.raw", NULL, "storage 'gone' of target-storage 'gone=fast'"},
    {"fast=thin", "fast:100/vm-100-disk-0.qcow2", NULL,
     "volume 'fast:100/vm-100-disk-0.qcow2' cannot be mapped to storage 'thin'"},
    {"fast=thin", "fast", NULL, "unable to parse volume ID"},
};

static void translates_volids(void **state)
{
    struct storages s;
    storages_parse("storage.cfg", STORAGES, strlen(STORAGES), &s);
    for (size_t i = 0; i < ELEMENTS(volids); i++) {
        _cleanup_storagemap_ struct storagemap m = {0};
        struct err e = {0};
        assert_int_equal(storagemap_parse(volids[i].map, &m, &e), 0);
        _cleanup_free_ char *there = storagemap_volid(&m, &s, volids[i].volid, &e);
        if (!there != !volids[i].there ||
            (there ? strcmp(there, volids[i].there) != 0 : !strstr(e.text, volids[i].why)))
            fail_msg("'%s' by '%s': '%s' '%s'", volids[i].volid, volids[i].map, there, e.text);
    }
    storages_release(&s);
}

/* ---- the file ---- */

static void is_kept_beside_the_jobs(void **state)
{
    struct jobs j;
    struct err e = {0};
    _cleanup_buf_ struct buf out = BUF_INIT;
    static const char text[] = "local: 100-0\n\ttarget b\n\n";
    static const char extras[] = "local: 100-0\n\tkeep last=2\n\ttarget-storage aa=bb\n\n";
    jobs_parse("replication.cfg", text, strlen(text), &j);
    jobs_parse_extras(&j, "replication-ext.cfg", extras, strlen(extras));
    struct job *job = jobs_find(&j, "100-0");
    assert_string_equal(job->target_storage, "aa=bb");
    assert_null(job->fault);
    free(job->target_storage);
    job->target_storage = xstrdup("aa=cc");
    assert_int_equal(jobs_changed(&j, job, &e), 0);
    jobs_print_extras(&j, &out);
    assert_string_equal(buf_str(&out),
                        "local: 100-0\n\tkeep last=2\n\ttarget-storage aa=cc\n\tmark b - -\n\n");
    free(job->target_storage);
    job->target_storage = xstrdup("aa=aa");
    assert_int_equal(jobs_changed(&j, job, &e), -1);
    assert_non_null(strstr(e.text, "target-storage: storage 'aa' is mapped to itself"));
    jobs_release(&j);
    static const char bad[] = "local: 100-0\n\ttarget-storage aa\n\n";
    jobs_parse("replication.cfg", text, strlen(text), &j);
    jobs_parse_extras(&j, "replication-ext.cfg", bad, strlen(bad));
    assert_non_null(strstr(jobs_find(&j, "100-0")->fault, "invalid target-storage 'aa'"));
    jobs_release(&j);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(maps_both_ways),          cmocka_unit_test(bounds_the_text),
        cmocka_unit_test(names_volumes),           cmocka_unit_test(translates_volids),
        cmocka_unit_test(is_kept_beside_the_jobs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
