#include "volume/file/delta.h"

#include "volume/file/map.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#define BLOCK 4096u
#define WINDOW (1u << 20)
#define BLOCKS (WINDOW / BLOCK)
/* Windows planned ahead, so that the device has all their reads to work on at once. */
#define AHEAD 32
#define TICK_BYTES (64u << 20)
#define TICK_ASKED 64

/* What the maps say must be done about a block. */
enum action {
    SAME,    /* nothing */
    ZERO,    /* became zeros */
    FRESH,   /* read; the base is zeros there */
    MOVED,   /* read; it is something else than the base's */
    COMPARE, /* read both */
};

/* Either one run of zeros, of any length, or up to 1 MiB with an action for each block. */
struct piece {
    uint64_t start, end;
    bool zero;
    uint8_t action[BLOCKS];
};

struct filedelta {
    int base_fd, fd;
    struct filemap *base_map, *map;
    uint64_t base_size, size, from;
    bool exact;               /* compare whatever is not the same block */
    filedelta_plan *known_at; /* who knows what changed, instead of the maps */
    void *known_arg;

    uint64_t planned; /* pieces cover everything below */
    struct piece ring[AHEAD];
    unsigned first, count;

    struct piece window; /* the one in the buffers; start == end: none */
    uint64_t at;
    uint8_t *data, *base_data;

    uint64_t looked; /* bytes read since the last result */
    uint64_t read;   /* bytes read in all */
    bool has_held;
    struct extent held; /* found while looking whether a run of zeros goes on */
    const void *result;
};

static const uint8_t zeros[BLOCK];

static uint64_t min64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

struct filedelta *filedelta_new(int base_fd, int fd, uint64_t size, uint64_t from, struct err *e)
{
    struct stat st, base_st = {0};
    if (fstat(fd, &st) < 0 || (base_fd >= 0 && fstat(base_fd, &base_st) < 0)) {
        err_sys(e, "cannot stat the image");
        return NULL;
    }
    if (!S_ISREG(st.st_mode) || (base_fd >= 0 && !S_ISREG(base_st.st_mode))) {
        err_set(e, ERR_DATA, 0, "the image is not a regular file");
        return NULL;
    }
    if ((uint64_t)st.st_size < size) {
        err_set(e, ERR_DATA, 0,
                "the image has only %lld of the %llu bytes that it had: if somebody made it smaller, the "
                "next run goes on",
                (long long)st.st_size, (unsigned long long)size);
        return NULL;
    }
    struct filedelta *d = xcalloc(1, sizeof *d);
    d->base_fd = base_fd;
    d->fd = fd;
    d->size = size;
    d->from = from;
    d->planned = from - from % BLOCK;
    bool places = base_fd >= 0 && filemap_comparable(base_fd, fd);
    d->map = filemap_new(fd, places);
    d->data = xmalloc(WINDOW);
    if (base_fd >= 0) {
        d->base_size = (uint64_t)base_st.st_size;
        d->base_map = filemap_new(base_fd, places);
        d->base_data = xmalloc(WINDOW);
    } else {
        posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    }
    return d;
}

struct filedelta *filedelta_new_planned(int base_fd, int fd, uint64_t size, uint64_t from, filedelta_plan *at,
                                        void *arg)
{
    struct filedelta *d = xcalloc(1, sizeof *d);
    d->base_fd = base_fd;
    d->fd = fd;
    d->size = size;
    d->from = from;
    d->planned = from - from % BLOCK;
    d->known_at = at;
    d->known_arg = arg;
    d->data = xmalloc(WINDOW);
    if (base_fd >= 0)
        d->base_data = xmalloc(WINDOW);
    return d;
}

void filedelta_free(struct filedelta *d)
{
    if (!d)
        return;
    filemap_free(d->map);
    filemap_free(d->base_map);
    free(d->data);
    free(d->base_data);
    free(d);
}

const void *filedelta_data(const struct filedelta *d)
{
    return d->result;
}

uint64_t filedelta_read(const struct filedelta *d)
{
    return d->read;
}

/* ---- planning: from the maps to pieces ---- */

static enum action verdict(const struct filedelta *d, const struct region *base, const struct region *new,
                           uint64_t pos)
{
    if (new->kind == REGION_ZERO)
        return base->kind == REGION_ZERO ? SAME : d->exact ? COMPARE : ZERO;
    if (base->kind == REGION_ZERO)
        return FRESH;
    if (base->kind == REGION_UNSURE || new->kind == REGION_UNSURE)
        return COMPARE;
    if (base->pack == new->pack && base->place + (pos - base->start) == new->place + (pos - new->start))
        return SAME;
    return d->exact ? COMPARE : MOVED;
}

static int base_region(struct filedelta *d, uint64_t pos, struct region *ret, struct err *e)
{
    if (pos >= d->base_size) {
        *ret = (struct region){.start = pos, .end = UINT64_MAX};
        return 0;
    }
    if (filemap_at(d->base_map, pos, ret, e) < 0)
        return -1;
    if (d->base_size >= d->size)
        return 0;
    /* What a device block holds behind the end of a file is not the file's: the block with the base's end is
     * compared once the new file is longer. */
    uint64_t whole = d->base_size - d->base_size % BLOCK;
    if (pos >= whole)
        ret->kind = REGION_UNSURE, ret->end = whole + BLOCK;
    else
        ret->end = min64(ret->end, whole);
    return 0;
}

/* The action for what begins at pos, not cut to whole blocks. */
static int ask(struct filedelta *d, uint64_t pos, enum action *ret, uint64_t *end, struct err *e)
{
    static const enum action known[] = {
        [CHANGE_NONE] = SAME, [CHANGE_ZERO] = ZERO, [CHANGE_FRESH] = FRESH, [CHANGE_COMPARE] = COMPARE};
    if (d->known_at) {
        *ret = known[d->known_at(d->known_arg, pos, end)];
        return 0;
    }
    struct region base, new;
    if (filemap_at(d->map, pos, &new, e) < 0 || base_region(d, pos, &base, e) < 0)
        return -1;
    *ret = verdict(d, &base, &new, pos);
    *end = min64(base.end, new.end);
    return 0;
}

/* The action for [pos, *end); pos is a block's start, *end one too or the size. */
static int plan_step(struct filedelta *d, uint64_t pos, enum action *ret, uint64_t *end, struct err *e)
{
    if (ask(d, pos, ret, end, e) < 0)
        return -1;
    *end = min64(*end, d->size);
    if (*end == d->size)
        return 0;
    if (*end - pos >= BLOCK) {
        *end -= *end % BLOCK;
        return 0;
    }
    /* Regions smaller than our block meet in it. */
    *ret = d->base_fd < 0 ? FRESH : COMPARE;
    *end = min64(pos + BLOCK, d->size);
    return 0;
}

static int plan_window(struct filedelta *d, struct piece *p, struct err *e)
{
    uint64_t limit = min64(d->planned + WINDOW, d->size), pos = d->planned;
    *p = (struct piece){.start = pos, .end = pos};
    while (pos < limit) {
        enum action action;
        uint64_t end;
        if (plan_step(d, pos, &action, &end, e) < 0)
            return -1;
        end = min64(end, limit);
        for (uint64_t b = pos; b < end; b += BLOCK)
            p->action[(b - p->start) / BLOCK] = (uint8_t)action;
        if (action != SAME)
            p->end = end;
        pos = end;
    }
    d->planned = pos;
    return 0;
}

/* Length in bytes of the run of blocks at pos for which both or neither are at least `least`. */
static uint64_t run(const struct piece *p, uint64_t pos, enum action least)
{
    bool in = p->action[(pos - p->start) / BLOCK] >= least;
    uint64_t end = pos;
    while (end < p->end && (p->action[(end - p->start) / BLOCK] >= least) == in)
        end += BLOCK;
    return min64(end, p->end) - pos;
}

static void prefetch(int fd, const struct piece *p, enum action least)
{
    /* The kernel cuts one wish to its readahead size, so wish in small portions. */
    const uint64_t portion = 128 << 10;
    for (uint64_t pos = p->start, n; pos < p->end; pos += n) {
        n = run(p, pos, least);
        if (p->action[(pos - p->start) / BLOCK] < least)
            continue;
        for (uint64_t done = 0; done < n; done += portion)
            posix_fadvise(fd, (off_t)(pos + done), (off_t)min64(portion, n - done), POSIX_FADV_WILLNEED);
    }
}

/* Plan one more piece; 1 done, 0 nothing is left, 2 much was looked at and nothing found. */
static int plan(struct filedelta *d, struct err *e)
{
    uint64_t asked = d->map ? filemap_asked(d->map) : 0;
    while (d->planned < d->size) {
        enum action action;
        uint64_t end;
        if (plan_step(d, d->planned, &action, &end, e) < 0)
            return -1;
        struct piece *p = &d->ring[(d->first + d->count) % AHEAD];
        if (action == SAME) {
            d->planned = end;
            if (d->map && filemap_asked(d->map) - asked > TICK_ASKED)
                return 2;
            continue;
        }
        if (action == ZERO) {
            *p = (struct piece){.start = d->planned, .end = end, .zero = true};
            d->planned = end;
        } else {
            if (plan_window(d, p, e) < 0)
                return -1;
            prefetch(d->fd, p, FRESH);
            if (d->base_fd >= 0)
                prefetch(d->base_fd, p, COMPARE);
        }
        d->count++;
        return 1;
    }
    return 0;
}

/* ---- working: from pieces to extents ---- */

/* Reads up to n bytes; what lies behind the end of the file is zeros. */
static int read_at(int fd, uint8_t *out, uint64_t n, uint64_t offset, struct err *e)
{
    uint64_t done = 0;
    while (done < n) {
        ssize_t r = pread(fd, out + done, n - done, (off_t)(offset + done));
        if (r < 0)
            return err_sys(e, "cannot read the image at byte %llu", (unsigned long long)(offset + done));
        if (r == 0)
            break;
        done += (uint64_t)r;
    }
    memset(out + done, 0, n - done);
    return 0;
}

static int fill(struct filedelta *d, int fd, uint8_t *out, enum action least, struct err *e)
{
    const struct piece *w = &d->window;
    for (uint64_t pos = w->start, n; pos < w->end; pos += n) {
        n = run(w, pos, least);
        if (w->action[(pos - w->start) / BLOCK] < least)
            continue;
        if (read_at(fd, out + (pos - w->start), n, pos, e) < 0)
            return -1;
        d->looked += n;
        d->read += n;
    }
    return 0;
}

/* Nobody else reads these snapshots: leave the page cache to the guests. */
static void drop_window(struct filedelta *d)
{
    struct piece *w = &d->window;
    if (w->start < w->end && !d->exact) {
        posix_fadvise(d->fd, (off_t)w->start, (off_t)(w->end - w->start), POSIX_FADV_DONTNEED);
        if (d->base_fd >= 0)
            posix_fadvise(d->base_fd, (off_t)w->start, (off_t)(w->end - w->start), POSIX_FADV_DONTNEED);
    }
    w->start = w->end = d->at = 0;
}

static int load_window(struct filedelta *d, const struct piece *p, struct err *e)
{
    d->window = *p;
    d->at = p->start;
    if (fill(d, d->fd, d->data, FRESH, e) < 0)
        return -1;
    return d->base_fd < 0 ? 0 : fill(d, d->base_fd, d->base_data, COMPARE, e);
}

/* What a block of the window, read, turns out to be: SAME, ZERO or MOVED (it has data to send). */
static enum action outcome(const struct filedelta *d, uint64_t pos)
{
    const struct piece *w = &d->window;
    uint64_t offset = pos - w->start, n = min64(BLOCK, w->end - pos);
    enum action action = w->action[offset / BLOCK];
    if (action == SAME || action == ZERO)
        return action;
    if (action == COMPARE && memcmp(d->data + offset, d->base_data + offset, n) == 0)
        return SAME;
    if (memcmp(d->data + offset, zeros, n) != 0)
        return MOVED;
    return action == FRESH ? SAME : ZERO;
}

/* The next run in the window, if there is one. */
static bool next_in_window(struct filedelta *d, struct extent *ret)
{
    const struct piece *w = &d->window;
    while (d->at < w->end) {
        uint64_t start = d->at;
        enum action what = outcome(d, start);
        do
            d->at = min64(d->at + BLOCK, w->end);
        while (d->at < w->end && outcome(d, d->at) == what);
        if (what == SAME)
            continue;
        *ret = (struct extent){
            .offset = start, .length = d->at - start, .kind = what == ZERO ? EXTENT_ZERO : EXTENT_DATA};
        return true;
    }
    return false;
}

/* One extent, not merged with what follows. Planned pieces are taken only when the ring is full or nothing is
 * left to plan, so that reads are always ahead. */
static int produce(struct filedelta *d, struct extent *ret, struct err *e)
{
    for (;;) {
        if (next_in_window(d, ret)) {
            d->looked = 0;
            return 1;
        }
        if (d->window.start < d->window.end)
            drop_window(d);
        if (d->looked >= TICK_BYTES) {
            d->looked = 0;
            return 2;
        }
        int r = 1;
        while (d->count < AHEAD && (r = plan(d, e)) == 1)
            ;
        if (r < 0)
            return -1;
        if (d->count == 0)
            return r;
        struct piece *p = &d->ring[d->first];
        d->first = (d->first + 1) % AHEAD;
        d->count--;
        if (p->zero) {
            *ret = (struct extent){.offset = p->start, .length = p->end - p->start, .kind = EXTENT_ZERO};
            d->looked = 0;
            return 1;
        }
        if (load_window(d, p, e) < 0)
            return -1;
    }
}

/* Cut off what lies below `from`; false when nothing is left. */
static bool clip(const struct filedelta *d, struct extent *x)
{
    if (x->offset >= d->from)
        return true;
    if (x->offset + x->length <= d->from)
        return false;
    x->length -= d->from - x->offset;
    x->offset = d->from;
    return true;
}

int filedelta_next(struct filedelta *d, struct extent *ret, struct err *e)
{
    int r;
    if (d->has_held) {
        *ret = d->held;
        d->has_held = false;
    } else {
        do
            r = produce(d, ret, e);
        while (r == 1 && !clip(d, ret));
        if (r != 1)
            return r;
    }
    if (ret->kind == EXTENT_DATA) {
        d->result = d->data + (ret->offset - d->window.start);
        return 1;
    }
    d->result = NULL;
    struct extent more;
    while ((r = produce(d, &more, e)) == 1) {
        if (more.kind == EXTENT_ZERO && more.offset == ret->offset + ret->length) {
            ret->length += more.length;
            continue;
        }
        d->held = more;
        d->has_held = true;
        break;
    }
    return r < 0 ? -1 : 1;
}

int filedelta_any(struct filedelta *d, const struct tick *tick, struct err *e)
{
    struct extent x;
    int r;
    while ((r = filedelta_next(d, &x, e)) == 2)
        tick_now(tick);
    if (r >= 0 || e->code != EIO)
        return r;
    *e = (struct err){0};
    return 1;
}

int filedelta_same(int a_fd, int b_fd, const struct tick *tick, struct err *e)
{
    struct stat a, b;
    if (fstat(a_fd, &a) < 0 || fstat(b_fd, &b) < 0)
        return err_sys(e, "cannot stat the image");
    if (a.st_size != b.st_size)
        return 1;
    _cleanup_(filedelta_freep) struct filedelta *d = filedelta_new(a_fd, b_fd, (uint64_t)b.st_size, 0, e);
    if (!d)
        return -1;
    d->exact = true;
    return filedelta_any(d, tick, e);
}
