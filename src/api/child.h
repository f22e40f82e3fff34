/* A pvesr (or another program) that does for a request what takes long: with a deadline, its output bounded,
 * followed on the event loop. So nothing in a handler blocks. */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "base/strv.h"

#include <systemd/sd-event.h>

#define CHILD_OUTPUT_MAX (32 << 20) /* figures of 10,000 jobs are 18 MB */

struct child_result {
    int status;         /* exit status, or 128 + signal */
    bool late, too_big; /* it was killed because of that */
    struct buf out, err;
};

struct child;

/* Those of one event loop. */
struct children {
    sd_event *event; /* borrowed */
    struct child *first;
};
/* The loop has ended: they go on, and nobody follows them. Also those that were forgotten. */
void children_release(struct children *all);

/* done is called once, when the program is gone and all was read; the child is freed behind it. input: for
 * its stdin, at most 4 KiB; NULL: none. NULL and *e when it cannot be started. */
struct child *child_start(struct children *all, const struct strv *argv, const char *input, size_t input_len,
                          double seconds, void (*done)(const struct child_result *r, void *arg), void *arg,
                          struct err *e);
/* For whom it looks, and what is done by one at a time; NULL: neither counts. */
void child_mark(struct child *c, const char *who, const char *what);
/* Also those that were forgotten: how many there are; those that look for `who` (NULL: for anybody); is there
 * one that does `what`? */
unsigned children_count(const struct children *all);
unsigned children_of(const struct children *all, const char *who);
bool children_at(const struct children *all, const char *what);
/* Nobody waits for it any more: done is not called. It is left to its end (a change that has begun is better
 * ended), or its deadline. */
void child_forget(struct child *c);
/* Kill it, and forget it at once. */
void child_free(struct child *c);
