#include "run/source/plan.h"

#include "base/mem.h"
#include "run/source/plan-parts.h"
#include "run/source/retain.h"
#include "volume/name.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

void plan_release(struct plan *p)
{
    for (size_t i = 0; i < p->n; i++) {
        struct plan_volume *v = &p->v[i];
        free(v->steps);
        ranges_release(&v->patch);
        free(v->keep_aside.v);
        free(v->move_aside.v);
        strv_release(&v->reasons);
        snapshots_release(&v->clear_target);
        snapshots_release(&v->drop_target);
        snapshots_release(&v->adopt);
        snapshots_release(&v->drop_source);
    }
    free(p->v);
    *p = (struct plan){0};
}

static void steps_add(struct plan_volume *v, const struct snapshot *s, bool is_new, bool resume)
{
    v->steps = xgrow(v->steps, v->n_steps, sizeof *v->steps);
    v->steps[v->n_steps++] = (struct plan_step){.snapshot = *s, .is_new = is_new, .resume = resume};
}

/* ---- replicas in doubt (docs/ARCHITECTURE.md) ---- */

/* Of a snapshot on either side; NULL: no. */
static bool in_doubt(const struct plan_input_volume *v, const struct snapshot *s)
{
    return v->info.lossy && s && s->flags & SNAPSHOT_DOUBTFUL;
}

/* A stage of which nothing sound would come, though something could. */
static bool lossy_stage(const struct plan_input_volume *v, const struct snapshot *base, bool anew)
{
    const struct snapshot *there = base ? snapshots_find_id(&v->replica->snapshots, base->id) : NULL;
    return v->info.lossy && v->replica->stage.doubtful && (anew || !in_doubt(v, there));
}

/* The source snapshot that the target's stage is of, if the transfer can go on: same base as we would use,
 * data readable. */
static const struct snapshot *find_resumable(const struct plan_input *in, const struct plan_input_volume *v,
                                             const struct snapshot *base, bool anew)
{
    const struct stage_info *stage = &v->replica->stage;
    if (!stage->exists || lossy_stage(v, base, anew))
        return NULL;
    const struct snapshot *s = snapshots_find_id(v->snapshots, stage->id);
    if (!s || !(s->flags & SNAPSHOT_READABLE) || !plan_mirrored(in, s))
        return NULL;
    if (base && s->seq <= base->seq)
        return NULL;
    return strcmp(stage->base_id, base ? base->id : "") == 0 ? s : NULL;
}

/* A target that keeps only one restore point gets the new one upon the stage of an interrupted one, in place.
 * If that was interrupted too, its stage stands upon a snapshot that only the source has. So does that of a
 * copy made anew, whatever the replica has. */
static const struct snapshot *find_chained(const struct plan_input_volume *v, bool anew)
{
    const struct stage_info *stage = &v->replica->stage;
    bool of_target = v->replica->info.many || snapshots_find_id(&v->replica->snapshots, stage->base_id);
    if (!stage->exists || (of_target && !anew))
        return NULL;
    return snapshots_find_id(v->snapshots, stage->base_id);
}

/* Was this target snapshot made by a first copy of this job that we remember and that was never acknowledged?
 */
static bool unacknowledged_name(const struct plan_input *in, const char *name)
{
    return in->first_copies && strv_has(in->first_copies, name);
}

static bool unacknowledged(const struct plan_input *in, const struct snapshot *s)
{
    return s->flags & SNAPSHOT_RECEIVED && unacknowledged_name(in, s->name);
}

/* Does the target hold anything besides what is kept aside? */
static bool holds_anything(const struct replica *r)
{
    for (size_t i = 0; i < r->snapshots.n; i++)
        if (!snapshot_is_aside(r->snapshots.v[i].name))
            return true;
    return r->info.exists;
}

/* Does the target hold nothing but what this job left there unfinished? Only certainty counts: a restore
 * point that might have been acknowledged is of value. */
static bool half_made(const struct plan_input *in, const struct replica *r)
{
    bool live_is_one = !r->info.exists;
    if (r->written || (r->info.exists && strcmp(r->owner, in->job_id) != 0))
        return false;
    for (size_t i = 0; i < r->snapshots.n; i++) {
        const struct snapshot *s = &r->snapshots.v[i];
        if (snapshot_is_aside(s->name))
            continue;
        if (!unacknowledged(in, s))
            return false;
        live_is_one |= strcmp(s->id, r->base_id) == 0;
    }
    return live_is_one;
}

/* A plain file has no data of its restore point any more when it was written to, here or by a guest that ran
 * here meanwhile. */
static bool overwritten_base(const struct plan_input *in, const struct plan_input_volume *v)
{
    const struct replica *r = v->replica;
    if (!r->info.exists || r->info.many)
        return false;
    for (size_t i = 0; i < v->snapshots->n; i++)
        if (plan_mirrored(in, &v->snapshots->v[i]) && snapshots_find_id(&r->snapshots, v->snapshots->v[i].id))
            return true;
    return false;
}

/* A point of another job that was received before a later one of that job: kept only as history
 * (run/source/retain.h), nobody's base. */
static bool is_history(const struct plan_input_volume *v, const struct snapshot *s)
{
    char job[24];
    snapshot_job(s->name, job);
    if (!(s->flags & SNAPSHOT_RECEIVED) || !*job)
        return false;
    for (size_t i = 0; i < v->snapshots->n; i++)
        if (v->snapshots->v[i].seq > s->seq && snapshot_is_of_job(v->snapshots->v[i].name, job))
            return true;
    return false;
}

static void plan_chain(const struct plan_input *in, const struct plan_input_volume *v,
                       struct plan_volume *ret)
{
    const struct snapshot *base = ret->full ? NULL : &ret->base;
    /* what was sent before we knew stands upon what is wrong */
    bool doubted = base && in->compared && strv_has(in->compared, base->id); /* the stage may be of then */
    bool fresh = ret->replace || ret->prove || doubted || plan_any_damaged(in, v);
    const struct snapshot *resumable = fresh ? NULL : find_resumable(in, v, base, ret->anew);
    if (v->replica->stage.exists && lossy_stage(v, base, ret->anew))
        strv_addf(&ret->reasons, "an interrupted transfer of '%s' began with embedded blocks: it begins anew",
                  v->replica->stage.snapshot);
    for (size_t i = 0; i < v->snapshots->n; i++) {
        const struct snapshot *s = &v->snapshots->v[i];
        bool resume = resumable && strcmp(resumable->id, s->id) == 0;
        if ((base && s->seq <= base->seq) || !plan_mirrored(in, s) || !(s->flags & SNAPSHOT_READABLE))
            continue;
        if (!ret->replace && !ret->anew && snapshots_find_id(&v->replica->snapshots, s->id) &&
            !plan_is_sent_again(in, v, s))
            continue;
        /* A resumable stage is finished before anything else is sent; what is older comes too late for the
         * order. */
        if (resumable && !resume && s->seq < resumable->seq)
            continue;
        if (!resume &&
            (snapshot_is_of_job(s->name, in->job_id) || !v->replica->info.many || is_history(v, s)))
            continue;
        steps_add(ret, s, false, resume);
        if (resume && !v->info.stream)
            strv_addf(&ret->reasons, "an interrupted transfer of '%s' goes on at byte %" PRIu64, s->name,
                      v->replica->stage.offset);
    }
    struct snapshot new = {0};
    snprintf(new.name, sizeof new.name, "%s", in->new_snapshot);
    steps_add(ret, &new, true, false);
}

/* ---- kept aside, cleared, dropped ---- */

static bool aside_taken(const struct plan_input_volume *v, const struct plan_volume *p, const char *name)
{
    for (size_t i = 0; i < p->keep_aside.n; i++)
        if (strcmp(p->keep_aside.v[i].to, name) == 0)
            return true;
    for (size_t i = 0; i < p->move_aside.n; i++)
        if (strcmp(p->move_aside.v[i].to, name) == 0)
            return true;
    return snapshots_find(&v->replica->snapshots, name);
}

static void asides_add(struct asides *list, const struct plan_input_volume *v, const struct plan_volume *p,
                       const char *from)
{
    struct aside a;
    snprintf(a.from, sizeof a.from, "%s", from);
    unsigned n = 1;
    do
        aside_name(from, n++, a.to);
    while (aside_taken(v, p, a.to));
    list->v = xgrow(list->v, list->n, sizeof *list->v);
    list->v[list->n++] = a;
}

/* Does the target alone hold this state, newer than the base? */
static bool only_there(const struct plan_input *in, const struct plan_input_volume *v,
                       const struct snapshot *base_there, const struct snapshot *s)
{
    return s->seq > base_there->seq && snapshot_is_of_guest(s->name, in->guest) &&
           !snapshots_find_id(v->snapshots, s->id) &&
           (!(s->flags & SNAPSHOT_RECEIVED) || snapshot_is_of_job(s->name, in->job_id) ||
            strcmp(s->id, v->replica->base_id) == 0);
}

static void plan_aside(const struct plan_input *in, const struct plan_input_volume *v,
                       struct plan_volume *ret)
{
    const struct replica *r = v->replica;
    if (r->info.exists && r->written) {
        ret->keep_live_aside = true;
        strv_add(&ret->reasons, "the replica was written to on the target: that state is kept aside");
    }
    bool whole = ret->full || ret->anew;
    const struct snapshot *last = whole ? NULL : plan_newest_common(in, v);
    const struct snapshot *base_there = last ? snapshots_find_id(&r->snapshots, last->id) : NULL;
    for (size_t i = 0; base_there && i < r->snapshots.n; i++) {
        const struct snapshot *s = &r->snapshots.v[i];
        if (!only_there(in, v, base_there, s))
            continue;
        asides_add(&ret->keep_aside, v, ret, s->name);
        strv_addf(&ret->reasons,
                  "restore point '%s' is newer than the base and not on the source: kept aside", s->name);
    }
}

static void keep_aside(const struct plan_input_volume *v, struct plan_volume *ret, const char *name)
{
    asides_add(&ret->keep_aside, v, ret, name);
    strv_addf(&ret->reasons, "'%s' on the target is kept aside as '%s'", name,
              ret->keep_aside.v[ret->keep_aside.n - 1].to);
}

#define LOSES                                                                                                \
    "in a way in which OpenZFS loses long symbolic links, extended attributes and contents of small files"

#define ANEW                                                                                                 \
    ": everything is sent anew, and takes its place when it is complete (until then the target needs room "  \
    "for both)"

static void make_anew(const struct plan_input *in, const struct plan_input_volume *v,
                      const struct snapshot *there, struct plan_volume *ret, const char *why)
{
    const struct snapshots *had = &v->replica->snapshots;
    ret->full = ret->anew = true;
    strv_add(&ret->reasons, why);
    for (size_t i = 0; i < had->n; i++) {
        const struct snapshot *s = &had->v[i];
        bool old = in->history && snapshot_is_of_job(s->name, in->job_id) && !snapshot_is_aside(s->name) &&
                   !snapshots_find_id(v->snapshots, s->id);
        if (old || only_there(in, v, there, s))
            keep_aside(v, ret, s->name);
    }
}

/* Sets anew, and says where there is a doubt. */
static void plan_doubt(const struct plan_input *in, const struct plan_input_volume *v,
                       const struct snapshot *base, struct plan_volume *ret)
{
    const struct snapshot *there = snapshots_find_id(&v->replica->snapshots, base->id);
    /* the guest was moved to a replica in doubt: there is another state under this id */
    bool differs = in_doubt(v, base) && base->flags & SNAPSHOT_RECEIVED && !in_doubt(v, there);
    if (in_doubt(v, there) && in_doubt(v, base)) {
        strv_add(&ret->reasons,
                 "the volume and its replica were both received from an earlier version, " LOSES
                 ", and none is made anew of the other: once the files here are right, "
                 "'zfs inherit pvesr:owner' of the volume's dataset says so");
    } else if (in_doubt(v, there) && v->info.linked) {
        strv_add(&ret->reasons, "the replica, or that of the template on which it stands, was received from "
                                "an earlier version, " LOSES ": destroy both on the target, and the next run "
                                "of each job sends everything anew");
    } else if (in_doubt(v, there)) {
        make_anew(in, v, there, ret, "the replica was received from an earlier version, " LOSES ANEW);
    } else if (differs && snapshot_is_of_guest(there->name, in->guest)) {
        strv_add(&ret->reasons, "the volume came to this node from an earlier version, " LOSES
                                ", and the target has its state from before");
        keep_aside(v, ret, there->name);
    }
    if (v->info.lossy && there->flags & SNAPSHOT_UNTOLD && there->flags & SNAPSHOT_RECEIVED)
        strv_add(&ret->reasons, "the target runs an earlier version, which cannot say whether the replica "
                                "was received " LOSES ": install this version there, too");
}

/* Where nothing sound is left to build on. */
static void send_all(const struct plan_input *in, const struct plan_input_volume *v, struct plan_volume *ret)
{
    const struct snapshot *last = plan_newest_common(in, v);
    if (v->info.one_line && last) {
        make_anew(in, v, snapshots_find_id(&v->replica->snapshots, last->id), ret,
                  "the replica is not what was sent" ANEW);
        return;
    }
    ret->keep_live_aside = !v->replica->info.many;
    strv_add(&ret->reasons, "nothing sound is left on the target to build on: everything is sent");
}

static void plan_proof(const struct plan_input *in, const struct plan_input_volume *v,
                       const struct snapshot *base, struct plan_volume *ret)
{
    const unsigned doubt = SNAPSHOT_CHANGED | SNAPSHOT_UNSEALED;
    const struct snapshot *there = snapshots_find_id(&v->replica->snapshots, base->id);
    ret->prove = plan_needs_proof(in, v, base);
    if (ret->prove && plan_is_marked(in, v, base))
        strv_addf(&ret->reasons,
                  "restore point '%s' on %s was found to be another than it was: it is compared before "
                  "anything is built upon it",
                  there->name, base->damaged ? "this node" : "the target");
    else if (ret->prove)
        strv_addf(&ret->reasons,
                  "%s '%s' on %s may have been written to: it is compared before anything is built upon it",
                  (there->flags | base->flags) & doubt ? "restore point" : "the replica or its restore point",
                  there->name, there->flags & doubt || !(base->flags & doubt) ? "the target" : "this node");
}

/* A guest's snapshot that is not the base is not compared by each run. */
static void tell_changed(const struct plan_input *in, const struct plan_input_volume *v,
                         const struct snapshot *s, struct plan_volume *ret)
{
    const struct snapshot *there = snapshots_find_id(&v->replica->snapshots, s->id);
    bool base = !ret->full && strcmp(ret->base.id, s->id) == 0;
    if (there && (there->flags & SNAPSHOT_CHANGED || plan_is_marked(in, v, s)) && !base && !v->info.stream &&
        plan_mirrored(in, s) && !snapshot_is_of_guest(s->name, in->guest) && !plan_is_wrong(in, v, s))
        strv_addf(&ret->reasons,
                  "'%s' on the target was written to since it was made, or is damaged: 'pvesr verify %s "
                  "--point %s --repair' "
                  "compares it, and sends it again if it is another",
                  there->name, in->job_id, s->name);
}

/* What is wrong stays under another name: it may be somebody's doing. */
static void plan_wrong(const struct plan_input *in, const struct plan_input_volume *v,
                       struct plan_volume *ret)
{
    for (size_t i = 0; i < v->snapshots->n; i++) {
        const struct snapshot *s = &v->snapshots->v[i];
        if (v->info.stream && s->flags & SNAPSHOT_CHANGED)
            strv_addf(&ret->reasons, "snapshot '%s' on this node was written to: nothing is built upon it",
                      s->name);
        tell_changed(in, v, s, ret);
        if (!plan_is_wrong(in, v, s))
            continue;
        if (plan_is_patched(in, v, s) && !ret->full && strcmp(ret->base.id, s->id) == 0)
            damage_find(in->damaged, v->volid, s->id, &ret->patch);
        const struct snapshot *there = snapshots_find_id(&v->replica->snapshots, s->id);
        strv_addf(&ret->reasons, "restore point '%s' on the target is not what it was: %s", there->name,
                  ret->patch.n                   ? "what differs is sent with what has changed since"
                  : plan_is_sent_again(in, v, s) ? "it is sent again"
                                                 : "nothing is built upon it");
        if (!plan_is_sent_again(in, v, s) && v->replica->info.many && !ret->anew &&
            !snapshot_is_aside(there->name) && !(there->flags & SNAPSHOT_STRANGE))
            keep_aside(v, ret, there->name);
    }
}

static bool in_steps(const struct plan_volume *p, const char *id)
{
    for (size_t i = 0; i < p->n_steps; i++)
        if (!p->steps[i].is_new && strcmp(p->steps[i].snapshot.id, id) == 0)
            return true;
    return false;
}

/* Was the base superseded for good: older than the one now used, and nobody's restore point. */
static bool passed_by(const struct plan_volume *p, const struct replica *r, const struct snapshot *s)
{
    return !p->full && s->seq < p->base.seq && strcmp(s->id, r->base_id) != 0;
}

/* Was it acknowledged, for all we know? What failed runs leave is newer than the last sync. */
static bool is_kept_history(const struct plan_input *in, const struct snapshot *there)
{
    return in->history && (in->last_sync == 0 || snapshot_epoch(there->name) <= in->last_sync);
}

/* May it be all that another job's target has in common with us (its jobs were made anew with other targets)?
 * What a failed run of ours left is not. */
static bool sibling_may_need(const struct plan_input *in, const struct plan_input_volume *v,
                             const struct snapshot *s)
{
    bool ours =
        (in->last_sync && snapshot_epoch(s->name) > in->last_sync) || unacknowledged_name(in, s->name);
    return !ours && in->siblings && !siblings_settled(v->snapshots, in->siblings);
}

/* Snapshots of this job that no later run could use. On the source: not the base, not to be sent, not the
 * last acknowledged one, and not on the target, but for those that failed runs left behind the base. */
static void plan_drop(const struct plan_input *in, const struct plan_input_volume *v, struct plan_volume *ret)
{
    for (size_t i = 0; i < v->snapshots->n; i++) {
        const struct snapshot *s = &v->snapshots->v[i];
        if (!snapshot_is_of_job(s->name, in->job_id) || in_steps(ret, s->id) ||
            s->flags & SNAPSHOT_RECEIVED || sibling_may_need(in, v, s) ||
            (!ret->full && strcmp(s->id, ret->base.id) == 0) ||
            (in->last_sync && snapshot_epoch(s->name) == in->last_sync) ||
            (in->parent && strcmp(in->parent, s->name) == 0))
            continue;
        const struct snapshot *there = snapshots_find_id(&v->replica->snapshots, s->id);
        if (there && !passed_by(ret, v->replica, s))
            continue;
        snapshots_add(&ret->drop_source, s);
        if (there && !is_kept_history(in, there) && !snapshot_is_aside(there->name) &&
            there->flags & SNAPSHOT_RECEIVED)
            snapshots_add(&ret->drop_target, there);
    }
}

/* The guest's snapshots from the time when it lived on the target. Once they count as received, they go when
 * the guest's owner deletes them. */
static void plan_adopt(const struct plan_input *in, const struct plan_input_volume *v,
                       struct plan_volume *ret)
{
    for (size_t i = 0; i < v->replica->snapshots.n && !ret->replace && !ret->anew; i++) {
        const struct snapshot *s = &v->replica->snapshots.v[i];
        const struct snapshot *here = snapshots_find_id(v->snapshots, s->id);
        if (here && !(s->flags & SNAPSHOT_RECEIVED) && strcmp(here->name, s->name) == 0 &&
            strv_has(in->guest_snapshots, s->name))
            snapshots_add(&ret->adopt, s);
    }
}

/* A guest snapshot that was deleted and made anew has its old name with another id on the target. One that
 * was made there is nobody else's. */
static void plan_clear(const struct plan_input *in, const struct plan_input_volume *v,
                       struct plan_volume *ret)
{
    for (size_t i = 0; i < ret->n_steps && !ret->replace; i++) {
        const struct plan_step *step = &ret->steps[i];
        const struct snapshot *there = snapshots_find(&v->replica->snapshots, step->snapshot.name);
        if (!there || (!step->is_new && strcmp(there->id, step->snapshot.id) == 0 &&
                       !plan_is_sent_again(in, v, &step->snapshot)))
            continue;
        if (there->flags & SNAPSHOT_RECEIVED) {
            snapshots_add(&ret->clear_target, there);
            continue;
        }
        asides_add(&ret->move_aside, v, ret, there->name);
        strv_addf(&ret->reasons, "the target has a snapshot '%s' of its own: kept aside as '%s'", there->name,
                  ret->move_aside.v[ret->move_aside.n - 1].to);
    }
}

static bool renamable(const struct plan_input *in, const struct plan_input_volume *v,
                      const struct plan_volume *p)
{
    const struct snapshot *there = p->full ? NULL : snapshots_find_id(&v->replica->snapshots, p->base.id);
    return !in->history && !plan_any_damaged(in, v) && there &&
           !((there->flags | p->base.flags) & (SNAPSHOT_CHANGED | SNAPSHOT_UNSEALED)) && !there->damaged &&
           !p->base.damaged && !p->full && !p->anew && p->n_steps == 1 && !p->keep_live_aside &&
           p->keep_aside.n == 0 && p->move_aside.n == 0 && (!v->info.stream || v->info.strict) &&
           v->info.many && v->replica->info.many && snapshot_is_of_job(p->base.name, in->job_id) &&
           snapshot_is_of_job(there->name, in->job_id) && strcmp(v->replica->base_id, p->base.id) == 0;
}

/* What the last sync left on the target was there then. Of a volume that is new since then, it left nothing.
 */
static void tell_lost(const struct plan_input *in, const struct plan_input_volume *v, struct plan_volume *ret)
{
    const struct replica *r = v->replica;
    const struct snapshot *last = NULL;
    for (size_t i = 0; i < v->snapshots->n && in->last_sync; i++)
        if (snapshot_is_of_job(v->snapshots->v[i].name, in->job_id) &&
            snapshot_epoch(v->snapshots->v[i].name) == in->last_sync)
            last = &v->snapshots->v[i];
    if (!last || ret->replace)
        return;
    if (!holds_anything(r) && !r->stage.exists)
        strv_add(&ret->reasons, PLAN_WARNING
                 "the target had a replica of it at the last sync, and has nothing of it now. Was it "
                 "removed there, or is another file system mounted in its place? Everything is sent anew");
    else if (!snapshots_find_id(&r->snapshots, last->id) && r->info.many)
        strv_addf(&ret->reasons,
                  PLAN_WARNING "the target had the restore point '%s' of the last sync, and has it no more",
                  last->name);
    else if (!r->info.exists)
        strv_add(&ret->reasons, PLAN_WARNING
                 "the target had a replica of it at the last sync, and has only its restore points now: "
                 "the replica is made anew from them");
}

/* False: the target has the volume but nothing in common with it. */
static bool without_base(const struct plan_input *in, const struct plan_input_volume *v,
                         struct plan_volume *ret)
{
    const struct replica *r = v->replica;
    ret->full = true;
    if (plan_newest_common(in, v) || plan_any_wrong(in, v)) {
        send_all(in, v, ret);
    } else if (overwritten_base(in, v)) {
        ret->keep_live_aside = true;
        strv_add(&ret->reasons,
                 "its storage keeps no older state of a volume than the live one, and that was written "
                 "to: everything is sent");
    } else if (holds_anything(r)) {
        if (!half_made(in, r))
            return false;
        ret->replace = true;
        strv_add(&ret->reasons, "the target holds only an unfinished first copy of this job: it is replaced");
    }
    return true;
}

/* The same. */
static bool plan_volume(const struct plan_input *in, const struct plan_input_volume *v,
                        struct plan_volume *ret)
{
    ret->volid = v->volid;
    const struct snapshot *base = plan_find_base(in, v);
    if (base) {
        ret->base = *base;
        plan_doubt(in, v, base, ret);
        plan_proof(in, v, base, ret);
    } else if (!without_base(in, v, ret)) {
        return false;
    }
    tell_lost(in, v, ret);
    plan_wrong(in, v, ret);
    const struct snapshot *chained =
        ret->replace || plan_any_damaged(in, v) ? NULL : find_chained(v, ret->anew);
    if (chained && find_resumable(in, v, chained, ret->anew)) {
        ret->base = *chained;
        ret->full = false;
    }
    plan_chain(in, v, ret);
    if (!ret->replace)
        plan_aside(in, v, ret);
    plan_clear(in, v, ret);
    plan_drop(in, v, ret);
    if (in->guest_snapshots && v->replica->info.many)
        plan_adopt(in, v, ret);
    ret->renamable = renamable(in, v, ret);
    if (in->history && !v->replica->info.many)
        strv_add(&ret->reasons,
                 "its storage on the target keeps one restore point of a volume only: 'keep' has "
                 "no effect on it");
    return true;
}

/* Can the target take what the source gives? */
static int check_form(const struct plan_input *in, const struct plan_input_volume *v, struct err *e)
{
    bool stream = v->info.stream;
    if (v->replica->info.stream != stream)
        return err_set(e, ERR_CONFIG, 0,
                       "volume '%s' is sent as %s, and its storage on the target takes %s: map it to "
                       "another one with --target-storage",
                       v->volid, stream ? "a stream of its storage" : "byte ranges",
                       stream ? "byte ranges" : "only a stream of its own kind");
    if (v->info.linked && !plan_find_base(in, v))
        return err_set(
            e, ERR_CONFIG, 0,
            "volume '%s' is a linked clone, and the target has no replica of the template's volume "
            "on which it stands: replicate the template there first, or make a full clone",
            v->volid);
    return 0;
}

int plan_make(const struct plan_input *in, struct plan *ret, struct err *e)
{
    struct plan p = {.v = xcalloc(in->n, sizeof *p.v), .n = in->n};
    _cleanup_strv_ struct strv lost = STRV_INIT;
    for (size_t i = 0; i < in->n; i++) {
        if (check_form(in, &in->volumes[i], e) < 0) {
            plan_release(&p);
            return -1;
        }
        if (!plan_volume(in, &in->volumes[i], &p.v[i]))
            strv_add(&lost, in->volumes[i].volid);
    }
    if (lost.n) {
        plan_release(&p);
        _cleanup_free_ char *list = strv_join(&lost, ",");
        return err_set(
            e, ERR_DATA, 0,
            "No common base snapshot on volume(s) %s. Please remove the problematic volume(s) from the "
            "replication target or delete and re-create the whole job %s",
            list, in->job_id);
    }
    *ret = p;
    return 0;
}
