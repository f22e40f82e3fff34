#include "access/ticket.h"

#include "base/base64.h"
#include "access/keys.h"
#include "access/stamp.h"
#include "access/userid.h"

#include <string.h>

#define PREFIX "PVE:"
#define TICKET_MAX 4096 /* bytes; of a key of 16384 bits */

bool ticket_looks_like_one(const char *text)
{
    return strncmp(text, PREFIX, strlen(PREFIX)) == 0;
}

/* The name goes in as it is: a ':' in it, which would have to be percent-encoded, makes it no USER@REALM. */
char *ticket_make(const struct ticket_keys *k, const char *userid, int64_t now, struct err *e)
{
    if (!userid_is_valid(userid)) {
        err_set(e, ERR_USAGE, 0, "no ticket for '%.*s', which is no USER@REALM", WHO_MAX, userid);
        return NULL;
    }
    char stamp[STAMP_LEN + 1];
    stamp_print(now, stamp);
    _cleanup_buf_ struct buf ticket = BUF_INIT, signature = BUF_INIT;
    buf_addf(&ticket, PREFIX "%s:%s", userid, stamp);
    if (keys_sign(k, ticket.data, ticket.len, &signature, e) < 0)
        return NULL;
    buf_adds(&ticket, "::");
    base64_encode(signature.data, signature.len, true, &ticket);
    return buf_take(&ticket);
}

struct parts {
    const char *user, *signature;
    size_t user_len, signed_len; /* what is signed begins at the ticket's first byte */
    int64_t stamp;
};

/* PVE:USER:HHHHHHHH::SIGNATURE, no more ':' in between. */
static bool split(const char *ticket, struct parts *ret)
{
    if (!ticket_looks_like_one(ticket))
        return false;
    ret->user = ticket + strlen(PREFIX);
    const char *end = strchrnul(ret->user, ':');
    ret->user_len = (size_t)(end - ret->user);
    if (*end != ':' || !stamp_parse(end + 1, &ret->stamp) || strncmp(end + 1 + STAMP_LEN, "::", 2) != 0)
        return false;
    ret->signed_len = (size_t)(end + 1 + STAMP_LEN - ticket);
    ret->signature = ticket + ret->signed_len + 2;
    return true;
}

static bool is_signed(const struct ticket_keys *k, const char *ticket, const struct parts *p)
{
    _cleanup_buf_ struct buf signature = BUF_INIT;
    return base64_decode(p->signature, strlen(p->signature), &signature) && signature.len > 0 &&
           keys_verify(k, ticket, p->signed_len, p->stamp, &signature);
}

int ticket_check(const struct ticket_keys *k, const char *ticket, int64_t now, char **userid, struct err *e)
{
    struct parts p;
    if (strlen(ticket) > TICKET_MAX || !split(ticket, &p))
        return err_set(e, ERR_USAGE, 0, "the ticket has not the form of one");
    _cleanup_free_ char *user = xstrndup(p.user, p.user_len);
    if (*user == '!')
        return err_set(e, ERR_USAGE, 0, "the ticket is of a log-in that lacks its second factor");
    if (!userid_is_valid(user))
        return err_set(e, ERR_USAGE, 0, "the ticket is of '%.*s', which is no USER@REALM", WHO_MAX, user);
    if (!is_signed(k, ticket, &p))
        return err_set(e, ERR_USAGE, 0, "the ticket of '%s' is not signed by this cluster", user);
    if (stamp_check("the ticket", p.stamp, now, e) < 0)
        return err_wrap(e, "user '%s'", user);
    *userid = take_ptr(user);
    return 0;
}
