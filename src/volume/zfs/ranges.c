#include "volume/zfs/ranges.h"

#include "volume/file/sparse.h"
#include "volume/zfs/record.h"

#include <inttypes.h>
#include <string.h>

#define ZVOL_DATA 1u
/* No block is larger (SPA_MAXBLOCKSIZE). */
#define PAYLOAD_MAX (16u << 20)
/* No call passes over more than this without a result. */
#define TICK_BYTES (64u << 20)

enum next_kind { NEXT_UNKNOWN, NEXT_DATA, NEXT_ZERO, NEXT_END };

struct zfsranges {
    zfsranges_read *read;
    void *arg;
    uint64_t size, from;
    bool full, begun;
    /* what comes next in the stream; of data, the part that was not read yet */
    enum next_kind next;
    uint64_t offset, length;
    /* Before the first block a stream tells where the last one ends: from there on all is zero, as it was in
     * the base unless the volume was resized since, which changes another object. */
    uint64_t tail;
    bool ranges, others; /* were there any of the data, of another object? */
    uint64_t end;        /* of the last range that was given */
    uint64_t passed;
    /* read, not given yet */
    unsigned char *data; /* EXTENT_DATA_MAX */
    uint64_t at;         /* where the volume has it */
    size_t first, used;
    const unsigned char *given;
};

struct zfsranges *zfsranges_new(uint64_t size, bool full, uint64_t from, zfsranges_read *read, void *arg)
{
    struct zfsranges *r = xcalloc(1, sizeof *r);
    r->read = read;
    r->arg = arg;
    r->size = r->tail = size;
    r->full = full;
    r->from = r->end = from;
    r->data = xmalloc(EXTENT_DATA_MAX);
    return r;
}

void zfsranges_free(struct zfsranges *r)
{
    if (!r)
        return;
    free(r->data);
    free(r);
}

const void *zfsranges_data(const struct zfsranges *r)
{
    return r->given;
}

/* ---- records ---- */

static int damaged(struct err *e, const char *what, uint64_t n)
{
    return err_set(e, ERR_DATA, 0, "the stream of zfs send is not that of a zvol's data: %s (%" PRIu64 ")",
                   what, n);
}

static int read_all(struct zfsranges *r, void *data, size_t n, struct err *e)
{
    for (unsigned char *to = data; n;) {
        ssize_t got = r->read(r->arg, to, n, e);
        if (got <= 0)
            return got < 0 ? -1 : damaged(e, "it ends too early, bytes missing", n);
        to += got;
        n -= (size_t)got;
    }
    return 0;
}

static int skip(struct zfsranges *r, uint64_t n, struct err *e)
{
    static unsigned char nowhere[64 << 10];
    if (n > PAYLOAD_MAX)
        return damaged(e, "too long a record", n);
    r->passed += n;
    for (size_t part; n; n -= part) {
        part = n < sizeof nowhere ? (size_t)n : sizeof nowhere;
        if (read_all(r, nowhere, part, e) < 0)
            return -1;
    }
    return 0;
}

static uint64_t rounded(uint32_t n)
{
    return (n + 7ull) & ~7ull;
}

static int take_begin(struct zfsranges *r, const unsigned char *record, struct err *e)
{
    if (r->begun)
        return damaged(e, "it begins twice", 0);
    if (zfsrecord_u64(record, 8) != ZFSRECORD_MAGIC || zfsrecord_u32(record, 32) != ZFSRECORD_OF_ZVOL)
        return damaged(e, "its beginning", zfsrecord_u32(record, 32));
    if (r->full != (zfsrecord_u64(record, 48) == 0))
        return damaged(e, "its base", zfsrecord_u64(record, 48));
    r->begun = true;
    return skip(r, zfsrecord_u32(record, 4), e);
}

static int take_range(struct zfsranges *r, enum next_kind kind, uint64_t offset, uint64_t length,
                      struct err *e)
{
    if (offset < r->offset || offset > INT64_MAX || !length || (offset >= r->tail && r->tail < r->size))
        return damaged(e, "a range out of order", offset);
    r->next = kind;
    r->offset = offset;
    r->length = length;
    r->ranges = true;
    return 0;
}

static int take_write(struct zfsranges *r, const unsigned char *record, struct err *e)
{
    uint64_t object = zfsrecord_u64(record, 8), offset = zfsrecord_u64(record, 24),
             length = zfsrecord_u64(record, 32);
    if (record[50])
        return damaged(e, "it is compressed", record[50]);
    if (object != ZVOL_DATA) {
        r->others = true;
        return skip(r, length, e);
    }
    return length > PAYLOAD_MAX ? damaged(e, "too long a block", length)
                                : take_range(r, NEXT_DATA, offset, length, e);
}

static int take_free(struct zfsranges *r, const unsigned char *record, struct err *e)
{
    uint64_t offset = zfsrecord_u64(record, 16), length = zfsrecord_u64(record, 24);
    if (zfsrecord_u64(record, 8) != ZVOL_DATA) {
        r->others = true;
        return 0;
    }
    if (offset >= r->size)
        return 0;
    if (length == UINT64_MAX && !r->ranges) {
        r->tail = offset < r->tail ? offset : r->tail;
        return 0;
    }
    return take_range(r, NEXT_ZERO, offset, length < r->size - offset ? length : r->size - offset, e);
}

static int take_end(struct zfsranges *r, struct err *e)
{
    unsigned char more;
    ssize_t n = r->read(r->arg, &more, 1, e);
    if (n != 0)
        return n < 0 ? -1 : damaged(e, "it goes on behind its end", 1);
    r->next = NEXT_END;
    return 0;
}

/* One record; what is not about the volume's data is passed over. */
static int take_record(struct zfsranges *r, struct err *e)
{
    unsigned char record[ZFSRECORD_SIZE];
    if (read_all(r, record, sizeof record, e) < 0)
        return -1;
    uint32_t type = zfsrecord_u32(record, 0);
    r->passed += sizeof record;
    if (!r->begun && type != ZFSRECORD_BEGIN)
        return damaged(e, "it does not begin", type);
    switch (type) {
    case ZFSRECORD_BEGIN:
        return take_begin(r, record, e);
    case ZFSRECORD_OBJECT:
        return skip(
            r, zfsrecord_u32(record, 36) ? zfsrecord_u32(record, 36) : rounded(zfsrecord_u32(record, 28)), e);
    case ZFSRECORD_FREEOBJECTS:
        if (zfsrecord_u64(record, 8) <= ZVOL_DATA &&
            zfsrecord_u64(record, 16) > ZVOL_DATA - zfsrecord_u64(record, 8))
            break;
        return 0;
    case ZFSRECORD_WRITE:
        return take_write(r, record, e);
    case ZFSRECORD_FREE:
        return take_free(r, record, e);
    case ZFSRECORD_END:
        return take_end(r, e);
    case ZFSRECORD_SPILL:
        return skip(r, record[33] ? zfsrecord_u64(record, 40) : zfsrecord_u64(record, 16), e);
    case ZFSRECORD_EMBEDDED:
        if (zfsrecord_u64(record, 8) == ZVOL_DATA)
            break;
        r->others = true;
        return skip(r, rounded(zfsrecord_u32(record, 52)), e);
    default:
        break;
    }
    return damaged(e, "record type", type);
}

/* ---- ranges ---- */

/* r->next is known, or the caller is to come again: 1. */
static int look_ahead(struct zfsranges *r, struct err *e)
{
    while (r->next == NEXT_UNKNOWN)
        if (take_record(r, e) < 0)
            return -1;
        else if (r->passed >= TICK_BYTES)
            return 1;
    return 0;
}

static void done_with(struct zfsranges *r, uint64_t n)
{
    r->offset += n;
    r->length -= n;
    if (!r->length)
        r->next = NEXT_UNKNOWN;
}

/* Collect the data that follows each other. Blocks that reach beyond the end or lie below `from` are cut. */
static int fill(struct zfsranges *r, struct err *e)
{
    r->first = r->used = 0;
    do {
        uint64_t n = r->length, room = EXTENT_DATA_MAX - r->used;
        bool wanted = r->offset >= r->from && r->offset < r->size;
        if (!wanted && r->offset < r->from) {
            n = n < r->from - r->offset ? n : r->from - r->offset;
        } else if (wanted) {
            n = n < room ? n : room;
            n = n < r->size - r->offset ? n : r->size - r->offset;
        }
        if (wanted && !r->used)
            r->at = r->offset;
        if ((wanted ? read_all(r, r->data + r->used, (size_t)n, e) : skip(r, n, e)) < 0)
            return -1;
        if (wanted)
            r->used += (size_t)n;
        done_with(r, n);
        int later = look_ahead(r, e);
        if (later != 0)
            return later < 0 ? -1 : 0;
    } while (r->next == NEXT_DATA && r->used < EXTENT_DATA_MAX && r->passed < TICK_BYTES &&
             (!r->used || r->offset == r->at + r->used));
    return 0;
}

static int give(struct zfsranges *r, struct extent *ret, uint64_t offset, uint64_t length, bool zero)
{
    uint64_t end = offset + length;
    if (offset < r->end)
        offset = r->end;
    if (offset >= end || (zero && r->full))
        return 0;
    *ret =
        (struct extent){.offset = offset, .length = end - offset, .kind = zero ? EXTENT_ZERO : EXTENT_DATA};
    r->end = end;
    return 1;
}

/* The next run of what was read. */
static int give_read(struct zfsranges *r, struct extent *ret)
{
    while (r->first < r->used) {
        bool zero;
        uint64_t offset = r->at + r->first;
        size_t n = sparse_run(r->data + r->first, r->used - r->first, offset, &zero);
        r->given = r->data + r->first;
        r->first += n;
        if (give(r, ret, offset, n, zero))
            return 1;
    }
    return 0;
}

int zfsranges_next(struct zfsranges *r, struct extent *ret, struct err *e)
{
    for (r->passed = 0; r->passed < TICK_BYTES;) {
        if (give_read(r, ret))
            return 1;
        int later = look_ahead(r, e);
        if (later != 0)
            return later < 0 ? -1 : 2;
        if (r->next == NEXT_END)
            return r->others && give(r, ret, r->tail, r->size - r->tail, true);
        if (r->next == NEXT_DATA && fill(r, e) < 0)
            return -1;
        if (r->next == NEXT_ZERO && r->first == r->used) {
            uint64_t offset = r->offset, length = r->length;
            done_with(r, length);
            if (give(r, ret, offset, length, true))
                return 1;
        }
    }
    return 2;
}
