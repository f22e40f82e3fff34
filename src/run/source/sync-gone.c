/* Volumes of the guest on this node that the job does not replicate any more: removed from the configuration,
 * renamed, or replicate=0. Their replicas are stale, so what runs of the job left on them is of no use. */
#include "base/mem.h"
#include "cluster/jobs.h"
#include "run/places.h"
#include "run/source/placement.h"
#include "run/source/sync-parts.h"

#include <string.h>

static int read_job(const struct sync *s, struct jobs *jobs, const struct job **ret, struct err *e)
{
    if (jobs_load(s->env->tree, jobs, e) < 0)
        return -1;
    *ret = jobs_find(jobs, s->job->id);
    if (*ret && !(*ret)->remove)
        return 0;
    jobs_release(jobs);
    return err_set(e, ERR_BUSY, 0, "job '%s' was removed meanwhile", s->job->id);
}

int sync_replicated_now(struct sync *s, struct strv *here, struct strv *there, struct err *e)
{
    struct jobs jobs;
    const struct job *job;
    if (read_job(s, &jobs, &job, e) < 0)
        return -1;
    struct guest_config *c = env_guest_config(s->env, s->guest, e);
    int r = c && env_guest_volumes(s->env, c, VOLUMES_STRICT, here, e) == 0
                ? placement_volids(s->env, job, s->target->node.name, here, there, e)
                : -1;
    guest_config_free(c);
    jobs_release(&jobs);
    return r;
}

struct gone {
    struct sync *s;
    struct places kept; /* what is replicated, or was looked at already */
};

/* What came back into the configuration since is not gone; the removal of the job ends with all. */
static int keep_replicated(struct gone *g, struct err *e)
{
    _cleanup_strv_ struct strv here = STRV_INIT, there = STRV_INIT;
    if (g->s->job->remove)
        return 0;
    int r = sync_replicated_now(g->s, &here, &there, e);
    for (size_t i = 0; r == 0 && i < here.n; i++) {
        struct env_volume v = {0};
        if (env_volume_open(g->s->env, here.v[i], g->s->job->guest, &v, e) < 0 ||
            places_add(&g->kept, v.volume, here.v[i], e) < 0)
            r = -1;
        env_volume_close(&v);
    }
    return r;
}

/* What this node received as a target is what the rules keep, as on the disks that the guest has: it may have
 * this one again, and nobody else has those states. The removal of the job ends with all, unless it is to
 * leave them. */
static void choose(const struct sync *s, const struct snapshots *all, struct snapshots *go)
{
    struct snapshots received = {0};
    struct history history = {.job_id = s->job->id, .now = s->start};
    for (size_t i = 0; i < all->n; i++)
        if (all->v[i].flags & SNAPSHOT_RECEIVED)
            snapshots_add(&received, &all->v[i]);
    bool kept = !s->job->remove && sync_history(s, &received, &history);
    _cleanup_(received_release) struct received here = {0}, there = {0};
    sync_received(s, &here, &there);
    received_add(&here, all);
    sync_leaving_choose(s, all, kept ? &history : NULL, &here, go);
    history_release(&history);
    snapshots_release(&received);
}

/* The guest is here, so no run will go on with a stage, either. */
static int clear_volume(struct gone *g, struct volume *v, const char *volid, struct err *e)
{
    _cleanup_snapshots_ struct snapshots all = {0}, go = {0};
    const char *other;
    int seen = places_find(&g->kept, v, &other, e);
    if (seen == 0)
        seen = keep_replicated(g, e) < 0 ? -1 : places_add(&g->kept, v, volid, e);
    if (seen != 0)
        return seen < 0 ? -1 : 0;
    if (volume_tidy(v, e) < 0 || stage_discard(v, e) < 0 || volume_snapshots(v, &all, e) < 0)
        return -1;
    choose(g->s, &all, &go);
    return sync_destroy_of(g->s, v, volid, &go, "stale", e);
}

static int clear_storage(struct gone *g, const char *storage, struct err *e)
{
    struct env_store store;
    _cleanup_strv_ struct strv names = STRV_INIT;
    if (env_store(g->s->env, storage, &store, e) < 0)
        return -1;
    int r = volume_list(&store.store, g->s->job->guest, &names, e);
    for (size_t i = 0; r == 0 && i < names.n; i++) {
        _cleanup_free_ char *volid = xasprintf("%s:%s", storage, names.v[i]);
        _cleanup_(volume_freep) struct volume *v = volume_open(&store.store, names.v[i], e);
        r = v && clear_volume(g, v, volid, e) == 0 ? 0 : err_wrap(e, "volume '%s'", volid);
    }
    env_store_release(&store);
    return r;
}

/* This node's storages of those where the job has or had replicas. */
static int storages_here(struct sync *s, struct strv *ret, struct err *e)
{
    _cleanup_strv_ struct strv there = STRV_INIT;
    if (sync_scan_list(s, &there, e) < 0)
        return -1;
    for (size_t i = 0; i < there.n; i++) {
        const struct storage *one = storages_find(&s->env->storages, storagemap_other(&s->map, there.v[i]));
        if (one && !one->shared && storage_enabled_on(one, s->env->settings.node) &&
            volume_type_known(one->type))
            strv_add_once(ret, one->id);
    }
    return 0;
}

static int clear(struct gone *g, struct err *e)
{
    _cleanup_strv_ struct strv storages = STRV_INIT;
    struct sync *s = g->s;
    if (storages_here(s, &storages, e) < 0)
        return -1;
    for (size_t i = 0; i < s->n; i++)
        if (places_add(&g->kept, s->volumes[i].local.volume, s->volids.v[i], e) < 0)
            return -1;
    for (size_t i = 0; i < storages.n; i++)
        if (clear_storage(g, storages.v[i], e) < 0)
            return -1;
    return 0;
}

bool sync_clear_gone(struct sync *s)
{
    struct err e;
    struct gone g = {.s = s};
    int r = clear(&g, &e);
    if (r < 0)
        joblog_add(s->log, "cannot clean up what is not replicated any more, the next run will: %s", e.text);
    places_release(&g.kept);
    return r == 0;
}
