#include "cli/load.h"

#include "cli/lines.h"
#include "run/orphans.h"
#include "state/jobstate.h"

static void tell_warnings(const struct strv *warnings)
{
    for (size_t i = 0; i < warnings->n; i++)
        put_line(stderr, "warning: %s", warnings->v[i]);
}

int load_jobs(struct env *env, struct jobs *ret, struct err *e)
{
    if (jobs_load(env->tree, ret, e) < 0)
        return -1;
    tell_warnings(&env->settings.warnings);
    tell_warnings(&ret->warnings);
    tell_warnings(&ret->doubts);
    return 0;
}

int load_jobs_repaired(struct env *env, struct jobs *ret, struct err *e)
{
    if (env_guests(env, e) < 0 || jobs_load_repaired(env->tree, &env->guests, env->settings.node, ret, e) < 0)
        return -1;
    if (job_states_forget_turned(env->settings.state_dir, env->settings.node, ret, e) < 0) {
        jobs_release(ret);
        return -1;
    }
    tell_warnings(&env->settings.warnings);
    tell_warnings(&ret->warnings);
    tell_warnings(&ret->doubts);
    return 0;
}

int tell_orphans(struct env *env, const struct jobs *jobs, struct err *e)
{
    _cleanup_strv_ struct strv warnings = STRV_INIT;
    int r = orphans_look(env, jobs, &warnings, e);
    tell_warnings(&warnings);
    return r;
}

int warn_orphans(struct env *env, const struct jobs *jobs, struct err *e)
{
    if (tell_orphans(env, jobs, e) == 0)
        return 0;
    if (e->kind != ERR_CONFIG)
        return -1;
    fprintf(stderr, "warning: %s\n", e->text);
    return 0;
}

int edit_begin(struct env *env, struct edit *edit, struct err *e)
{
    *edit = (struct edit){0};
    edit->lock = tree_lock(env->tree, "replication.cfg", e);
    if (!edit->lock)
        return -1;
    return load_jobs(env, &edit->jobs, e);
}

int edit_save(struct env *env, struct edit *edit, struct err *e)
{
    return jobs_save(env->tree, &edit->jobs, e);
}

void edit_end(struct edit *edit)
{
    jobs_release(&edit->jobs);
    if (edit->lock)
        tree_unlock(edit->lock);
    edit->lock = NULL;
}

struct job *edit_job(struct edit *edit, const char *id, struct err *e)
{
    struct job *job = jobs_find(&edit->jobs, id);
    if (!job)
        jobs_no_such(&edit->jobs, "job", id, e);
    return job;
}
