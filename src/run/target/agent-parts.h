/* What the agent's files share: the conversation (agent.c), and what it shows of the replicas at its end
 * (agent-commit.c). */
#pragma once

#include "base/err.h"
#include "run/env.h"
#include "run/target/agent.h"
#include "run/target/replica.h"
#include "wire/frame.h"

#include <jansson.h>

struct agent {
    struct env *env;
    const struct agent_options *options;
    struct channel *channel;
    int in, out;   /* its ends */
    char peer[64]; /* the node that the source says it is */
    char job[24];
    uint32_t guest;
    struct lock *lock;
    struct replicas replicas;
    struct replica *seen; /* at `open`, as replicas.v */
    size_t snapshots;     /* that were told */
    struct strv stale;    /* volids this run may drop */
    struct strv kept;     /* what is kept aside, not yet told; see agent_tell_kept */
    bool looks;           /* opened to look only: the lock is free again */
    bool asks_to_resume;  /* the source says so of byte ranges, too; earlier versions took it for granted */
    struct reading *reading; /* agent-digest.c */
    struct strv removed;     /* what was removed and why, not yet told; see tell_removed */
};

/* The volume that the field 'volume' names: one of those that were opened, or NULL. */
struct env_volume *agent_volume(struct agent *a, const json_t *o, struct err *e);
/* The restore point with this id, out of what is in *all then; ERR_GONE. */
const struct snapshot *agent_find_point(struct env_volume *v, const char *id, struct snapshots *all,
                                        struct err *e);
/* May the peer still write to the guest's replicas (policy_guest)? The tree is read anew. */
int agent_check_owner(struct agent *a, struct err *e);

void agent_note_kept(struct agent *a, const char *volid, const char *snapshot);
/* Into a reply, what came to be kept aside since the last one. */
json_t *agent_tell_kept(struct agent *a);

/* The call `digest`, and the end of what it reads. */
int agent_call_digest(struct agent *a, const json_t *o, json_t **reply, struct err *e);
void agent_end_reading(struct agent *a);
/* The same call in the middle of a transfer: what the stage holds. */
int agent_answer_stage(struct agent *a, struct stage *s, uint64_t size, const struct frame *f, struct err *e);

/* The call `mark`. */
int agent_call_mark(struct agent *a, const json_t *o, json_t **reply, struct err *e);

/* The calls `aside` and `commit`. */
int agent_call_aside(struct agent *a, const json_t *o, json_t **reply, struct err *e);
int agent_call_commit(struct agent *a, const json_t *o, json_t **reply, struct err *e);
