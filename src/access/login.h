/* Log-in by password (BEHAVIOUR.md#log-in). Whatever fails, the client hears the same; the reason is for the
 * log. All of these may take their time (a hash is slow on purpose, PAM may ask other machines): call them in
 * a child process. */
#pragma once

#include "access/users.h"
#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PAM_SERVICE_PVE "proxmox-ve-auth"
#define PAM_SERVICE_OWN "pvesr"

struct login {
    const struct users *users;
    const char *shadow_cfg; /* texts; NULL where the file is missing */
    size_t shadow_len;
    const char *tfa_cfg;
    size_t tfa_len;
    const char *domains_cfg;
    size_t domains_len;
    const char *pam_service; /* a name in pam_dir */
    const char *pam_dir;     /* NULL: /etc/pam.d */
};

#define PASSWORD_MAX 512 /* bytes */

/* May `userid` get in by the password alone at `now`? Only of realms pam and pve, and nobody of whom a second
 * factor is asked. Does not look at the password of who may not, but takes the time of that in realm pve.
 * rhost: the client's address. A ticket in place of the password is for access_renew. */
int login_check(const struct login *l, const char *userid, const char *password, const char *rhost,
                int64_t now, struct err *e);
/* "USER@REALM" from what a client sends: `username` with its realm, or with `realm` (NULL: not sent) behind
 * it. malloc'ed; NULL: neither gives a valid one. */
char *login_userid(const char *username, const char *realm);

/* The parts. 0: the password is right. */
int login_pve(const char *shadow_cfg, size_t len, const char *userid, const char *password, struct err *e);
/* In pam.c: authentication and account management. user without realm; dir NULL: /etc/pam.d. */
int login_pam(const char *service, const char *dir, const char *user, const char *password, const char *rhost,
              struct err *e);
/* Is a second factor asked of the user, by tfa.cfg, domains.cfg (of all of its realm) or user.cfg (KEYS)? On
 * failure which file says so. */
int login_check_factors(const struct login *l, const char *userid, struct err *e);
/* Does tfa.cfg have an entry of the user? What cannot be read counts as an entry. */
bool tfa_has(const char *tfa_cfg, size_t len, const char *userid);
