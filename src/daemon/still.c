#include "daemon/still.h"

#include "base/mem.h"
#include "base/proc.h"
#include "daemon/log.h"
#include "daemon/runs.h"

#include <stdlib.h>

#define LOOK_SECONDS 300

struct still_run {
    pid_t pid;
    uint64_t turns;
};

static pid_t run_of(const struct queue_job *j)
{
    return j->running ? j->pid : j->foreign;
}

static bool has_moved(const struct still *s, const struct still_run *now)
{
    for (size_t i = 0; i < s->n; i++)
        if (s->v[i].pid == now->pid)
            return !now->turns || s->v[i].turns != now->turns;
    return true;
}

static void tell(const struct queue_job *j, pid_t pid)
{
    if (!j->still) {
        log_line(LOG_NOTICE, "job '%s': its run (process %d) moves again", j->id, (int)pid);
        return;
    }
    char state = proc_state(pid);
    log_line(LOG_WARNING,
             "job '%s': its run (process %d, state %c) stands still, and its place is given to others%s",
             j->id, (int)pid, state ? state : '?',
             state == 'D' ? ": a disk or file system of this node does not answer, see 'dmesg'" : "");
}

/* True when places are to be given anew. */
static bool look_at(struct runs *r, struct queue_job *j, const struct still_run *now)
{
    bool before = j->still;
    queue_still(j, !has_moved(&r->still, now));
    if (j->still != before)
        tell(j, now->pid);
    if (j->still && proc_is_stopped(now->pid))
        runs_kill(r, now->pid, "it was stopped, and nobody let it go on for five minutes: pvesrd ended it");
    return j->still != before;
}

static int on_timer(sd_event_source *s, uint64_t usec, void *arg)
{
    struct runs *r = arg;
    struct still now = {0};
    bool changed = false;
    for (size_t i = 0; i < r->queue->n; i++) {
        struct queue_job *j = &r->queue->v[i];
        struct still_run one = {run_of(j), 0};
        if (one.pid <= 0)
            continue;
        one.turns = proc_turns(one.pid);
        changed |= look_at(r, j, &one);
        now.v = xgrow(now.v, now.n, sizeof *now.v);
        now.v[now.n++] = one;
    }
    still_release(&r->still);
    r->still = now;
    if (now.n)
        still_expect(r);
    if (changed)
        r->ended(true, r->arg);
    return 0;
}

void still_expect(struct runs *r)
{
    if (!r->still.timer)
        sd_event_add_time_relative(r->event, &r->still.timer, CLOCK_MONOTONIC,
                                   LOOK_SECONDS * UINT64_C(1000000), 0, on_timer, r);
}

void still_release(struct still *s)
{
    sd_event_source_disable_unref(s->timer);
    free(s->v);
    *s = (struct still){0};
}
