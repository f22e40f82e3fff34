/* Which texts are networks, and which addresses are in them. */
#include "base/cidr.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void test_parse(void **state)
{
    (void)state;
    static const char *const good[] = {"10.0.0.0/24", "10.0.0.7/24", "0.0.0.0/1", "10.0.0.1/32",
                                       "fd00::/8",    "fd00::7/64",  "::/1",      "fd00::1/128"};
    static const char *const bad[] = {
        "",           "10.0.0.0", "10.0.0.0/", "10.0.0.0/0",    "10.0.0.0/33", "/24",         "10.0.0/24",
        "fd00::/129", "fd00::",   "host/24",   "10.0.0.0/24/8", "10.0.0.0/x",  "10.0.0.0/-1", " 10.0.0.0/24"};
    struct cidr n;
    for (size_t i = 0; i < ELEMENTS(good); i++)
        if (!cidr_parse(good[i], &n))
            fail_msg("'%s' is a network", good[i]);
    for (size_t i = 0; i < ELEMENTS(bad); i++)
        if (cidr_parse(bad[i], &n))
            fail_msg("'%s' is no network", bad[i]);
}

static void test_has(void **state)
{
    (void)state;
    static const struct {
        const char *network, *address;
        bool has;
    } cases[] = {
        {"10.0.0.0/24", "10.0.0.255", true}, {"10.0.0.7/24", "10.0.0.1", true},
        {"10.0.0.0/24", "10.0.1.0", false},  {"10.0.0.0/23", "10.0.1.255", true},
        {"10.0.0.0/23", "10.0.2.0", false},  {"128.0.0.0/1", "127.255.255.255", false},
        {"128.0.0.0/1", "255.0.0.1", true},  {"10.0.0.1/32", "10.0.0.1", true},
        {"10.0.0.1/32", "10.0.0.0", false},  {"fd00:1::/32", "fd00:1:2::3", true},
        {"fd00:1::/32", "fd00:2::3", false}, {"fd00::80/121", "fd00::ff", true},
        {"fd00::80/121", "fd00::7f", false}, {"fd00::1/128", "fd00::1", true},
        {"::/1", "10.0.0.1", false},         {"10.0.0.0/8", "::ffff:10.0.0.1", false},
        {"10.0.0.0/8", "host", false},       {"10.0.0.0/8", "10.0.0.1/8", false},
        {"10.0.0.0/8", "", false},           {"fe80::/10", "fe80::1%eth0", false},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct cidr n;
        assert_true(cidr_parse(cases[i].network, &n));
        if (cidr_has(&n, cases[i].address) != cases[i].has)
            fail_msg("'%s' in %s: %d", cases[i].address, cases[i].network, !cases[i].has);
    }
}

/* The one interface that every machine has. */
static void test_local(void **state)
{
    (void)state;
    static const struct {
        const char *network;
        size_t n;
    } cases[] = {{"127.0.0.1/32", 1}, {"127.0.0.2/32", 0}, {"240.0.0.0/4", 0}, {"ff00::/8", 0}};
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        _cleanup_strv_ struct strv found = STRV_INIT;
        struct err e = {0};
        struct cidr n;
        assert_true(cidr_parse(cases[i].network, &n));
        assert_int_equal(cidr_local_addresses(&n, &found, &e), 0);
        assert_int_equal(found.n, cases[i].n);
        if (found.n)
            assert_string_equal(found.v[0], "127.0.0.1");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse),
        cmocka_unit_test(test_has),
        cmocka_unit_test(test_local),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
