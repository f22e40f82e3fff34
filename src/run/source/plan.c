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
        strv_release(&v->missing);
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

/* ---- blocks above 128 KiB (volume/zfs/large.c) ---- */

/* Does nobody know whether the stage has as they are what `s` has of them? By the base it is known; of what
 * is partly received its token says it. */
static bool large_unsure(const struct plan_input_volume *v, const struct snapshot *base,
                         const struct snapshot *s)
{
    const struct stage_info *stage = &v->replica->stage;
    return s->flags & SNAPSHOT_LARGE && !*stage->token && !stage->large &&
           !(base && base->flags & SNAPSHOT_LARGE);
}

/* Upon parts nothing but parts; upon whole blocks nothing from where they are in parts, or may be. Where
 * neither side has such yet, or nothing is there, it is for the settings to say, but a stage stays as it
 * began. */
static void plan_large(const struct plan_input *in, const struct plan_input_volume *v,
                       struct plan_volume *ret)
{
    const struct snapshot *there = ret->full ? NULL : snapshots_find_id(&v->replica->snapshots, ret->base.id);
    const struct stage_info *stage = &v->replica->stage;
    const struct snapshot *staged = stage->exists ? snapshots_find_id(v->snapshots, stage->id) : NULL;
    unsigned here = ret->base.flags, told = there ? there->flags : 0;
    if (v->info.encrypted && !v->replica->info.encrypts)
        return; /* it is sent as it is stored */
    if (told & SNAPSHOT_LARGE && !(here & SNAPSHOT_LARGE)) {
        plan_make_anew(
            in, v, there, ret,
            "the replica has blocks above 128 KiB as they are, and this node may have received them "
            "in parts: no difference fits" ANEW);
        there = NULL;
    }
    bool begun = staged && staged->flags & SNAPSHOT_LARGE && stage->large;
    if (there && !(here & told & SNAPSHOT_SMALL))
        ret->large = told & SNAPSHOT_LARGE;
    else
        ret->large = begun ? stage->large & SNAPSHOT_LARGE : in->large;
    if (there && here & SNAPSHOT_LARGE && !(told & (SNAPSHOT_LARGE | SNAPSHOT_SMALL)))
        strv_add(&ret->reasons,
                 "the target cannot say whether the replica has blocks above 128 KiB as they are: where ZFS "
                 "takes no difference in parts, install this version there, too");
}

/* The source snapshot that the target's stage is of, if the transfer can go on: same base as we would use,
 * data readable. */
const struct snapshot *plan_find_resumable(const struct plan_input *in, const struct plan_input_volume *v,
                                           const struct plan_volume *p, const struct snapshot *base)
{
    const char *upon = p->resync ? STAGE_OF_LIVE : base ? base->id : "";
    const struct stage_info *stage = &v->replica->stage;
    if (!stage->exists || lossy_stage(v, base, p->anew))
        return NULL;
    const struct snapshot *s = snapshots_find_id(v->snapshots, stage->id);
    if (!s || !(s->flags & SNAPSHOT_READABLE) || !plan_mirrored(in, s))
        return NULL;
    if ((base && s->seq <= base->seq) || large_unsure(v, base, s))
        return NULL;
    return strcmp(stage->base_id, upon) == 0 ? s : NULL;
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

/* …and does it go on upon that? */
static bool find_chain(const struct plan_input *in, const struct plan_input_volume *v,
                       const struct plan_volume *p, const struct snapshot *chained)
{
    struct plan_volume upon = {.anew = p->anew};
    return plan_find_resumable(in, v, &upon, chained);
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
    bool fresh = ret->replace || ret->prove || doubted || (plan_any_damaged(in, v) && !ret->resync);
    const struct snapshot *resumable = fresh ? NULL : plan_find_resumable(in, v, ret, base);
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
    struct aside a = {0};
    snprintf(a.from, sizeof a.from, "%s", from);
    unsigned n = 1;
    do
        aside_name(from, n++, a.to);
    while (aside_taken(v, p, a.to));
    list->v = xgrow(list->v, list->n, sizeof *list->v);
    list->v[list->n++] = a;
}

static void asides_drop(struct asides *list, const char *from)
{
    size_t kept = 0;
    for (size_t i = 0; i < list->n; i++)
        if (strcmp(list->v[i].from, from) != 0)
            list->v[kept++] = list->v[i];
    list->n = kept;
}

/* Of one line, what is newer than the shown one lies in a stage, and goes with that where the transfer begins
 * anew. */
static bool is_staged(const struct plan_input_volume *v, const struct snapshot *s)
{
    const struct snapshot *shown = snapshots_find_id(&v->replica->snapshots, v->replica->base_id);
    return v->info.one_line && s->flags & SNAPSHOT_RECEIVED && shown && s->seq > shown->seq;
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
        if (!plan_only_there(in, v, base_there, s))
            continue;
        bool staged = is_staged(v, s);
        asides_add(staged ? &ret->move_aside : &ret->keep_aside, v, ret, s->name);
        if (!staged && !(s->flags & SNAPSHOT_CHANGED) && !s->damaged)
            strcpy(ret->keep_aside.v[ret->keep_aside.n - 1].base_id, base_there->id);
        strv_addf(&ret->reasons,
                  "restore point '%s' is newer than the base and not on the source: kept aside, if it holds "
                  "anything that the base does not",
                  s->name);
    }
}

void plan_keep_aside(const struct plan_input_volume *v, struct plan_volume *ret, const char *name)
{
    asides_add(&ret->keep_aside, v, ret, name);
    strv_addf(&ret->reasons, "'%s' on the target is kept aside as '%s'", name,
              ret->keep_aside.v[ret->keep_aside.n - 1].to);
}

void plan_make_anew(const struct plan_input *in, const struct plan_input_volume *v,
                    const struct snapshot *there, struct plan_volume *ret, const char *why)
{
    const struct snapshots *had = &v->replica->snapshots;
    ret->full = ret->anew = true;
    strv_add(&ret->reasons, why);
    for (size_t i = 0; i < had->n; i++) {
        const struct snapshot *s = &had->v[i];
        bool old = in->history && snapshot_is_of_job(s->name, in->job_id) && !snapshot_is_aside(s->name) &&
                   !plan_has_here(v, s);
        if (old || plan_only_there(in, v, there, s))
            plan_keep_aside(v, ret, s->name);
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
        plan_make_anew(in, v, there, ret, "the replica was received from an earlier version, " LOSES ANEW);
    } else if (differs && snapshot_is_of_guest(there->name, in->guest)) {
        strv_add(&ret->reasons, "the volume came to this node from an earlier version, " LOSES
                                ", and the target has its state from before");
        plan_keep_aside(v, ret, there->name);
    }
    if (v->info.lossy && there->flags & SNAPSHOT_UNTOLD && there->flags & SNAPSHOT_RECEIVED)
        strv_add(&ret->reasons, "the target runs an earlier version, which cannot say whether the replica "
                                "was received " LOSES ": install this version there, too");
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
            plan_keep_aside(v, ret, there->name);
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

/* Was it taken after the last sync, as what failed runs leave? By the order in which the storage has them; by
 * the clock only where that is not there. */
static bool follows_last_sync(const struct plan_input *in, const struct plan_input_volume *v,
                              const struct snapshot *s)
{
    const struct snapshot *last = plan_last_synced(in, v);
    return last ? s->seq > last->seq : in->last_sync && snapshot_epoch(s->name) > in->last_sync;
}

/* Was it acknowledged, for all we know? */
static bool is_kept_history(const struct plan_input *in, const struct plan_input_volume *v,
                            const struct snapshot *s)
{
    return in->history && !follows_last_sync(in, v, s);
}

/* May it be all that another job's target has in common with us (its jobs were made anew with other targets)?
 * What a failed run of ours left is not. */
static bool sibling_may_need(const struct plan_input *in, const struct plan_input_volume *v,
                             const struct snapshot *s)
{
    bool ours = follows_last_sync(in, v, s) || plan_unacknowledged(in, s->name);
    return !ours && in->siblings && !siblings_settled(v->snapshots, in->siblings);
}

/* Snapshots of this job that no later run could use. On the source: not the base, not to be sent, not the
 * last acknowledged one, and not on the target, but for those that failed runs left behind the base. */
static void plan_drop(const struct plan_input *in, const struct plan_input_volume *v, struct plan_volume *ret)
{
    for (size_t i = 0; i < v->snapshots->n; i++) {
        const struct snapshot *s = &v->snapshots->v[i];
        if (!snapshot_is_of_job(s->name, in->job_id) || in_steps(ret, s->id) ||
            s->flags & (SNAPSHOT_RECEIVED | SNAPSHOT_STRANGE) || sibling_may_need(in, v, s) ||
            (!ret->full && strcmp(s->id, ret->base.id) == 0) ||
            (in->last_sync && snapshot_epoch(s->name) == in->last_sync) ||
            (in->parent && strcmp(in->parent, s->name) == 0))
            continue;
        const struct snapshot *there = snapshots_find_id(&v->replica->snapshots, s->id);
        bool spare = v->info.stream && !(s->flags & SNAPSHOT_READABLE); /* of no use but as a base */
        if (there && (!passed_by(ret, v->replica, s) || plan_in_asides(&ret->keep_aside, there->name) ||
                      (spare && is_kept_history(in, v, s))))
            continue;
        snapshots_add(&ret->drop_source, s);
        if (there && !is_kept_history(in, v, s) && !snapshot_is_aside(there->name) &&
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
 * was made there is nobody else's; and what this node has by another name, which somebody gave it, may be the
 * base: nothing that a base may need goes before what is to come is safe. */
static bool stays_aside(const struct plan_input_volume *v, const struct plan_volume *p,
                        const struct plan_step *step, const struct snapshot *there)
{
    bool same = strcmp(there->id, step->snapshot.id) == 0;
    return !(there->flags & SNAPSHOT_RECEIVED) || p->unrelated ||
           (!same && snapshots_find_id(v->snapshots, there->id));
}

static void plan_clear(const struct plan_input *in, const struct plan_input_volume *v,
                       struct plan_volume *ret)
{
    for (size_t i = 0; i < ret->n_steps && !ret->replace; i++) {
        const struct plan_step *step = &ret->steps[i];
        const struct snapshot *there = snapshots_find(&v->replica->snapshots, step->snapshot.name);
        if (!there || (!step->is_new && strcmp(there->id, step->snapshot.id) == 0 &&
                       !plan_is_sent_again(in, v, &step->snapshot)))
            continue;
        if (!stays_aside(v, ret, step, there)) {
            snapshots_add(&ret->clear_target, there);
            continue;
        }
        asides_drop(&ret->keep_aside, there->name); /* at the commit the name is another's */
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
           !((there->flags | p->base.flags) & (SNAPSHOT_CHANGED | SNAPSHOT_UNSEALED | SNAPSHOT_STRANGE)) &&
           !there->damaged && !p->base.damaged && !p->full && !p->anew && p->n_steps == 1 &&
           !p->keep_live_aside && p->keep_aside.n == 0 && p->move_aside.n == 0 &&
           (!v->info.stream || v->info.strict) && v->info.many && v->replica->info.many &&
           snapshot_is_of_job(p->base.name, in->job_id) && snapshot_is_of_job(there->name, in->job_id) &&
           strcmp(v->replica->base_id, p->base.id) == 0;
}

/* False: plan_without_base. */
static bool plan_volume(const struct plan_input *in, const struct plan_input_volume *v,
                        struct plan_volume *ret)
{
    ret->volid = v->volid;
    const struct snapshot *base = plan_find_base(in, v);
    if (base) {
        ret->base = *base;
        plan_doubt(in, v, base, ret);
        plan_proof(in, v, base, ret);
    } else if (!plan_without_base(in, v, ret)) {
        return false;
    }
    plan_large(in, v, ret);
    plan_lost(in, v, ret);
    plan_wrong(in, v, ret);
    const struct snapshot *chained =
        ret->replace || plan_any_damaged(in, v) ? NULL : find_chained(v, ret->anew);
    if (chained && find_chain(in, v, ret, chained)) {
        ret->base = *chained;
        ret->full = ret->resync = false;
    }
    plan_chain(in, v, ret);
    plan_tell_missing(in, v, ret);
    if (!ret->replace)
        plan_aside(in, v, ret);
    plan_clear(in, v, ret);
    if (ret->unrelated)
        plan_unrelated(in, v, ret);
    plan_former(in, v, ret);
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

static bool is_in_parts(const struct plan_input_volume *v, const struct snapshot *base)
{
    const struct snapshot *there = base ? snapshots_find_id(&v->replica->snapshots, base->id) : NULL;
    return there && there->flags & SNAPSHOT_LARGE && !(base->flags & SNAPSHOT_LARGE);
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
    if (v->info.linked && is_in_parts(v, plan_find_base(in, v)))
        return err_set(
            e, ERR_CONFIG, 0,
            "volume '%s' is a linked clone of a template that has blocks above 128 KiB as they are on "
            "the target, and in parts here: destroy both replicas there, and replicate the template "
            "first",
            v->volid);
    if (v->info.linked && !plan_find_base(in, v))
        return err_set(
            e, ERR_CONFIG, 0,
            "volume '%s' is a linked clone, and the target has no replica of the template's volume "
            "on which it stands: replicate the template there first, or make a full clone",
            v->volid);
    return 0;
}

/* The way out that the family has. */
static int refuse(const struct plan_input *in, const struct strv *lost, struct err *e)
{
    _cleanup_free_ char *list = strv_join(lost, ",");
    bool stream = false;
    for (size_t i = 0; i < in->n; i++)
        stream = stream || (in->volumes[i].info.stream && strv_has(lost, in->volumes[i].volid));
    _cleanup_free_ char *resync = stream ? xstrdup("; renamed there, instead of removed, they keep what only "
                                                   "they may have")
                                  : in->resyncs
                                      ? xasprintf("; or let 'pvesr run --id %s --resync' keep aside what "
                                                  "the target has, and send what differs",
                                                  in->job_id)
                                      : xstrdup("; or install this version there, too, which can "
                                                "send what differs");
    return err_set(
        e, ERR_DATA, 0,
        "No common base snapshot on volume(s) %s. Please remove the problematic volume(s) from the "
        "replication target or delete and re-create the whole job %s%s",
        list, in->job_id, resync);
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
        return refuse(in, &lost, e);
    }
    *ret = p;
    return 0;
}
