#include "run/target/policy.h"

#include "run/snapshot.h"
#include "volume/name.h"

#include <inttypes.h>
#include <string.h>

int policy_peer(const struct policy_peer *p, struct err *e)
{
    if (!p->is || strcmp(p->says, p->is) == 0)
        return 0;
    return err_set(
        e, ERR_CONFIG, 0,
        "the key of node '%s' was used by one that says it is node '%s': give each node a key of its own "
        "here, with its own name in 'pvesr agent --peer'",
        p->is, p->says);
}

bool policy_guest_may_come(const struct policy_guest *g)
{
    return !g->owner && !g->twice;
}

static int refuse_without_owner(const struct policy_guest *g, struct err *e)
{
    if (g->twice)
        return err_set(e, ERR_CONFIG, 0,
                       "guest '%" PRIu32 "' has two configuration files, so that nobody owns it: remove one",
                       g->guest);
    return err_set(e, ERR_CONFIG, 0,
                   "guest '%" PRIu32
                   "' is not known on node '%s', also not %u s later: its configuration file must "
                   "be in the tree of that node, too, which is to be the same on all nodes",
                   g->guest, g->self, g->waited);
}

int policy_guest(const struct policy_guest *g, struct err *e)
{
    bool local = g->owner && strcmp(g->owner, g->self) == 0;
    if (!g->peer) /* as ever; what it may remove is bound to replicas of its own job */
        return local ? err_set(e, ERR_CONFIG, 0, "guest '%" PRIu32 "' is on local node", g->guest) : 0;
    if (local)
        return err_set(e, ERR_CONFIG, 0,
                       "guest '%" PRIu32 "' is on local node '%s': its volumes are no replicas there",
                       g->guest, g->self);
    if (!g->owner)
        return refuse_without_owner(g, e);
    if (strcmp(g->owner, g->peer) != 0)
        return err_set(e, ERR_CONFIG, 0,
                       "guest '%" PRIu32 "' is on node '%s': node '%s' has nothing to replicate of it",
                       g->guest, g->owner, g->peer);
    return 0;
}

int policy_replace(const struct policy_replace *r, struct err *e)
{
    if (r->written || !r->received || (r->exists && strcmp(r->owner, r->job) != 0))
        return err_set(e, ERR_DATA, 0,
                       "the target's volume is not an unfinished copy of job '%s': it is not replaced",
                       r->job);
    if (r->exists && snapshot_is_of_job(r->shows, r->job))
        return err_set(
            e, ERR_DATA, 0,
            "the replica shows restore point '%s', which may have been acknowledged: it is not replaced. "
            "If nobody needs it, rename or remove '%s' on the target, and the next run copies everything",
            r->shows, r->volid);
    return 0;
}

int policy_prune(const struct policy_prune *p, struct err *e)
{
    const struct snapshot *s = p->snapshot;
    if (strcmp(s->id, p->base_id) == 0)
        return err_set(e, ERR_DATA, 0,
                       "snapshot '%s' is the restore point that the replica shows: it is not removed",
                       s->name);
    if (snapshot_is_aside(s->name))
        return err_set(e, ERR_DATA, 0, "snapshot '%s' is kept aside: it is not removed", s->name);
    if (!snapshot_is_of_guest(s->name, p->guest) && !(s->flags & SNAPSHOT_RECEIVED))
        return err_set(e, ERR_DATA, 0, "snapshot '%s' was not made by replication: it is not removed",
                       s->name);
    return 0;
}

int policy_mark(const struct policy_mark *m, struct err *e)
{
    const struct snapshot *s = m->snapshot;
    if (s->flags & SNAPSHOT_STRANGE)
        return err_set(e, ERR_DATA, 0, "somebody gave snapshot '%s' this name: nothing is noted at it",
                       s->name);
    if (!snapshot_is_of_guest(s->name, m->guest) && !(s->flags & SNAPSHOT_RECEIVED))
        return err_set(e, ERR_DATA, 0, "snapshot '%s' was not made by replication: nothing is noted at it",
                       s->name);
    return 0;
}

int policy_drop(const struct policy_drop *d, struct err *e)
{
    if (!d->stale)
        return err_set(e, ERR_DATA, 0, "volume '%s' belongs to the job: it is not removed", d->volid);
    if (d->other)
        return err_set(e, ERR_CONFIG, 0,
                       "it is the same as '%s', under another name, and that is not to be removed", d->other);
    return 0;
}

bool policy_is_replica(const struct policy_unmarked *u)
{
    return u->same_id == 1 && (u->same_name > 1 || !u->newer);
}

int policy_shown_as(const char *job, const char *as, struct err *e)
{
    if (snapshot_is_of_job(as, job))
        return 0;
    return err_set(e, ERR_DATA, 0, "damaged message: '%s' is not a replication snapshot of job '%s'", as,
                   job);
}

int policy_aside_as(const char *as, struct err *e)
{
    if (snapshot_name_portable(as) && snapshot_is_aside(as))
        return 0;
    return err_set(e, ERR_DATA, 0, "damaged message: '%s' is not a name for what is kept aside", as);
}
