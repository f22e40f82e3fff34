#include "base/lookup.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>

#define MANY 20000

static const char *key_of(size_t i)
{
    static char key[40];
    snprintf(key, sizeof key, "%032zx", i);
    return key;
}

static void test_empty(void **state)
{
    _cleanup_lookup_ struct lookup l = {0};
    assert_false(lookup_has(&l, "a"));
    assert_true(lookup_get(&l, "") == LOOKUP_NONE);
}

static void test_first_number_stays(void **state)
{
    _cleanup_lookup_ struct lookup l = {0};
    _cleanup_strv_ struct strv more = STRV_INIT;
    assert_true(lookup_add(&l, "a", 7));
    assert_true(lookup_add(&l, "", 0));
    assert_false(lookup_add(&l, "a", 8));
    assert_int_equal(l.n, 2);
    assert_int_equal(lookup_get(&l, "a"), 7);
    assert_int_equal(lookup_get(&l, ""), 0);
    assert_false(lookup_has(&l, "aa"));
    strv_adds(&more, "a", "b", NULL);
    lookup_add_all(&l, &more);
    assert_int_equal(lookup_get(&l, "a"), 7);
    assert_int_equal(lookup_get(&l, "b"), 1);
}

static void test_many(void **state)
{
    _cleanup_lookup_ struct lookup l = {0};
    for (size_t i = 0; i < MANY; i++)
        assert_true(lookup_add(&l, key_of(i), i));
    assert_int_equal(l.n, MANY);
    for (size_t i = 0; i < MANY; i++)
        assert_int_equal(lookup_get(&l, key_of(i)), i);
    for (size_t i = MANY; i < 2 * MANY; i++)
        assert_false(lookup_has(&l, key_of(i)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_first_number_stays),
        cmocka_unit_test(test_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
