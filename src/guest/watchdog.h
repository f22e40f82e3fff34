/* A second process that thaws a guest when the first dies or takes too long (BEHAVIOUR.md#freeze).
 *
 * It is started before the freeze. It lives in a session of its own and holds none of our files, locks or
 * streams. watchdog_frozen starts the time anew; watchdog_end tells it that the guest is thawed.
 */
#pragma once

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

typedef int (*watchdog_thaw)(uint32_t id, double seconds, struct err *e);

struct watchdog {
    pid_t pid;
    int fd;
    double seconds, due; /* clock_mono */
};

int watchdog_start(watchdog_thaw thaw, uint32_t id, double seconds, struct watchdog *ret, struct err *e);
void watchdog_frozen(struct watchdog *w);
/* -1: it has thawed the guest before we did. Either way it is gone. */
int watchdog_end(struct watchdog *w, struct err *e);
/* Are its seconds over? It may have thawed the guest. */
bool watchdog_is_due(const struct watchdog *w);
/* We could not thaw: it goes on trying, for ten minutes, beyond our own end. */
void watchdog_leave(struct watchdog *w);
