/* A restore point that a node received: is it data, which rules or a person take away, or was it only a base?
 * Whoever removes such points asks here: retain, the removal of a job, what clears up behind a disk, doctor.
 * Pure, but for received_look. */
#pragma once

#include "base/lookup.h"
#include "conf/job.h"
#include "run/env.h"
#include "volume/snapshot.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum received_is {
    /* Its job keeps the newest only, or is no more, or is being removed, and this is all that is left of it:
     * bookkeeping, of no use once it is nobody's base. */
    RECEIVED_BASE,
    RECEIVED_RULED, /* data: the rules of its job say when it goes */
    /* Data, and nobody says when it goes: several were kept, so there were rules, and their job is no more,
     * or leaves its points where they are, or its rules are not known. Only a person removes it. */
    RECEIVED_FREE,
};

/* Which points were received of which job: counted once, on however many volumes of the guest they are. */
struct received {
    struct lookup names;
    struct received_job {
        char id[24];
        size_t n;
    } * v;
    size_t n;
};
void received_release(struct received *r);
/* What is somebody's (SNAPSHOT_STRANGE) is not counted, nor what is no point of a job. */
void received_add(struct received *r, const struct snapshots *s);
/* What this node has received of a guest. False: there may be more. */
bool received_look(struct env *env, uint32_t guest, struct received *ret);

/* Is this one of several points that were received of its job? */
bool received_several(const struct received *all, const char *snapshot);
/* `snapshot` is of a job of any guest; `all` has what was received with it. */
enum received_is received_is(const struct received *all, struct jobs *jobs, const char *snapshot);
