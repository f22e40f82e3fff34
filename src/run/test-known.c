#include "run/known.h"

#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* "UUID,MAC disk,disk" */
static void parse(const char *text, struct known *ret)
{
    _cleanup_strv_ struct strv parts = STRV_INIT;
    const char *blank = strchr(text, ' ');
    _cleanup_free_ char *guest = xasprintf("%.*s", (int)(blank - text), text);
    strv_split(&ret->guest, guest, ",");
    strv_split(&parts, blank + 1, ",");
    for (size_t i = 0; i < parts.n; i++)
        known_add_disk(ret, parts.v[i]);
}

static void test_other(void **state)
{
    (void)state;
    static const struct {
        const char *what, *was, *now;
        bool other;
    } cases[] = {
        {"the same", "u,m a", "u,m a", false},
        {"all is another", "u,m a,b", "v,n c", true},
        {"a restored one has its UUID", "u,m a", "u,n c", false},
        {"another UUID, the network address stays", "u,m a", "v,m c", false},
        {"another UUID and address on its old disk", "u,m a", "v,n a", false},
        {"…on one of them", "u,m a,b", "v,n c,b", false},
        {"its disk was made anew", "u a", "u c", false},
        {"a container's only address changed", "m a", "n a", false},
        {"a container without addresses tells nothing", "m a", " c", false},
        {"…nor did it before", " a", "m c", false},
        {"an earlier version noted nothing", " ", "u c", false},
        {"the storage tells nothing of disks", "u ", "v ", true},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        _cleanup_(known_release) struct known was = {0}, now = {0};
        parse(cases[i].was, &was);
        parse(cases[i].now, &now);
        if (known_is_other(&was, &now) != cases[i].other)
            fail_msg("%s", cases[i].what);
    }
}

static void test_file(void **state)
{
    (void)state;
    char dir[] = "/tmp/pvesr-test-known-XXXXXX";
    assert_non_null(mkdtemp(dir));
    struct err e = {0};
    _cleanup_free_ char *path = known_path(dir, 100);
    _cleanup_(known_release) struct known none = {0}, one = {.since = 12}, again = {0};
    strv_add(&one.former, "0123");
    assert_int_equal(known_load(path, &none, &e), 0);
    assert_true(none.since == 0 && !none.guest.n && !none.disks.n);
    parse("u,m a,b", &one);
    assert_int_equal(known_store(path, &one, &e), 0);
    assert_int_equal(known_load(path, &again, &e), 0);
    assert_true(known_equal(&one, &again));
    again.since = 13;
    assert_false(known_equal(&one, &again));
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs("since -3\nsince x\nguest\n\n\1\xff what\ndisk d\n", f);
    fclose(f);
    known_release(&again);
    assert_int_equal(known_load(path, &again, &e), 0);
    assert_true(again.since == 0 && again.guest.n == 0 && again.disks.n == 1);
    unlink(path);
    *strrchr(path, '/') = 0;
    rmdir(path);
    rmdir(dir);
}

static void test_hide(void **state)
{
    (void)state;
    static const struct snapshot all[] = {
        {.name = "__base__", .id = "a", .seq = 1, .created = 1},
        {.name = "__replicate_100-0_5__", .id = "b", .seq = 2, .created = 20}, /* its name counts */
        {.name = "listed", .id = "c", .seq = 3, .created = 6},
        {.name = "mine", .id = "d", .seq = 4, .created = 7},
        {.name = "__replicate_100-1_10__", .id = "e", .seq = 5, .created = 3},
        {.name = "later", .id = "f", .seq = 6, .created = 11},
    };
    _cleanup_snapshots_ struct snapshots s = {0};
    _cleanup_strv_ struct strv listed = STRV_INIT;
    strv_add(&listed, "listed");
    for (size_t i = 0; i < ELEMENTS(all); i++)
        snapshots_add(&s, &all[i]);
    _cleanup_(known_release) struct known k = {0};
    assert_int_equal(known_hide(&k, &listed, &s), 0);
    k.since = 10;
    assert_int_equal(known_hide(&k, &listed, &s), 2);
    assert_null(snapshots_find(&s, "__replicate_100-0_5__"));
    assert_null(snapshots_find(&s, "mine"));
    assert_non_null(snapshots_find(&s, "listed"));
    assert_int_equal(s.n, 4);
    known_add_former(&k, &listed, &s); /* whatever its clock says */
    assert_int_equal(known_hide(&k, &listed, &s), 2);
    assert_non_null(snapshots_find(&s, "listed"));
    assert_non_null(snapshots_find(&s, "__base__"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_other),
        cmocka_unit_test(test_file),
        cmocka_unit_test(test_hide),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
