/* Which of a node's addresses is taken, and how long it is remembered. */
#include "run/transport.h"

#include "base/fs.h"
#include "base/proc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void test_choose(void **state)
{
    (void)state;
    static const struct {
        const char *network, *addresses, *chosen, *error;
    } cases[] = {
        {"10.1.0.0/24", "10.1.0.2", "10.1.0.2", NULL},
        {"fd00::/64", "fd00::2", "fd00::2", NULL},
        {"10.1.0.0/24", "", NULL, "failed to get ip for node 'pve2' in network '10.1.0.0/24': it has none"},
        {"10.1.0.0/24", "10.1.0.2 10.1.0.3", NULL,
         "failed to get ip for node 'pve2' in network '10.1.0.0/24': it has several there (10.1.0.2, "
         "10.1.0.3)"},
        {"10.1.0.0/24", "10.2.0.2", NULL, "named '10.2.0.2'"},
        {"10.1.0.0/24", "-oProxyCommand=x", NULL, "named '-oProxyCommand=x'"},
        {"10.1.0.0/24", "10.1.0.2 evil", NULL, "named 'evil'"},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        _cleanup_strv_ struct strv addresses = STRV_INIT;
        struct err e = {0};
        strv_split(&addresses, cases[i].addresses, " ");
        _cleanup_free_ char *got = transport_choose("pve2", cases[i].network, &addresses, &e);
        if (cases[i].chosen) {
            assert_non_null(got);
            assert_string_equal(got, cases[i].chosen);
        } else if (got || !strstr(e.text, cases[i].error)) {
            fail_msg("'%s': got '%s', '%s'", cases[i].addresses, got ? got : "nothing", e.text);
        }
    }
}

static void recalls(const struct link_target *t, const char *network, const char *want)
{
    _cleanup_free_ char *got = transport_recall(t, network);
    if (!want != !got || (got && strcmp(got, want) != 0))
        fail_msg("%s in %s: '%s'", t->address, network, got ? got : "nothing");
}

static void test_remember(void **state)
{
    (void)state;
    char dir[] = "/tmp/pvesr-transport-XXXXXX";
    assert_non_null(mkdtemp(dir));
    struct link_target a = {
        .node = "pve2", .address = "10.0.0.2", .port = 22, .user = "root", .run_dir = dir};
    struct link_target b = a, nowhere = a;
    b.address = "10.0.0.3";
    nowhere.run_dir = NULL;
    recalls(&a, "10.1.0.0/24", NULL);
    transport_remember(&a, "10.1.0.0/24", "10.1.0.2");
    transport_remember(&nowhere, "10.1.0.0/24", "10.1.0.2");
    recalls(&a, "10.1.0.0/24", "10.1.0.2");
    recalls(&a, "10.2.0.0/24", NULL);
    recalls(&b, "10.1.0.0/24", NULL);
    recalls(&nowhere, "10.1.0.0/24", NULL);
    transport_remember(&a, "10.1.0.0/24", "10.2.0.2"); /* not in it, however it came there */
    recalls(&a, "10.1.0.0/24", NULL);
    transport_remember(&a, "fd00::/64", "fd00::2");
    recalls(&a, "fd00::/64", "fd00::2");
    transport_forget(&a);
    recalls(&a, "fd00::/64", NULL);
    struct err e = {0};
    char *rm[] = {(char *)"rm", (char *)"-r", dir, NULL};
    assert_int_equal(proc_check(rm, NULL, NULL, &e), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_choose),
        cmocka_unit_test(test_remember),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
