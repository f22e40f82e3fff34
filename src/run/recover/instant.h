/* The instant that a guest's volumes on this node are of: restore points of one name were taken together. */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "run/env.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct instant_volume {
    struct env_volume v;
    struct snapshots snapshots;
    const struct snapshot *shown; /* NULL: the live volume was never a replica */
    bool written;                 /* it is not what `shown` holds, whoever else has what it is */
    bool spare;    /* the guest starts without it: where it lacks a point, that is no obstacle */
    bool one_line; /* (volume_info) */
    /* What is newer than the chosen one and would go where the storage knows but one line of snapshots: maybe
     * nobody else has it any more. And the names under which it is kept aside. */
    struct strv newer, newer_as;
};

struct instants {
    struct instant_volume *v;
    size_t n;
    char chosen[SNAPSHOT_NAME_MAX + 1];
    bool named; /* by a person */
};
void instants_release(struct instants *i);
#define _cleanup_instants_ _cleanup_(instants_release)

/* The first `needed` of them are what the guest starts with. */
int instants_look(struct env *env, const struct strv *volids, size_t needed, uint32_t guest,
                  struct instants *ret, struct err *e);
/* The newest restore point that all of them have as it was made, or show; or the one of this name (NULL: not
 * said). 0: all show it, and nothing was written; 1: they do not. ERR_DATA when they have none in common,
 * nothing tells what one of them is, or it is known to be damaged (snapshot.damaged), even where an older one
 * is sound: how much is lost is for a person to decide; *e says what each shows, or which are sound. */
int instants_choose(struct instants *i, uint32_t guest, const char *point, struct err *e);
/* The newest one of a run that all of them have, damaged or not; NULL: there is none. */
const char *instants_newest(const struct instants *i, uint32_t guest);
/* Do all show one restore point, whichever, is it what the disks are, and nothing known against it? */
bool instants_are_one(const struct instants *i);
/* What instants_show would change, one line a volume, and one for each restore point that it keeps aside. */
void instants_tell(const struct instants *i, uint32_t guest, struct buf *out);
/* Which of them are not what they show, and are left so, one line a volume. */
void instants_tell_written(const struct instants *i, struct buf *out);
/* All of them show the chosen one, or, after a failure, what they showed. What was written is kept aside. */
int instants_show(struct env *env, struct instants *i, uint32_t guest, struct err *e);
