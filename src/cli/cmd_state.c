/* schedule-now, set-state: the node-local job state (BEHAVIOUR.md#job-state). */
#include "cli/commands.h"

#include "base/clock.h"
#include "base/lock.h"
#include "cli/load.h"
#include "state/jobstate.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define GUEST_LOCK_SECONDS 10

static struct lock *lock_guest(struct env *env, uint32_t guest, struct err *e)
{
    _cleanup_free_ char *path = env_guest_lock_path(env, guest);
    return lock_take(path, true, GUEST_LOCK_SECONDS, true, e);
}

/* Whoever has the guest's lock may be a run of the job, which says so a moment after it took that. */
static int ask(struct env *env, const struct job *job, struct err *e)
{
    const char *dir = env->settings.state_dir;
    _cleanup_free_ char *path = env_guest_lock_path(env, job->guest);
    double deadline = clock_mono() + GUEST_LOCK_SECONDS;
    for (int tries = 0;; tries++) {
        bool during;
        if (job_state_ask_during(dir, job, &during, e) < 0)
            return -1;
        _cleanup_(lock_freep) struct lock *lock =
            during ? NULL : lock_take(path, true, tries ? 1 : 0, false, e);
        if (tries && (during || lock))
            fprintf(stderr, " OK\n");
        if (during || lock)
            return during ? 0 : job_state_schedule_now(dir, job, e);
        if (e->kind != ERR_BUSY || clock_mono() >= deadline)
            return -1;
        if (!tries)
            fprintf(stderr, "trying to acquire lock...\n");
    }
}

int cmd_schedule_now(struct env *env, const struct args *a, struct err *e)
{
    _cleanup_(jobs_release) struct jobs jobs = {0};
    if (load_jobs(env, &jobs, e) < 0 || env_guests(env, e) < 0)
        return -1;
    const struct job *job = jobs_find(&jobs, args_text(a, P_ID));
    if (!job)
        return jobs_no_such(&jobs, "replication job", args_text(a, P_ID), e);
    const struct guest_entry *g = guests_find(&env->guests, job->guest);
    if (!g || strcmp(g->node, env->settings.node) != 0) {
        fprintf(stderr, "warning: nothing to do here: guest '%" PRIu32 "' %s%s\n", job->guest,
                g ? "is on node " : "does not exist", g ? g->node : "");
        return 0;
    }
    if (job->disabled && job->remove == REMOVE_NOT)
        fprintf(stderr, "warning: job '%s' is disabled, it runs once it is enabled: 'pvesr enable %s'\n",
                job->id, job->id);
    return ask(env, job, e);
}

int cmd_set_state(struct env *env, const struct args *a, struct err *e)
{
    uint32_t guest = (uint32_t)a->value[P_VMID].integer;
    _cleanup_(lock_freep) struct lock *lock = lock_guest(env, guest, e);
    if (!lock)
        return -1;
    return job_state_set_guest(env->settings.state_dir, guest, args_text(a, P_STATE), e);
}
