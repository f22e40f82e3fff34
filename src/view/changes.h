/* What changed in the lists of jobs since the last look: a row is compared as the text that clients get. */
#pragma once

#include "view/world.h"

enum change_kind { CHANGE_ADDED, CHANGE_CHANGED, CHANGE_REMOVED };

struct change { /* borrowed */
    enum change_kind kind;
    uint32_t guest;
    const char *row; /* JSON on one line, without its end; of a job that is gone only `guest` and `id` */
    size_t len;
};

struct changes {             /* about 64 bytes a job; starts with zeroes */
    struct change_row *rows; /* by id */
    size_t n;
};
void changes_release(struct changes *c);

/* Compare with the last look, which this one becomes; found (NULL: nobody asks) is called for each change.
 * `states_only`: nothing else can have changed, so rows whose state is as it was in the file are taken as
 * they were; what comes with time alone (overdue, a run that is lost) is only seen without it. */
void changes_look(struct changes *c, const struct world *w, int64_t now, bool states_only,
                  void (*found)(const struct change *change, void *arg), void *arg);
