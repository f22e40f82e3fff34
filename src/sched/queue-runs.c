/* What the queue is told of runs: that they begin, end, are gone, stand still. */
#include "base/mem.h"
#include "sched/queue.h"
#include "state/due.h"

void queue_started(struct queue *q, struct queue_job *j)
{
    j->running = true;
    j->try_before = j->last_try;
    j->sync_before = j->last_sync;
    j->fails_before = j->fail_count;
    j->changes_before = q->changes;
    q->running++;
}

static void say(struct queue_job *j, const char *what, pid_t by, int64_t since)
{
    free(j->said);
    j->said = xstrdup(what);
    j->said_by = by;
    j->said_since = since;
}

void queue_said(struct queue *q, const char *id, const char *what, pid_t by, int64_t since)
{
    struct queue_job *j = queue_find(q, id);
    if (j)
        say(j, what, by, since);
}

void queue_refused(struct queue *q, struct queue_job *j, const char *why, int64_t now)
{
    say(j, why, 0, now);
    j->lost++;
    j->untraced = true;
    j->not_before = now + job_retry_delay(j->lost);
}

void queue_ended(struct queue *q, const char *id, enum queue_outcome outcome)
{
    struct queue_job *j = queue_find(q, id);
    if (!j || !j->running)
        return;
    j->running = j->still = false;
    j->pid = 0;
    j->stale = true;
    j->outcome = outcome;
    if (outcome == QUEUE_DONE) {
        free(j->said);
        j->said = NULL;
    }
    q->running--;
}

void queue_lost(struct queue *q, struct queue_job *j)
{
    j->dead = 0;
    j->stale = true;
    j->outcome = QUEUE_FAILED;
    j->try_before = j->last_try;
    j->sync_before = j->last_sync;
    j->fails_before = j->fail_count;
    j->changes_before = q->changes;
}

void queue_foreign_ended(struct queue *q, pid_t pid)
{
    for (size_t i = 0; i < q->n; i++)
        if (q->v[i].foreign == pid) {
            q->v[i].foreign = 0;
            q->v[i].still = false;
            q->foreign--;
        }
}

void queue_still(struct queue_job *j, bool still)
{
    j->still = still && (j->running || j->foreign);
}
