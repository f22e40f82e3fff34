/* Jobs and how they are doing, as `pvesr status` and the API show them (BEHAVIOUR.md#output): what is shown
 * on which node, what is wrong with a job, and both as JSON. */
#pragma once

#include "cluster/guests.h"
#include "cluster/jobs.h"
#include "cluster/members.h"
#include "state/doubt.h"
#include "state/jobstate.h"
#include "state/slots.h"
#include "state/why.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* As it is configured; new. */
json_t *job_json(const struct job *job);

/* A job, its guest, its state. */
struct job_view {
    const struct job *job;           /* borrowed */
    const struct guest_entry *guest; /* borrowed; NULL: there is none */
    struct job_state state;
    int64_t next_sync, overdue; /* since when it is; 0: it is not */
    int64_t newest;   /* from when on the age of the newest restore point counts; 0: there is none, or nothing
                         says */
    bool offline;     /* its target is not online */
    bool to_come;     /* the last sync lies in the future */
    char *lost;       /* why it has no guest, or NULL */
    char *unrecorded; /* why no run can say that it was, where it is overdue, or NULL */
    char *hindered;   /* what became of runs that did not fail, or NULL */
    enum doubt doubt; /* what verifications left to be told… */
    char *doubtful;   /* …as a sentence, or NULL */
    const char *unknown; /* why nothing of its state is known, borrowed; NULL: it was read */
};

/* Of node `node` at `now`, from what was loaded; which must outlive it. False, with nothing to release: the
 * job is none of this node's. Jobs whose guest is elsewhere are that node's; a job to this node can only be
 * removed. */
bool job_view_init(struct job_view *v, const struct job *job, const char *node,
                   const struct guest_list *guests);
void job_view_look(struct job_view *v, const struct members *members, const struct job_states *states,
                   int64_t written, int64_t now);
void job_view_release(struct job_view *v);

/* The runs that the states of `jobs` name, and the places for them (state/slots.h). `jobs` must outlive it.
 */
struct job_slots {
    bool made;
    struct slots slots;
    struct job_state *states;
    size_t n;
};
void job_slots_make(struct job_slots *s, const struct jobs *jobs, const struct job_states *states,
                    unsigned max_workers, unsigned max_per_target);
void job_slots_release(struct job_slots *s);
/* Why it is overdue (state/why.h); malloc'ed, or NULL: nothing says why. */
char *job_view_why(const struct job_view *v, const struct job_slots *slots, int64_t now);

/* What keeps the job from running, if anything: a fault of its configuration, or its last failure. */
const char *job_view_trouble(const struct job_view *v);
/* job_json and the state; new. */
json_t *job_view_json(const struct job_view *v);
