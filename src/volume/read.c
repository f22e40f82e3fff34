/* Reading a disk's data for itself. */
#include "volume/driver.h"

#include "base/mem.h"
#include "volume/failed.h"
#include "volume/name.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#define AHEAD (4 << 20) /* asked for before it is read, also while digests travel */
#define STRIDE 16u      /* blocks, 1 MiB */

int volume_read_open(struct volume *v, const struct snapshot *s, struct volume_reader *ret, struct err *e)
{
    int fd = -1;
    uint64_t size = 0;
    *ret = (struct volume_reader){.blocks.fd = -1};
    if (s && (volume_check_snapshot_name(v, s->name, e) < 0 || volume_check_id(v, s->id, e) < 0))
        return -1;
    if (!v->driver->read_open)
        return volume_lacks(v, "be read block by block", e);
    if (v->driver->read_open(v, s, ret, &fd, &size, e) < 0)
        return volume_failed(v, e);
    blockreader_init(&ret->blocks, fd, size, v->name);
    posix_fadvise(fd, 0, 0,
                  POSIX_FADV_DONTNEED); /* of what the page cache has, the disk may have something else */
    posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    return 0;
}

void volume_read_close(struct volume *v, struct volume_reader *r)
{
    if (!r->blocks.buffer)
        return;
    if (v->driver->read_close)
        v->driver->read_close(v, r);
    else
        close(r->blocks.fd);
    blockreader_release(&r->blocks);
    *r = (struct volume_reader){.blocks.fd = -1};
}

/* Not what lies in a hole: nobody reads that, and the page cache would be filled with zeros. */
static void read_ahead(int fd, off_t offset, off_t length)
{
    off_t data = lseek(fd, offset, SEEK_DATA);
    if (data < 0 ? errno != ENXIO : data < offset + length)
        posix_fadvise(fd, offset, length, POSIX_FADV_WILLNEED);
}

int read_digests(struct volume *v, struct blockreader *r, uint64_t offset, size_t n, struct digest *ret,
                 struct err *bad, struct err *e)
{
    uint64_t length = (uint64_t)n * DIGEST_BLOCK;
    for (size_t i = 0; i < n; i++) {
        bool zero;
        uint64_t at = offset + (uint64_t)i * DIGEST_BLOCK;
        struct err failure = {0};
        if (i % STRIDE == 0) {
            tick_now(volume_tick(v));
            read_ahead(r->fd, (off_t)(at + AHEAD), (off_t)STRIDE * DIGEST_BLOCK);
        }
        if (blockreader_read(r, at, &zero, &ret[i], &failure) == 0)
            continue;
        if (failure.code != EIO) {
            *e = failure;
            return volume_failed(v, e);
        }
        ret[i] = digest_unreadable;
        if (bad->kind == ERR_NONE)
            *bad = failure;
    }
    /* what is read once is not worth keeping */
    posix_fadvise(r->fd, (off_t)offset, (off_t)length, POSIX_FADV_DONTNEED);
    return 0;
}

int volume_read_digests(struct volume *v, struct volume_reader *r, uint64_t offset, size_t n,
                        struct digest *ret, struct err *bad, struct err *e)
{
    return read_digests(v, &r->blocks, offset, n, ret, bad, e);
}
