/* Jobs in the tree: load, change under the lock, and the repair of BEHAVIOUR.md#turning-jobs-round. */
#pragma once

#include "cluster/guests.h"
#include "cluster/tree.h"
#include "conf/job.h"

/* replication.cfg and replication-ext.cfg as they are now. */
int jobs_load(struct tree *t, struct jobs *ret, struct err *e);
/* Print and write both files, with JOBS_NONE where there is no job; the caller holds tree_lock(t,
 * "replication.cfg"). */
int jobs_save(struct tree *t, struct jobs *j, struct err *e);

/* The same, kept: what has not changed in the files is not parsed again. */
struct job_files {
    struct buf text[2];
    bool has[2];
    int64_t written; /* as in struct jobs */
    uint64_t stamp;
};
struct jobs_kept {
    struct jobs jobs;
    struct job_files files; /* as it was parsed */
    bool loaded;
    uint64_t version; /* another one each time that it was parsed */
};
/* Bring it up to date. 1: it was parsed anew, so pointers into it are invalid. */
int jobs_again(struct tree *t, struct jobs_kept *k, struct err *e);
int jobs_again_repaired(struct tree *t, const struct guest_list *guests, const char *node,
                        struct jobs_kept *k, struct err *e);
void jobs_kept_release(struct jobs_kept *k);

/* Drop the entries of replication-ext.cfg whose jobs are gone, removed by a tool that does not know them: a
 * new job of that id would get them. `seen` is what was loaded, and loses them as well. A job file that is
 * missing, or has faulty sections, says nothing of what is gone. */
int jobs_tidy_extras(struct tree *t, struct jobs *seen, struct err *e);

/* Remove what was left by who was killed while saving. */
int jobs_sweep(struct tree *t, struct err *e);

/* Load, and repair `source`/`target` of jobs whose guest is on `node` but whose source says otherwise. The
 * lock is taken (and the file written) only when there is something to repair. Where that fails, those jobs
 * have a fault, with a warning each, and the others are as they are; but ERR_BUSY is the caller's, who tries
 * again. */
int jobs_load_repaired(struct tree *t, const struct guest_list *guests, const char *node, struct jobs *ret,
                       struct err *e);

/* Why the job, which was this node's, has no guest that could be anybody's; malloc'ed. NULL: it has one, or
 * the job is another node's. */
char *jobs_lost_guest(const struct job *job, const struct guest_list *guests, const char *node);
