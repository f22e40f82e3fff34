#include "run/target/replica.h"

#include "base/clock.h"
#include "base/mem.h"
#include "run/snapshot.h"
#include "volume/name.h"

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

int replica_of_job(struct volume *v, const char *job_id, bool *ret, struct err *e)
{
    char owner[32] = "", base[SNAPSHOT_ID_LEN + 1] = "";
    struct snapshots snapshots = {0};
    if (volume_replica(v, owner, base, e) < 0 || volume_snapshots(v, &snapshots, e) < 0)
        return -1;
    *ret = strcmp(owner, job_id) == 0;
    for (size_t i = 0; i < snapshots.n; i++)
        *ret = *ret || snapshot_is_of_job(snapshots.v[i].name, job_id);
    snapshots_release(&snapshots);
    return 0;
}

/* The last part of a linked clone's name is all that its dataset has. */
static const char *image_of(const char *volid, size_t *storage)
{
    const char *name = strchr(volid, ':');
    *storage = name ? (size_t)(name - volid) : 0;
    name = name ? name + 1 : volid;
    return volume_name_linked(name) ? strchr(name, '/') + 1 : name;
}

const char *replica_named(const struct strv *volids, const char *volid)
{
    size_t n, k;
    const char *image = image_of(volid, &n);
    for (size_t i = 0; i < volids->n; i++)
        if (strcmp(image_of(volids->v[i], &k), image) == 0 && n == k && memcmp(volids->v[i], volid, n) == 0)
            return volids->v[i];
    return NULL;
}

static int scan_storage(struct env *env, const struct storage *s, const char *job_id, uint32_t guest,
                        const struct strv *wanted, struct strv *ret, struct err *e)
{
    struct env_store store;
    _cleanup_strv_ struct strv names = STRV_INIT;
    if (env_store(env, s->id, &store, e) < 0)
        return -1;
    int r = volume_list(&store.store, guest, &names, e);
    for (size_t i = 0; r == 0 && i < names.n; i++) {
        _cleanup_free_ char *volid = xasprintf("%s:%s", s->id, names.v[i]);
        bool ours = false;
        if (replica_named(wanted, volid))
            continue;
        _cleanup_(volume_freep) struct volume *v = volume_open(&store.store, names.v[i], e);
        if (!v || replica_of_job(v, job_id, &ours, e) < 0)
            r = -1;
        else if (ours)
            strv_add_once(ret, volid);
    }
    env_store_release(&store);
    return r;
}

int replica_stale(struct env *env, const char *job_id, uint32_t guest, const struct strv *wanted,
                  const struct strv *scan, struct strv *ret, struct err *e)
{
    if (env_storages(env, e) < 0)
        return -1;
    for (size_t i = 0; i < scan->n; i++) {
        const struct storage *s = storages_find(&env->storages, scan->v[i]);
        if (!s)
            return err_set(e, ERR_CONFIG, 0, "storage '%s' does not exist", scan->v[i]);
        /* on a shared storage there are no replicas: what looks like one is the guest's own */
        if (s->shared || !storage_enabled_on(s, env->settings.node))
            continue;
        if (!volume_type_known(s->type))
            return err_set(e, ERR_CONFIG, 0, "storage '%s' is not replicatable (type '%s')", s->id, s->type);
        if (scan_storage(env, s, job_id, guest, wanted, ret, e) < 0)
            return -1;
    }
    return 0;
}

int replica_replace(struct volume *v, const char *job_id, struct err *e)
{
    struct replica r = {0};
    if (replica_look(v, &r, e) < 0)
        return -1;
    bool ours = !r.written && (!r.info.exists || strcmp(r.owner, job_id) == 0);
    for (size_t i = 0; i < r.snapshots.n; i++)
        ours = ours && r.snapshots.v[i].flags & SNAPSHOT_RECEIVED;
    replica_release(&r);
    if (!ours)
        return err_set(e, ERR_DATA, 0,
                       "the target's volume is not an unfinished copy of job '%s': it is not replaced",
                       job_id);
    return volume_destroy(v, e);
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

/* Snapshots that were made on this node may be nowhere else. */
static int keep_own_snapshots(struct volume *v, struct err *e)
{
    struct snapshots all = {0};
    int r = volume_snapshots(v, &all, e);
    for (size_t i = 0; r == 0 && i < all.n; i++) {
        struct snapshot *s = &all.v[i];
        char to[SNAPSHOT_NAME_MAX + 1];
        if (s->flags & SNAPSHOT_RECEIVED || snapshot_is_aside(s->name))
            continue;
        unsigned n = 1;
        do
            aside_name(s->name, n++, to);
        while (snapshots_find(&all, to));
        r = volume_snapshot_rename(v, s->name, to, e);
        strcpy(s->name, to);
    }
    snapshots_release(&all);
    return r;
}

int replica_drop(struct env *env, const char *volid, const char *job_id, uint32_t guest, struct err *e)
{
    struct env_volume v;
    char since[SNAPSHOT_NAME_MAX + 1];
    char name[SNAPSHOT_NAME_MAX + 1];
    if (env_volume_open(env, volid, guest, &v, e) < 0)
        return -1;
    volume_idle(v.volume);
    int written = volume_written(v.volume, since, e);
    if (written == 0)
        written = was_original(v.volume, e);
    snprintf(name, sizeof name, ASIDE_PREFIX "%s_%" PRId64, job_id, clock_epoch());
    int r = written < 0 || (written && volume_keep_aside(v.volume, name, e) < 0) ||
                    keep_own_snapshots(v.volume, e) < 0
                ? -1
                : volume_destroy(v.volume, e);
    env_volume_close(&v);
    return r < 0 ? err_wrap(e, "stale volume '%s'", volid) : 0;
}

int replica_prune(struct volume *v, const char *name, const char *id, uint32_t guest, struct err *e)
{
    struct snapshots snapshots = {0};
    if (volume_snapshots(v, &snapshots, e) < 0)
        return -1;
    char owner[32], base[SNAPSHOT_ID_LEN + 1];
    if (volume_replica(v, owner, base, e) < 0) {
        snapshots_release(&snapshots);
        return -1;
    }
    const struct snapshot *s = snapshots_find_id(&snapshots, id);
    int r = 0;
    if (s && strcmp(s->id, base) == 0)
        r = err_set(e, ERR_DATA, 0,
                    "snapshot '%s' is the restore point that the replica shows: it is not removed", s->name);
    else if (s && snapshot_is_aside(s->name))
        r = err_set(e, ERR_DATA, 0, "snapshot '%s' is kept aside: it is not removed", s->name);
    else if (s && !snapshot_is_of_guest(s->name, guest) && !(s->flags & SNAPSHOT_RECEIVED))
        r = err_set(e, ERR_DATA, 0, "snapshot '%s' was not made by replication: it is not removed", s->name);
    else if (s)
        r = volume_snapshot_destroy(v, name, id, e);
    snapshots_release(&snapshots);
    return r < 0 ? -1 : 0;
}
