#include "run/source/plan.h"
#include "run/source/verify-parts.h"

#include "base/clock.h"
#include "base/lock.h"
#include "cluster/jobs.h"
#include "state/due.h"
#include "state/journal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define GUEST_LOCK_SECONDS 2
#define DAY 86400

/* ---- the guest's own snapshots ---- */

/* What is newer goes with the next run. */
static uint64_t newest_common(const struct sync_volume *one)
{
    for (size_t i = one->snapshots.n; i-- > 0;)
        if (snapshots_find_id(&one->replica.snapshots, one->snapshots.v[i].id))
            return one->snapshots.v[i].seq;
    return 0;
}

static void tell_missing(struct verify *v, size_t i)
{
    struct sync_volume *one = &v->sync.volumes[i];
    struct plan_input in = {.guest_snapshots = guest_config_snapshots(v->sync.config)};
    struct plan_input_volume pair = {.snapshots = &one->snapshots, .replica = &one->replica};
    uint64_t newest = newest_common(one);
    for (size_t k = 0; k < one->snapshots.n && one->snapshots.v[k].seq < newest; k++) {
        const struct snapshot *s = &one->snapshots.v[k];
        if (plan_is_missing(&in, &pair, s))
            verify_say(v, "WARNING: %s: the guest's snapshot '%s' is not on '%s'%s", v->sync.volids.v[i],
                       s->name, v->job.target,
                       snapshots_find(&one->replica.snapshots, s->name)
                           ? ": what has its name there is another one, or was written to"
                           : "");
    }
}

void verify_tell_missing(struct verify *v)
{
    for (size_t i = 0; i < v->sync.n && !v->o->part && !v->told; i++)
        tell_missing(v, i);
    v->told = true;
}

/* ---- replicas ---- */

/* A volume that is new since the last run has no replica yet. */
static bool was_replicated(const struct verify *v, const struct sync_volume *one)
{
    for (size_t i = 0; i < one->snapshots.n; i++)
        if (snapshot_is_of_job(one->snapshots.v[i].name, v->job.id) &&
            snapshot_epoch(one->snapshots.v[i].name) == v->state.last_sync)
            return true;
    return false;
}

bool verify_is_gone(const struct verify *v, size_t i)
{
    const struct sync_volume *one = &v->sync.volumes[i];
    return !one->replica.info.exists && (one->replica.snapshots.n || was_replicated(v, one));
}

static void tell_gone(struct verify *v, size_t i)
{
    struct err why = {0};
    const char *volid = v->sync.volids.v[i];
    err_set(&why, ERR_GONE, 0,
            v->sync.volumes[i].replica.snapshots.n
                ? "the replica of '%s' on node '%s' is not there, only its restore points are: the next run "
                  "makes it anew from them"
                : "the replica of '%s' on node '%s' is gone, and so are its restore points: the next run "
                  "sends it anew",
            volid, v->job.target);
    verify_say(v, "%s", why.text);
    if (!v->gone)
        v->gone = xstrdup(volid);
    if (v->left_out.kind == ERR_NONE)
        v->left_out = why;
}

void verify_look_for_gone(struct verify *v)
{
    v->looked_there = true;
    for (size_t i = 0; i < v->sync.n; i++)
        if (verify_is_gone(v, i))
            tell_gone(v, i);
}

/* ---- recording ---- */

static void fill(const struct verify *v, const char *result, const struct err *failure,
                 struct journal_run *row)
{
    row->duration = clock_mono() - v->began_mono;
    row->bytes = v->sent;
    row->log = (char *)buf_str(&v->text);
    snprintf(row->result, sizeof row->result, "%s", result);
    for (size_t i = 0; i < v->n; i++)
        row->delta += ranges_bytes(&v->found[i].ranges);
    if (!failure)
        return;
    snprintf(row->err_kind, sizeof row->err_kind, "%s", err_kind_name(failure->kind));
    row->error = (char *)failure->text;
}

static void journal(struct verify *v, const char *result, const struct err *failure)
{
    struct err problem = {0};
    struct journal_run row = {.start = v->began};
    snprintf(row.job, sizeof row.job, "%s", v->job.id);
    snprintf(row.node, sizeof row.node, "%s", v->env->settings.node);
    snprintf(row.target, sizeof row.target, "%s", v->job.target);
    _cleanup_(journal_freep) struct journal *j = journal_open(v->env->settings.state_dir, &problem);
    if (j && journal_begin(j, &row, &problem) == 0) {
        fill(v, result, failure, &row);
        if (journal_end(j, &row, &problem) == 0)
            return;
    }
    fprintf(stderr, "history is not kept: %s\n", problem.text);
}

/* What was found of a volume that cannot be read in parts by itself (the live one of a storage that has more)
 * is what each run sees by itself. */
static void remember(struct job_state *state, const struct finding *f, bool part)
{
    _cleanup_ranges_ struct ranges all = {0};
    if (f->live)
        return;
    if (f->ranges.n || part)
        damage_find(&state->damaged, f->volid, f->point.id, &all);
    ranges_join(&all, &f->ranges);
    if (all.n)
        damage_set(&state->damaged, f->volid, f->point.id, &all);
    else
        damage_forget(&state->damaged, f->volid, f->point.id);
}

static void plan_next(const struct verify *v, struct job_state *state)
{
    int64_t days = job_scrub_days(&v->job), now = clock_epoch();
    double share = v->total ? (double)v->done / (double)v->total : 1;
    free(state->verify_at);
    state->verify_at = v->complete ? NULL : xasprintf("%" PRIu64 " %s", v->at, v->volid);
    state->verify_next = now + (int64_t)((double)days * DAY * (share < 1 ? share : 1));
    if (state->verify_next < now + 60)
        state->verify_next = now + 60;
}

static struct lock *lock_guest(struct verify *v, struct err *e)
{
    _cleanup_free_ char *path = env_guest_lock_path(v->env, v->job.guest);
    return lock_take(path, true, GUEST_LOCK_SECONDS, false, e);
}

/* What is not there is made anew at once. */
static void remember_gone(const struct verify *v, struct job_state *state)
{
    if (!v->looked_there)
        return;
    free(state->gone);
    state->gone = v->gone ? xstrdup(v->gone) : NULL;
    if (v->gone)
        job_state_ask(state, state->asked);
}

/* Since when none has succeeded: not while nobody was to verify it, nor while it cannot be. */
static void count_from(const struct verify *v, struct job_state *state, bool impossible)
{
    int64_t due = v->state.verify_next, period = job_scrub_days(&v->job) * DAY;
    bool rested = due > state->verify_began && v->began - due > period;
    if (impossible || rested || (!state->verify_since && !state->verified))
        state->verify_since = v->began;
}

static void forget_failures(struct job_state *state)
{
    free(state->verify_error);
    state->verify_error = NULL;
    state->verify_fails = 0;
}

/* What is gone, or differs, is known: it is no failure. */
static void count_part(const struct verify *v, struct job_state *state, bool fresh)
{
    bool left_out = v->left_out.kind != ERR_NONE && !v->gone;
    if (fresh) {
        state->verify_began = v->began;
        state->verify_left = 0;
    }
    count_from(v, state, v->left_out.kind == ERR_CONFIG);
    state->verify_left |= left_out;
    if (left_out && v->left_out.kind != ERR_CONFIG)
        job_state_count_verify(state, v->left_out.text);
    else
        forget_failures(state);
}

static void change(const struct verify *v, struct job_state *state)
{
    bool sound = !verify_differing(v), fresh = !v->state.verify_at || !state->verify_began;
    for (size_t i = 0; i < v->n; i++)
        remember(state, &v->found[i], v->o->part);
    remember_gone(v, state);
    if (v->o->part)
        count_part(v, state, fresh);
    bool whole = v->complete && v->left_out.kind == ERR_NONE && !v->o->point;
    if (whole && sound && !job_state_differs(state) && !(v->o->part && state->verify_left)) {
        state->verified = v->o->part ? state->verify_began : v->began;
        forget_failures(state);
    }
    if (v->o->part)
        plan_next(v, state);
}

static void remember_last(const struct verify *v, struct job_state *state)
{
    remember(state, &v->found[v->n - 1], true); /* what is there stays until all has been compared */
}

/* Whoever takes it out of the file waits for nobody. */
static int check_job(const struct verify *v, struct err *e)
{
    struct jobs jobs;
    if (jobs_load(v->env->tree, &jobs, e) < 0)
        return -1;
    const struct job *now = jobs_find(&jobs, v->job.id);
    bool there = now && strcmp(now->target, v->job.target) == 0;
    jobs_release(&jobs);
    return there ? 0
                 : err_set(e, ERR_GONE, 0, "job '%s' to node '%s' was removed while its replica was verified",
                           v->job.id, v->job.target);
}

static int store(const struct verify *v, const struct job_state *state, struct err *e)
{
    const char *dir = v->env->settings.state_dir;
    return state->exists ? job_state_renew(dir, v->job.guest, v->job.target, state, e)
                         : job_state_store(dir, v->job.guest, v->job.target, state, e);
}

/* Of the state as it is by now. 1: a run came in between, or the job is another one. */
static int rewrite(struct verify *v, void (*apply)(const struct verify *, struct job_state *), struct err *e)
{
    _cleanup_(lock_freep) struct lock *lock = lock_guest(v, e);
    struct job_state state = {0};
    if (!lock)
        return e->kind == ERR_BUSY ? 1 : -1;
    if (check_job(v, e) < 0 || job_state_load_of(v->env->settings.state_dir, &v->job, &state, e) < 0)
        return -1;
    int r = state.last_sync != v->state.last_sync;
    if (r == 0) {
        apply(v, &state);
        r = store(v, &state, e);
    }
    job_state_release(&state);
    return r;
}

int verify_record(struct verify *v, struct err *e)
{
    size_t differing = verify_differing(v);
    const struct err *failure = v->left_out.kind == ERR_NONE ? NULL : &v->left_out;
    int r = rewrite(v, change, e);
    if (r == 0 && (!v->o->part || v->complete || differing))
        journal(v, differing ? "differs" : failure ? "failed" : "verified", failure);
    return r;
}

int verify_remember(struct verify *v, struct err *e)
{
    return rewrite(v, remember_last, e);
}

/* What cannot be compared is not, and who needs the guest, or its replica, comes first. */
static bool is_failure(const struct err *e)
{
    return e->kind != ERR_CONFIG && e->kind != ERR_BUSY;
}

static void note_failure(const struct verify *v, const struct err *failure, struct job_state *state)
{
    if (state->last_sync == v->state.last_sync)
        remember_gone(v, state);
    if (!v->o->part)
        return;
    count_from(v, state, failure->kind == ERR_CONFIG);
    if (is_failure(failure))
        job_state_count_verify(state, failure->text);
    else if (failure->kind == ERR_CONFIG)
        forget_failures(state);
    state->verify_next = clock_epoch() + (failure->kind == ERR_CONFIG ? DAY : JOB_VERIFY_RETRY);
}

void verify_record_failure(struct verify *v, const struct err *failure)
{
    const char *dir = v->env->settings.state_dir;
    struct err ignored;
    struct job_state state = {0};
    _cleanup_(lock_freep) struct lock *lock = lock_guest(v, &ignored);
    bool known =
        lock && v->job.target && job_state_load_of(dir, &v->job, &state, &ignored) == 0 && state.exists;
    if (known) {
        note_failure(v, failure, &state);
        job_state_renew(dir, v->job.guest, v->job.target, &state, &ignored);
    }
    if (!v->o->part || (known && job_reports(state.verify_fails) && is_failure(failure)))
        journal(v, "failed", failure);
    job_state_release(&state);
}
