#include "wire/rate.h"

#include "base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void test_unlimited(void **state)
{
    struct rate r;
    (void)state;
    rate_init(&r, 0);
    assert_true(rate_wait(&r, UINT64_MAX) == 0);
}

/* What is asked for takes at least its time: a sleep can only be too long. */
static void test_steady(void **state)
{
    struct rate r;
    (void)state;
    rate_init(&r, 1e9);
    double begin = clock_mono();
    for (int i = 0; i < 300; i++)
        for (double left = rate_wait(&r, 1000000); left > 0; left = rate_wait(&r, 0))
            ;
    assert_true(clock_mono() - begin >= 0.3);
}

static void test_pause_is_not_made_up(void **state)
{
    struct rate r;
    (void)state;
    rate_init(&r, 1e6);
    r.next -= 3600; /* an hour in which nothing was sent */
    double begin = clock_mono();
    for (double left = rate_wait(&r, 300000); left > 0; left = rate_wait(&r, 0))
        ;
    assert_true(clock_mono() - begin >= 0.04); /* 0.3 s less the credit of 0.25 s */
}

/* A long wait comes back each second. */
static void test_slices(void **state)
{
    struct rate r;
    (void)state;
    rate_init(&r, 1e6);
    double left = rate_wait(&r, 1000000000);
    assert_true(left > 900 && left <= 999);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unlimited),
        cmocka_unit_test(test_steady),
        cmocka_unit_test(test_pause_is_not_made_up),
        cmocka_unit_test(test_slices),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
