/* A restore point on the target that somebody may have written to is compared with the source's before
 * anything is built upon it, and the plan made anew with what differs. By each run that would: what was found
 * before may be another since. */
#include "run/source/compare.h"
#include "run/source/sync-parts.h"

#include <inttypes.h>

static void tell(struct sync *s, size_t i, const struct snapshot *base, const struct ranges *r)
{
    if (r->n)
        joblog_add(s->log, "%s: on node '%s' %" PRIu64 " bytes of '%s' in %zu ranges are not what they were",
                   s->volids.v[i], s->target->node.name, ranges_bytes(r), base->name, r->n);
    else
        joblog_add(s->log, "%s: on node '%s' '%s' is what it was", s->volids.v[i], s->target->node.name,
                   base->name);
}

/* The target is to know it as well (verify.h). Not where it is this node's that is damaged. */
static int note_there(struct sync *s, size_t i, const struct snapshot *base, bool damaged, struct err *e)
{
    const struct snapshot *there = snapshots_find_id(&s->volumes[i].replica.snapshots, base->id);
    char problem[PEER_PROBLEM_MAX];
    if (base->damaged || !there || damaged == (there->damaged != 0))
        return 0;
    if (peer_mark(&s->peer, s->there.v[i], base->id, damaged, problem, e) < 0)
        return -1;
    if (*problem)
        joblog_add(s->log, "%s: this could not be noted on node '%s': %s", s->volids.v[i],
                   s->target->node.name, problem);
    return 0;
}

static int prove_volume(struct sync *s, size_t i, struct rate *rate, struct err *e)
{
    const struct plan_volume *p = &s->plan.v[i];
    struct compare c = {.peer = &s->peer,
                        .rate = rate,
                        .volume = s->volumes[i].local.volume,
                        .snapshot = &p->base,
                        .there = s->there.v[i],
                        .id = p->base.id};
    joblog_add(s->log, "%s: '%s' on node '%s' may have been written to: it is compared first", s->volids.v[i],
               p->base.name, s->target->node.name);
    int r = compare_volume(&c, e);
    if (r > 0) /* only the run's own lock could be wanted: asked again and again, that would never end */
        r = err_set(e, ERR_DATA, 0, "%s: says that somebody else needs what this run has locked",
                    s->target->node.name);
    if (r == 0) {
        tell(s, i, &p->base, &c.ranges);
        damage_forget(&s->state->damaged, s->volids.v[i], p->base.id);
        if (c.ranges.n)
            damage_set(&s->state->damaged, s->volids.v[i], p->base.id, &c.ranges);
        strv_add(&s->compared, p->base.id);
        r = note_there(s, i, &p->base, c.ranges.n, e);
    }
    ranges_release(&c.ranges);
    return r < 0 ? err_wrap(e, "volume '%s'", s->volids.v[i]) : 0;
}

static bool any_to_prove(const struct sync *s)
{
    for (size_t i = 0; i < s->plan.n; i++)
        if (s->plan.v[i].prove)
            return true;
    return false;
}

int sync_prove(struct sync *s, struct err *e)
{
    struct rate rate;
    rate_init(&rate, s->job->rate * 1e6);
    while (any_to_prove(s)) {
        steps_enter(s->steps, "compare");
        for (size_t i = 0; i < s->plan.n; i++)
            if (s->plan.v[i].prove && prove_volume(s, i, &rate, e) < 0)
                return -1;
        plan_release(&s->plan);
        if (sync_plan(s, e) < 0)
            return -1;
    }
    return 0;
}
