/* Has a job lost settings of replication-ext.cfg? The tree is a person's and other tools': a line, a section
 * or the whole file may be gone, and nobody meant it (jobs_setting_lost). Without `keep` a run would remove
 * all restore points but the newest, without `target-storage` the replica itself. With what the last run
 * worked is known from the job's state, from this node's note (run/known.h) and from that of the target,
 * which knows it when the guest has changed its owner. */
#pragma once

#include "base/err.h"
#include "base/strv.h"
#include "conf/job.h"
#include "state/jobstate.h"

struct lost {
    const struct jobs *jobs;
    const struct job *job;
    const struct job_state *state;
    struct lost_note {
        int64_t epoch; /* 0: there is none */
        const struct strv *settings;
    } here, there; /* there: none, until the target is asked */
};

/* For known.settings: with which a run from this node works. */
void lost_note_make(const char *node, const struct job *job, struct strv *ret);
/* ERR_CONFIG, both ways out, where what a run removes was protected by what is lost. */
int lost_check(const struct lost *l, struct err *e);
/* Sentences about what costs no data: settings that are lost, which the next note does not know any more, and
 * those that this version does not know. */
void lost_tell(const struct lost *l, struct strv *ret);
