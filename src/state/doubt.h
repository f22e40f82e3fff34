/* What verifications leave to be told of a replica (BEHAVIOUR.md#verification), from the job's state. Pure.
 */
#pragma once

#include "state/jobstate.h"

enum doubt {
    DOUBT_NONE,
    DOUBT_GONE,    /* it is not on the target */
    DOUBT_DIFFERS, /* it is other than the guest */
    DOUBT_FAILS,   /* JOB_VERIFY_FAILS parts in a row failed */
    DOUBT_LATE,    /* none has come through for JOB_VERIFY_PERIODS times the days it is to take */
};

#define JOB_VERIFY_FAILS 3
#define JOB_VERIFY_PERIODS 3

/* The first that is so; scrub_days 0: nobody verifies it, and the last two are not asked for. */
enum doubt job_doubt(const struct job_state *s, int64_t scrub_days, int64_t now);
/* A sentence about it; malloc'ed, NULL for DOUBT_NONE. */
char *job_doubt_text(enum doubt d, const struct job_state *s, const char *target, int64_t scrub_days);
/* "gone", … */
const char *job_doubt_name(enum doubt d);
