/* Two file descriptors to one peer, made non-blocking, with a limit on how long the peer may stand still.
 *
 * While a write waits, what arrives is put aside (at most DUPLEX_EARLY_MAX bytes) and given to later reads:
 * so two peers that both send do not block each other, and a busy peer that says it lives is heard. Bytes in
 * either direction count as a sign of life. SIGPIPE must be ignored (channel_new does it).
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#define DUPLEX_EARLY_MAX (4u << 20)

struct duplex {
    int in, out;             /* the caller's */
    int in_flags, out_flags; /* as they were before */
    double timeout;          /* seconds */
    uint64_t sent, received; /* bytes */
    double last_sent;        /* clock_mono */
    bool ended;              /* the peer sends no more */
    struct buf early;        /* arrived while a write waited */
    size_t early_taken;
    int side; /* watched while waiting, or -1 */
    bool (*side_readable)(void *arg);
    void *side_arg;
};

/* The fds stay the caller's; release gives them their flags back. */
void duplex_init(struct duplex *d, int in, int out, double timeout);
void duplex_release(struct duplex *d);

/* Write all of it; changes the vector. ERR_NETWORK: the peer stood still or is gone. */
int duplex_write(struct duplex *d, struct iovec *iov, int n, struct err *e);
/* At least one byte, at most room; *got is 0 at the end of the stream. */
int duplex_read(struct duplex *d, void *to, size_t room, size_t *got, struct err *e);
