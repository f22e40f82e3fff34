/* Who may, from the tree: the files of api access (access/caller.h) as they are now, and the keys of a tree
 * where nobody else makes them. */
#pragma once

#include "access/caller.h"
#include "access/login.h"
#include "base/buf.h"
#include "cluster/tree.h"
#include "conf/settings.h"

enum who_file { WHO_USERS, WHO_TOKENS, WHO_WWW, WHO_PRIVATE, WHO_PUBLIC, WHO_OLD, WHO_FILES };

/* Kept: what has not changed is not parsed again. Start with zeroes. */
struct who {
    struct access *access; /* NULL: nobody can be known; `problem` says why */
    struct buf text[WHO_FILES];
    int64_t rotated;
    uint64_t version; /* another one when anybody may be known, or may, otherwise than before */
    char *problem;
};

/* Bring it up to date. Warnings and problems that are new are appended to *told. */
void who_update(struct who *w, struct tree *t, struct strv *told);
/* Neither a user nor a key is there, as before the first start, or in a tree that is not mounted. */
bool who_is_bare(const struct who *w);
void who_release(struct who *w);

/* Where no Proxmox VE does it: make the keys of tickets that are not there, or older than a day. Waits for
 * the tree's lock. */
int who_make_keys(struct tree *t, const struct settings *s, int64_t now, struct err *e);

/* `pvesrd --check-login`, in a process of its own: "USERID\0PASSWORD\0ADDRESS\0" on stdin; 0 when it is
 * right. On failure the reason, for the log. */
int who_check_login(struct tree *t, int64_t now, struct err *e);
