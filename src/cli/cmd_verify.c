/* verify: are the replicas what this node has? */
#include "cli/commands.h"

#include "cli/lines.h"
#include "cli/load.h"
#include "run/source/verify.h"

#include <stdio.h>
#include <string.h>

static void say(void *arg, const char *line)
{
    put_line(stdout, "%s: %s", (const char *)arg, line);
    fflush(stdout);
}

static bool is_ours(struct env *env, const struct job *job)
{
    const struct guest_entry *g = guests_find(&env->guests, job->guest);
    return g && strcmp(g->node, env->settings.node) == 0 && !job->disabled && !job->fault &&
           job->remove == REMOVE_NOT && strcmp(job->target, env->settings.node) != 0;
}

/* All are tried, whatever one says. */
static int verify_jobs(struct env *env, struct verify_options *o, const struct strv *jobs, struct err *e)
{
    int status = 0;
    for (size_t i = 0; i < jobs->n; i++) {
        o->arg = jobs->v[i];
        int r = verify_job(env, jobs->v[i], o, e);
        if (r < 0 && jobs->n == 1)
            return err_wrap(e, "%s", jobs->v[i]);
        if (r < 0)
            fprintf(stderr, "%s: %s\n", jobs->v[i], e->text);
        status |= r != 0;
    }
    return status;
}

int cmd_verify(struct env *env, const struct args *a, struct err *e)
{
    struct verify_options o = {.point = args_text(a, P_POINT),
                               .repair = a->value[P_REPAIR_REPLICA].flag,
                               .part = a->value[P_PART].flag,
                               .rate = a->value[P_RATE].number,
                               .say = say};
    _cleanup_(jobs_release) struct jobs jobs = {0};
    _cleanup_strv_ struct strv all = STRV_INIT;
    if (!a->value[P_ALL_JOBS].flag)
        return verify_jobs(env, &o, &a->value[P_JOBS].list, e);
    if (load_jobs_repaired(env, &jobs, e) < 0)
        return -1;
    for (size_t i = 0; i < jobs.n; i++)
        if (is_ours(env, &jobs.v[i]))
            strv_add(&all, jobs.v[i].id);
    return verify_jobs(env, &o, &all, e);
}
