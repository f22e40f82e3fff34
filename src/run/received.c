#include "run/received.h"

#include "base/mem.h"
#include "conf/keep.h"
#include "run/snapshot.h"

#include <stdio.h>
#include <string.h>

void received_release(struct received *r)
{
    lookup_release(&r->names);
    free(r->v);
    *r = (struct received){0};
}

static struct received_job *find(const struct received *r, const char *job_id)
{
    for (size_t i = 0; i < r->n; i++)
        if (strcmp(r->v[i].id, job_id) == 0)
            return &r->v[i];
    return NULL;
}

static void count(struct received *r, const char *job_id)
{
    struct received_job *of = find(r, job_id);
    if (!of) {
        r->v = xgrow(r->v, r->n, sizeof *r->v);
        of = &r->v[r->n++];
        *of = (struct received_job){0};
        snprintf(of->id, sizeof of->id, "%s", job_id);
    }
    of->n++;
}

void received_add(struct received *r, const struct snapshots *s)
{
    char job[24];
    for (size_t i = 0; i < s->n; i++) {
        const struct snapshot *one = &s->v[i];
        snapshot_job(one->name, job);
        if (*job && one->flags & SNAPSHOT_RECEIVED && !(one->flags & SNAPSHOT_STRANGE) &&
            lookup_add(&r->names, one->name, 0))
            count(r, job);
    }
}

static int look_at_volume(struct volume *v, const char *volid, void *arg, struct err *e)
{
    _cleanup_snapshots_ struct snapshots all = {0};
    int r = volume_snapshots(v, &all, e);
    received_add(arg, &all);
    return r;
}

bool received_look(struct env *env, uint32_t guest, struct received *ret)
{
    struct err ignored;
    _cleanup_strv_ struct strv problems =
        STRV_INIT; /* who removes anything has looked, too, and tells them */
    return env_each_volume(env, guest, true, look_at_volume, ret, &problems, &ignored) == 0;
}

bool received_several(const struct received *all, const char *snapshot)
{
    char id[24];
    snapshot_job(snapshot, id);
    const struct received_job *of = find(all, id);
    return of && of->n > 1;
}

/* Is there a section of it that cannot be read? */
static bool is_unread(const struct jobs *jobs, const char *job_id)
{
    for (size_t i = 0; i < jobs->n_unread; i++)
        if (strcmp(jobs->unread[i].id, job_id) == 0)
            return true;
    return false;
}

/* Its `keep` may be cut off, or is bad: it is not known how many points it is to keep. */
static bool is_vague(const struct job *job)
{
    struct keep keep;
    struct err ignored;
    return job->keep ? keep_parse(job->keep, &keep, &ignored) < 0 : job->cut;
}

enum received_is received_is(const struct received *all, struct jobs *jobs, const char *snapshot)
{
    char id[24];
    struct keep keep;
    snapshot_job(snapshot, id);
    const struct job *job = jobs_find(jobs, id);
    bool ruled = job && keep_history(job->keep, &keep), several = received_several(all, snapshot);
    if (ruled && job->remove == REMOVE_NOT)
        return RECEIVED_RULED;
    if (!job && is_unread(jobs, id))
        return RECEIVED_FREE;
    bool keeps_one = job && job->remove == REMOVE_NOT && !is_vague(job);
    return ruled || (several && !keeps_one) ? RECEIVED_FREE : RECEIVED_BASE;
}
