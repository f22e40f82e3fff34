/* The node's jobs and what to do next: which to start now, and when to look again.
 *
 *     queue_set_jobs      after the configuration was read: which jobs, which targets are online
 *     queue_set_states    after the state file was read: when each is due
 *     while ((id = queue_pick(q, now)))
 *         … start it …, queue_started or queue_refused
 *     queue_wake          when to ask again, if nothing else happens
 *     queue_pick_verify   nothing is due: whose replica is to be verified a little
 *     queue_ended         a run is over; the job waits until its new state was read
 *
 * No clock, no process, no file: the caller brings the time and the facts. Nothing is ever started twice: not
 * a job that runs, nor any other job of its guest, whoever runs it (`foreign`: a run by hand, or one that a
 * killed scheduler left behind). A target that is slow takes its own workers, not those of the others, and so
 * does a storage; a run that stands still takes none (state/slots.h).
 */
#pragma once

#include "cluster/members.h"
#include "sched/due.h"
#include "state/doubt.h"

#include <sys/types.h>

/* A run that found its guest locked is tried again after this many seconds. */
#define QUEUE_POSTPONE 30
/* A run that removed its job leaves no state, nor does one that did nothing: what is there under its id was
 * made since, and waits so many seconds; so often in a row, then it is taken for a run that left no trace.
 * The same with one that failed while the jobs were changed: it may have been of a job of that id to another
 * target, or have found its own gone or disabled. */
#define QUEUE_MADE_ANEW 2
#define QUEUE_MADE_ANEW_MOST 10

enum queue_outcome {
    QUEUE_DONE,
    QUEUE_FAILED,    /* by its exit status; what it recorded counts */
    QUEUE_POSTPONED, /* the guest was busy: no attempt, no failure */
};

struct queue_job {
    char id[24];
    uint32_t guest;
    bool target_online, faulty;
    bool guestless; /* faulty for want of a guest: no run will come, not even to remove it */
    char *fault;    /* why it can never run, or NULL */
    enum remove_mode remove;
    char *target, *schedule; /* schedule NULL: the default */

    int64_t next;       /* due_time of the last known state */
    int64_t not_before; /* put off in this process: busy guest, or a run that left no trace */
    int64_t last_iteration, last_try, last_sync, fail_count;
    int64_t asked;          /* as in the state: a value that is new ends the putting off */
    char *error;            /* of the last failure, or NULL */
    struct strv kept_aside; /* what the target keeps aside, as in the state */
    struct strv sources;    /* storages of the guest here, as in the state */
    char *hindrance;        /* why the last run was postponed, or NULL */
    pid_t dead;             /* a run that is gone without a word, and none of ours; 0: none */

    bool running; /* by us */
    pid_t pid;    /* …as this process; 0: unknown */
    bool still;   /* its run, ours or not, stands still (queue_still) */
    bool stale;   /* our run is over, its state not yet read */
    bool gone;    /* no longer ours to start; stays for the sake of its run */
    enum queue_outcome outcome;
    /* last_try, last_sync and fail_count when it was started */
    int64_t try_before, sync_before, fails_before;
    unsigned changes_before; /* queue.changes then */
    unsigned lost;           /* runs in a row that left no trace in the state */
    unsigned anew;           /* runs in a row that left no state (QUEUE_MADE_ANEW) */
    bool untraced;           /* the last one did, and nobody has dealt with that yet */
    char *said;         /* what became of the last run that failed, as far as its process told; or NULL… */
    pid_t said_by;      /* …which was this one, 0: none could be started… */
    int64_t said_since; /* …and began then */
    unsigned postponed; /* runs in a row that found the guest, or its replica, busy */
    int64_t max_age;    /* as job_overdue_at wants it */
    int64_t known;      /* when the file of the jobs was written */
    int64_t age_begins;
    int64_t overdue;      /* from when on it is overdue, 0: never */
    int64_t told;         /* when that was told last, 0: not yet */
    int64_t scrub_days;   /* in which its replica is verified once; 0: never */
    int64_t verify_next;  /* when the next part is due; 0: nothing is known */
    int64_t verify_after; /* not before, in this process */
    enum doubt doubt;     /* what verifications left to be told… */
    char *doubtful;       /* …as a sentence, or NULL */
    int64_t doubt_since;  /* when this process saw it first */
    pid_t foreign;        /* somebody else's live run, 0: none */
    uint64_t foreign_start;
};

struct queue {
    struct queue_job *v; /* sorted by guest, then id */
    size_t n;
    unsigned max_workers, running, foreign;
    unsigned max_per_target; /* workers that one node may keep busy; set by the owner */
    bool several;            /* its jobs are not all on the same storages */
    unsigned changes;        /* of the file of the jobs, as this process saw it… */
    char digest[41];         /* …which was this then… */
    uint64_t stamp;          /* …as it was written then */
};

void queue_init(struct queue *q, unsigned max_workers, unsigned max_per_target);
void queue_release(struct queue *q);

/* Jobs that are not this node's to run are left out; one that is running stays until it ended. States must be
 * set anew afterwards. */
void queue_set_jobs(struct queue *q, const struct jobs *jobs, const struct guest_list *guests,
                    const struct members *members, const char *node);
/* Every run that has ended before the states were read gets a new due time. `own` says whether a process is
 * one of ours. `ended` is called for each job whose state after our run has just become known; NULL: nobody
 * wants to know. */
struct queue_events {
    bool (*own)(pid_t pid, void *arg);
    void (*ended)(const struct queue_job *job, void *arg);
    void *arg;
};
void queue_set_states(struct queue *q, const struct job_states *states, int64_t now,
                      const struct queue_events *events);
/* The jobs of this node, from when they were first seen on, are noted in STATE-DIR (state/seen.h); what a
 * daemon that died had told is told for the job that is new here. */
int queue_note_seen(struct queue *q, const char *state_dir, int64_t now, struct err *e);
/* What was told at `now` is noted there. */
void queue_note_told(const struct queue *q, const char *state_dir, int64_t now);

/* The job to start now, or NULL: none is due, all workers are taken, or the guests or targets are busy. */
struct queue_job *queue_pick(struct queue *q, int64_t now);
/* What a verification of a replica waits for after a run, or this process, began to know the job; and between
 * two of one job at least. */
#define QUEUE_VERIFY_FIRST 3600
#define QUEUE_VERIFY_PAUSE 60
/* The job whose replica is to be verified now, a part of it; one at a time is the caller's affair. Not while
 * the guest's jobs run, are due or fail. */
struct queue_job *queue_pick_verify(struct queue *q, int64_t now);
/* A part has ended; `failed`: without having found out anything. */
void queue_verified(struct queue *q, const char *id, bool failed, int64_t now);
/* The first moment after now at which one more job becomes due, or 0: none will by itself. */
int64_t queue_wake(const struct queue *q, int64_t now);
/* The same for queue_pick_verify. */
int64_t queue_wake_verify(const struct queue *q, int64_t now);
size_t queue_count_due(const struct queue *q, int64_t now);

void queue_started(struct queue *q, struct queue_job *job);
/* A job that became overdue, or still is a day after it was told, is told, in the order of the queue. Not in
 * the first five minutes of this process, nor before it had as much time as the job: runs that were missed
 * while it was down are made up for. */
#define QUEUE_TELL_AGAIN 86400
#define QUEUE_TELL_FIRST 300
void queue_tell_overdue(struct queue *q, int64_t began, int64_t now,
                        void (*tell)(const struct queue_job *job, void *arg), void *arg);
/* The first moment after now at which there is more to tell, or 0. */
int64_t queue_wake_overdue(const struct queue *q, int64_t began, int64_t now);
/* Why it is overdue, as far as is known here: a sentence, malloc'ed. `unrecorded`: why no run can be
 * recorded, or NULL. */
char *queue_why_overdue(const struct queue *q, const struct queue_job *job, const char *unrecorded,
                        int64_t now);

/* It could not be started at all: `why`, of which a copy is kept. */
void queue_refused(struct queue *q, struct queue_job *job, const char *why, int64_t now);
/* What the process of a run that failed, and has just ended, said of it; a copy is kept. */
void queue_said(struct queue *q, const char *id, const char *what, pid_t by, int64_t since);
void queue_ended(struct queue *q, const char *id, enum queue_outcome outcome);
/* Whether the job's run stands still, for as long as it is under way: it takes no place (state/slots.h). */
void queue_still(struct queue_job *job, bool still);
/* Runs that take a place; all that are under way are running + foreign. */
size_t queue_taken(const struct queue *q);
/* A run that was nobody's to wait for is gone without a word (`dead`), and has become a failure in the state
 * file: it counts as one that failed, once the states were read anew. */
void queue_lost(struct queue *q, struct queue_job *job);
/* The foreign process is gone. */
void queue_foreign_ended(struct queue *q, pid_t pid);

struct queue_job *queue_find(struct queue *q, const char *id);
