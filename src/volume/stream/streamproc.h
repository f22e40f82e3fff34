/* A program that gives or takes a native stream: `btrfs send`, `zfs send`, `zfs receive`. While it is waited
 * for, the context's tick is called, and what it complains of is kept for the error's text. */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "base/proc.h"
#include "volume/volume.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct streamproc {
    struct proc proc; /* pid 0: not running */
    struct buf errors;
    const struct volume_context *context; /* borrowed; may be NULL */
};
#define STREAMPROC_INIT                                                                                      \
    {                                                                                                        \
        .proc = PROC_INIT                                                                                    \
    }

/* It gives its stream on stdout (source), or takes it on stdin, and then holds the context's lock as its
 * stdout. */
int streamproc_start(struct streamproc *s, char *const argv[], bool source,
                     const struct volume_context *context, struct err *e);
/* Up to `room` bytes; 0 at the end, when the program has ended well. */
ssize_t streamproc_read(struct streamproc *s, void *data, size_t room, struct err *e);
int streamproc_write(struct streamproc *s, const void *data, size_t n, struct err *e);
/* No more input: wait for its end, as long as it takes. ERR_SYSTEM "zfs recv: exit status 1: COMPLAINT",
 * ERR_FULL. */
int streamproc_end(struct streamproc *s, struct err *e);
/* Kill what still runs, free. */
void streamproc_stop(struct streamproc *s);
