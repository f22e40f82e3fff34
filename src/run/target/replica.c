#include "run/target/replica.h"

#include "base/mem.h"
#include "cluster/jobs.h"
#include "run/drop.h"
#include "run/places.h"
#include "run/snapshot.h"
#include "run/target/policy.h"

#include <inttypes.h>
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
            drop_check_keeper(env, ret->v[i].volume, volids->v[i], guest, e) < 0)
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
    int received = written == 0 ? drop_shows_received(v, s->job_id, since, &point, e) : 0;
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
    if (ours && (replicas_check_sign(s->wanted, v, volid, e) < 0 ||
                 drop_check_keeper(s->env, v, volid, s->guest, e) < 0))
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
        r = drop_volume(env, v.volume, volid, job_id, guest, kept, e);
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
