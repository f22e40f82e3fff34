/* Two file descriptors to one peer, made non-blocking, with a limit on how long the peer may stand still.
 *
 * While a write waits, what arrives is put aside (at most DUPLEX_EARLY_MAX bytes) and given to later reads:
 * so two peers that both send do not block each other, and a busy peer that says it lives is heard. Bytes in
 * either direction count as a sign of life, and signs of life alone count until `limit`. While neither a read
 * nor a write is under way, the pulse says for us that we live. SIGPIPE must be ignored (channel_new does
 * it).
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "wire/pulse.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#define DUPLEX_EARLY_MAX (4u << 20)

struct duplex {
    int in, out;             /* the caller's */
    int in_flags, out_flags; /* as they were before */
    double timeout;          /* seconds of silence */
    double limit; /* seconds that one write, or what is read after duplex_expect, may take; 0: any */
    double until; /* clock_mono: of what is read; 0: any */
    uint64_t sent, received; /* bytes */
    double last_sent;        /* clock_mono */
    bool ended;              /* the peer sends no more */
    struct buf early;        /* arrived while a write waited */
    size_t early_taken;
    int side; /* watched while waiting, or -1 */
    bool (*side_readable)(void *arg);
    void *side_arg;
    struct pulse pulse;
};

/* The fds stay the caller's; release gives them their flags back. `word`: what the pulse says. */
void duplex_init(struct duplex *d, int in, int out, double timeout, const uint8_t word[PULSE_WORD]);
void duplex_release(struct duplex *d);

void duplex_set_timeout(struct duplex *d, double timeout);
/* What the peer sends from now on is over within the limit. */
void duplex_expect(struct duplex *d);

/* Write all of it; changes the vector. ERR_NETWORK: the peer stood still or is gone. */
int duplex_write(struct duplex *d, struct iovec *iov, int n, struct err *e);
/* At least one byte, at most room; *got is 0 at the end of the stream. */
int duplex_read(struct duplex *d, void *to, size_t room, size_t *got, struct err *e);
