/* notifications.cfg of Proxmox VE: its targets, who of them is told of what, and its templates. */
#include "notify/pattern.h"
#include "notify/stock.h"
#include "notify/template.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define USERS                                                                                                \
    "user:root@pam:1:0:::admin@example.com::\nuser:night@pve:1:0:N:N:night@example.com:c:\nuser:mute@pve:1:" \
    "0:::::\n"

static void parse(const char *text, const char *secrets, struct notify_targets *t)
{
    stock_parse(text, strlen(text), secrets, strlen(secrets), USERS, strlen(USERS), t);
}

static json_t *failure(void)
{
    return event_json(&(struct event){.kind = EVENT_FAILURE,
                                      .job = "100-0",
                                      .source = "pve1",
                                      .target = "pve2",
                                      .guest = 100,
                                      .time = 1000,
                                      .error = "say \"no\""});
}

static void test_targets(void **state)
{
    (void)state;
    struct notify_targets t;
    parse("sendmail: two\n\tcomment c\n\tmailto a@example.com\n\tmailto b@example.com\n\tmailto-user "
          "night@pve\n\n"
          "smtp: relay\n\tauthor A\n\tfrom-address c@d\n\tmailto-user root@pam\n\tmode starttls\n\tserver "
          "mail\n"
          "\tusername u\n\n"
          "webhook: hook\n\tbody eyJhIjoge3sganNvbiB0aXRsZSB9fX0=\n\theader "
          "name=X-Key,value=e3sgc2VjcmV0cy5rZXkgfX0=\n"
          "\tmethod post\n\tsecret name=key\n\turl https://h/\n\n"
          "gotify: phone\n\tserver http://g/\n\tdisable 1\n\n"
          "sendmail: silent\n\tmailto-user mute@pve\n\n"
          "webhook: broken\n\tmethod post\n\turl http://h/\n\tbody ?\n\n",
          "smtp: relay\n\tpassword p w\n\nwebhook: hook\n\tsecret name=key,value=azE=\n\ngotify: "
          "phone\n\ttoken t1\n",
          &t);
    assert_int_equal(t.n, 5);
    assert_int_equal(t.warnings.n, 2);
    assert_string_equal(t.warnings.v[0],
                        "notifications.cfg:27: target 'silent' is not used: a user without a mail "
                        "address: 'mailto-user mute@pve'");
    assert_non_null(strstr(t.warnings.v[1], "target 'broken' is not used: no base64"));
    assert_string_equal(targets_find(&t, "two")->mail_to, "a@example.com, b@example.com, night@example.com");
    const struct notify_target *relay = targets_find(&t, "relay"), *hook = targets_find(&t, "hook");
    assert_string_equal(relay->mail_to, "admin@example.com");
    assert_string_equal(secret_find(&relay->secrets, "password"), "p w");
    assert_string_equal(hook->body, "{\"a\": {{ json title }}}");
    assert_string_equal(hook->headers.v[0], "X-Key: {{ secrets.key }}");
    assert_string_equal(secret_find(&hook->secrets, "key"), "k1");
    assert_true(targets_find(&t, "phone")->disabled);
    assert_string_equal(targets_find(&t, "mail-to-root")->mail_to, "admin@example.com");
    targets_release(&t);
}

/* A line ends at a zero byte: what is overwritten of it is no more than was copied. */
static void test_zero_in_secrets(void **state)
{
    (void)state;
    struct notify_targets t;
    char secrets[4096];
    memset(secrets, 'y', sizeof secrets);
    snprintf(secrets, sizeof secrets, "gotify: phone\n\ttoken t1\n\tx"); /* with its zero byte */
    const char *text = "gotify: phone\n\tserver http://g/\n";
    stock_parse(text, strlen(text), secrets, sizeof secrets, "", 0, &t);
    assert_string_equal(secret_find(&targets_find(&t, "phone")->secrets, "token"), "t1");
    targets_release(&t);
}

/* Which of the targets "a" and "mail-to-root" is told: "a", "r", "ar", "". */
static void told(const char *text, char ret[3])
{
    struct notify_targets t;
    json_t *event = failure();
    parse(text, "", &t);
    for (size_t i = 0; i < t.n; i++)
        if (targets_want(&t, &t.v[i], event, 1767603600)) /* Mon Jan 5 2026 09:00 UTC */
            *ret++ = *t.v[i].name == 'a' ? 'a' : 'r';
    *ret = 0;
    json_decref(event);
    targets_release(&t);
}

#define A "sendmail: a\n\tmailto x@y\n\n"
#define M A "matcher: m\n\ttarget a\n"

static void test_matchers(void **state)
{
    (void)state;
    static const struct {
        const char *text, *told;
    } rows[] = {
        {A, "r"},
        {M, "ar"},
        {M "\tdisable 1\n", "r"},
        {M "\tinvert-match 1\n", "r"},
        {M "\nmatcher: default-matcher\n\tdisable 1\n", "a"},
        {A "matcher: default-matcher\n\ttarget mail-to-root\n\ttarget a\n", "ar"},
        {"sendmail: a\n\tmailto x@y\n\tdisable 1\n\nmatcher: m\n\ttarget a\n", "r"},
        {M "\tmatch-severity error\n", "ar"},
        {M "\tmatch-severity info,notice,warning\n", "r"},
        {M "\tmatch-field exact:type=vzdump,replication\n", "ar"},
        {M "\tmatch-field exact:type=vzdump\n", "r"},
        {M "\tmatch-field exact:hostname=pve1\n\tmatch-field regex:job-id=^100-\n", "ar"},
        {M "\tmatch-field exact:hostname=pve1\n\tmatch-field regex:job-id=^101-\n", "r"},
        {M "\tmode any\n\tmatch-field exact:hostname=pve9\n\tmatch-field regex:job-id=^100-\n", "ar"},
        {M "\tmode any\n\tinvert-match true\n\tmatch-field exact:hostname=pve9\n", "ar"},
        {M "\tmatch-field regex:nothing=.*\n", "r"},
        {M "\tmatch-calendar 8-12\n", "ar"},
        {M "\tmatch-calendar 9:00-9:01\n", "ar"},
        {M "\tmatch-calendar 8-9\n", "r"},
        {M "\tmatch-calendar mon..fri 8:30-17:45\n", "ar"},
        {M "\tmatch-calendar sun,tue-sat 0-24\n", "r"},
        {M "\tmatch-calendar fri-Monday 0-24\n", "ar"},
        /* what is not understood makes its matcher take everything: rather told once more than never */
        {M "\tmode any\n\tmatch-severity loud\n\tmatch-severity info\n", "ar"},
        {M "\tinvert-match 1\n\tmatch-severity loud\n", "ar"},
        {M "\tmatch-severity info\n\tmatch-field regex:type=a{2}\n", "ar"},
        {M "\tmatch-severity info\n\tmatch-phase moon\n", "ar"},
        {M "\tmatch-severity info\n\tmode some\n", "ar"},
        {M "\tdisable 1\n\tmatch-severity loud\n", "r"},
        {M "\tmatch-calendar nonsense\n", "ar"},
        {M "\tmatch-field glob:type=*\n", "ar"},
        {M "\tmatch-field regex:type=(\n", "ar"},
        {M "\tmatch-severity loud\n", "ar"},
        {"fax: b\n\tnumber 1\n\n" M, "ar"},
        {"a line\n\tof nothing\n" M "# comment\n\tmatch-severity info\n", "r"},
    };
    setenv("TZ", "UTC", 1);
    tzset();
    for (size_t i = 0; i < ELEMENTS(rows); i++) {
        char ret[8];
        told(rows[i].text, ret);
        if (strcmp(ret, rows[i].told) != 0)
            fail_msg("'%s' tells '%s'", rows[i].text, ret);
    }
}

/* 1, 0; -1: not understood. */
static void test_patterns(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *value;
        int expected;
    } rows[] = {
        {"^100-", "100-0", 1},
        {"^pve[12]$|^x$", "pve2", -1},
        {"^(pve[12]|x)$", "pve2", 1},
        {"0$", "100-0", 1},
        {"^(a|ab)$", "ab", 1},
        {"(a|b)b$", "abab", 1},
        {"a$", "ab", 0},
        {"^b", "ab", 0},
        {"^$", "", 1},
        {"b*$", "abbc", 1},
        {"a^b", "a^b", -1},
        {"^pve[12]$", "pve21", 0},
        {"^\\d+-\\d$", "100-0", 1},
        {"^\\d+-\\d$", "a100-0", 0},
        {"^[\\w.-]+$", "pve-1.a_b", 1},
        {"^[\\w.-]+$", "pve 1", 0},
        {"a\\sb", "a b", 1},
        {"a\\.b", "axb", 0},
        {"[]a]", "]", 1},
        {"[^[:digit:]]", "12", 0},
        {"^(pve|node)(1|2)?$", "node", 1},
        {"", "a", 1},
        {"((((((((((((((((a))))))))))))))))", "a", 1},
        {"(((((((((((((((((a)))))))))))))))))", "a", -1},
        {"a+a+a+a+a+a+a+a+", "aaaaaaaaa", 1},
        {"a+a+a+a+a+a+a+a+a+", "aaaaaaaaa", -1},
        {"a++", "a", -1},
        {"a+?", "a", -1},
        {"*a", "a", -1},
        {"a{2}", "aa", -1},
        {"((a{1,200}){1,200}){1,30}", "a", -1},
        {"((((((((^|a|$)*|^)*|$)*|^)*|^)*|$)*|^)*|^)*", "aaaaaaaaaaaaaaaa", -1},
        {"\\d+$|.*b|^(((((\\d+)*((()*)+)*)*)*)+)+)*", "aababababaabab", -1},
        {"^(a)*(b)+c?$", "abb", 1},
        {"^(a)*(b)+(c)?$", "abb", -1},
        {"(a)\\1", "aa", -1},
        {"(?i)a", "A", -1},
        {"\\bpve", "pve", -1},
        {"\\<pve", "pve", -1},
        {"[\\.]", ".", -1},
        {"[a", "a", -1},
        {"[[:digit:", "1", -1},
        {"a\\", "a", -1},
        {"(", "(", -1},
        {")", ")", -1},
    };
    const char *wrong;
    for (size_t i = 0; i < ELEMENTS(rows); i++) {
        int r = pattern_matches(rows[i].pattern, rows[i].value, &wrong);
        if (r != rows[i].expected || (r < 0 && !wrong))
            fail_msg("'%s' and '%s' give %d", rows[i].pattern, rows[i].value, r);
        assert_int_equal(pattern_matches(rows[i].pattern, NULL, &wrong), r < 0 ? -1 : 0);
    }
    char longest[PATTERN_MAX + 2] = {0};
    memset(longest, 'a', PATTERN_MAX);
    assert_int_equal(pattern_matches(longest, "a", &wrong), 0);
    longest[PATTERN_MAX] = 'a';
    assert_int_equal(pattern_matches(longest, "a", &wrong), -1);
}

/* 20000 "(" overflow the stack of regcomp. */
static void test_deep_pattern(void **state)
{
    (void)state;
    enum { DEEP = 20000 };
    _cleanup_buf_ struct buf text = BUF_INIT;
    char ret[8];
    buf_adds(&text, M "\tmatch-field regex:hostname=");
    for (int i = 0; i < DEEP; i++)
        buf_addc(&text, '(');
    buf_addc(&text, 'a');
    for (int i = 0; i < DEEP; i++)
        buf_addc(&text, ')');
    buf_addc(&text, '\n');
    told(buf_str(&text), ret);
    assert_string_equal(ret, "ar");
}

static void test_templates(void **state)
{
    (void)state;
    static const struct {
        const char *text, *expected;
    } rows[] = {
        {"{{ severity }} {{timestamp}} {{ fields.hostname }} {{fields.job-id}}", "error 1000 pve1 100-0"},
        {"\"{{ escape error }}\"", "\"say \\\"no\\\"\""},
        {"{{ json error }}", "\"say \\\"no\\\"\""},
        {"{{ json fields }}", "{\"hostname\": \"pve1\", \"job-id\": \"100-0\", \"type\": \"replication\"}"},
        {"{{ url-encode error }}", "say%20%22no%22"},
        {"{{ secrets.key }}", "k1"},
        {"{{ secrets.none }}", NULL},
        {"{{ fields }}", NULL},
        {"{{ fields.none }}", NULL},
        {"{{ url error }}", NULL},
        {"{{#if x}}", NULL},
    };
    _cleanup_strv_ struct strv secrets = STRV_INIT;
    strv_add(&secrets, "key=k1");
    json_t *event = failure(), *o = stock_event(event);
    for (size_t i = 0; i < ELEMENTS(rows); i++) {
        struct err e = {0};
        _cleanup_buf_ struct buf out = BUF_INIT;
        int r = template_fill(rows[i].text, o, &secrets, &out, &e);
        if ((r == 0) != (rows[i].expected != NULL) ||
            (r == 0 && strcmp(buf_str(&out), rows[i].expected) != 0))
            fail_msg("'%s' gives %d '%s' %s", rows[i].text, r, buf_str(&out), e.text);
    }
    json_decref(o);
    json_decref(event);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_targets),      cmocka_unit_test(test_zero_in_secrets),
        cmocka_unit_test(test_matchers),     cmocka_unit_test(test_patterns),
        cmocka_unit_test(test_deep_pattern), cmocka_unit_test(test_templates)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
