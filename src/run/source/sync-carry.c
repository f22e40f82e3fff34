/* From the plan to the record, in the order that a cut anywhere leaves no harm. */
#include "base/mem.h"
#include "run/lost.h"
#include "run/source/send.h"
#include "run/source/sync-parts.h"
#include "run/transport.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ---- remember ---- */

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
        strv_add_once(&s->state->storages, sync_storage_there(s, i));
    for (size_t i = 0; i < s->held.n; i++) {
        _cleanup_free_ char *storage = xasprintf("%.*s", (int)strcspn(s->held.v[i], ":"), s->held.v[i]);
        strv_add_once(&s->state->storages, storage);
    }
    strv_sort(&s->state->storages);
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
        full |= s->plan.v[i].full && !s->plan.v[i].anew &&
                !s->plan.v[i].resync; /* those have an acknowledged one in their place */
    if (!full)
        return 0;
    for (size_t i = names->n; i-- > 0;)
        if (!known_there(s, names->v[i]))
            strv_remove(names, i);
    strv_add_once(names, s->snapshot);
    return job_state_renew(s->env->settings.state_dir, s->job->guest, s->job->target, s->state, e);
}

/* ---- transfer ---- */

static int transfer_volume(struct sync *s, size_t i, struct rate *rate, struct progress *progress,
                           struct err *e)
{
    struct sync_volume *v = &s->volumes[i];
    struct plan_volume *p = &s->plan.v[i];
    const struct snapshot *base = p->full ? NULL : &p->base;
    volume_send_large(v->local.volume, p->large);
    for (size_t k = 0; k < p->n_steps; k++) {
        struct plan_step *step = &p->steps[k];
        if (step->is_new) {
            step->snapshot = v->new;
            v->begun = true;
        }
        if (base)
            joblog_add(s->log, "incremental sync '%s' (%s => %s)", s->volids.v[i], base->name,
                       step->snapshot.name);
        else if (p->resync)
            joblog_add(s->log, "resync by digests '%s' (%s)", s->volids.v[i], step->snapshot.name);
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
                             .resync = p->resync && k == 0,
                             .replace = p->replace && k == 0,
                             .anew = p->anew,
                             .patch = k == 0 ? &p->patch : NULL,
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

/* Snapshots of the target that stand in the way of those to be sent, and points of failed runs that nobody
 * needs any more. */
static int clear_target(struct sync *s, struct err *e)
{
    _cleanup_strv_ struct strv problems = STRV_INIT, stale_problems = STRV_INIT;
    struct peer_prune *go = xcalloc(s->n, sizeof *go);
    struct peer_prune *stale = xcalloc(s->n, sizeof *stale);
    for (size_t i = 0; i < s->n; i++) {
        go[i].go = s->plan.v[i].clear_target;
        stale[i].go = s->plan.v[i].drop_target;
    }
    int r = sync_prune_target(s, go, "one that is sent has its name", &problems, e);
    if (r == 0 && problems.n)
        r = err_set(e, ERR_SYSTEM, 0, "cannot make room on node '%s': %s", s->target->node.name,
                    problems.v[0]);
    if (r == 0)
        r = sync_prune_target(s, stale, "a failed run left it", &stale_problems, e);
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

/* A warning is for whoever does not read logs, too: stderr of the daemon's runs is in the system's journal.
 */
static void say_reason(struct sync *s, size_t i, const char *reason)
{
    joblog_add(s->log, "%s: %s", s->volids.v[i], reason);
    if (strncmp(reason, PLAN_WARNING, strlen(PLAN_WARNING)) == 0)
        fprintf(stderr, "%s: %s: %s\n", s->job->id, s->volids.v[i], reason);
}

void sync_warn(struct sync *s, const char *warning)
{
    strv_add(&s->warnings, warning);
    joblog_add(s->log, "%s", warning);
    if (known_tell(&s->was, &s->known, warning) && s->locked)
        fprintf(stderr, "%s: %s\n", s->job->id, warning);
}

/* Once, until it is another. */
static void say_missing(struct sync *s, size_t i)
{
    for (size_t k = 0; k < s->plan.v[i].missing.n; k++) {
        _cleanup_free_ char *text = xasprintf("%s: %s", s->volids.v[i], s->plan.v[i].missing.v[k]);
        if (known_tell(&s->was, &s->known, text))
            say_reason(s, i, s->plan.v[i].missing.v[k]);
    }
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
            say_reason(s, i, s->plan.v[i].reasons.v[k]);
        say_missing(s, i);
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
    if (env_guest_again(s->env, s->job->guest, e) < 0)
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
    int r = 0;
    lost_note_make(s->env->settings.node, s->job, &s->known.settings);
    for (size_t i = 0; r == 0 && i < s->n; i++)
        r = volume_traits(s->volumes[i].local.volume, v[i].traits, e);
    if (r == 0)
        r = peer_commit(&s->peer, v, s->n, &s->known.settings, &asides, e);
    for (size_t i = 0; i < asides.n; i++)
        joblog_add(s->log, "%s", asides.v[i]);
    free(v);
    s->committed = r == 0;
    return r;
}

/* What was sent anew is right now; what was wrong and was not is kept aside. */
static void forget_damage(struct sync *s, size_t i)
{
    const struct snapshots *had = &s->volumes[i].snapshots;
    const struct plan_volume *p = &s->plan.v[i];
    for (size_t k = 0; k < had->n; k++)
        if (damage_find(&s->state->damaged, s->volids.v[i], had->v[k].id, NULL))
            damage_set(&s->state->damaged, s->volids.v[i], had->v[k].id, NULL);
    for (size_t k = 0; k < p->n_steps; k++)
        damage_forget(&s->state->damaged, s->volids.v[i], p->steps[k].snapshot.id);
    /* what is wrong here went along as it is: known from now on, it is nobody's base, and no reason to send
     * everything once more */
    for (size_t k = 0; k < had->n; k++)
        if (had->v[k].damaged && (p->full || p->anew))
            damage_set(&s->state->damaged, s->volids.v[i], had->v[k].id, NULL);
}

/* No run fails for it. */
static void note_known(struct sync *s)
{
    struct err problem = {0};
    _cleanup_free_ char *path = known_path(s->env->settings.state_dir, s->job->id);
    s->known.epoch = s->start;
    if (known_store(path, &s->known, &problem) < 0)
        joblog_add(s->log, "WARNING: %s", problem.text);
}

/* Recording comes before any deletion: a crash in between then leaves too much, never too little
 * (BEHAVIOUR.md#steps-of-a-run). */
static int record(struct sync *s, struct err *e)
{
    steps_enter(s->steps, "record");
    s->state->last_sync = s->start;
    strv_release(&s->state->notes);
    s->state->notes = s->notes;
    s->notes = (struct strv)STRV_INIT;
    strv_release(&s->state->first_copies);
    free(s->state->gone);
    s->state->gone = NULL;
    for (size_t i = 0; i < s->n; i++)
        forget_damage(s, i);
    note_known(s);
    return job_state_renew(s->env->settings.state_dir, s->job->guest, s->job->target, s->state, e);
}

int sync_carry_out(struct sync *s, struct err *e)
{
    if (s->peer.used.n)
        return err_set(e, ERR_BUSY, 0, "%s: %s", s->target->node.name, s->peer.used.v[0]);
    if (sync_prove(s, e) < 0 || sync_tidy_source(s, e) < 0)
        return -1;
    remember_storages(s, false);
    if (sync_take_snapshots(s, e) < 0 || remember_first_copy(s, e) < 0 || clear_target(s, e) < 0 ||
        move_aside(s, e) < 0 || transfer_all(s, e) < 0 || commit(s, e) < 0) {
        sync_undo_snapshots(s);
        return -1;
    }
    if (record(s, e) < 0)
        return -1;
    if (sync_prune(s))
        remember_storages(s, true);
    return 0;
}
