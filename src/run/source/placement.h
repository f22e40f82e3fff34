/* Where the replicas of a job's volumes are: what the other node calls them, by the job's map of storages. */
#pragma once

#include "base/err.h"
#include "base/strv.h"
#include "conf/job.h"
#include "run/env.h"

#include <stdbool.h>

/* Of each volid the one on `node`, the other end of the job, is added to *ret. ERR_CONFIG when a mapped
 * storage cannot hold it: unknown, not available on that node, shared, of a type that cannot replicate it.
 * What is not mapped is left to that node to judge. */
int placement_volids(struct env *env, const struct job *job, const char *node, const struct strv *volids,
                     struct strv *ret, struct err *e);
/* Would the replica `there` be called so on another storage? */
bool placement_is_other(struct env *env, const char *there, const char *volid);
