/* The processes of runs: those that this daemon starts, until they are reaped, and those that others began,
 * until they are gone. */
#pragma once

#include "daemon/still.h"
#include "sched/queue.h"

#include <stdbool.h>
#include <systemd/sd-event.h>

struct run;
struct foreign;

enum stop_stage { STOP_NOT, STOP_WAITING, STOP_TERMINATED, STOP_KILLED };

struct runs {
    /* set by the owner, and borrowed */
    sd_event *event;
    struct queue *queue;                /* is told of each start and each end */
    const char *program;                /* pvesr */
    const char *config;                 /* --config for it, or NULL */
    const char *node;                   /* this one */
    const char *state_dir;              /* where a run that cannot do so itself is recorded as a failure */
    double patience;                    /* how long a verification may do nothing at all */
    double stop_timeout;                /* how long runs may go on once runs_stop was called */
    void (*ended)(bool own, void *arg); /* one is gone, or stands still, and the queue knows */
    /* A run left no trace in the state, and has become a failure there (fail_count, error), or, where nothing
     * can be recorded, here. */
    void (*untraced)(const struct queue_job *job, void *arg);
    void *arg;

    struct run *own;
    struct run *verification; /* of a replica; none of `own`: it makes way for whatever comes */
    struct run *given_up;     /* verifications that stood still, and were killed, but are not gone yet */
    struct foreign *foreign;
    struct still still;
    sd_event_source *stop_timer;
    enum stop_stage stop;
};

/* Whatever the queue says is due. */
void runs_start_due(struct runs *r, int64_t now);
/* A part of the verification that is due, if none is under way. */
void runs_verify_due(struct runs *r, int64_t now);
/* Is it one of ours? */
bool runs_own(const struct runs *r, pid_t pid);
/* Follow the runs of others that the queue knows of. False: one is gone already, so the states that named it
 * are old. */
bool runs_follow_foreign(struct runs *r);
/* Runs that the queue found gone without a word, or whose end their state does not have, become failures in
 * the state file. */
void runs_count_lost(struct runs *r);
/* If it is one of ours: with SIGKILL, as a failure that says `why`, which is borrowed for good. */
void runs_kill(struct runs *r, pid_t pid, const char *why);
/* The next stage of stopping; the event loop ends when the last run of ours has. */
void runs_stop(struct runs *r);
void runs_release(struct runs *r);
