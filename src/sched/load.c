#include "sched/load.h"

#include "base/clock.h"
#include "cluster/jobs.h"
#include "state/jobstate.h"
#include "state/leftovers.h"

#include <malloc.h>

static void add_all(struct strv *to, const struct strv *from)
{
    for (size_t i = 0; i < from->n; i++)
        strv_add(to, from->v[i]);
}

/* Whoever replaces a file may have removed it for a moment. 1: so it is looked at again. */
static int check_lost(struct purge *purge, const struct settings *s, const struct jobs *jobs,
                      const struct guest_list *guests, struct err *e)
{
    struct guests_on here = {guests, s->node};
    struct job_states *states = jobs_may_be_lost(jobs) ? job_states_load(s->state_dir, e) : NULL;
    int r = states ? job_states_check_lost(states, jobs, guests_is_on, &here, e) : 0;
    job_states_free(states);
    if (r == 0) {
        purge->lost_at = 0;
        return 0;
    }
    if (!purge->lost_at)
        purge->lost_at = clock_mono();
    return clock_mono() - purge->lost_at < LOAD_MOMENT ? 1 : -1;
}

static int load_guests_and_jobs(struct queue *q, struct purge *purge, struct tree *tree,
                                const struct settings *s, int64_t now, const struct members *members,
                                struct strv *warnings, struct err *e)
{
    struct guest_list guests = {0};
    struct jobs jobs = {0};
    if (guests_load(tree, &guests, e) < 0)
        return -1;
    int rc = jobs_load_repaired(tree, &guests, s->node, &jobs, e);
    if (rc == 0)
        rc = check_lost(purge, s, &jobs, &guests, e);
    if (rc == 0) {
        struct err forgetting = {0};
        if (job_states_forget_turned(s->state_dir, s->node, &jobs, &forgetting) < 0)
            strv_add(warnings, forgetting.text);
        queue_set_jobs(q, &jobs, &guests, members, s->node);
        add_all(warnings, &jobs.warnings);
        add_all(warnings, &guests.warnings);
        struct err purging = {0};
        if (queue_note_seen(q, s->state_dir, now, &purging) < 0)
            strv_add(warnings, purging.text);
        if (jobs_sweep(tree, &purging) < 0)
            strv_add(warnings, purging.text);
        if (jobs_tidy_extras(tree, &jobs, &purging) < 0)
            strv_add(warnings, purging.text);
        add_all(warnings, &jobs.dropped);
        int64_t last = purge->last, days = s->history_days;
        if (purge_round(purge, s->state_dir, &jobs, &guests, s->node, now, &purging) < 0)
            strv_add(warnings, purging.text);
        if (purge->last != last &&
            leftovers_sweep(s->state_dir, s->log_dir, &jobs, now - days * 86400, &purging) < 0)
            strv_add(warnings, purging.text);
        add_all(warnings, &purge->dropped);
    }
    jobs_release(&jobs);
    guests_release(&guests);
    return rc;
}

/* That there is nothing of this node is believed of a tree that is this node's. */
static int check_tree(const struct queue *q, struct tree *tree, const struct settings *s,
                      const struct members *members, struct err *e)
{
    return members_check_node(tree, members, s->node, q->n > 0 || job_states_had_any(s->state_dir), e);
}

int load_jobs(struct queue *q, struct purge *purge, struct tree *tree, const struct settings *s, int64_t now,
              struct strv *warnings, struct err *e)
{
    struct members members = {0};
    if (members_load(tree, &members, e) < 0)
        return -1;
    int rc = members.quorate
                 ? check_tree(q, tree, s, &members, e)
                 : err_set(e, ERR_BUSY, 0, "no quorum! Nothing is scheduled until enough nodes are back");
    if (rc == 0)
        rc = load_guests_and_jobs(q, purge, tree, s, now, &members, warnings, e);
    add_all(warnings, &members.warnings);
    members_release(&members);
    malloc_trim(0); /* with many jobs the parsed files are far larger than the queue */
    return rc;
}

int load_states(struct queue *q, const struct settings *s, int64_t now, const struct queue_events *events,
                struct err *e)
{
    struct job_states *states = job_states_load(s->state_dir, e);
    if (!states)
        return -1;
    queue_set_states(q, states, now, events);
    job_states_free(states);
    malloc_trim(0);
    return 0;
}
