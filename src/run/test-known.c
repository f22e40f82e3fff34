#include "run/known.h"

#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* "uuid:u,mac:m disk,disk", a type and a slash before it or not */
static void parse(const char *text, struct known *ret)
{
    const char *slash = strchr(text, '/');
    if (slash) {
        snprintf(ret->type, sizeof ret->type, "%.*s", (int)(slash - text), text);
        text = slash + 1;
    }
    const char *blank = strchr(text, ' ');
    _cleanup_free_ char *guest = xasprintf("%.*s", (int)(blank - text), text);
    strv_split(&ret->guest, guest, ",");
    strv_split(&ret->disks, blank + 1, ",");
}

static void test_other(void **state)
{
    (void)state;
    static const struct {
        const char *what, *was, *now;
        bool other;
    } cases[] = {
        {"the same", "uuid:u,mac:m a", "uuid:u,mac:m a", false},
        {"all is another", "uuid:u,mac:m a,b", "uuid:v,mac:n c", true},
        {"…without a network", "uuid:u a", "uuid:v c", true},
        {"restored from a backup", "uuid:u,mac:m a", "uuid:u,mac:n c", false},
        {"another UUID, the network address stays", "uuid:u,mac:m a", "uuid:v,mac:m c", false},
        {"another UUID and address on its old disk", "uuid:u,mac:m a", "uuid:v,mac:n a", false},
        {"…on one of them", "uuid:u,mac:m a,b", "uuid:v,mac:n c,b", false},
        {"rolled back to where it had another address", "uuid:u,mac:m,mac:o a", "uuid:v,mac:o c", false},
        {"its disk was made anew", "uuid:u a", "uuid:u c", false},
        {"a VM without UUID", "mac:m a", "mac:n c", false},
        {"…had one", "uuid:u,mac:m a", "mac:n c", false},
        {"…got one", "mac:m a", "uuid:v,mac:n c", false},
        {"another container", "name:x,mac:m a", "name:y,mac:n c", true},
        {"a container of this name", "name:x,mac:m a", "name:x,mac:n c", false},
        {"…of this address", "name:x,mac:m a", "name:y,mac:m c", false},
        {"…on its old root", "name:x,mac:m a", "name:y,mac:n a", false},
        {"…without a network", "name:x a", "name:y c", true},
        {"…got one", "name:x a", "name:y,mac:n c", true},
        {"…on its old root", "name:x a,b", "name:y c,b", false},
        {"…of this name", "name:x a", "name:x c", false},
        {"containers without a name", "mac:m a", "mac:n c", false},
        {"a container, and it was a VM", "uuid:u,mac:m a", "name:y,mac:n c", true},
        {"…of which nothing is known", "qemu/uuid:u,mac:m a", "lxc/ c", true},
        {"a VM of which nothing is known, and it was a container", "lxc/name:x a", "qemu/ c", true},
        {"nor is anything of either", "lxc/ ", "qemu/ ", true},
        {"another type of this address", "qemu/uuid:u,mac:m a", "lxc/name:x,mac:m c", true},
        {"another type on one of its disks", "qemu/uuid:u a,b", "lxc/name:y c,b", false},
        {"an earlier version noted it", "uuid:u,mac:m a", "lxc/ c", false},
        {"the same type and nothing else", "qemu/ a", "qemu/ c", false},
        {"the storage tells nothing of disks", "uuid:u ", "uuid:v ", false},
        {"nothing was noted", " ", "uuid:u c", false},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        _cleanup_(known_release) struct known was = {0}, now = {0};
        parse(cases[i].was, &was);
        parse(cases[i].now, &now);
        if (known_is_other(&was, &now) != cases[i].other)
            fail_msg("%s", cases[i].what);
    }
}

static void write_note(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void test_file(void **state)
{
    (void)state;
    char dir[] = "/tmp/pvesr-test-known-XXXXXX";
    assert_non_null(mkdtemp(dir));
    struct err e = {0};
    _cleanup_free_ char *path = known_path(dir, "100-0");
    _cleanup_(known_release) struct known none = {0}, one = {.epoch = 12, .former = 7, .came = 9},
                                          again = {0};
    assert_int_equal(known_load(path, &none, &e), 0);
    assert_true(none.epoch == 0 && !none.guest.n && !none.disks.n);
    parse("lxc/uuid:u,mac:m a,b", &one);
    assert_true(known_tell(&none, &one, "s:disk: a sentence of words"));
    strv_adds(&one.settings, "between a b", "keep last=3,daily=7", NULL);
    assert_int_equal(known_store(path, &one, &e), 0);
    assert_int_equal(known_load(path, &again, &e), 0);
    assert_true(again.epoch == 12 && again.former == 7 && again.came == 9 && again.guest.n == 2 &&
                again.disks.n == 2);
    assert_string_equal(again.type, "lxc");
    assert_true(again.settings.n == 2 && strcmp(again.settings.v[1], "keep last=3,daily=7") == 0);
    assert_false(known_tell(&again, &one, "s:disk: a sentence of words"));
    assert_true(known_tell(&again, &one, "another one"));
    strv_add(&none.unseen, "st:100/vm-100-disk-0.raw"); /* by a first run, which failed */
    assert_int_equal(known_store(path, &none, &e), 0);
    known_release(&again);
    assert_int_equal(known_load(path, &again, &e), 0);
    assert_true(again.epoch == 0 && again.unseen.n == 1);
    assert_string_equal(again.unseen.v[0], "st:100/vm-100-disk-0.raw");
    static const char *const damaged[] = {"\1\xff what\ndisk d\n", "epoch -3\nguest uuid:u\n",
                                          "epoch x\nepoch\n\n", "epoch 99999999999999999999\ndisk d\n"};
    for (size_t i = 0; i < ELEMENTS(damaged); i++) {
        write_note(path, damaged[i]);
        known_release(&again);
        assert_int_equal(known_load(path, &again, &e), -1);
        assert_true(again.epoch == 0 && again.guest.n == 0 && again.disks.n == 0);
    }
    write_note(path, "");
    assert_int_equal(known_load(path, &again, &e), 0);
    unlink(path);
    *strrchr(path, '/') = 0;
    rmdir(path);
    rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_other),
        cmocka_unit_test(test_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
