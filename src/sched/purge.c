#include "sched/purge.h"

#include "state/jobstate.h"

#include <string.h>

void purge_release(struct purge *p)
{
    lookup_release(&p->found);
    strv_release(&p->dropped);
    *p = (struct purge){0};
}

struct round {
    const struct purge *before;
    struct purge found;
    const struct jobs *jobs;
    const struct guest_list *guests;
    const char *node;
};

static bool has_job(const struct round *r, uint32_t guest, const char *target)
{
    const struct guest_entry *g = guests_find(r->guests, guest);
    if (!g || strcmp(g->node, r->node) != 0)
        return false;
    size_t end;
    for (size_t i = jobs_of_guest(r->jobs, guest, &end); i < end; i++)
        if (strcmp(r->jobs->v[i].target, target) == 0)
            return true;
    for (size_t i = 0; i < r->jobs->n_unread; i++) /* to whatever node */
        if (r->jobs->unread[i].guest == guest)
            return true;
    return false;
}

/* Asked once to look and once more under the lock. */
static bool keep(uint32_t guest, const char *target, void *arg)
{
    struct round *r = arg;
    if (has_job(r, guest, target))
        return true;
    _cleanup_free_ char *key = xasprintf("%u %s", (unsigned)guest, target);
    if (!lookup_has(&r->before->found, key)) {
        lookup_add(&r->found.found, key, 0);
        return true;
    }
    _cleanup_free_ char *told =
        xasprintf("replication.cfg names no job of guest %u to node '%s' any more: its state here is dropped",
                  (unsigned)guest, target);
    if (guests_is_on(guest, &(struct guests_on){r->guests, r->node}))
        strv_add_once(&r->found.dropped, told);
    return false;
}

int purge_round(struct purge *p, const char *state_dir, const struct jobs *jobs,
                const struct guest_list *guests, const char *node, int64_t now, struct err *e)
{
    if (!jobs->digest[0] || (p->last <= now && now - p->last < PURGE_INTERVAL))
        return 0;
    struct round r = {.before = p, .jobs = jobs, .guests = guests, .node = node};
    if (job_states_purge(state_dir, keep, &r, e) < 0) {
        purge_release(&r.found);
        p->last = now;
        return err_wrap(e, "cannot drop the states of removed jobs");
    }
    purge_release(p);
    *p = r.found;
    p->last = now;
    return 0;
}
