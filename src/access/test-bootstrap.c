/* What is missing is made, and with it somebody can log in; what is there stays. */
#include "access/bootstrap.h"

#include "access/testkeys.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void check_files(const struct bootstrap *b, const char *files)
{
    _cleanup_strv_ struct strv names = STRV_INIT;
    for (size_t i = 0; i < b->n; i++)
        strv_add(&names, b->files[i].path);
    _cleanup_free_ char *joined = strv_join(&names, " ");
    assert_string_equal(joined, files);
}

static void test_what_is_missing(void **state)
{
    (void)state;
#define USER .user_cfg = "user:root@pam:1:0::::::\n", .user_len = 24
#define WWW .www_key = TEST_WWW_KEY, .www_len = sizeof TEST_WWW_KEY - 1
    static const struct {
        struct access_texts there;
        const char *files; /* in the order of writing */
    } cases[] = {
        {{USER, WWW, .keys = {TEST_KEY, TEST_PUB, NULL, 0}}, ""},
        {{USER, WWW, .keys = {TEST_KEY, TEST_PUB, TEST_OLD_PUB, 0}}, ""},
        {{WWW, .keys = {TEST_KEY, TEST_PUB, NULL, 0}}, "user.cfg"},
        {{.user_cfg = "", WWW, .keys = {TEST_KEY, TEST_PUB, NULL, 0}}, ""},
        {{USER, .www_key = "", .keys = {TEST_KEY, TEST_PUB, NULL, 0}}, "pve-www.key"},
        {{USER, WWW, .keys = {TEST_KEY, NULL, NULL, 0}}, "authkey.pub"},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct bootstrap b;
        struct err e;
        assert_int_equal(bootstrap_plan(&cases[i].there, &b, &e), 0);
        check_files(&b, cases[i].files);
        bootstrap_release(&b);
    }
}

static const char *text_of(const struct bootstrap *b, const char *path)
{
    for (size_t i = 0; i < b->n; i++)
        if (strcmp(b->files[i].path, path) == 0)
            return b->files[i].text;
    return NULL;
}

/* Of an empty tree: root gets a ticket, and may everything by it. */
static void test_log_in(void **state)
{
    (void)state;
    struct bootstrap b;
    struct err e;
    assert_int_equal(bootstrap_plan(&(struct access_texts){0}, &b, &e), 0);
    check_files(&b, "user.cfg pve-www.key priv/authkey.key authkey.pub");
    const struct access_texts texts = {
        .user_cfg = text_of(&b, "user.cfg"),
        .user_len = strlen(text_of(&b, "user.cfg")),
        .www_key = text_of(&b, "pve-www.key"),
        .www_len = strlen(text_of(&b, "pve-www.key")),
        .keys = {text_of(&b, "priv/authkey.key"), text_of(&b, "authkey.pub"), NULL, TEST_NOW},
    };
    _cleanup_strv_ struct strv warnings = STRV_INIT;
    _cleanup_access_ struct access *a = access_new(&texts, &warnings, &e);
    assert_int_equal(warnings.n, 0);
    struct issued issued;
    assert_int_equal(access_issue(a, "root@pam", TEST_NOW, &issued, &e), 0);
    _cleanup_free_ char *cookie = xasprintf("PVEAuthCookie=%s", issued.ticket);
    struct caller caller;
    assert_int_equal(
        caller_identify(a, &(struct credentials){NULL, cookie, issued.csrf, false}, TEST_NOW, &caller, &e),
        0);
    assert_int_equal(caller_may(a, &caller, "/", TEST_NOW), PRIVILEGES_ALL);
    issued_release(&issued);
    bootstrap_release(&b);
}

static void test_chance(void **state)
{
    (void)state;
    struct access_texts there = {USER, .keys = {TEST_KEY, TEST_PUB, NULL, 0}};
    struct bootstrap a, b;
    struct err e;
    assert_int_equal(bootstrap_plan(&there, &a, &e), 0);
    assert_int_equal(bootstrap_plan(&there, &b, &e), 0);
    assert_string_not_equal(text_of(&a, "pve-www.key"), text_of(&b, "pve-www.key"));
    assert_int_equal(strlen(text_of(&a, "pve-www.key")), 65);
    bootstrap_release(&a);
    bootstrap_release(&b);
}

static void test_keys(void **state)
{
    (void)state;
    struct bootstrap b;
    struct err e;
    assert_int_equal(
        bootstrap_plan(&(struct access_texts){USER, WWW, .keys = {TEST_KEY, NULL, NULL, 0}}, &b, &e), 0);
    assert_string_equal(text_of(&b, "authkey.pub"), TEST_PUB);
    bootstrap_release(&b);
    assert_int_equal(
        bootstrap_plan(&(struct access_texts){USER, WWW, .keys = {NULL, TEST_PUB, NULL, 0}}, &b, &e), 0);
    check_files(&b, "authkey.pub.old priv/authkey.key authkey.pub");
    assert_string_equal(text_of(&b, "authkey.pub.old"), TEST_PUB);
    assert_string_not_equal(text_of(&b, "authkey.pub"), TEST_PUB);
    _cleanup_free_ char *other = xstrdup(text_of(&b, "authkey.pub"));
    bootstrap_release(&b);
    assert_int_equal(
        bootstrap_plan(&(struct access_texts){USER, WWW, .keys = {TEST_KEY, other, NULL, 0}}, &b, &e), 0);
    check_files(&b, "authkey.pub.old authkey.pub");
    assert_string_equal(text_of(&b, "authkey.pub.old"), other);
    assert_string_equal(text_of(&b, "authkey.pub"), TEST_PUB);
    bootstrap_release(&b);
    assert_int_equal(
        bootstrap_plan(&(struct access_texts){USER, WWW, .keys = {TEST_KEY, "damaged", NULL, 0}}, &b, &e), 0);
    check_files(&b, "");
    bootstrap_release(&b);
    assert_int_equal(bootstrap_plan(&(struct access_texts){USER, .keys = {"damaged", NULL, NULL, 0}}, &b, &e),
                     -1);
    assert_int_equal(e.kind, ERR_CONFIG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_missing),
        cmocka_unit_test(test_log_in),
        cmocka_unit_test(test_chance),
        cmocka_unit_test(test_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
