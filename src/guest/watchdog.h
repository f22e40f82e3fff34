/* A second process that thaws a guest when the first dies or takes too long (BEHAVIOUR.md#freeze).
 *
 * It is started before the freeze. It lives in a session of its own and holds none of our files, locks or
 * streams. watchdog_frozen asks whether it still stands by; watchdog_end tells it that the guest is thawed.
 */
#pragma once

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* arg: as it was when the watchdog was started. */
typedef int (*watchdog_thaw)(const void *arg, double seconds, struct err *e);

struct watchdog {
    pid_t pid;
    int fd;
    double seconds, due; /* clock_mono */
};

int watchdog_start(watchdog_thaw thaw, const void *arg, double seconds, struct watchdog *ret, struct err *e);
/* The guest is frozen now; anew: its seconds begin with this. -1: they were over before, so the freeze does
 * not hold, and nobody would undo one that is made after that. */
int watchdog_frozen(struct watchdog *w, bool anew, struct err *e);
/* -1: it has thawed the guest before we did. Either way it is gone. */
int watchdog_end(struct watchdog *w, struct err *e);
/* Are its seconds over? It may have thawed the guest. */
bool watchdog_is_due(const struct watchdog *w);
/* We could not thaw: it goes on trying, for ten minutes, beyond our own end. */
void watchdog_leave(struct watchdog *w);
