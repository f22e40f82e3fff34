#include "run/source/compare.h"

#include "base/clock.h"

#include <stdio.h>
#include <string.h>

#define CHUNK_BLOCKS 256u /* digests asked for at once: 16 MiB */
#define STOP_SECONDS 0.1

struct comparing {
    struct compare *c;
    struct volume_reader reader;
    uint64_t size, asked; /* asked: up to here, answers may be on their way */
    double looked;
    struct digest here[CHUNK_BLOCKS];
    struct peer_digests there;
};

static size_t chunk(const struct comparing *g, uint64_t offset)
{
    uint64_t blocks = (g->size - offset + DIGEST_BLOCK - 1) / DIGEST_BLOCK;
    return blocks < CHUNK_BLOCKS ? (size_t)blocks : CHUNK_BLOCKS;
}

static int ask(struct comparing *g, struct err *e)
{
    struct compare *c = g->c;
    size_t n = chunk(g, g->asked);
    if (peer_digest_ask(c->peer, c->there, c->id, g->asked, n, e) < 0)
        return -1;
    g->asked += (uint64_t)n * DIGEST_BLOCK;
    return 0;
}

static bool is_stopped(struct comparing *g)
{
    double now = clock_mono();
    if (now - g->looked < STOP_SECONDS)
        return false;
    g->looked = now;
    return g->c->stop && g->c->stop(g->c->arg);
}

/* 1: stopped meanwhile. */
static int hold_back(struct comparing *g, uint64_t n, struct err *e)
{
    struct channel *channel = g->c->peer->link.channel;
    for (double left = rate_wait(g->c->rate, n); left > 0; left = rate_wait(g->c->rate, 0)) {
        if (channel_flush(channel, e) < 0 || channel_alive(channel, e) < 0)
            return -1;
        if (is_stopped(g))
            return 1;
    }
    return is_stopped(g);
}

static int read_here(struct comparing *g, uint64_t offset, size_t n, struct err *e)
{
    struct err bad = {0};
    if (volume_read_digests(g->c->volume, &g->reader, offset, n, g->here, &bad, e) < 0)
        return -1;
    if (bad.kind == ERR_NONE)
        return 0;
    *e = bad;
    return err_wrap(e, "on this node");
}

enum block { BLOCK_SAME, BLOCK_ZERO, BLOCK_DATA };

static enum block block_is(const struct comparing *g, uint64_t offset, size_t i)
{
    if (i < g->there.n && digest_same(&g->here[i], &g->there.v[i]))
        return BLOCK_SAME;
    struct digest zeros = digest_of_zeros(block_length(g->size, offset + (uint64_t)i * DIGEST_BLOCK));
    return digest_same(&g->here[i], &zeros) ? BLOCK_ZERO : BLOCK_DATA;
}

static int tell(struct comparing *g, uint64_t from, uint64_t end, enum block is, struct err *e)
{
    struct compare *c = g->c;
    uint64_t length = (end < g->size ? end : g->size) - from;
    if (c->differs)
        return c->differs(c->arg, &g->reader, from, length, is == BLOCK_ZERO, e);
    ranges_add(&c->ranges, from, length);
    return 0;
}

static int note(struct comparing *g, uint64_t offset, size_t n, struct err *e)
{
    for (size_t i = 0, next; i < n; i = next) {
        enum block is = block_is(g, offset, i);
        for (next = i + 1; next < n && block_is(g, offset, next) == is;)
            next++;
        if (is != BLOCK_SAME &&
            tell(g, offset + (uint64_t)i * DIGEST_BLOCK, offset + (uint64_t)next * DIGEST_BLOCK, is, e) < 0)
            return -1;
    }
    if (*g->there.bad && !*g->c->bad)
        memcpy(g->c->bad, g->there.bad, sizeof g->c->bad);
    return 0;
}

/* One chunk; the next is asked for before, so that both sides always have something to read. */
static int step(struct comparing *g, struct err *e)
{
    struct compare *c = g->c;
    size_t n = chunk(g, c->at);
    if (g->asked < g->size && ask(g, e) < 0)
        return -1;
    if (read_here(g, c->at, n, e) < 0 || peer_digest_take(c->peer, c->at, n, &g->there, e) < 0)
        return -1;
    if (g->there.wanted)
        return 1;
    if (note(g, c->at, n, e) < 0)
        return -1;
    uint64_t bytes = (uint64_t)n * DIGEST_BLOCK;
    c->at = c->at + bytes < g->size ? c->at + bytes : g->size;
    return hold_back(g, bytes, e);
}

static int walk(struct comparing *g, struct err *e)
{
    struct compare *c = g->c;
    int r = 0;
    g->size = g->reader.blocks.size;
    g->asked = c->at;
    if (c->at < g->size && ask(g, e) < 0)
        return -1;
    while (r == 0 && c->at < g->size && !(c->end && c->at >= c->end))
        r = step(g, e);
    c->whole = r == 0 && c->at >= g->size;
    if (c->whole && g->there.size > g->size && !c->differs)
        ranges_add(&c->ranges, g->size, g->there.size - g->size);
    return r;
}

/* A question may still be open where it ended early. */
static int drain(struct comparing *g, struct err *e)
{
    struct compare *c = g->c;
    for (uint64_t at = c->at; at < g->asked && at < g->size; at += (uint64_t)CHUNK_BLOCKS * DIGEST_BLOCK)
        if (peer_digest_take(c->peer, at, chunk(g, at), &g->there, e) < 0)
            return -1;
    return 0;
}

int compare_volume(struct compare *c, struct err *e)
{
    struct comparing *g = xcalloc(1, sizeof *g);
    g->c = c;
    int r = volume_read_open(c->volume, c->snapshot, &g->reader, e);
    if (r == 0)
        r = walk(g, e);
    if (r == 0)
        r = drain(g, e);
    volume_read_close(c->volume, &g->reader);
    free(g);
    return r;
}
