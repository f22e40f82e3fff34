/* Before anything is built upon what is there: whose it is, with which settings it was made, and what of it
 * is sound.
 *
 * A restore point on the target that somebody may have written to is compared with the source's before
 * anything is built upon it, and the plan made anew with what differs. By each run that would: what was found
 * before may be another since. */
#include "run/lost.h"
#include "run/snapshot.h"
#include "run/source/compare.h"
#include "run/source/sync-parts.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- whose they are ---- */

static int64_t newest_point(const struct sync *s)
{
    int64_t newest = s->state->last_sync;
    for (size_t i = 0; i < s->n; i++)
        for (size_t k = 0; k < s->volumes[i].snapshots.n; k++) {
            const char *name = s->volumes[i].snapshots.v[k].name;
            int64_t epoch = snapshot_is_of_job(name, s->job->id) ? snapshot_epoch(name) : 0;
            newest = epoch > newest ? epoch : newest;
        }
    return newest;
}

/* …that this node received, of whatever job; what is still to come by this node's clock tells nothing. */
static int64_t newest_received(const struct sync *s)
{
    int64_t newest = s->was.came <= s->start ? s->was.came : 0;
    for (size_t i = 0; i < s->n; i++)
        for (size_t k = 0; k < s->volumes[i].snapshots.n; k++) {
            const struct snapshot *one = &s->volumes[i].snapshots.v[k];
            int64_t epoch = snapshot_epoch(one->name);
            if (one->flags & SNAPSHOT_RECEIVED && epoch > newest && epoch <= s->start)
                newest = epoch;
        }
    return newest;
}

static int load_known(struct sync *s, const char *path, struct err *e)
{
    struct volume **volumes = xcalloc(s->n + 1, sizeof(struct volume *));
    for (size_t i = 0; i < s->n; i++)
        volumes[i] = s->volumes[i].local.volume;
    int r = known_look(s->config, volumes, s->n, &s->known, e);
    free(volumes);
    return r < 0 ? -1 : known_load(path, &s->was, e);
}

/* A note of before the last run tells nothing of its guest, nor does one of another clock. What a run found
 * out and did not end holds: its own points are newer. */
static bool is_other(const struct sync *s)
{
    const struct known *was = &s->was;
    return was->epoch <= s->start && known_is_other(was, &s->known) &&
           (was->epoch >= newest_point(s) || was->former == was->epoch);
}

void sync_look_whose(struct sync *s)
{
    struct err problem = {0};
    _cleanup_free_ char *path = known_path(s->env->settings.state_dir, s->job->id);
    int r = load_known(s, path, &problem);
    if (is_other(s))
        s->former = s->was.former = s->was.epoch;
    s->known.former = s->was.former <= s->start ? s->was.former : 0;
    s->known.came = newest_received(s);
    /* should this run be cut, also behind its commit */
    if (r == 0 && s->former && s->locked)
        r = known_store(path, &s->was, &problem);
    if (r < 0)
        joblog_add(s->log, "WARNING: %s", problem.text);
}

/* A note of a guest, or a job, that was before tells nothing of this one's. */
int sync_check_settings(const struct sync *s, struct err *e)
{
    bool tells = !s->former && newest_point(s) > 0;
    _cleanup_strv_ struct strv said = STRV_INIT;
    struct lost l = {.jobs = &s->env->jobs.jobs,
                     .job = s->job,
                     .state = s->state,
                     .here = {tells ? s->was.epoch : 0, &s->was.settings},
                     .there = {tells ? s->peer.noted : 0, &s->peer.settings}};
    if (lost_check(&l, e) < 0)
        return -1;
    if (s->connected) /* by then all is known */
        lost_tell(&l, &said);
    for (size_t i = 0; i < said.n; i++) {
        joblog_add(s->log, "WARNING: %s", said.v[i]);
        fprintf(stderr, "%s: WARNING: %s\n", s->job->id, said.v[i]);
    }
    return 0;
}

/* ---- what is sound ---- */

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
