#include "run/source/sync.h"

#include "base/clock.h"
#include "base/mem.h"
#include "guest/runtime.h"
#include "run/message.h"
#include "run/snapshot.h"
#include "run/source/placement.h"
#include "run/source/retain.h"
#include "run/source/sync-parts.h"
#include "run/transport.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

void sync_release(struct sync *s)
{
    s->env->volumes.removed = NULL;
    if (s->connected) {
        struct err ignored = {0};
        peer_close(&s->peer, &ignored);
    }
    guest_config_free(s->config);
    for (size_t i = 0; i < s->n; i++) {
        env_volume_close(&s->volumes[i].local);
        snapshots_release(&s->volumes[i].snapshots);
        replica_release(&s->volumes[i].replica);
    }
    free(s->volumes);
    storagemap_release(&s->map);
    strv_release(&s->volids);
    strv_release(&s->there);
    strv_release(&s->stale);
    strv_release(&s->held);
    strv_release(&s->held_here);
    strv_release(&s->held_why);
    strv_release(&s->warnings);
    strv_release(&s->notes);
    strv_release(&s->compared);
    plan_release(&s->plan);
    known_release(&s->was);
    known_release(&s->known);
}

/* ---- look, ask, plan ---- */

int sync_read_map(struct sync *s, struct err *e)
{
    return storagemap_parse(s->job->target_storage, &s->map, e) < 0 ? err_wrap(e, "target-storage") : 0;
}

int sync_look_volume(struct sync *s, const char *volid, struct sync_volume *v, struct err *e)
{
    if (!v->local.volume && env_volume_open(s->env, volid, s->job->guest, &v->local, e) < 0)
        return -1;
    struct volume *volume = v->local.volume;
    if (volume_info(volume, &v->info, e) < 0 ||
        /* a commit to it, when this node was the target, may have been cut */
        (!v->info.exists && s->locked &&
         (volume_tidy(volume, e) < 0 || volume_info(volume, &v->info, e) < 0)) ||
        volume_snapshots(volume, &v->snapshots, e) < 0)
        return err_wrap(e, "volume '%s'", volid);
    if (!v->info.exists)
        return err_set(e, ERR_GONE, 0,
                       "no such volume '%s': it is in the guest's configuration but not on its storage; "
                       "restore it there, or take it out of the configuration",
                       volid);
    return 0;
}

static int look_at_map(struct sync *s, struct err *e)
{
    if (sync_read_map(s, e) < 0 ||
        placement_volids(s->env, s->job, s->target->node.name, &s->volids, &s->there, e) < 0)
        return -1;
    for (size_t i = 0; i < s->volids.n; i++)
        if (strcmp(s->volids.v[i], s->there.v[i]) != 0)
            joblog_add(s->log, "%s -> %s", s->volids.v[i], s->there.v[i]);
    return 0;
}

/* Moved here by hand, the guest may have its disks under other names here. */
static int hint_at_failover(const struct sync *s, struct err *e)
{
    struct err why = *e;
    return err_set(e, why.kind, why.code,
                   "%s; if the guest was moved here by hand, 'pvesr failover %" PRIu32
                   "' gives its volumes the names of their replicas",
                   why.text, s->job->guest);
}

static int look_at_seals(struct sync *s, size_t i, struct err *e)
{
    int r = volume_seals(s->volumes[i].local.volume, &s->volumes[i].snapshots, true, e);
    if (r > 0)
        joblog_add(s->log, "%s: nothing tells whether its restore points were written to: %s", s->volids.v[i],
                   e->text);
    return r < 0 ? -1 : 0;
}

/* Once all are open: a driver may look at all of them at once. */
static int open_and_look(struct sync *s, struct err *e)
{
    s->volumes = xcalloc(s->volids.n, sizeof *s->volumes);
    while (s->n < s->volids.n) {
        size_t i = s->n++; /* first: a half-opened one is released, too */
        if (env_volume_open(s->env, s->volids.v[i], s->job->guest, &s->volumes[i].local, e) < 0)
            return sync_look_failed(s, i, e);
    }
    for (size_t i = 0; i < s->n; i++)
        if (sync_look_volume(s, s->volids.v[i], &s->volumes[i], e) < 0 || look_at_seals(s, i, e) < 0)
            return sync_look_failed(s, i, e);
    return 0;
}

int sync_look(struct sync *s, struct err *e)
{
    steps_enter(s->steps, "look");
    s->config = env_guest_config(s->env, s->guest, e);
    if (!s->config)
        return -1;
    joblog_add(s->log, "guest => %s %" PRIu32 ", running => %d", s->guest->type == GUEST_QEMU ? "VM" : "CT",
               s->guest->id, (int)guest_running(s->guest->type, s->guest->id));
    if (env_guest_volumes(s->env, s->config, VOLUMES_STRICT, &s->volids, e) < 0)
        return -1;
    if (s->volids.n == 0)
        return err_set(e, ERR_CONFIG, 0, "No replicatable volumes found");
    if (s->volids.n > MESSAGE_VOLUMES_MAX)
        return err_set(e, ERR_CONFIG, 0,
                       "guest %" PRIu32
                       " has %zu volumes, at most %d can be replicated: set replicate=0 on some of them",
                       s->job->guest, s->volids.n, MESSAGE_VOLUMES_MAX);
    _cleanup_free_ char *list = strv_join(&s->volids, ",");
    joblog_add(s->log, "volumes => %s", list);
    struct err unmapped; /* of a job that has lost its map that is no help */
    bool mapped = look_at_map(s, &unmapped) == 0;
    if (open_and_look(s, e) < 0)
        return s->job->target_storage ? hint_at_failover(s, e) : -1;
    for (size_t i = 0; i < s->n; i++)
        if (volume_complete(s->volumes[i].local.volume, e) < 0)
            return -1;
    sync_look_whose(s);
    if (s->checks && sync_check_settings(s, e) < 0)
        return -1;
    if (mapped)
        return sync_look_left_out(s, e);
    *e = unmapped;
    return -1;
}

/* The storage of a volume's replica. */
const char *sync_storage_there(const struct sync *s, size_t i)
{
    return storagemap_other(&s->map, s->volumes[i].local.store.store.id);
}

int sync_scan_list(struct sync *s, struct strv *scan, struct err *e)
{
    if (env_storages(s->env, e) < 0)
        return -1;
    for (size_t i = 0; i < s->state->storages.n; i++) {
        const struct storage *one = storages_find(&s->env->storages, s->state->storages.v[i]);
        if (one && !one->shared && volume_type_known(one->type))
            strv_add_once(scan, one->id);
    }
    for (size_t i = 0; i < s->n; i++)
        strv_add_once(scan, sync_storage_there(s, i));
    strv_sort(scan);
    return 0;
}

static void log_removed(void *sync, const char *text)
{
    const struct sync *s = sync;
    joblog_add(s->log, "removed here: %s", text);
}

int sync_connect(struct sync *s, struct err *e)
{
    steps_enter(s->steps, "connect");
    if (transport_load(s->env, s->log, e) < 0 || peer_connect(s->env, s->target, &s->peer, e) < 0)
        return -1;
    uint64_t bytes = 0;
    for (size_t i = 0; i < s->n; i++)
        bytes += s->volumes[i].info.size;
    peer_set_volumes(&s->peer, bytes);
    s->connected = true;
    s->peer.log = s->log;
    s->env->volumes.removed = log_removed;
    s->env->volumes.removed_arg = s;
    return 0;
}

/* told: those that there are. */
static int put_up_signs(struct sync *s, struct strv *signs, struct strv *told, struct err *e)
{
    for (size_t i = 0; i < s->n; i++) {
        char sign[VOLUME_SIGN_MAX + 1];
        if (volume_sign(s->volumes[i].local.volume, sign, e) < 0)
            return err_wrap(e, "volume '%s'", s->volids.v[i]);
        strv_add(signs, sign);
        if (*sign)
            strv_add_once(told, sign);
    }
    return 0;
}

static int64_t oldest_point(const struct sync *s)
{
    int64_t oldest = 0;
    for (size_t i = 0; i < s->n; i++)
        for (size_t k = 0; k < s->volumes[i].snapshots.n; k++) {
            const struct snapshot *one = &s->volumes[i].snapshots.v[k];
            int64_t epoch = snapshot_is_of_job(one->name, s->job->id) ? snapshot_epoch(one->name) : 0;
            if (epoch && !(one->flags & SNAPSHOT_STRANGE) && (!oldest || epoch < oldest))
                oldest = epoch;
        }
    return oldest;
}

/* Are the runs of which the state tells about this guest? Remembers what it is known by. */
static bool is_same_guest(struct sync *s)
{
    struct strv is = STRV_INIT;
    bool same = false;
    guest_config_identity(s->config, &is);
    for (size_t i = 0; i < is.n; i++)
        same = same || strv_has(&s->state->guest, is.v[i]);
    strv_release(&s->state->guest);
    s->state->guest = is;
    return same;
}

/* From when the job is. Where none of the guest's own volumes has a point of it, either all of them were
 * replaced, or no run of it was about this guest, whatever its state says. Where the state was lost, or the
 * job turned round, it is as old as the points. 0: it has a state that does not say. */
static int64_t exists_since(struct sync *s)
{
    bool same = is_same_guest(s);
    int64_t oldest = oldest_point(s), began = s->state->began;
    if (!oldest)
        return s->n && !(same && began) ? s->start : began;
    if (!began)
        return s->state->last_sync ? 0 : oldest;
    return began < oldest ? began : oldest;
}

/* …and no replica that another guest of this id left is its. */
static int64_t own_since(struct sync *s)
{
    int64_t since = exists_since(s), former = s->known.former;
    return former && since <= former ? former + 1 : since;
}

static void take_down_signs(struct sync *s, const struct strv *signs)
{
    for (size_t i = 0; i < signs->n; i++)
        volume_sign_end(s->volumes[i].local.volume, signs->v[i]);
}

/* Of images that are not among the run's volumes: what the guest has no more, or has through another entry of
 * storage.cfg. */
struct more_signs {
    struct env_volume *v; /* room for two of each storage: an open one must not move */
    struct strv put;      /* of each */
};

static bool has_own_sign(const struct sync *s, const char *storage)
{
    for (size_t i = 0; i < s->n; i++)
        if (strcmp(s->volumes[i].local.store.store.id, storage) == 0)
            return true;
    return false;
}

/* The names of images here; none where the storage is not there. Only a directory can be in use on two
 * nodes. */
static void list_here(struct sync *s, const char *storage, struct strv *names)
{
    struct err ignored;
    struct env_store store;
    const struct storage *one = storages_find(&s->env->storages, storage);
    if (!one || !one->path || !volume_type_known(one->type) || has_own_sign(s, storage) ||
        env_store(s->env, storage, &store, &ignored) < 0)
        return;
    volume_list(&store.store, s->job->guest, names, &ignored);
    env_store_release(&store);
}

/* Beside one image, for all of them lie in one directory. */
static int sign_storage(struct sync *s, const char *storage, struct more_signs *more, struct strv *told,
                        struct err *e)
{
    char sign[VOLUME_SIGN_MAX + 1] = "";
    _cleanup_strv_ struct strv names = STRV_INIT;
    list_here(s, storage, &names);
    if (!names.n)
        return 0;
    _cleanup_free_ char *volid = xasprintf("%s:%s", storage, names.v[0]);
    struct env_volume *v = &more->v[more->put.n];
    int r = env_volume_open(s->env, volid, s->job->guest, v, e) < 0 ? -1 : volume_sign(v->volume, sign, e);
    strv_add(&more->put, r < 0 ? "" : sign);
    if (r == 0 && *sign)
        strv_add_once(told, sign);
    return r < 0 ? err_wrap(e, "volume '%s'", volid) : 0;
}

/* Where the target is to look for images that the guest has no more, this node may have them itself, in a
 * directory that both see. A storage that takes no sign is not searched; a removal must search all. */
static int put_up_more_signs(struct sync *s, const struct strv *scan, struct strv *safe,
                             struct more_signs *more, struct strv *told, struct err *e)
{
    more->v = xcalloc(2 * scan->n + 1, sizeof *more->v);
    for (size_t i = 0; i < scan->n; i++) {
        const char *here = storagemap_other(&s->map, scan->v[i]);
        if (sign_storage(s, here, more, told, e) == 0 &&
            (strcmp(here, scan->v[i]) == 0 || sign_storage(s, scan->v[i], more, told, e) == 0))
            strv_add(safe, scan->v[i]);
        else if (s->job->remove)
            return err_wrap(
                e, "storage '%s' cannot be searched for the job's replicas (which 'delete --keep' leaves)",
                scan->v[i]);
        else
            joblog_add(s->log,
                       "what the target has on '%s' of disks that are not replicated any more stays: %s",
                       scan->v[i], e->text);
    }
    return 0;
}

static void take_down_more_signs(struct more_signs *more)
{
    for (size_t i = 0; i < more->put.n; i++) {
        if (*more->put.v[i])
            volume_sign_end(more->v[i].volume, more->put.v[i]);
        env_volume_close(&more->v[i]);
    }
    free(more->v);
    strv_release(&more->put);
}

int sync_open(struct sync *s, const struct strv *volids, const struct strv *scan, struct replica *replicas,
              struct err *e)
{
    struct more_signs more = {0};
    _cleanup_strv_ struct strv signs = STRV_INIT, told = STRV_INIT, safe = STRV_INIT;
    int r = put_up_signs(s, &signs, &told, e);
    if (r == 0)
        r = put_up_more_signs(s, scan, &safe, &more, &told, e);
    s->peer.since = s->state->began = own_since(s);
    if (r == 0)
        r = peer_open(&s->peer, s->job->id, volids, &safe, &told, replicas, &s->stale, e);
    take_down_more_signs(&more);
    take_down_signs(s, &signs);
    return r;
}

int sync_look_there(struct sync *s, struct replica *replicas, struct err *e)
{
    struct err ignored;
    _cleanup_strv_ struct strv signs = STRV_INIT, told = STRV_INIT;
    put_up_signs(s, &signs, &told, &ignored);
    int r = peer_look(&s->peer, s->job->id, &s->there, &told, replicas, e);
    take_down_signs(s, &signs);
    return r;
}

/* Does nothing of it have blocks above 128 KiB, as far as is known? Then it is no matter what has here, but
 * to the settings (plan_large). */
static bool is_small(const struct replica *r)
{
    bool small = !r->stage.exists || r->stage.large & SNAPSHOT_SMALL;
    for (size_t i = 0; small && i < r->snapshots.n; i++)
        small = r->snapshots.v[i].flags & SNAPSHOT_SMALL;
    return small;
}

static int ask_large(const struct sync *s, struct sync_volume *v, struct err *e)
{
    unsigned stage; /* there is none here */
    bool matters = s->env->settings.large_blocks || !is_small(&v->replica);
    return matters ? volume_large(v->local.volume, &v->snapshots, &stage, e) : 0;
}

int sync_ask(struct sync *s, struct err *e)
{
    _cleanup_strv_ struct strv scan = STRV_INIT;
    if (sync_scan_list(s, &scan, e) < 0 || sync_connect(s, e) < 0)
        return -1;
    steps_enter(s->steps, "open");
    struct replica *replicas = xcalloc(s->n, sizeof *replicas);
    int r = sync_open(s, &s->there, &scan, replicas, e);
    for (size_t i = 0; i < s->n; i++)
        s->volumes[i].replica = replicas[i];
    free(replicas);
    if (r == 0)
        r = sync_check_settings(s, e);
    for (size_t i = 0; r == 0 && i < s->n; i++)
        r = ask_large(s, &s->volumes[i], e);
    if (r == 0)
        sync_hold(s, false);
    return r;
}

static bool name_taken(const struct sync *s)
{
    for (size_t i = 0; i < s->n; i++)
        if (snapshots_find(&s->volumes[i].snapshots, s->snapshot) ||
            snapshots_find(&s->volumes[i].replica.snapshots, s->snapshot))
            return true;
    return false;
}

/* A run that failed within this second, or a lost state, may have left a snapshot of the name that this run
 * would use. */
static void name_snapshot(struct sync *s)
{
    for (;; s->start = clock_next_second()) {
        snprintf(s->snapshot, sizeof s->snapshot, "__replicate_%s_%" PRId64 "__", s->job->id, s->start);
        if (!name_taken(s))
            return;
    }
}

/* What is encrypted here must be so there: by the storage's own key, or else it is sent as it is stored. Such
 * a stream in the direction opposite to that in which the volume came has damaged volumes (OpenZFS issue
 * 16351).
 */
static int check_encryption(struct sync *s, struct err *e)
{
    for (size_t i = 0; i < s->n; i++) {
        struct sync_volume *v = &s->volumes[i];
        const struct plan_volume *p = &s->plan.v[i];
        bool whole = p->full || p->anew;
        bool plain_there = v->replica.info.exists && !v->replica.info.encrypted && !whole;
        if (v->info.encrypted && v->replica.info.encrypts && plain_there)
            return err_set(
                e, ERR_CONFIG, 0,
                "volume '%s' is encrypted, and its replica on node '%s' is not: rename the dataset there, "
                "so that everything is sent and encrypted there",
                s->volids.v[i], s->target->node.name);
        if (!v->info.encrypted || v->replica.info.encrypts)
            continue;
        if (!v->info.stream)
            return err_set(
                e, ERR_CONFIG, 0,
                "volume '%s' is encrypted, and '%s' on node '%s' would not be: map it to a storage "
                "in an encrypted dataset",
                s->volids.v[i], s->there.v[i], s->target->node.name);
        volume_send_as(v->local.volume, VOLUME_RAW);
        if (!whole && p->base.flags & SNAPSHOT_RECEIVED)
            return err_set(
                e, ERR_CONFIG, 0,
                "volume '%s' is encrypted and its storage on node '%s' is not: it came from there "
                "and cannot be sent back as it is stored (OpenZFS issue 16351 damages it). Let the "
                "storage there lie in an encrypted dataset, or rename the dataset there, so that "
                "everything is sent",
                s->volids.v[i], s->target->node.name);
    }
    return 0;
}

/* Where its storage takes ranges, a volume that can gives its data so; and an older version knows no flags of
 * files. */
static void choose_forms(struct sync *s)
{
    for (size_t i = 0; i < s->n; i++) {
        struct sync_volume *v = &s->volumes[i];
        if (v->info.flags && !v->replica.info.flags)
            volume_send_as(v->local.volume, VOLUME_UNFLAGGED);
        if (v->replica.info.stream || !v->info.ranges)
            continue;
        volume_send_as(v->local.volume, VOLUME_RANGES);
        v->info.stream = v->info.strict = v->info.one_line = false;
    }
}

/* Of the live volumes sync_look has asked. What travels and was taken while a disk needed another file would
 * be refused by the target once all of it is there. */
static int check_complete(struct sync *s, struct err *e)
{
    for (size_t i = 0; i < s->n; i++)
        for (size_t k = 0; k < s->plan.v[i].n_steps; k++) {
            const struct plan_step *step = &s->plan.v[i].steps[k];
            if (!step->is_new && volume_snapshot_complete(s->volumes[i].local.volume, &step->snapshot, e) < 0)
                return -1;
        }
    return 0;
}

/* By target-storage as it was then. What could not be removed there is stale. */
static bool was_elsewhere(const struct sync *s, size_t i)
{
    const struct strv *had = &s->state->storages;
    bool is = had->n && !strv_has(had, sync_storage_there(s, i));
    for (size_t k = 0; k < s->stale.n; k++)
        is = is || placement_is_other(s->env, s->there.v[i], s->stale.v[k]);
    return is;
}

int sync_plan(struct sync *s, struct err *e)
{
    steps_enter(s->steps, "plan");
    choose_forms(s);
    name_snapshot(s);
    struct plan_input_volume *volumes = xcalloc(s->n, sizeof *volumes);
    for (size_t i = 0; i < s->n; i++)
        volumes[i] = (struct plan_input_volume){.volid = s->volids.v[i],
                                                .info = s->volumes[i].info,
                                                .snapshots = &s->volumes[i].snapshots,
                                                .replica = &s->volumes[i].replica,
                                                .moved = was_elsewhere(s, i)};
    for (size_t i = 0; i < s->n; i++)
        damage_forget_gone(&s->state->damaged, s->volids.v[i], &s->volumes[i].snapshots);
    struct keep rules;
    struct plan_input in = {.job_id = s->job->id,
                            .guest = s->job->guest,
                            .former = s->former,
                            .last_sync = s->state->last_sync,
                            .first_copies = &s->state->first_copies,
                            .new_snapshot = s->snapshot,
                            .parent = guest_config_parent(s->config),
                            .guest_snapshots = guest_config_snapshots(s->config),
                            .siblings = s->siblings,
                            .damaged = &s->state->damaged,
                            .compared = &s->compared,
                            .resyncs = s->peer.resyncs,
                            .resync = s->resync,
                            .large = s->env->settings.large_blocks,
                            .history = keep_history(s->job->keep, &rules),
                            .volumes = volumes,
                            .n = s->n};
    int r = plan_make(&in, &s->plan, e);
    free(volumes);
    return r < 0 || check_complete(s, e) < 0 ? -1 : check_encryption(s, e);
}
