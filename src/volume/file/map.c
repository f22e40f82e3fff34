#include "volume/file/map.h"

#include "base/mem.h"
#include "volume/file/packed.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

/* A place is only worth something when the data there is this file's, as it is. */
#define FLAGS_UNSURE                                                                                         \
    (FIEMAP_EXTENT_UNKNOWN | FIEMAP_EXTENT_DELALLOC | FIEMAP_EXTENT_ENCODED | FIEMAP_EXTENT_DATA_ENCRYPTED | \
     FIEMAP_EXTENT_NOT_ALIGNED | FIEMAP_EXTENT_DATA_INLINE | FIEMAP_EXTENT_DATA_TAIL)
#define FLAGS_KNOWN                                                                                          \
    (FIEMAP_EXTENT_LAST | FIEMAP_EXTENT_UNWRITTEN | FIEMAP_EXTENT_MERGED | FIEMAP_EXTENT_SHARED)

struct filemap {
    int fd;
    bool places;
    bool seek;     /* no FIEMAP here: SEEK_DATA and SEEK_HOLE */
    bool last;     /* the batch reaches the end of the file */
    unsigned i, n; /* in the batch */
    uint64_t from; /* what the batch covers: [from, until) */
    uint64_t until;
    uint64_t asked;
    struct region hint; /* the last answer of the seek mode */
    struct fiemap *batch;
    struct packed *packed; /* once a compressed extent was met on btrfs */
};

struct filemap *filemap_new(int fd, bool places)
{
    struct filemap *m = xcalloc(1, sizeof *m);
    m->fd = fd;
    m->places = places;
    m->batch = xcalloc(1, sizeof *m->batch + FILEMAP_BATCH * sizeof m->batch->fm_extents[0]);
    return m;
}

void filemap_free(struct filemap *m)
{
    if (!m)
        return;
    packed_free(m->packed);
    free(m->batch);
    free(m);
}

uint64_t filemap_asked(const struct filemap *m)
{
    return m->asked;
}

/* 1: the kernel has no FIEMAP for this file. */
static int ask(struct filemap *m, uint64_t pos, struct err *e)
{
    struct fiemap *b = m->batch;
    *b = (struct fiemap){.fm_start = pos,
                         .fm_length = FIEMAP_MAX_OFFSET - pos,
                         /* once is enough: the file is at rest */
                         .fm_flags = m->asked ? 0 : FIEMAP_FLAG_SYNC,
                         .fm_extent_count = FILEMAP_BATCH};
    if (ioctl(m->fd, FS_IOC_FIEMAP, b) < 0) {
        if (errno == EOPNOTSUPP || errno == ENOTTY || errno == EBADR)
            return 1;
        return err_sys(e, "cannot read the block map of the image");
    }
    m->asked++;
    m->i = 0;
    m->n = b->fm_mapped_extents;
    m->last = m->n < FILEMAP_BATCH || (b->fm_extents[m->n - 1].fe_flags & FIEMAP_EXTENT_LAST);
    m->from = pos;
    m->until = UINT64_MAX;
    if (!m->last) {
        const struct fiemap_extent *x = &b->fm_extents[m->n - 1];
        m->until = x->fe_logical + x->fe_length;
        if (m->until <= pos)
            return err_set(e, ERR_SYSTEM, 0,
                           "the file system lists no more blocks of the image behind byte %llu, where there "
                           "are some: see dmesg",
                           (unsigned long long)pos);
    }
    return 0;
}

static int at_by_seek(struct filemap *m, uint64_t pos, struct region *ret, struct err *e)
{
    struct region *h = &m->hint;
    if (pos < h->start || pos >= h->end) {
        m->asked++;
        off_t data = lseek(m->fd, (off_t)pos, SEEK_DATA);
        if (data < 0 && errno != ENXIO)
            return err_sys(e, "cannot look for data in the image");
        if (data < 0 || (uint64_t)data > pos) {
            *h = (struct region){.start = pos, .end = data < 0 ? UINT64_MAX : (uint64_t)data};
        } else {
            off_t hole = lseek(m->fd, (off_t)pos, SEEK_HOLE);
            if (hole <= (off_t)pos)
                return err_sys(e, "cannot look for holes in the image");
            *h = (struct region){.start = pos, .end = (uint64_t)hole, .kind = REGION_UNSURE};
        }
    }
    *ret = *h;
    return 0;
}

static bool on_btrfs(int fd)
{
    struct statfs fs;
    return fstatfs(fd, &fs) == 0 && fs.f_type == BTRFS_SUPER_MAGIC;
}

/* The extent at pos, which may be a part of it where the tree of the file system knows better. */
static struct region from_extent(struct filemap *m, const struct fiemap_extent *x, uint64_t pos)
{
    struct region r = {.start = x->fe_logical, .end = x->fe_logical + x->fe_length, .kind = REGION_UNSURE};
    uint32_t odd = x->fe_flags & (FLAGS_UNSURE | ~FLAGS_KNOWN);
    if (!odd && (x->fe_flags & FIEMAP_EXTENT_UNWRITTEN)) {
        r.kind = REGION_ZERO;
    } else if (!odd && m->places) {
        r.kind = REGION_PLACED;
        r.place = x->fe_physical;
    } else if (odd == FIEMAP_EXTENT_ENCODED && m->places && (m->packed || on_btrfs(m->fd))) {
        if (!m->packed)
            m->packed = packed_new(m->fd);
        packed_at(m->packed, pos, &r);
    }
    return r;
}

int filemap_at(struct filemap *m, uint64_t pos, struct region *ret, struct err *e)
{
    while (!m->seek) {
        if (m->asked == 0 || pos >= m->until || pos < m->from) {
            int r = ask(m, pos, e);
            if (r < 0)
                return -1;
            m->seek = r == 1;
            continue;
        }
        const struct fiemap_extent *x = m->batch->fm_extents;
        while (m->i < m->n && x[m->i].fe_logical + x[m->i].fe_length <= pos)
            m->i++;
        if (m->i == m->n) {
            if (!m->last) { /* cannot be: pos < until, which is the end of the last one */
                m->until = pos;
                continue;
            }
            *ret = (struct region){.start = pos, .end = UINT64_MAX};
        } else if (x[m->i].fe_logical > pos) {
            *ret = (struct region){.start = pos, .end = x[m->i].fe_logical};
        } else {
            *ret = from_extent(m, &x[m->i], pos);
        }
        return 0;
    }
    return at_by_seek(m, pos, ret, e);
}

static bool realtime(int fd)
{
    struct fsxattr x;
    return ioctl(fd, FS_IOC_FSGETXATTR, &x) == 0 && (x.fsx_xflags & FS_XFLAG_REALTIME);
}

bool filemap_comparable(int a_fd, int b_fd)
{
    struct statx a, b;
    if (statx(a_fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &a) < 0 ||
        statx(b_fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &b) < 0)
        return false;
    /* One mount is one file system; XFS puts realtime files on a second device with places of its own. */
    return (a.stx_mask & b.stx_mask & STATX_MNT_ID) && a.stx_mnt_id == b.stx_mnt_id &&
           realtime(a_fd) == realtime(b_fd);
}
