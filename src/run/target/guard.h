/* While the replicas of a guest are being switched, a child stands by: when this process dies in the middle,
 * killed or out of memory, the child brings the commit to its end (intent_settle) and then ends, too. What
 * this process had started (`zfs rename`) may be at work still: it waits until the guest's agent lock is
 * free, which such programs hold (volume_context.lock_fd), as anybody does who comes next. It shares nothing
 * else: the source sees the line cut at once. */
#pragma once

#include "base/err.h"
#include "base/lock.h"
#include "run/env.h"

#include <stdint.h>
#include <sys/types.h>

struct guard {
    pid_t pid;
    int fd;
};
/* lock: the guest's agent lock. in, out: the conversation's, for the child to close. */
int guard_begin(struct guard *g, struct env *env, uint32_t guest, struct lock *lock, int in, int out,
                struct err *e);
/* The commit is over, well or not: the child goes. */
void guard_end(struct guard *g);
