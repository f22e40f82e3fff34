/* pvesrd: one context, one event loop. It decides nothing itself: the queue (sched/queue.h) says what to
 * start and when to look again; here are the files, the clock, the signals and the children that make it ask.
 *
 *     a file changed ──► refresh (load what changed) ──► schedule (start what is due, set the timer)
 *     timer, a child's end ─────────────────────────────►
 *
 * A load that fails (no quorum, a damaged state file, folders that cannot be made) is told once, nothing is
 * started meanwhile, and it is tried again; runs that are under way go on. So a daemon that has begun tells
 * what hinders it: it does not begin where another one schedules, or its configuration is wrong.
 */
#pragma once

#include "api/server.h"
#include "base/lock.h"
#include "conf/settings.h"
#include "daemon/courier.h"
#include "daemon/runs.h"
#include "daemon/tell.h"
#include "daemon/watch.h"
#include "sched/load.h"

#include <systemd/sd-event.h>

struct daemon {
    const char *config; /* --config, or NULL */
    struct settings settings;
    struct lock *locks[2]; /* one daemon a node */
    struct tree *tree;
    struct queue queue;
    struct purge purge;
    struct watch watch;
    struct runs runs;
    struct api api;
    struct server *server; /* NULL: the API is off */
    char *program;         /* pvesr */

    sd_event *event;
    struct children children;
    sd_event_source *refresh_timer; /* monotonic, one shot */
    sd_event_source *keys_timer, *api_timer;
    char *api_problem; /* as last told */
    int wake_fd;       /* timerfd on the wall clock, cancelled when the clock is set */

    bool prepared;                     /* its lock is held, its folders are there */
    char *lock_problem;                /* as last told */
    bool jobs_changed, states_changed; /* since they were loaded */
    double jobs_loaded;                /* monotonic */
    double refresh_cost;               /* seconds the last refresh took */
    bool paused;                       /* the last load failed… */
    bool pause_is_ours;                /* …by what is this node's own, and comes back by no quorum */
    char *problem, *warnings, *status; /* as last told */
    int64_t began;                     /* epoch */
    int64_t watched;                   /* …or that of the first one of those that died (state/seen.h) */
    int64_t paused_at, pause_told;     /* epoch; 0: it is not, has not been */
    struct tell tell;
    struct courier courier;
    struct mail *mails; /* given to a program that has not ended yet */
    struct adopted *adopted;
    size_t n_adopted;
    bool has_adopted;
};

int daemon_init(struct daemon *d, const char *config, double stop_timeout, struct err *e);
/* What a daemon has done in a process of its own, instead of being one (api/who.h, courier.h). */
enum errand { ERRAND_NONE, ERRAND_CHECK_LOGIN, ERRAND_MAKE_KEYS, ERRAND_SEND, ERRAND_TEST, ERRAND_OPTIONS };
/* arg: of ERRAND_TEST the target, of ERRAND_OPTIONS the changes (api/options.h). Its exit status; -1: it
 * failed. */
int daemon_errand(const char *config, enum errand errand, const char *arg, struct err *e);
/* Until a signal ends it; 0, or -1. */
int daemon_run(struct daemon *d, struct err *e);
void daemon_release(struct daemon *d);

/* figures.c: metrics of a daemon. */
void daemon_add_metrics(struct buf *out, void *daemon);

/* report.c: tell of a failure in the journal, and by notify.cfg or else by mail. */
void report_failure(struct daemon *d, const struct queue_job *j);
/* The states were read. Runs that were under way when this daemon began, as those of one that was killed, are
 * told of as its own: their failures. */
void report_adopted(struct daemon *d);
/* queue_why_overdue, unless no run can be recorded: then that, malloc'ed. */
char *report_why_overdue(const struct daemon *d, const struct queue_job *j);
/* …and, in one mail, of jobs that are overdue. */
void report_overdue(struct daemon *d, int64_t now);
/* …and, in one mail, of replicas in doubt: a line on each. */
void report_doubts(struct daemon *d, const struct strv *lines);
/* …and, by mail at once, of an event (notify/event.h) that could not be kept for its targets. */
void report_event(struct daemon *d, const json_t *event, const struct err *why);
/* Follow no mail, and no such run, any more. */
void report_release(struct daemon *d);
