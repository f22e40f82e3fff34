/* btrfs subvolumes by descriptor and name, through the file system's own ioctls (linux/btrfs.h).
 *
 * Names are single components inside `dir`. Creating and snapshotting are durable when they return; the rest
 * after subvol_commit.
 */
#pragma once

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

#define SUBVOL_UUID_LEN 32

struct subvol {
    uint64_t generation; /* the last transaction that changed it */
    uint64_t written; /* the last one in which a file of it was changed: balancing changes only the above */
    bool changed;     /* that was after it was taken, or sealed */
    uint64_t treeid;  /* given in ascending order by this file system, unique on it */
    bool readonly;
    char uuid[SUBVOL_UUID_LEN + 1];          /* 32 hex digits */
    char parent_uuid[SUBVOL_UUID_LEN + 1];   /* the subvolume it is a snapshot of; "" if none */
    char received_uuid[SUBVOL_UUID_LEN + 1]; /* "" unless sealed by subvol_seal or a receive */
    int64_t created;                         /* epoch seconds; of the source's, for a received one */
};

/* Open the root directory of a subvolume. 1 when there is no such name; a symlink, a plain directory or a
 * file of that name is ERR_DATA. */
int subvol_open(int dir, const char *name, int *ret, struct err *e);
int subvol_read(int fd, struct subvol *ret, struct err *e);

int subvol_create(int dir, const char *name, struct err *e);
int subvol_snapshot(int source, int dir, const char *name, bool readonly, struct err *e);
/* 1 when it was not there. One that holds other subvolumes is refused, whoever made them: snapshots do not
 * carry those, so their data would be lost. Empty ones (a container's systemd makes some) are removed. */
int subvol_destroy(int dir, const char *name, struct err *e);
/* Would subvol_destroy refuse it? Changes nothing. */
int subvol_destroyable(int dir, const char *name, struct err *e);
/* renameat2; an existing `to` is an error unless flags say RENAME_EXCHANGE. */
int subvol_rename(int dir, const char *from, const char *to, unsigned flags, struct err *e);

/* Give it the identity of its source (received_uuid, a change counter and the time there) and make it
 * read-only, durably. The caller has written and flushed its files. */
int subvol_seal(int fd, const char *uuid, uint64_t stransid, int64_t created, struct err *e);
/* Commit the file system's running transaction: all changes of names are durable then. */
int subvol_commit(int fd, struct err *e);
