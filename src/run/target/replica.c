#include "run/target/replica.h"

#include "base/clock.h"
#include "base/mem.h"
#include "cluster/jobs.h"
#include "run/places.h"
#include "run/snapshot.h"
#include "run/target/policy.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

int replica_look(struct volume *v, struct replica *ret, struct err *e)
{
    struct replica r = {0};
    char since[SNAPSHOT_NAME_MAX + 1];
    if (volume_tidy(v, e) < 0 || volume_info(v, &r.info, e) < 0)
        goto fail;
    if (r.info.exists) {
        /* before the snapshots: a plain file whose times changed, but not its bytes, is recognised again, and
         * its restore point is readable again */
        int written = volume_written(v, since, e);
        if (written < 0 || volume_replica(v, r.owner, r.base_id, e) < 0)
            goto fail;
        r.written = written;
    }
    int untold = volume_snapshots(v, &r.snapshots, e) < 0 ? -1 : volume_seals(v, &r.snapshots, true, e);
    if (untold < 0 || stage_info(v, &r.stage, e) < 0)
        goto fail;
    r.info.proves = r.info.proves && !untold;
    if (volume_large(v, &r.snapshots, &r.stage.large, e) < 0)
        goto fail;
    *ret = r;
    return 0;
fail:
    replica_release(&r);
    return -1;
}

int replica_of_job(struct volume *v, const char *job_id, bool by_name, bool *ret, struct err *e)
{
    char owner[32] = "", base[SNAPSHOT_ID_LEN + 1] = "";
    struct snapshots snapshots = {0};
    if (volume_replica(v, owner, base, e) < 0 || volume_snapshots(v, &snapshots, e) < 0)
        return -1;
    *ret = strcmp(owner, job_id) == 0;
    for (size_t i = 0; i < snapshots.n; i++)
        *ret =
            *ret ||
            (snapshot_is_of_job(snapshots.v[i].name, job_id) &&
             (by_name ? !(snapshots.v[i].flags & SNAPSHOT_STRANGE) : snapshots.v[i].flags & SNAPSHOT_OURS));
    snapshots_release(&snapshots);
    return 0;
}

/* 1: what it shows is a point of the job that was received, and nobody renamed it; nobody wrote to it since,
 * the caller says. *point: that one. One without marks was taken by Proxmox VE's own tool: whoever received
 * it, the source had all that is older, too (its stream is one of all, and its receive removes what is not in
 * that). */
static int shows_received(struct volume *v, const char *job_id, const char *since, struct snapshot *point,
                          struct err *e)
{
    _cleanup_snapshots_ struct snapshots all = {0};
    struct volume_info info;
    if (!snapshot_is_of_job(since, job_id))
        return 0;
    if (volume_info(v, &info, e) < 0 || volume_snapshots(v, &all, e) < 0)
        return -1;
    const struct snapshot *s = snapshots_find(&all, since);
    if (!info.one_line || info.strange || !s || s->flags & (SNAPSHOT_STRANGE | SNAPSHOT_APART) ||
        (s->flags & SNAPSHOT_OURS && !(s->flags & SNAPSHOT_RECEIVED)))
        return 0;
    *point = *s;
    return 1;
}

/* ---- the volumes of a conversation ---- */

/* Asked anew each time: a volume that was made meanwhile is somewhere only then. */
static int places_of(const struct replicas *r, struct places *ret, struct err *e)
{
    for (size_t i = 0; i < r->n; i++) {
        const char *other = NULL;
        int is = places_find(ret, r->v[i].volume, &other, e);
        if (is > 0)
            err_set(e, ERR_CONFIG, 0,
                    "volumes '%s' and '%s' are one and the same here, two names of one place: map one of "
                    "them to another storage with --target-storage, or correct storage.cfg",
                    other, r->v[i].volid);
        if (is != 0 || places_add(ret, r->v[i].volume, r->v[i].volid, e) < 0)
            return -1;
    }
    return 0;
}

static int refuse_kept(struct volume *v, const char *volid, const struct job *job, struct err *e)
{
    _cleanup_free_ char *remedy = volume_keeper_remedy(v);
    return err_set(
        e, ERR_CONFIG, 0,
        "volume '%s' is the replica of job '%s' on node '%s', which sees the same storage: give each "
        "node a place of its own, or delete one of the two jobs with --keep; if that node does not "
        "see it any more: %s",
        volid, job->id, job->target, remedy ? remedy : "destroy it there");
}

/* Another job of the guest replicates to the node that keeps it: nothing of it is this node's. */
static int check_keeper(struct env *env, struct volume *v, const char *volid, uint32_t guest, struct err *e)
{
    char keeper[VOLUME_KEEPER_MAX + 1];
    struct jobs jobs;
    if (volume_keeper(v, keeper, e) < 0)
        return -1;
    if (!*keeper || strcmp(keeper, env->settings.node) == 0)
        return 0;
    if (jobs_load(env->tree, &jobs, e) < 0)
        return -1;
    int r = 0;
    for (size_t i = 0; r == 0 && i < jobs.n; i++)
        if (jobs.v[i].guest == guest && strcmp(jobs.v[i].target, keeper) == 0)
            r = refuse_kept(v, volid, &jobs.v[i], e);
    jobs_release(&jobs);
    return r;
}

int replicas_open(struct env *env, const struct strv *volids, uint32_t guest, struct replicas *ret,
                  struct err *e)
{
    _cleanup_places_ struct places places = {0};
    ret->v = xcalloc(volids->n + 1, sizeof *ret->v);
    for (size_t i = 0; i < volids->n; i++) {
        if (env_volume_open(env, volids->v[i], guest, &ret->v[i], e) < 0)
            return -1;
        ret->n++;
        volume_idle(ret->v[i].volume);
    }
    /* once all are open: a driver may look at all of them at once */
    for (size_t i = 0; i < ret->n; i++) {
        if (replicas_check_sign(ret, ret->v[i].volume, volids->v[i], e) < 0 ||
            check_keeper(env, ret->v[i].volume, volids->v[i], guest, e) < 0)
            return -1;
    }
    return places_of(ret, &places, e);
}

void replicas_close(struct replicas *r)
{
    for (size_t i = 0; i < r->n; i++)
        env_volume_close(&r->v[i]);
    free(r->v);
    strv_release(&r->signs);
    *r = (struct replicas){0};
}

struct env_volume *replicas_find(const struct replicas *r, const char *volid, struct err *e)
{
    for (size_t i = 0; i < r->n; i++)
        if (strcmp(r->v[i].volid, volid) == 0)
            return &r->v[i];
    err_set(e, ERR_DATA, 0, "volume '%s' was not opened for this run", volid);
    return NULL;
}

int replicas_check_sign(const struct replicas *r, struct volume *v, const char *volid, struct err *e)
{
    for (size_t i = 0; i < r->signs.n; i++) {
        int seen = volume_sign_seen(v, r->signs.v[i], e);
        if (seen > 0)
            err_set(
                e, ERR_CONFIG, 0,
                "volume '%s' lies in the very storage that the guest's own disks are in, which both nodes "
                "see: mark it 'shared 1' in storage.cfg, or give each node a place of its own",
                volid);
        if (seen != 0)
            return -1;
    }
    return 0;
}

int replicas_have(const struct replicas *r, struct volume *v, const char **volid, struct err *e)
{
    struct volume_place place, other;
    if (volume_place(v, &place, e) < 0)
        return -1;
    for (size_t i = 0; i < r->n; i++) {
        if (volume_place(r->v[i].volume, &other, e) < 0)
            return -1;
        if (volume_place_same(&other, &place)) {
            *volid = r->v[i].volid;
            return 1;
        }
    }
    return 0;
}

/* ---- what nobody wants any more ---- */

struct search {
    struct env *env;
    uint32_t guest;
    const char *job_id;
    const struct replicas *wanted;
    struct places seen; /* wanted, or looked at already */
    struct strv *stale;
    struct snapshots points; /* of the job, on all of them */
    struct strv unmarked;    /* what Proxmox VE's own tool may have received, and… */
    struct snapshots shown;  /* …what each of them shows */
};

static void search_release(struct search *s)
{
    places_release(&s->seen);
    snapshots_release(&s->points);
    strv_release(&s->unmarked);
    snapshots_release(&s->shown);
}

static int note_points(struct search *s, struct volume *v, struct err *e)
{
    _cleanup_snapshots_ struct snapshots all = {0};
    if (volume_snapshots(v, &all, e) < 0)
        return -1;
    for (size_t i = 0; i < all.n; i++)
        if (snapshot_is_of_job(all.v[i].name, s->job_id))
            snapshots_add(&s->points, &all.v[i]);
    return 0;
}

static int look_for_unmarked(struct search *s, struct volume *v, const char *volid, struct err *e)
{
    char since[SNAPSHOT_NAME_MAX + 1];
    struct snapshot point;
    volume_idle(v);
    int written = volume_written(v, since, e);
    int received = written == 0 ? shows_received(v, s->job_id, since, &point, e) : 0;
    if (received > 0 && replicas_check_sign(s->wanted, v, volid, e) < 0)
        return -1;
    if (received > 0) {
        strv_add(&s->unmarked, volid);
        snapshots_add(&s->shown, &point);
    }
    return written < 0 || received < 0 ? -1 : 0;
}

static int look_for_stale(struct search *s, struct volume *v, const char *volid, struct err *e)
{
    bool ours = false, named = false;
    int r = places_add(&s->seen, v, volid, e);
    if (r != 0)
        return r < 0 ? -1 : 0;
    if (replica_of_job(v, s->job_id, false, &ours, e) < 0 || note_points(s, v, e) < 0 ||
        (!ours && replica_of_job(v, s->job_id, true, &named, e) < 0) ||
        (named && look_for_unmarked(s, v, volid, e) < 0))
        return -1;
    if (ours &&
        (replicas_check_sign(s->wanted, v, volid, e) < 0 || check_keeper(s->env, v, volid, s->guest, e) < 0))
        return -1;
    if (ours)
        strv_add_once(s->stale, volid);
    return 0;
}

static bool is_replica(const struct search *s, const struct snapshot *shown)
{
    struct policy_unmarked facts = {0};
    for (size_t i = 0; i < s->points.n; i++) {
        const struct snapshot *p = &s->points.v[i];
        facts.same_id += strcmp(p->id, shown->id) == 0;
        facts.same_name += strcmp(p->name, shown->name) == 0;
        facts.newer += snapshot_epoch(p->name) > snapshot_epoch(shown->name);
    }
    return policy_is_replica(&facts);
}

static int judge_unmarked(struct search *s, struct err *e)
{
    for (size_t i = 0; s->unmarked.n && i < s->wanted->n; i++)
        if (note_points(s, s->wanted->v[i].volume, e) < 0)
            return -1;
    for (size_t i = 0; i < s->unmarked.n; i++)
        if (is_replica(s, &s->shown.v[i]))
            strv_add_once(s->stale, s->unmarked.v[i]);
    return 0;
}

static int scan_storage(struct env *env, const struct storage *storage, uint32_t guest, struct search *s,
                        struct err *e)
{
    struct env_store store;
    _cleanup_strv_ struct strv names = STRV_INIT;
    if (env_store(env, storage->id, &store, e) < 0)
        return -1;
    int r = volume_list(&store.store, guest, &names, e);
    for (size_t i = 0; r == 0 && i < names.n; i++) {
        _cleanup_free_ char *volid = xasprintf("%s:%s", storage->id, names.v[i]);
        _cleanup_(volume_freep) struct volume *v = volume_open(&store.store, names.v[i], e);
        r = v ? look_for_stale(s, v, volid, e) : -1;
    }
    env_store_release(&store);
    return r;
}

static int scan_storages(struct env *env, uint32_t guest, const struct strv *scan, struct search *search,
                         struct err *e)
{
    for (size_t i = 0; i < scan->n; i++) {
        const struct storage *s = storages_find(&env->storages, scan->v[i]);
        if (!s)
            return err_set(e, ERR_CONFIG, 0, "storage '%s' does not exist", scan->v[i]);
        /* on a shared storage there are no replicas: what looks like one is the guest's own */
        if (s->shared || !storage_enabled_on(s, env->settings.node))
            continue;
        if (!volume_type_known(s->type))
            return err_set(e, ERR_CONFIG, 0, "storage '%s' is not replicatable (type '%s')", s->id, s->type);
        if (scan_storage(env, s, guest, search, e) < 0)
            return -1;
    }
    return 0;
}

int replica_stale(struct env *env, const char *job_id, uint32_t guest, const struct replicas *wanted,
                  const struct strv *scan, struct strv *ret, struct err *e)
{
    struct search search = {.env = env, .guest = guest, .job_id = job_id, .wanted = wanted, .stale = ret};
    int r = env_storages(env, e) < 0 || places_of(wanted, &search.seen, e) < 0 ||
                    scan_storages(env, guest, scan, &search, e) < 0 || judge_unmarked(&search, e) < 0
                ? -1
                : 0;
    search_release(&search);
    return r;
}

/* 1: it is a replica without a point of the job that is as young as `since`. What was no replica, but the
 * guest's own, is none: replica_drop keeps it aside. */
static int is_former(struct env *env, const char *volid, const char *job_id, uint32_t guest, int64_t since,
                     struct err *e)
{
    struct env_volume v = {0};
    char owner[32] = "", base[SNAPSHOT_ID_LEN + 1];
    _cleanup_snapshots_ struct snapshots all = {0};
    int r = env_volume_open(env, volid, guest, &v, e) < 0 || volume_replica(v.volume, owner, base, e) < 0
                ? -1
                : volume_snapshots(v.volume, &all, e);
    env_volume_close(&v);
    bool young = !*owner, any = false; /* without any it is but the begin of a first copy */
    for (size_t i = 0; i < all.n; i++)
        if (snapshot_is_of_job(all.v[i].name, job_id)) {
            any = true;
            young = young || snapshot_epoch(all.v[i].name) >= since;
        }
    return r < 0 ? -1 : any && !young;
}

int replica_former(struct env *env, const char *job_id, uint32_t guest, int64_t since, struct strv *stale,
                   struct strv *former, struct err *e)
{
    for (size_t i = stale->n; i-- > 0;) {
        int former_one = is_former(env, stale->v[i], job_id, guest, since, e);
        if (former_one < 0)
            return -1;
        if (!former_one)
            continue;
        strv_add(former, stale->v[i]);
        strv_remove(stale, i);
    }
    return 0;
}

int replica_look_again(struct volume *v, const struct replica *before, struct snapshots *ret, struct err *e)
{
    int r = volume_snapshots(v, ret, e);
    return r < 0 || !before->info.proves ? r : volume_seals(v, ret, true, e);
}

int replica_replace(struct env_volume *v, const char *job_id, struct err *e)
{
    struct replica r = {0};
    if (replica_look(v->volume, &r, e) < 0)
        return -1;
    const struct snapshot *shown = *r.base_id ? snapshots_find_id(&r.snapshots, r.base_id) : NULL;
    struct policy_replace facts = {.volid = v->volid,
                                   .job = job_id,
                                   .exists = r.info.exists,
                                   .written = r.written,
                                   .owner = r.owner,
                                   .shows = shown ? shown->name : "",
                                   .received = true};
    for (size_t i = 0; i < r.snapshots.n; i++)
        facts.received = facts.received && r.snapshots.v[i].flags & SNAPSHOT_RECEIVED;
    int allowed = policy_replace(&facts, e);
    replica_release(&r);
    return allowed < 0 ? -1 : volume_destroy(v->volume, e);
}

/* 1: the live volume is there and no run of a job ever made it. */
static int was_original(struct volume *v, struct err *e)
{
    struct volume_info info;
    char owner[32], base[SNAPSHOT_ID_LEN + 1];
    if (volume_info(v, &info, e) < 0 || volume_replica(v, owner, base, e) < 0)
        return -1;
    return info.exists && !owner[0];
}

/* Whose volume it was. */
struct own {
    uint32_t guest;
    struct strv snapshots; /* in the guest's configuration */
    uint64_t brought;      /* up to this seq all came from the source (shows_received) */
};

/* Snapshots of the guest or of runs that were made on this node may be nowhere else. Others are somebody's:
 * they stay as they are. */
static int keep_own_snapshots(struct volume *v, const char *volid, const struct own *own, struct strv *kept,
                              struct err *e)
{
    struct snapshots all = {0};
    _cleanup_strv_ struct strv given = STRV_INIT;
    int r = volume_snapshots(v, &all, e);
    for (size_t i = 0; r == 0 && i < all.n; i++) {
        const struct snapshot *s = &all.v[i];
        char to[SNAPSHOT_NAME_MAX + 1];
        if (s->flags & (SNAPSHOT_RECEIVED | SNAPSHOT_STRANGE) || snapshot_is_aside(s->name) ||
            (own->brought && s->seq <= own->brought) ||
            !(s->flags & SNAPSHOT_OURS || snapshot_is_of_guest(s->name, own->guest) ||
              strv_has(&own->snapshots, s->name)))
            continue;
        unsigned n = 1;
        do
            aside_name(s->name, n++, to);
        while (snapshots_find(&all, to) || strv_has(&given, to));
        r = volume_snapshot_rename(v, s->name, to, e);
        if (r == 0 && kept)
            strv_addf(kept, "'%s' of %s was made on this node: it is kept as '%s'", s->name, volid, to);
        strv_add(&given, to);
    }
    snapshots_release(&all);
    return r;
}

/* 1: it is kept, by this name; 0: a plain file that has the name of another aside already, which is what
 * somebody goes on writing to. */
static int keep_aside(struct volume *v, const char *name, struct err *e)
{
    _cleanup_snapshots_ struct snapshots all = {0};
    if (volume_keep_aside(v, name, e) < 0 || volume_snapshots(v, &all, e) < 0)
        return -1;
    return snapshots_find(&all, name) != NULL;
}

static int drop(struct volume *v, const char *volid, const char *job_id, struct own *own, struct strv *kept,
                struct err *e)
{
    char since[SNAPSHOT_NAME_MAX + 1];
    char name[SNAPSHOT_NAME_MAX + 1], late_name[SNAPSHOT_NAME_MAX + 1];
    struct snapshot point = {0};
    volume_idle(v);
    if (volume_alone(v, e) < 0 || volume_check_unused(v, e) < 0)
        return -1;
    int written = volume_written(v, since, e);
    int received = written == 0 ? shows_received(v, job_id, since, &point, e) : 0;
    if (received < 0)
        return -1;
    if (received && !(point.flags & SNAPSHOT_RECEIVED))
        own->brought = point.seq;
    if (written == 0 && !received)
        written = was_original(v, e);
    snprintf(name, sizeof name, ASIDE_PREFIX "%s_%" PRId64, job_id, clock_epoch());
    if (written < 0 || (written && (written = keep_aside(v, name, e)) < 0))
        return -1;
    int late = keep_own_snapshots(v, volid, own, kept, e) < 0 ? -1 : volume_written(v, since, e);
    /* all that may have taken long; what fails now would never be found stale again */
    snprintf(late_name, sizeof late_name, ASIDE_PREFIX "%s_%" PRId64 "_late", job_id, clock_epoch());
    if (late < 0 || (late && (late = keep_aside(v, late_name, e)) < 0))
        return -1;
    if (written && kept)
        strv_addf(kept, "what %s has that no restore point has is kept as '%s'", volid, name);
    if (late && kept)
        strv_addf(kept, "what was written to %s meanwhile is kept as '%s'", volid, late_name);
    return volume_destroy(v, e);
}

/* A guest of which nothing is known any more has no snapshots of its own. */
static int drop_of_guest(struct env *env, struct volume *v, const char *volid, const char *job_id,
                         uint32_t guest, struct strv *kept, struct err *e)
{
    struct own own = {.guest = guest};
    struct err ignored;
    const struct guest_entry *g = env_guest(env, guest, &ignored);
    struct guest_config *c = g ? env_guest_config(env, g, &ignored) : NULL;
    for (size_t i = 0; c && i < guest_config_snapshots(c)->n; i++)
        strv_add(&own.snapshots, guest_config_snapshots(c)->v[i]);
    guest_config_free(c);
    int r = drop(v, volid, job_id, &own, kept, e);
    strv_release(&own.snapshots);
    return r;
}

/* Others may have gone before, and taken long. */
static int check_not_ours(struct env *env, uint32_t guest, struct err *e)
{
    if (env_guest_again(env, guest, e) < 0)
        return -1;
    const struct guest_entry *g = guests_find(&env->guests, guest);
    return policy_guest(
        &(struct policy_guest){.guest = guest, .self = env->settings.node, .owner = g ? g->node : NULL}, e);
}

int replica_drop(struct env *env, const char *volid, const char *job_id, uint32_t guest,
                 const struct replicas *const wanted[], struct strv *kept, struct err *e)
{
    const char *other;
    struct env_volume v = {0};
    int r = check_not_ours(env, guest, e) < 0 ? -1 : env_volume_open(env, volid, guest, &v, e);
    for (size_t i = 0; r == 0 && wanted[i]; i++)
        r = replicas_have(wanted[i], v.volume, &other, e);
    if (r >= 0)
        r = policy_drop(&(struct policy_drop){volid, true, r > 0 ? other : NULL}, e);
    if (r == 0)
        r = drop_of_guest(env, v.volume, volid, job_id, guest, kept, e);
    env_volume_close(&v);
    return r < 0 ? err_wrap(e, "stale volume '%s'", volid) : 0;
}

int replica_prune(struct volume *v, const struct snapshots *go, uint32_t guest, volume_destroyed_fn *told,
                  void *arg, struct err *e)
{
    _cleanup_snapshots_ struct snapshots all = {0}, may = {0};
    char owner[32], base[SNAPSHOT_ID_LEN + 1];
    if (!go->n)
        return 0;
    if (volume_snapshots(v, &all, e) < 0 || volume_replica(v, owner, base, e) < 0)
        return -1;
    for (size_t i = 0; i < go->n; i++) {
        struct err problem = {0};
        const struct snapshot *s = snapshots_find_id(&all, go->v[i].id);
        int r = s ? policy_prune(&(struct policy_prune){guest, s, base}, &problem) : 1;
        if (r == 0)
            snapshots_add(&may, &go->v[i]);
        else
            told(&go->v[i], r, &problem, arg);
    }
    return volume_snapshots_destroy(v, &may, told, arg, e);
}
