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

/* A time in the state that is later than `now` by more than this tells nothing: the clock was put back since,
 * or was ahead then. A smaller step back only delays a job by as much. */
#define JOB_CLOCK_SLACK 300
/* Does the last sync lie in the future? */
bool job_sync_is_to_come(const struct job_state *state, int64_t now);

/* Epoch seconds from which on the job may run: 0 never, 1 at once. Due means: not 0 and not in the future.
 * Whether the job is disabled, or its guest elsewhere, is the caller's question. */
int64_t job_next_sync(const struct job *job, const struct job_state *state, bool target_online, int64_t now);

/* Seconds between the start of a failed run and the next one: 5, 10, 15, then 30 minutes. */
int64_t job_retry_delay(int64_t fail_count);

/* The moment from which on the age of the newest restore point counts. A job without one, or of which no
 * clock can say when it was made, is as old as it is known to be: `known`, an epoch. 0: nothing says. */
int64_t job_age_begins(const struct job_state *state, int64_t known, int64_t now);
/* Epoch seconds from which on the newest restore point is older than it may be: max_age, or else when the
 * schedule came round three times since, and at least 5 minutes; a schedule that does not come so often has a
 * day more. `now`: no clock can say since when. 0: never. Whether the job is disabled is the
 * caller's question. */
int64_t job_overdue_at(const struct job *job, const struct job_state *state, int64_t known, int64_t now);

/* Is a failure worth telling somebody: the 1st, 2nd, 3rd, 48th, 96th, 192nd, …? (BEHAVIOUR.md#reports) */
bool job_reports(int64_t fail_count);
