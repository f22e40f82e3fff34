/* Who gets in by a password. */
#include "access/login.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#define NOW 1000000

/* Made by openssl passwd and crypt(3), all of "right one". */
#define HASH_5 "$5$saltsalt$.SNnqDm2AEjrow1wqaoybaG8Hvy/xzICEffZm.15hE1"
#define HASH_6                                                                                               \
    "$6$saltsalt$/N2VYO2xuXUy5qNhMJuWZCioJMPZTN8sG70/eqeODUcSCfnLyZb5yVO/SbS4/w3Kdyas9jEOA3cZXHq7r0Wir0"
#define HASH_Y "$y$j9T$abcdefgh12345678$xPmikkBh7tIFQAuXbJNt8wrTuxvp6oreaUewFMfuYB8"
#define HASH_DES "ab62nvIG9YgYI"

static void test_shadow(void **state)
{
    (void)state;
    static const struct {
        const char *shadow, *userid, *password;
        bool good;
    } cases[] = {
        {"joe:" HASH_5 ":\n", "joe@pve", "right one", true},
        {"joe:" HASH_5 "\n", "joe@pve", "right one", true},
        {"joe:" HASH_5, "joe@pve", "right one", true},
        {"ann:x:\njoe:" HASH_6 ":\nbob:y:\n", "joe@pve", "right one", true},
        {"joe:" HASH_Y ":\n", "joe@pve", "right one", true},
        {"joe@x:" HASH_5 ":\n", "joe@x@pve", "right one", true},
        {"joe:" HASH_5 ":\njoe:" HASH_6 ":\n", "joe@pve", "right one", true},
        {"joe:" HASH_5 ":\njoe:*:\n", "joe@pve", "right one", false},
        {"joe:" HASH_5 ":\n", "joe@pve", "wrong", false},
        {"joe:" HASH_5 ":\n", "joe@pve", "right one ", false},
        {"joe:" HASH_5 ":\n", "joe@pve", "", false},
        {"joe:" HASH_5 ":\n", "ann@pve", "right one", false},
        {"joe:" HASH_5 ":\n", "jo@pve", "right one", false},
        {"joe@pve:" HASH_5 ":\n", "joe@pve", "right one", false},
        {"joe:" HASH_DES ":\n", "joe@pve", "right one", false},
        {"joe:::\n", "joe@pve", "", false},
        {"joe:*:\n", "joe@pve", "*", false},
        {"joe:!" HASH_5 ":\n", "joe@pve", "right one", false},
        {"joe:$5$:\n", "joe@pve", "right one", false},
        {"joe:*0:\n", "joe@pve", "*0", false},
        {"joe\n", "joe@pve", "", false},
        {"", "joe@pve", "right one", false},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct err e = {0};
        bool good =
            login_pve(cases[i].shadow, strlen(cases[i].shadow), cases[i].userid, cases[i].password, &e) == 0;
        if (good != cases[i].good)
            fail_msg("'%s' %s '%s': %s", cases[i].shadow, cases[i].userid, cases[i].password, e.text);
        assert_true(good || (!strstr(e.text, "right one") && !strstr(e.text, "$")));
    }
    struct err e;
    assert_int_equal(login_pve(NULL, 0, "joe@pve", "x", &e), -1);
}

static void test_tfa(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool has;
    } cases[] = {
        {"", false},
        {" \n\n", false},
        {"{}", false},
        {"{\"users\":{}}", false},
        {"{\"users\":{\"ann@pve\":{\"totp\":[]}}}", false},
        {"{\"users\":{\"ann@pve\":{\"joe@pve\":1}}}", false},
        {"{\"webauthn\":{\"joe@pve\":1}}", false},
        {"{\"users\":{\"joe@pve\":{\"totp\":[1]}}}", true},
        {"{\"users\":{\"joe@pve\":{}}}", true},
        {"{\"users\":{\"joe@pve\":null}}", true},
        {"{\"users\":{\"ann@pve\":{},\"joe@pve\":{}},\"webauthn\":{}}", true},
        {"{\"users\":{\"joe\\u0040pve\":{}}}", true},
        {"{\"\\u0075sers\":{\"joe@pve\":{}}}", true},
        {"{\"users\":{\"joe@pve\":{}},\"users\":{}}", true},
        {"{\"users\":{},\"users\":{\"joe@pve\":{}}}", true},
        {"{\"users\":[]}", true},
        {"{\"users\":{\"joe", true},
        {"x:joe@pve:oath:1\n", true},
        {"[]", true},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++)
        if (tfa_has(cases[i].text, strlen(cases[i].text), "joe@pve") != cases[i].has)
            fail_msg("'%s'", cases[i].text);
    assert_false(tfa_has(NULL, 0, "joe@pve"));
}

static void test_userid(void **state)
{
    (void)state;
    static const struct {
        const char *username, *realm, *id; /* NULL: refused */
    } cases[] = {
        {"joe@pve", NULL, "joe@pve"}, {"joe", "pve", "joe@pve"}, {"joe@x.org", "ldap", "joe@x.org@ldap"},
        {"joe", NULL, NULL},          {"joe", "", NULL},         {"", "pve", NULL},
        {"root@pam!tok", NULL, NULL}, {"root", "pam!tok", NULL}, {"a:b", "pam", NULL},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        _cleanup_free_ char *id = login_userid(cases[i].username, cases[i].realm);
        if ((id != NULL) != (cases[i].id != NULL) || (id && strcmp(id, cases[i].id) != 0))
            fail_msg("'%s' '%s' gives '%s'", cases[i].username, cases[i].realm, id ? id : "nothing");
    }
}

/* ---- all of it, with PAM from a folder of our own ---- */

static char dir[] = "/tmp/pvesr-test-login-XXXXXX";

static void write_file(const char *name, mode_t mode, const char *text)
{
    _cleanup_free_ char *path = xasprintf("%s/%s", dir, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

/* The service lets in who the script says: it is shown the password, the user and the address. */
static int make_pam(void **state)
{
    (void)state;
    if (!mkdtemp(dir))
        return -1;
    write_file("ask", 0700,
               "#!/bin/sh\n"
               "password=$(cat | tr -d '\\000')\n"
               "[ \"$PAM_USER $PAM_RHOST $password\" = 'root 192.0.2.7 right one' ]\n");
    _cleanup_free_ char *asks = xasprintf("auth required pam_exec.so quiet quiet_log expose_authtok %s/ask\n"
                                          "account required pam_permit.so\n",
                                          dir);
    write_file("asks", 0600, asks);
    write_file("no-account", 0600, "auth required pam_permit.so\naccount required pam_deny.so\n");
    write_file("other", 0600, "auth required pam_deny.so\naccount required pam_deny.so\n");
    return 0;
}

static int remove_pam(void **state)
{
    (void)state;
    static const char *const files[] = {"ask", "asks", "no-account", "other"};
    for (size_t i = 0; i < ELEMENTS(files); i++) {
        _cleanup_free_ char *path = xasprintf("%s/%s", dir, files[i]);
        unlink(path);
    }
    return rmdir(dir);
}

static void test_pam(void **state)
{
    (void)state;
    static const struct {
        const char *service, *user, *password, *rhost;
        bool good;
    } cases[] = {
        {"asks", "root", "right one", "192.0.2.7", true},
        {"asks", "root", "wrong", "192.0.2.7", false},
        {"asks", "rook", "right one", "192.0.2.7", false},
        {"asks", "root", "right one", "192.0.2.8", false},
        {"no-account", "root", "right one", "192.0.2.7", false},
        {"missing", "root", "right one", "192.0.2.7", false},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct err e = {0};
        bool good =
            login_pam(cases[i].service, dir, cases[i].user, cases[i].password, cases[i].rhost, &e) == 0;
        if (good != cases[i].good)
            fail_msg("%s %s '%s': %s", cases[i].service, cases[i].user, cases[i].password, e.text);
        assert_null(strstr(e.text, "right one"));
    }
}

#define USERS                                                                                                \
    "user:joe@pve:1:0::::::\nuser:off@pve:0:0::::::\nuser:old@pve:1:5::::::\nuser:key@pve:1:0:::::x:\n"      \
    "user:tfa@pve:1:0::::::\nuser:ann@ldap:1:0::::::\nuser:eve@pam:1:0::::::\n"
#define SHADOW                                                                                               \
    "joe:" HASH_5 ":\noff:" HASH_5 ":\nold:" HASH_5 ":\nkey:" HASH_5 ":\ntfa:" HASH_5 ":\nnew:" HASH_5       \
    ":\nann:" HASH_5 ":\n"
#define TFA "{\"users\":{\"tfa@pve\":{}}}"

static struct users *parse(const char *text)
{
    _cleanup_strv_ struct strv warnings = STRV_INIT;
    struct err e;
    return users_parse(text, strlen(text), NULL, 0, &warnings, &e);
}

static int check(const struct users *u, const char *domains, const char *userid, const char *password,
                 struct err *e)
{
    struct login l = {u, SHADOW, strlen(SHADOW), TFA, strlen(TFA), domains, strlen(domains), "asks", dir};
    return login_check(&l, userid, password, "192.0.2.7", NOW, e);
}

static void test_check(void **state)
{
    (void)state;
#define PANEL ": it can log in at Proxmox VE's own panel and come here with that ticket"
    static const struct {
        const char *domains, *userid, *password;
        const char *reason; /* NULL: let in */
    } cases[] = {
        {"", "joe@pve", "right one", NULL},
        {"", "joe@pve", "wrong", "the password is not that of user 'joe@pve'"},
        {"", "joe@pve", "", "the password of 'joe@pve' is empty"},
        {"", "off@pve", "right one", "user 'off@pve' is disabled"},
        {"", "old@pve", "right one", "user 'old@pve' expired at 5"},
        {"", "new@pve", "right one", "there is no user 'new@pve'"},
        {"", "tfa@pve", "right one", "user 'tfa@pve' needs a second factor (tfa.cfg)" PANEL},
        {"", "key@pve", "right one", "user 'key@pve' needs a second factor (user.cfg)" PANEL},
        {"pve: pve\n\ttfa type=oath\n", "joe@pve", "right one",
         "user 'joe@pve' needs a second factor (domains.cfg)" PANEL},
        {"pve: pve\n\tcomment x\n\npam: pam\n\ttfa type=oath\n", "joe@pve", "right one", NULL},
        {"pve: pve\n\tcomment x\n\npam: pam\n\ttfa type=oath\n", "root@pam", "right one",
         "user 'root@pam' needs a second factor (domains.cfg)" PANEL},
        {"", "ann@ldap", "right one",
         "realm 'ldap' cannot be asked from here, only pam and pve: user 'ann@ldap' can log in at Proxmox "
         "VE's own panel "
         "and come here with that ticket"},
        {"", "root@pam", "right one", NULL},
        {"", "root@pam", "wrong", "PAM service 'asks' does not let in 'root': System error"},
        {"", "eve@pam", "right one", "PAM service 'asks' does not let in 'eve': System error"},
        {"", "bob@pam", "right one", "there is no user 'bob@pam'"},
        {"", "joe@pve!tok", "right one", "'joe@pve!tok' is no USER@REALM"},
        {"", "joe", "right one", "'joe' is no USER@REALM"},
        {"", "", "right one", "'' is no USER@REALM"},
    };
    _cleanup_users_ struct users *u = parse(USERS);
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct err e = {0};
        int r = check(u, cases[i].domains, cases[i].userid, cases[i].password, &e);
        if ((r == 0) != !cases[i].reason || (r < 0 && strcmp(e.text, cases[i].reason) != 0))
            fail_msg("%s '%s': %d %s", cases[i].userid, cases[i].password, r, e.text);
    }
    char huge[PASSWORD_MAX + 2];
    memset(huge, 'a', sizeof huge);
    huge[sizeof huge - 1] = '\0';
    struct err e = {0};
    assert_int_equal(check(u, "", "joe@pve", huge, &e), -1);
    assert_string_equal(e.text, "the password of 'joe@pve' is too long");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shadow), cmocka_unit_test(test_tfa),   cmocka_unit_test(test_userid),
        cmocka_unit_test(test_pam),    cmocka_unit_test(test_check),
    };
    return cmocka_run_group_tests(tests, make_pam, remove_pam);
}
