/* Loading jobs for a command: what is wrong in the file is told on stderr, the rest goes on. */
#pragma once

#include "run/env.h"

/* replication.cfg as it is. Release the jobs when 0 was returned. */
int load_jobs(struct env *env, struct jobs *ret, struct err *e);
/* The jobs with `source` brought in line with where the guests are (BEHAVIOUR.md#turning-jobs-round); loads
 * the guests too. */
int load_jobs_repaired(struct env *env, struct jobs *ret, struct err *e);

/* orphans_look, for the end of what is shown: the warnings go to stderr. */
int tell_orphans(struct env *env, const struct jobs *jobs, struct err *e);

/* A change of replication.cfg: begin takes the lock and loads; save writes; end releases both. */
struct edit {
    struct tree_lock *lock;
    struct jobs jobs;
};
int edit_begin(struct env *env, struct edit *edit, struct err *e);
int edit_save(struct env *env, struct edit *edit, struct err *e);
void edit_end(struct edit *edit);
#define _cleanup_edit_ _cleanup_(edit_end)

/* NULL and ERR_GONE "no such job 'ID'". */
struct job *edit_job(struct edit *edit, const char *id, struct err *e);
