/* Volumes of the guest on this node that the job does not replicate any more: removed from the configuration,
 * renamed, or replicate=0. Their replicas are stale, so what runs of the job left on them is of no use. */
#include "base/lock.h"
#include "base/mem.h"
#include "cluster/jobs.h"
#include "guest/runtime.h"
#include "run/left-out.h"
#include "run/places.h"
#include "run/source/placement.h"
#include "run/source/sync-parts.h"

#include <inttypes.h>
#include <string.h>

/* ---- what is replicated ---- */

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

int sync_look_left_out(struct sync *s, struct err *e)
{
    _cleanup_strv_ struct strv foreign = STRV_INIT;
    if (left_out_check_shared(s->env, s->config, s->job->guest, e) < 0 ||
        left_out_foreign(s->env, &s->env->jobs.jobs, s->config, false, &foreign, e) < 0)
        return -1;
    for (size_t i = 0; i < foreign.n; i++) {
        _cleanup_free_ char *text = xasprintf(
            "WARNING: '%s' is on no target: by its name it is another guest's, so that no run of guest "
            "%" PRIu32
            " carries it. Let its name have the id of this guest, on the storage and in the configuration, "
            "or set replicate=0 on it",
            foreign.v[i], s->job->guest);
        sync_warn(s, text);
        strv_addf(&s->notes, "on no target: %s, an image of another guest", foreign.v[i]);
    }
    return 0;
}

/* ---- what goes here ---- */

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

/* Whose replica stays has its base here. */
static void keep_held(struct gone *g)
{
    struct err ignored;
    for (size_t i = 0; i < g->s->held_here.n; i++) {
        struct env_volume v = {0};
        const char *here = g->s->held_here.v[i];
        if (env_volume_open(g->s->env, here, g->s->job->guest, &v, &ignored) == 0)
            places_add(&g->kept, v.volume, here, &ignored);
        env_volume_close(&v);
    }
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
    keep_held(g);
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

/* ---- what stays there ---- */

/* What the target has of disks that are not replicated any more is stale, and goes. Not what may be the last
 * copy of a disk, or the history of one that is there: what the configuration names, though this node has not
 * got it, no run sent back from where the guest had it; an image that is still on this node was not removed
 * by whoever took it out of the configuration; and one that was missing here before it was taken out was
 * lost. Their replicas stay until a person says otherwise. */

static bool is_seen(struct sync *s, const char *volid)
{
    struct err ignored;
    struct sync_volume v = {0};
    bool seen = sync_look_volume(s, volid, &v, &ignored) == 0;
    env_volume_close(&v.local);
    snapshots_release(&v.snapshots);
    return seen;
}

static void forget(struct strv *all, const char *volid)
{
    for (size_t i = all->n; i-- > 0;)
        if (strcmp(all->v[i], volid) == 0)
            strv_remove(all, i);
}

/* Each job has replicas of its own to keep. */
static int note_for(const struct sync *s, const char *job_id, const struct strv *seen,
                    const struct strv *unseen, struct err *e)
{
    _cleanup_(known_release) struct known k = {0};
    _cleanup_free_ char *path = known_path(s->env->settings.state_dir, job_id);
    struct err ignored; /* a damaged note is made anew */
    known_load(path, &k, &ignored);
    for (size_t i = 0; i < seen->n; i++)
        forget(&k.unseen, seen->v[i]);
    for (size_t i = 0; i < unseen->n; i++)
        strv_add_once(&k.unseen, unseen->v[i]);
    return known_store(path, &k, e);
}

/* NULL while somebody edits it: whoever removes a disk frees its image first, and then its line. */
static struct guest_config *config_at_rest(struct sync *s)
{
    struct err ignored;
    _cleanup_free_ char *path = guest_edit_lock_path(s->guest->type, s->guest->id);
    _cleanup_(lock_freep) struct lock *edits = path ? lock_take(path, true, 0, false, &ignored) : NULL;
    return path && !edits ? NULL : env_guest_config(s->env, s->guest, &ignored);
}

static void note_unseen(struct sync *s)
{
    _cleanup_strv_ struct strv seen = STRV_INIT, unseen = STRV_INIT;
    _cleanup_(guest_config_freep) struct guest_config *now = config_at_rest(s);
    const struct jobs *jobs = &s->env->jobs.jobs;
    size_t end;
    for (size_t i = 0; now && i < s->volids.n; i++) {
        const char *volid = s->volids.v[i];
        bool fine = is_seen(s, volid) || !guest_config_has_disk(now, volid);
        strv_add(fine ? &seen : &unseen, volid);
    }
    for (size_t i = jobs_of_guest(jobs, s->job->guest, &end); unseen.n && i < end; i++) {
        struct err problem = {0};
        if (note_for(s, jobs->v[i].id, &seen, &unseen, &problem) < 0)
            joblog_add(s->log, "WARNING: %s", problem.text);
    }
}

/* Whoever reads that a disk is missing is about to decide what becomes of its last copy. */
int sync_look_failed(struct sync *s, size_t i, struct err *e)
{
    struct err why = *e;
    if (s->locked)
        note_unseen(s);
    if (why.kind != ERR_GONE || !s->state->last_sync)
        return -1;
    return err_set(e, why.kind, why.code,
                   "%s. What node '%s' has of it, '%s', stays in either case: 'pvesr restore-points %" PRIu32
                   "' there lists it",
                   why.text, s->target->node.name, i < s->there.n ? s->there.v[i] : s->volids.v[i],
                   s->job->guest);
}

/* What the configuration names, replicated or not: the texts, and what of it is here, by where that is. */
struct named {
    struct strv volids;
    struct places here;
};

static void find_named(struct sync *s, struct named *ret)
{
    struct err ignored; /* of what is not replicated, for the others are open */
    _cleanup_strv_ struct strv all = STRV_INIT;
    guest_volumes_named(s->config, &ret->volids);
    env_guest_volumes(s->env, s->config, VOLUMES_LENIENT, &all, &ignored);
    env_guest_volumes(s->env, s->config, VOLUMES_CLEANUP, &all, &ignored);
    for (size_t i = 0; i < all.n; i++) {
        struct env_volume v = {0};
        if (env_volume_open(s->env, all.v[i], s->job->guest, &v, &ignored) == 0)
            places_add(&ret->here, v.volume, all.v[i], &ignored);
        env_volume_close(&v);
    }
}

static bool is_on_node(const struct sync *s, const char *volid)
{
    struct err ignored;
    _cleanup_free_ char *id = NULL;
    _cleanup_free_ char *name = NULL;
    const struct storage *one =
        volid_split(volid, &id, &name, &ignored) < 0 ? NULL : storages_find(&s->env->storages, id);
    return one && storage_enabled_on(one, s->env->settings.node) && volume_type_supported(one->type, name);
}

/* 1: the image is here; *is_named: and the configuration names it, under whatever name. */
static int look_here(struct sync *s, const struct places *named, const char *here, bool *is_named,
                     struct err *e)
{
    struct env_volume v = {0};
    struct volume_info info;
    const char *other;
    if (!is_on_node(s, here))
        return 0;
    int r = env_volume_open(s->env, here, s->job->guest, &v, e) < 0 ? -1 : volume_info(v.volume, &info, e);
    int found = r == 0 && info.exists ? places_find(named, v.volume, &other, e) : r;
    env_volume_close(&v);
    *is_named = found > 0;
    return found < 0 ? -1 : info.exists;
}

/* Why the replica stays, malloc'ed; NULL: it goes. here: what the stale one is called on this node; listed:
 * and the configuration has that name. lost: an image that is here is no reason. */
static char *why_held(struct sync *s, const struct places *named, const char *here, bool listed, bool lost)
{
    struct err problem = {0};
    bool is_named = false, missed = strv_has(&s->was.unseen, here);
    if (lost && !missed && !listed)
        return NULL;
    int there = look_here(s, named, here, &is_named, &problem);
    if (there > 0)
        return is_named ? NULL
                        : xasprintf("the image '%s' is still on this node (where it is removed, too, the "
                                    "next run removes the replica)",
                                    here);
    if (there == 0 && !missed)
        return listed ? xasprintf("the guest's configuration names '%s', which is not on this node, so that "
                                  "this may be all that there is of it",
                                  here)
                      : NULL;
    strv_add_once(&s->known.unseen, here);
    return there < 0 ? xasprintf("whether '%s' is still on this node cannot be seen (%s)", here, problem.text)
                     : xasprintf("'%s' was missing on this node when the configuration named it last, so "
                                 "that this may be the only copy",
                                 here);
}

/* What the configuration names doctor does not free. */
static char *way_out(const struct sync *s, const char *there, bool listed)
{
    _cleanup_free_ char *out =
        listed && !s->job->remove
            ? xstrdup("the next run removes it")
            : xasprintf("on that node: 'pvesr doctor --guest %" PRIu32 " --free %s'", s->job->guest, there);
    return xasprintf(
        "%s%s", listed ? "Bring it here, or take it out of the configuration, and " : "If nobody needs it, ",
        out);
}

/* Takes `why` over. */
static void hold(struct sync *s, const char *there, const char *here, bool listed, char *why)
{
    const char *although = s->job->remove ? "the job is removed"
                           : listed       ? "it is replicated no more"
                                          : "the guest's configuration names it no more";
    _cleanup_free_ char *way = way_out(s, there, listed);
    strv_add(&s->held, there);
    strv_add(&s->held_here, here);
    strv_addf(&s->notes, "%s keeps %s, which %s has no more", s->target->node.name, there,
              listed ? "this node" : "the guest");
    strv_addf(&s->held_why, "WARNING: '%s' on node '%s' stays, although %s: %s. %s", there,
              s->target->node.name, although, why, way);
    free(why);
}

static void tell_former(const struct sync *s)
{
    for (size_t i = 0; i < s->peer.former.n; i++)
        joblog_add(s->log,
                   "WARNING: '%s' on the target is of a former job '%s', older than this one: it stays. If "
                   "nobody needs it, on that node: 'pvesr doctor --guest %" PRIu32 " --free %s'",
                   s->peer.former.v[i], s->job->id, s->job->guest, s->peer.former.v[i]);
}

void sync_hold(struct sync *s, bool lost)
{
    struct named named = {0};
    tell_former(s);
    if (s->stale.n)
        find_named(s, &named);
    for (size_t i = s->stale.n; i-- > 0;) {
        struct err ignored; /* what has no name here is not here */
        const char *there = s->stale.v[i];
        _cleanup_free_ char *here = storagemap_volid(&s->map, &s->env->storages, there, &ignored);
        bool listed = here && strv_has(&named.volids, here);
        char *why = here ? why_held(s, &named.here, here, listed, lost) : NULL;
        if (!why)
            continue;
        hold(s, there, here, listed, why);
        strv_remove(&s->stale, i);
    }
    strv_release(&named.volids);
    places_release(&named.here);
    for (size_t i = 0; i < s->held.n; i++)
        sync_warn(s, s->held_why.v[i]);
}
