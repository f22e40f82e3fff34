/* Why a job is overdue: the one sentence that `status` and what the daemon tells have in common. Pure but for
 * a look at the process of the run. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* What is known; what is not is NULL, or 0. Everything is borrowed. */
struct job_why {
    const char *fault;      /* why it can never run */
    const char *unrecorded; /* why no run can say that it was */
    pid_t pid;              /* of a run that is under way; with `running`: it may be unknown */
    bool running;
    bool still;            /* …which has not moved for as long as the daemon looks */
    int64_t began;         /* …since then */
    const char *left;      /* the last run is gone without a word */
    const char *waits;     /* for a place (state/slots.h) */
    const char *hindrance; /* why its runs were postponed, newer than the error… */
    int64_t postponements; /* …so many in a row */
    const char *error;     /* of the last failure */
    const char *offline;   /* its target, which is not online */
    bool to_come;          /* its last sync lies in the future */
    bool over;             /* its schedule has no event any more */
};

#define WHY_OTHER_CLOCK                                                                                      \
    "the clock of this node was ahead at the last sync, or is behind now: the next run says the time anew"

/* Malloc'ed; NULL: nothing is known. */
char *job_why(const struct job_why *w);
/* That the run's process is stopped, in the same words; malloc'ed, NULL: it is not. */
char *job_why_stopped(pid_t pid);
