/* The source before the transfer: what is left of earlier runs goes, and the new snapshots are taken. */
#include "base/clock.h"
#include "base/mem.h"
#include "guest/runtime.h"
#include "run/left-out.h"
#include "run/source/sync-parts.h"
#include "volume/name.h"

#include <stdio.h>
#include <string.h>

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

/* It is the guest's, whether it is replicated or not. What cannot be looked at is no matter to this run. */
static void own_others(struct sync *s)
{
    _cleanup_strv_ struct strv named = STRV_INIT;
    guest_volumes_named(s->config, &named);
    for (size_t i = 0; i < named.n; i++) {
        struct err problem = {0};
        struct env_volume v = {0};
        const char *colon = strchr(named.v[i], ':');
        if (!colon || strv_has(&s->volids, named.v[i]) || volume_name_owner(colon + 1) != s->job->guest ||
            left_out_is_remote(s->env, named.v[i]) ||
            env_volume_open(s->env, named.v[i], s->job->guest, &v, &problem) < 0)
            continue;
        if (volume_own(v.volume, &problem) < 0)
            joblog_add(s->log, "'%s' keeps the mark of a replica: %s", named.v[i], problem.text);
        env_volume_close(&v);
    }
}

int sync_tidy_source(struct sync *s, struct err *e)
{
    steps_enter(s->steps, "tidy");
    for (size_t i = 0; i < s->n; i++) {
        const struct snapshots *drop = &s->plan.v[i].drop_source;
        struct volume *v = s->volumes[i].local.volume;
        if (volume_tidy(v, e) < 0 || forget_stage(s, i, e) < 0 || volume_own(v, e) < 0)
            return -1;
        sync_destroy_here(s, i, drop, "stale");
    }
    own_others(s);
    return 0;
}

/* ---- a quiet guest ---- */

/* What the snapshots of a guest are taken within, while it runs. */
struct quiet {
    struct freeze *freeze; /* NULL: it goes on */
    bool held;             /* as a whole, not only its file systems */
    bool still;            /* nothing is written: it is frozen or held, or was paused already */
    double since;          /* clock_mono */
};

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

static void hold_guest(struct sync *s, struct quiet *q)
{
    struct err problem = {0};
    unsigned limit = s->env->settings.hold_limit;
    if (limit)
        q->freeze = guest_hold(s->config, limit, &problem);
    else
        err_set(&problem, ERR_CONFIG, 0, "hold-limit is 0");
    q->held = q->freeze != NULL;
    q->still = q->held || problem.kind == ERR_NONE;
    if (q->held)
        joblog_add(s->log, "hold the guest still, by %s", guest_held_by(q->freeze));
    else if (q->still && guest_running(s->guest->type, s->guest->id))
        joblog_add(s->log, "the guest stands still already: paused, or its control group frozen, by somebody "
                           "else, or by a run that was killed");
    else if (!q->still)
        joblog_add(
            s->log,
            "the guest goes on while its snapshots are taken, which are of several instants, one after "
            "the other: %s",
            problem.text);
}

/* Before the first, so that what it takes to begin counts as well. */
static void quiet_begin(struct sync *s, bool steps, struct quiet *q)
{
    *q = (struct quiet){.since = clock_mono()};
    q->freeze = freeze_guest(s);
    q->still = q->freeze != NULL;
    if (!q->still && steps)
        hold_guest(s, q);
}

static enum freeze_end quiet_end(struct sync *s, struct quiet *q)
{
    enum freeze_end end;
    struct err problem = {0};
    if (!q->held)
        joblog_add(s->log, "thaw guest filesystem");
    int r = guest_thaw(q->freeze, &end, &problem);
    if (q->held)
        joblog_add(s->log, "the guest goes on, it was held for %.3f s", clock_mono() - q->since);
    if (r < 0)
        joblog_add(s->log, "%s failed: %s", q->held ? "letting it go on" : "thaw guest filesystem",
                   problem.text);
    return end;
}

/* ---- what is taken ---- */

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
    bool steps; /* one snapshot comes after the other */
    bool held;  /* the guest was held as a whole */
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

static bool together(const struct sync *s, size_t i, size_t k)
{
    return volume_snapshot_together(s->volumes[i].local.volume, s->volumes[k].local.volume);
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
    for (size_t i = 1; i < s->n; i++)
        t->steps = t->steps || !together(s, 0, i);
    for (size_t i = 0; i < s->n; i++)
        t->idle[i] = !(t->busy && s->volumes[i].info.compares) && unchanged(&s->plan.v[i], &s->volumes[i]);
}

/* Was the guest started since it was asked? What was unchanged then may be so no more. */
static bool was_started(const struct sync *s, struct taking *t)
{
    bool before = t->busy;
    t->busy = t->busy || guest_running(s->guest->type, s->guest->id) != 0;
    return t->busy != before;
}

static void ask_again(struct sync *s, struct taking *t)
{
    was_started(s, t);
    for (size_t i = 0; i < s->n; i++)
        t->same[i] = t->idle[i] &&
                     (!t->busy || (!s->volumes[i].info.compares && unchanged(&s->plan.v[i], &s->volumes[i])));
}

/* While the guest writes, a volume that was unchanged when it was asked, and another of which a snapshot is
 * taken then, are of two instants. All that are unchanged, are so at the first question. */
static void take_none_or_all(const struct sync *s, struct taking *t)
{
    bool all = true;
    for (size_t i = 0; i < s->n; i++)
        all = all && t->same[i];
    for (size_t i = 0; i < s->n && !all; i++)
        t->same[i] = false;
}

static void add(struct sync *s, struct taking *t, size_t i)
{
    joblog_add(s->log, "create snapshot '%s' on %s", s->snapshot, s->volids.v[i]);
    t->which[t->n] = i;
    t->volumes[t->n++] = s->volumes[i].local.volume;
}

/* Those that one command can take stand side by side. */
static void choose(struct sync *s, struct taking *t, bool still)
{
    _cleanup_free_ bool *done = xcalloc(s->n, sizeof *done);
    ask_again(s, t);
    if (t->busy && !still)
        take_none_or_all(s, t);
    t->n = 0;
    for (size_t i = 0; i < s->n; i++)
        for (size_t k = i; !t->same[i] && k < s->n; k++) {
            if (t->same[k] || done[k] || (k > i && !together(s, i, k)))
                continue;
            done[k] = true;
            add(s, t, k);
        }
}

/* Will nothing be written while they are taken? */
static bool may_be_still(const struct sync *s, const struct taking *t)
{
    return guest_may_freeze(s->config) ||
           (t->steps && s->env->settings.hold_limit && guest_may_hold(s->config));
}

static bool is_worth(const struct sync *s, const struct taking *t)
{
    struct err ignored;
    bool any = false;
    for (size_t i = 0; i < s->n && !any; i++)
        any = !t->idle[i] && volume_snapshot_ahead(s->volumes[i].local.volume, NULL, &ignored) > 0;
    return any;
}

/* What takes long is done while the guest runs. Whatever fails is done when it is frozen. */
static void take_ahead(struct sync *s, const struct taking *t)
{
    if (!t->busy || !is_worth(s, t) || !may_be_still(s, t))
        return;
    for (size_t i = 0; i < s->n; i++) {
        struct sync_volume *v = &s->volumes[i];
        struct err problem;
        if (t->idle[i])
            continue;
        int r = volume_snapshot_ahead(v->local.volume, s->snapshot, &problem);
        v->ahead = r > 0;
        if (r > 0)
            joblog_add(s->log, "%s has many extents: it was cloned before the freeze", s->volids.v[i]);
        if (r < 0)
            joblog_add(s->log, "cannot clone it before the freeze: %s", problem.text);
    }
}

/* `end` stays where the guest is not frozen. */
static int take(struct sync *s, struct taking *t, enum freeze_end *end, struct err *e)
{
    take_ahead(s, t);
    if (t->busy)
        flush_volumes(s);
    struct quiet q;
    quiet_begin(s, t->steps, &q);
    t->held = t->held || q.held;
    choose(s, t, q.still);
    int r = volume_snapshot_all(t->volumes, t->n, s->snapshot, t->busy, &t->taken, e);
    for (size_t i = 0; i < t->taken; i++)
        s->volumes[t->which[i]].taken = true;
    if (q.freeze)
        *end = quiet_end(s, &q);
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

static void tell_too_slow(struct sync *s, const struct taking *t)
{
    if (t->held)
        joblog_add(
            s->log,
            "the snapshots took longer than the %u s for which a guest may be held: they are of several "
            "instants (see hold-limit in pvesr.conf(5))",
            s->env->settings.hold_limit);
    else
        joblog_add(s->log,
                   "the snapshots took longer than the %u s for which a guest may be frozen: they are only "
                   "crash-consistent (see freeze-limit in pvesr.conf(5))",
                   s->env->settings.freeze_limit);
}

/* Snapshots at whose end the guest was no longer frozen are of several instants of its file systems. The
 * second time what made them slow may be over; it is not tried for ever. */
static int take_quiet(struct sync *s, struct taking *t, struct err *e)
{
    enum freeze_end end = FREEZE_HELD;
    int r = take(s, t, &end, e);
    bool started = r == 0 && was_started(s, t);
    if (r == 0 && (started || end == FREEZE_RAN_OUT)) {
        joblog_add(s->log, "the guest was %s while its snapshots were taken: they are taken anew",
                   started   ? "started"
                   : t->held ? "let go"
                             : "thawed");
        r = discard_taken(s, t, e);
        if (r == 0)
            r = take(s, t, &end, e);
    }
    if (r == 0 && end != FREEZE_HELD)
        tell_too_slow(s, t);
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
        if (v->ahead && !v->taken && volume_tidy(v->local.volume, &problem) < 0)
            joblog_add(s->log, "cannot tidy up: %s", problem.text);
        if (!v->taken || v->begun)
            continue;
        joblog_add(s->log, "delete snapshot '%s' on %s again: the run failed", s->snapshot, s->volids.v[i]);
        if (discard(s, v, &problem) < 0)
            joblog_add(s->log, "cannot remove the new snapshot again: %s", problem.text);
    }
}
