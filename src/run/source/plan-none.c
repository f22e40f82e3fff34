/* Where there is no base: what is sent whole, what is sent upon what the target has, and what is refused. */
#include "run/source/plan-parts.h"

#include "volume/name.h"

#include <inttypes.h>
#include <string.h>

/* Was this target snapshot made by a first copy of this job that we remember and that was never acknowledged?
 */
bool plan_unacknowledged(const struct plan_input *in, const char *name)
{
    return in->first_copies && strv_has(in->first_copies, name);
}

static bool unacknowledged(const struct plan_input *in, const struct snapshot *s)
{
    return s->flags & SNAPSHOT_RECEIVED && plan_unacknowledged(in, s->name);
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

const struct snapshot *plan_last_synced(const struct plan_input *in, const struct plan_input_volume *v)
{
    const struct snapshot *last = NULL;
    for (size_t i = 0; i < v->snapshots->n && in->last_sync; i++)
        if (snapshot_is_of_job(v->snapshots->v[i].name, in->job_id) &&
            snapshot_epoch(v->snapshots->v[i].name) == in->last_sync)
            last = &v->snapshots->v[i];
    return last;
}

/* What the last sync left on the target was there then. Of a volume that is new since then, it left nothing.
 */
void plan_lost(const struct plan_input *in, const struct plan_input_volume *v, struct plan_volume *ret)
{
    const struct replica *r = v->replica;
    const struct snapshot *last = plan_last_synced(in, v);
    if (!last || ret->replace)
        return;
    if (v->moved)
        strv_add(&ret->reasons, "at the last sync its replica was on another storage of the target");
    else if (!holds_anything(r) && !r->stage.exists)
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

/* May a stage begin as what the target has? */
static bool can_resync(const struct plan_input *in, const struct plan_input_volume *v)
{
    return in->resyncs && v->replica->info.exists && !v->info.stream;
}

/* Is what the target has a replica of this volume, which lost what tells so? A job that never synced knows
 * nothing of what is there, nor does one of a volume that was added since. */
static bool was_replica(const struct plan_input *in, const struct plan_input_volume *v)
{
    const struct replica *r = v->replica;
    bool is = r->info.exists && strcmp(r->owner, in->job_id) == 0;
    for (size_t i = 0; i < r->snapshots.n; i++)
        is = is || snapshot_is_of_job(r->snapshots.v[i].name, in->job_id);
    return !v->info.stream && (in->resync || (in->last_sync && (is || plan_last_synced(in, v))));
}

static void resync(const struct plan_input *in, const struct plan_input_volume *v, struct plan_volume *ret)
{
    const struct plan_volume full = {0}; /* one that began so goes on */
    ret->resync = can_resync(in, v) && !plan_find_resumable(in, v, &full, NULL);
    strv_add(&ret->reasons,
             ret->resync ? "its blocks are compared, and what differs is sent" : "everything is sent");
}

/* Where nothing sound is left to build on. Nothing goes before the new copy is acknowledged: without a base
 * (`full`) plan_drop drops nothing of the target's, plan_clear no more than what is found damaged and sent
 * again, and the live volume is replaced by the commit alone, which keeps what was written to it; where that
 * is all that the storage keeps (`many`), the file is kept aside whole. */
static void send_all(const struct plan_input *in, const struct plan_input_volume *v, struct plan_volume *ret)
{
    const struct snapshot *last = plan_newest_common(in, v);
    if (v->info.one_line && last) {
        plan_make_anew(in, v, snapshots_find_id(&v->replica->snapshots, last->id), ret,
                       "the replica is not what was sent" ANEW);
        return;
    }
    ret->keep_live_aside = !v->replica->info.many;
    strv_add(&ret->reasons, "nothing sound is left on the target to build on");
    resync(in, v, ret);
}

/* A stream of all that a damaged filesystem has may have records that no zfs(8) receives. */
static void tell_of_damage(const struct plan_input_volume *v, struct plan_volume *ret)
{
    bool doubtful = false;
    for (size_t i = 0; i < v->snapshots->n; i++)
        doubtful = doubtful || v->snapshots->v[i].flags & SNAPSHOT_DOUBTFUL;
    if (v->info.lossy && doubtful)
        strv_add(
            &ret->reasons,
            "the volume came to this node from an earlier version, " LOSES
            ": where the target refuses a whole copy of it (\"invalid backup stream\", \"kernel modules "
            "must be upgraded\"), restore the container from a backup, or copy its files into new volumes");
}

bool plan_without_base(const struct plan_input *in, const struct plan_input_volume *v,
                       struct plan_volume *ret)
{
    const struct replica *r = v->replica;
    ret->full = true;
    tell_of_damage(v, ret);
    if (plan_newest_common(in, v) || plan_any_wrong(in, v)) {
        send_all(in, v, ret);
    } else if (overwritten_base(in, v)) {
        ret->keep_live_aside = true;
        strv_add(&ret->reasons, "its storage on the target keeps no older state of a volume than the live "
                                "one, and that was written to");
        resync(in, v, ret);
    } else if (holds_anything(r) && half_made(in, r) && !can_resync(in, v)) {
        ret->replace = true;
        strv_add(&ret->reasons, "the target holds only an unfinished first copy of this job: it is replaced");
    } else if (holds_anything(r)) {
        bool known = half_made(in, r) || was_replica(in, v);
        if (!known || (r->info.exists && !can_resync(in, v)))
            return false;
        ret->unrelated = true;
        ret->keep_live_aside = r->info.exists && !r->info.many;
        strv_addf(
            &ret->reasons,
            PLAN_WARNING "the target has the volume, and no restore point in common with this node: all that "
                         "it has is kept aside%s",
            in->history ? ", but for restore points of --keep, which stay and go as its rules say: 'pvesr "
                          "clone' copies one that is to stay"
                        : "");
        resync(in, v, ret);
    }
    return true;
}

bool plan_in_asides(const struct asides *a, const char *name)
{
    for (size_t i = 0; i < a->n; i++)
        if (strcmp(a->v[i].from, name) == 0)
            return true;
    return false;
}

/* Does the job's history have it, in which it goes when the rules say so? Its other disks' points of the same
 * instant keep their name, too. */
static bool is_history(const struct plan_input *in, const struct snapshot *s)
{
    return in->history && s->flags & SNAPSHOT_RECEIVED && snapshot_is_of_job(s->name, in->job_id);
}

/* What pruning would take, since this node has none of it. */
void plan_unrelated(const struct plan_input *in, const struct plan_input_volume *v, struct plan_volume *ret)
{
    const struct snapshots *had = &v->replica->snapshots;
    for (size_t i = 0; v->replica->info.many && i < had->n; i++) {
        const struct snapshot *s = &had->v[i];
        if ((snapshot_is_of_guest(s->name, in->guest) || s->flags & SNAPSHOT_RECEIVED) &&
            !snapshot_is_aside(s->name) && !(s->flags & SNAPSHOT_STRANGE) &&
            !snapshots_find_id(v->snapshots, s->id) && !plan_in_asides(&ret->move_aside, s->name) &&
            !is_history(in, s))
            plan_keep_aside(v, ret, s->name);
    }
}

/* What its last run left. */
static const struct snapshot *former_newest(const struct plan_input *in, const struct plan_input_volume *v)
{
    const struct snapshots *had = &v->replica->snapshots;
    for (size_t i = 0; in->former && i < had->n; i++)
        if (snapshot_is_of_job(had->v[i].name, in->job_id) && !(had->v[i].flags & SNAPSHOT_STRANGE) &&
            snapshot_epoch(had->v[i].name) == in->former)
            return &had->v[i];
    return NULL;
}

void plan_former(const struct plan_input *in, const struct plan_input_volume *v, struct plan_volume *ret)
{
    const struct snapshot *s = former_newest(in, v);
    if (!s || ret->replace)
        return;
    strv_addf(&ret->reasons,
              PLAN_WARNING "guest %" PRIu32 " is another than that of the last run (" PLAN_OTHER
                           "): the newest that the target has of the former one is kept aside there, and all "
                           "else of it goes as the job's rules say. 'pvesr clone' copies what is to stay; if "
                           "nobody needs it, remove it",
              in->guest);
    if (!v->replica->info.many)
        ret->keep_live_aside = v->replica->info.exists;
    else if (!ret->anew && !plan_in_asides(&ret->keep_aside, s->name) &&
             !plan_in_asides(&ret->move_aside, s->name))
        plan_keep_aside(v, ret, s->name);
}
