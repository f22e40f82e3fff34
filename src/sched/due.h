/* When a job may run and which job comes first (BEHAVIOUR.md#when-a-job-is-due, BEHAVIOUR.md#order). Pure: no
 * clock, no I/O. */
#pragma once

#include "cluster/guests.h"
#include "conf/job.h"
#include "state/jobstate.h"

#include <stdbool.h>
#include <stdint.h>

/* Is the job this node's to run: its guest is here, and it is to be removed, or it is enabled and its target
 * is another node? */
bool due_concerns(const struct job *job, const struct guest_list *guests, const char *node);

/* Epoch seconds from which on the job may run: 0 never, 1 at once; job_next_sync and two additions. A last
 * try that lies in the future was written before the clock was put back: the job runs at once, which puts its
 * state right. A run that ended without a trace (killed, power lost: tried later than synced, yet no failure
 * counted) counts as one failure. */
int64_t due_time(const struct job *job, const struct job_state *state, bool target_online, int64_t now);

/* What decides who comes first: least recently served, then longest due, then guest and id. */
struct due_rank {
    int64_t last_iteration, next;
    uint32_t guest;
    const char *id;
};
int due_compare(const struct due_rank *a, const struct due_rank *b);
