/* The places that a node has for runs: who holds them, and why a job must wait for one. Pure: whoever asks
 * brings the runs, the daemon those that it knows of, `status` those that the states name.
 *
 * A run that stands still (`still`) takes no place from those that can go on, neither of the node nor of its
 * target: it is most often a disk here that does not answer. It counts for its storages, of which none may
 * have all places where there are others: so what hangs on one takes at most so many. */
#pragma once

#include "base/strv.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* A run that is under way. Everything is borrowed. */
struct slot {
    const char *job, *target;
    const struct strv *sources; /* the storages of its guest, as far as they are known */
    pid_t pid;                  /* 0: unknown */
    bool still;
};

struct slots {
    struct slot *v;
    size_t n;
    unsigned max, per_target; /* max-workers, max-workers-per-target */
    bool several;             /* the node's jobs are not all on the same storages */
};

void slots_add(struct slots *s, struct slot slot);
void slots_release(struct slots *s);
/* Runs that take a place of the node's. */
size_t slots_taken(const struct slots *s);
/* May a run from these storages to that node begin? */
bool slots_free(const struct slots *s, const char *target, const struct strv *sources);
/* Why not, and who holds the places: a sentence, malloc'ed; NULL: it may. */
char *slots_why(const struct slots *s, const char *target, const struct strv *sources);
