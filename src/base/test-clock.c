#include "base/clock.h"
#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <time.h>

static void test_print(void **state)
{
    static const struct {
        const char *zone;
        int64_t epoch;
        const char *log, *status;
    } cases[] = {
        {"UTC", 0, "1970-01-01 00:00:00", "1970-01-01_00:00:00"},
        {"UTC", 1767226503, "2026-01-01 00:15:03", "2026-01-01_00:15:03"},
        {"CET-1CEST,M3.5.0,M10.5.0/3", 1782864000, "2026-07-01 02:00:00", "2026-07-01_02:00:00"},
        {"UTC", 253402300800, "10000-01-01 00:00:00", "10000-01-01_00:00:00"},
        {"UTC", INT64_MAX, "", ""},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        char out[32];
        setenv("TZ", cases[i].zone, 1);
        tzset();
        clock_print_log(cases[i].epoch, out);
        assert_string_equal(out, cases[i].log);
        clock_print_status(cases[i].epoch, out);
        assert_string_equal(out, cases[i].status);
    }
}

static void test_runs(void **state)
{
    double before = clock_mono();
    assert_true(clock_mono() >= before);
    assert_true(clock_epoch() > 1700000000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_print), cmocka_unit_test(test_runs)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
