#include "run/sync.h"

#include "base/clock.h"
#include "base/mem.h"
#include "guest/runtime.h"
#include "run/message.h"
#include "run/placement.h"
#include "run/retain.h"
#include "run/send.h"
#include "run/transport.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* How long a guest may stay frozen: the snapshots take milliseconds; a storage that takes longer is stuck. */
#define FREEZE_SECONDS 30

void sync_release(struct sync *s)
{
    if (s->connected) {
        struct err ignored = {0};
        peer_close(&s->peer, &ignored);
    }
    guest_config_free(s->config);
    for (size_t i = 0; i < s->n; i++) {
        replica_volume_close(&s->volumes[i].local);
        snapshots_release(&s->volumes[i].snapshots);
        replica_release(&s->volumes[i].replica);
    }
    free(s->volumes);
    storagemap_release(&s->map);
    strv_release(&s->volids);
    strv_release(&s->there);
    strv_release(&s->stale);
    plan_release(&s->plan);
}

/* ---- look, ask, plan ---- */

int sync_read_map(struct sync *s, struct err *e)
{
    return storagemap_parse(s->job->target_storage, &s->map, e) < 0 ? err_wrap(e, "target-storage") : 0;
}

int sync_look_volume(struct sync *s, const char *volid, struct sync_volume *v, struct err *e)
{
    if (replica_volume_open(s->env, volid, s->job->guest, &v->local, e) < 0)
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
                       "no such volume '%s': it is in the guest's configuration but not on its storage",
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
        return err_set(e, ERR_CONFIG, 0, "guest %" PRIu32 " has %zu volumes, at most %d can be replicated",
                       s->job->guest, s->volids.n, MESSAGE_VOLUMES_MAX);
    _cleanup_free_ char *list = strv_join(&s->volids, ",");
    joblog_add(s->log, "volumes => %s", list);
    if (look_at_map(s, e) < 0)
        return -1;
    s->volumes = xcalloc(s->volids.n, sizeof *s->volumes);
    for (; s->n < s->volids.n; s->n++)
        if (sync_look_volume(s, s->volids.v[s->n], &s->volumes[s->n], e) < 0) {
            s->n++; /* the half-opened one is released, too */
            return s->job->target_storage ? hint_at_failover(s, e) : -1;
        }
    return 0;
}

/* The storage of a volume's replica. */
static const char *storage_there(const struct sync *s, size_t i)
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
        strv_add_once(scan, storage_there(s, i));
    strv_sort(scan);
    return 0;
}

/* Where this guest's replicas are or may be. What a failed run left on a storage that the guest uses no more
 * is found later only if it stays in the list; `exactly` once the target was cleaned. */
static void remember_storages(struct sync *s, bool exactly)
{
    for (size_t i = s->state->storages.n; exactly && i-- > 0;) {
        const struct storage *one = storages_find(&s->env->storages, s->state->storages.v[i]);
        if (one && storage_enabled_on(one, s->target->node.name)) /* else the target did not look there */
            strv_remove(&s->state->storages, i);
    }
    for (size_t i = 0; i < s->n; i++)
        strv_add_once(&s->state->storages, storage_there(s, i));
    strv_sort(&s->state->storages);
}

int sync_connect(struct sync *s, struct err *e)
{
    steps_enter(s->steps, "connect");
    if (transport_load(s->env, s->log, e) < 0 || peer_connect(s->env, s->target, &s->peer, e) < 0)
        return -1;
    s->connected = true;
    return 0;
}

int sync_ask(struct sync *s, struct err *e)
{
    _cleanup_strv_ struct strv scan = STRV_INIT;
    if (sync_scan_list(s, &scan, e) < 0 || sync_connect(s, e) < 0)
        return -1;
    steps_enter(s->steps, "open");
    struct replica *replicas = xcalloc(s->n, sizeof *replicas);
    int r = peer_open(&s->peer, s->job->id, &s->there, &scan, replicas, &s->stale, e);
    for (size_t i = 0; i < s->n; i++)
        s->volumes[i].replica = replicas[i];
    free(replicas);
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
        if (!v->info.encrypted || v->replica.info.encrypts)
            continue;
        if (!v->info.stream)
            return err_set(
                e, ERR_CONFIG, 0,
                "volume '%s' is encrypted, and '%s' on node '%s' would not be: map it to a storage "
                "in an encrypted dataset",
                s->volids.v[i], s->there.v[i], s->target->node.name);
        volume_send_as(v->local.volume, VOLUME_RAW);
        const struct plan_volume *p = &s->plan.v[i];
        if (!p->full && p->base.flags & SNAPSHOT_RECEIVED)
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

/* Where its storage takes ranges, a volume that can gives its data so. */
static void choose_forms(struct sync *s)
{
    for (size_t i = 0; i < s->n; i++) {
        struct sync_volume *v = &s->volumes[i];
        if (v->replica.info.stream || !v->info.ranges)
            continue;
        volume_send_as(v->local.volume, VOLUME_RANGES);
        v->info.stream = v->info.strict = false;
    }
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
                                                .replica = &s->volumes[i].replica};
    struct keep rules;
    struct plan_input in = {.job_id = s->job->id,
                            .guest = s->job->guest,
                            .last_sync = s->state->last_sync,
                            .first_copies = &s->state->first_copies,
                            .new_snapshot = s->snapshot,
                            .parent = guest_config_parent(s->config),
                            .guest_snapshots = guest_config_snapshots(s->config),
                            .siblings = s->siblings,
                            .history = keep_history(s->job->keep, &rules),
                            .volumes = volumes,
                            .n = s->n};
    int r = plan_make(&in, &s->plan, e);
    free(volumes);
    return r < 0 ? -1 : check_encryption(s, e);
}

/* ---- snapshot ---- */

/* Where the guest lives nobody will go on with a stage that was begun before it came. */
static int forget_stage(struct sync *s, size_t i, struct err *e)
{
    struct volume *v = s->volumes[i].local.volume;
    struct stage_info stage;
    if (stage_info(v, &stage, e) < 0)
        return -1;
    if (stage.exists)
        joblog_add(s->log, "delete what is left of an interrupted transfer to this node of %s",
                   s->volids.v[i]);
    return stage_discard(v, e); /* also one of which nothing is known */
}

static int tidy_source(struct sync *s, struct err *e)
{
    steps_enter(s->steps, "tidy");
    for (size_t i = 0; i < s->n; i++) {
        const struct snapshots *drop = &s->plan.v[i].drop_source;
        if (volume_tidy(s->volumes[i].local.volume, e) < 0 || forget_stage(s, i, e) < 0)
            return -1;
        for (size_t k = 0; k < drop->n; k++) {
            joblog_add(s->log, "delete stale replication snapshot '%s' on %s", drop->v[k].name,
                       s->volids.v[i]);
            struct err problem = {0};
            if (volume_snapshot_destroy(s->volumes[i].local.volume, drop->v[k].name, drop->v[k].id,
                                        &problem) < 0)
                joblog_add(s->log, "delete stale replication snapshot error: %s", problem.text);
        }
    }
    return 0;
}

static struct freeze *freeze_guest(struct sync *s)
{
    struct err problem = {0};
    struct freeze *f = guest_freeze(s->config, FREEZE_SECONDS, &problem);
    if (f)
        joblog_add(s->log, "freeze guest filesystem");
    else if (problem.kind != ERR_NONE)
        joblog_add(s->log, "freezing failed, the snapshots are only crash-consistent: %s", problem.text);
    return f;
}

static void thaw_guest(struct sync *s, struct freeze *f)
{
    if (!f)
        return;
    joblog_add(s->log, "thaw guest filesystem");
    struct err problem = {0};
    if (guest_thaw(f, &problem) < 0)
        joblog_add(s->log, "thaw guest filesystem failed: %s", problem.text);
}

/* Was nothing written since the base? Its state is then the state of now. */
static bool unchanged(const struct plan_volume *p, struct sync_volume *v)
{
    char since[SNAPSHOT_NAME_MAX + 1];
    struct err ignored;
    return p->renamable && volume_written(v->local.volume, since, &ignored) == 0 &&
           strcmp(since, p->base.name) == 0;
}

static void reuse_base(struct sync *s, size_t i)
{
    struct sync_volume *v = &s->volumes[i];
    v->same = true;
    v->new = s->plan.v[i].base;
    snprintf(v->new.name, sizeof v->new.name, "%s", s->snapshot);
    s->plan.v[i].steps[0].snapshot = v->new; /* renamable: there is no other */
    joblog_add(s->log, "nothing changed on %s since snapshot '%s', it becomes '%s'", s->volids.v[i],
               s->plan.v[i].base.name, s->snapshot);
}

static void flush_volumes(struct sync *s)
{
    for (size_t i = 0; i < s->n; i++)
        volume_flush(s->volumes[i].local.volume);
}

static int take_snapshots(struct sync *s, struct err *e)
{
    steps_enter(s->steps, "snapshot");
    bool busy = guest_running(s->guest->type, s->guest->id) != 0;
    bool *idle = xcalloc(
        s->n,
        sizeof *idle); /* asked before the freeze, so that a busy guest is not frozen for the question */
    for (size_t i = 0; i < s->n; i++)
        idle[i] = unchanged(&s->plan.v[i], &s->volumes[i]);
    if (busy)
        flush_volumes(s);
    struct volume **volumes = xcalloc(s->n, sizeof *volumes);
    size_t *which = xcalloc(s->n, sizeof *which), n = 0, taken;
    struct freeze *frozen = freeze_guest(s);
    for (size_t i = 0; i < s->n; i++) {
        if (idle[i] && (!busy || unchanged(&s->plan.v[i], &s->volumes[i]))) {
            reuse_base(s, i);
            continue;
        }
        joblog_add(s->log, "create snapshot '%s' on %s", s->snapshot, s->volids.v[i]);
        which[n] = i;
        volumes[n++] = s->volumes[i].local.volume;
    }
    int r = volume_snapshot_all(volumes, n, s->snapshot, busy, &taken, e);
    for (size_t i = 0; i < taken; i++)
        s->volumes[which[i]].taken = true;
    thaw_guest(s, frozen);
    free(volumes);
    free(which);
    free(idle);
    steps_enter(s->steps, "keep");
    for (size_t i = 0; r == 0 && i < s->n; i++) {
        struct sync_volume *v = &s->volumes[i];
        if (v->same)
            continue;
        r = volume_snapshot_keep(v->local.volume, s->snapshot, &v->new, e);
        v->kept = r == 0;
    }
    return r;
}

/* Does the target hold anything under this name? */
static bool known_there(const struct sync *s, const char *name)
{
    for (size_t i = 0; i < s->n; i++) {
        const struct replica *r = &s->volumes[i].replica;
        if (snapshots_find(&r->snapshots, name) || (r->stage.exists && strcmp(r->stage.snapshot, name) == 0))
            return true;
    }
    return false;
}

/* A first copy that is never acknowledged may be replaced by a later run, but only if the state remembers
 * that this run began it: nothing on the target tells it from an acknowledged one. */
static int remember_first_copy(struct sync *s, struct err *e)
{
    bool full = false;
    struct strv *names = &s->state->first_copies;
    for (size_t i = 0; i < s->plan.n; i++)
        full |= s->plan.v[i].full;
    if (!full)
        return 0;
    for (size_t i = names->n; i-- > 0;)
        if (!known_there(s, names->v[i]))
            strv_remove(names, i);
    strv_add_once(names, s->snapshot);
    return job_state_store(s->env->settings.state_dir, s->job->guest, s->job->target, s->state, e);
}

/* After a failure: the new snapshots go, but those of which the target may hold a part: the next run resumes
 * from them. */
static void undo_snapshots(struct sync *s)
{
    for (size_t i = 0; i < s->n; i++) {
        struct sync_volume *v = &s->volumes[i];
        struct err problem = {0};
        if (!v->taken || v->begun)
            continue;
        int r = v->kept ? volume_snapshot_destroy(v->local.volume, v->new.name, v->new.id, &problem)
                        : volume_tidy(v->local.volume, &problem);
        if (r < 0)
            joblog_add(s->log, "cannot remove the new snapshot again: %s", problem.text);
    }
}

/* ---- transfer ---- */

static int transfer_volume(struct sync *s, size_t i, struct rate *rate, struct progress *progress,
                           struct err *e)
{
    struct sync_volume *v = &s->volumes[i];
    struct plan_volume *p = &s->plan.v[i];
    const struct snapshot *base = p->full ? NULL : &p->base;
    for (size_t k = 0; k < p->n_steps; k++) {
        struct plan_step *step = &p->steps[k];
        if (step->is_new) {
            step->snapshot = v->new;
            v->begun = true;
        }
        if (base)
            joblog_add(s->log, "incremental sync '%s' (%s => %s)", s->volids.v[i], base->name,
                       step->snapshot.name);
        else
            joblog_add(s->log, "full sync '%s' (%s)", s->volids.v[i], step->snapshot.name);
        struct transfer t = {.peer = &s->peer,
                             .rate = rate,
                             .progress = progress,
                             .volid = s->volids.v[i],
                             .there = s->there.v[i],
                             .volume = v->local.volume,
                             .stream = v->info.stream,
                             .base = base,
                             .snapshot = &step->snapshot,
                             .replace = p->replace && k == 0,
                             .stage = step->resume ? &v->replica.stage : NULL};
        if (transfer_send(&t, &s->delta, e) < 0)
            return err_wrap(e, "volume '%s'", s->volids.v[i]);
        bool stays_staged = !v->replica.info.many; /* the next step goes upon it */
        if (!step->is_new && !stays_staged &&
            peer_commit_one(&s->peer, s->there.v[i], step->snapshot.id, e) < 0)
            return -1;
        base = &step->snapshot;
    }
    return 0;
}

static int prune_target(struct sync *s, struct peer_prune *go, const struct strv *stale,
                        struct strv *problems, struct err *e)
{
    size_t total = stale->n;
    for (size_t i = 0; i < s->n; i++)
        total += go[i].go.n + go[i].adopt.n;
    return total ? peer_prune(&s->peer, &s->there, go, stale, problems, e) : 0;
}

/* Snapshots of the target that stand in the way of those to be sent, and points of failed runs that nobody
 * needs any more. */
static int clear_target(struct sync *s, struct err *e)
{
    const struct strv none = STRV_INIT;
    _cleanup_strv_ struct strv problems = STRV_INIT, stale_problems = STRV_INIT;
    struct peer_prune *go = xcalloc(s->n, sizeof *go);
    struct peer_prune *stale = xcalloc(s->n, sizeof *stale);
    for (size_t i = 0; i < s->n; i++) {
        go[i].go = s->plan.v[i].clear_target;
        stale[i].go = s->plan.v[i].drop_target;
    }
    int r = prune_target(s, go, &none, &problems, e);
    if (r == 0 && problems.n)
        r = err_set(e, ERR_SYSTEM, 0, "cannot make room on node '%s': %s", s->target->node.name,
                    problems.v[0]);
    if (r == 0)
        r = prune_target(s, stale, &none, &stale_problems, e);
    for (size_t i = 0; i < stale_problems.n; i++)
        joblog_add(s->log, "cannot clean up on the target: %s", stale_problems.v[i]);
    free(go);
    free(stale);
    return r;
}

static int move_aside(struct sync *s, struct err *e)
{
    _cleanup_strv_ struct strv asides = STRV_INIT;
    int r = 0;
    for (size_t i = 0; r == 0 && i < s->n; i++)
        if (s->plan.v[i].move_aside.n)
            r = peer_aside(&s->peer, s->there.v[i], &s->plan.v[i].move_aside, &asides, e);
    for (size_t i = 0; i < asides.n; i++)
        joblog_add(s->log, "%s", asides.v[i]);
    return r;
}

static int transfer_all(struct sync *s, struct err *e)
{
    steps_enter(s->steps, "transfer");
    struct progress progress = {.log = s->log, .terminal = s->terminal};
    struct rate rate;
    rate_init(&rate, s->job->rate * 1e6);
    transport_log(s->log, s->env, s->target, s->job->rate);
    for (size_t i = 0; i < s->n; i++) {
        for (size_t k = 0; k < s->plan.v[i].reasons.n; k++)
            joblog_add(s->log, "%s: %s", s->volids.v[i], s->plan.v[i].reasons.v[k]);
        if (!s->volumes[i].same && transfer_volume(s, i, &rate, &progress, e) < 0)
            return -1;
    }
    return 0;
}

/* ---- commit ---- */

/* The guest's file may have been moved by hand meanwhile, which no lock prevents: what we would send then is
 * the past. */
static int still_here(struct sync *s, struct err *e)
{
    if (env_guests_again(s->env, e) < 0)
        return -1;
    const struct guest_entry *g = env_guest(s->env, s->job->guest, e);
    if (!g)
        return -1;
    if (strcmp(g->node, s->env->settings.node) == 0)
        return 0;
    return err_set(e, ERR_CONFIG, 0,
                   "guest '%" PRIu32 "' was moved to node '%s' while it was being replicated: nothing is "
                   "committed",
                   s->job->guest, g->node);
}

static int commit(struct sync *s, struct err *e)
{
    steps_enter(s->steps, "commit");
    if (still_here(s, e) < 0)
        return -1;
    char live_aside[SNAPSHOT_NAME_MAX + 1];
    snprintf(live_aside, sizeof live_aside, ASIDE_PREFIX "%s_%" PRId64, s->job->id, s->start);
    struct peer_commit *v = xcalloc(s->n, sizeof *v);
    _cleanup_strv_ struct strv asides = STRV_INIT;
    for (size_t i = 0; i < s->n; i++)
        v[i] = (struct peer_commit){.volid = s->there.v[i],
                                    .id = s->volumes[i].new.id,
                                    .as = s->volumes[i].new.name,
                                    .live_aside = live_aside,
                                    .keep_live = s->plan.v[i].keep_live_aside,
                                    .aside = &s->plan.v[i].keep_aside};
    int r = peer_commit(&s->peer, v, s->n, &asides, e);
    for (size_t i = 0; i < asides.n; i++)
        joblog_add(s->log, "%s", asides.v[i]);
    free(v);
    s->committed = r == 0;
    return r;
}

/* Recording comes before any deletion: a crash in between then leaves too much, never too little (spec 3.2
 * (18)). */
static int record(struct sync *s, struct err *e)
{
    steps_enter(s->steps, "record");
    s->state->last_sync = s->start;
    strv_release(&s->state->first_copies);
    return job_state_store(s->env->settings.state_dir, s->job->guest, s->job->target, s->state, e);
}

/* ---- prune ---- */

static void prune_source(struct sync *s, struct sync_volume *v, const char *volid,
                         const struct history *history, struct snapshots *left)
{
    struct snapshots go = {0};
    retain_source(&v->snapshots, s->job->id, s->snapshot, s->siblings, history, &go);
    for (size_t i = 0; i < v->snapshots.n; i++) {
        const struct snapshot *one = &v->snapshots.v[i];
        struct err problem = {0};
        if (v->same && strcmp(one->id, v->new.id) == 0) {
            if (volume_snapshot_rename(v->local.volume, one->name, v->new.name, &problem) < 0)
                joblog_add(s->log, "snapshot '%s' keeps its name: %s", one->name, problem.text);
        } else if (snapshots_find_id(&go, one->id)) {
            joblog_add(s->log, "delete previous replication snapshot '%s' on %s", one->name, volid);
            if (volume_snapshot_destroy(v->local.volume, one->name, one->id, &problem) < 0)
                joblog_add(s->log, "delete previous replication snapshot error: %s", problem.text);
        } else {
            snapshots_add(left, one);
        }
    }
    snapshots_add(left, &v->new);
    snapshots_release(&go);
}

static bool was_renamed(const struct asides *a, const char *name)
{
    for (size_t i = 0; i < a->n; i++)
        if (strcmp(a->v[i].from, name) == 0)
            return true;
    return false;
}

/* What the target holds now: what it had, and the steps of this run. */
static void target_after(const struct sync *s, size_t i, struct snapshots *ret)
{
    const struct plan_volume *p = &s->plan.v[i];
    const struct snapshots *had = &s->volumes[i].replica.snapshots;
    for (size_t k = 0; k < had->n && !p->replace; k++)
        if (!was_renamed(&p->keep_aside, had->v[k].name) && !was_renamed(&p->move_aside, had->v[k].name) &&
            !snapshots_find_id(&p->clear_target, had->v[k].id))
            snapshots_add(ret, &had->v[k]);
    for (size_t k = 0; k < p->n_steps; k++) {
        struct snapshot one = p->steps[k].snapshot;
        one.flags |= SNAPSHOT_RECEIVED;
        snapshots_add(ret, &one);
    }
}

/* Was this point left by a failed run? It was never acknowledged, and other volumes may not have it. */
static bool unacknowledged(const struct sync *s, const struct plan_volume *p, const struct snapshot *one)
{
    for (size_t k = 0; k < p->n_steps; k++)
        if (!p->steps[k].is_new && strcmp(p->steps[k].snapshot.id, one->id) == 0 &&
            snapshot_is_of_job(one->name, s->job->id))
            return true;
    return snapshots_find_id(&p->drop_target, one->id);
}

/* The points of the job that count for its rules: those of the target, and those that this node received
 * while it was the target itself. */
static void add_points(const struct sync *s, size_t i, struct history *ret)
{
    const struct snapshots *here = &s->volumes[i].snapshots;
    struct snapshots there = {0}, points = {0};
    target_after(s, i, &there);
    for (size_t k = 0; k < there.n; k++)
        if (!unacknowledged(s, &s->plan.v[i], &there.v[k]))
            snapshots_add(&points, &there.v[k]);
    for (size_t k = 0; k < here->n; k++)
        if (here->v[k].flags & SNAPSHOT_RECEIVED)
            snapshots_add(&points, &here->v[k]);
    history_add(ret, &points);
    snapshots_release(&there);
    snapshots_release(&points);
}

/* The runs of which the restore points stay. False: only that of the newest. */
static bool find_history(const struct sync *s, struct history *ret)
{
    struct keep rules;
    if (!keep_history(s->job->keep, &rules))
        return false;
    for (size_t i = 0; i < s->n; i++)
        if (s->volumes[i].replica.info.many)
            add_points(s, i, ret);
    history_prune(ret, &rules);
    return true;
}

static void prune(struct sync *s)
{
    steps_enter(s->steps, "prune");
    struct history all = {.job_id = s->job->id};
    const struct history *history = find_history(s, &all) ? &all : NULL;
    struct peer_prune *go = xcalloc(s->n, sizeof *go);
    _cleanup_strv_ struct strv problems = STRV_INIT;
    for (size_t i = 0; i < s->n; i++) {
        struct snapshots left = {0}, there = {0};
        prune_source(s, &s->volumes[i], s->volids.v[i], history, &left);
        target_after(s, i, &there);
        retain_target(&there, &left, s->job->guest, s->volumes[i].new.id,
                      s->volumes[i].replica.info.many ? history : NULL, &go[i].go);
        go[i].adopt = s->plan.v[i].adopt;
        snapshots_release(&left);
        snapshots_release(&there);
    }
    for (size_t i = 0; i < s->stale.n; i++)
        joblog_add(s->log, "delete stale volume '%s' on the target", s->stale.v[i]);
    struct err e = {0};
    if (prune_target(s, go, &s->stale, &problems, &e) < 0)
        strv_add(&problems, e.text);
    for (size_t i = 0; i < problems.n; i++)
        joblog_add(s->log, "cannot clean up on the target, the next run will: %s", problems.v[i]);
    if (problems.n == 0)
        remember_storages(s, true);
    for (size_t i = 0; i < s->n; i++)
        snapshots_release(&go[i].go);
    free(go);
    history_release(&all);
}

int sync_carry_out(struct sync *s, struct err *e)
{
    if (tidy_source(s, e) < 0)
        return -1;
    remember_storages(s, false);
    if (take_snapshots(s, e) < 0 || remember_first_copy(s, e) < 0 || clear_target(s, e) < 0 ||
        move_aside(s, e) < 0 || transfer_all(s, e) < 0 || commit(s, e) < 0) {
        undo_snapshots(s);
        return -1;
    }
    if (record(s, e) < 0)
        return -1;
    prune(s);
    return 0;
}
