/* From the headers of a request to who sends it. */
#include "access/caller.h"

#include "access/cookie.h"
#include "access/testkeys.h"
#include "base/buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define SECRET "01234567-89ab-cdef-0123-456789abcdef"
#define USER_CFG                                                                                             \
    "user:joe@pve:1:0::::::\nuser:off@pve:0:0::::::\nuser:a=b@pve:1:0::::::\n"                               \
    "token:root@pam!tok:0:1::\ntoken:off@pve!tok:0:0::\ntoken:a=b@pve!tok:0:0::\ntoken:root@pam!gone:5:1::"  \
    "\n"                                                                                                     \
    "acl:1:/vms:root@pam!tok:PVEAuditor:\n"
#define TOKEN_CFG                                                                                            \
    "root@pam!tok " SECRET "\noff@pve!tok " SECRET "\na=b@pve!tok " SECRET "\nroot@pam!gone " SECRET "\n"

static struct access *make(const struct access_texts *t, const char *warning)
{
    _cleanup_strv_ struct strv warnings = STRV_INIT;
    struct err e;
    struct access *a = access_new(t, &warnings, &e);
    if (!a)
        fail_msg("%s", e.text);
    if (warnings.n != (warning != NULL) || (warning && strcmp(warnings.v[0], warning) != 0))
        fail_msg("warnings: %zu %s", warnings.n, warnings.n ? warnings.v[0] : "");
    return a;
}

static const struct access_texts texts = {
    .user_cfg = USER_CFG,
    .user_len = sizeof USER_CFG - 1,
    .token_cfg = TOKEN_CFG,
    .token_len = sizeof TOKEN_CFG - 1,
    .www_key = TEST_WWW_KEY,
    .www_len = sizeof TEST_WWW_KEY - 1,
    .keys = {TEST_KEY, TEST_PUB, TEST_OLD_PUB, TEST_NOW},
};

struct row {
    const char *authorization, *cookie, *csrf;
    bool safe;
    const char *who;    /* NULL: refused */
    const char *reason; /* begins so */
};

static void play(const struct access *a, const struct row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct credentials c = {rows[i].authorization, rows[i].cookie, rows[i].csrf, rows[i].safe};
        struct caller who = {.who = "untouched"};
        struct err e = {0};
        int r = caller_identify(a, &c, TEST_NOW, &who, &e);
        if ((r == 0) != (rows[i].who != NULL) || strcmp(who.who, r == 0 ? rows[i].who : "untouched") != 0 ||
            (r < 0 && strncmp(e.text, rows[i].reason, strlen(rows[i].reason)) != 0))
            fail_msg("row %zu: %d '%s' %s", i, r, who.who, e.text);
        assert_true(r < 0 || who.is_token == (rows[i].authorization != NULL));
        assert_null(strstr(e.text, SECRET));
        assert_true(r == 0 || e.kind == ERR_USAGE);
    }
}

#define HEADER(id) "PVEAPIToken=" id "=" SECRET
#define COOKIE "PVEAuthCookie=" TEST_TICKET
#define NOTHING "the request has neither a ticket nor an API token"
#define NO_FORM "the Authorization header is not PVEAPIToken=USER@REALM!TOKEN=SECRET"

static void test_tokens(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {HEADER("root@pam!tok"), NULL, NULL, true, "root@pam!tok", ""},
        {HEADER("root@pam!tok"), NULL, NULL, false, "root@pam!tok", ""}, /* no CSRF token needed */
        {HEADER("root@pam!tok"), COOKIE, NULL, false, "root@pam!tok", ""},
        {HEADER("root@pam!tok"), NULL, "nonsense", false, "root@pam!tok", ""},
        {"PVEAPIToken root@pam!tok=" SECRET, NULL, NULL, true, "root@pam!tok", ""},
        {HEADER("a=b@pve!tok"), NULL, NULL, true, "a=b@pve!tok", ""},
        {HEADER("off@pve!tok"), NULL, NULL, true, NULL, "user 'off@pve' is disabled"},
        {HEADER("root@pam!gone"), NULL, NULL, true, NULL, "API token 'root@pam!gone' expired at 5"},
        {HEADER("root@pam!none"), NULL, NULL, true, NULL, "there is no API token 'root@pam!none'"},
        {HEADER("root@pam"), NULL, NULL, true, NULL, "there is no API token 'root@pam'"},
        {HEADER(""), NULL, NULL, true, NULL, "there is no API token ''"},
        {"PVEAPIToken=root@pam!tok=f1234567-89ab-cdef-0123-456789abcdef", NULL, NULL, true, NULL,
         "the secret is not that of API token 'root@pam!tok'"},
        {"PVEAPIToken=root@pam!tok=", NULL, NULL, true, NULL,
         "the secret is not that of API token 'root@pam!tok'"},
        {"PVEAPIToken=root@pam!tok", NULL, NULL, true, NULL, NO_FORM},
        {"PVEAPIToken=root@pam!tok:" SECRET, NULL, NULL, true, NULL, NO_FORM},
        {"PVEAPIToken=", NULL, NULL, true, NULL, NO_FORM},
        {"PVEAPIToken", NULL, NULL, true, NULL, NO_FORM},
        {"PVEAPIToken:root@pam!tok=" SECRET, NULL, NULL, true, NULL, NO_FORM},
        {"PVEAPITokens=root@pam!tok=" SECRET, NULL, NULL, true, NULL, NO_FORM},
        /* what is wrong there is not made good by a cookie */
        {"PVEAPIToken=root@pam!tok=x", COOKIE, TEST_CSRF, true, NULL,
         "the secret is not that of API token 'root@pam!tok'"},
        {"pveapitoken=root@pam!tok=" SECRET, NULL, NULL, true, NULL, NOTHING},
        {"Basic cm9vdDp4", NULL, NULL, true, NULL, NOTHING},
        {"", NULL, NULL, true, NULL, NOTHING},
    };
    _cleanup_access_ struct access *a = make(&texts, NULL);
    play(a, rows, ELEMENTS(rows));
    char long_id[300] = "PVEAPIToken=root@pam!";
    memset(long_id + strlen(long_id), 'a', WHO_MAX);
    strcat(long_id, "=" SECRET);
    play(a, &(struct row){long_id, NULL, NULL, true, NULL, NO_FORM}, 1);
    struct caller c;
    struct err e;
    assert_int_equal(
        caller_identify(a, &(struct credentials){.authorization = HEADER("root@pam!tok")}, TEST_NOW, &c, &e),
        0);
    assert_true(privileges_have_all(caller_may(a, &c, "/vms/100", TEST_NOW), PRIV(VM_Audit)));
    assert_int_equal(caller_may(a, &c, "/nodes/pve1", TEST_NOW), 0);
}

static void test_cookies(void **state)
{
    (void)state;
#define LACKS "the request of user 'root@pam' lacks the header CSRFPreventionToken"
    static const struct row rows[] = {
        {NULL, COOKIE, NULL, true, "root@pam", ""},
        {NULL, COOKIE, "nonsense", true, "root@pam", ""},
        {NULL, COOKIE, TEST_CSRF, false, "root@pam", ""},
        {NULL, COOKIE, NULL, false, NULL, LACKS},
        {NULL, COOKIE, "", false, NULL, "the CSRFPreventionToken has not the form of one"},
        {NULL, COOKIE, "65F00000:Eb58NgYbPLaSw53OKUx5+AGT7gwpvH1SF80tWYXFOu5", false, NULL,
         "the CSRFPreventionToken is not that of user 'root@pam'"},
        {NULL, "PVEAuthCookie=" TEST_OLD_TICKET, NULL, true, "root@pam", ""},
        {NULL, "PVEAuthCookie=", NULL, true, NULL, "the ticket has not the form of one"},
        {NULL, "PVEAuthCookie=nonsense", NULL, true, NULL, "the ticket has not the form of one"},
        {NULL, "PVEAuthCookie=%zz", NULL, true, NULL, NOTHING},
        {NULL, "PBSAuthCookie=" TEST_TICKET, NULL, true, NULL, NOTHING},
        {NULL, "", NULL, true, NULL, NOTHING},
        {NULL, NULL, NULL, true, NULL, NOTHING},
        {NULL, NULL, TEST_CSRF, false, NULL, NOTHING},
    };
    _cleanup_access_ struct access *a = make(&texts, NULL);
    play(a, rows, ELEMENTS(rows));
}

/* As a browser sends it. */
static char *encoded_cookie(const char *ticket)
{
    struct buf out = BUF_INIT;
    buf_adds(&out, "theme=dark; PVEAuthCookie=");
    for (; *ticket; ticket++)
        if (strchr("%:@!+/=", *ticket))
            buf_addf(&out, "%%%02X", (unsigned char)*ticket);
        else
            buf_addc(&out, *ticket);
    return buf_take(&out);
}

static void test_encoded_cookies(void **state)
{
    (void)state;
    _cleanup_access_ struct access *a = make(&texts, NULL);
    _cleanup_free_ char *good = encoded_cookie(TEST_TICKET), *half = encoded_cookie(TEST_HALF_TICKET);
    assert_non_null(strstr(good, "PVE%3Aroot%40pam%3A65F00000%3A%3A"));
    const struct row rows[] = {
        {NULL, good, TEST_CSRF, false, "root@pam", ""},
        {NULL, half, NULL, true, NULL, "the ticket is of a log-in that lacks its second factor"},
    };
    play(a, rows, ELEMENTS(rows));
}

/* A ticket of somebody who is nobody any more. */
static void test_ticket_of_nobody(void **state)
{
    (void)state;
    _cleanup_access_ struct access *a = make(&texts, NULL);
    static const char *const users[] = {"off@pve", "gone@pve"};
    static const char *const reasons[] = {"user 'off@pve' is disabled", "there is no user 'gone@pve'"};
    for (size_t i = 0; i < ELEMENTS(users); i++) {
        struct issued issued;
        struct err e;
        assert_int_equal(access_issue(a, users[i], TEST_NOW, &issued, &e), 0);
        _cleanup_free_ char *cookie = xasprintf("PVEAuthCookie=%s", issued.ticket);
        play(a, &(struct row){NULL, cookie, issued.csrf, false, NULL, reasons[i]}, 1);
        assert_int_equal(access_renew(a, users[i], issued.ticket, TEST_NOW, &e), -1);
        issued_release(&issued);
    }
}

static void test_missing_keys(void **state)
{
    (void)state;
    struct access_texts none = texts, no_www = texts;
    none.keys = (struct ticket_key_texts){0};
    no_www.www_key = NULL;
    struct err e;
    struct issued issued;
    _cleanup_access_ struct access *a =
        make(&none, "no tickets are taken: there is neither authkey.key nor authkey.pub");
    static const struct row without_keys[] = {
        {HEADER("root@pam!tok"), NULL, NULL, false, "root@pam!tok", ""},
        {NULL, COOKIE, NULL, true, NULL, "no tickets are taken: there are no keys"},
    };
    play(a, without_keys, ELEMENTS(without_keys));
    assert_int_equal(access_issue(a, "root@pam", TEST_NOW, &issued, &e), -1);
    _cleanup_access_ struct access *b =
        make(&no_www, "with a ticket nothing can be changed: pve-www.key is empty");
    static const struct row without_www[] = {
        {NULL, COOKIE, NULL, true, "root@pam", ""},
        {NULL, COOKIE, TEST_CSRF, false, NULL,
         "user 'root@pam' cannot change anything by a cookie: there is no pve-www.key"},
    };
    play(b, without_www, ELEMENTS(without_www));
    assert_int_equal(access_issue(b, "root@pam", TEST_NOW, &issued, &e), -1);
}

static void test_issue_and_renew(void **state)
{
    (void)state;
    _cleanup_access_ struct access *a = make(&texts, NULL);
    struct err e;
    struct issued i;
    assert_int_equal(access_issue(a, "joe@pve", TEST_NOW, &i, &e), 0);
    _cleanup_free_ char *cookie = xasprintf("x=y; PVEAuthCookie=%s; z", i.ticket);
    play(a, &(struct row){NULL, cookie, i.csrf, false, "joe@pve", ""}, 1);
    play(a,
         &(struct row){NULL, cookie, TEST_CSRF, false, NULL,
                       "the CSRFPreventionToken is not that of user 'joe@pve'"},
         1);
    assert_int_equal(access_renew(a, "joe@pve", i.ticket, TEST_NOW + 7200, &e), 0);
    assert_int_equal(access_renew(a, "joe@pve", i.ticket, TEST_NOW + 7201, &e), -1);
    assert_int_equal(access_renew(a, "root@pam", i.ticket, TEST_NOW, &e), -1);
    assert_string_equal(e.text, "the ticket is of user 'joe@pve', not of 'root@pam'");
    assert_int_equal(access_renew(a, "joe@pve", "password", TEST_NOW, &e), -1);
    assert_int_equal(access_renew(a, "!tfa!x@pve", TEST_HALF_TICKET, TEST_NOW, &e), -1);
    issued_release(&i);
    assert_int_equal(access_issue(a, "root@pam!tok", TEST_NOW, &i, &e), -1); /* tokens cannot make tickets */
}

static void test_cookie_header(void **state)
{
    (void)state;
    static const struct {
        const char *header, *ticket; /* NULL: none */
    } cases[] = {
        {"PVEAuthCookie=x", "x"},
        {"a=b; PVEAuthCookie=x", "x"},
        {"a=b;PVEAuthCookie=x;c=d", "x"},
        {" PVEAuthCookie=x ; c", "x"},
        {"PVEAuthCookie=a%3Ab%3a%2B%2f%3D", "a:b:+/="},
        {"PVEAuthCookie=a+b=", "a+b="},
        {"PVEAuthCookie=x; PVEAuthCookie=y", "x"},
        {"PVEAuthCookie=x; __Host-PVEAuthCookie=y", "y"},
        {"PVEAuthCookie=x; __Host-PVESRAuthCookie=z; __Host-PVEAuthCookie=y", "z"},
        {"__Host-PVESRAuthCookie=; PVEAuthCookie=x", ""},
        {"__Host-PVESRAuthCookie=%; PVEAuthCookie=x", NULL},
        {"PVESRAuthCookie=z; PVEAuthCookie=x", "x"},
        {"XPVEAuthCookie=x", NULL},
        {"PVEAuthCookieX=x", NULL},
        {"a=PVEAuthCookie=x", NULL},
        {"PVEAuthCookie", NULL},
        {"PVEAuthCookie=", ""},
        {"PVEAuthCookie=%", NULL},
        {"PVEAuthCookie=%4", NULL},
        {"PVEAuthCookie=%4g", NULL},
        {"PVEAuthCookie=a%00b", NULL},
        {"PVEAuthCookie=a%4;1", NULL},
        {";;;", NULL},
        {"", NULL},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        _cleanup_free_ char *ticket = cookie_ticket(cases[i].header);
        if ((ticket != NULL) != (cases[i].ticket != NULL) || (ticket && strcmp(ticket, cases[i].ticket) != 0))
            fail_msg("'%s' gives '%s'", cases[i].header, ticket ? ticket : "none");
    }
    assert_null(cookie_ticket(NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tokens),           cmocka_unit_test(test_cookies),
        cmocka_unit_test(test_ticket_of_nobody), cmocka_unit_test(test_encoded_cookies),
        cmocka_unit_test(test_missing_keys),     cmocka_unit_test(test_issue_and_renew),
        cmocka_unit_test(test_cookie_header),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
