/* While the replicas of a guest are being switched, a child stands by: when this process dies in the middle,
 * killed or out of memory, the child brings the commit to its end (intent_settle) and then ends, too. It
 * shares the guest's agent lock until then, and nothing else: the source sees the line cut at once. */
#pragma once

#include "base/err.h"
#include "run/env.h"

#include <stdint.h>
#include <sys/types.h>

struct guard {
    pid_t pid;
    int fd;
};
/* in, out: the conversation's, for the child to close. */
int guard_begin(struct guard *g, struct env *env, uint32_t guest, int in, int out, struct err *e);
/* The commit is over, well or not: the child goes. */
void guard_end(struct guard *g);
