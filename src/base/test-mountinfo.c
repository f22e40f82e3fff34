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

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_parse)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
