#include "access/users.h"

#include "access/userid.h"
#include "access/usersdata.h"

#include <ctype.h>
#include <gnutls/gnutls.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

void users_free(struct users *u)
{
    if (!u)
        return;
    for (size_t i = 0; i < u->n_subjects; i++) {
        struct subject *s = &u->subjects[i];
        if (s->secret)
            explicit_bzero(s->secret, strlen(s->secret));
        free(s->secret);
        free(s->groups);
    }
    for (size_t i = 0; i < u->member_names.n; i++)
        free(u->member[i].pools);
    free(u->subjects);
    free(u->member);
    lookup_release(&u->numbers);
    lookup_release(&u->members);
    strv_release(&u->pools);
    strv_release(&u->member_names);
    acl_release(&u->acl);
    free(u);
}

/* ---- who is somebody ---- */

/* A user or a token; groups have names that neither can have. NULL: nobody of that name. */
static const struct subject *subject_of(const struct users *u, const char *who)
{
    size_t number = *who == '@' ? LOOKUP_NONE : lookup_get(&u->numbers, who);
    return number == LOOKUP_NONE ? NULL : &u->subjects[number];
}

static bool is_expired(const struct subject *s, int64_t now)
{
    return s->expires != 0 && s->expires <= now;
}

static int check_subject(const struct subject *s, const char *what, const char *name, int len, int64_t now,
                         struct err *e)
{
    if (!s->enabled)
        return err_set(e, ERR_USAGE, 0, "%s '%.*s' is disabled", what, len, name);
    if (is_expired(s, now))
        return err_set(e, ERR_USAGE, 0, "%s '%.*s' expired at %" PRId64, what, len, name, s->expires);
    return 0;
}

int users_check(const struct users *u, const char *who, int64_t now, struct err *e)
{
    const struct subject *s = subject_of(u, who);
    bool is_token = who_is_token(who);
    if (!s)
        return err_set(e, ERR_USAGE, 0, "there is no %s '%.*s'", is_token ? "API token" : "user", WHO_MAX,
                       who);
    if (is_token && check_subject(&u->subjects[s->user], "user", who, (int)who_user_len(who), now, e) < 0)
        return -1;
    return check_subject(s, is_token ? "API token" : "user", who, WHO_MAX, now, e);
}

int users_check_token(const struct users *u, const char *tokenid, const char *secret, int64_t now,
                      struct err *e)
{
    const struct subject *s = who_is_token(tokenid) ? subject_of(u, tokenid) : NULL;
    if (!s)
        return err_set(e, ERR_USAGE, 0, "there is no API token '%.*s'", WHO_MAX, tokenid);
    if (!s->secret)
        return err_set(e, ERR_USAGE, 0, "API token '%s' has no secret in token.cfg", tokenid);
    size_t len = strlen(s->secret);
    if (strlen(secret) != len || gnutls_memcmp(secret, s->secret, len) != 0)
        return err_set(e, ERR_USAGE, 0, "the secret is not that of API token '%s'", tokenid);
    return users_check(u, tokenid, now, e);
}

bool users_has_keys(const struct users *u, const char *userid)
{
    const struct subject *s = subject_of(u, userid);
    return s && s->has_keys;
}

/* ---- paths ---- */

bool access_path_normalise(const char *path, char out[ACCESS_PATH_MAX])
{
    bool is_empty = !*path;
    size_t n = 0;
    out[n++] = '/';
    for (; *path; path++) {
        if (*path == '/' && out[n - 1] == '/')
            continue;
        if (!isalnum((unsigned char)*path) && !strchr("/._-", *path))
            return false;
        if (n >= ACCESS_PATH_MAX - 1)
            return false;
        out[n++] = *path;
    }
    if (n > 1 && out[n - 1] == '/')
        n--;
    out[n] = '\0';
    return !is_empty;
}

void users_paths(const struct users *u, struct strv *ret)
{
    for (size_t i = 0; i < u->acl.names.n; i++)
        strv_add(ret, u->acl.names.v[i]);
    for (size_t i = 0; i < u->member_names.n; i++)
        if (!lookup_has(&u->acl.paths, u->member_names.v[i]))
            strv_add(ret, u->member_names.v[i]);
    strv_sort(ret);
}

/* ---- the rule ---- */

/* The end of the component at which the path so far ends; 0 at the beginning is "/" itself. */
static size_t next_component(const char *path, size_t at)
{
    if (at == 0)
        return 1;
    return strchrnul(path + at + (path[at] == '/'), '/') - path;
}

/* What the path's own component gives: to the one itself, else to the groups. A token has no groups. */
static privileges given_at(const struct users *u, uint32_t who, const char *path, bool last)
{
    privileges own = acl_at(&u->acl, path, &who, 1, last);
    const struct subject *s = &u->subjects[who];
    return own ? own : acl_at(&u->acl, path, s->groups, s->n_groups, last);
}

/* From "/" downwards; what is deeper replaces what is above. below: nothing of what does not propagate
 * counts. */
static privileges given_on(const struct users *u, uint32_t who, const char *path, bool below)
{
    privileges given = 0;
    size_t len = strlen(path);
    for (size_t at = next_component(path, 0), end = 0; end < len; at = next_component(path, at)) {
        char so_far[ACCESS_PATH_MAX];
        end = at;
        memcpy(so_far, path, end);
        so_far[end] = '\0';
        privileges here = given_at(u, who, so_far, end == len && !below);
        given = here ? here : given;
    }
    return given;
}

static privileges with_pools(const struct users *u, uint32_t who, const char *path, bool below)
{
    privileges given = given_on(u, who, path, below);
    size_t number = lookup_get(&u->members, path);
    for (size_t i = 0; number != LOOKUP_NONE && i < u->member[number].n; i++)
        given |= given_on(u, who, u->pools.v[u->member[number].pools[i]], below);
    return given & ACL_NO_ACCESS ? 0 : given & PRIVILEGES_ALL;
}

static privileges may(const struct users *u, uint32_t who, const char *path, bool below)
{
    return who == USERS_ROOT ? PRIVILEGES_ALL : with_pools(u, who, path, below);
}

static privileges ask(const struct users *u, const char *who, const char *path, int64_t now, bool below)
{
    char normal[ACCESS_PATH_MAX];
    struct err e;
    if (users_check(u, who, now, &e) < 0 || !access_path_normalise(path, normal))
        return 0;
    uint32_t number = (uint32_t)(subject_of(u, who) - u->subjects);
    const struct subject *s = &u->subjects[number];
    if (!who_is_token(who))
        return may(u, number, normal, below);
    privileges users = may(u, s->user, normal, below);
    return s->separate ? users & with_pools(u, number, normal, below) : users;
}

privileges users_may(const struct users *u, const char *who, const char *path, int64_t now)
{
    return ask(u, who, path, now, false);
}

privileges users_may_below(const struct users *u, const char *who, const char *path, int64_t now)
{
    return ask(u, who, path, now, true);
}

static void guest_path(uint64_t guest, char out[32])
{
    snprintf(out, 32, "/vms/%" PRIu64, guest);
}

privileges users_may_guest(const struct users *u, const char *who, uint64_t guest, int64_t now)
{
    char path[32];
    guest_path(guest, path);
    return users_may(u, who, path, now);
}

const char *users_guest_pool(const struct users *u, uint64_t guest)
{
    char path[32];
    guest_path(guest, path);
    size_t number = lookup_get(&u->members, path);
    return number == LOOKUP_NONE ? NULL : u->pools.v[u->member[number].pools[0]] + strlen("/pool/");
}
