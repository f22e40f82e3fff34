/* Jobs that this node has run and that are in no job file any more (job_states_orphans): one that was removed
 * by hand, or a file that was lost, cut or emptied. */
#pragma once

#include "run/env.h"

/* A sentence for each, where the file names others. ERR_CONFIG: it names none at all, and nothing says that
 * it is meant so. What seems to be one is looked at once more two seconds later: who replaces the file, or
 * removes a job, may be at it. */
int orphans_look(struct env *env, const struct jobs *jobs, struct strv *warnings, struct err *e);
