/* What both sides have, and what of it can be built upon. */
#include "run/source/plan-parts.h"
#include "run/source/retain.h"

#include "volume/name.h"

#include <string.h>

/* May this source snapshot travel: a replication snapshot of the guest, one that its configuration lists, or
 * what makes it a template. */
bool plan_mirrored(const struct plan_input *in, const struct snapshot *s)
{
    return snapshot_is_of_guest(s->name, in->guest) || strcmp(s->name, TEMPLATE_SNAPSHOT) == 0 ||
           (in->guest_snapshots && strv_has(in->guest_snapshots, s->name)) ||
           (in->parent && strcmp(in->parent, s->name) == 0);
}

typedef bool fits_fn(const struct plan_input *in, const struct plan_input_volume *v,
                     const struct snapshot *s);

/* Is it one of which runs take care, by its name here or there? One that somebody renamed is what it was. */
static bool is_known(const struct plan_input *in, const struct snapshot *here, const struct snapshot *there)
{
    return plan_mirrored(in, here) || snapshot_is_of_guest(there->name, in->guest);
}

static const struct snapshot *newest_of(const struct plan_input *in, const struct plan_input_volume *v,
                                        bool known, fits_fn *fits)
{
    const struct snapshot *base = NULL;
    for (size_t i = 0; i < v->snapshots->n; i++) {
        const struct snapshot *s = &v->snapshots->v[i];
        const struct snapshot *there = snapshots_find_id(&v->replica->snapshots, s->id);
        if (there && there->flags & SNAPSHOT_READABLE && is_known(in, s, there) == known &&
            !(s->flags & SNAPSHOT_APART) && (!base || s->seq > base->seq) && (!fits || fits(in, v, s)))
            base = s;
    }
    return base;
}

/* One that somebody may remove at any time is better than none. */
static const struct snapshot *newest(const struct plan_input *in, const struct plan_input_volume *v,
                                     fits_fn *fits)
{
    const struct snapshot *base = newest_of(in, v, true, fits);
    return base ? base : newest_of(in, v, false, fits);
}

const struct snapshot *plan_newest_common(const struct plan_input *in, const struct plan_input_volume *v)
{
    return newest(in, v, NULL);
}

/* ---- what the target has is another ---- */

bool plan_is_damaged(const struct plan_input *in, const struct plan_input_volume *v, const struct snapshot *s)
{
    _cleanup_ranges_ struct ranges r = {0};
    return damage_find(in->damaged, v->volid, s->id, &r) && r.n &&
           snapshots_find_id(&v->replica->snapshots, s->id);
}

static bool is_compared(const struct plan_input *in, const struct snapshot *s)
{
    return in->compared && strv_has(in->compared, s->id);
}

bool plan_is_marked(const struct plan_input *in, const struct plan_input_volume *v, const struct snapshot *s)
{
    const struct snapshot *there = snapshots_find_id(&v->replica->snapshots, s->id);
    return there && (s->damaged || there->damaged) && !is_compared(in, s) &&
           !damage_find(in->damaged, v->volid, s->id, NULL);
}

/* A tree, or one that is writable even now. */
static bool is_spoilt(const struct plan_input_volume *v, const struct snapshot *s)
{
    const struct snapshot *there = snapshots_find_id(&v->replica->snapshots, s->id);
    return there && there->flags & SNAPSHOT_CHANGED &&
           (v->info.stream || !(there->flags & SNAPSHOT_READABLE));
}

bool plan_is_wrong(const struct plan_input *in, const struct plan_input_volume *v, const struct snapshot *s)
{
    return plan_is_damaged(in, v, s) || is_spoilt(v, s);
}

/* The newest one that both have gets right by sending what is wrong of it, where its storage is one of
 * ranges. */
bool plan_is_patched(const struct plan_input *in, const struct plan_input_volume *v, const struct snapshot *s)
{
    return plan_is_damaged(in, v, s) && !v->info.stream && v->replica->info.many &&
           s == plan_newest_common(in, v);
}

/* ---- what the target has not ---- */

static bool is_listed(const struct plan_input *in, const struct snapshot *s)
{
    return in->guest_snapshots && strv_has(in->guest_snapshots, s->name);
}

bool plan_is_missing(const struct plan_input *in, const struct plan_input_volume *v, const struct snapshot *s)
{
    return v->replica->info.many && s->flags & SNAPSHOT_READABLE &&
           !(s->flags & (SNAPSHOT_STRANGE | SNAPSHOT_APART)) && !s->damaged && is_listed(in, s) &&
           !snapshots_find_id(&v->replica->snapshots, s->id);
}

static bool is_sent(const struct plan_volume *p, const struct snapshot *s)
{
    for (size_t i = 0; i < p->n_steps; i++)
        if (strcmp(p->steps[i].snapshot.id, s->id) == 0)
            return true;
    return false;
}

static void tell_lost_here(const struct plan_input *in, const struct plan_input_volume *v,
                           struct plan_volume *ret)
{
    const struct snapshots *there = &v->replica->snapshots;
    for (size_t i = 0; i < there->n && !ret->replace && !ret->anew; i++)
        if (snapshot_lost_here(&there->v[i], v->snapshots, in->guest_snapshots))
            strv_addf(&ret->missing,
                      PLAN_WARNING "this node has not the guest's snapshot '%s', which the guest's "
                                   "configuration lists, and the target has it: it stays there as long as "
                                   "that lists it. Who needs its data: 'pvesr restore-points', 'pvesr clone' "
                                   "on the target. If nobody does, delete the guest's snapshot",
                      there->v[i].name);
}

void plan_tell_missing(const struct plan_input *in, const struct plan_input_volume *v,
                       struct plan_volume *ret)
{
    for (size_t i = 0; i < v->snapshots->n; i++) {
        const struct snapshot *s = &v->snapshots->v[i];
        const struct snapshot *there = snapshots_find_id(&v->replica->snapshots, s->id);
        if (is_sent(ret, s))
            continue;
        if (plan_is_missing(in, v, s))
            strv_addf(&ret->missing,
                      PLAN_WARNING "the target has not the guest's snapshot '%s'%s: the guest could not go "
                                   "back to it there. If it needs that, make the replica anew",
                      s->name,
                      snapshots_find(&v->replica->snapshots, s->name)
                          ? ", but another one of that name, or this one after somebody wrote to it"
                          : "");
        else if (there && is_listed(in, s) && strcmp(there->name, s->name) != 0)
            strv_addf(&ret->missing,
                      PLAN_WARNING "the target has the guest's snapshot '%s' by the name '%s': give it its "
                                   "name again there",
                      s->name, there->name);
    }
    tell_lost_here(in, v, ret);
}

/* Another one is sent again, if it is one that travels by itself and was received. */
bool plan_is_sent_again(const struct plan_input *in, const struct plan_input_volume *v,
                        const struct snapshot *s)
{
    const struct snapshot *there = snapshots_find_id(&v->replica->snapshots, s->id);
    return plan_is_damaged(in, v, s) && v->replica->info.many && !plan_is_patched(in, v, s) &&
           plan_mirrored(in, s) && !snapshot_is_of_job(s->name, in->job_id) &&
           there->flags & SNAPSHOT_RECEIVED;
}

static bool any(const struct plan_input *in, const struct plan_input_volume *v,
                bool (*is)(const struct plan_input *, const struct plan_input_volume *,
                           const struct snapshot *))
{
    for (size_t i = 0; i < v->snapshots->n; i++)
        if (is(in, v, &v->snapshots->v[i]))
            return true;
    return false;
}

bool plan_any_damaged(const struct plan_input *in, const struct plan_input_volume *v)
{
    return any(in, v, plan_is_damaged);
}

bool plan_any_wrong(const struct plan_input *in, const struct plan_input_volume *v)
{
    return any(in, v, plan_is_wrong);
}

/* ---- what can be built upon ---- */

/* Digests that are not those that were written tell nothing of what was there. */
static bool has_lost_digests(const struct plan_input_volume *v, const struct snapshot *s)
{
    const struct snapshot *there = snapshots_find_id(&v->replica->snapshots, s->id);
    return (!v->info.many && s->flags & SNAPSHOT_CHANGED) ||
           (!v->replica->info.many && there && there->flags & SNAPSHOT_CHANGED);
}

/* Not what is wrong, and nothing newer than what must be sent again. A native stream takes no ranges: where
 * anything is damaged, all of it is sent; and it says what has changed since a base that must be the same on
 * both sides. */
static bool is_sound(const struct plan_input *in, const struct plan_input_volume *v, const struct snapshot *s)
{
    if (is_spoilt(v, s) || has_lost_digests(v, s) || (v->info.stream && s->flags & SNAPSHOT_CHANGED) ||
        (damage_find(in->damaged, v->volid, s->id, NULL) && !plan_is_patched(in, v, s)))
        return false;
    if (v->info.stream && plan_any_damaged(in, v))
        return false;
    if ((v->info.stream || !v->replica->info.many) && any(in, v, plan_is_marked))
        return false;
    for (size_t i = 0; i < v->snapshots->n; i++)
        if (v->snapshots->v[i].seq <= s->seq && plan_is_sent_again(in, v, &v->snapshots->v[i]))
            return false;
    return true;
}

const struct snapshot *plan_find_base(const struct plan_input *in, const struct plan_input_volume *v)
{
    return newest(in, v, is_sound);
}

/* Where a change leaves no trace, that the live volume is another than the restore point that it is known to
 * have been tells only that one of them was written to. */
bool plan_needs_proof(const struct plan_input *in, const struct plan_input_volume *v,
                      const struct snapshot *base)
{
    const struct replica *r = v->replica;
    const struct snapshot *there = snapshots_find_id(&r->snapshots, base->id);
    bool changed = there && ((there->flags | base->flags) & (SNAPSHOT_CHANGED | SNAPSHOT_UNSEALED) ||
                             plan_is_marked(in, v, base) || (!r->info.proves && r->written));
    return changed && !v->info.stream && r->info.many && !is_compared(in, base);
}

/* Of one line, nothing newer than the base stays as it is. */
static bool keeps_alone(const struct plan_input *in, const struct plan_input_volume *v,
                        const struct snapshot *s)
{
    _cleanup_(received_release) struct received there = {0};
    for (size_t i = 0; v->info.one_line && i < in->n; i++)
        received_add(&there, &in->volumes[i].replica->snapshots);
    const struct retain by = {
        .job_id = in->job_id, .siblings = in->siblings, .listed = in->guest_snapshots, .there = &there};
    return v->info.one_line && retain_keeps_alone(&by, v->snapshots, s);
}

bool plan_has_here(const struct plan_input_volume *v, const struct snapshot *s)
{
    const struct snapshot *here = snapshots_find_id(v->snapshots, s->id);
    return here && (!v->info.one_line || here->flags & SNAPSHOT_READABLE);
}

bool plan_only_there(const struct plan_input *in, const struct plan_input_volume *v,
                     const struct snapshot *base_there, const struct snapshot *s)
{
    if (s->seq <= base_there->seq || s->flags & SNAPSHOT_STRANGE || plan_has_here(v, s))
        return false;
    bool of_run = snapshot_is_of_job(s->name, in->job_id) || strcmp(s->id, v->replica->base_id) == 0;
    return (snapshot_is_of_guest(s->name, in->guest) && (of_run || !(s->flags & SNAPSHOT_RECEIVED))) ||
           keeps_alone(in, v, s);
}
