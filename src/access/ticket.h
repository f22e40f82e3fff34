/* Tickets (the cookie PVEAuthCookie) and the tokens against forged requests that go with them, as Proxmox VE
 * makes and reads them (BEHAVIOUR.md#tickets). */
#pragma once

#include "base/err.h"
#include "base/mem.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TICKET_LIFE 7200 /* seconds */
#define TICKET_AHEAD 300 /* seconds that the clock of who made it may be ahead */

struct ticket_keys;

/* Texts of the files; NULL where a file is missing. */
struct ticket_key_texts {
    const char *private_key; /* priv/authkey.key, PEM; without it no tickets are made */
    const char *public_key;  /* authkey.pub, PEM; without it that of the private key */
    const char *old_key;     /* authkey.pub.old */
    int64_t rotated; /* epoch: when authkey.pub was written last; older tickets may be of the old key */
};

/* ERR_CONFIG: a text is there and no RSA key in PEM, or neither key is there. A damaged old key is as good as
 * none. ticket_keys_free. */
struct ticket_keys *ticket_keys_new(const struct ticket_key_texts *texts, struct err *e);
void ticket_keys_free(struct ticket_keys *k);
CLEANUP_FUNC(ticket_keys_free, struct ticket_keys)
/* Is what the private key signs good by the public one? Not without a private key, nor while somebody
 * replaces them one by one. */
bool ticket_keys_fit(const struct ticket_keys *k);
#define _cleanup_ticket_keys_ _cleanup_(ticket_keys_freep)

/* "PVE:USER@REALM:HHHHHHHH::SIGNATURE", malloc'ed; NULL and why not: no private key, or userid is no
 * USER@REALM (a token has no tickets). */
char *ticket_make(const struct ticket_keys *k, const char *userid, int64_t now, struct err *e);
/* Is the ticket (not percent-encoded) good at `now`? *userid is whose it is, malloc'ed; whether that is
 * somebody users_check says. On failure the reason, for the log, without the ticket. */
int ticket_check(const struct ticket_keys *k, const char *ticket, int64_t now, char **userid, struct err *e);
/* Does the text begin as a ticket does? Then it is no password. */
bool ticket_looks_like_one(const char *text);

#define CSRF_SECRET_MAX 48
#define CSRF_TOKEN_MAX 64
/* The secret from the text of pve-www.key. ERR_CONFIG when that is empty. */
int csrf_secret(const char *text, size_t len, char out[CSRF_SECRET_MAX], struct err *e);
/* "HHHHHHHH:DIGEST". */
int csrf_make(const char *secret, const char *userid, int64_t now, char out[CSRF_TOKEN_MAX], struct err *e);
int csrf_check(const char *secret, const char *userid, const char *token, int64_t now, struct err *e);

#define TICKET_KEYS_ROTATE_AFTER 86400 /* seconds; only where no other program does it: not on Proxmox VE */
/* A new pair; the present public key's text becomes the old one's. malloc'ed texts. */
struct ticket_new_keys {
    char *private_key, *public_key, *old_key; /* old_key NULL when there was none */
};
void ticket_new_keys_release(struct ticket_new_keys *k);
int ticket_keys_rotate(const char *public_key, struct ticket_new_keys *ret, struct err *e);
/* The text of authkey.pub that belongs to a private key's, malloc'ed. */
int ticket_keys_public(const char *private_key, char **ret, struct err *e);
