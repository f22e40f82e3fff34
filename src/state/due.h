/* When a job is due (BEHAVIOUR.md#when-a-job-is-due). Pure: no clock, no I/O.
 *
 * Differences on purpose: a removal that failed waits like a failed run instead of trying every minute; a job
 * with a fault is never due; an entry whose last_try is 0 was asked for by schedule-now and is due at once,
 * whatever its schedule says.
 */
#pragma once

#include "conf/job.h"
#include "state/jobstate.h"

#include <stdbool.h>
#include <stdint.h>

/* Epoch seconds from which on the job may run: 0 never, 1 at once. Due means: not 0 and not in the future.
 * Whether the job is disabled, or its guest elsewhere, is the caller's question. */
int64_t job_next_sync(const struct job *job, const struct job_state *state, bool target_online);

/* Seconds between the start of a failed run and the next one: 5, 10, 15, then 30 minutes. */
int64_t job_retry_delay(int64_t fail_count);

/* Epoch seconds from which on the newest restore point is older than it may be: max_age, or else when the
 * schedule came round three times since, and at least 5 minutes. 0: never. A job without one is as old as it
 * is known to be: `known`, an epoch. Whether the job is disabled is the caller's question. */
int64_t job_overdue_at(const struct job *job, const struct job_state *state, int64_t known);

/* Is a failure worth telling somebody: the 1st, 2nd, 3rd, 48th, 96th, 192nd, …? (BEHAVIOUR.md#reports) */
bool job_reports(int64_t fail_count);
