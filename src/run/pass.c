/* One scheduler pass in the foreground: `pvesr run` without a job (BEHAVIOUR.md#one-pass). The daemon has its
 * own way of deciding; this one is for a node that is driven by a timer, and for emergencies. */
#include "run/run.h"

#include "base/clock.h"
#include "base/mem.h"
#include "state/due.h"
#include "state/jobstate.h"
#include "state/mail.h"

#include <stdio.h>
#include <string.h>

struct candidate {
    const struct job *job;
    int64_t last_iteration, next_sync, fails;
};

/* Least recently served first (BEHAVIOUR.md#order); the jobs come sorted by guest and id, so ties keep that
 * order. */
static bool before(const struct candidate *a, const struct candidate *b)
{
    if (a->last_iteration != b->last_iteration)
        return a->last_iteration < b->last_iteration;
    return a->next_sync < b->next_sync;
}

static bool is_candidate(struct env *env, const struct job *job)
{
    const struct guest_entry *g = guests_find(&env->guests, job->guest);
    if (!g || strcmp(g->node, env->settings.node) != 0)
        return false;
    if (job->remove != REMOVE_NOT)
        return true;
    return !job->disabled && !job->fault && strcmp(job->target, env->settings.node) != 0;
}

static bool is_online(const struct env *env, const struct job *job)
{
    const struct member *m = members_find(&env->members, job->target);
    return m && m->online;
}

/* The job to run next, and how often it failed so far; an empty id: none. The job is the caller's. */
static int pick(struct env *env, const struct strv *done, int64_t now, struct job *ret, int64_t *fails,
                struct err *e)
{
    struct jobs jobs;
    struct candidate best = {0};
    *ret = (struct job){0};
    if (env_guests_again(env, e) < 0 ||
        jobs_load_repaired(env->tree, &env->guests, env->settings.node, &jobs, e) < 0)
        return -1;
    struct job_states *states = job_states_load(env->settings.state_dir, e);
    for (size_t i = 0; states && i < jobs.n; i++) {
        struct job_state state = {0};
        if (strv_has(done, jobs.v[i].id) || !is_candidate(env, &jobs.v[i]))
            continue;
        job_states_get(states, jobs.v[i].guest, jobs.v[i].target, &state);
        struct candidate c = {.job = &jobs.v[i],
                              .last_iteration = state.last_iteration,
                              .fails = state.fail_count,
                              .next_sync = job_next_sync(&jobs.v[i], &state, is_online(env, &jobs.v[i]))};
        job_state_release(&state);
        if (c.next_sync && c.next_sync <= now && (!best.job || before(&c, &best)))
            best = c;
    }
    if (best.job)
        job_copy(ret, best.job);
    *fails = best.fails;
    job_states_free(states);
    jobs_release(&jobs);
    return states ? 0 : -1;
}

static int mail_failure(struct env *env, const struct job *job, const struct job_state *state, struct err *e)
{
    _cleanup_buf_ struct buf datacenter = BUF_INIT;
    _cleanup_buf_ struct buf text = BUF_INIT;
    int r = tree_read(env->tree, "datacenter.cfg", &datacenter, e);
    if (r < 0)
        return -1;
    _cleanup_free_ char *from = r ? NULL : datacenter_email_from(buf_str(&datacenter), datacenter.len);
    struct failure_mail m = {.from = from,
                             .to = env->settings.mail_to,
                             .node = env->settings.node,
                             .job = job->id,
                             .target = job->target,
                             .schedule = job->schedule,
                             .error = state->error ? state->error : "unknown error",
                             .guest = job->guest,
                             .fail_count = state->fail_count,
                             .last_sync = state->last_sync,
                             .next_try = job_next_sync(job, state, is_online(env, job))};
    mail_compose(&m, &text);
    return mail_send(env->settings.sendmail, &text, e);
}

/* Only of a failure that was counted: a postponed run, or one that could not even begin, is none. */
static void tell_failure(struct env *env, const struct job *job, int64_t fails_before)
{
    struct job_state state = {0};
    struct err problem = {0};
    int r = job_state_load(env->settings.state_dir, job->guest, job->target, &state, &problem);
    if (r == 0 && state.fail_count > fails_before && job_reports(state.fail_count))
        r = mail_failure(env, job, &state, &problem);
    if (r < 0)
        fprintf(stderr, "%s: the failure was not mailed: %s\n", job->id, problem.text);
    job_state_release(&state);
}

int run_pass(struct env *env, const struct run_options *o, struct err *e)
{
    struct run_options options = *o;
    bool mail = o->mail && strcmp(env->settings.mail_to, "none") != 0;
    _cleanup_strv_ struct strv done = STRV_INIT;
    options.iteration = clock_epoch();
    if (env_members(env, e) < 0)
        return -1;
    for (;;) {
        struct job job;
        int64_t fails;
        if (pick(env, &done, clock_epoch(), &job, &fails, e) < 0)
            return -1;
        if (!*job.id)
            return 0;
        strv_add(&done, job.id);
        struct err failure = {0};
        if (run_job(env, job.id, &options, &failure) < 0) {
            fprintf(stderr, "%s: got unexpected replication job error - %s\n", job.id, failure.text);
            if (mail)
                tell_failure(env, &job, fails);
        }
        job_release(&job);
    }
}
