#include "run/plan.h"

#include "base/mem.h"
#include "base/num.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define PREFIX "__replicate_"

/* "__replicate_100-0_1700000000__" → *job points at "100-0", its length, and the epoch. */
static bool split_name(const char *name, const char **job, size_t *job_len, int64_t *epoch)
{
    if (strncmp(name, PREFIX, strlen(PREFIX)) != 0)
        return false;
    *job = name + strlen(PREFIX);
    *job_len = strcspn(*job, "_");
    const char *digits = *job + *job_len;
    if (*digits++ != '_')
        return false;
    size_t n = strspn(digits, "0123456789");
    if (n == 0 || n > 18 || strcmp(digits + n, "__") != 0)
        return false;
    *epoch = strtoll(digits, NULL, 10);
    return true;
}

bool snapshot_is_of_job(const char *name, const char *job_id)
{
    const char *job;
    size_t len;
    int64_t epoch;
    return split_name(name, &job, &len, &epoch) && strlen(job_id) == len && memcmp(job, job_id, len) == 0;
}

bool snapshot_is_of_guest(const char *name, uint32_t guest)
{
    const char *job;
    size_t len;
    int64_t epoch;
    char want[24];
    int n = snprintf(want, sizeof want, "%" PRIu32 "-", guest);
    return split_name(name, &job, &len, &epoch) && len > (size_t)n && memcmp(job, want, (size_t)n) == 0;
}

int64_t snapshot_epoch(const char *name)
{
    const char *job;
    size_t len;
    int64_t epoch;
    return split_name(name, &job, &len, &epoch) ? epoch : 0;
}

void replica_release(struct replica *r)
{
    snapshots_release(&r->snapshots);
}

void plan_release(struct plan *p)
{
    for (size_t i = 0; i < p->n; i++) {
        struct plan_volume *v = &p->v[i];
        free(v->steps);
        strv_release(&v->keep_aside);
        strv_release(&v->reasons);
        snapshots_release(&v->clear_target);
        snapshots_release(&v->drop_source);
    }
    free(p->v);
    *p = (struct plan){0};
}

void snapshots_add(struct snapshots *s, const struct snapshot *one)
{
    s->v = xreallocarray(s->v, s->n + 1, sizeof *s->v);
    s->v[s->n++] = *one;
}

static void steps_add(struct plan_volume *v, const struct snapshot *s, bool is_new, bool resume)
{
    v->steps = xreallocarray(v->steps, v->n_steps + 1, sizeof *v->steps);
    v->steps[v->n_steps++] = (struct plan_step){.snapshot = *s, .is_new = is_new, .resume = resume};
}

/* May this source snapshot travel: a replication snapshot of the guest, or one that its configuration lists.
 */
static bool mirrored(const struct plan_input *in, const struct snapshot *s)
{
    return snapshot_is_of_guest(s->name, in->guest) ||
           (in->guest_snapshots && strv_has(in->guest_snapshots, s->name)) ||
           (in->parent && strcmp(in->parent, s->name) == 0);
}

static const struct snapshot *find_base(const struct plan_input *in, const struct plan_input_volume *v)
{
    const struct snapshot *base = NULL;
    for (size_t i = 0; i < v->snapshots->n; i++) {
        const struct snapshot *s = &v->snapshots->v[i];
        const struct snapshot *there = snapshots_find_id(&v->replica->snapshots, s->id);
        if (there && there->flags & SNAPSHOT_READABLE && mirrored(in, s) && (!base || s->seq > base->seq))
            base = s;
    }
    return base;
}

/* The source snapshot that the target's stage is of, if the transfer can go on: same base as we would use,
 * data readable. */
static const struct snapshot *find_resumable(const struct plan_input *in, const struct plan_input_volume *v,
                                             const struct snapshot *base)
{
    const struct stage_info *stage = &v->replica->stage;
    if (!stage->exists)
        return NULL;
    const struct snapshot *s = snapshots_find_id(v->snapshots, stage->id);
    if (!s || !(s->flags & SNAPSHOT_READABLE) || !mirrored(in, s))
        return NULL;
    if (base && s->seq <= base->seq)
        return NULL;
    return strcmp(stage->base_id, base ? base->id : "") == 0 ? s : NULL;
}

/* Was this target snapshot made by an attempt of this job that we remember and that was never acknowledged?
 */
static bool unacknowledged(const struct plan_input *in, const struct snapshot *s)
{
    int64_t epoch = snapshot_epoch(s->name);
    return s->flags & SNAPSHOT_RECEIVED && snapshot_is_of_job(s->name, in->job_id) && epoch > in->last_sync &&
           epoch >= (in->last_sync ? 0 : in->first_try) && (in->last_sync || in->first_try);
}

/* Does the target hold nothing but what this job left there unfinished? Only certainty counts: a restore
 * point that might have been acknowledged is of value. */
static bool half_made(const struct plan_input *in, const struct replica *r)
{
    bool live_is_one = !r->info.exists;
    if (r->written || r->snapshots.n == 0 || (r->info.exists && strcmp(r->owner, in->job_id) != 0))
        return false;
    for (size_t i = 0; i < r->snapshots.n; i++) {
        if (!unacknowledged(in, &r->snapshots.v[i]))
            return false;
        live_is_one |= strcmp(r->snapshots.v[i].id, r->base_id) == 0;
    }
    return live_is_one;
}

static void plan_chain(const struct plan_input *in, const struct plan_input_volume *v,
                       struct plan_volume *ret)
{
    const struct snapshot *base = ret->full ? NULL : &ret->base;
    const struct snapshot *resumable = ret->replace ? NULL : find_resumable(in, v, base);
    for (size_t i = 0; i < v->snapshots->n; i++) {
        const struct snapshot *s = &v->snapshots->v[i];
        bool resume = resumable && strcmp(resumable->id, s->id) == 0;
        if ((base && s->seq <= base->seq) || !mirrored(in, s) || !(s->flags & SNAPSHOT_READABLE))
            continue;
        if (!ret->replace && snapshots_find_id(&v->replica->snapshots, s->id))
            continue;
        /* A resumable stage is finished before anything else is sent; what is older comes too late for the
         * order. */
        if (resumable && !resume && s->seq < resumable->seq)
            continue;
        if (!resume && (snapshot_is_of_job(s->name, in->job_id) || !v->replica->info.many))
            continue;
        steps_add(ret, s, false, resume);
        if (resume)
            strv_addf(&ret->reasons, "an interrupted transfer of '%s' goes on at byte %" PRIu64, s->name,
                      v->replica->stage.offset);
    }
    struct snapshot new = {0};
    snprintf(new.name, sizeof new.name, "%s", in->new_snapshot);
    steps_add(ret, &new, true, false);
}

static void plan_aside(const struct plan_input *in, const struct plan_input_volume *v,
                       struct plan_volume *ret)
{
    const struct replica *r = v->replica;
    if (r->info.exists && r->written) {
        ret->keep_live_aside = true;
        strv_add(&ret->reasons, "the replica was written to on the target: that state is kept aside");
    }
    const struct snapshot *base_there = ret->full ? NULL : snapshots_find_id(&r->snapshots, ret->base.id);
    for (size_t i = 0; base_there && i < r->snapshots.n; i++) {
        const struct snapshot *s = &r->snapshots.v[i];
        bool acknowledged = in->last_sync == 0 || snapshot_epoch(s->name) <= in->last_sync;
        if (s->seq > base_there->seq && snapshot_is_of_job(s->name, in->job_id) && acknowledged &&
            !snapshots_find_id(v->snapshots, s->id)) {
            strv_add(&ret->keep_aside, s->name);
            strv_addf(&ret->reasons,
                      "restore point '%s' is newer than the base but gone from the source: kept aside",
                      s->name);
        }
    }
}

static bool in_steps(const struct plan_volume *p, const char *id)
{
    for (size_t i = 0; i < p->n_steps; i++)
        if (!p->steps[i].is_new && strcmp(p->steps[i].snapshot.id, id) == 0)
            return true;
    return false;
}

/* Snapshots of this job on the source that no later run could use: not the base, not to be sent, not on the
 * target, and not the last acknowledged one. */
static void plan_drop(const struct plan_input *in, const struct plan_input_volume *v, struct plan_volume *ret)
{
    for (size_t i = 0; i < v->snapshots->n; i++) {
        const struct snapshot *s = &v->snapshots->v[i];
        if (!snapshot_is_of_job(s->name, in->job_id) || in_steps(ret, s->id) ||
            snapshots_find_id(&v->replica->snapshots, s->id))
            continue;
        if (in->last_sync && snapshot_epoch(s->name) == in->last_sync)
            continue;
        if (in->parent && strcmp(in->parent, s->name) == 0)
            continue;
        snapshots_add(&ret->drop_source, s);
    }
}

/* A guest snapshot that was deleted and made anew has its old name with another id on the target. */
static int plan_clear(const struct plan_input *in, const struct plan_input_volume *v, struct plan_volume *ret,
                      struct err *e)
{
    for (size_t i = 0; i < ret->n_steps && !ret->replace; i++) {
        const struct plan_step *step = &ret->steps[i];
        const struct snapshot *there = snapshots_find(&v->replica->snapshots, step->snapshot.name);
        if (!there || (!step->is_new && strcmp(there->id, step->snapshot.id) == 0))
            continue;
        if (!snapshot_is_of_guest(there->name, in->guest) && !(there->flags & SNAPSHOT_RECEIVED))
            return err_set(
                e, ERR_DATA, 0,
                "volume '%s': the target has a snapshot '%s' of its own, made there: rename or remove it",
                v->volid, there->name);
        snapshots_add(&ret->clear_target, there);
    }
    return 0;
}

static bool renamable(const struct plan_input *in, const struct plan_input_volume *v,
                      const struct plan_volume *p)
{
    return !p->full && p->n_steps == 1 && !p->keep_live_aside && p->keep_aside.n == 0 && !v->info.stream &&
           v->info.many && v->replica->info.many && snapshot_is_of_job(p->base.name, in->job_id) &&
           strcmp(v->replica->base_id, p->base.id) == 0;
}

/* False: the target has the volume but nothing in common with it. */
static bool plan_volume(const struct plan_input *in, const struct plan_input_volume *v,
                        struct plan_volume *ret)
{
    ret->volid = v->volid;
    const struct replica *r = v->replica;
    const struct snapshot *base = find_base(in, v);
    if (base) {
        ret->base = *base;
    } else {
        ret->full = true;
        if (r->info.exists || r->snapshots.n) {
            if (!half_made(in, r))
                return false;
            ret->replace = true;
            strv_add(&ret->reasons,
                     "the target holds only an unfinished first copy of this job: it is replaced");
        }
    }
    plan_chain(in, v, ret);
    if (!ret->replace)
        plan_aside(in, v, ret);
    plan_drop(in, v, ret);
    ret->renamable = renamable(in, v, ret);
    return true;
}

int plan_make(const struct plan_input *in, struct plan *ret, struct err *e)
{
    struct plan p = {.v = xcalloc(in->n, sizeof *p.v), .n = in->n};
    _cleanup_strv_ struct strv lost = STRV_INIT;
    for (size_t i = 0; i < in->n; i++) {
        if (in->volumes[i].replica->info.stream != in->volumes[i].info.stream) {
            plan_release(&p);
            return err_set(e, ERR_CONFIG, 0,
                           "volume '%s': the storage on the target is of another kind (one sends a native "
                           "stream, the other "
                           "byte ranges)",
                           in->volumes[i].volid);
        }
        if (!plan_volume(in, &in->volumes[i], &p.v[i])) {
            strv_add(&lost, in->volumes[i].volid);
        } else if (plan_clear(in, &in->volumes[i], &p.v[i], e) < 0) {
            plan_release(&p);
            return -1;
        }
    }
    if (lost.n) {
        plan_release(&p);
        _cleanup_free_ char *list = strv_join(&lost, ",");
        return err_set(
            e, ERR_DATA, 0,
            "No common base snapshot on volume(s) %s\nPlease remove the problematic volume(s) from the "
            "replication target or delete and re-create the whole job %s",
            list, in->job_id);
    }
    *ret = p;
    return 0;
}

void retain_source(const struct snapshots *source, const char *job_id, const char *new_snapshot,
                   struct snapshots *ret)
{
    for (size_t i = 0; i < source->n; i++)
        if (snapshot_is_of_job(source->v[i].name, job_id) && strcmp(source->v[i].name, new_snapshot) != 0)
            snapshots_add(ret, &source->v[i]);
}

void retain_target(const struct snapshots *target, const struct snapshots *source_after, uint32_t guest,
                   const char *new_snapshot_id, struct snapshots *ret)
{
    for (size_t i = 0; i < target->n; i++) {
        const struct snapshot *s = &target->v[i];
        if (strcmp(s->id, new_snapshot_id) == 0 || snapshots_find_id(source_after, s->id))
            continue;
        if (strncmp(s->name, "diverged_", 9) == 0)
            continue;
        if (snapshot_is_of_guest(s->name, guest) || s->flags & SNAPSHOT_RECEIVED)
            snapshots_add(ret, s);
    }
}
