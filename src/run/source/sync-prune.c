/* After the commit: what the two sides no longer need. What goes is chosen first, so that a plan can tell it.
 */
#include "base/mem.h"
#include "run/source/retain.h"
#include "run/source/sync-parts.h"

#include <string.h>

int sync_prune_target(struct sync *s, struct peer_prune *go, const struct strv *stale, const char *why,
                      struct strv *problems, struct err *e)
{
    size_t total = stale->n;
    for (size_t i = 0; i < s->n; i++)
        total += go[i].go.n + go[i].adopt.n;
    return total ? peer_prune(&s->peer, &s->there, go, stale, why, problems, e) : 0;
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
    for (size_t k = 0; k < had->n && !p->replace && !p->anew; k++)
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

/* Nothing changed since it was taken: it will have the new name. */
static bool gets_the_name(const struct sync_volume *v, const struct snapshot *one)
{
    return v->same && strcmp(one->id, v->new.id) == 0;
}

static void choose_here(const struct sync *s, size_t i, const struct history *history, struct snapshots *go,
                        struct snapshots *left)
{
    const struct sync_volume *v = &s->volumes[i];
    struct snapshots old = {0};
    retain_source(&v->snapshots, s->job->id, s->snapshot, s->siblings, history, &old);
    for (size_t k = 0; k < v->snapshots.n; k++)
        if (!gets_the_name(v, &v->snapshots.v[k]))
            snapshots_add(snapshots_find_id(&old, v->snapshots.v[k].id) ? go : left, &v->snapshots.v[k]);
    snapshots_add(left, &v->new);
    snapshots_release(&old);
}

void sync_prune_choose(const struct sync *s, struct sync_prune *ret)
{
    struct history all = {.job_id = s->job->id};
    const struct history *history = find_history(s, &all) ? &all : NULL;
    ret->n = s->n;
    ret->here = xcalloc(s->n, sizeof *ret->here);
    ret->there = xcalloc(s->n, sizeof *ret->there);
    for (size_t i = 0; i < s->n; i++) {
        struct snapshots left = {0}, there = {0};
        choose_here(s, i, history, &ret->here[i], &left);
        target_after(s, i, &there);
        retain_target(&there, &left, s->job->guest, s->volumes[i].new.id,
                      s->volumes[i].replica.info.many ? history : NULL, &ret->there[i].go);
        ret->there[i].adopt = s->plan.v[i].adopt;
        snapshots_release(&left);
        snapshots_release(&there);
    }
    history_release(&all);
}

void sync_prune_release(struct sync_prune *p)
{
    for (size_t i = 0; i < p->n; i++) {
        snapshots_release(&p->here[i]);
        snapshots_release(&p->there[i].go);
    }
    free(p->here);
    free(p->there);
    *p = (struct sync_prune){0};
}

struct destroying {
    struct joblog *log;
    const char *volid, *kind;
};

static void tell_destroyed(const struct snapshot *one, int result, const struct err *e, void *arg)
{
    const struct destroying *d = arg;
    joblog_add(d->log, "delete %s replication snapshot '%s' on %s", d->kind, one->name, d->volid);
    if (result < 0)
        joblog_add(d->log, "delete %s replication snapshot error: %s", d->kind, e->text);
}

void sync_destroy_here(struct sync *s, size_t i, const struct snapshots *go, const char *kind)
{
    struct destroying d = {s->log, s->volids.v[i], kind};
    struct err problem;
    if (volume_snapshots_destroy(s->volumes[i].local.volume, go, tell_destroyed, &d, &problem) < 0)
        joblog_add(s->log, "delete %s replication snapshot error: %s", kind, problem.text);
}

static void prune_here(struct sync *s, size_t i, const struct snapshots *go)
{
    struct sync_volume *v = &s->volumes[i];
    struct err problem = {0};
    for (size_t k = 0; k < v->snapshots.n; k++) {
        const struct snapshot *one = &v->snapshots.v[k];
        if (gets_the_name(v, one) &&
            volume_snapshot_rename(v->local.volume, one->name, v->new.name, &problem) < 0)
            joblog_add(s->log, "snapshot '%s' keeps its name: %s", one->name, problem.text);
    }
    sync_destroy_here(s, i, go, "previous");
}

bool sync_prune(struct sync *s)
{
    steps_enter(s->steps, "prune");
    struct sync_prune p;
    _cleanup_strv_ struct strv problems = STRV_INIT;
    sync_prune_choose(s, &p);
    for (size_t i = 0; i < s->n; i++)
        prune_here(s, i, &p.here[i]);
    for (size_t i = 0; i < s->stale.n; i++)
        joblog_add(s->log, "delete stale volume '%s' on the target", s->stale.v[i]);
    struct err e = {0};
    if (sync_prune_target(s, p.there, &s->stale, "the guest or the source has it no more", &problems, &e) < 0)
        strv_add(&problems, e.text);
    for (size_t i = 0; i < problems.n; i++)
        joblog_add(s->log, "cannot clean up on the target, the next run will: %s", problems.v[i]);
    sync_prune_release(&p);
    return problems.n == 0;
}
