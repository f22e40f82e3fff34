#include "base/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "base/mem.h"

static void test_set(void **state)
{
    static const struct {
        enum err_kind kind;
        int code;
        enum err_kind want;
        const char *text;
    } cases[] = {
        {ERR_GONE, 0, ERR_GONE, "no such job '100-0'"},
        {ERR_GONE, ENOENT, ERR_GONE, "no such job '100-0': No such file or directory"},
        {ERR_SYSTEM, ENOENT, ERR_SYSTEM, "no such job '100-0': No such file or directory"},
        {ERR_SYSTEM, ENOSPC, ERR_FULL, "no such job '100-0': No space left on device"},
        {ERR_SYSTEM, EDQUOT, ERR_FULL, "no such job '100-0': Disk quota exceeded"},
        {ERR_NETWORK, ENOSPC, ERR_NETWORK, "no such job '100-0': No space left on device"},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct err e;
        assert_int_equal(err_set(&e, cases[i].kind, cases[i].code, "no such job '%s'", "100-0"), -1);
        assert_int_equal(e.kind, cases[i].want);
        assert_int_equal(e.code, cases[i].code);
        assert_string_equal(e.text, cases[i].text);
    }
}

static void test_sys_takes_errno(void **state)
{
    struct err e;
    errno = EACCES;
    assert_int_equal(err_sys(&e, "cannot open '%s'", "x"), -1);
    assert_int_equal(e.kind, ERR_SYSTEM);
    assert_int_equal(e.code, EACCES);
    assert_string_equal(e.text, "cannot open 'x': Permission denied");
}

static void test_wrap(void **state)
{
    struct err e;
    err_set(&e, ERR_BUSY, EAGAIN, "taken");
    assert_int_equal(err_wrap(&e, "job %d", 7), -1);
    err_wrap(&e, "pass");
    assert_int_equal(e.kind, ERR_BUSY);
    assert_int_equal(e.code, EAGAIN);
    assert_string_equal(e.text, "pass: job 7: taken: Resource temporarily unavailable");
}

static void test_arguments_may_point_into_the_error(void **state)
{
    struct err e;
    err_set(&e, ERR_DATA, 0, "inner");
    err_set(&e, ERR_DATA, 0, "outer of %s", e.text);
    assert_string_equal(e.text, "outer of inner");
    err_wrap(&e, "again %s", e.text);
    assert_string_equal(e.text, "again outer of inner: outer of inner");
}

static void test_context_is_said_once(void **state)
{
    static const struct {
        const char *said, *context, *want;
    } cases[] = {
        {"no room", "volume 'v'", "volume 'v': no room"},
        {"volume 'v': no room", "volume 'v'", "volume 'v': no room"},
        {"pve2: volume 'v': no room", "volume 'v'", "pve2: volume 'v': no room"},
        {"pve2: volume 'w': no room", "volume 'v'", "volume 'v': pve2: volume 'w': no room"},
        {"volume 'v' is gone", "volume 'v'", "volume 'v' is gone"},
        {"no such volume 'v': gone", "volume 'v'", "no such volume 'v': gone"},
        {"no such volume 'v2': gone", "volume 'v'", "volume 'v': no such volume 'v2': gone"},
        {"target is bad", "target", "target: target is bad"},
        {"target: it is bad", "target", "target: it is bad"},
        {"pve2: target: it is bad", "target", "pve2: target: it is bad"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err e;
        err_set(&e, ERR_GONE, 0, "%s", cases[i].said);
        assert_int_equal(err_wrap(&e, "%s", cases[i].context), -1);
        assert_string_equal(e.text, cases[i].want);
        assert_int_equal(e.kind, ERR_GONE);
    }
    struct err e;
    err_set(&e, ERR_NETWORK, 0, "pve2: pve2: hung up");
    err_unwrap(&e, "pve");
    assert_string_equal(e.text, "pve2: pve2: hung up");
    err_unwrap(&e, "pve2");
    assert_string_equal(e.text, "pve2: hung up");
}

static void test_long_text_is_cut(void **state)
{
    static char lots[2 * ERR_TEXT_MAX];
    struct err e;
    memset(lots, 'x', sizeof lots - 1);
    err_set(&e, ERR_DATA, EIO, "%s", lots);
    assert_int_equal(strlen(e.text), ERR_TEXT_MAX - 1);
    err_wrap(&e, "%s", lots);
    assert_int_equal(strlen(e.text), ERR_TEXT_MAX - 1);
    err_set(&e, ERR_DATA, 0, "short");
    err_wrap(&e, "%.*s", ERR_TEXT_MAX - 4, lots);
    assert_int_equal(strlen(e.text), ERR_TEXT_MAX - 1);
}

static void test_kind_names(void **state)
{
    for (int kind = ERR_NONE; kind <= ERR_SYSTEM; kind++)
        assert_int_equal(err_kind_parse(err_kind_name((enum err_kind)kind)), kind);
    assert_int_equal(err_kind_parse("nonsense"), ERR_SYSTEM);
    assert_string_equal(err_kind_name((enum err_kind)99), "system");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_set),
        cmocka_unit_test(test_sys_takes_errno),
        cmocka_unit_test(test_wrap),
        cmocka_unit_test(test_arguments_may_point_into_the_error),
        cmocka_unit_test(test_context_is_said_once),
        cmocka_unit_test(test_long_text_is_cut),
        cmocka_unit_test(test_kind_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
