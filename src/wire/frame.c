#include "wire/frame.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/text.h"
#include "wire/duplex.h"
#include "wire/squeeze.h"

#include <signal.h>
#include <string.h>
#include <xxhash.h>

#define QUEUE_SIZE (256u << 10)
#define DIRECT_SIZE (64u << 10) /* from here on a payload is written from where it lies */
#define READ_AHEAD (256u << 10)
#define QUEUED_SECONDS 5
#define FLAG_ZSTD 1
#define DIGESTED 8 /* bytes of the header that the digest covers */

/* What may travel as what, docs/PROTOCOL.md. The largest also bounds the length before compression. */
static const struct frame_limits {
    uint32_t min, max;
    bool may_compress;
} limits[] = {
    [FRAME_HELLO] = {2, FRAME_HELLO_MAX, true},
    [FRAME_CALL] = {2, FRAME_MAX, true},
    [FRAME_REPLY] = {2, FRAME_MAX, true},
    [FRAME_ERROR] = {2, FRAME_MAX, true},
    [FRAME_DATA] = {8, FRAME_DATA_MAX + 16, true},
    [FRAME_ZERO] = {16, 16, false},
    [FRAME_FEED] = {0, FRAME_DATA_MAX + 16, true},
    [FRAME_END] = {32, 32, false},
    [FRAME_ALIVE] = {0, 0, false},
    [FRAME_NOTE] = {0, FRAME_NOTE_MAX, true},
    [FRAME_DIGESTS] = {8, 8 + 16 * FRAME_DIGESTS_MAX, true},
};

struct channel {
    struct duplex duplex;
    XXH3_state_t *hash;
    struct squeeze squeeze;
    uint8_t *queue; /* frames not yet written */
    size_t queued;
    uint8_t *window; /* what was read: [start, end) is not yet taken */
    size_t room, start, end;
};

struct header {
    uint32_t len;
    uint8_t type, flags;
};

void channel_free(struct channel *c)
{
    if (!c)
        return;
    duplex_release(&c->duplex);
    squeeze_release(&c->squeeze);
    XXH3_freeState(c->hash);
    free(c->queue);
    free(c->window);
    free(c);
}

void channel_set_timeout(struct channel *c, double timeout)
{
    duplex_set_timeout(&c->duplex, timeout);
}

void channel_set_limit(struct channel *c, double seconds)
{
    c->duplex.limit = seconds;
}

void channel_expect(struct channel *c)
{
    duplex_expect(&c->duplex);
}

void channel_watch(struct channel *c, int fd, bool (*readable)(void *arg), void *arg)
{
    c->duplex.side = fd;
    c->duplex.side_readable = readable;
    c->duplex.side_arg = arg;
}

uint64_t channel_sent(const struct channel *c)
{
    return c->duplex.sent;
}

uint64_t channel_received(const struct channel *c)
{
    return c->duplex.received;
}

/* ---- the header ---- */

static uint64_t digest(struct channel *c, const uint8_t *header, const void *a, size_t na, const void *b,
                       size_t nb)
{
    XXH3_64bits_reset(c->hash);
    XXH3_64bits_update(c->hash, header, DIGESTED);
    if (na)
        XXH3_64bits_update(c->hash, a, na);
    if (nb)
        XXH3_64bits_update(c->hash, b, nb);
    return XXH3_64bits_digest(c->hash);
}

static void put_header(uint8_t *p, const struct header *h)
{
    put_u32(p, h->len);
    p[4] = h->type;
    p[5] = h->flags;
    p[6] = p[7] = 0;
}

static const struct frame_limits *limits_of(unsigned type)
{
    return type < ELEMENTS(limits) && type >= FRAME_HELLO ? &limits[type] : NULL;
}

static int get_header(const uint8_t *p, struct header *h, struct err *e)
{
    *h = (struct header){.len = get_u32(p), .type = p[4], .flags = p[5]};
    const struct frame_limits *l = limits_of(h->type);
    if (!l)
        return err_set(e, ERR_DATA, 0, "what arrives is damaged: unknown type %u", h->type);
    if ((h->flags & ~FLAG_ZSTD) || p[6] || p[7] || (h->flags && !l->may_compress))
        return err_set(e, ERR_DATA, 0, "what arrives is damaged: unknown flags %02x%02x%02x for type %u",
                       h->flags, p[6], p[7], h->type);
    if (h->len > l->max || (!h->flags && h->len < l->min) || (h->flags && h->len <= SQUEEZE_PREFIX))
        return err_set(e, ERR_DATA, 0, "what arrives is damaged: a length of %u for type %u", h->len,
                       h->type);
    return 0;
}

struct channel *channel_new(int in, int out, double timeout)
{
    struct channel *c = xcalloc(1, sizeof *c);
    uint8_t alive[FRAME_HEADER];
    signal(SIGPIPE, SIG_IGN);
    c->hash = XXH3_createState();
    if (!c->hash)
        abort();
    put_header(alive, &(struct header){.type = FRAME_ALIVE});
    put_u64(alive + DIGESTED, digest(c, alive, NULL, 0, NULL, 0));
    duplex_init(&c->duplex, in, out, timeout, alive);
    c->queue = xmalloc(QUEUE_SIZE);
    c->room = READ_AHEAD;
    c->window = xmalloc(c->room);
    return c;
}

/* ---- writing ---- */

int channel_flush(struct channel *c, struct err *e)
{
    struct iovec iov = {c->queue, c->queued};
    c->queued = 0;
    return duplex_write(&c->duplex, &iov, 1, e);
}

static void enqueue(struct channel *c, const void *data, size_t n)
{
    if (n)
        memcpy(c->queue + c->queued, data, n);
    c->queued += n;
}

/* The queue and the frame in one system call. */
static int write_direct(struct channel *c, uint8_t *header, const void *a, size_t na, const void *b,
                        size_t nb, struct err *e)
{
    struct iovec iov[4] = {{c->queue, c->queued}, {header, FRAME_HEADER}, {(void *)a, na}, {(void *)b, nb}};
    c->queued = 0;
    return duplex_write(&c->duplex, iov, 4, e);
}

int frame_write(struct channel *c, enum frame_type type, const void *a, size_t na, const void *b, size_t nb,
                bool compress, struct err *e)
{
    const struct frame_limits *l = limits_of(type);
    struct header h = {.type = (uint8_t)type};
    uint8_t header[FRAME_HEADER];
    size_t n = na + nb, squeezed = 0;
    if (!l || n < l->min || n > l->max)
        return err_set(e, ERR_DATA, 0, "cannot send a message of type %d with %zu bytes", (int)type, n);
    if (compress && l->may_compress && (squeezed = squeeze_pack(&c->squeeze, a, na, b, nb)) > 0) {
        h.flags = FLAG_ZSTD;
        a = c->squeeze.packed;
        n = na = squeezed;
        nb = 0;
    }
    h.len = (uint32_t)n;
    put_header(header, &h);
    put_u64(header + DIGESTED, digest(c, header, a, na, b, nb));
    if (n >= DIRECT_SIZE)
        return write_direct(c, header, a, na, b, nb, e);
    if (c->queued + FRAME_HEADER + n > QUEUE_SIZE && channel_flush(c, e) < 0)
        return -1;
    enqueue(c, header, sizeof header);
    enqueue(c, a, na);
    enqueue(c, b, nb);
    return 0;
}

int channel_alive(struct channel *c, struct err *e)
{
    pulse_worked(&c->duplex.pulse);
    if (clock_mono() - c->duplex.last_sent < QUEUED_SECONDS)
        return 0;
    /* where there is no thread that would */
    if (c->queued == 0 && !c->duplex.pulse.beats &&
        frame_write(c, FRAME_ALIVE, NULL, 0, NULL, 0, false, e) < 0)
        return -1;
    return channel_flush(c, e);
}

/* ---- reading ---- */

/* A window that holds `need` bytes from start on; gives back the room of a large frame that is done with. */
static void make_room(struct channel *c, size_t need)
{
    size_t have = c->end - c->start, want = need > READ_AHEAD ? need : READ_AHEAD;
    if (c->room < want || (have == 0 && c->room > 2 * (FRAME_DATA_MAX + READ_AHEAD) && want <= READ_AHEAD)) {
        uint8_t *window = xmalloc(want);
        memcpy(window, c->window + c->start, have);
        free(c->window);
        c->window = window;
        c->room = want;
    } else if (c->start > 0 && (have == 0 || c->room - c->start < need)) {
        memmove(c->window, c->window + c->start, have);
    } else {
        return;
    }
    c->start = 0;
    c->end = have;
}

/* What is queued goes out before we wait for an answer to it. A peer that no longer takes it may still have
 * said why, so that is left to the read. */
static void flush_before_wait(struct channel *c)
{
    struct err ignored;
    if (c->queued > 0)
        channel_flush(c, &ignored);
}

/* Read until the window holds `need` bytes. 1: the stream ended before that. Beyond what is needed only a
 * little is read ahead, so that large payloads are never moved. */
static int fill(struct channel *c, size_t need, struct err *e)
{
    if (c->end - c->start >= need)
        return 0;
    make_room(c, need);
    flush_before_wait(c);
    while (c->end - c->start < need) {
        size_t got, missing = need - (c->end - c->start), room = c->room - c->end;
        if (room > missing && room > READ_AHEAD)
            room = missing > READ_AHEAD ? missing : READ_AHEAD;
        if (duplex_read(&c->duplex, c->window + c->end, room, &got, e) < 0)
            return -1;
        if (got == 0)
            return 1;
        c->end += got;
    }
    return 0;
}

/* One frame of any type, checked; its payload is still as it travelled. */
static int take(struct channel *c, struct header *h, uint8_t **payload, struct err *e)
{
    int r = fill(c, FRAME_HEADER, e);
    if (r == 1 && c->end == c->start)
        return 1;
    if (r == 0)
        r = get_header(c->window + c->start, h, e);
    if (r == 0)
        r = fill(c, (size_t)FRAME_HEADER + h->len, e);
    if (r == 1)
        return err_set(e, ERR_NETWORK, 0, "the connection was cut in the middle of a message");
    if (r < 0)
        return -1;
    const uint8_t *header = c->window + c->start;
    *payload = c->window + c->start + FRAME_HEADER;
    if (get_u64(header + DIGESTED) != digest(c, header, *payload, h->len, NULL, 0))
        return err_set(e, ERR_DATA, 0, "what arrives is damaged: the digest of %u bytes differs", h->len);
    c->start += (size_t)FRAME_HEADER + h->len;
    return 0;
}

void channel_noise(const struct channel *c, char *to, size_t room)
{
    size_t n = c->end - c->start < room - 1 ? c->end - c->start : room - 1;
    memcpy(to, c->window + c->start, n);
    to[n] = 0;
    text_clean(to);
}

int frame_read(struct channel *c, struct frame *ret, struct err *e)
{
    struct header h = {0};
    uint8_t *payload = NULL;
    do {
        int r = take(c, &h, &payload, e);
        if (r != 0)
            return r;
    } while (h.type == FRAME_ALIVE);
    struct frame f = {.type = h.type, .payload = payload, .len = h.len};
    if (h.flags & FLAG_ZSTD) {
        const struct frame_limits *l = limits_of(h.type);
        if (squeeze_unpack(&c->squeeze, payload, h.len, l->min, l->max, &f.len, e) < 0)
            return -1;
        f.payload = c->squeeze.unpacked;
    }
    *ret = f;
    return 0;
}
