/* buf and strv: the two containers of text. */
#include "base/buf.h"
#include "base/strv.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

static void test_buf_grows_and_stays_a_string(void **state)
{
    _cleanup_buf_ struct buf b = BUF_INIT;
    assert_string_equal(buf_str(&b), "");
    buf_adds(&b, "one");
    buf_addc(&b, ' ');
    buf_addf(&b, "%d %s", 2, "three");
    buf_add(&b, "\0x", 2);
    assert_int_equal(b.len, 13);
    assert_memory_equal(b.data, "one 2 three\0x", 14);
    buf_clear(&b);
    assert_int_equal(b.len, 0);
    assert_string_equal(buf_str(&b), "");
    for (int i = 0; i < 1000; i++) {
        buf_addf(&b, "%04d", i);
        assert_int_equal(b.data[b.len], 0);
    }
    assert_int_equal(b.len, 4000);
    assert_memory_equal(b.data + 4 * 999, "0999", 5);
}

static void test_buf_reserve(void **state)
{
    _cleanup_buf_ struct buf b = BUF_INIT;
    char *to = buf_reserve(&b, 100);
    assert_int_equal(b.len, 0);
    memset(to, 'x', 100);
    b.len += 100;
    buf_addc(&b, 'y');
    assert_int_equal(b.len, 101);
    assert_int_equal(b.data[99], 'x');
    assert_int_equal(b.data[100], 'y');
}

static void test_buf_take(void **state)
{
    struct buf b = BUF_INIT;
    char *s = buf_take(&b);
    assert_string_equal(s, "");
    free(s);
    buf_reserve(&b, 10); /* room but no text */
    s = buf_take(&b);
    assert_string_equal(s, "");
    free(s);
    buf_adds(&b, "text");
    s = buf_take(&b);
    assert_string_equal(s, "text");
    assert_null(b.data);
    free(s);
    buf_release(&b);
}

static void assert_items(const struct strv *s, const char *want)
{
    char *got = strv_join(s, "|");
    assert_string_equal(got, want);
    free(got);
    if (s->v)
        assert_null(s->v[s->n]);
}

static void test_strv_split_and_join(void **state)
{
    static const struct {
        const char *text, *separators, *want;
    } cases[] = {
        {"", ",", ""},
        {",,,", ",", ""},
        {"a", ",", "a"},
        {"a,b", ",", "a|b"},
        {",a,,b;c ", ",; ", "a|b|c"},
        {"a b", ",", "a b"},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        _cleanup_strv_ struct strv s = STRV_INIT;
        strv_split(&s, cases[i].text, cases[i].separators);
        assert_items(&s, cases[i].want);
    }
}

static void test_strv_changes(void **state)
{
    _cleanup_strv_ struct strv s = STRV_INIT;
    strv_sort(&s);
    assert_items(&s, "");
    strv_adds(&s, "b", "a", "c", NULL);
    strv_addf(&s, "%s%d", "d", 1);
    assert_items(&s, "b|a|c|d1");
    assert_true(strv_has(&s, "a"));
    assert_false(strv_has(&s, "d"));
    assert_false(strv_add_once(&s, "c"));
    assert_true(strv_add_once(&s, "e"));
    strv_remove(&s, 0);
    assert_items(&s, "a|c|d1|e");
    strv_remove(&s, 3);
    strv_add(&s, "B");
    strv_sort(&s);
    assert_items(&s, "B|a|c|d1");
    while (s.n)
        strv_remove(&s, s.n - 1);
    assert_items(&s, "");
    strv_add(&s, "again");
    assert_items(&s, "again");
}

static void test_strv_many(void **state)
{
    _cleanup_strv_ struct strv s = STRV_INIT;
    for (size_t i = 0; i < 1000; i++) {
        strv_addf(&s, "%zu", i);
        assert_int_equal(s.n, i + 1);
        assert_null(s.v[s.n]);
    }
    assert_string_equal(s.v[0], "0");
    assert_string_equal(s.v[999], "999");
}

/* Removal followed by addition crosses the sizes at which the vector grows. */
static void test_strv_seesaw(void **state)
{
    _cleanup_strv_ struct strv s = STRV_INIT;
    for (int round = 0; round < 40; round++) {
        for (int i = 0; i < 5; i++)
            strv_add(&s, "x");
        for (int i = 0; i < 4; i++)
            strv_remove(&s, 0);
        assert_null(s.v[s.n]);
    }
    assert_int_equal(s.n, 40);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_buf_grows_and_stays_a_string),
        cmocka_unit_test(test_buf_reserve),
        cmocka_unit_test(test_buf_take),
        cmocka_unit_test(test_strv_split_and_join),
        cmocka_unit_test(test_strv_changes),
        cmocka_unit_test(test_strv_many),
        cmocka_unit_test(test_strv_seesaw),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
