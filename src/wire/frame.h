/* Frames: what travels on a link, docs/PROTOCOL.md. Bytes only; meaning is given in run/.
 *
 * A frame is a 16-byte header (length, type, flags, XXH3-64 of header and payload) and a payload of at most
 * FRAME_MAX bytes. The length is checked before anything is allocated; the digest before anything is used.
 * Every read and write waits at most the channel's timeout for a sign of life: ERR_NETWORK after that. While
 * this process is busy with something else, a thread sends ALIVE for it (wire/pulse.h). After a failure the
 * channel is good for one thing only: reading what the peer sent before it hung up.
 */
#pragma once

#include "base/err.h"
#include "wire/quota.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FRAME_HEADER 16

enum frame_type {
    FRAME_HELLO = 1, /* JSON, both ways, first */
    FRAME_CALL,      /* JSON request */
    FRAME_REPLY,     /* JSON answer */
    FRAME_ERROR,     /* JSON {"kind","code","text"}: the peer's struct err */
    FRAME_DATA,      /* u64 offset, bytes (may be compressed) */
    FRAME_ZERO,      /* u64 offset, u64 length */
    FRAME_FEED,      /* bytes of a native stream */
    FRAME_END,       /* u64 logical bytes, u64 frames, 16 bytes XXH3-128 of the transfer */
    FRAME_ALIVE,     /* nothing: the sender is busy but lives; skipped by frame_read */
    FRAME_NOTE,      /* text for the job log */
    FRAME_DIGESTS,   /* u64 offset, XXH3-128 of each 64 KiB of a volume from there on */
};

struct frame {
    enum frame_type type;
    uint8_t *payload; /* in the channel's buffer, valid until the next read */
    size_t len;
};

struct channel; /* a frame stream over two file descriptors, buffered both ways */

/* The fds stay the caller's (pipes or sockets, may be the same one); they are non-blocking until
 * channel_free. SIGPIPE is ignored by this process from now on. timeout in seconds. */
struct channel *channel_new(int in, int out, double timeout);
void channel_free(struct channel *c);
void channel_set_timeout(struct channel *c, double timeout);
/* How long a peer may only say that it lives: within so many seconds a write is done, and whatever is read
 * after channel_expect has come. 0, as at first: for ever. */
void channel_set_limit(struct channel *c, double seconds);
void channel_expect(struct channel *c);
/* While the channel waits, call readable(arg) when fd has something; it returns false when fd has ended. */
void channel_watch(struct channel *c, int fd, bool (*readable)(void *arg), void *arg);
static inline void channel_freep(struct channel **c)
{
    channel_free(*c);
}

/* Queue one frame made of two parts (b may be NULL); written when the buffer is full, at channel_flush, and
 * before a read has to wait. With `compress`, the payload is sent with zstd level 1 when that makes it
 * smaller. A payload beyond what the type allows is ERR_DATA. The parts may lie in the frame last read. */
int frame_write(struct channel *c, enum frame_type type, const void *a, size_t na, const void *b, size_t nb,
                bool compress, struct err *e);
int channel_flush(struct channel *c, struct err *e);
/* The work goes on; call it in long loops. Sends what is queued when nothing was for 5 s. */
int channel_alive(struct channel *c, struct err *e);

/* The next frame that is not ALIVE. 1: the peer closed the stream at a frame boundary. ERR_DATA: damaged.
 * ERR_NETWORK: silent for too long, or cut (in the middle of a frame, too). */
int frame_read(struct channel *c, struct frame *ret, struct err *e);

/* After ERR_DATA: the beginning of what was read and is no frame, as one line of text, cut at room - 1 bytes.
 */
void channel_noise(const struct channel *c, char *to, size_t room);

uint64_t channel_sent(const struct channel *c);     /* bytes written, headers included */
uint64_t channel_received(const struct channel *c); /* bytes read */

/* The running digest of one transfer: both sides feed what was sent (type, offset, length, bytes before
 * compression) and compare at FRAME_END. */
struct transfer_digest; /* XXH3-128 state */
struct transfer_digest *transfer_digest_new(void);
void transfer_digest_free(struct transfer_digest *d);
void transfer_digest_add(struct transfer_digest *d, enum frame_type type, uint64_t offset, uint64_t length,
                         const void *data /* NULL for ZERO */);
void transfer_digest_final(const struct transfer_digest *d, uint8_t out[16]);

/* Little-endian helpers for payloads. */
static inline void put_u32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> (8 * i));
}
static inline uint32_t get_u32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}
static inline void put_u64(uint8_t *p, uint64_t v)
{
    for (int i = 0; i < 8; i++)
        p[i] = (uint8_t)(v >> (8 * i));
}
static inline uint64_t get_u64(const uint8_t *p)
{
    uint64_t v = 0;
    for (int i = 7; i >= 0; i--)
        v = v << 8 | p[i];
    return v;
}
