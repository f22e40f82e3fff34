#include "state/testdir.h"

#include "base/testbrief.h"
#include "state/statefile.h"

#include <string.h>

static const char file[] = "pve-replication-state.json";

static void write_guest(const char *dir, const char *guest, const char *object)
{
    struct err e;
    struct state_file f;
    _cleanup_buf_ struct buf text = BUF_INIT;
    buf_adds(&text, object);
    if (state_file_read(dir, guest, &f, &e) < 0 || state_file_write_guest(&f, guest, &text, &e) < 0)
        fail_msg("%s", e.text);
    state_file_release(&f);
}

/* All that does not concern the guest goes over byte for byte. */
static void test_one_guest_is_replaced(void **state)
{
    static const struct {
        const char *before, *object, *after;
    } cases[] = {
        {"", "{\"t\":{}}", "{\"2\":{\"t\":{}}}"},
        {" \n", "{}", "{}"},
        {"{ }", "{\"t\":{}}", "{\"2\":{\"t\":{}}}"},
        {"{\"1\":{},\"3\":{}}", "{\"t\":{}}", "{\"1\":{},\"3\":{},\"2\":{\"t\":{}}}"},
        {"{\"1\":{},\"2\":{\"o\":1},\"3\":{}}", "{\"t\":{}}", "{\"1\":{},\"2\":{\"t\":{}},\"3\":{}}"},
        {"{\"2\":{\"o\":1},\"3\":{}}", "{\"t\":{}}", "{\"2\":{\"t\":{}},\"3\":{}}"},
        {"{\"1\":{},\"2\":{\"o\":1}}", "{\"t\":{}}", "{\"1\":{},\"2\":{\"t\":{}}}"},
        {"{\"1\":{},\"2\":{\"o\":1},\"3\":{}}", "{}", "{\"1\":{},\"3\":{}}"},
        {"{\"1\":{},\"2\":{\"o\":1}}", "", "{\"1\":{}}"},
        {"{\"2\":{\"o\":1},\"3\":{}}", "", "{\"3\":{}}"},
        {"{\"2\":{\"o\":1}}", "", "{}"},
        {"\n{\n  \"1\" : { \"a\" : 1 } ,\n  \"2\" : 7 ,\n  \"3\" : [ 1 ]\n}\n", "{\"t\":{}}",
         "{\"1\" : { \"a\" : 1 },\"2\":{\"t\":{}},\"3\" : [ 1 ]}"},
        {"{\"2\":{\"o\":1},\"1\":{},\"2\":{\"o\":2}}", "{\"t\":{}}", "{\"1\":{},\"2\":{\"t\":{}}}"},
        {"{\"2\":{\"o\":1},\"1\":{},\"2\":{\"o\":2}}", "", "{\"1\":{}}"},
        {"{\"1\":{\"2\":{\"o\":1}},\"22\":{},\"\\u0032\":{}}", "{\"t\":{}}",
         "{\"1\":{\"2\":{\"o\":1}},\"22\":{},\"\\u0032\":{},\"2\":{\"t\":{}}}"},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        put(*state, file, cases[i].before);
        write_guest(*state, "2", cases[i].object);
        _cleanup_free_ char *after = get(*state, file);
        assert_string_equal(after, cases[i].after);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        DIR_TEST(test_one_guest_is_replaced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
