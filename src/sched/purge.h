/* Dropping state entries that belong to no job of this node any more (BEHAVIOUR.md#purge), and the pids of
 * runs that were killed.
 *
 * In rounds: an entry is dropped when two rounds in a row found it without a job. A migration hands over the
 * state some time before it hands over the guest; that entry must live.
 */
#pragma once

#include "base/lookup.h"
#include "base/strv.h"
#include "cluster/guests.h"
#include "conf/job.h"

#include <stdint.h>

#define PURGE_INTERVAL 600 /* seconds between rounds, at least */

struct purge {
    struct lookup found; /* "GUEST TARGET": without a job in the last round */
    int64_t last;        /* when that was */
    struct strv dropped; /* by that one, of guests that are here: sentences */
    double lost_at; /* monotonic: since when the job file names none of the jobs that it had; 0: it does */
};

void purge_release(struct purge *p);
/* Does nothing when the last round is too near or when there is no job file at all (a tree that is not
 * mounted must not cost the states). */
int purge_round(struct purge *p, const char *state_dir, const struct jobs *jobs,
                const struct guest_list *guests, const char *node, int64_t now, struct err *e);
