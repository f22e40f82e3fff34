#include "sched/due.h"

#include "state/due.h"

#include <string.h>

bool due_concerns(const struct job *job, const struct guest_list *guests, const char *node)
{
    const struct guest_entry *g = guests_find(guests, job->guest);
    if (!g || strcmp(g->node, node) != 0)
        return false;
    return job->remove != REMOVE_NOT || (!job->disabled && strcmp(job->target, node) != 0);
}

int64_t due_time(const struct job *job, const struct job_state *state, bool target_online, int64_t now)
{
    int64_t next = job_next_sync(job, state, target_online, now);
    if (job->remove != REMOVE_NOT || job->fault || next == 1) /* at once */
        return next;
    if (state->fail_count == 0 && state->last_try > state->last_sync) {
        int64_t again = state->last_try + job_retry_delay(1);
        return next == 0 || again < next ? again : next;
    }
    return next;
}

int due_compare(const struct due_rank *a, const struct due_rank *b)
{
    if (a->last_iteration != b->last_iteration)
        return a->last_iteration < b->last_iteration ? -1 : 1;
    if (a->next != b->next)
        return a->next < b->next ? -1 : 1;
    if (a->guest != b->guest)
        return a->guest < b->guest ? -1 : 1;
    return strcmp(a->id, b->id);
}
