/* text_clean: no text from elsewhere is more than one line, or moves a terminal's cursor. */
#include "base/text.h"

#include "base/err.h"
#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

static const struct {
    int line;
    const char *from, *to;
} cases[] = {
    {__LINE__, "", ""},
    {__LINE__, "plain text: 100%", "plain text: 100%"},
    {__LINE__,
     "gr\xc3\xbc\xc3\x9f"
     "e \xf0\x9f\x98\x80",
     "gr\xc3\xbc\xc3\x9f"
     "e \xf0\x9f\x98\x80"},
    {__LINE__, "two\nlines", "two lines"},
    {__LINE__, "ends\r\n\n", "ends"},
    {__LINE__, "\n", ""},
    {__LINE__, "blank \n", "blank "},
    {__LINE__, "a\tb\rc", "a b c"},
    {__LINE__, "\x1b[2J\x1b]0;x\a\x7f", "?[2J?]0;x??"},
    {__LINE__,
     "\xc2\x9b"
     "31m",
     "?31m"}, /* CSI of eight bits */
    {__LINE__,
     "OK\xe2\x80\xae"
     "KO",
     "OK?KO"}, /* right-to-left override */
    {__LINE__,
     "a\xe2\x80\xa8"
     "b",
     "a?b"}, /* line separator */
    {__LINE__,
     "a\xef\xbb\xbf"
     "b\xc2\xad",
     "a?b?"},                                    /* byte order mark, soft hyphen */
    {__LINE__, "\xff\xc3", "??"},                /* no UTF-8, and cut in a character */
    {__LINE__, "\xc0\x9b\xed\xa0\x80", "?????"}, /* overlong, half of a pair */
    {__LINE__, "\xc2\xa0\xe2\x80\xa7\xe2\x81\xb0",
     "\xc2\xa0\xe2\x80\xa7\xe2\x81\xb0"}, /* beside the ranges */
};

static void test_clean(void **state)
{
    (void)state;
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        _cleanup_free_ char *text = xstrdup(cases[i].from);
        assert_int_equal(text_is_clean(text), strcmp(cases[i].from, cases[i].to) == 0);
        text_clean(text);
        assert_true(text_is_clean(text));
        if (strcmp(text, cases[i].to) != 0)
            fail_msg("line %d: '%s', not '%s'", cases[i].line, text, cases[i].to);
        text_clean(text);
        assert_string_equal(text, cases[i].to);
    }
}

/* Every sentence, however it came together. */
static void test_errors_are_clean(void **state)
{
    (void)state;
    struct err e = {0};
    err_set(&e, ERR_DATA, 0, "cannot read '%s'", "x\n100-1 yes\x1b[A");
    assert_string_equal(e.text, "cannot read 'x 100-1 yes?[A'");
    err_wrap(&e, "%s", "pve2\r");
    assert_string_equal(e.text, "pve2 : cannot read 'x 100-1 yes?[A'");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_clean), cmocka_unit_test(test_errors_are_clean)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
