/* A volume of the source and its replica, by digests of their blocks: each side reads its own, both at the
 * same time, and only digests travel. */
#pragma once

#include "base/err.h"
#include "run/source/peer.h"
#include "run/source/ranges.h"
#include "wire/rate.h"

struct compare {
    struct peer *peer;
    struct rate *rate; /* of the bytes that each side reads */
    struct volume *volume;
    const struct snapshot *snapshot; /* on the source; NULL: its live volume */
    const char *there;               /* the volume on the target */
    const char *id;                  /* what is compared there: peer_digest_ask */
    bool (*stop)(void *arg);         /* asked now and then: is it to end early? */
    void *arg;
    uint64_t at;          /* from here on (a multiple of the block size); afterwards: so far it came */
    uint64_t end;         /* 0: to the volume's end; it may go a little further */
    bool whole;           /* it came to the end of the volume */
    struct ranges ranges; /* the caller's: what differs, unless `differs` is told it, which may go on reading
                           * from r; zero: it is zeros here */
    int (*differs)(void *arg, const struct volume_reader *r, uint64_t offset, uint64_t length, bool zero,
                   struct err *e);
    char bad[256]; /* what the target's storage said of blocks that cannot be read, or "" */
};
/* 0: it is done; 1: it was stopped, or somebody on the target needs the volume. */
int compare_volume(struct compare *c, struct err *e);
