/* What jobs that were removed leave on a node for its people, and what nobody would remove: their runs in the
 * journal, and their logs. */
#pragma once

#include "base/err.h"
#include "conf/job.h"

#include <stdint.h>

#define LEFTOVERS_A_ROUND 2000 /* of each, at most */

/* Removes those that are older than `before`, of jobs that the file does not name; a section that cannot be
 * read names its job. Nothing where the file is not there, or names no job at all: it may be a moment only.
 */
int leftovers_sweep(const char *state_dir, const char *log_dir, struct jobs *jobs, int64_t before,
                    struct err *e);
