/* Which guest had its restore points on this node? An id comes again, and what a destroyed guest's disks had
 * may still lie there under the names that the new one's get (BEHAVIOUR.md#whose-things).
 *
 * STATE-DIR/pvesr-guests/VMID, text, a line each: `since EPOCH`, `former ID`, `guest DIGEST`, `disk DIGEST`.
 * It outlives jobs and their state. It is a hint: without it nothing is known, and all points count as the
 * guest's. */
#pragma once

#include "base/err.h"
#include "base/strv.h"
#include "volume/snapshot.h"

#include <stdbool.h>
#include <stdint.h>

struct known {
    int64_t since;      /* epoch: what is older is another guest's (known_hide); 0: nothing is */
    struct strv former; /* ids of what is another's as well, whatever clock it was made by */
    struct strv guest;  /* guest_config_identity */
    struct strv disks;  /* known_add_disk: its disks as the last run saw them */
};
void known_release(struct known *k);

/* STATE-DIR/pvesr-guests/VMID; malloc'ed. */
char *known_path(const char *state_dir, uint32_t guest);
/* A file that is not there gives the defaults; lines that make no sense count for nothing. */
int known_load(const char *path, struct known *ret, struct err *e);
/* Durably. */
int known_store(const char *path, const struct known *k, struct err *e);

/* made: volume_made; "": nothing is added. */
void known_add_disk(struct known *k, const char *made);
bool known_equal(const struct known *a, const struct known *b);
/* Is `now` another guest than the one that was known? Only if both have what a guest is known by, and nothing
 * of it is the same, nor any of their disks: a guest may get another UUID, or another disk. */
bool known_is_other(const struct known *was, const struct known *now);

/* All of these are another guest's than k's, but what the guest's configuration lists and what makes a
 * template.
 */
void known_add_former(struct known *k, const struct strv *listed, const struct snapshots *all);
/* Take from *all what is another's, with the same exceptions: how many. The age of a restore point is its
 * run's, of others that of their making. */
size_t known_hide(const struct known *k, const struct strv *listed, struct snapshots *all);
