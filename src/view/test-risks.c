#include "view/risks.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void test_risks(void **state)
{
    struct risks r = {0};
    /* 100 has a good target beside one without any point; 200 is half as old as it may be, 300 has nothing */
    json_t *here = json_pack("[{s:i}, {s:i, s:i, s:i}, {s:i, s:i, s:i}]", "guest", 100, "guest", 100, "age",
                             10, "allowed", 100, "guest", 200, "age", 50, "allowed", 100);
    json_t *there = json_pack("[{s:i}, {s:i, s:i}]", "guest", 300, "guest", 400, "age", 60 * 86400);
    risks_add(&r, here);
    risks_add(&r, NULL);
    risks_add(&r, there);
    json_t *all = risks_by_pain(&r);
    static const int order[] = {300, 400, 200, 100, 100};
    assert_int_equal(json_array_size(all), 5);
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(json_integer_value(json_object_get(json_array_get(all, i), "guest")), order[i]);
    assert_null(json_object_get(json_array_get(all, 3), "age")); /* as its node gave them */
    json_decref(all);
    json_decref(here);
    json_decref(there);
    risks_release(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_risks)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
