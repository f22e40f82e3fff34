#include "sched/purge.h"

#include "state/jobstate.h"

#include <string.h>

void purge_release(struct purge *p)
{
    for (size_t i = 0; i < p->n; i++)
        free(p->v[i].target);
    free(p->v);
    *p = (struct purge){0};
}

struct round {
    const struct purge *before;
    struct purge found;
    const struct jobs *jobs;
    const struct guest_list *guests;
    const char *node;
};

/* The first job of the guest; jobs are sorted by guest. */
static size_t first_job(const struct jobs *jobs, uint32_t guest)
{
    size_t low = 0, high = jobs->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (jobs->v[middle].guest < guest)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool has_job(const struct round *r, uint32_t guest, const char *target)
{
    const struct guest_entry *g = guests_find(r->guests, guest);
    if (!g || strcmp(g->node, r->node) != 0)
        return false;
    for (size_t i = first_job(r->jobs, guest); i < r->jobs->n && r->jobs->v[i].guest == guest; i++)
        if (strcmp(r->jobs->v[i].target, target) == 0)
            return true;
    return false;
}

static bool was_found(const struct purge *p, uint32_t guest, const char *target)
{
    for (size_t i = 0; i < p->n; i++)
        if (p->v[i].guest == guest && strcmp(p->v[i].target, target) == 0)
            return true;
    return false;
}

/* Asked once to look and once more under the lock. */
static bool keep(uint32_t guest, const char *target, void *arg)
{
    struct round *r = arg;
    if (has_job(r, guest, target))
        return true;
    if (was_found(r->before, guest, target))
        return false;
    struct purge *f = &r->found;
    if (was_found(f, guest, target))
        return true;
    f->v = xgrow(f->v, f->n, sizeof *f->v);
    f->v[f->n++] = (struct purge_entry){guest, xstrdup(target)};
    return true;
}

int purge_round(struct purge *p, const char *state_dir, const struct jobs *jobs,
                const struct guest_list *guests, const char *node, int64_t now, struct err *e)
{
    if (!jobs->digest[0] || (p->last <= now && now - p->last < PURGE_INTERVAL))
        return 0;
    struct round r = {.before = p, .jobs = jobs, .guests = guests, .node = node};
    int rc = job_states_purge(state_dir, keep, &r, e);
    if (rc < 0) {
        purge_release(&r.found);
        p->last = now;
        return err_wrap(e, "cannot drop the states of removed jobs");
    }
    purge_release(p);
    *p = r.found;
    p->last = now;
    return 0;
}
