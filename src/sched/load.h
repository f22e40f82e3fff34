/* From the files to the queue: reads what the queue must know. */
#pragma once

#include "cluster/tree.h"
#include "conf/settings.h"
#include "sched/purge.h"
#include "sched/queue.h"

/* A job file that names none is believed of after so many seconds, where this node's states name some. */
#define LOAD_MOMENT 3

/* Members, guests and jobs; puts stolen guests' jobs right (BEHAVIOUR.md#turning-jobs-round) and purges
 * states. Remarks on the configuration go into warnings. Without quorum it is ERR_BUSY, and nothing may be
 * scheduled. A tree that is empty or does not know this node is an error, too (members_check_node). On
 * failure the queue is as before. 1: so it is, too, and what was read is perhaps of a moment only: look
 * again. States must be loaded anew afterwards. */
int load_jobs(struct queue *q, struct purge *purge, struct tree *tree, const struct settings *s, int64_t now,
              struct strv *warnings, struct err *e);

/* The state file. On failure the queue is as before. */
int load_states(struct queue *q, const struct settings *s, int64_t now, const struct queue_events *events,
                struct err *e);
