#include "base/mountinfo.h"

#include "base/mem.h"
#include "base/strv.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

static void test_parse(void **state)
{
    static const struct {
        const char *line;
        bool good;
        struct mountinfo want;
    } cases[] = {
        {"36 35 98:0 / /mnt rw,noatime - ext4 /dev/sda1 rw\n",
         true,
         {36, 98, 0, "/", "/mnt", "ext4", "/dev/sda1", "rw"}},
        {"36 35 0:42 /a\\040b /mnt\\134x\\011y rw master:1 shared:2 - zfs tank/my\\040vm rw",
         true,
         {36, 0, 42, "/a b", "/mnt\\x\ty", "zfs", "tank/my vm", "rw"}},
        {"36 35 0:42 /a\\04 /\\999 rw - btrfs none",
         true,
         {36, 0, 42, "/a\\04", "/\\999", "btrfs", "none", ""}},
        {"36 35 0:42 / /m rw - overlay overlay rw,upperdir=/a\\040b/up,workdir=/w",
         true,
         {36, 0, 42, "/", "/m", "overlay", "overlay", "rw,upperdir=/a b/up,workdir=/w"}},
        {"36 35 0:42 / /mnt rw shared:2", false, {0}},
        {"36 35 0:42 / - ext4 /dev/sda1 rw", false, {0}},
        {"36 35 0 / /mnt rw - ext4 /dev/sda1 rw", false, {0}},
        {"36 35 0:42 / /mnt rw - ext4", false, {0}},
        {" - ", false, {0}},
        {"", false, {0}},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        _cleanup_free_ char *line = xstrdup(cases[i].line);
        const struct mountinfo *want = &cases[i].want;
        struct mountinfo got = {0};
        assert_int_equal(mountinfo_parse(line, &got), cases[i].good);
        if (!cases[i].good)
            continue;
        assert_int_equal(got.id, want->id);
        assert_int_equal(got.major, want->major);
        assert_int_equal(got.minor, want->minor);
        assert_string_equal(got.root, want->root);
        assert_string_equal(got.point, want->point);
        assert_string_equal(got.type, want->type);
        assert_string_equal(got.source, want->source);
        assert_string_equal(got.options, want->options);
    }
}

static void test_remote(void **state)
{
    static char mounts[] = "20 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
                           "no mount\n"
                           "21 20 8:2 / /srv rw - xfs /dev/sda2 rw\n"
                           "22 21 0:50 / /srv/far rw - nfs4 server:/far rw\n"
                           "23 22 8:3 / /srv/far/near rw - xfs /dev/sda3 rw\n"
                           "24 20 0:51 / /auto rw - autofs systemd-1 rw\n"
                           "25 20 0:52 / /over rw - xfs /dev/sda4 rw\n"
                           "26 25 0:53 / /over rw - ceph mon:/ rw\n";
    static const struct {
        const char *path;
        bool remote;
    } cases[] = {
        {"/", false},           {"/srv", false},          {"/srv/farther", false},    {"/srv/far", true},
        {"/srv/far/x", true},   {"/srv/far/near", false}, {"/srv/far/near/x", false}, {"/auto/x", true},
        {"/over/images", true}, {"/overlay", false},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        FILE *f = fmemopen(mounts, sizeof mounts - 1, "r");
        assert_int_equal(mountinfo_is_remote(f, cases[i].path), cases[i].remote);
        fclose(f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_parse), cmocka_unit_test(test_remote)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
