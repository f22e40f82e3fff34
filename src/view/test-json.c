#include "view/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void expect(json_t *value, const char *text)
{
    _cleanup_buf_ struct buf out = BUF_INIT;
    json_print(value, false, &out);
    assert_string_equal(buf_str(&out), text);
    json_decref(value);
}

static void test_scalars(void **state)
{
    expect(json_string(""), "\"\"\n");
    expect(json_string("plain ~ text/"), "\"plain ~ text/\"\n");
    expect(json_string("a\"b\\c"), "\"a\\\"b\\\\c\"\n");
    expect(json_string("ä 1"), "\"ä 1\"\n");
    expect(json_string("a\nb\x1b[2J"), "\"a\\nb\\u001B[2J\"\n");
    expect(json_string("a\u202eb"), "\"a\\u202Eb\"\n");
    expect(json_integer(-9007199254740993), "-9007199254740993\n");
    expect(json_real(10), "10\n");
    expect(json_real(0.1), "0.1\n");
    expect(json_pack("[b, b, n]", 1, 0), "[true,false,null]\n");
}

static void test_objects(void **state)
{
    expect(json_object(), "{}\n");
    expect(json_pack("{s:i, s:i, s:{s:[]}}", "b", 1, "a\"", 2, "aa", "x"),
           "{\"a\\\"\":2,\"aa\":{\"x\":[]},\"b\":1}\n");
    _cleanup_buf_ struct buf out = BUF_INIT;
    json_t *o = json_pack("{s:i, s:[i]}", "b", 1, "a", 2);
    json_print(o, true, &out);
    assert_string_equal(buf_str(&out), "{\n   \"a\" : [\n      2\n   ],\n   \"b\" : 1\n}\n");
    json_decref(o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scalars),
        cmocka_unit_test(test_objects),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
