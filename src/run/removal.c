/* Job removal (spec 3.8). */
#include "run/sync.h"

#include "base/mem.h"

#include <string.h>

static int remove_replicas(struct sync *s, struct err *e)
{
    _cleanup_strv_ struct strv scan = STRV_INIT;
    _cleanup_strv_ struct strv problems = STRV_INIT;
    const struct strv none = STRV_INIT;
    if (sync_scan_list(s, &scan, e) < 0 || sync_connect(s, e) < 0)
        return -1;
    if (peer_open(&s->peer, s->job->id, &none, &scan, NULL, &s->stale, e) < 0)
        return -1;
    for (size_t i = 0; i < s->stale.n; i++)
        joblog_add(s->log, "delete stale volume '%s' on the target", s->stale.v[i]);
    if (s->stale.n && peer_prune(&s->peer, &none, NULL, &s->stale, &problems, e) < 0)
        return -1;
    if (problems.n)
        return err_set(e, ERR_SYSTEM, 0, "cannot remove a replica on node '%s': %s", s->target->node.name,
                       problems.v[0]);
    return 0;
}

static void remove_local_snapshots(struct sync *s)
{
    for (size_t i = 0; i < s->n; i++) {
        struct sync_volume *v = &s->volumes[i];
        for (size_t k = 0; k < v->snapshots.n; k++) {
            const struct snapshot *one = &v->snapshots.v[k];
            struct err problem = {0};
            if (!snapshot_is_of_job(one->name, s->job->id))
                continue;
            joblog_add(s->log, "delete stale replication snapshot '%s' on %s", one->name, s->volids.v[i]);
            if (volume_snapshot_destroy(v->local.volume, one->name, one->id, &problem) < 0)
                joblog_add(s->log, "delete stale replication snapshot error: %s", problem.text);
        }
    }
}

/* A volume that cannot be opened any more has nothing to clean up that we could reach: it must not block the
 * removal. */
static int look_for_removal(struct sync *s, struct err *e)
{
    steps_enter(s->steps, "look");
    s->config = env_guest_config(s->env, s->guest, e);
    if (!s->config || env_guest_volumes(s->env, s->config, VOLUMES_CLEANUP, &s->volids, e) < 0)
        return -1;
    s->volumes = xcalloc(s->volids.n, sizeof *s->volumes);
    for (size_t i = 0; i < s->volids.n;) {
        struct sync_volume *v = &s->volumes[s->n];
        struct err problem = {0};
        if (sync_look_volume(s, s->volids.v[i], v, &problem) < 0) {
            joblog_add(s->log, "%s", problem.text);
            replica_volume_close(&v->local);
            snapshots_release(&v->snapshots);
            *v = (struct sync_volume){0};
            strv_remove(&s->volids, i);
        } else {
            s->n++;
            i++;
        }
    }
    return 0;
}

static int remove_entry(struct sync *s, struct err *e)
{
    struct jobs jobs;
    _cleanup_(tree_unlockp) struct tree_lock *lock = tree_lock(s->env->tree, "replication.cfg", e);
    if (!lock || jobs_load(s->env->tree, &jobs, e) < 0)
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
    if (look_for_removal(s, e) < 0)
        return -1;
    if (full && strcmp(s->job->target, s->env->settings.node) != 0 && remove_replicas(s, e) < 0)
        return -1;
    steps_enter(s->steps, "remove");
    remove_local_snapshots(s);
    if (remove_entry(s, e) < 0)
        return -1;
    joblog_add(s->log, "job removed");
    return 0;
}
