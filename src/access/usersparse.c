#include "access/userid.h"
#include "access/userlines.h"
#include "access/users.h"
#include "access/usersdata.h"
#include "base/num.h"
#include "conf/lines.h"
#include "conf/warn.h"

#include <ctype.h>
#include <inttypes.h>
#include <string.h>

struct parse {
    struct users *u;
    struct user_lines lines;
    struct lookup roles; /* name → place in role */
    privileges *role;    /* with ACL_NO_ACCESS */
    struct strv *warnings;
    bool too_many;
};

#define WARN(p, l, ...) warn_at((p)->warnings, USER_CFG, (l)->number, __VA_ARGS__)

/* ---- names ---- */

static bool is_name(const char *s)
{
    for (const char *c = s; *c; c++)
        if (!isalnum((unsigned char)*c) && !strchr("._-", *c))
            return false;
    return *s != '\0';
}

static bool is_pool_name(const char *s)
{
    char path[ACCESS_PATH_MAX];
    _cleanup_free_ char *full = xasprintf("/pool/%s", s);
    return *s && access_path_normalise(full, path) && strcmp(full, path) == 0;
}

static struct subject *add_subject(struct users *u, const char *name)
{
    lookup_add(&u->numbers, name, u->n_subjects);
    u->subjects = xgrow(u->subjects, u->n_subjects, sizeof *u->subjects);
    u->subjects[u->n_subjects] = (struct subject){.enabled = true};
    return &u->subjects[u->n_subjects++];
}

/* 0, or an epoch; empty is 0. */
static bool read_expiry(const struct user_line *l, size_t i, int64_t *ret)
{
    struct err e;
    _cleanup_free_ char *text = user_line_field(l, i);
    *ret = 0;
    return !*text || num_parse_i64("EXPIRE", text, 0, INT64_MAX, ret, &e) == 0;
}

static bool field_is(const struct user_line *l, size_t i, const char *text)
{
    _cleanup_free_ char *field = user_line_field(l, i);
    return strcmp(field, text) == 0;
}

/* ---- a line each ---- */

static void read_user(struct parse *p, const struct user_line *l, const char *name)
{
    int64_t expires;
    if (!userid_is_valid(name)) {
        WARN(p, l, "user '%.80s' is ignored: no USER@REALM", name);
        return;
    }
    if (strcmp(name, ROOT_USER) == 0) { /* is there already, whatever the line says */
        p->u->subjects[USERS_ROOT].has_keys = !field_is(l, 7, "");
        return;
    }
    if (!read_expiry(l, 2, &expires)) {
        WARN(p, l, "user '%s' is ignored: EXPIRE is no epoch", name);
        return;
    }
    struct subject *s = add_subject(p->u, name);
    s->enabled = field_is(l, 1, "1");
    s->expires = expires;
    s->has_keys = !field_is(l, 7, "");
}

static void read_token(struct parse *p, const struct user_line *l, const char *name)
{
    int64_t expires;
    if (!tokenid_is_valid(name)) {
        WARN(p, l, "token '%.80s' is ignored: no USER@REALM!TOKEN", name);
        return;
    }
    _cleanup_free_ char *user = xstrndup(name, who_user_len(name));
    size_t number = lookup_get(&p->u->numbers, user);
    if (number == LOOKUP_NONE || !read_expiry(l, 1, &expires)) {
        WARN(p, l, "token '%s' is ignored: %s", name,
             number == LOOKUP_NONE ? "there is no such user" : "EXPIRE is no epoch");
        return;
    }
    struct subject *s = add_subject(p->u, name);
    s->expires = expires;
    s->separate = !field_is(l, 2, "0");
    s->user = (uint32_t)number;
}

static void add_number(uint32_t **numbers, size_t *n, size_t number)
{
    if (*n > 0 && (*numbers)[*n - 1] == number) /* named twice in one list */
        return;
    *numbers = xgrow(*numbers, *n, sizeof **numbers);
    (*numbers)[(*n)++] = (uint32_t)number;
}

static void read_group(struct parse *p, const struct user_line *l, const char *name)
{
    if (!is_name(name)) {
        WARN(p, l, "group '%.80s' is ignored: no name of a group", name);
        return;
    }
    _cleanup_free_ char *at_name = xasprintf("@%s", name);
    size_t group = (size_t)(add_subject(p->u, at_name) - p->u->subjects);
    _cleanup_strv_ struct strv users = STRV_INIT;
    user_line_list(l, 1, &users);
    for (size_t i = 0; i < users.n; i++) {
        size_t number = userid_is_valid(users.v[i]) ? lookup_get(&p->u->numbers, users.v[i]) : LOOKUP_NONE;
        if (number == LOOKUP_NONE) {
            WARN(p, l, "user '%.80s' of group '%s' is ignored: there is no such user", users.v[i], name);
            continue;
        }
        struct subject *s = &p->u->subjects[number];
        add_number(&s->groups, &s->n_groups, group);
    }
}

static void add_member(struct users *u, const char *path, size_t pool)
{
    if (lookup_add(&u->members, path, u->member_names.n)) {
        u->member = xgrow(u->member, u->member_names.n, sizeof *u->member);
        u->member[u->member_names.n] = (struct member){0};
        strv_add(&u->member_names, path);
    }
    struct member *m = &u->member[lookup_get(&u->members, path)];
    add_number(&m->pools, &m->n, pool);
}

static void read_guests(struct parse *p, const struct user_line *l, size_t pool)
{
    _cleanup_strv_ struct strv guests = STRV_INIT;
    user_line_list(l, 2, &guests);
    for (size_t i = 0; i < guests.n; i++) {
        uint64_t id;
        struct err e;
        if (num_parse_u64("VMIDS", guests.v[i], 1, UINT32_MAX, &id, &e) < 0) {
            WARN(p, l, "guest '%.80s' is ignored: no number of a guest", guests.v[i]);
            continue;
        }
        _cleanup_free_ char *path = xasprintf("/vms/%" PRIu64, id);
        add_member(p->u, path, pool);
    }
}

static void read_pool(struct parse *p, const struct user_line *l, const char *name)
{
    if (!is_pool_name(name)) {
        WARN(p, l, "pool '%.80s' is ignored: no name of a pool", name);
        return;
    }
    size_t pool = p->u->pools.n;
    strv_addf(&p->u->pools, "/pool/%s", name);
    read_guests(p, l, pool);
    _cleanup_strv_ struct strv storages = STRV_INIT;
    user_line_list(l, 3, &storages);
    for (size_t i = 0; i < storages.n; i++) {
        _cleanup_free_ char *path = xasprintf("/storage/%s", storages.v[i]);
        if (is_name(storages.v[i]))
            add_member(p->u, path, pool);
        else
            WARN(p, l, "storage '%.80s' is ignored: no name of a storage", storages.v[i]);
    }
}

/* Its number; a role's number is how many there were before it. */
static size_t add_role(struct parse *p, const char *name, privileges may)
{
    if (!lookup_add(&p->roles, name, p->roles.n))
        return LOOKUP_NONE;
    size_t n = p->roles.n - 1;
    p->role = xgrow(p->role, n, sizeof *p->role);
    p->role[n] = may;
    return n;
}

static void read_role(struct parse *p, const struct user_line *l, const char *name)
{
    privileges may = 0;
    if (!is_name(name) || lookup_has(&p->roles, name)) {
        WARN(p, l, "role '%.80s' is ignored: %s", name,
             is_name(name) ? "it is built in" : "no name of a role");
        return;
    }
    _cleanup_strv_ struct strv privs = STRV_INIT;
    user_line_list(l, 1, &privs);
    for (size_t i = 0; i < privs.n; i++) {
        enum privilege one;
        if (privilege_parse(privs.v[i], &one))
            may |= (privileges)1 << one;
        else
            WARN(p, l, "privilege '%.80s' of role '%s' is ignored: not known", privs.v[i], name);
    }
    add_role(p, name, may);
}

/* ---- the access list ---- */

static size_t who_number(struct parse *p, const struct user_line *l, const char *who)
{
    size_t number = lookup_get(&p->u->numbers, who);
    if (number == LOOKUP_NONE)
        WARN(p, l, "the entry of '%.80s' is ignored: there is no such user, group or token", who);
    return number;
}

/* A role that is not known may nothing, but is given: what it was to replace is not to come back. */
static size_t role_number(struct parse *p, const struct user_line *l, const char *role)
{
    size_t number = lookup_get(&p->roles, role);
    if (number != LOOKUP_NONE)
        return number;
    WARN(p, l, "role '%.80s' is not known: it gives nothing", role);
    return add_role(p, role, 0);
}

static void read_acl_line(struct parse *p, const struct user_line *l, const char *path, bool propagates)
{
    _cleanup_strv_ struct strv who = STRV_INIT, roles = STRV_INIT;
    user_line_list(l, 2, &who);
    user_line_list(l, 3, &roles);
    for (size_t i = 0; i < who.n && !p->too_many; i++) {
        size_t number = who_number(p, l, who.v[i]);
        for (size_t k = 0; k < roles.n && number != LOOKUP_NONE && !p->too_many; k++) {
            size_t role = role_number(p, l, roles.v[k]);
            p->too_many =
                !acl_add(&p->u->acl, path, (uint32_t)number, (uint32_t)role, p->role[role], propagates);
        }
    }
}

static void read_acl(struct parse *p, const struct user_line *l, const char *propagates)
{
    char path[ACCESS_PATH_MAX];
    _cleanup_free_ char *field = user_line_field(l, 1);
    if (strcmp(propagates, "0") != 0 && strcmp(propagates, "1") != 0)
        WARN(p, l, "PROPAGATE is '%.80s', neither 0 nor 1: taken for 0", propagates);
    if (!access_path_normalise(field, path))
        WARN(p, l, "the entry is ignored: '%.80s' is no path", field);
    else
        read_acl_line(p, l, path, strcmp(propagates, "1") == 0);
}

/* ---- all of it ---- */

static void read_all(struct parse *p, enum user_line_kind kind,
                     void (*read)(struct parse *p, const struct user_line *l, const char *first))
{
    for (size_t i = 0; i < p->lines.n; i++)
        if (p->lines.lines[i].kind == kind) {
            _cleanup_free_ char *first = user_line_field(&p->lines.lines[i], 0);
            read(p, &p->lines.lines[i], first);
        }
}

static void add_built_in(struct parse *p)
{
    const char *name;
    for (size_t i = 0; (name = role_built_in_name(i)); i++) {
        privileges may = 0;
        role_built_in(name, &may);
        add_role(p, name, may | (strcmp(name, ROLE_NO_ACCESS) == 0 ? ACL_NO_ACCESS : 0));
    }
}

/* Whatever a line names is read before it, in whatever order the file has them. */
static void read_user_cfg(struct parse *p)
{
    add_subject(p->u, ROOT_USER);
    add_built_in(p);
    read_all(p, USER_LINE_USER, read_user);
    read_all(p, USER_LINE_TOKEN, read_token);
    read_all(p, USER_LINE_GROUP, read_group);
    read_all(p, USER_LINE_POOL, read_pool);
    read_all(p, USER_LINE_ROLE, read_role);
    read_all(p, USER_LINE_ACL, read_acl);
    acl_pack(&p->u->acl);
}

static bool is_uuid(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        if (dash ? s[i] != '-' : !isxdigit((unsigned char)s[i]))
            return false;
    }
    return n == 36;
}

/* TOKENID SECRET; what is wrong with it, NULL: nothing. */
static const char *read_secret(struct users *u, const char *s, size_t n)
{
    size_t id_len = 0;
    while (id_len < n && !line_is_blank(s[id_len]))
        id_len++;
    size_t at = id_len + line_lead(s + id_len, n - id_len);
    _cleanup_free_ char *id = xstrndup(s, id_len);
    size_t number = tokenid_is_valid(id) ? lookup_get(&u->numbers, id) : LOOKUP_NONE;
    if (number == LOOKUP_NONE)
        return USER_CFG " has no such token";
    if (!is_uuid(s + at, n - at))
        return "the secret is no UUID";
    struct subject *subject = &u->subjects[number];
    if (subject->secret)
        explicit_bzero(subject->secret, strlen(subject->secret));
    free(subject->secret);
    subject->secret = xstrndup(s + at, n - at);
    return NULL;
}

static void read_token_cfg(struct users *u, const char *text, size_t len, struct strv *warnings)
{
    struct lines l = LINES_INIT(text, len);
    while (lines_next(&l)) {
        size_t lead = line_lead(l.text, l.len);
        size_t n = line_trim(l.text + lead, l.len - lead);
        const char *wrong = n ? read_secret(u, l.text + lead, n) : NULL;
        if (wrong)
            warn_at(warnings, "token.cfg", l.number, "the line is ignored: %s", wrong);
    }
}

static int too_large(const char *name, struct err *e)
{
    return err_set(e, ERR_CONFIG, 0,
                   "%s is too large to be read (%d bytes, %d entries of the access list at most)", name,
                   USERS_TEXT_MAX, ACL_GRANTS_MAX);
}

struct users *users_parse(const char *user_cfg, size_t user_len, const char *token_cfg, size_t token_len,
                          struct strv *warnings, struct err *e)
{
    if (user_len > USERS_TEXT_MAX || token_len > USERS_TEXT_MAX) {
        too_large(user_len > USERS_TEXT_MAX ? USER_CFG : "token.cfg", e);
        return NULL;
    }
    _cleanup_users_ struct users *u = xcalloc(1, sizeof *u);
    struct parse p = {.u = u, .warnings = warnings};
    user_lines_read(user_cfg, user_len, &p.lines, warnings);
    read_user_cfg(&p);
    user_lines_release(&p.lines);
    lookup_release(&p.roles);
    free(p.role);
    if (p.too_many) {
        too_large(USER_CFG, e);
        return NULL;
    }
    read_token_cfg(u, token_cfg, token_len, warnings);
    return take_ptr(u);
}
