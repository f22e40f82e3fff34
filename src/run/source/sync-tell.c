/* What a run would do, for people (`pvesr plan`). */
#include "run/source/sync-parts.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void tell_steps(const struct sync *s, size_t i, struct buf *out)
{
    const struct plan_volume *p = &s->plan.v[i];
    const char *from = p->full ? NULL : p->base.name;
    for (size_t k = 0; k < p->n_steps; k++) {
        const struct plan_step *step = &p->steps[k];
        if (step->is_new)
            buf_addf(out, "  take snapshot '%s'\n", step->snapshot.name);
        if (from)
            buf_addf(out, "  send %s => %s%s\n", from, step->snapshot.name, step->resume ? " (resumed)" : "");
        else
            buf_addf(out, "  send %s %s%s: %s\n", step->snapshot.name, p->resync ? "by digests" : "in full",
                     step->resume ? " (resumed)" : "",
                     p->resync ? "what differs from the replica, which is kept aside if it is of value"
                     : p->anew ? "to take the place of the replica"
                     : s->volumes[i].replica.info.exists ? "the target has no usable snapshot"
                                                         : "the target does not have the volume");
        from = step->snapshot.name;
    }
}

static void tell_each(const char *what, const struct snapshots *all, const char *where, struct buf *out)
{
    for (size_t k = 0; k < all->n; k++)
        buf_addf(out, "  %s '%s' %s\n", what, all->v[k].name, where);
}

static void tell_volume(const struct sync *s, size_t i, const struct sync_prune *after, struct buf *out)
{
    const struct plan_volume *p = &s->plan.v[i];
    bool mapped = strcmp(p->volid, s->there.v[i]) != 0;
    buf_addf(out, "%s%s%s\n", p->volid, mapped ? " -> " : "", mapped ? s->there.v[i] : "");
    for (size_t k = 0; k < p->reasons.n; k++)
        buf_addf(out, "  note: %s\n", p->reasons.v[k]);
    for (size_t k = 0; k < p->missing.n; k++)
        buf_addf(out, "  note: %s\n", p->missing.v[k]);
    tell_each("remove stale snapshot", &p->drop_source, "here", out);
    tell_each("remove stale snapshot", &p->drop_target, "on the target", out);
    if (p->replace)
        buf_addf(out, "  destroy the unfinished copy on the target\n");
    tell_steps(s, i, out);
    tell_each("then remove", &after->here[i], "here", out);
    tell_each("then remove", &after->there[i].go, "on the target", out);
}

void sync_tell_plan(struct sync *s, struct buf *out)
{
    struct sync_prune after;
    buf_addf(out, "job %s: guest %" PRIu32 " from %s to %s, last sync %" PRId64 "\n", s->job->id,
             s->job->guest, s->env->settings.node, s->job->target, s->state->last_sync);
    for (size_t i = 0; i < s->n; i++)
        snprintf(s->volumes[i].new.name, sizeof s->volumes[i].new.name, "%s", s->snapshot);
    for (size_t i = 0; i < s->peer.used.n; i++)
        buf_addf(out, "note: the run would be postponed: %s\n", s->peer.used.v[i]);
    for (size_t i = 0; i < s->warnings.n; i++)
        buf_addf(out, "note: %s\n", s->warnings.v[i]);
    sync_prune_choose(s, &after);
    for (size_t i = 0; i < s->plan.n; i++)
        tell_volume(s, i, &after, out);
    sync_prune_release(&after);
    for (size_t i = 0; i < s->stale.n; i++)
        buf_addf(out, "destroy '%s' on the target: the guest no longer has it\n", s->stale.v[i]);
    for (size_t i = 0; i < s->peer.former.n; i++)
        buf_addf(out, "keep '%s' on the target: it is of a former job '%s', older than this one\n",
                 s->peer.former.v[i], s->job->id);
}

int sync_tell_removal(struct sync *s, struct buf *out, struct err *e)
{
    buf_addf(out, "job %s: is to be removed (%s)\n", s->job->id,
             s->job->remove == REMOVE_FULL ? "full" : "local");
    if (sync_removal_look(s, e) < 0)
        return -1;
    for (size_t i = 0; i < s->n; i++) {
        struct snapshots go = {0};
        sync_removal_choose(s, i, &go);
        buf_addf(out, "%s\n", s->volids.v[i]);
        tell_each("remove", &go, "here", out);
        snapshots_release(&go);
    }
    for (size_t i = 0; i < s->warnings.n; i++)
        buf_addf(out, "note: %s\n", s->warnings.v[i]);
    for (size_t i = 0; i < s->stale.n; i++)
        buf_addf(out, "destroy '%s' on the target: the job is removed\n", s->stale.v[i]);
    return 0;
}
