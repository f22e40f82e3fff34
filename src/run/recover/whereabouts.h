/* Where a volume of a guest is on this node: its replica, or what the guest had here itself. */
#pragma once

#include "base/err.h"
#include "base/strv.h"
#include "conf/job.h"
#include "run/env.h"

#include <stdbool.h>
#include <stdint.h>

struct where_ask {
    struct env *env;
    struct guest_entry guest; /* where it is now */
    bool here;                /* that is this node */
    bool as_is;               /* what seems to be the guest's own is believed to be */
    const char *point;        /* NULL: the newest */
    const struct jobs *jobs;
    const struct guest_config *config;
    const struct strv *named; /* all its volumes, by the configuration */
};

struct where {
    char *volid;
    char point[SNAPSHOT_NAME_MAX + 1]; /* that it shows, or "" */
    bool own;          /* no replica, but what the guest had on this node before it went to the other */
    struct strv notes; /* which others there are, and why they were passed over */
};
void where_release(struct where *w);

/* Does the job bring the guest's replicas to this node? Also one that is to be removed: what its removal has
 * not taken yet may be all that there is. */
bool where_job_leads(const struct where_ask *a, const struct job *job);
/* What the other node of the job calls it; malloc'ed. NULL on failure. */
char *where_by_map(struct env *env, const struct job *job, const char *volid, struct err *e);
/* It may be called as the configuration says, or as a job's map does; of several the one that has `point`,
 * or the newest restore point. Where the guest is here, what it has written stays its disk. -1: it is
 * nowhere, and *e says what was found in the likeliest place. */
int where_is(const struct where_ask *a, const char *volid, struct where *ret, struct err *e);
