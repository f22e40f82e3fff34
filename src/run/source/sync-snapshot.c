/* The source before the transfer: what is left of earlier runs goes, and the new snapshots are taken. */
#include "base/mem.h"
#include "guest/runtime.h"
#include "run/source/sync-parts.h"

#include <stdio.h>
#include <string.h>

/* How long a guest may stay frozen: the snapshots take milliseconds; a storage that takes longer is stuck. */

/* Where the guest lives nobody will go on with a stage that was begun before it came. */
static int forget_stage(struct sync *s, size_t i, struct err *e)
{
    struct volume *v = s->volumes[i].local.volume;
    struct stage_info stage;
    if (stage_info(v, &stage, e) < 0)
        return -1;
    if (stage.exists || stage.scrap)
        joblog_add(s->log, "delete what is left of an interrupted transfer to this node of %s",
                   s->volids.v[i]);
    return stage_discard(v, e); /* also one of which nothing is known */
}

int sync_tidy_source(struct sync *s, struct err *e)
{
    steps_enter(s->steps, "tidy");
    for (size_t i = 0; i < s->n; i++) {
        const struct snapshots *drop = &s->plan.v[i].drop_source;
        if (volume_tidy(s->volumes[i].local.volume, e) < 0 || forget_stage(s, i, e) < 0)
            return -1;
        sync_destroy_here(s, i, drop, "stale");
    }
    return 0;
}

static struct freeze *freeze_guest(struct sync *s)
{
    struct err problem = {0};
    struct freeze *f = guest_freeze(s->config, s->env->settings.freeze_limit, &problem);
    if (f)
        joblog_add(s->log, "freeze guest filesystem");
    else if (problem.kind != ERR_NONE)
        joblog_add(s->log, "freezing failed, the snapshots are only crash-consistent: %s", problem.text);
    return f;
}

static enum freeze_end thaw_guest(struct sync *s, struct freeze *f)
{
    enum freeze_end end;
    struct err problem = {0};
    joblog_add(s->log, "thaw guest filesystem");
    if (guest_thaw(f, &end, &problem) < 0)
        joblog_add(s->log, "thaw guest filesystem failed: %s", problem.text);
    return end;
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

struct taking {
    bool busy;
    bool *idle; /* of each volume: nothing was written since its base, when it was asked */
    bool *same; /* …and still not when the guest was frozen */
    struct volume **volumes;
    size_t *which, n, taken; /* of `volumes`: those of which a snapshot is taken */
};

static void taking_release(struct taking *t)
{
    free(t->idle);
    free(t->same);
    free(t->volumes);
    free(t->which);
}

/* Asked before the freeze, so that a busy guest is not frozen for the question; and not at all where asking
 * again while it is frozen could take long. */
static void taking_begin(struct sync *s, struct taking *t)
{
    *t = (struct taking){.busy = guest_running(s->guest->type, s->guest->id) != 0,
                         .idle = xcalloc(s->n, sizeof *t->idle),
                         .same = xcalloc(s->n, sizeof *t->same),
                         .volumes = xcalloc(s->n, sizeof *t->volumes),
                         .which = xcalloc(s->n, sizeof *t->which)};
    for (size_t i = 0; i < s->n; i++)
        t->idle[i] = !(t->busy && s->volumes[i].info.compares) && unchanged(&s->plan.v[i], &s->volumes[i]);
}

static void choose(struct sync *s, struct taking *t)
{
    t->n = 0;
    for (size_t i = 0; i < s->n; i++) {
        t->same[i] = t->idle[i] && (!t->busy || unchanged(&s->plan.v[i], &s->volumes[i]));
        if (t->same[i])
            continue;
        joblog_add(s->log, "create snapshot '%s' on %s", s->snapshot, s->volids.v[i]);
        t->which[t->n] = i;
        t->volumes[t->n++] = s->volumes[i].local.volume;
    }
}

/* `end` stays where the guest is not frozen. */
static int take(struct sync *s, struct taking *t, enum freeze_end *end, struct err *e)
{
    if (t->busy)
        flush_volumes(s);
    struct freeze *frozen = freeze_guest(s);
    choose(s, t);
    int r = volume_snapshot_all(t->volumes, t->n, s->snapshot, t->busy, &t->taken, e);
    for (size_t i = 0; i < t->taken; i++)
        s->volumes[t->which[i]].taken = true;
    if (frozen)
        *end = thaw_guest(s, frozen);
    return r;
}

/* Before its keep, a driver's snapshot is a temporary of its own, or a snapshot already. */
static int discard(struct sync *s, struct sync_volume *v, struct err *e)
{
    _cleanup_snapshots_ struct snapshots all = {0};
    if (volume_tidy(v->local.volume, e) < 0 || volume_snapshots(v->local.volume, &all, e) < 0)
        return -1;
    const struct snapshot *left = snapshots_find(&all, s->snapshot);
    v->taken = left && volume_snapshot_destroy(v->local.volume, left->name, left->id, e) < 0;
    return v->taken ? -1 : 0;
}

static int discard_taken(struct sync *s, const struct taking *t, struct err *e)
{
    for (size_t i = 0; i < t->taken; i++)
        if (discard(s, &s->volumes[t->which[i]], e) < 0)
            return -1;
    return 0;
}

/* Snapshots at whose end the guest was no longer frozen are of several instants of its file systems. The
 * second time what made them slow may be over; it is not tried for ever. */
static int take_quiet(struct sync *s, struct taking *t, struct err *e)
{
    enum freeze_end end = FREEZE_HELD;
    int r = take(s, t, &end, e);
    if (r == 0 && end == FREEZE_RAN_OUT) {
        joblog_add(s->log, "the guest was thawed while its snapshots were taken: they are taken anew");
        r = discard_taken(s, t, e);
        if (r == 0)
            r = take(s, t, &end, e);
    }
    if (r == 0 && end != FREEZE_HELD)
        joblog_add(s->log,
                   "the snapshots took longer than the %u s for which a guest may be frozen: they are only "
                   "crash-consistent (see freeze-limit in pvesr.conf(5))",
                   s->env->settings.freeze_limit);
    return r;
}

static int keep_taken(struct sync *s, const struct taking *t, struct err *e)
{
    int r = 0;
    steps_enter(s->steps, "keep");
    for (size_t i = 0; i < s->n; i++)
        if (t->same[i])
            reuse_base(s, i);
    for (size_t i = 0; r == 0 && i < t->n; i++) {
        struct sync_volume *v = &s->volumes[t->which[i]];
        r = volume_snapshot_keep(v->local.volume, s->snapshot, &v->new, e);
    }
    return r;
}

int sync_take_snapshots(struct sync *s, struct err *e)
{
    struct taking t;
    steps_enter(s->steps, "snapshot");
    taking_begin(s, &t);
    int r = take_quiet(s, &t, e);
    if (r == 0)
        r = keep_taken(s, &t, e);
    taking_release(&t);
    return r;
}

/* After a failure: the new snapshots go, but those of which the target may hold a part: the next run resumes
 * from them. */
void sync_undo_snapshots(struct sync *s)
{
    for (size_t i = 0; i < s->n; i++) {
        struct sync_volume *v = &s->volumes[i];
        struct err problem = {0};
        if (!v->taken || v->begun)
            continue;
        joblog_add(s->log, "delete snapshot '%s' on %s again: the run failed", s->snapshot, s->volids.v[i]);
        if (discard(s, v, &problem) < 0)
            joblog_add(s->log, "cannot remove the new snapshot again: %s", problem.text);
    }
}
