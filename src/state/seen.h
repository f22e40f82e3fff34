/* What outlives the processes that watch this node's jobs: STATE-DIR/pvesr-seen (BEHAVIOUR.md#overdue). Since
 * when each job is known, which no edit of another one changes; and of a daemon that did not end by itself
 * since when there was one, and what it had told, so that one that dies again and again tells what is
 * overdue, and that once a day. A hint: a file that cannot be read says nothing, and is written anew. */
#pragma once

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct seen_job {
    char id[24];
    char target[80];
    int64_t since;
    int64_t told, told_sync; /* when it was told as overdue last, and which last_sync it had; 0: not */
};

struct seen {
    int64_t watched, started; /* since when there are daemons; when the last one began; 0: none */
    struct seen_job *v;       /* sorted by id */
    size_t n;
};

void seen_load(const char *state_dir, struct seen *ret);
void seen_release(struct seen *s);
/* NULL: it was not seen with this target. Borrowed. */
struct seen_job *seen_find(const struct seen *s, const char *id, const char *target);
/* v becomes all there is, with what is known of those that were there before; v[].since is taken for the
 * others. Written if that changed anything. */
int seen_set(const char *state_dir, struct seen *s, struct seen_job *v, size_t n, int64_t now, struct err *e);
/* A daemon begins: since when there was one, as soon as it died. */
int64_t seen_begin(const char *state_dir, int64_t now);
/* These were told; of each id, told and told_sync count. */
void seen_tell(const char *state_dir, const struct seen_job *v, size_t n);
/* A daemon ends as it was asked to. */
void seen_end(const char *state_dir);
