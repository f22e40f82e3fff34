/* notify.cfg: what counts, and what is left out with a warning. */
#include "notify/targets.h"
#include "notify/template.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void parse(const char *text, const char *secrets, struct notify_targets *t)
{
    targets_parse(text, strlen(text), secrets, strlen(secrets), t);
}

static bool wants(const struct notify_targets *all, const struct notify_target *t, const char *kind)
{
    json_t *event = json_pack("{s:s}", "event", kind);
    bool r = targets_want(all, t, event, 0);
    json_decref(event);
    return r;
}

static void test_all(void **state)
{
    (void)state;
    struct notify_targets t;
    parse(
        "sendmail: mail\n\tmailto a@example.com, root\n\n"
        "smtp: relay\n\tserver mail.example.com\n\tport 2525\n\tmode insecure\n\tmailto a@b\n\tfrom-address "
        "c@d\n\tusername u\n\tevents overdue recovery\n\n"
        "webhook: hook\n\turl https://h/{{ job }}\n\theader-X-Key {{ secret key }}\n\tbody {}\n\tdisable "
        "1\n\n"
        "gotify: phone\n\tserver http://g/\n\n",
        "webhook: hook\n\tkey k1\n\ngotify: phone\n\ttoken t1\n\nsmtp: other\n\tpassword p\n\n", &t);
    assert_int_equal(t.warnings.n, 0);
    assert_int_equal(t.n, 4);
    const struct notify_target *relay = targets_find(&t, "relay"), *hook = targets_find(&t, "hook");
    assert_true(relay->port == 2525 && relay->kind == TARGET_SMTP && relay->secrets.n == 0);
    assert_true(wants(&t, relay, "overdue") && !wants(&t, relay, "failure"));
    assert_true(wants(&t, targets_find(&t, "mail"), "failure") && !wants(&t, hook, "failure"));
    assert_string_equal(hook->headers.v[0], "X-Key: {{ secret key }}");
    assert_string_equal(secret_find(&hook->secrets, "key"), "k1");
    assert_string_equal(secret_find(&targets_find(&t, "phone")->secrets, "token"), "t1");
    targets_release(&t);
}

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text, *warning;
    } rows[] = {
        {"fax: x\n\tmailto a\n\n", "'fax' is none of sendmail, smtp, webhook, gotify"},
        {"sendmail: x\n\n", "it has no 'mailto'"},
        {"sendmail: x\n\tmailto -f a\n\n", "no mail address: 'mailto -f a'"},
        {"sendmail: x\n\tmailto a\n\tserver b\n\n", "unknown property: 'server b'"},
        {"smtp: x\n\tserver a/b\n\tmailto a\n\tfrom-address b\n\n", "no host name or address"},
        {"smtp: x\n\tserver a\n\tmode none\n\tmailto a\n\tfrom-address b\n\n", "none of insecure"},
        {"smtp: x\n\tserver a\n\tport 0\n\tmailto a\n\tfrom-address b\n\n", "no port"},
        {"webhook: x\n\turl file:///etc/shadow\n\n", "no URL with http:// or https://"},
        {"webhook: x\n\turl http://a\n\tmethod delete\n\n", "none of post, put, get"},
        {"webhook: x\n\turl http://a\n\tevents failure,sunshine\n\n", "no event"},
        {"webhook: ../x\n\turl http://a\n\n", "is no name"},
        {"sendmail: y\n\tmailto a\n\nsendmail: y\n\tmailto b\n\n", "'y' is there already"},
    };
    for (size_t i = 0; i < ELEMENTS(rows); i++) {
        struct notify_targets t;
        parse(rows[i].text, "", &t);
        if (t.warnings.n != 1 || !strstr(t.warnings.v[0], rows[i].warning) || targets_find(&t, "x"))
            fail_msg("row %zu: %zu warnings, '%s'", i, t.warnings.n, t.warnings.n ? t.warnings.v[0] : "");
        targets_release(&t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_all), cmocka_unit_test(test_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
