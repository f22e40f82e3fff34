/* What the lists of jobs are made of, and their rows: of a node's own jobs with how they are doing, of others
 * as they are configured. */
#pragma once

#include "view/job.h"

struct world {
    const char *node;        /* borrowed */
    const struct jobs *jobs; /* borrowed */
    struct guest_list guests;
    struct members members;
    struct job_states *states; /* NULL: not loaded */
};

/* All but the states. Released whatever comes back. */
int world_load(struct world *w, struct tree *t, const char *node, const struct jobs *jobs, struct err *e);
/* The states as they are now; on failure those that were there stay. */
int world_load_states(struct world *w, const char *state_dir, struct err *e);
void world_release(struct world *w);

/* Jobs, and behind them what is in sections that cannot be read. */
static inline size_t world_jobs(const struct world *w)
{
    return w->jobs->n + w->jobs->n_unread;
}
static inline const struct job *world_job(const struct world *w, size_t i)
{
    return i < w->jobs->n ? &w->jobs->v[i] : &w->jobs->unread[i - w->jobs->n];
}

/* All of them by their ids; the array is the caller's to free. */
const struct job **world_by_id(const struct world *w);

/* A row of /nodes/{node}/replication; new. NULL: the job is none of the node's. */
json_t *world_state(const struct world *w, const struct job *job, int64_t now);
/* A row of /cluster/replication; new. */
json_t *world_config(const struct world *w, const struct job *job);
