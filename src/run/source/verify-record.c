#include "run/source/verify-parts.h"

#include "base/clock.h"
#include "base/lock.h"
#include "cluster/jobs.h"
#include "state/journal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define GUEST_LOCK_SECONDS 2
#define DAY 86400
#define RETRY_SECONDS 3600

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

static void change(const struct verify *v, struct job_state *state)
{
    bool sound = !verify_differing(v), fresh = !v->state.verify_at || !state->verify_began;
    for (size_t i = 0; i < v->n; i++)
        remember(state, &v->found[i], v->o->part);
    if (v->o->part && fresh)
        state->verify_began = v->began;
    if (v->complete && sound && v->left_out.kind == ERR_NONE && !v->o->point && !job_state_differs(state))
        state->verified = v->o->part ? state->verify_began : v->began;
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

void verify_record_failure(struct verify *v, const struct err *failure)
{
    const char *dir = v->env->settings.state_dir;
    struct err ignored;
    struct job_state state = {0};
    if (!v->o->part) {
        journal(v, "failed", failure);
        return;
    }
    _cleanup_(lock_freep) struct lock *lock = lock_guest(v, &ignored);
    if (lock && job_state_load_of(dir, &v->job, &state, &ignored) == 0 && state.exists) {
        state.verify_next = clock_epoch() + (failure->kind == ERR_CONFIG ? DAY : RETRY_SECONDS);
        job_state_renew(dir, v->job.guest, v->job.target, &state, &ignored);
    }
    job_state_release(&state);
}
