/* Tickets and CSRF tokens: what is made is what OpenSSL makes; what is forged, old or cut is refused. */
#include "access/ticket.h"

#include "base/base64.h"
#include "access/testkeys.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static struct ticket_keys *keys_of(const char *private_key, const char *public_key, const char *old_key,
                                   int64_t rotated)
{
    struct err e;
    struct ticket_keys *k =
        ticket_keys_new(&(struct ticket_key_texts){private_key, public_key, old_key, rotated}, &e);
    if (!k)
        fail_msg("%s", e.text);
    return k;
}

static void test_as_openssl(void **state)
{
    (void)state;
    static const struct {
        const char *key, *pub, *ticket;
    } cases[] = {
        {TEST_KEY, TEST_PUB, TEST_TICKET},
        {TEST_KEY, NULL, TEST_TICKET},
        {TEST_KEY_PKCS8, TEST_PUB, TEST_TICKET},
        {TEST_OLD_KEY, TEST_OLD_PUB, TEST_OLD_TICKET},
    };
    struct err e;
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        _cleanup_ticket_keys_ struct ticket_keys *k = keys_of(cases[i].key, cases[i].pub, NULL, 0);
        _cleanup_free_ char *ticket = ticket_make(k, "root@pam", TEST_NOW, &e);
        assert_non_null(ticket);
        assert_string_equal(ticket, cases[i].ticket);
        assert_true(ticket_looks_like_one(ticket));
        _cleanup_free_ char *user = NULL;
        assert_int_equal(ticket_check(k, ticket, TEST_NOW, &user, &e), 0);
        assert_string_equal(user, "root@pam");
    }
    assert_false(ticket_looks_like_one("PVE"));
    assert_false(ticket_looks_like_one("secret"));
}

/* One good ticket, changed; no reason shows what was sent. */
static void refuse(const struct ticket_keys *k, const char *ticket, int64_t now, const char *reason)
{
    struct err e = {0};
    char *user = NULL;
    if (ticket_check(k, ticket, now, &user, &e) == 0)
        fail_msg("taken: %s", ticket);
    assert_null(user);
    assert_int_equal(e.kind, ERR_USAGE);
    if (strncmp(e.text, reason, strlen(reason)) != 0)
        fail_msg("'%s': %s", ticket, e.text);
    const char *signature = strstr(ticket, "::");
    assert_true(!signature || strlen(signature) < 8 || !strstr(e.text, signature + 2));
}

#define NO_FORM "the ticket has not the form of one"
#define NOT_SIGNED "the ticket of 'root@pam' is not signed by this cluster"

static void test_times(void **state)
{
    (void)state;
    static const struct {
        int64_t now;
        const char *reason;
    } cases[] = {
        {TEST_NOW - 300, NULL},
        {TEST_NOW - 301, "user 'root@pam': the ticket is from the future (301 s): compare the clocks"},
        {TEST_NOW + 7200, NULL},
        {TEST_NOW + 7201, "user 'root@pam': the ticket has expired (7201 s old)"},
        {0, "user 'root@pam': the ticket is from the future"},
        {INT64_C(0x165F00000), "user 'root@pam': the ticket has expired"},
    };
    _cleanup_ticket_keys_ struct ticket_keys *k = keys_of(NULL, TEST_PUB, NULL, 0);
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct err e;
        _cleanup_free_ char *user = NULL;
        if (cases[i].reason)
            refuse(k, TEST_TICKET, cases[i].now, cases[i].reason);
        else
            assert_int_equal(ticket_check(k, TEST_TICKET, cases[i].now, &user, &e), 0);
    }
}

/* The former key is good for what was signed before the rotation, give or take 300 s. */
static void test_old_key(void **state)
{
    (void)state;
    static const struct {
        int64_t rotated;
        bool good;
    } cases[] = {{TEST_NOW + 100, true},
                 {TEST_NOW, true},
                 {TEST_NOW - 300, true},
                 {TEST_NOW - 301, false},
                 {0, false}};
    struct err e = {0};
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        _cleanup_ticket_keys_ struct ticket_keys *k =
            keys_of(TEST_KEY, TEST_PUB, TEST_OLD_PUB, cases[i].rotated);
        char *user = NULL;
        if ((ticket_check(k, TEST_OLD_TICKET, TEST_NOW, &user, &e) == 0) != cases[i].good)
            fail_msg("rotated at %jd: %s", (intmax_t)cases[i].rotated, e.text);
        free(user);
        user = NULL;
        assert_int_equal(ticket_check(k, TEST_TICKET, TEST_NOW, &user, &e), 0);
        free(user);
    }
    _cleanup_ticket_keys_ struct ticket_keys *alone = keys_of(TEST_KEY, TEST_PUB, NULL, TEST_NOW + 100);
    refuse(alone, TEST_OLD_TICKET, TEST_NOW, NOT_SIGNED);
    _cleanup_ticket_keys_ struct ticket_keys *damaged = keys_of(TEST_KEY, TEST_PUB, "no key", TEST_NOW + 100);
    refuse(damaged, TEST_OLD_TICKET, TEST_NOW, NOT_SIGNED);
}

static void test_forged(void **state)
{
    (void)state;
    _cleanup_ticket_keys_ struct ticket_keys *k = keys_of(TEST_KEY, TEST_PUB, NULL, 0);
    const char *sig = strstr(TEST_TICKET, "::") + 2;
    const struct {
        const char *head; /* the good signature comes behind it */
        const char *reason;
    } heads[] = {
        {"PVE:root@pam:65F00001::", NOT_SIGNED},
        {"PVE:rook@pam:65F00000::", "the ticket of 'rook@pam' is not signed by this cluster"},
        {"PVE:root@pam:65f00000::", NO_FORM},
        {"PVE:root@pam:65F00000:", NO_FORM},
        {"PVE:root@pam:65F00000:::", NOT_SIGNED},
        {"PVE:root@pam:065F00000::", NO_FORM},
        {"PVE:root@pam:5F00000::", NO_FORM},
        {"PVE:root@pam:+5F00000::", NO_FORM},
        {"PVE:root@pam:", NO_FORM},
        {"PVE:root@pam", NO_FORM},
        {"PVE:", NO_FORM},
        {"", NO_FORM},
        {"pve:root@pam:65F00000::", NO_FORM},
        {" PVE:root@pam:65F00000::", NO_FORM},
        {"PBS:root@pam:65F00000::", NO_FORM},
        {"PVEVNC:root@pam:65F00000::", NO_FORM},
        {"PVE::65F00000::", "the ticket is of '', which is no USER@REALM"},
        {"PVE:root:65F00000::", "the ticket is of 'root', which is no USER@REALM"},
        {"PVE:root@pam!tok:65F00000::", "the ticket is of 'root@pam!tok', which is no USER@REALM"},
        {"PVE:a:b@pam:65F00000::", NO_FORM},
        {"PVE:root@pam%00:65F00000::", "the ticket is of 'root@pam%00', which is no USER@REALM"},
        {"PVE:a\nb@pam:65F00000::", "the ticket is of 'a b@pam', which is no USER@REALM"},
    };
    for (size_t i = 0; i < ELEMENTS(heads); i++) {
        _cleanup_free_ char *ticket = xasprintf("%s%s", heads[i].head, sig);
        refuse(k, ticket, TEST_NOW, heads[i].reason);
    }
    refuse(k, TEST_HALF_TICKET, TEST_NOW, "the ticket is of a log-in that lacks its second factor");
    refuse(k, TEST_OLD_TICKET, TEST_NOW, NOT_SIGNED);
}

/* Each prefix of a good ticket, each of its characters changed, and more behind it. */
static void test_damaged(void **state)
{
    (void)state;
    _cleanup_ticket_keys_ struct ticket_keys *k = keys_of(TEST_KEY, TEST_PUB, TEST_OLD_PUB, TEST_NOW);
    size_t len = strlen(TEST_TICKET);
    for (size_t i = 0; i < len; i++) {
        _cleanup_free_ char *cut = xstrndup(TEST_TICKET, i);
        refuse(k, cut, TEST_NOW, "");
        _cleanup_free_ char *changed = xstrdup(TEST_TICKET);
        changed[i] ^= 1;
        refuse(k, changed, TEST_NOW, "");
    }
    static const char *const more[] = {"=", "A", "AAAA", "\n", " ", ":", "\r\n"};
    for (size_t i = 0; i < ELEMENTS(more); i++) {
        _cleanup_free_ char *longer = xasprintf("%s%s", TEST_TICKET, more[i]);
        refuse(k, longer, TEST_NOW, "");
    }
    _cleanup_free_ char *huge = xmalloc(1 << 20);
    memset(huge, 'A', (1 << 20) - 1);
    huge[(1 << 20) - 1] = '\0';
    memcpy(huge, TEST_TICKET, len);
    refuse(k, huge, TEST_NOW, NO_FORM);
}

static void test_make_refuses(void **state)
{
    (void)state;
    static const char *const users[] = {"root", "root@pam!tok", "a:b@pam", "!tfa!x@pam", "", "a\nb@pam"};
    struct err e;
    _cleanup_ticket_keys_ struct ticket_keys *k = keys_of(TEST_KEY, TEST_PUB, NULL, 0);
    for (size_t i = 0; i < ELEMENTS(users); i++)
        assert_null(ticket_make(k, users[i], TEST_NOW, &e));
    _cleanup_ticket_keys_ struct ticket_keys *public_only = keys_of(NULL, TEST_PUB, NULL, 0);
    assert_null(ticket_make(public_only, "root@pam", TEST_NOW, &e));
    assert_string_equal(e.text, "no ticket can be made: there is no authkey.key");
}

static void test_bad_keys(void **state)
{
    (void)state;
    static const struct ticket_key_texts cases[] = {
        {NULL, NULL, TEST_OLD_PUB, 0}, {"", TEST_PUB, NULL, 0},       {TEST_KEY, "", NULL, 0},
        {TEST_PUB, TEST_PUB, NULL, 0}, {"no key", TEST_PUB, NULL, 0}, {NULL, TEST_KEY, NULL, 0},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct err e;
        assert_null(ticket_keys_new(&cases[i], &e));
        assert_int_equal(e.kind, ERR_CONFIG);
    }
}

static void test_rotate(void **state)
{
    (void)state;
    struct err e;
    struct ticket_new_keys fresh;
    assert_int_equal(ticket_keys_rotate(TEST_PUB, &fresh, &e), 0);
    assert_string_equal(fresh.old_key, TEST_PUB);
    assert_int_equal(strncmp(fresh.private_key, "-----BEGIN RSA PRIVATE KEY-----\n", 32), 0);
    assert_int_equal(strncmp(fresh.public_key, "-----BEGIN PUBLIC KEY-----\n", 27), 0);
    _cleanup_ticket_keys_ struct ticket_keys *k =
        keys_of(fresh.private_key, fresh.public_key, fresh.old_key, TEST_NOW);
    _cleanup_free_ char *ticket = ticket_make(k, "root@pam", TEST_NOW, &e), *user = NULL, *former = NULL;
    assert_int_equal(ticket_check(k, ticket, TEST_NOW, &user, &e), 0);
    assert_int_equal(ticket_check(k, TEST_TICKET, TEST_NOW, &former, &e), 0); /* of the pair before */
    ticket_new_keys_release(&fresh);
}

static void test_csrf(void **state)
{
    (void)state;
    char secret[CSRF_SECRET_MAX], token[CSRF_TOKEN_MAX];
    struct err e;
    assert_int_equal(csrf_secret(TEST_WWW_KEY, strlen(TEST_WWW_KEY), secret, &e), 0);
    assert_int_equal(csrf_make(secret, "root@pam", TEST_NOW, token, &e), 0);
    assert_string_equal(token, TEST_CSRF);
    assert_int_equal(csrf_check(secret, "root@pam", token, TEST_NOW, &e), 0);
    assert_int_equal(csrf_check(secret, "root@pam", token, TEST_NOW + 7200, &e), 0);
    assert_int_equal(csrf_check(secret, "root@pam", token, TEST_NOW - 300, &e), 0);
    assert_int_equal(csrf_check(secret, "root@pam", token, TEST_NOW + 7201, &e), -1);
    assert_int_equal(csrf_check(secret, "root@pam", token, TEST_NOW - 301, &e), -1);
    assert_int_equal(csrf_check(secret, "joe@pve", token, TEST_NOW, &e), -1);
    assert_int_equal(csrf_check("other", "root@pam", token, TEST_NOW, &e), -1);
    for (size_t i = 0; i < strlen(token); i++) {
        char changed[CSRF_TOKEN_MAX + 1];
        strcpy(changed, token);
        changed[i] ^= 1;
        assert_int_equal(csrf_check(secret, "root@pam", changed, TEST_NOW, &e), -1);
        strcpy(changed, token);
        changed[i] = '\0';
        assert_int_equal(csrf_check(secret, "root@pam", changed, TEST_NOW, &e), -1);
    }
    strcat(token, "=");
    assert_int_equal(csrf_check(secret, "root@pam", token, TEST_NOW, &e), -1);
    assert_int_equal(csrf_secret("", 0, secret, &e), -1);
}

static void test_base64(void **state)
{
    (void)state;
    static const struct {
        const char *plain, *padded;
    } good[] = {{"", ""},        {"f", "Zg=="},        {"fo", "Zm8="},
                {"foo", "Zm9v"}, {"foob", "Zm9vYg=="}, {"\xff\xfe\xfd", "//79"}};
    static const char *const bad[] = {"Z",      "Zg",    "Zg=",  "Zg===", "Zh==", "Zm9=", "Zm8=Zm8=",
                                      "Zg==\n", "Z\ng=", "Zm-_", "=",     "====", "Z===", "Zm9v "};
    for (size_t i = 0; i < ELEMENTS(good); i++) {
        _cleanup_buf_ struct buf text = BUF_INIT, back = BUF_INIT, bare = BUF_INIT;
        base64_encode(good[i].plain, strlen(good[i].plain), true, &text);
        assert_string_equal(buf_str(&text), good[i].padded);
        assert_true(base64_decode(buf_str(&text), text.len, &back));
        assert_string_equal(buf_str(&back), good[i].plain);
        base64_encode(good[i].plain, strlen(good[i].plain), false, &bare);
        assert_int_equal(bare.len, strcspn(good[i].padded, "="));
    }
    for (size_t i = 0; i < ELEMENTS(bad); i++) {
        _cleanup_buf_ struct buf out = BUF_INIT;
        if (base64_decode(bad[i], strlen(bad[i]), &out))
            fail_msg("'%s' is taken", bad[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_as_openssl), cmocka_unit_test(test_times),
        cmocka_unit_test(test_old_key),    cmocka_unit_test(test_forged),
        cmocka_unit_test(test_damaged),    cmocka_unit_test(test_make_refuses),
        cmocka_unit_test(test_bad_keys),   cmocka_unit_test(test_rotate),
        cmocka_unit_test(test_csrf),       cmocka_unit_test(test_base64),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
