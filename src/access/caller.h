/* From the headers of a request to who sends it (BEHAVIOUR.md#credentials). The door of this folder for the
 * server:
 *
 *     struct access *a = access_new(&texts, &warnings, &e);      once, and again when a file changed
 *     if (caller_identify(a, &credentials, now, &caller, &e) < 0)
 *         401, the same for every reason; e.text goes to the log
 *     privileges may = caller_may(a, &caller, "/vms/100", now);
 */
#pragma once

#include "access/ticket.h"
#include "access/userid.h"
#include "access/users.h"

struct access_texts {
    const char *user_cfg; /* NULL where a file is missing */
    size_t user_len;
    const char *token_cfg;
    size_t token_len;
    const char *www_key; /* pve-www.key */
    size_t www_len;
    struct ticket_key_texts keys;
};

struct access {
    struct users *users;
    struct ticket_keys *keys;          /* NULL: no ticket is made or read; tokens are */
    char csrf_secret[CSRF_SECRET_MAX]; /* "": none, then cookies only read */
};

/* NULL and ERR_CONFIG when user.cfg cannot be believed (users_parse). Keys that cannot be used are a warning.
 * access_free. */
struct access *access_new(const struct access_texts *texts, struct strv *warnings, struct err *e);
void access_free(struct access *a);
CLEANUP_FUNC(access_free, struct access)
#define _cleanup_access_ _cleanup_(access_freep)

/* Headers' values as they came, NULL where one is missing. */
struct credentials {
    const char *authorization;
    const char *cookie;
    const char *csrf;    /* CSRFPreventionToken */
    bool method_is_safe; /* GET: changes nothing */
};

struct caller {
    char who[WHO_MAX]; /* USER@REALM or USER@REALM!TOKEN */
    bool is_token;
};

/* An Authorization header with PVEAPIToken is the only thing looked at where there is one; else the cookie,
 * which needs the CSRF token for every method that is not safe. On failure the reason, for the log:
 * ERR_USAGE, never with a secret in it. */
int caller_identify(const struct access *a, const struct credentials *c, int64_t now, struct caller *ret,
                    struct err *e);

static inline privileges caller_may(const struct access *a, const struct caller *c, const char *path,
                                    int64_t now)
{
    return users_may(a->users, c->who, path, now);
}

/* Does `password` happen to be a good ticket of `userid`, which is somebody? Then it may have a new one,
 * whatever factors it has: it got the first one with them. */
int access_renew(const struct access *a, const char *userid, const char *password, int64_t now,
                 struct err *e);

struct issued { /* of POST /access/ticket */
    char *ticket;
    char csrf[CSRF_TOKEN_MAX];
};
void issued_release(struct issued *i);
/* Is there what tickets are signed with, and would they be good? Not while keys are made or replaced. */
bool access_can_issue(const struct access *a);
/* For who was let in (login_check, access_renew). A token gets none. */
int access_issue(const struct access *a, const char *userid, int64_t now, struct issued *ret, struct err *e);
