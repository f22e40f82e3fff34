/* How far a run is: bytes, rate, time left. On a terminal one line that is drawn again; otherwise one log
 * line a second. */
#pragma once

#include "state/joblog.h"

#include <stdbool.h>
#include <stdint.h>

struct progress {
    struct joblog *log;
    bool terminal;    /* draw on stderr */
    const char *what; /* the volume */
    uint64_t total;   /* bytes to look through; 0: unknown */
    uint64_t at;      /* position in the volume */
    uint64_t sent;    /* bytes of data sent */
    double start, last;
    bool shown;
};

void progress_begin(struct progress *p, const char *what, uint64_t total, uint64_t at);
void progress_update(struct progress *p, uint64_t at, uint64_t more_sent);
void progress_end(struct progress *p);
