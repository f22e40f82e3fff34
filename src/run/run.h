/* Replicating one job from this node. run_job takes the guest migration lock (ERR_BUSY after 2 s: nothing is
 * recorded), records the start, does the steps of docs/ARCHITECTURE.md, records the end. The far side is
 * run/target/agent.h.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "run/env.h"

#include <stdbool.h>
#include <stdint.h>

struct run_options {
    bool verbose;      /* each log message on stdout too */
    bool progress;     /* stderr is a terminal: draw a progress line */
    bool resync;       /* plan_input.resync */
    bool mail;         /* a pass tells of failures by mail, too */
    int64_t iteration; /* of the scheduler pass; 0: the start time */
};

/* One run of a job now, whatever its schedule (BEHAVIOUR.md#frame-of-a-run). The failure is recorded in the
 * state, the log and the journal, and returned. */
int run_job(struct env *env, const char *job_id, const struct run_options *o, struct err *e);

/* One scheduler pass (BEHAVIOUR.md#one-pass): every due job of this node once, one after the other, least
 * recently served first. Failures of jobs are reported on stderr and do not stop the pass; -1 only when the
 * pass itself is impossible. */
int run_pass(struct env *env, const struct run_options *o, struct err *e);

/* The job as it is now (*ret is the caller's), and the last acknowledged snapshots of the guest's other jobs.
 */
int run_find_job(struct env *env, const char *job_id, struct job *ret, struct strv *siblings, struct err *e);
/* May it run on this node? *guest is a copy. */
int run_check_job(struct env *env, const struct job *job, struct guest_entry *guest, struct err *e);
const struct member *run_find_target(struct env *env, const struct job *job, struct err *e);

/* What a run would do, and why, as text; nothing is changed, the target is asked. */
int run_plan(struct env *env, const char *job_id, struct buf *out, struct err *e);
