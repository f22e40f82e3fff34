#include "volume/file/mapdelta.h"

#include "volume/file/blockmap.h"

#include <inttypes.h>
#include <string.h>

/* No call looks at more blocks than this, nor gives more zeros. */
#define TICK_BLOCKS 65536u

struct mapdelta {
    struct blockmap *base; /* NULL: full */
    struct blockmap *map;
    struct blockreader live;
    uint64_t at; /* next block to look at */
    uint64_t from, size;
    unsigned char *data; /* EXTENT_DATA_MAX */
    size_t skip;         /* bytes of the data that lie below `from` */
};

struct mapdelta *mapdelta_new(int base_fd, int map_fd, int data_fd, uint64_t from, struct err *e)
{
    _cleanup_(mapdelta_freep) struct mapdelta *d = xcalloc(1, sizeof *d);
    d->map = blockmap_open(map_fd, "the snapshot's file of digests", e);
    if (!d->map || (base_fd >= 0 && !(d->base = blockmap_open(base_fd, "the base's file of digests", e))))
        return NULL;
    if (blockmap_prove(d->map, NULL, e) < 0 || (d->base && blockmap_prove(d->base, NULL, e) < 0))
        return NULL;
    d->size = blockmap_size(d->map);
    d->from = from;
    d->at = from < d->size ? from - from % BLOCKMAP_BLOCK : d->size;
    d->data = xmalloc(EXTENT_DATA_MAX);
    blockreader_init(&d->live, data_fd, d->size, "the live file");
    return take_ptr(d);
}

void mapdelta_free(struct mapdelta *d)
{
    if (!d)
        return;
    blockmap_free(d->base);
    blockmap_free(d->map);
    blockreader_release(&d->live);
    free(d->data);
    free(d);
}

const void *mapdelta_data(const struct mapdelta *d)
{
    return d->data + d->skip;
}

enum change { SAME, ZERO, DATA };

/* What became of the block at d->at: 0 or -1. *is gets its digest in the newer map. */
static int look(struct mapdelta *d, enum change *ret, struct digest *is, struct err *e)
{
    struct digest was, zeros = digest_of_zeros(block_length(d->size, d->at));
    if (blockmap_at(d->map, d->at, is, e) < 0)
        return -1;
    bool zero = digest_same(is, &zeros);
    if (!d->base || d->at >= blockmap_size(d->base)) {
        *ret = zero ? SAME : DATA; /* the base reads as zeros behind its end */
        return 0;
    }
    if (blockmap_at(d->base, d->at, &was, e) < 0)
        return -1;
    struct digest base_zeros = digest_of_zeros(block_length(blockmap_size(d->base), d->at));
    bool both = zero && digest_same(&was, &base_zeros); /* the last block may be of another length there */
    *ret = both || digest_same(is, &was) ? SAME : zero ? ZERO : DATA;
    return 0;
}

static int read_proved(struct mapdelta *d, const struct digest *wanted, unsigned char *to, struct err *e)
{
    struct digest is;
    bool zero;
    struct err why;
    int r = blockreader_read(&d->live, d->at, &zero, &is, &why);
    if (r < 0 && why.kind != ERR_DATA) {
        *e = why;
        return -1;
    }
    if (r < 0 || !digest_same(&is, wanted))
        return err_set(e, ERR_DATA, 0,
                       "the file was changed while it was being read (block at byte %" PRIu64
                       "): keep the guest stopped, or put the storage on XFS with reflink=1 or on btrfs",
                       d->at);
    memcpy(to, d->live.buffer, block_length(d->size, d->at));
    return 0;
}

/* Where both are zeros nothing changed: the first block at or behind d->at of which that is not known. */
static int skip_zeros(struct mapdelta *d, uint64_t *next, struct err *e)
{
    uint64_t base = d->size;
    if (blockmap_skip(d->map, d->at, next, e) < 0)
        return -1;
    if (d->base && d->at < blockmap_size(d->base) && blockmap_skip(d->base, d->at, &base, e) < 0)
        return -1;
    if (base < *next && base < blockmap_size(d->base)) /* the base reads as zeros behind its end */
        *next = base;
    return 0;
}

int mapdelta_next(struct mapdelta *d, struct extent *ret, struct err *e)
{
    uint64_t looked = 0;
    ret->length = 0;
    for (; d->at < d->size; d->at += BLOCKMAP_BLOCK) {
        enum change change;
        struct digest is;
        uint64_t next;
        if (skip_zeros(d, &next, e) < 0)
            return -1;
        if (next > d->at && ret->length)
            break;
        if ((d->at = next) >= d->size)
            break;
        if (look(d, &change, &is, e) < 0)
            return -1;
        enum extent_kind kind = change == ZERO ? EXTENT_ZERO : EXTENT_DATA;
        size_t n = block_length(d->size, d->at);
        uint64_t most = kind == EXTENT_DATA ? EXTENT_DATA_MAX : (uint64_t)TICK_BLOCKS * BLOCKMAP_BLOCK;
        if (ret->length && (change == SAME || kind != ret->kind || ret->length + n > most))
            break;
        if (change == SAME) {
            if (++looked < TICK_BLOCKS)
                continue;
            d->at += BLOCKMAP_BLOCK;
            return 2;
        }
        if (change == DATA && read_proved(d, &is, d->data + ret->length, e) < 0)
            return -1;
        if (!ret->length)
            *ret = (struct extent){.offset = d->at, .kind = kind};
        ret->length += n;
    }
    if (!ret->length)
        return 0;
    d->skip = 0;
    if (ret->offset < d->from) {
        d->skip = (size_t)(d->from - ret->offset);
        ret->offset += d->skip;
        ret->length -= d->skip;
    }
    return 1;
}
