/* Job removal (BEHAVIOUR.md#removal). */
#include "run/source/sync.h"

#include "base/mem.h"
#include "run/source/retain.h"
#include "run/source/sync-parts.h"

#include <inttypes.h>
#include <string.h>

/* The target leaves out a storage that it may not use: a replica there would stay for ever. */
static int check_reachable(struct sync *s, struct err *e)
{
    if (env_storages(s->env, e) < 0)
        return -1;
    for (size_t i = 0; i < s->state->storages.n; i++) {
        const struct storage *one = storages_find(&s->env->storages, s->state->storages.v[i]);
        if (one && !one->shared && !storage_enabled_on(one, s->target->node.name))
            return err_set(e, ERR_CONFIG, 0,
                           "storage '%s' is disabled or not for node '%s': its replicas cannot be removed; "
                           "make it available, or delete the job with --keep",
                           one->id, s->target->node.name);
    }
    return 0;
}

/* The replicas that go are s->stale then. */
static int look_for_replicas(struct sync *s, struct err *e)
{
    _cleanup_strv_ struct strv scan = STRV_INIT;
    const struct strv none = STRV_INIT;
    if (s->job->remove != REMOVE_FULL || strcmp(s->job->target, s->env->settings.node) == 0)
        return 0;
    int r = check_reachable(s, e) < 0 || sync_scan_list(s, &scan, e) < 0 || sync_connect(s, e) < 0
                ? -1
                : sync_open(s, &none, &scan, NULL, e);
    if (r == 0)
        sync_hold(s, true);
    return r;
}

/* The jobs under the lock, if the job in them is still to be removed. Somebody may have cancelled it, and
 * without quorum nobody here would know. */
static int load_marked(struct sync *s, struct jobs *ret, struct err *e)
{
    if (tree_check_quorum(s->env->tree, e) < 0 || jobs_load(s->env->tree, ret, e) < 0)
        return -1;
    const struct job *now = jobs_find(ret, s->job->id);
    if (now && now->remove == s->job->remove && strcmp(now->target, s->job->target) == 0)
        return 0;
    jobs_release(ret);
    return err_set(e, ERR_BUSY, 0, "job '%s' is no longer to be removed: what is there stays", s->job->id);
}

/* Asked before each, as removing one may take long. */
static int check_marked(struct sync *s, struct err *e)
{
    struct jobs jobs;
    _cleanup_(tree_unlockp) struct tree_lock *lock = tree_lock(s->env->tree, "replication.cfg", e);
    if (!lock || load_marked(s, &jobs, e) < 0)
        return -1;
    jobs_release(&jobs);
    return 0;
}

static int remove_replicas(struct sync *s, struct err *e)
{
    _cleanup_strv_ struct strv problems = STRV_INIT;
    const struct strv none = STRV_INIT;
    for (size_t i = 0; i < s->stale.n; i++) {
        if (check_marked(s, e) < 0)
            return -1;
        joblog_add(s->log, "delete stale volume '%s' on the target", s->stale.v[i]);
        if (peer_drop(&s->peer, s->stale.v[i], &none, "the job is removed", &problems, e) < 0)
            return -1;
    }
    if (problems.n)
        return err_set(e, ERR_SYSTEM, 0, "cannot remove a replica on node '%s': %s", s->target->node.name,
                       problems.v[0]);
    return 0;
}

void sync_removal_choose(const struct sync *s, size_t i, struct snapshots *ret)
{
    struct received here = {0}, there = {0};
    sync_received(s, &here, &there);
    sync_leaving_choose(s, &s->volumes[i].snapshots, NULL, &here, ret);
    received_release(&here);
    received_release(&there);
}

static void remove_local_snapshots(struct sync *s)
{
    for (size_t i = 0; i < s->n; i++) {
        struct snapshots go = {0};
        sync_removal_choose(s, i, &go);
        sync_destroy_here(s, i, &go, "stale");
        snapshots_release(&go);
    }
    sync_clear_gone(s); /* nor must what cannot be reached there block it */
}

static void tell_former(struct sync *s)
{
    sync_look_whose(s);
    if (s->former)
        joblog_add(s->log,
                   "WARNING: guest %" PRIu32 " is another than that of the last run of this job (" PLAN_OTHER
                   "): the restore points on this node that go now are the former one's",
                   s->job->guest);
}

/* A volume that cannot be opened any more has nothing to clean up that we could reach: it must not block the
 * removal. */
static int look_here(struct sync *s, struct err *e)
{
    steps_enter(s->steps, "look");
    s->config = env_guest_config(s->env, s->guest, e);
    if (!s->config || env_guest_volumes(s->env, s->config, VOLUMES_CLEANUP, &s->volids, e) < 0)
        return -1;
    struct err bad_map = {0};
    if (sync_read_map(s, &bad_map) < 0) /* what it was when there were runs, the state remembers */
        joblog_add(s->log, "%s", bad_map.text);
    s->volumes = xcalloc(s->volids.n, sizeof *s->volumes);
    _cleanup_strv_ struct strv missing = STRV_INIT;
    for (size_t i = 0; i < s->volids.n;) {
        struct sync_volume *v = &s->volumes[s->n];
        struct err problem = {0};
        if (sync_look_volume(s, s->volids.v[i], v, &problem) < 0) {
            joblog_add(s->log, "%s", problem.text);
            strv_add(&missing, s->volids.v[i]);
            env_volume_close(&v->local);
            snapshots_release(&v->snapshots);
            *v = (struct sync_volume){0};
            strv_remove(&s->volids, i);
        } else {
            s->n++;
            i++;
        }
    }
    tell_former(s);
    for (size_t i = 0; i < missing.n; i++)
        if (guest_config_has_disk(s->config, missing.v[i]))
            strv_add_once(&s->was.unseen, missing.v[i]);
    return 0;
}

int sync_removal_look(struct sync *s, struct err *e)
{
    return look_here(s, e) < 0 ? -1 : look_for_replicas(s, e);
}

static int remove_entry(struct sync *s, struct err *e)
{
    struct jobs jobs;
    _cleanup_(tree_unlockp) struct tree_lock *lock = tree_lock(s->env->tree, "replication.cfg", e);
    if (!lock || load_marked(s, &jobs, e) < 0)
        return -1;
    jobs_remove(&jobs, s->job->id);
    int r = jobs_save(s->env->tree, &jobs, e);
    jobs_release(&jobs);
    return r;
}

int sync_remove(struct sync *s, struct err *e)
{
    bool full = s->job->remove == REMOVE_FULL;
    joblog_add(s->log, "start job removal - mode '%s'", full ? "full" : "local");
    if (sync_removal_look(s, e) < 0 || remove_replicas(s, e) < 0 || check_marked(s, e) < 0)
        return -1;
    steps_enter(s->steps, "remove");
    remove_local_snapshots(s);
    if (remove_entry(s, e) < 0)
        return -1;
    joblog_add(s->log, "job removed");
    return 0;
}
