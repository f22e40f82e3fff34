/* Replicating one job, both ends of it.
 *
 * Source: run_job takes the guest migration lock (ERR_BUSY after 2 s: nothing is recorded), records the
 * start, does the steps of docs/ARCHITECTURE.md, records the end. Target: agent_serve answers one run over
 * two file descriptors. The prepare/finalize calls are for a stock Proxmox VE source
 * (BEHAVIOUR.md#calls-of-the-stock-tool).
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

/* What a run would do, and why, as text; nothing is changed, the target is asked. */
int run_plan(struct env *env, const char *job_id, struct buf *out, struct err *e);

/* The far side of a run; returns when the peer is done or gone. */
int agent_serve(struct env *env, int in, int out, struct err *e);

/* prepare-local-job: one line of JSON into out; messages for stderr into notes. volids may be empty with
 * force. */
struct target_prepare {
    const char *job_id;
    const struct strv *volids;
    const struct strv *scan;
    int64_t last_sync;
    const char *parent; /* or NULL */
    bool force;
};
int target_prepare(struct env *env, const struct target_prepare *p, struct buf *out, struct strv *notes,
                   struct err *e);
int target_finalize(struct env *env, const char *job_id, const struct strv *volids, int64_t last_sync,
                    struct strv *notes, struct err *e);
