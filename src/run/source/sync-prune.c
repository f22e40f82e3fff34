/* After the commit: what the two sides no longer need. */
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

bool sync_prune(struct sync *s)
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
    if (sync_prune_target(s, go, &s->stale, "the guest or the source has it no more", &problems, &e) < 0)
        strv_add(&problems, e.text);
    for (size_t i = 0; i < problems.n; i++)
        joblog_add(s->log, "cannot clean up on the target, the next run will: %s", problems.v[i]);
    for (size_t i = 0; i < s->n; i++)
        snapshots_release(&go[i].go);
    free(go);
    history_release(&all);
    return problems.n == 0;
}
