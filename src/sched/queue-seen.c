/* What the queue notes for the next process (state/seen.h). */
#include "base/mem.h"
#include "sched/queue.h"
#include "state/seen.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One that is to go is another one when it is made anew. */
static bool is_noted(const struct queue_job *j)
{
    return !j->gone && j->remove == REMOVE_NOT && *j->target && !strpbrk(j->target, " \t\r\n");
}

static struct seen_job note_of(const struct queue_job *j, int64_t since)
{
    struct seen_job note = {.since = since, .told = j->told, .told_sync = j->last_sync};
    snprintf(note.id, sizeof note.id, "%s", j->id);
    snprintf(note.target, sizeof note.target, "%s", j->target);
    return note;
}

static void take_told(struct queue_job *j, const struct seen *seen)
{
    const struct seen_job *before = seen_find(seen, j->id, j->target);
    if (!before || !before->told || j->told || j->last_sync)
        return;
    j->told = before->told;
    j->last_sync = before->told_sync;
}

int queue_note_seen(struct queue *q, const char *state_dir, int64_t now, struct err *e)
{
    struct seen seen;
    size_t n = 0;
    struct seen_job *v = xcalloc(q->n + 1, sizeof *v);
    seen_load(state_dir, &seen);
    for (size_t i = 0; i < q->n; i++) {
        if (!is_noted(&q->v[i]))
            continue;
        take_told(&q->v[i], &seen);
        v[n++] = note_of(&q->v[i], now);
    }
    int r = seen_set(state_dir, &seen, v, n, now, e);
    seen_release(&seen);
    free(v);
    return r;
}

void queue_note_told(const struct queue *q, const char *state_dir, int64_t now)
{
    size_t n = 0;
    struct seen_job *v = xcalloc(q->n + 1, sizeof *v);
    for (size_t i = 0; i < q->n; i++)
        if (q->v[i].told == now)
            v[n++] = note_of(&q->v[i], 0);
    seen_tell(state_dir, v, n);
    free(v);
}
