/* After the commit: what the two sides no longer need. What goes is chosen first, so that a plan can tell it.
 */
#include "base/mem.h"
#include "run/source/sync-parts.h"

#include <string.h>

#define GONE "the guest or the source has it no more"

int sync_prune_target(struct sync *s, struct peer_prune *go, const char *why, struct strv *problems,
                      struct err *e)
{
    size_t total = 0;
    for (size_t i = 0; i < s->n; i++)
        total += go[i].go.n + go[i].adopt.n;
    return total ? peer_prune(&s->peer, &s->there, go, why, problems, e) : 0;
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
 * while it was the target itself. Where neither side keeps more than one, there is nothing to count; a target
 * that does not has the new one. */
static void add_points(const struct sync *s, size_t i, struct history *ret)
{
    const struct snapshots *here = &s->volumes[i].snapshots;
    struct snapshots there = {0}, points = {0};
    bool many = s->volumes[i].replica.info.many;
    if (!many && !s->volumes[i].info.many)
        return;
    target_after(s, i, &there);
    for (size_t k = 0; k < there.n; k++)
        if (many ? !unacknowledged(s, &s->plan.v[i], &there.v[k]) : strcmp(there.v[k].name, s->snapshot) == 0)
            snapshots_add(&points, &there.v[k]);
    for (size_t k = 0; k < here->n; k++)
        if (here->v[k].flags & SNAPSHOT_RECEIVED)
            snapshots_add(&points, &here->v[k]);
    history_add(ret, &points);
    snapshots_release(&there);
    snapshots_release(&points);
}

void sync_received(const struct sync *s, struct received *here, struct received *there)
{
    for (size_t i = 0; i < s->n; i++) {
        received_add(here, &s->volumes[i].snapshots);
        received_add(there, &s->volumes[i].replica.snapshots);
    }
}

void sync_leaving_choose(const struct sync *s, const struct snapshots *all, const struct history *history,
                         const struct received *here, struct snapshots *ret)
{
    const struct retain by = {.job_id = s->job->id,
                              .new_snapshot = "",
                              .siblings = s->siblings,
                              .history = history,
                              .jobs = &s->env->jobs.jobs,
                              .here = here,
                              .leave = s->job->remove == REMOVE_LOCAL};
    retain_source(&by, all, ret);
}

bool sync_history(const struct sync *s, const struct snapshots *more, struct history *ret)
{
    struct keep rules;
    if (!keep_history(s->job->keep, &rules))
        return false;
    for (size_t i = 0; i < s->n; i++)
        add_points(s, i, ret);
    if (more)
        history_add(ret, more);
    history_prune(ret, &rules);
    return true;
}

/* ---- the histories of other jobs ---- */

struct others {
    struct history *v;
    size_t n;
};

static void others_release(struct others *o)
{
    for (size_t i = 0; i < o->n; i++)
        history_release(&o->v[i]);
    free(o->v);
}

/* What the target got of another job by runs of this one is on its own target. Those came since this job is,
 * and since the guest is here. How many are older, on one volume? */
static size_t count_older(const struct sync *s, size_t i, const char *job_id)
{
    const struct snapshots *there = &s->volumes[i].replica.snapshots;
    int64_t since = s->known.came > s->state->began ? s->known.came : s->state->began;
    size_t n = 0;
    for (size_t k = 0; k < there->n; k++)
        n += there->v[k].flags & SNAPSHOT_RECEIVED && snapshot_is_of_job(there->v[k].name, job_id) &&
             snapshot_epoch(there->v[k].name) <= since;
    return n;
}

/* One that is older is what the last run before it brought along; more are a history, of when this target was
 * that of the other job. As long as the rules keep any of it, what comes along counts with it, so that it
 * comes to its end by them. */
static bool has_history(const struct sync *s, const char *job_id)
{
    for (size_t i = 0; i < s->n; i++)
        if (s->volumes[i].replica.info.many && count_older(s, i, job_id) > 1)
            return true;
    return false;
}

static void add_other(const struct sync *s, const struct job *job, struct others *ret)
{
    struct keep rules;
    if (strcmp(job->id, s->job->id) == 0 || job->remove != REMOVE_NOT || !keep_history(job->keep, &rules) ||
        !has_history(s, job->id))
        return;
    struct history h = {.job_id = job->id, .now = s->start};
    for (size_t i = 0; i < s->n; i++) {
        struct snapshots there = {0};
        target_after(s, i, &there);
        history_add(&h, &there);
        snapshots_release(&there);
    }
    history_prune(&h, &rules);
    ret->v = xgrow(ret->v, ret->n, sizeof *ret->v);
    ret->v[ret->n++] = h;
}

static void find_others(const struct sync *s, struct others *ret)
{
    size_t end;
    const struct jobs *jobs = &s->env->jobs.jobs;
    for (size_t i = jobs_of_guest(jobs, s->job->guest, &end); i < end; i++)
        add_other(s, &jobs->v[i], ret);
}

/* Nothing changed since it was taken: it will have the new name. */
static bool gets_the_name(const struct sync_volume *v, const struct snapshot *one)
{
    return v->same && strcmp(one->id, v->new.id) == 0;
}

static void choose_here(const struct sync *s, size_t i, const struct retain *by, struct snapshots *go,
                        struct snapshots *left)
{
    const struct sync_volume *v = &s->volumes[i];
    struct snapshots old = {0};
    retain_source(by, &v->snapshots, &old);
    for (size_t k = 0; k < v->snapshots.n; k++)
        if (!gets_the_name(v, &v->snapshots.v[k]))
            snapshots_add(snapshots_find_id(&old, v->snapshots.v[k].id) ? go : left, &v->snapshots.v[k]);
    snapshots_add(left, &v->new);
    snapshots_release(&old);
}

/* Of what goes here, that which the target keeps may be the base of another time: should somebody roll the
 * replica back to it. Where nothing but that is left of it, it stays. */
static void choose_spare(const struct sync_volume *v, const struct snapshots *there,
                         const struct snapshots *go_there, struct snapshots *here, struct snapshots *spare)
{
    struct snapshots go = {0};
    for (size_t i = 0; i < here->n; i++) {
        const struct snapshot *one = &here->v[i];
        bool stays = snapshots_find_id(there, one->id) && !snapshots_find_id(go_there, one->id);
        if (stays && v->info.stream && !(one->flags & SNAPSHOT_READABLE))
            continue;
        snapshots_add(&go, one);
        if (stays)
            snapshots_add(spare, one);
    }
    snapshots_release(here);
    *here = go;
}

static void choose_there(const struct sync *s, size_t i, const struct retain *by,
                         const struct snapshots *left, struct sync_prune *ret)
{
    struct snapshots there = {0};
    struct retain one = *by;
    if (!s->volumes[i].replica.info.many)
        one.history = NULL;
    target_after(s, i, &there);
    retain_target(&one, &there, left, s->volumes[i].new.id, &ret->there[i].go);
    ret->there[i].adopt = s->plan.v[i].adopt;
    choose_spare(&s->volumes[i], &there, &ret->there[i].go, &ret->here[i], &ret->spare[i]);
    snapshots_release(&there);
}

void sync_prune_choose(const struct sync *s, struct sync_prune *ret)
{
    struct history all = {.job_id = s->job->id, .now = s->start};
    _cleanup_(received_release) struct received here = {0}, there = {0};
    _cleanup_(others_release) struct others others = {0};
    sync_received(s, &here, &there);
    find_others(s, &others);
    struct retain by = {.others = others.v,
                        .n_others = others.n,
                        .job_id = s->job->id,
                        .new_snapshot = s->snapshot,
                        .siblings = s->siblings,
                        .history = sync_history(s, NULL, &all) ? &all : NULL,
                        .jobs = &s->env->jobs.jobs,
                        .here = &here,
                        .there = &there,
                        .listed = guest_config_snapshots(s->config)};
    ret->n = s->n;
    ret->here = xcalloc(s->n, sizeof *ret->here);
    ret->there = xcalloc(s->n, sizeof *ret->there);
    ret->spare = xcalloc(s->n, sizeof *ret->spare);
    for (size_t i = 0; i < s->n; i++) {
        struct snapshots left = {0};
        choose_here(s, i, &by, &ret->here[i], &left);
        choose_there(s, i, &by, &left, ret);
        snapshots_release(&left);
    }
    history_release(&all);
}

void sync_prune_release(struct sync_prune *p)
{
    for (size_t i = 0; i < p->n; i++) {
        snapshots_release(&p->here[i]);
        snapshots_release(&p->there[i].go);
        snapshots_release(&p->spare[i]);
    }
    free(p->spare);
    free(p->here);
    free(p->there);
    *p = (struct sync_prune){0};
}

struct destroying {
    struct joblog *log;
    const char *volid, *kind;
    struct err *e; /* of the last that failed */
    int result;
};

static void tell_destroyed(const struct snapshot *one, int result, const struct err *e, void *arg)
{
    struct destroying *d = arg;
    joblog_add(d->log, "delete %s replication snapshot '%s' on %s", d->kind, one->name, d->volid);
    if (result >= 0)
        return;
    joblog_add(d->log, "delete %s replication snapshot error: %s", d->kind, e->text);
    *d->e = *e;
    d->result = -1;
}

int sync_destroy_of(struct sync *s, struct volume *v, const char *volid, const struct snapshots *go,
                    const char *kind, struct err *e)
{
    struct destroying d = {s->log, volid, kind, e, 0};
    if (volume_snapshots_destroy(v, go, tell_destroyed, &d, e) == 0)
        return d.result;
    joblog_add(s->log, "delete %s replication snapshot error: %s", kind, e->text);
    return -1;
}

void sync_destroy_here(struct sync *s, size_t i, const struct snapshots *go, const char *kind)
{
    struct err told;
    sync_destroy_of(s, s->volumes[i].local.volume, s->volids.v[i], go, kind, &told);
}

static void prune_here(struct sync *s, size_t i, const struct sync_prune *p)
{
    struct sync_volume *v = &s->volumes[i];
    struct err problem = {0};
    struct destroying d = {s->log, s->volids.v[i], "previous", &problem, 0};
    _cleanup_snapshots_ struct snapshots go = {0};
    for (size_t k = 0; k < v->snapshots.n; k++) {
        const struct snapshot *one = &v->snapshots.v[k];
        if (gets_the_name(v, one) &&
            volume_snapshot_rename(v->local.volume, one->name, v->new.name, &problem) < 0)
            joblog_add(s->log, "snapshot '%s' keeps its name: %s", one->name, problem.text);
    }
    for (size_t k = 0; k < p->here[i].n; k++) {
        const struct snapshot *one = &p->here[i].v[k];
        if (snapshots_find_id(&p->spare[i], one->id) &&
            volume_snapshot_reduce(v->local.volume, one->name, one->id, &problem) == 0)
            tell_destroyed(one, 0, NULL, &d);
        else
            snapshots_add(&go, one);
    }
    sync_destroy_here(s, i, &go, "previous");
}

/* One at a time, as each may take long: the target asks before each whose the guest is, and we what it has.
 */
static int drop_stale(struct sync *s, struct strv *problems, struct err *e)
{
    for (size_t i = 0; i < s->stale.n; i++) {
        const char *volid = s->stale.v[i];
        _cleanup_strv_ struct strv here = STRV_INIT, there = STRV_INIT;
        if (sync_replicated_now(s, &here, &there, e) < 0)
            return err_wrap(e, "what is stale stays");
        if (strv_has(&there, volid)) {
            strv_addf(problems, "stale volume '%s': the guest has it again by now: it stays", volid);
            continue;
        }
        joblog_add(s->log, "delete stale volume '%s' on the target", volid);
        if (peer_drop(&s->peer, volid, &there, GONE, problems, e) < 0)
            return -1;
    }
    return 0;
}

bool sync_prune(struct sync *s)
{
    steps_enter(s->steps, "prune");
    struct sync_prune p;
    _cleanup_strv_ struct strv problems = STRV_INIT;
    sync_prune_choose(s, &p);
    for (size_t i = 0; i < s->n; i++)
        prune_here(s, i, &p);
    struct err e = {0};
    if (sync_prune_target(s, p.there, GONE, &problems, &e) < 0 || drop_stale(s, &problems, &e) < 0)
        strv_add(&problems, e.text);
    for (size_t i = 0; i < problems.n; i++)
        joblog_add(s->log, "cannot clean up on the target, the next run will: %s", problems.v[i]);
    sync_prune_release(&p);
    return problems.n == 0 && sync_clear_gone(s);
}
