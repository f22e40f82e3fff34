/* Which texts are users and tokens. */
#include "access/userid.h"

#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define TEXT_58 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static void test_users(void **state)
{
    (void)state;
    static const char *const good[] = {"root@pam", "a@pve",         "joe@example.org@ldap",
                                       "jo!e@pve", "jürgen@pve",    "a@l-d.a_p2",
                                       "x=y@pve",  TEXT_58 "@pveaa"};
    static const char *const bad[] = {"",
                                      "root",
                                      "@pve",
                                      "root@",
                                      "root@p",
                                      "root@2pam",
                                      "a b@pve",
                                      "a:b@pve",
                                      "a/b@pve",
                                      "a\tb@pve",
                                      "a\nb@pve",
                                      "!tfa!x@pve",
                                      "@adm@pve",
                                      "root@pam!t",
                                      "root@pam!tok",
                                      "root@p:m",
                                      "root@pam ",
                                      " root@pam",
                                      "a\x01@pve",
                                      "a\xff@pve",
                                      "a\xe2\x80\xae"
                                      "b@pve",
                                      "root@pam\n",
                                      TEXT_58 "@pveaaa"};
    for (size_t i = 0; i < ELEMENTS(good); i++)
        if (!userid_is_valid(good[i]))
            fail_msg("'%s' is a user", good[i]);
    for (size_t i = 0; i < ELEMENTS(bad); i++)
        if (userid_is_valid(bad[i]))
            fail_msg("'%s' is no user", bad[i]);
    assert_string_equal(userid_realm("joe@example.org@ldap"), "ldap");
}

static void test_tokens(void **state)
{
    (void)state;
    static const char *const good[] = {"root@pam!mon", "jo!e@pve!a-b_c.2", "joe@example.org@ldap!tok"};
    static const char *const bad[] = {
        "root@pam", "root@pam!", "root@pam!m",       "root@pam!2mon", "root@pam!a!b",  "root@pam!a b", "!tok",
        "@pam!mon", "root!mon",  "root@pam!mon@pve", "root@pam!mon ", "root@pam!mon=", "!tfa@pam!mon"};
    for (size_t i = 0; i < ELEMENTS(good); i++)
        if (!tokenid_is_valid(good[i]))
            fail_msg("'%s' is a token", good[i]);
    for (size_t i = 0; i < ELEMENTS(bad); i++)
        if (tokenid_is_valid(bad[i]))
            fail_msg("'%s' is no token", bad[i]);
    char longest[WHO_MAX + 2] = "root@pam!";
    memset(longest + strlen(longest), 'a', WHO_MAX - 1 - strlen(longest));
    assert_true(tokenid_is_valid(longest));
    strcat(longest, "a");
    assert_false(tokenid_is_valid(longest));
    assert_true(who_is_token("jo!e@pve!tok"));
    assert_false(who_is_token("jo!e@pve"));
    assert_int_equal(who_user_len("jo!e@pve!tok"), strlen("jo!e@pve"));
    assert_int_equal(who_user_len("jo!e@pve"), strlen("jo!e@pve"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_users), cmocka_unit_test(test_tokens)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
