#include "access/caller.h"

#include "access/cookie.h"

#include <stdio.h>
#include <string.h>

/* ---- what is known ---- */

static void read_keys(struct access *a, const struct access_texts *t, struct strv *warnings)
{
    struct err e;
    a->keys = ticket_keys_new(&t->keys, &e);
    if (!a->keys)
        strv_addf(warnings, "no tickets are taken: %s", e.text);
    if (csrf_secret(t->www_key, t->www_key ? t->www_len : 0, a->csrf_secret, &e) < 0)
        strv_addf(warnings, "with a ticket nothing can be changed: %s", e.text);
}

struct access *access_new(const struct access_texts *texts, struct strv *warnings, struct err *e)
{
    _cleanup_access_ struct access *a = xcalloc(1, sizeof *a);
    a->users = users_parse(texts->user_cfg, texts->user_len, texts->token_cfg, texts->token_len, warnings, e);
    if (!a->users)
        return NULL;
    read_keys(a, texts, warnings);
    return take_ptr(a);
}

void access_free(struct access *a)
{
    if (!a)
        return;
    users_free(a->users);
    ticket_keys_free(a->keys);
    explicit_bzero(a, sizeof *a);
    free(a);
}

/* ---- who sends a request ---- */

#define TOKEN_SCHEME "PVEAPIToken"

static bool has_token(const char *authorization)
{
    return authorization && strncmp(authorization, TOKEN_SCHEME, strlen(TOKEN_SCHEME)) == 0;
}

/* PVEAPIToken=TOKENID=SECRET; or with a blank behind the scheme, as HTTP has it, for clients (Prometheus)
 * that can do no other. */
static int identify_token(const struct access *a, const char *authorization, int64_t now, struct caller *ret,
                          struct err *e)
{
    const char *id = authorization + strlen(TOKEN_SCHEME) + 1;
    const char *secret = id[-1] == '=' || id[-1] == ' ' ? strrchr(id, '=') : NULL;
    size_t len = secret ? (size_t)(secret - id) : 0;
    if (!secret || len >= WHO_MAX)
        return err_set(e, ERR_USAGE, 0,
                       "the Authorization header is not PVEAPIToken=USER@REALM!TOKEN=SECRET");
    ret->is_token = true;
    memcpy(ret->who, id, len);
    ret->who[len] = '\0';
    return users_check_token(a->users, ret->who, secret + 1, now, e);
}

static int check_csrf(const struct access *a, const char *userid, const struct credentials *c, int64_t now,
                      struct err *e)
{
    if (c->method_is_safe)
        return 0;
    if (!*a->csrf_secret)
        return err_set(e, ERR_USAGE, 0,
                       "user '%s' cannot change anything by a cookie: there is no pve-www.key", userid);
    if (!c->csrf)
        return err_set(e, ERR_USAGE, 0, "the request of user '%s' lacks the header CSRFPreventionToken",
                       userid);
    return csrf_check(a->csrf_secret, userid, c->csrf, now, e);
}

static int check_ticket(const struct access *a, const char *ticket, int64_t now, char **userid, struct err *e)
{
    if (!a->keys)
        return err_set(e, ERR_USAGE, 0, "no tickets are taken: there are no keys");
    if (ticket_check(a->keys, ticket, now, userid, e) < 0)
        return -1;
    return users_check(a->users, *userid, now, e);
}

static int identify_cookie(const struct access *a, const struct credentials *c, int64_t now,
                           struct caller *ret, struct err *e)
{
    _cleanup_free_ char *ticket = cookie_ticket(c->cookie), *userid = NULL;
    if (!ticket)
        return err_set(e, ERR_USAGE, 0, "the request has neither a ticket nor an API token");
    if (check_ticket(a, ticket, now, &userid, e) < 0 || check_csrf(a, userid, c, now, e) < 0)
        return -1;
    snprintf(ret->who, sizeof ret->who, "%s", userid);
    return 0;
}

int caller_identify(const struct access *a, const struct credentials *c, int64_t now, struct caller *ret,
                    struct err *e)
{
    struct caller found = {0};
    int r = has_token(c->authorization) ? identify_token(a, c->authorization, now, &found, e)
                                        : identify_cookie(a, c, now, &found, e);
    if (r == 0)
        *ret = found;
    return r;
}

/* ---- new tickets ---- */

int access_renew(const struct access *a, const char *userid, const char *password, int64_t now, struct err *e)
{
    _cleanup_free_ char *owner = NULL;
    if (check_ticket(a, password, now, &owner, e) < 0)
        return -1;
    if (strcmp(owner, userid) != 0)
        return err_set(e, ERR_USAGE, 0, "the ticket is of user '%s', not of '%.*s'", owner, WHO_MAX, userid);
    return 0;
}

void issued_release(struct issued *i)
{
    free(i->ticket);
    *i = (struct issued){0};
}

bool access_can_issue(const struct access *a)
{
    return a->keys && *a->csrf_secret && ticket_keys_fit(a->keys);
}

int access_issue(const struct access *a, const char *userid, int64_t now, struct issued *ret, struct err *e)
{
    if (!a->keys || !*a->csrf_secret)
        return err_set(e, ERR_CONFIG, 0, "no ticket can be made: %s is missing or damaged",
                       a->keys ? "pve-www.key" : "authkey.key or authkey.pub");
    *ret = (struct issued){.ticket = ticket_make(a->keys, userid, now, e)};
    if (!ret->ticket)
        return -1;
    if (csrf_make(a->csrf_secret, userid, now, ret->csrf, e) == 0)
        return 0;
    issued_release(ret);
    return -1;
}
