/* create-local-job, update, enable, disable, delete: changes of replication.cfg
 * (BEHAVIOUR.md#changing-jobs). */
#include "cli/commands.h"

#include "cli/load.h"
#include "run/source/placement.h"
#include "state/jobstate.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void replace(char **slot, const char *text)
{
    free(*slot);
    *slot = text && *text ? xstrdup(text) : NULL;
}

static enum remove_mode remove_mode(const char *text)
{
    return strcmp(text, "full") == 0 ? REMOVE_FULL : REMOVE_LOCAL;
}

/* The settings given on the command line, into the job. */
static void apply_settings(const struct args *a, struct job *job)
{
    if (args_given(a, P_COMMENT))
        replace(&job->comment, args_text(a, P_COMMENT));
    if (args_given(a, P_DISABLE))
        job->disabled = a->value[P_DISABLE].flag;
    if (args_given(a, P_KEEP_POINTS))
        replace(&job->keep, args_text(a, P_KEEP_POINTS));
    if (args_given(a, P_MAX_AGE))
        replace(&job->max_age, args_text(a, P_MAX_AGE));
    if (args_given(a, P_RATE))
        job->rate = a->value[P_RATE].number;
    if (args_given(a, P_REMOVE_JOB))
        job->remove = remove_mode(args_text(a, P_REMOVE_JOB));
    if (args_given(a, P_SCHEDULE))
        replace(&job->schedule, args_text(a, P_SCHEDULE));
    if (args_given(a, P_SCRUB_DAYS))
        replace(&job->scrub_days, args_text(a, P_SCRUB_DAYS));
    if (args_given(a, P_SOURCE))
        replace(&job->source, args_text(a, P_SOURCE));
    if (args_given(a, P_TARGET_STORAGE))
        replace(&job->target_storage, args_text(a, P_TARGET_STORAGE));
}

static void apply_deletions(const struct strv *names, struct job *job)
{
    if (strv_has(names, "comment"))
        replace(&job->comment, NULL);
    if (strv_has(names, "disable"))
        job->disabled = false;
    if (strv_has(names, "keep"))
        replace(&job->keep, NULL);
    if (strv_has(names, "max-age"))
        replace(&job->max_age, NULL);
    if (strv_has(names, "rate"))
        job->rate = 0;
    if (strv_has(names, "remove_job"))
        job->remove = REMOVE_NOT;
    if (strv_has(names, "schedule"))
        replace(&job->schedule, NULL);
    if (strv_has(names, "scrub-days"))
        replace(&job->scrub_days, NULL);
    if (strv_has(names, "source"))
        replace(&job->source, NULL);
    if (strv_has(names, "target-storage"))
        replace(&job->target_storage, NULL);
    job_settings_unset(job, names);
}

/* Can the mapped storages hold the guest's replicas? A guest that cannot be read is left to the run. */
static int check_placement(struct env *env, const struct job *job, struct err *e)
{
    struct err ignored;
    _cleanup_strv_ struct strv volumes = STRV_INIT, there = STRV_INIT;
    const struct guest_entry *g = env_guest(env, job->guest, &ignored);
    _cleanup_(guest_config_freep) struct guest_config *config = g ? env_guest_config(env, g, &ignored) : NULL;
    if (!config || env_guest_volumes(env, config, VOLUMES_LENIENT, &volumes, &ignored) < 0)
        return 0;
    const char *node = strcmp(g->node, job->target) == 0 && job->source ? job->source : job->target;
    return placement_volids(env, job, node, &volumes, &there, e) < 0 ? err_wrap(e, "target-storage") : 0;
}

/* ---- create ---- */

/* Volumes that are more than themselves, as each run would refuse them; on another node nobody can tell, and
 * what cannot be opened a run tells. */
static int check_complete(struct env *env, const struct guest_entry *g, const struct strv *volids,
                          struct err *e)
{
    bool here = strcmp(g->node, env->settings.node) == 0;
    for (size_t i = 0; here && i < volids->n; i++) {
        struct env_volume v;
        struct err ignored;
        if (env_volume_open(env, volids->v[i], g->id, &v, &ignored) < 0)
            continue;
        struct err problem = {0};
        bool refused = volume_complete(v.volume, &problem) < 0 && problem.kind == ERR_CONFIG;
        env_volume_close(&v);
        if (refused) {
            *e = problem;
            return -1;
        }
    }
    return 0;
}

/* Everything that must be true outside replication.cfg, in the described order. */
static const struct guest_entry *check_new(struct env *env, uint32_t guest, const struct args *a,
                                           struct err *e)
{
    const char *target = args_text(a, P_TARGET), *source = args_text(a, P_SOURCE);
    _cleanup_strv_ struct strv volumes = STRV_INIT;
    if (env_guests(env, e) < 0 || env_members(env, e) < 0)
        return NULL;
    const struct guest_entry *g = guests_find(&env->guests, guest);
    if (!g)
        err_set(e, ERR_GONE, 0, "Guest '%" PRIu32 "' does not exist.", guest);
    else if (!members_find(&env->members, target))
        err_set(e, ERR_GONE, 0, "Target '%s' does not exist.", target);
    else if (source && strcmp(source, g->node) != 0)
        err_set(e, ERR_USAGE, 0, "source: guest '%" PRIu32 "' is on node '%s', not on '%s'", guest, g->node,
                source);
    else if (strcmp(target, g->node) == 0)
        err_set(e, ERR_USAGE, 0, "Source and target must not be identical");
    else {
        _cleanup_(guest_config_freep) struct guest_config *config = env_guest_config(env, g, e);
        if (!config || env_guest_volumes(env, config, VOLUMES_STRICT, &volumes, e) < 0)
            return NULL;
        if (volumes.n)
            return check_complete(env, g, &volumes, e) < 0 ? NULL : g;
        err_set(e, ERR_CONFIG, 0, "No replicatable volumes found");
    }
    return NULL;
}

int cmd_create(struct env *env, const struct args *a, struct err *e)
{
    struct job_id id;
    if (job_id_parse(args_text(a, P_ID), &id, e) < 0)
        return -1;
    const struct guest_entry *guest = check_new(env, id.guest, a, e);
    if (!guest)
        return -1;
    _cleanup_(job_release) struct job job = {.guest = id.guest, .number = id.number};
    snprintf(job.id, sizeof job.id, "%s", args_text(a, P_ID));
    apply_settings(a, &job);
    replace(&job.target, args_text(a, P_TARGET));
    replace(&job.source, guest->node);
    if (check_placement(env, &job, e) < 0)
        return -1;
    _cleanup_edit_ struct edit edit = {0};
    if (edit_begin(env, &edit, e) < 0 || jobs_add(&edit.jobs, &job, e) < 0)
        return -1;
    /* what is remembered under its id is of a job that was before, and no more than a hint */
    struct err ignored;
    job_state_remove(env->settings.state_dir, id.guest, job.target, &ignored);
    return edit_save(env, &edit, e);
}

/* ---- update, enable, disable ---- */

int cmd_update(struct env *env, const struct args *a, struct err *e)
{
    const char *digest = args_text(a, P_DIGEST);
    _cleanup_edit_ struct edit edit = {0};
    if (edit_begin(env, &edit, e) < 0)
        return -1;
    if (digest && *digest && *edit.jobs.digest && strcmp(digest, edit.jobs.digest) != 0)
        return err_set(e, ERR_USAGE, 0,
                       "detected modified configuration - file changed by other user? Try again.");
    struct job *job = edit_job(&edit, args_text(a, P_ID), e);
    if (!job)
        return -1;
    apply_deletions(&a->value[P_DELETE].list, job);
    apply_settings(a, job);
    if (jobs_changed(&edit.jobs, job, e) < 0 ||
        (args_given(a, P_TARGET_STORAGE) && check_placement(env, job, e) < 0))
        return -1;
    return edit_save(env, &edit, e);
}

static int set_disabled(struct env *env, const struct args *a, bool disabled, struct err *e)
{
    _cleanup_edit_ struct edit edit = {0};
    if (edit_begin(env, &edit, e) < 0)
        return -1;
    struct job *job = edit_job(&edit, args_text(a, P_ID), e);
    if (!job)
        return -1;
    job->disabled = disabled;
    return jobs_changed(&edit.jobs, job, e) < 0 ? -1 : edit_save(env, &edit, e);
}

int cmd_enable(struct env *env, const struct args *a, struct err *e)
{
    return set_disabled(env, a, false, e);
}

int cmd_disable(struct env *env, const struct args *a, struct err *e)
{
    return set_disabled(env, a, true, e);
}

/* ---- delete ---- */

/* Who removes the job: the node of its guest. NULL: nobody would. */
static const struct guest_entry *find_remover(struct env *env, const struct job *job, struct err *e)
{
    struct err why = {0};
    const struct guest_entry *g = env_guest(env, job->guest, &why);
    if (!g)
        err_set(e, why.kind, 0,
                "%s: no run can remove job '%s'; 'pvesr delete %s --force' removes it without any cleanup",
                why.text, job->id, job->id);
    return g;
}

/* What this node remembers of the job goes with it, lest it look as if that had been lost. */
static int delete_at_once(struct env *env, struct edit *edit, const char *id, struct err *e)
{
    struct err ignored;
    _cleanup_buf_ struct buf before = BUF_INIT, after = BUF_INIT;
    const struct job *job = jobs_find(&edit->jobs, id);
    uint32_t guest = job ? job->guest : 0;
    _cleanup_free_ char *target = job ? xstrdup(job->target) : NULL;
    jobs_print(&edit->jobs, &before);
    jobs_remove(&edit->jobs, id);
    jobs_print(&edit->jobs, &after);
    if (strcmp(buf_str(&before), buf_str(&after)) != 0 && edit_save(env, edit, e) < 0)
        return -1;
    if (target)
        job_state_remove(env->settings.state_dir, guest, target, &ignored);
    return 0;
}

int cmd_delete(struct env *env, const struct args *a, struct err *e)
{
    const char *id = args_text(a, P_ID);
    _cleanup_edit_ struct edit edit = {0};
    if (edit_begin(env, &edit, e) < 0)
        return -1;
    if (a->value[P_FORCE].flag)
        return delete_at_once(env, &edit, id, e);
    struct job *job = edit_job(&edit, id, e);
    if (!job)
        return -1;
    const struct guest_entry *remover = find_remover(env, job, e);
    if (!remover)
        return -1;
    job->remove = a->value[P_KEEP].flag ? REMOVE_LOCAL : REMOVE_FULL;
    if (jobs_changed(&edit.jobs, job, e) < 0 || edit_save(env, &edit, e) < 0)
        return -1;
    fprintf(stderr,
            "Replication job '%s' is removed in the background by node '%s', this may take some time.\n",
            job->id, remover->node);
    return 0;
}
