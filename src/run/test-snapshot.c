#include "run/snapshot.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void test_names(void **state)
{
    (void)state;
    assert_true(snapshot_is_of_job("__replicate_100-1_17__", "100-1"));
    assert_false(snapshot_is_of_job("__replicate_100-10_17__", "100-1"));
    assert_false(snapshot_is_of_job("__replicate_100-1_17", "100-1"));
    assert_false(snapshot_is_of_job("__replicate_100-1_x__", "100-1"));
    assert_false(snapshot_is_of_job("__replicate_100-1___", "100-1"));
    assert_true(snapshot_is_of_guest("__replicate_100-10_17__", 100));
    assert_false(snapshot_is_of_guest("__replicate_1000-1_17__", 100));
    assert_int_equal(snapshot_epoch("__replicate_100-1_1700000000__"), 1700000000);
    assert_int_equal(snapshot_epoch("g1"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
