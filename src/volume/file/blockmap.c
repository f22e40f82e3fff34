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
#define VERSION 1
#define WINDOW 4096u /* digests read or written at once */
#define TICK_BLOCKS 256

struct header {
    char magic[8];
    uint32_t version, block; /* little endian */
    uint64_t size;
    uint64_t reserved;
};

static void tick_at(const struct tick *tick, uint64_t offset)
{
    if (offset / BLOCKMAP_BLOCK % TICK_BLOCKS == 0)
        tick_now(tick);
}

static uint64_t blocks_of(uint64_t size)
{
    return size / BLOCKMAP_BLOCK + (size % BLOCKMAP_BLOCK != 0);
}

/* ---- making ---- */

int blockmap_make(int fd, uint64_t size, const char *what, int map_fd, const struct tick *tick, struct err *e)
{
    struct header h = {.version = htole32(VERSION), .block = htole32(BLOCKMAP_BLOCK), .size = htole64(size)};
    memcpy(h.magic, MAGIC, sizeof h.magic);
    if (fs_pwrite_all(map_fd, &h, sizeof h, 0, "the digest map", e) < 0)
        return -1;
    _cleanup_(blockreader_release) struct blockreader r;
    blockreader_init(&r, fd, size, what);
    _cleanup_free_ struct digest *window = xcalloc(WINDOW, sizeof *window);
    uint64_t at = sizeof h;
    unsigned n = 0;
    for (uint64_t offset = 0; offset < size; offset += BLOCKMAP_BLOCK) {
        bool zero;
        tick_at(tick, offset);
        if (blockreader_read(&r, offset, &zero, &window[n++], e) < 0)
            return -1;
        if (n < WINDOW && size - offset > BLOCKMAP_BLOCK)
            continue;
        if (fs_pwrite_all(map_fd, window, n * sizeof *window, at, "the digest map", e) < 0)
            return -1;
        at += n * sizeof *window;
        n = 0;
    }
    return 0;
}

/* ---- a map ---- */

struct blockmap {
    int fd;
    char *what;
    uint64_t size;
    uint64_t first; /* the window holds the digests of blocks first … first + n - 1 */
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
    if (memcmp(h.magic, MAGIC, sizeof h.magic) != 0 || le32toh(h.version) != VERSION ||
        le32toh(h.block) != BLOCKMAP_BLOCK || size > INT64_MAX ||
        (uint64_t)st.st_size != sizeof h + blocks_of(size) * sizeof(struct digest)) {
        err_set(e, ERR_DATA, 0, "'%s' is damaged: it is no whole digest map", what);
        return NULL;
    }
    struct blockmap *m = xcalloc(1, sizeof *m);
    m->fd = map_fd;
    m->what = xstrdup(what);
    m->size = size;
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
        if (fs_pread_all(m->fd, m->window, m->n * sizeof *m->window,
                         sizeof(struct header) + block * sizeof *m->window, m->what, e) < 0) {
            m->n = 0;
            return -1;
        }
    }
    *ret = m->window[block - m->first];
    return 0;
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
    for (uint64_t offset = 0; offset < m->size; offset += BLOCKMAP_BLOCK) {
        struct digest is, was;
        bool zero;
        tick_at(tick, offset);
        if (blockreader_read(&r, offset, &zero, &is, e) < 0 || blockmap_at(m, offset, &was, e) < 0)
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
