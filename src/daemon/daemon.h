/* pvesrd: one context, one event loop. It decides nothing itself: the queue (sched/queue.h) says what to
 * start and when to look again; here are the files, the clock, the signals and the children that make it ask.
 *
 *     a file changed ──► refresh (load what changed) ──► schedule (start what is due, set the timer)
 *     timer, a child's end ─────────────────────────────►
 *
 * A load that fails (no quorum, a damaged state file) is told once, nothing is started meanwhile, and it is
 * tried again; runs that are under way go on.
 */
#pragma once

#include "base/lock.h"
#include "conf/settings.h"
#include "daemon/runs.h"
#include "daemon/watch.h"
#include "sched/load.h"

#include <systemd/sd-event.h>

struct daemon {
    const char *config; /* --config, or NULL */
    struct settings settings;
    struct lock *lock; /* one daemon a node */
    struct tree *tree;
    struct queue queue;
    struct purge purge;
    struct watch watch;
    struct runs runs;
    char *program; /* pvesr */

    sd_event *event;
    sd_event_source *refresh_timer; /* monotonic, one shot */
    int wake_fd;                    /* timerfd on the wall clock, cancelled when the clock is set */

    bool jobs_changed, states_changed; /* since they were loaded */
    double jobs_loaded;                /* monotonic */
    double refresh_cost;               /* seconds the last refresh took */
    bool paused;                       /* the last load failed */
    char *problem, *warnings, *status; /* as last told */
    int64_t began;                     /* epoch */
    int64_t paused_at, pause_told;     /* epoch; 0: it is not, has not been */
};

int daemon_init(struct daemon *d, const char *config, double stop_timeout, struct err *e);
/* Until a signal ends it; 0, or -1. */
int daemon_run(struct daemon *d, struct err *e);
void daemon_release(struct daemon *d);

/* report.c: tell of a failure in the journal and by mail. */
void report_failure(struct daemon *d, const struct queue_job *j);
/* …and, in one mail, of jobs that are overdue. */
void report_overdue(struct daemon *d, int64_t now);
