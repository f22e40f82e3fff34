/* Starting pvesr: for a run `pvesr run --id JOB`, a child in a process group of its own. */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "sched/queue.h"

/* The exit status of a run that found its guest busy (sysexits.h, EX_TEMPFAIL). */
#define WORKER_POSTPONED 75

/* The pvesr beside this program, or "pvesr" for a search in the system's directories; malloc'ed. */
char *worker_program(void);
/* config: the file for --config, or NULL. Its stdout is ours; *said gets the end of a pipe, which does not
 * block, from which its stderr is read. The pid, or -1. */
pid_t worker_start(const char *program, const char *config, const char *job_id, int *said, struct err *e);
/* The same for a part of the verification of its replica, with our stderr. */
pid_t worker_verify(const char *program, const char *config, const char *job_id, struct err *e);
/* status as in struct proc_result. */
enum queue_outcome worker_outcome(int status);
/* `pvesr settle`, to its end: commits of this node's replicas that a crash cut. *out gets what it says. */
int worker_settle(const char *program, const char *config, struct buf *out, struct err *e);
