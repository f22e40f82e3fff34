#include "volume/file/blockmap.h"

#include "base/fs.h"
#include "base/mem.h"
#include "volume/file/sparse.h"

#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAGIC "PVESRMAP"
#define VERSION 2
#define VERSION_FULL 1 /* the digest of zeros is written out */
#define WINDOW 4096u   /* digests read or written at once */
#define TICK_BLOCKS 256

struct header {
    char magic[8];
    uint32_t version, block; /* little endian */
    uint64_t size;
    uint64_t sum; /* over all digests; not in the former version */
};

static void tick_each(const struct tick *tick, unsigned looked)
{
    if (looked % TICK_BLOCKS == 0)
        tick_now(tick);
}

static uint64_t blocks_of(uint64_t size)
{
    return size / BLOCKMAP_BLOCK + (size % BLOCKMAP_BLOCK != 0);
}

/* ---- making ---- */

static uint64_t place_of(uint64_t block)
{
    return sizeof(struct header) + block * sizeof(struct digest);
}

/* A digest that got lost reads as that of zeros: what was there would never be sent again. */
static uint64_t add_to_sum(uint64_t sum, uint64_t block, const struct digest *d)
{
    uint64_t half[2];
    memcpy(half, d, sizeof half);
    return sum + (le64toh(half[0]) ^ (le64toh(half[1]) << 32 | le64toh(half[1]) >> 32)) * (2 * block + 1);
}

static const struct digest of_zeros; /* what stands for the digest of a block of zeros */

struct writer {
    int fd;
    uint64_t first; /* the window is of blocks first … first + n - 1 */
    unsigned n;
    bool any; /* one of them is not zeros */
    uint64_t sum;
    struct digest *window;
};

/* Then go on at another block. */
static int flush_window(struct writer *w, uint64_t next, struct err *e)
{
    if (w->any && fs_pwrite_all(w->fd, w->window, w->n * sizeof *w->window, place_of(w->first),
                                "the file of digests", e) < 0)
        return -1;
    w->first = next;
    w->n = 0;
    w->any = false;
    return 0;
}

static int add_block(struct writer *w, struct blockreader *r, uint64_t offset, struct err *e)
{
    bool zero;
    struct digest *to = &w->window[w->n];
    if (blockreader_read(r, offset, &zero, to, e) < 0)
        return -1;
    if (zero)
        *to = of_zeros;
    w->any |= !zero;
    w->sum = add_to_sum(w->sum, w->first + w->n, to);
    return ++w->n == WINDOW ? flush_window(w, w->first + WINDOW, e) : 0;
}

static int write_digests(struct writer *w, struct blockreader *r, uint64_t size, const struct tick *tick,
                         struct err *e)
{
    uint64_t next;
    unsigned looked = 0;
    for (uint64_t offset = 0; offset < size; offset += BLOCKMAP_BLOCK) {
        tick_each(tick, looked++);
        if (blockreader_skip(r, offset, &next, e) < 0)
            return -1;
        if (next > offset && flush_window(w, next / BLOCKMAP_BLOCK, e) < 0)
            return -1;
        offset = next;
        if (offset < size && add_block(w, r, offset, e) < 0)
            return -1;
    }
    return flush_window(w, 0, e);
}

int blockmap_make(int fd, uint64_t size, const char *what, int map_fd, const struct tick *tick, struct err *e)
{
    if (ftruncate(map_fd, (off_t)place_of(blocks_of(size))) < 0)
        return err_sys(e, "cannot set the size of the file of digests");
    _cleanup_(blockreader_release) struct blockreader r;
    blockreader_init(&r, fd, size, what);
    _cleanup_free_ struct digest *window = xcalloc(WINDOW, sizeof *window);
    struct writer w = {.fd = map_fd, .window = window};
    if (write_digests(&w, &r, size, tick, e) < 0)
        return -1;
    struct header h = {.version = htole32(VERSION),
                       .block = htole32(BLOCKMAP_BLOCK),
                       .size = htole64(size),
                       .sum = htole64(w.sum)};
    memcpy(h.magic, MAGIC, sizeof h.magic);
    return fs_pwrite_all(map_fd, &h, sizeof h, 0, "the file of digests", e);
}

int blockmap_duplicate(int from, int to, const char *what, struct err *e)
{
    struct stat st;
    struct digest ignored;
    bool zero;
    if (fstat(from, &st) < 0)
        return err_sys(e, "cannot stat '%s'", what);
    uint64_t next, size = (uint64_t)st.st_size;
    if (ftruncate(to, st.st_size) < 0)
        return err_sys(e, "cannot set the size of the file of digests");
    _cleanup_(blockreader_release) struct blockreader r;
    blockreader_init(&r, from, size, what);
    for (uint64_t at = 0; at < size; at += DIGEST_BLOCK) {
        if (blockreader_skip(&r, at, &next, e) < 0)
            return -1;
        at = next;
        if (at < size && (blockreader_read(&r, at, &zero, &ignored, e) < 0 ||
                          (!zero && fs_pwrite_all(to, r.buffer, block_length(size, at), at,
                                                  "the file of digests", e) < 0)))
            return -1;
    }
    return 0;
}

/* ---- a map ---- */

struct blockmap {
    int fd;
    char *what;
    uint64_t size, sum;
    bool full;           /* of the former version */
    uint64_t hole, data; /* blocks hole … data - 1 are zeros */
    uint64_t first;      /* the window holds the digests of blocks first … first + n - 1 */
    unsigned n;
    struct digest window[WINDOW];
};

struct blockmap *blockmap_open(int map_fd, const char *what, struct err *e)
{
    struct header h;
    struct stat st;
    if (fstat(map_fd, &st) < 0) {
        err_sys(e, "cannot stat '%s'", what);
        return NULL;
    }
    if (fs_pread_all(map_fd, &h, sizeof h, 0, what, e) < 0)
        return NULL;
    uint64_t size = le64toh(h.size);
    uint32_t version = le32toh(h.version);
    if (memcmp(h.magic, MAGIC, sizeof h.magic) != 0 || (version != VERSION && version != VERSION_FULL) ||
        le32toh(h.block) != BLOCKMAP_BLOCK || size > INT64_MAX ||
        (uint64_t)st.st_size != place_of(blocks_of(size))) {
        err_set(e, ERR_DATA, 0, "'%s' is damaged: it is no whole list of digests", what);
        return NULL;
    }
    struct blockmap *m = xcalloc(1, sizeof *m);
    m->fd = map_fd;
    m->what = xstrdup(what);
    m->size = size;
    m->full = version == VERSION_FULL;
    m->sum = le64toh(h.sum);
    return m;
}

void blockmap_free(struct blockmap *m)
{
    if (!m)
        return;
    free(m->what);
    free(m);
}

uint64_t blockmap_size(const struct blockmap *m)
{
    return m->size;
}

int blockmap_at(struct blockmap *m, uint64_t offset, struct digest *ret, struct err *e)
{
    uint64_t block = offset / BLOCKMAP_BLOCK, blocks = blocks_of(m->size);
    if (block >= blocks)
        return err_set(e, ERR_DATA, 0, "'%s' ends before byte %" PRIu64, m->what, offset);
    if (block < m->first || block - m->first >= m->n) {
        m->n = blocks - block < WINDOW ? (unsigned)(blocks - block) : WINDOW;
        m->first = block;
        if (fs_pread_all(m->fd, m->window, m->n * sizeof *m->window, place_of(block), m->what, e) < 0) {
            m->n = 0;
            return -1;
        }
    }
    *ret = m->window[block - m->first];
    if (!m->full && digest_same(ret, &of_zeros))
        *ret = digest_of_zeros(block_length(m->size, offset));
    return 0;
}

/* Where the map's file has data next. */
static int find_data(struct blockmap *m, uint64_t block, struct err *e)
{
    off_t at = lseek(m->fd, (off_t)place_of(block), SEEK_DATA);
    if (at < 0 && errno != ENXIO)
        return err_sys(e, "cannot look for data in '%s'", m->what);
    m->hole = block;
    m->data = at < 0 ? blocks_of(m->size) : ((uint64_t)at - sizeof(struct header)) / sizeof(struct digest);
    return 0;
}

int blockmap_skip(struct blockmap *m, uint64_t offset, uint64_t *next, struct err *e)
{
    uint64_t block = offset / BLOCKMAP_BLOCK, blocks = blocks_of(m->size);
    *next = block < blocks ? offset : m->size;
    if (m->full || block >= blocks || (block >= m->first && block - m->first < m->n))
        return 0; /* what is in the window was read because it has data near by */
    if ((block < m->hole || block >= m->data) && find_data(m, block, e) < 0)
        return -1;
    *next = m->data >= blocks ? m->size : m->data * BLOCKMAP_BLOCK;
    return 0;
}

int blockmap_prove(struct blockmap *m, const struct tick *tick, struct err *e)
{
    uint64_t sum = 0, next;
    unsigned looked = 0;
    for (uint64_t offset = 0; offset < m->size && !m->full; offset += BLOCKMAP_BLOCK) {
        struct digest ignored;
        tick_each(tick, looked++);
        if (blockmap_skip(m, offset, &next, e) < 0)
            return -1;
        offset = next;
        if (offset < m->size && blockmap_at(m, offset, &ignored, e) < 0)
            return -1;
        uint64_t block = offset / BLOCKMAP_BLOCK;
        if (offset < m->size)
            sum = add_to_sum(sum, block, &m->window[block - m->first]);
    }
    return m->full || sum == m->sum
               ? 0
               : err_set(e, ERR_DATA, 0, "'%s' is damaged: digests in it are not those that were written",
                         m->what);
}

/* ---- a file against its map ---- */

static int write_sparse(int fd, const unsigned char *p, size_t n, uint64_t offset, struct err *e)
{
    while (n) {
        bool zero;
        size_t run = sparse_run(p, n, offset, &zero);
        if (!zero && fs_pwrite_all(fd, p, run, offset, "the copy", e) < 0)
            return -1;
        p += run;
        n -= run;
        offset += run;
    }
    return 0;
}

static int walk(struct blockmap *m, int fd, const char *what, int to, const struct tick *tick, struct err *e)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return err_sys(e, "cannot stat '%s'", what);
    if ((uint64_t)st.st_size != m->size)
        return 1;
    _cleanup_(blockreader_release) struct blockreader r;
    blockreader_init(&r, fd, m->size, what);
    unsigned looked = 0;
    for (uint64_t offset = 0; offset < m->size; offset += BLOCKMAP_BLOCK) {
        struct digest is, was;
        bool zero;
        uint64_t file, map;
        tick_each(tick, looked++);
        if (blockreader_skip(&r, offset, &file, e) < 0 || blockmap_skip(m, offset, &map, e) < 0)
            return -1;
        offset = file < map ? file : map;
        if (offset >= m->size)
            break;
        if (blockreader_read(&r, offset, &zero, &is, e) < 0)
            return e->code == EIO ? 1 : -1; /* what the disk does not give is not what it was */
        if (blockmap_at(m, offset, &was, e) < 0)
            return -1;
        if (!digest_same(&is, &was))
            return 1;
        if (to >= 0 && !zero && write_sparse(to, r.buffer, block_length(m->size, offset), offset, e) < 0)
            return -1;
    }
    return 0;
}

int blockmap_differs(struct blockmap *m, int fd, const char *what, const struct tick *tick, struct err *e)
{
    return walk(m, fd, what, -1, tick, e);
}

int blockmap_copy(struct blockmap *m, int fd, const char *what, int to, const struct tick *tick,
                  struct err *e)
{
    if (ftruncate(to, (off_t)m->size) < 0)
        return err_sys(e, "cannot set the size of the copy");
    return walk(m, fd, what, to, tick, e);
}

int blocks_copy(int fd, uint64_t size, const char *what, int to, const struct tick *tick, struct err *e)
{
    _cleanup_(blockreader_release) struct blockreader r;
    blockreader_init(&r, fd, size, what);
    unsigned looked = 0;
    for (uint64_t offset = 0; offset < size; offset += BLOCKMAP_BLOCK) {
        struct digest ignored;
        struct err bad = {0};
        bool zero;
        tick_each(tick, looked++);
        if (blockreader_skip(&r, offset, &offset, e) < 0)
            return -1;
        if (offset >= size)
            break;
        int read = blockreader_read(&r, offset, &zero, &ignored, &bad);
        if (read < 0 && bad.code == EIO)
            continue;
        if (read < 0) {
            *e = bad;
            return -1;
        }
        if (!zero && write_sparse(to, r.buffer, block_length(size, offset), offset, e) < 0)
            return -1;
    }
    return 0;
}
