#include "base/mem.h"
#include "base/num.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <string.h>

static void test_u64(void **state)
{
    static const struct {
        const char *text;
        uint64_t min, max;
        bool good;
        uint64_t want;
    } cases[] = {
        {"0", 0, UINT64_MAX, true, 0},
        {"18446744073709551615", 0, UINT64_MAX, true, UINT64_MAX},
        {"007", 0, 10, true, 7},
        {"100", 100, 999999999, true, 100},
        {"18446744073709551616", 0, UINT64_MAX, false, 0},
        {"99999999999999999999999", 0, UINT64_MAX, false, 0},
        {"99", 100, 200, false, 0},
        {"201", 100, 200, false, 0},
        {"", 0, 10, false, 0},
        {" 1", 0, 10, false, 0},
        {"1 ", 0, 10, false, 0},
        {"+1", 0, 10, false, 0},
        {"-1", 0, UINT64_MAX, false, 0},
        {"1x", 0, 10, false, 0},
        {"0x1", 0, 10, false, 0},
        {"1.0", 0, 10, false, 0},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct err e = {0};
        uint64_t got = 4711;
        int r = num_parse_u64("vmid", cases[i].text, cases[i].min, cases[i].max, &got, &e);
        assert_int_equal(r, cases[i].good ? 0 : -1);
        assert_true(got == (cases[i].good ? cases[i].want : 4711));
        if (r < 0) {
            assert_int_equal(e.kind, ERR_USAGE);
            assert_non_null(strstr(e.text, "vmid"));
            assert_non_null(strstr(e.text, cases[i].text));
        }
    }
}

static void test_i64(void **state)
{
    static const struct {
        const char *text;
        bool good;
        int64_t want;
    } cases[] = {
        {"9223372036854775807", true, INT64_MAX},
        {"-9223372036854775808", true, INT64_MIN},
        {"+5", true, 5},
        {"-0", true, 0},
        {"9223372036854775808", false, 0},
        {"-9223372036854775809", false, 0},
        {"--5", false, 0},
        {"+-5", false, 0},
        {"-", false, 0},
        {"", false, 0},
        {" -5", false, 0},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct err e = {0};
        int64_t got = 4711;
        int r = num_parse_i64("n", cases[i].text, INT64_MIN, INT64_MAX, &got, &e);
        assert_int_equal(r, cases[i].good ? 0 : -1);
        assert_true(got == (cases[i].good ? cases[i].want : 4711));
    }
}

static void test_double(void **state)
{
    static const struct {
        const char *text;
        bool good;
        double want;
    } cases[] = {
        {"12", true, 12},    {"1.5", true, 1.5},  {".5", true, 0.5},    {"5.", true, 5},
        {"1e2", true, 100},  {"1E+2", true, 100}, {"250e-1", true, 25}, {"-1.5", true, -1.5},
        {"+1.5", true, 1.5}, {"", false, 0},      {".", false, 0},      {"-", false, 0},
        {"e2", false, 0},    {"1e", false, 0},    {"1e+", false, 0},    {"1e2x", false, 0},
        {"0x10", false, 0},  {"inf", false, 0},   {"nan", false, 0},    {"1e999", false, 0},
        {"1,5", false, 0},   {" 1", false, 0},    {"1 ", false, 0},     {"1001", false, 0},
        {"1.5.5", false, 0},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct err e = {0};
        double got = 4711;
        int r = num_parse_double("rate", cases[i].text, -1000, 1000, &got, &e);
        assert_int_equal(r, cases[i].good ? 0 : -1);
        assert_true(got == (cases[i].good ? cases[i].want : 4711));
        if (r < 0)
            assert_non_null(strstr(e.text, "rate"));
    }
}

static void test_bool(void **state)
{
    static const struct {
        const char *text;
        int want; /* -1: refused */
    } cases[] = {
        {"1", 1},  {"on", 1},    {"yes", 1}, {"true", 1}, {"TRUE", 1}, {"0", 0},   {"off", 0},
        {"No", 0}, {"false", 0}, {"", -1},   {"2", -1},   {"y", -1},   {"00", -1}, {"true ", -1},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct err e = {0};
        bool got = false;
        int r = num_parse_bool("disable", cases[i].text, &got, &e);
        assert_int_equal(r, cases[i].want < 0 ? -1 : 0);
        if (r == 0)
            assert_int_equal(got, cases[i].want);
    }
}

static void test_print_double(void **state)
{
    static const struct {
        double value;
        const char *want;
    } cases[] = {{10, "10"},        {1.5, "1.5"},    {0.1, "0.1"},           {0, "0"},
                 {-2.25, "-2.25"},  {1.0 / 3, NULL}, {12345678, "12345678"}, {1e14, "100000000000000"},
                 {1e300, "1e+300"}, {1e-9, "1e-09"}};
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        char text[32];
        struct err e;
        double back;
        num_print_double(cases[i].value, text);
        if (cases[i].want)
            assert_string_equal(text, cases[i].want);
        assert_int_equal(num_parse_double("x", text, -1e301, 1e301, &back, &e), 0);
        assert_true(back == cases[i].value);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_u64),  cmocka_unit_test(test_i64),          cmocka_unit_test(test_double),
        cmocka_unit_test(test_bool), cmocka_unit_test(test_print_double),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
