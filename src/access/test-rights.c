/* The rule of who may what, and what is read from user.cfg and token.cfg. */
#include "access/users.h"

#include "access/userid.h"
#include "base/buf.h"
#include "conf/warn.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define NOW 1000000
#define SECRET "01234567-89ab-cdef-0123-456789abcdef"
#define OTHER "f1234567-89ab-cdef-0123-456789abcdef"

static struct users *parse_both(const char *user_cfg, const char *token_cfg, struct strv *warnings)
{
    struct err e;
    struct users *u = users_parse(user_cfg, strlen(user_cfg), token_cfg, strlen(token_cfg), warnings, &e);
    if (!u)
        fail_msg("%s", e.text);
    return u;
}

static struct users *parse(const char *user_cfg)
{
    _cleanup_strv_ struct strv warnings = STRV_INIT;
    struct users *u = parse_both(user_cfg, "", &warnings);
    if (warnings.n)
        fail_msg("%s", warnings.v[0]);
    return u;
}

/* Letters for what the tests give, so that a row is short. */
#define A PRIV(VM_Audit)
#define R PRIV(VM_Replicate)
#define B PRIV(VM_Backup)

#define WORLD                                                                                                \
    "user:joe@pve:1:0::::::\n"                                                                               \
    "user:ann@pve:1:0::::::\n"                                                                               \
    "token:joe@pve!sep:0:1::\n"                                                                              \
    "token:joe@pve!all:0:0::\n"                                                                              \
    "token:root@pam!sep:0:1::\n"                                                                             \
    "token:root@pam!all:0:0::\n"                                                                             \
    "group:g1:joe@pve::\n"                                                                                   \
    "group:g2:joe@pve,ann@pve::\n"                                                                           \
    "pool:p::200,201:local:\n"                                                                               \
    "pool:q::201::\n"                                                                                        \
    "pool:top/sub::202::\n"                                                                                  \
    "role:a:VM.Audit:\n"                                                                                     \
    "role:r:VM.Replicate:\n"                                                                                 \
    "role:b:VM.Backup:\n"                                                                                    \
    "role:none::\n"

/* A row: entries of the access list ("PROPAGATE PATH WHO ROLES;…"), who asks for what path, what it may. */
static const struct rule_row {
    const char *acl, *who, *path;
    privileges may;
} rows[] = {
    /* nothing given */
    {"", "joe@pve", "/vms/100", 0},
    {"", "root@pam", "/vms/100", PRIVILEGES_ALL},
    {"", "root@pam", "/", PRIVILEGES_ALL},
    {"1 / root@pam NoAccess", "root@pam", "/vms/100", PRIVILEGES_ALL},
    {"", "nobody@pve", "/", 0},
    {"", "", "/", 0},
    {"", "@g1", "/", 0},
    {"1 / @g1 a", "@g1", "/", 0},
    /* from / downwards, component by component */
    {"1 / joe@pve a", "joe@pve", "/", A},
    {"1 / joe@pve a", "joe@pve", "/vms", A},
    {"1 / joe@pve a", "joe@pve", "/vms/100", A},
    {"1 /vms joe@pve a", "joe@pve", "/vms/100", A},
    {"1 /vms joe@pve a", "joe@pve", "/", 0},
    {"1 /vms joe@pve a", "joe@pve", "/vmsx", 0},
    {"1 /vms joe@pve a", "joe@pve", "/storage/local", 0},
    {"1 /vms/100 joe@pve a", "joe@pve", "/vms/100", A},
    {"1 /vms/100 joe@pve a", "joe@pve", "/vms/1000", 0},
    {"1 /vms/100 joe@pve a", "joe@pve", "/vms/10", 0},
    {"1 /vms/100 joe@pve a", "joe@pve", "/vms", 0},
    {"1 /vms/100 joe@pve a", "ann@pve", "/vms/100", 0},
    {"1 /vms joe@pve a,r", "joe@pve", "/vms/100", A | R},
    {"1 /vms joe@pve a;1 /vms joe@pve r", "joe@pve", "/vms/100", A | R},
    {"1 /vms joe@pve,ann@pve a", "ann@pve", "/vms/100", A},
    /* a deeper component replaces */
    {"1 / joe@pve a;1 /vms joe@pve r", "joe@pve", "/vms/100", R},
    {"1 / joe@pve a;1 /vms joe@pve r", "joe@pve", "/nodes/pve1", A},
    {"1 /vms joe@pve a;1 /vms/100 joe@pve r", "joe@pve", "/vms/100", R},
    {"1 /vms joe@pve a;1 /vms/100 joe@pve none", "joe@pve", "/vms/100", 0},
    {"1 /vms joe@pve NoAccess;1 /vms/100 joe@pve r", "joe@pve", "/vms/100", R},
    {"1 /vms joe@pve a;1 /vms/100 @g1 r", "joe@pve", "/vms/100", R},
    {"1 /vms @g1 a;1 /vms/100 joe@pve r", "joe@pve", "/vms/100", R},
    /* what does not propagate */
    {"0 /vms joe@pve a", "joe@pve", "/vms", A},
    {"0 /vms joe@pve a", "joe@pve", "/vms/100", 0},
    {"0 /vms/100 joe@pve a", "joe@pve", "/vms/100", A},
    {"1 / joe@pve a;0 /vms joe@pve r", "joe@pve", "/vms/100", A},
    {"1 / joe@pve a;0 /vms joe@pve r", "joe@pve", "/vms", R},
    {"0 /vms joe@pve a;1 /vms joe@pve r", "joe@pve", "/vms/100", R},
    {"0 /vms joe@pve a;1 /vms joe@pve r", "joe@pve", "/vms", A | R},
    {"0 /vms joe@pve NoAccess;1 / joe@pve a", "joe@pve", "/vms/100", A},
    {"0 /vms joe@pve r;1 /vms @g1 a", "joe@pve", "/vms/100", A},
    {"1 /vms joe@pve a;0 /vms joe@pve a", "joe@pve", "/vms/100", 0},
    {"0 /vms joe@pve a;1 /vms joe@pve a", "joe@pve", "/vms/100", A},
    /* the user, else the groups together */
    {"1 / @g1 a", "joe@pve", "/vms/100", A},
    {"1 / @g1 a", "ann@pve", "/vms/100", 0},
    {"1 / @g1 a;1 / @g2 r", "joe@pve", "/vms/100", A | R},
    {"1 / @g1 a;1 / joe@pve r", "joe@pve", "/vms/100", R},
    {"1 / @g1 NoAccess;1 / joe@pve r", "joe@pve", "/vms/100", R},
    {"1 / @g1 a;1 / joe@pve none", "joe@pve", "/vms/100", 0},
    /* NoAccess is all that remains */
    {"1 / joe@pve NoAccess", "joe@pve", "/vms/100", 0},
    {"1 / joe@pve a,NoAccess", "joe@pve", "/vms/100", 0},
    {"1 / @g1 a;1 / @g2 NoAccess", "joe@pve", "/vms/100", 0},
    {"1 / @g1 a;1 / @g2 NoAccess", "ann@pve", "/vms/100", 0},
    {"1 / joe@pve a;1 /vms/100 joe@pve NoAccess", "joe@pve", "/vms/100", 0},
    {"1 / joe@pve a;1 /vms/100 joe@pve NoAccess", "joe@pve", "/vms/101", A},
    /* pools of the guest */
    {"1 /pool/p joe@pve a", "joe@pve", "/vms/200", A},
    {"1 /pool/p joe@pve a", "joe@pve", "/vms/202", 0},
    {"1 /pool/p joe@pve a", "joe@pve", "/vms", 0},
    {"1 /pool/p joe@pve a", "joe@pve", "/pool/p", A},
    {"1 /pool/p joe@pve a", "joe@pve", "/storage/local", A},
    {"0 /pool/p joe@pve a", "joe@pve", "/vms/200", A},
    {"1 /pool joe@pve a", "joe@pve", "/vms/200", A},
    {"0 /pool joe@pve a", "joe@pve", "/vms/200", 0},
    {"1 /pool joe@pve a;1 /pool/p joe@pve r", "joe@pve", "/vms/200", R},
    {"1 /pool/p @g1 a", "joe@pve", "/vms/200", A},
    {"1 /pool/top joe@pve a", "joe@pve", "/vms/202", A},
    {"1 /pool/top joe@pve a;1 /pool/top/sub joe@pve r", "joe@pve", "/vms/202", R},
    {"1 /vms/200 joe@pve r;1 /pool/p joe@pve a", "joe@pve", "/vms/200", A | R},
    {"1 /pool/p joe@pve a;1 /pool/q joe@pve r", "joe@pve", "/vms/201", A | R},
    {"1 / joe@pve r", "joe@pve", "/vms/200", R},
    {"1 / joe@pve a;1 /pool/p joe@pve r", "joe@pve", "/vms/200", A | R},
    {"1 / joe@pve a;1 /vms joe@pve r", "joe@pve", "/vms/200", A | R}, /* a is what joe has on /pool/p */
    {"1 /vms joe@pve a;1 /pool/p joe@pve NoAccess", "joe@pve", "/vms/200", 0},
    {"1 /vms joe@pve a;1 /pool/p joe@pve NoAccess", "joe@pve", "/vms/202", A},
    {"1 /pool/p joe@pve a;1 /pool/q joe@pve NoAccess", "joe@pve", "/vms/201", 0},
    {"1 /vms/200 joe@pve NoAccess;1 /pool/p joe@pve a", "joe@pve", "/vms/200", 0},
    {"1 / joe@pve NoAccess;1 /pool/p joe@pve a", "joe@pve", "/vms/200", 0},
    /* tokens */
    {"1 / joe@pve a", "joe@pve!all", "/vms/100", A},
    {"1 / joe@pve a;1 / joe@pve!all r", "joe@pve!all", "/vms/100", A},
    {"1 / joe@pve a;1 / joe@pve!all NoAccess", "joe@pve!all", "/vms/100", A},
    {"1 / joe@pve a", "joe@pve!sep", "/vms/100", 0},
    {"1 / @g1 a", "joe@pve!sep", "/vms/100", 0},
    {"1 / joe@pve!sep a", "joe@pve!sep", "/vms/100", 0},
    {"1 / joe@pve a,r;1 /vms joe@pve!sep r,b", "joe@pve!sep", "/vms/100", R},
    {"1 / joe@pve a,r;1 /vms joe@pve!sep r,b", "joe@pve!sep", "/nodes/x", 0},
    {"1 / joe@pve a,r;1 /vms joe@pve!sep r,b", "joe@pve", "/vms/100", A | R},
    {"1 / @g1 a,r;1 /vms joe@pve!sep r,b", "joe@pve!sep", "/vms/100", R},
    {"1 / joe@pve a;1 / joe@pve!sep a,NoAccess", "joe@pve!sep", "/vms/100", 0},
    {"1 / joe@pve NoAccess;1 / joe@pve!sep a", "joe@pve!sep", "/vms/100", 0},
    {"1 / joe@pve a;1 /pool/p joe@pve!sep a,r", "joe@pve!sep", "/vms/200", A},
    {"1 / joe@pve!sep a;1 /pool/p joe@pve a,r", "joe@pve!sep", "/vms/200", A},
    {"1 /pool/p joe@pve!sep a;1 /pool/p joe@pve a,r", "joe@pve!sep", "/vms/200", A},
    {"1 / joe@pve a", "joe@pve!other", "/vms/100", 0},
    {"1 / joe@pve a", "ann@pve!all", "/vms/100", 0},
    {"", "root@pam!all", "/vms/100", PRIVILEGES_ALL},
    {"", "root@pam!sep", "/vms/100", 0},
    {"1 /vms root@pam!sep a", "root@pam!sep", "/vms/100", A},
    {"1 /vms root@pam!sep Administrator", "root@pam!sep", "/vms/100", PRIVILEGES_ALL},
    /* paths are normalised, on either side */
    {"1 //vms///100/ joe@pve a", "joe@pve", "/vms/100", A},
    {"1 /vms/100 joe@pve a", "joe@pve", "//vms//100//", A},
    {"1 /vms joe@pve a", "joe@pve", "/vms/../x y", 0},
    {"1 /vms joe@pve a", "joe@pve", "/nodes/../vms", 0},
    {"1 / joe@pve a", "joe@pve", "", 0},
    {"1 / joe@pve a", "joe@pve", "/vms/%31", 0},
    /* built-in roles */
    {"1 / joe@pve PVEAuditor", "joe@pve", "/vms/100",
     A | PRIV(VM_GuestAgent_Audit) | PRIV(Sys_Audit) | PRIV(Datastore_Audit) | PRIV(Pool_Audit) |
         PRIV(SDN_Audit) | PRIV(Mapping_Audit)},
};

static char *user_cfg_of(const char *acl)
{
    struct buf text = BUF_INIT;
    buf_adds(&text, WORLD);
    _cleanup_strv_ struct strv entries = STRV_INIT;
    strv_split(&entries, acl, ";");
    for (size_t i = 0; i < entries.n; i++) {
        _cleanup_strv_ struct strv w = STRV_INIT;
        strv_split(&w, entries.v[i], " ");
        buf_addf(&text, "acl:%s:%s:%s:%s:\n", w.v[0], w.v[1], w.v[2], w.v[3]);
    }
    return buf_take(&text);
}

static void test_rule(void **state)
{
    (void)state;
    for (size_t i = 0; i < ELEMENTS(rows); i++) {
        _cleanup_free_ char *text = user_cfg_of(rows[i].acl);
        _cleanup_users_ struct users *u = parse(text);
        privileges may = users_may(u, rows[i].who, rows[i].path, NOW);
        if (may != rows[i].may)
            fail_msg("'%s': %s on '%s' may %jx", rows[i].acl, rows[i].who, rows[i].path, (uintmax_t)may);
    }
}

static void test_below(void **state)
{
    (void)state;
    static const struct rule_row below[] = {
        {"1 / joe@pve a", "joe@pve", "/", A},
        {"0 / joe@pve a", "joe@pve", "/", 0},
        {"1 / joe@pve a;0 /vms joe@pve r", "joe@pve", "/vms", A},
        {"1 / joe@pve a;0 /vms joe@pve r;1 /vms joe@pve b", "joe@pve", "/vms", B},
        {"0 /pool/p joe@pve a", "joe@pve", "/vms/200", 0},
        {"1 /pool/p joe@pve a", "joe@pve", "/vms/200", A},
        {"1 / joe@pve a,r;1 / joe@pve!sep r", "joe@pve!sep", "/vms/100", R},
        {"", "root@pam", "/", PRIVILEGES_ALL},
    };
    for (size_t i = 0; i < ELEMENTS(below); i++) {
        _cleanup_free_ char *text = user_cfg_of(below[i].acl);
        _cleanup_users_ struct users *u = parse(text);
        privileges may = users_may_below(u, below[i].who, below[i].path, NOW);
        if (may != below[i].may)
            fail_msg("'%s': below '%s' %s may %jx", below[i].acl, below[i].path, below[i].who,
                     (uintmax_t)may);
    }
}

/* Who is somebody, by lines of user.cfg. */
static void test_somebody(void **state)
{
    (void)state;
    static const struct {
        const char *text, *who;
        const char *reason; /* NULL: somebody */
    } cases[] = {
        {"", "root@pam", NULL},
        {"user:root@pam:0:5::::::\n", "root@pam", NULL},
        {"user:joe@pve:1:0::::::\n", "joe@pve", NULL},
        {" user : joe@pve : 1 : 0 ::::::\r\n", "joe@pve", NULL},
        {"user:joe@pve:1:0::::::", "joe@pve", NULL},
        {"user:joe@pve:1", "joe@pve", NULL},
        {"user:joe@pve:0:0::::::\n", "joe@pve", "user 'joe@pve' is disabled"},
        {"user:joe@pve\n", "joe@pve", "user 'joe@pve' is disabled"},
        {"user:joe@pve:yes:0::::::\n", "joe@pve", "user 'joe@pve' is disabled"},
        {"user:joe@pve:1:1000001::::::\n", "joe@pve", NULL},
        {"user:joe@pve:1:1000000::::::\n", "joe@pve", "user 'joe@pve' expired at 1000000"},
        {"user:joe@pve:1:1::::::\n", "joe@pve", "user 'joe@pve' expired at 1"},
        {"user:joe@pve:1:x::::::\n", "joe@pve", "there is no user 'joe@pve'"},
        {"user:joe@pve:1:-1::::::\n", "joe@pve", "there is no user 'joe@pve'"},
        {"user:joe@pve:1:99999999999999999999::::::\n", "joe@pve", "there is no user 'joe@pve'"},
        {"user:joe:1:0::::::\n", "joe", "there is no user 'joe'"},
        {"group:g:joe@pve::\n", "joe@pve", "there is no user 'joe@pve'"},
        {"group:g::\n", "@g", "there is no user '@g'"},
        {"user:joe@pve:1:0::::::\nuser:joe@pve:0:0::::::\n", "joe@pve", "user 'joe@pve' is disabled"},
        {"user:joe@pve:0:0::::::\nuser:joe@pve:1:0::::::\n", "joe@pve", NULL},
        {"user:joe@pve:1:0::::::\ntoken:joe@pve!tok:0:1::\n", "joe@pve!tok", NULL},
        {"token:joe@pve!tok:0:1::\nuser:joe@pve:1:0::::::\n", "joe@pve!tok", NULL},
        {"token:root@pam!tok:0:1::\n", "root@pam!tok", NULL},
        {"token:joe@pve!tok:0:1::\n", "joe@pve!tok", "there is no API token 'joe@pve!tok'"},
        {"user:joe@pve:1:0::::::\ntoken:joe@pve!tok:1000000:1::\n", "joe@pve!tok",
         "API token 'joe@pve!tok' expired at 1000000"},
        {"user:joe@pve:1:0::::::\ntoken:joe@pve!tok:1000001:1::\n", "joe@pve!tok", NULL},
        {"user:joe@pve:1:0::::::\ntoken:joe@pve!tok:x:1::\n", "joe@pve!tok",
         "there is no API token 'joe@pve!tok'"},
        {"user:joe@pve:0:0::::::\ntoken:joe@pve!tok:0:1::\n", "joe@pve!tok", "user 'joe@pve' is disabled"},
        {"user:joe@pve:1:7::::::\ntoken:joe@pve!tok:0:0::\n", "joe@pve!tok", "user 'joe@pve' expired at 7"},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        _cleanup_strv_ struct strv warnings = STRV_INIT;
        _cleanup_users_ struct users *u = parse_both(cases[i].text, "", &warnings);
        struct err e = {0};
        int r = users_check(u, cases[i].who, NOW, &e);
        if ((r == 0) != !cases[i].reason || (r < 0 && strcmp(e.text, cases[i].reason) != 0))
            fail_msg("'%s' '%s': %d %s", cases[i].text, cases[i].who, r, e.text);
    }
}

/* Who is nobody may nothing, whatever is given to it. */
static void test_nobody_may_nothing(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "user:joe@pve:0:0::::::\ntoken:joe@pve!tok:0:0::\nacl:1:/:joe@pve:Administrator:\n",
        "user:joe@pve:1:1000000::::::\ntoken:joe@pve!tok:0:0::\nacl:1:/:joe@pve:Administrator:\n",
        "acl:1:/:joe@pve:Administrator:\n",
    };
    for (size_t i = 0; i < ELEMENTS(texts); i++) {
        _cleanup_strv_ struct strv warnings = STRV_INIT;
        _cleanup_users_ struct users *u = parse_both(texts[i], "", &warnings);
        assert_int_equal(users_may(u, "joe@pve", "/vms/100", NOW), 0);
        assert_int_equal(users_may(u, "joe@pve!tok", "/vms/100", NOW), 0);
        assert_int_equal(users_may_below(u, "joe@pve", "/", NOW), 0);
    }
    _cleanup_users_ struct users *u = parse("user:joe@pve:1:0::::::\ntoken:joe@pve!tok:1000000:0::\n"
                                            "acl:1:/:joe@pve:Administrator:\n");
    assert_int_equal(users_may(u, "joe@pve!tok", "/", NOW - 1), PRIVILEGES_ALL);
    assert_int_equal(users_may(u, "joe@pve!tok", "/", NOW), 0);
    assert_int_equal(users_may(u, "joe@pve", "/", NOW), PRIVILEGES_ALL);
}

/* Lines with something odd: what joe@pve may on /vms/100, and the warning. */
static void test_odd_lines(void **state)
{
    (void)state;
    static const struct {
        const char *text, *warning;
        privileges may;
    } cases[] = {
        {"acl:1:/vms:joe@pve:a:\n", NULL, A},
        {" acl : 1 : /vms : joe@pve : a : \n", NULL, A},
        {"acl:1:/vms:ann@pve, joe@pve;x@pve:a r\n",
         "user.cfg:5: the entry of 'x@pve' is ignored: there is no such user, group or token", A | R},
        {"acl:1:/vms:joe@pve:later,a:\nrole:later:VM.Replicate:\n", NULL, A | R},
        {"\n# a comment\n   \nacl:1:/vms:joe@pve:a:\n", NULL, A},
        {"vnet:x:y:\nacl:1:/vms:joe@pve:a:\n", "user.cfg:5: 'vnet:x:y:' is ignored: no line that is known",
         A},
        {"no colon\nacl:1:/vms:joe@pve:a:\n", "user.cfg:5: 'no colon' is ignored: no line that is known", A},
        {"User:x@pve:1:0:\nacl:1:/vms:joe@pve:a:\n",
         "user.cfg:5: 'User:x@pve:1:0:' is ignored: no line that is known", A},
        {"acl:2:/vms:joe@pve:a:\n", "user.cfg:5: PROPAGATE is '2', neither 0 nor 1: taken for 0", 0},
        {"acl::/vms:joe@pve:a:\n", "user.cfg:5: PROPAGATE is '', neither 0 nor 1: taken for 0", 0},
        {"acl:1::joe@pve:a:\n", "user.cfg:5: the entry is ignored: '' is no path", 0},
        {"acl:1:/v*ms:joe@pve:a:\n", "user.cfg:5: the entry is ignored: '/v*ms' is no path", 0},
        {"acl:1\n", "user.cfg:5: the entry is ignored: '' is no path", 0},
        {"acl:1:/vms\n", NULL, 0},
        {"acl:1:/vms:joe@pve\n", NULL, 0},
        {"acl:1:vms:joe@pve:a:\n", NULL, A},
        {"acl:1:/vms:@none:a:\n",
         "user.cfg:5: the entry of '@none' is ignored: there is no such user, group or token", 0},
        {"acl:1:/:joe@pve:Administrator:\nacl:1:/vms:joe@pve:PVENew:\n",
         "user.cfg:6: role 'PVENew' is not known: it gives nothing", 0},
        {"role:m:VM.Audit,VM.New VM.Backup:\nacl:1:/vms:joe@pve:m:\n",
         "user.cfg:5: privilege 'VM.New' of role 'm' is ignored: not known", A | B},
        {"role:NoAccess:VM.Audit:\nacl:1:/vms:joe@pve:NoAccess:\n",
         "user.cfg:5: role 'NoAccess' is ignored: it is built in", 0},
        {"role:PVEPoolUser:VM.Audit:\nacl:1:/vms:joe@pve:PVEPoolUser:\n",
         "user.cfg:5: role 'PVEPoolUser' is ignored: it is built in", PRIV(Pool_Audit)},
        {"role:x y:VM.Audit:\n", "user.cfg:5: role 'x y' is ignored: no name of a role", 0},
        {"role:m:VM.Audit:\nrole:m:VM.Backup:\nacl:1:/vms:joe@pve:m:\n",
         "user.cfg:5: role 'm' is ignored: a later line says it anew", B},
        {"group:g:joe@pve::\ngroup:g:ann@pve::\nacl:1:/vms:@g:a:\n",
         "user.cfg:5: group 'g' is ignored: a later line says it anew", 0},
        {"group:g:joe@pve joe@pve;ann@pve,joe@pve::\nacl:1:/vms:@g:a:\n", NULL, A},
        {"acl:1:/vms:@g:a:\ngroup:g:joe@pve::\n", NULL, A},
        {"group:g:joe@pve!tok,new@pve::\n",
         "user.cfg:5: user 'joe@pve!tok' of group 'g' is ignored: there is no such user", 0},
        {"group:@g:joe@pve::\nacl:1:/vms:@@g:a:\n", "user.cfg:5: group '@g' is ignored: no name of a group",
         0},
        {"group::joe@pve::\nacl:1:/vms:@:a:\n", "user.cfg:5: group '' is ignored: no name of a group", 0},
        {"pool:p::100 ;101,100::\nacl:1:/pool/p:joe@pve:a:\n", NULL, A},
        {"acl:1:/pool/p:joe@pve:a:\npool:p::100::\n", NULL, A},
        {"pool:p::100::\npool:p::101::\nacl:1:/pool/p:joe@pve:a:\n",
         "user.cfg:5: pool 'p' is ignored: a later line says it anew", 0},
        {"pool:p::x,100:l*:\nacl:1:/pool/p:joe@pve:a:\n",
         "user.cfg:5: guest 'x' is ignored: no number of a guest", A},
        {"pool:p//q::100::\n", "user.cfg:5: pool 'p//q' is ignored: no name of a pool", 0},
        {"pool:../vms::100::\n", NULL, 0},
        {"user:@x@pve:1:0:\n", "user.cfg:5: user '@x@pve' is ignored: no USER@REALM", 0},
        {"token:joe@pve:1:0:\n", "user.cfg:5: token 'joe@pve' is ignored: no USER@REALM!TOKEN", 0},
        {"token:new@pve!tok:1:0:\n", "user.cfg:5: token 'new@pve!tok' is ignored: there is no such user", 0},
        {"acl:1:/vms:joe@pve:a:\n\x1b[31m:x\n", "user.cfg:6: '?[31m:x' is ignored: no line that is known", A},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        _cleanup_strv_ struct strv warnings = STRV_INIT;
        _cleanup_free_ char *text =
            xasprintf("user:joe@pve:1:0:Jo:D%%3ae:a@b:c:\nuser:ann@pve:1:0::::::\nrole:a:VM.Audit:\n"
                      "role:r:VM.Replicate:\n%s",
                      cases[i].text);
        _cleanup_users_ struct users *u = parse_both(text, "", &warnings);
        privileges may = users_may(u, "joe@pve", "/vms/100", NOW);
        const char *first = warnings.n ? warnings.v[0] : "none";
        if (may != cases[i].may || strcmp(first, cases[i].warning ? cases[i].warning : "none") != 0)
            fail_msg("'%s' gives %jx, warning: %s", cases[i].text, (uintmax_t)may, first);
    }
}

static void test_zero_byte(void **state)
{
    (void)state;
    static const char text[] =
        "user:joe@pve:1:0::::::\nacl:1:/:joe@pve\0:Administrator:\nacl:1:/vms:joe@pve:PVEPoolUser:\n";
    _cleanup_strv_ struct strv warnings = STRV_INIT;
    struct err e;
    _cleanup_users_ struct users *u = users_parse(text, sizeof text - 1, NULL, 0, &warnings, &e);
    assert_int_equal(users_may(u, "joe@pve", "/", NOW), 0);
    assert_int_equal(users_may(u, "joe@pve", "/vms", NOW), PRIV(Pool_Audit));
    assert_int_equal(warnings.n, 1);
}

static void test_keys(void **state)
{
    (void)state;
    _cleanup_users_ struct users *u =
        parse("user:a@pve:1:0:::::x:\nuser:b@pve:1:0::::::\nuser:c@pve:1:0:::::cccc:\n");
    assert_true(users_has_keys(u, "a@pve"));
    assert_false(users_has_keys(u, "b@pve"));
    assert_true(users_has_keys(u, "c@pve"));
    assert_false(users_has_keys(u, "d@pve"));
    assert_false(users_has_keys(u, "root@pam"));
    _cleanup_users_ struct users *root = parse("user:root@pam:1:0:::::x:\n");
    assert_true(users_has_keys(root, "root@pam"));
}

static void test_token_secrets(void **state)
{
    (void)state;
#define TOKEN_USERS                                                                                          \
    "user:joe@pve:1:0::::::\nuser:off@pve:0:0::::::\ntoken:joe@pve!tok:0:1::\ntoken:off@pve!tok:0:1::\n"
    static const struct {
        const char *token_cfg, *id, *secret;
        const char *reason; /* NULL: right */
    } cases[] = {
        {"joe@pve!tok " SECRET "\n", "joe@pve!tok", SECRET, NULL},
        {"  joe@pve!tok \t " SECRET "  \r\n", "joe@pve!tok", SECRET, NULL},
        {"joe@pve!tok " SECRET, "joe@pve!tok", SECRET, NULL},
        {"joe@pve!tok " OTHER "\njoe@pve!tok " SECRET "\n", "joe@pve!tok", SECRET, NULL},
        {"joe@pve!tok " SECRET "\njoe@pve!tok " OTHER "\n", "joe@pve!tok", SECRET,
         "the secret is not that of API token 'joe@pve!tok'"},
        {"joe@pve!tok " SECRET "\n", "joe@pve!tok", OTHER,
         "the secret is not that of API token 'joe@pve!tok'"},
        {"joe@pve!tok " SECRET "\n", "joe@pve!tok", "", "the secret is not that of API token 'joe@pve!tok'"},
        {"joe@pve!tok " SECRET "\n", "joe@pve!tok", SECRET "0",
         "the secret is not that of API token 'joe@pve!tok'"},
        {"joe@pve!tok " SECRET "\n", "joe@pve!tok", "01234567-89ab-cdef-0123-456789abcde",
         "the secret is not that of API token 'joe@pve!tok'"},
        {"joe@pve!tok " SECRET "\n", "joe@pve!tok", "01234567-89AB-cdef-0123-456789abcdef",
         "the secret is not that of API token 'joe@pve!tok'"},
        {"joe@pve!tok " SECRET "\n", "joe@pve", SECRET, "there is no API token 'joe@pve'"},
        {"joe@pve!tok " SECRET "\n", "root@pam", SECRET, "there is no API token 'root@pam'"},
        {"joe@pve!tok " SECRET "\n", "joe@pve!other", SECRET, "there is no API token 'joe@pve!other'"},
        {"joe@pve " SECRET "\n", "joe@pve!tok", SECRET, "API token 'joe@pve!tok' has no secret in token.cfg"},
        {"", "joe@pve!tok", "", "API token 'joe@pve!tok' has no secret in token.cfg"},
        {"joe@pve!tok\n", "joe@pve!tok", "", "API token 'joe@pve!tok' has no secret in token.cfg"},
        {"joe@pve!tok  \n", "joe@pve!tok", "", "API token 'joe@pve!tok' has no secret in token.cfg"},
        {"joe@pve!tok short\n", "joe@pve!tok", "short", "API token 'joe@pve!tok' has no secret in token.cfg"},
        {"joe@pve!tok " SECRET " x\n", "joe@pve!tok", SECRET,
         "API token 'joe@pve!tok' has no secret in token.cfg"},
        {"# note\n\njoe@pve!tok " SECRET "\n", "joe@pve!tok", SECRET, NULL},
        {"off@pve!tok " SECRET "\n", "off@pve!tok", SECRET, "user 'off@pve' is disabled"},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        _cleanup_strv_ struct strv warnings = STRV_INIT;
        _cleanup_users_ struct users *u = parse_both(TOKEN_USERS, cases[i].token_cfg, &warnings);
        struct err e = {0};
        int r = users_check_token(u, cases[i].id, cases[i].secret, NOW, &e);
        if ((r == 0) != !cases[i].reason || (r < 0 && strcmp(e.text, cases[i].reason) != 0))
            fail_msg("'%s' '%s' '%s': %d %s", cases[i].token_cfg, cases[i].id, cases[i].secret, r, e.text);
        for (size_t w = 0; w < warnings.n; w++)
            assert_null(strstr(warnings.v[w], SECRET));
    }
}

static void test_paths(void **state)
{
    (void)state;
    static const struct {
        const char *in, *out; /* NULL: no path */
    } cases[] = {
        {"/", "/"},
        {"//", "/"},
        {"/a", "/a"},
        {"/a/", "/a"},
        {"//a//b//", "/a/b"},
        {"a", "/a"},
        {"/A-z_0.9", "/A-z_0.9"},
        {"/a b", NULL},
        {"/a\n", NULL},
        {"/a%2f", NULL},
        {"/a:b", NULL},
        {"", NULL},
        {"/\xc3\xbc", NULL},
    };
    char out[ACCESS_PATH_MAX];
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        bool ok = access_path_normalise(cases[i].in, out);
        if (ok != (cases[i].out != NULL) || (ok && strcmp(out, cases[i].out) != 0))
            fail_msg("'%s' gives '%s'", cases[i].in, ok ? out : "no path");
    }
    char longest[ACCESS_PATH_MAX + 1];
    memset(longest, 'a', sizeof longest);
    longest[0] = '/';
    longest[ACCESS_PATH_MAX - 1] = '\0';
    assert_true(access_path_normalise(longest, out));
    assert_string_equal(out, longest);
    longest[ACCESS_PATH_MAX - 1] = 'a';
    longest[ACCESS_PATH_MAX] = '\0';
    assert_false(access_path_normalise(longest, out));
}

static void test_lists(void **state)
{
    (void)state;
    _cleanup_users_ struct users *u =
        parse("user:joe@pve:1:0::::::\npool:q::7::\npool:p::8,7:local:\n"
              "acl:1:/vms/8:joe@pve:PVEAuditor:\nacl:1:/:joe@pve:PVEAuditor:\n");
    _cleanup_strv_ struct strv paths = STRV_INIT;
    users_paths(u, &paths);
    _cleanup_free_ char *joined = strv_join(&paths, " ");
    assert_string_equal(joined, "/ /storage/local /vms/7 /vms/8");
    assert_string_equal(users_guest_pool(u, 7), "q");
    assert_string_equal(users_guest_pool(u, 8), "p");
    assert_null(users_guest_pool(u, 9));
    assert_int_equal(users_may_guest(u, "joe@pve", 8, NOW), users_may(u, "joe@pve", "/vms/8", NOW));
}

/* More than anybody has: nobody is let in by halves of a file. */
static void test_hostile_sizes(void **state)
{
    (void)state;
    _cleanup_strv_ struct strv warnings = STRV_INIT;
    struct err e = {0};
    _cleanup_free_ char *big = xmalloc(USERS_TEXT_MAX + 1);
    memset(big, 'a', USERS_TEXT_MAX + 1);
    assert_null(users_parse(big, USERS_TEXT_MAX + 1, NULL, 0, &warnings, &e));
    assert_int_equal(e.kind, ERR_CONFIG);
    assert_null(users_parse(NULL, 0, big, USERS_TEXT_MAX + 1, &warnings, &e));

    _cleanup_buf_ struct buf text = BUF_INIT; /* one line, of 1000 × 1000 entries */
    for (size_t i = 0; i < 1000; i++)
        buf_addf(&text, "user:u%zu@pve:1:0:\n", i);
    buf_adds(&text, "acl:1:/:");
    for (size_t i = 0; i < 1000; i++)
        buf_addf(&text, "u%zu@pve,", i);
    buf_adds(&text, ":");
    for (size_t i = 0; i < 1000; i++)
        buf_addf(&text, "r%zu,", i);
    assert_null(users_parse(text.data, text.len, NULL, 0, &warnings, &e));
    assert_int_equal(e.kind, ERR_CONFIG);
    assert_true(warnings.n <= WARNINGS_MAX + 1);
}

/* As many as a large cluster has: all are asked for each guest. */
static void test_many(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf text = BUF_INIT;
    for (size_t i = 0; i < 5000; i++)
        buf_addf(&text, "user:u%zu@pve:1:0:\nacl:1:/vms/%zu:u%zu@pve:PVEVMAdmin:\n", i, i, i);
    _cleanup_users_ struct users *u = parse(buf_str(&text));
    for (size_t i = 0; i < 5000; i++) {
        char who[32];
        snprintf(who, sizeof who, "u%zu@pve", i);
        assert_true(privileges_have_all(users_may_guest(u, who, i, NOW), R | A));
        assert_int_equal(users_may_guest(u, who, i + 1, NOW), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rule),          cmocka_unit_test(test_below),
        cmocka_unit_test(test_somebody),      cmocka_unit_test(test_nobody_may_nothing),
        cmocka_unit_test(test_odd_lines),     cmocka_unit_test(test_zero_byte),
        cmocka_unit_test(test_keys),          cmocka_unit_test(test_token_secrets),
        cmocka_unit_test(test_paths),         cmocka_unit_test(test_lists),
        cmocka_unit_test(test_hostile_sizes), cmocka_unit_test(test_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
