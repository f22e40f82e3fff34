#include "run/target/replica.h"

#include "base/clock.h"
#include "base/mem.h"
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
    if (volume_snapshots(v, &r.snapshots, e) < 0 || stage_info(v, &r.stage, e) < 0)
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
        if (replicas_check_sign(ret, ret->v[i].volume, volids->v[i], e) < 0)
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
    const char *job_id;
    const struct replicas *wanted;
    struct places seen; /* wanted, or looked at already */
    struct strv *stale;
};

static int look_for_stale(struct search *s, struct volume *v, const char *volid, struct err *e)
{
    bool ours = false;
    int r = places_add(&s->seen, v, volid, e);
    if (r == 0)
        r = replica_of_job(v, s->job_id, false, &ours, e);
    if (ours && replicas_check_sign(s->wanted, v, volid, e) < 0)
        return -1;
    if (ours)
        strv_add_once(s->stale, volid);
    return r < 0 ? -1 : 0;
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
    struct search search = {.job_id = job_id, .wanted = wanted, .stale = ret};
    int r = env_storages(env, e) < 0 || places_of(wanted, &search.seen, e) < 0 ||
                    scan_storages(env, guest, scan, &search, e) < 0
                ? -1
                : 0;
    places_release(&search.seen);
    return r;
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

static int drop(struct volume *v, const char *volid, const char *job_id, const struct own *own,
                struct strv *kept, struct err *e)
{
    char since[SNAPSHOT_NAME_MAX + 1];
    char name[SNAPSHOT_NAME_MAX + 1];
    volume_idle(v);
    if (volume_alone(v, e) < 0 || volume_check_unused(v, e) < 0)
        return -1;
    int written = volume_written(v, since, e);
    if (written == 0)
        written = was_original(v, e);
    snprintf(name, sizeof name, ASIDE_PREFIX "%s_%" PRId64, job_id, clock_epoch());
    if (written < 0 || (written && volume_keep_aside(v, name, e) < 0))
        return -1;
    if (written && kept)
        strv_addf(kept, "what %s has that no restore point has is kept as '%s'", volid, name);
    if (keep_own_snapshots(v, volid, own, kept, e) < 0)
        return -1;
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

int replica_drop(struct env *env, const char *volid, const char *job_id, uint32_t guest,
                 const struct replicas *wanted, struct strv *kept, struct err *e)
{
    const char *other;
    struct env_volume v = {0};
    int r = env_volume_open(env, volid, guest, &v, e);
    if (r == 0)
        r = replicas_have(wanted, v.volume, &other, e);
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
