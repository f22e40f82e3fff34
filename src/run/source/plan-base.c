/* What both sides have, and what of it can be built upon. */
#include "run/source/plan-parts.h"

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

static const struct snapshot *newest(const struct plan_input *in, const struct plan_input_volume *v,
                                     bool (*fits)(const struct plan_input *, const struct plan_input_volume *,
                                                  const struct snapshot *))
{
    const struct snapshot *base = NULL;
    for (size_t i = 0; i < v->snapshots->n; i++) {
        const struct snapshot *s = &v->snapshots->v[i];
        const struct snapshot *there = snapshots_find_id(&v->replica->snapshots, s->id);
        /* one that somebody renamed here is what it was */
        bool known = plan_mirrored(in, s) || (there && snapshot_is_of_guest(there->name, in->guest));
        if (there && there->flags & SNAPSHOT_READABLE && known && (!base || s->seq > base->seq) &&
            (!fits || fits(in, v, s)))
            base = s;
    }
    return base;
}

const struct snapshot *plan_newest_common(const struct plan_input *in, const struct plan_input_volume *v)
{
    return newest(in, v, NULL);
}

/* ---- what a verification found (damage.h) ---- */

/* Is it wrong on the target, by what we know, and there still under its name? */
bool plan_is_wrong(const struct plan_input *in, const struct plan_input_volume *v, const struct snapshot *s)
{
    _cleanup_ranges_ struct ranges r = {0};
    return damage_find(in->damaged, v->volid, s->id, &r) && r.n &&
           snapshots_find_id(&v->replica->snapshots, s->id);
}

/* The newest one that both have gets right by sending what is wrong of it, where its storage is one of
 * ranges. */
bool plan_is_patched(const struct plan_input *in, const struct plan_input_volume *v, const struct snapshot *s)
{
    return plan_is_wrong(in, v, s) && !v->info.stream && v->replica->info.many &&
           s == plan_newest_common(in, v);
}

/* Another one is sent again, if it is one that travels by itself and was received. */
bool plan_is_sent_again(const struct plan_input *in, const struct plan_input_volume *v,
                        const struct snapshot *s)
{
    const struct snapshot *there = snapshots_find_id(&v->replica->snapshots, s->id);
    return plan_is_wrong(in, v, s) && v->replica->info.many && !plan_is_patched(in, v, s) &&
           plan_mirrored(in, s) && !snapshot_is_of_job(s->name, in->job_id) &&
           there->flags & SNAPSHOT_RECEIVED;
}

bool plan_any_wrong(const struct plan_input *in, const struct plan_input_volume *v)
{
    for (size_t i = 0; i < v->snapshots->n; i++)
        if (plan_is_wrong(in, v, &v->snapshots->v[i]))
            return true;
    return false;
}

/* Not what is wrong, and nothing newer than what must be sent again. A native stream takes no ranges: where
 * anything is wrong, all of it is sent. */
static bool is_sound(const struct plan_input *in, const struct plan_input_volume *v, const struct snapshot *s)
{
    if (damage_find(in->damaged, v->volid, s->id, NULL) && !plan_is_patched(in, v, s))
        return false;
    if (v->info.stream && plan_any_wrong(in, v))
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
