#include "base/jsonspan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

static struct json_span parse(const char *text)
{
    struct json_span root;
    size_t bad;
    if (json_check(text, strlen(text), &root, &bad) < 0)
        fail_msg("'%s': bad at %zu", text, bad);
    return root;
}

static void test_accepts(void **state)
{
    static const char *const good[] = {
        "{}",
        " [ ] ",
        "null",
        "-0.5e+10",
        "0",
        "\"\\u00e4\\ud83d\\ude00 \\\\\\\"\"",
        "{\"a\":[1,{\"b\":[]},true,false]}\n",
        "\"\xc3\xa4\xf0\x9f\x98\x80\"",
    };
    for (size_t i = 0; i < ELEMENTS(good); i++)
        parse(good[i]);
}

static void test_refuses(void **state)
{
    static const struct {
        const char *text;
        size_t bad;
    } cases[] = {
        {"", 0},
        {"{", 1},
        {"{} x", 3},
        {"{\"a\"}", 4},
        {"{\"a\":1,}", 7},
        {"[1 2]", 3},
        {"[1,]", 3},
        {"01", 1},
        {"-", 1},
        {"1.", 2},
        {"1e", 2},
        {"nul", 0},
        {"'a'", 0},
        {"\"a", 2},
        {"\"\\x\"", 2},
        {"\"\\u12g4\"", 5},
        {"\"a\nb\"", 2},
        {"\"\xff\"", 1},
        {"\"\xc0\x80\"", 1},         /* overlong */
        {"\"\xed\xa0\x80\"", 1},     /* a surrogate */
        {"\"\xf4\x90\x80\x80\"", 1}, /* beyond U+10FFFF */
        {"\"\xc3", 1},
        {"{1:2}", 1},
        {"[1}", 2},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct json_span root;
        size_t bad = 999;
        if (json_check(cases[i].text, strlen(cases[i].text), &root, &bad) == 0)
            fail_msg("'%s' was accepted", cases[i].text);
        assert_int_equal(bad, cases[i].bad);
    }
}

static void test_depth_is_bounded(void **state)
{
    char text[200000];
    memset(text, '[', sizeof text);
    struct json_span root;
    size_t bad;
    assert_int_equal(json_check(text, sizeof text, &root, &bad), -1);
    assert_true(bad < 100);
}

static void test_walk(void **state)
{
    struct json_span root =
        parse(" { \"a\" : 1 , \"b\":{\"x\":\"}\\\"\"},\"c\" : [ 1,\"two\" , [] ] , \"a\":2 } ");
    static const char *const keys[] = {"a", "b", "c", "a"};
    static const char *const values[] = {"1", "{\"x\":\"}\\\"\"}", "[ 1,\"two\" , [] ]", "2"};
    struct json_iter it = json_iter(root);
    struct json_span key, value;
    size_t n = 0;
    while (json_next(&it, &key, &value)) {
        assert_true(n < 4);
        assert_true(json_key_is(key, keys[n]));
        assert_int_equal(value.len, strlen(values[n]));
        assert_memory_equal(value.p, values[n], value.len);
        n++;
    }
    assert_int_equal(n, 4);

    int64_t number;
    assert_true(json_to_i64(json_get(root, "a"), &number));
    assert_int_equal(number, 2); /* the last one wins */
    assert_null(json_get(root, "z").p);
    _cleanup_free_ char *x = json_to_string(json_get(json_get(root, "b"), "x"));
    assert_string_equal(x, "}\"");

    it = json_iter(json_get(root, "c"));
    for (n = 0; json_next(&it, NULL, &value); n++)
        ;
    assert_int_equal(n, 3);

    it = json_iter(parse("{}"));
    assert_false(json_next(&it, &key, &value));
    it = json_iter(parse("[ ]"));
    assert_false(json_next(&it, &key, &value));
    it = json_iter(parse("7"));
    assert_false(json_next(&it, &key, &value));

    _cleanup_buf_ struct buf b = BUF_INIT;
    json_add(&b, root);
    assert_string_equal(b.data, "{\"a\":1,\"b\":{\"x\":\"}\\\"\"},\"c\":[1,\"two\",[]],\"a\":2}");
}

static void test_numbers(void **state)
{
    static const struct {
        const char *text;
        bool ok;
        int64_t value;
    } cases[] = {
        {"17", true, 17},     {"\"17\"", true, 17},
        {"-3", true, -3},     {"9223372036854775807", true, INT64_MAX},
        {"2.9", true, 2},     {"1e3", true, 1000},
        {"1e30", false, 0},   {"\"\"", false, 0},
        {"\"1x\"", false, 0}, {"null", false, 0},
        {"[1]", false, 0},    {"\"0x10\"", false, 0},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        int64_t value = 0;
        assert_int_equal(json_to_i64(parse(cases[i].text), &value), cases[i].ok);
        assert_int_equal(value, cases[i].value);
    }
    double d;
    assert_true(json_to_double(parse("1.25"), &d) && d == 1.25);
    assert_false(json_to_double((struct json_span){NULL, 0}, &d));
}

static void test_strings(void **state)
{
    static const struct {
        const char *json, *text;
    } cases[] = {
        {"\"\"", ""},
        {"\"a\\n\\t\\/\\\\\"", "a\n\t/\\"},
        {"\"\\u00e4\\u20ac\\ud83d\\ude00\"", "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80"},
        {"\"\\ud83dx\"", "\xef\xbf\xbdx"},
        {"\"\\ud83d\\u0041\"", "\xef\xbf\xbd"
                               "A"},
        {"\"\\u0000\"", NULL},
        {"5", NULL},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        _cleanup_free_ char *text = json_to_string(parse(cases[i].json));
        if (cases[i].text)
            assert_string_equal(text, cases[i].text);
        else
            assert_null(text);
    }
    _cleanup_buf_ struct buf b = BUF_INIT;
    json_add_string(&b, "a\"\\\n\x01\xc3\xa4\xff\xc3");
    assert_string_equal(b.data, "\"a\\\"\\\\\\n\\u0001\xc3\xa4\xef\xbf\xbd\xef\xbf\xbd\"");
    parse(b.data);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accepts),          cmocka_unit_test(test_refuses),
        cmocka_unit_test(test_depth_is_bounded), cmocka_unit_test(test_walk),
        cmocka_unit_test(test_numbers),          cmocka_unit_test(test_strings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
