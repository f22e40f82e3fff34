#include "run/left-out.h"

#include "base/mem.h"
#include "base/mountinfo.h"
#include "run/snapshot.h"
#include "volume/name.h"

#include <stdio.h>
#include <string.h>

/* ---- images of other guests ---- */

static bool has_job(const struct jobs *jobs, uint32_t guest)
{
    size_t end;
    for (size_t i = jobs_of_guest(jobs, guest, &end); i < end; i++)
        if (jobs->v[i].remove == REMOVE_NOT)
            return true;
    return false;
}

/* By the guest whose id the image bears: two guests may have one disk. */
static bool is_carried(struct env *env, const struct jobs *jobs, const char *volid)
{
    struct err ignored;
    _cleanup_strv_ struct strv volids = STRV_INIT;
    const char *name = strchr(volid, ':');
    const struct guest_entry *owner = name ? guests_find(&env->guests, volume_name_owner(name + 1)) : NULL;
    if (!owner || strcmp(owner->node, env->settings.node) != 0 || !has_job(jobs, owner->id))
        return false;
    struct guest_config *g = env_guest_config(env, owner, &ignored);
    bool carried =
        g && env_guest_volumes(env, g, VOLUMES_LENIENT, &volids, &ignored) == 0 && strv_has(&volids, volid);
    guest_config_free(g);
    return carried;
}

int left_out_foreign(struct env *env, const struct jobs *jobs, const struct guest_config *g, bool all,
                     struct strv *ret, struct err *e)
{
    _cleanup_strv_ struct strv shared = STRV_INIT, foreign = STRV_INIT;
    if (env_storages(env, e) < 0 || env_guests(env, e) < 0)
        return -1;
    guest_volumes_left_out(g, &env->storages, all, &shared, &foreign);
    for (size_t i = 0; i < foreign.n; i++)
        if (!is_carried(env, jobs, foreign.v[i]))
            strv_add(ret, foreign.v[i]);
    return 0;
}

/* ---- shared storages ---- */

bool left_out_is_remote(struct env *env, const char *volid)
{
    struct err ignored;
    struct env_store store;
    _cleanup_free_ char *id = xasprintf("%.*s", (int)strcspn(volid, ":"), volid);
    if (env_store(env, id, &store, &ignored) < 0)
        return false;
    FILE *mounts = store.path ? fopen("/proc/self/mountinfo", "re") : NULL;
    bool remote = mounts && mountinfo_is_remote(mounts, store.path);
    if (mounts)
        fclose(mounts);
    env_store_release(&store);
    return remote;
}

/* A copy of a file has the marks of none. */
static bool was_replicated(struct volume *v, uint32_t guest)
{
    struct err ignored;
    struct volume_info info;
    char owner[32] = "", base[SNAPSHOT_ID_LEN + 1] = "";
    _cleanup_snapshots_ struct snapshots all = {0};
    if (volume_info(v, &info, &ignored) < 0 || !info.exists || volume_replica(v, owner, base, &ignored) < 0 ||
        volume_snapshots(v, &all, &ignored) < 0)
        return false;
    bool any = *owner || *base;
    for (size_t i = 0; i < all.n; i++)
        any = any || (snapshot_is_of_guest(all.v[i].name, guest) && !(all.v[i].flags & SNAPSHOT_STRANGE));
    return any;
}

int left_out_check_shared(struct env *env, const struct guest_config *g, uint32_t guest, struct err *e)
{
    _cleanup_strv_ struct strv shared = STRV_INIT, foreign = STRV_INIT;
    if (env_storages(env, e) < 0)
        return -1;
    guest_volumes_left_out(g, &env->storages, false, &shared, &foreign);
    for (size_t i = 0; i < shared.n; i++) {
        struct err ignored;
        struct env_volume v = {0};
        bool was = !left_out_is_remote(env, shared.v[i]) &&
                   env_volume_open(env, shared.v[i], guest, &v, &ignored) == 0 &&
                   was_replicated(v.volume, guest);
        env_volume_close(&v);
        if (was)
            return err_set(e, ERR_CONFIG, 0,
                           "volume '%s' was replicated, as its restore points on node '%s' say, and its "
                           "storage is called shared by now, so that it is no more: the guest's disks on a "
                           "target would be of several instants. Where the nodes do not have the same "
                           "there, take 'shared' out of storage.cfg; where they do, set replicate=0 on "
                           "the disk",
                           shared.v[i], env->settings.node);
    }
    return 0;
}
