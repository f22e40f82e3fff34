/* The source before the transfer: what is left of earlier runs goes, and the new snapshots are taken. */
#include "base/mem.h"
#include "guest/runtime.h"
#include "run/source/sync-parts.h"

#include <stdio.h>
#include <string.h>

/* How long a guest may stay frozen: the snapshots take milliseconds; a storage that takes longer is stuck. */
#define FREEZE_SECONDS 30

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

int sync_take_snapshots(struct sync *s, struct err *e)
{
    steps_enter(s->steps, "snapshot");
    bool busy = guest_running(s->guest->type, s->guest->id) != 0;
    bool *idle = xcalloc(s->n, sizeof *idle);
    /* Asked before the freeze, so that a busy guest is not frozen for the question; and not at all where
     * asking again while it is frozen could take long. */
    for (size_t i = 0; i < s->n; i++)
        idle[i] = !(busy && s->volumes[i].info.compares) && unchanged(&s->plan.v[i], &s->volumes[i]);
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
        int r = v->kept ? volume_snapshot_destroy(v->local.volume, v->new.name, v->new.id, &problem)
                        : volume_tidy(v->local.volume, &problem);
        if (r < 0)
            joblog_add(s->log, "cannot remove the new snapshot again: %s", problem.text);
    }
}
