/* flock(2) locks with a deadline, re-entrant inside one process: a nested request for a file that this
 * process already holds succeeds at once and is released with the outermost one (BEHAVIOUR.md#locks). */
#pragma once

#include "base/err.h"

#include <stdbool.h>

struct lock; /* one held lock */

/* Open (append, create, MODE_LOCK, directories made) and lock `path`, exclusive or shared, waiting up to
 * `seconds`. Contended: prints "trying to acquire lock..." and " OK" to stderr when `chatty`. NULL and
 * ERR_BUSY "can't lock file 'PATH' - got timeout" at the deadline. A file that another user may
 * have made is refused; to one who may open it, it is closed (base/modes.h). */
struct lock *lock_take(const char *path, bool exclusive, double seconds, bool chatty, struct err *e);
/* Releases; NULL is fine. */
void lock_free(struct lock *l);
/* Its descriptor, borrowed: a child that inherits it holds the lock too, until it ends. */
int lock_fd(const struct lock *l);
/* For a child that inherited it from a process that is gone: waits as lock_take until whoever else inherited
 * it has ended, too, and takes it anew. Others may have had it in between. On error it is not held any more,
 * and is to be released all the same. */
int lock_inherit(struct lock *l, double seconds, struct err *e);
static inline void lock_freep(struct lock **l)
{
    lock_free(*l);
}
