/* Is the replica what the source has? Compared by digests of blocks (compare.h), volume by volume, restore
 * point by restore point; what differs is remembered in the job's state, so that no run builds upon it, and
 * told in the journal.
 *
 * It takes hours perhaps, and nobody waits for it: no lock is held while it reads. Whoever takes the guest's
 * lock on this node (a run, a migration) or the agents' one on the target (a failover) stops it within a
 * tenth of a second; it goes on, with the restore point that is the newest by then, when that has ended.
 */
#pragma once

#include "base/err.h"
#include "run/env.h"

#include <stdbool.h>

struct verify_options {
    const char
        *point;  /* its name on this node; NULL: what the replica shows, and what was written to it since */
    bool repair; /* a run follows where anything differs */
    bool part;   /* go on with the rolling verification, for as much as is due at once */
    double rate; /* MB/s that each side reads; 0: the job's */
    void (*say)(void *arg, const char *line); /* what comes out; NULL: nobody wants to know */
    void *arg;
};

/* 0: nothing differs, or (repair) the run that followed sent it anew; 1: it differs, as `say` was told.
 * ERR_CONFIG: there is nothing that could be compared, or the target's version cannot; ERR_BUSY (not
 * of a part): the guest is being verified. */
int verify_job(struct env *env, const char *job_id, const struct verify_options *o, struct err *e);
