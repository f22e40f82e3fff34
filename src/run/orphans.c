#include "run/orphans.h"

#include "state/jobstate.h"

#include <unistd.h>

#define AGAIN_SECONDS 2

static int look(struct env *env, const struct jobs *jobs, struct strv *ret, struct err *e)
{
    struct guests_on here = {&env->guests, env->settings.node};
    struct job_states *states = job_states_load(env->settings.state_dir, e);
    if (!states)
        return -1;
    job_states_orphans(states, jobs, guests_is_on, &here, ret);
    int r = job_states_check_lost(states, jobs, guests_is_on, &here, e);
    job_states_free(states);
    return r;
}

static int look_again(struct env *env, struct strv *ret, struct err *e)
{
    struct jobs now;
    strv_release(ret);
    sleep(AGAIN_SECONDS);
    if (env_guests_again(env, e) < 0 || jobs_load(env->tree, &now, e) < 0)
        return -1;
    int r = look(env, &now, ret, e);
    jobs_release(&now);
    return r;
}

int orphans_look(struct env *env, const struct jobs *jobs, struct strv *warnings, struct err *e)
{
    _cleanup_strv_ struct strv found = STRV_INIT;
    int r = env_guests(env, e) < 0 ? -1 : look(env, jobs, &found, e);
    if (found.n)
        r = look_again(env, &found, e);
    for (size_t i = 0; r == 0 && i < found.n; i++)
        strv_addf(
            warnings,
            "job %s is not in replication.cfg any more, but its runs have left a state here, which pvesrd "
            "drops within half an hour: unless it was removed on purpose, put it back",
            found.v[i]);
    return r;
}
