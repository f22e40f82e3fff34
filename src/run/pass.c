/* One scheduler pass in the foreground: `pvesr run` without a job (BEHAVIOUR.md#one-pass). The daemon has its
 * own way of deciding; this one is for a node that is driven by a timer, and for emergencies. */
#include "run/run.h"

#include "base/clock.h"
#include "base/lookup.h"
#include "base/mem.h"
#include "run/orphans.h"
#include "state/due.h"
#include "state/jobstate.h"
#include "state/leftovers.h"
#include "state/mail.h"

#include <stdio.h>
#include <string.h>

/* What is due is found and put in order once, then one after the other is looked at
 * again and run; when none is left, what came to be due meanwhile is found. So a pass of n jobs looks at all
 * of them a few times, not n times. */

struct candidate {
    char id[sizeof((struct job *)0)->id];
    int64_t last_iteration, next_sync, fails;
    size_t place; /* the jobs come sorted by guest and id */
};

struct candidates {
    struct candidate *v;
    size_t n;
};

static void candidates_release(struct candidates *c)
{
    free(c->v);
}

/* Least recently served first (BEHAVIOUR.md#order). */
static int by_turn(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;
    if (x->last_iteration != y->last_iteration)
        return x->last_iteration < y->last_iteration ? -1 : 1;
    if (x->next_sync != y->next_sync)
        return x->next_sync < y->next_sync ? -1 : 1;
    return x->place < y->place ? -1 : 1;
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

static bool is_due(struct env *env, const struct job *job, const struct job_states *states,
                   struct candidate *ret)
{
    struct job_state state = {0};
    if (!is_candidate(env, job))
        return false;
    job_states_get_of(states, job->guest, job->target, job->id, &state);
    *ret = (struct candidate){.last_iteration = state.last_iteration,
                              .fails = state.fail_count,
                              .next_sync = job_next_sync(job, &state, is_online(env, job), clock_epoch())};
    memcpy(ret->id, job->id, sizeof ret->id);
    job_state_release(&state);
    return ret->next_sync && ret->next_sync <= clock_epoch();
}

static int find_due(struct env *env, const struct lookup *done, struct candidates *ret, struct err *e)
{
    if (env_guests_again(env, e) < 0 || env_jobs_repaired(env, e) < 0)
        return -1;
    struct job_states *states = job_states_load(env->settings.state_dir, e);
    if (!states)
        return -1;
    const struct jobs *jobs = &env->jobs.jobs;
    for (size_t i = 0; i < jobs->n; i++) {
        struct candidate c;
        if (lookup_has(done, jobs->v[i].id) || !is_due(env, &jobs->v[i], states, &c))
            continue;
        c.place = i;
        ret->v = xgrow(ret->v, ret->n, sizeof *ret->v);
        ret->v[ret->n++] = c;
    }
    job_states_free(states);
    if (ret->n)
        qsort(ret->v, ret->n, sizeof *ret->v, by_turn);
    return 0;
}

/* Others may have run it, changed or removed it meanwhile. 1: it is; *ret is the caller's then. */
static int still_due(struct env *env, struct candidate *c, struct job *ret, struct err *e)
{
    if (env_jobs(env, e) < 0)
        return -1;
    const struct job *job = jobs_find(&env->jobs.jobs, c->id);
    if (!job)
        return 0;
    if (env_guest_again(env, job->guest, e) < 0)
        return -1;
    struct job_states *states = job_states_load_guest(env->settings.state_dir, job->guest, e);
    if (!states)
        return -1;
    bool due = is_due(env, job, states, c);
    job_states_free(states);
    if (due)
        job_copy(ret, job);
    return due;
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
                             .next_try = job_next_sync(job, state, is_online(env, job), clock_epoch())};
    mail_compose(&m, &text);
    return mail_send(env->settings.sendmail, &text, e);
}

/* Only of a failure that was counted: a postponed run, or one that could not even begin, is none. */
static void tell_failure(struct env *env, const struct job *job, int64_t fails_before)
{
    struct job_state state = {0};
    struct err problem = {0};
    int r = job_state_load_of(env->settings.state_dir, job, &state, &problem);
    if (r == 0 && state.fail_count > fails_before && job_reports(state.fail_count))
        r = mail_failure(env, job, &state, &problem);
    if (r < 0)
        fprintf(stderr, "%s: the failure was not mailed: %s\n", job->id, problem.text);
    job_state_release(&state);
}

struct pass {
    struct env *env;
    struct run_options options;
    bool mail;
    struct lookup done;
};

/* 1: it was run, well or not. */
static int run_candidate(struct pass *p, struct candidate *c, struct err *e)
{
    struct job job;
    int r = still_due(p->env, c, &job, e);
    if (r <= 0)
        return r;
    lookup_add(&p->done, c->id, 0);
    struct err failure = {0};
    if (run_job(p->env, c->id, &p->options, &failure) < 0) {
        fprintf(stderr, "%s: got unexpected replication job error - %s\n", c->id, failure.text);
        if (p->mail)
            tell_failure(p->env, &job, c->fails);
    }
    job_release(&job);
    return 1;
}

static int run_all(struct pass *p, struct err *e)
{
    for (bool any = true; any;) {
        _cleanup_(candidates_release) struct candidates due = {0};
        if (find_due(p->env, &p->done, &due, e) < 0)
            return -1;
        any = false;
        for (size_t i = 0; i < due.n; i++) {
            int r = run_candidate(p, &due.v[i], e);
            if (r < 0)
                return -1;
            any |= r > 0;
        }
    }
    return 0;
}

/* Is there nothing to do, or is it that nothing can be done? */
static int check(struct env *env, struct err *e)
{
    _cleanup_strv_ struct strv warnings = STRV_INIT;
    if (env_members_with_us(env, e) < 0)
        return -1;
    if (tree_check_quorum(env->tree, e) < 0)
        return err_wrap(
            e, "nothing is run ('pvecm status' says which nodes are missing; the next pass after they "
               "are back makes up for it)");
    if (env_guests(env, e) < 0 || env_jobs(env, e) < 0 ||
        orphans_look(env, &env->jobs.jobs, &warnings, e) < 0)
        return -1;
    for (size_t i = 0; i < warnings.n; i++)
        fprintf(stderr, "warning: %s\n", warnings.v[i]);
    return 0;
}

static void sweep(struct env *env)
{
    struct err problem = {0};
    const struct settings *s = &env->settings;
    int64_t before = clock_epoch() - (int64_t)s->history_days * 86400;
    if (env_jobs(env, &problem) < 0 ||
        leftovers_sweep(s->state_dir, s->log_dir, &env->jobs.jobs, before, &problem) < 0)
        fprintf(stderr, "warning: what removed jobs left stays: %s\n", problem.text);
}

int run_pass(struct env *env, const struct run_options *o, struct err *e)
{
    struct pass p = {
        .env = env, .options = *o, .mail = o->mail && strcmp(env->settings.mail_to, "none") != 0};
    p.options.iteration = clock_epoch();
    int r = check(env, e) < 0 ? -1 : run_all(&p, e);
    if (r == 0)
        sweep(env);
    lookup_release(&p.done);
    return r;
}
