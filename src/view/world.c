#include "view/world.h"

#include <stdlib.h>
#include <string.h>

int world_load(struct world *w, struct tree *t, const char *node, const struct jobs *jobs, struct err *e)
{
    w->node = node;
    w->jobs = jobs;
    return guests_load(t, &w->guests, e) < 0 ? -1 : members_load(t, &w->members, e);
}

int world_load_states(struct world *w, const char *state_dir, struct err *e)
{
    struct job_states *now = job_states_load(state_dir, e);
    if (!now)
        return -1;
    job_states_free(w->states);
    w->states = now;
    return 0;
}

void world_release(struct world *w)
{
    guests_release(&w->guests);
    members_release(&w->members);
    job_states_free(w->states);
    *w = (struct world){0};
}

static int by_id(const void *a, const void *b)
{
    return strcmp((*(const struct job *const *)a)->id, (*(const struct job *const *)b)->id);
}

const struct job **world_by_id(const struct world *w)
{
    size_t n = world_jobs(w);
    const struct job **sorted = xcalloc(n + 1, sizeof(struct job *));
    for (size_t i = 0; i < n; i++)
        sorted[i] = world_job(w, i);
    qsort(sorted, n, sizeof *sorted, by_id);
    return sorted;
}

json_t *world_state(const struct world *w, const struct job *job, int64_t now)
{
    _cleanup_(job_view_release) struct job_view v = {0};
    if (!job_view_init(&v, job, w->node, &w->guests))
        return NULL;
    job_view_look(&v, &w->members, w->states, w->jobs->written, now);
    json_t *o = job_view_json(&v);
    if (!job->source)
        json_object_set_new(o, "source", json_string(w->node));
    return o;
}

/* Clients leave out a job without `source`: where it is not written, it is where the guest is. */
json_t *world_config(const struct world *w, const struct job *job)
{
    json_t *o = job_json(job);
    const struct guest_entry *g = job->source ? NULL : guests_find(&w->guests, job->guest);
    if (g)
        json_object_set_new(o, "source", json_string(g->node));
    return o;
}
