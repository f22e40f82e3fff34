/* One scheduler pass in the foreground: `pvesr run` without a job (spec 4.5). The daemon has its own way of
 * deciding; this one is for a node that is driven by a timer, and for emergencies. */
#include "run/run.h"

#include "base/clock.h"
#include "base/mem.h"
#include "state/due.h"
#include "state/jobstate.h"

#include <stdio.h>
#include <string.h>

struct candidate {
    const struct job *job;
    int64_t last_iteration, next_sync;
};

/* Least recently served first (spec 4.4); the jobs come sorted by guest and id, so ties keep that order. */
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

/* The id of the job to run next into id, or "". */
static int pick(struct env *env, const struct strv *done, int64_t now, char id[24], struct err *e)
{
    struct jobs jobs;
    struct candidate best = {0};
    if (env_guests_again(env, e) < 0 ||
        jobs_load_repaired(env->tree, &env->guests, env->settings.node, &jobs, e) < 0)
        return -1;
    struct job_states *states = job_states_load(env->settings.state_dir, e);
    for (size_t i = 0; states && i < jobs.n; i++) {
        struct job_state state = {0};
        if (strv_has(done, jobs.v[i].id) || !is_candidate(env, &jobs.v[i]))
            continue;
        job_states_get(states, jobs.v[i].guest, jobs.v[i].target, &state);
        const struct member *m = members_find(&env->members, jobs.v[i].target);
        struct candidate c = {.job = &jobs.v[i],
                              .last_iteration = state.last_iteration,
                              .next_sync = job_next_sync(&jobs.v[i], &state, m && m->online)};
        job_state_release(&state);
        if (c.next_sync && c.next_sync <= now && (!best.job || before(&c, &best)))
            best = c;
    }
    snprintf(id, 24, "%s", best.job ? best.job->id : "");
    job_states_free(states);
    jobs_release(&jobs);
    return states ? 0 : -1;
}

int run_pass(struct env *env, const struct run_options *o, struct err *e)
{
    struct run_options options = *o;
    _cleanup_strv_ struct strv done = STRV_INIT;
    char id[24];
    options.iteration = clock_epoch();
    if (env_members(env, e) < 0)
        return -1;
    for (;;) {
        if (pick(env, &done, clock_epoch(), id, e) < 0)
            return -1;
        if (!*id)
            return 0;
        strv_add(&done, id);
        struct err failure = {0};
        if (run_job(env, id, &options, &failure) < 0)
            fprintf(stderr, "%s: got unexpected replication job error - %s\n", id, failure.text);
    }
}
