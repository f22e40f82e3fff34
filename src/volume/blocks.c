#include "volume/blocks.h"

#include "base/fs.h"
#include "base/mem.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

/* ---- digests ---- */

void digest_of(const void *data, size_t n, struct digest *ret)
{
    XXH128_canonical_t c;
    XXH128_canonicalFromHash(&c, XXH3_128bits(data, n));
    memcpy(ret->b, c.digest, sizeof ret->b);
}

bool digest_same(const struct digest *a, const struct digest *b)
{
    return memcmp(a, b, sizeof *a) == 0;
}

const struct digest digest_unreadable;

static const unsigned char zeros[DIGEST_BLOCK];

struct digest digest_of_zeros(size_t n)
{
    static struct digest whole;
    static bool known;
    struct digest d;
    if (n == DIGEST_BLOCK && known)
        return whole;
    digest_of(zeros, n, &d);
    if (n == DIGEST_BLOCK) {
        whole = d;
        known = true;
    }
    return d;
}

/* ---- reading ---- */

void blockreader_init(struct blockreader *r, int fd, uint64_t size, const char *what)
{
    *r = (struct blockreader){.fd = fd, .what = what, .size = size};
    r->buffer = xmalloc(DIGEST_BLOCK);
}

void blockreader_release(struct blockreader *r)
{
    free(r->buffer);
    r->buffer = NULL;
}

static int find_data(struct blockreader *r, uint64_t offset, struct err *e)
{
    r->hole = offset;
    off_t data = lseek(r->fd, (off_t)offset, SEEK_DATA);
    if (data < 0 && errno == ENXIO) {
        /* a hole to the end of the file, or the file is shorter than it should be */
        struct stat st;
        if (fstat(r->fd, &st) < 0)
            return err_sys(e, "cannot stat '%s'", r->what);
        r->data = r->end = (uint64_t)st.st_size;
        return 0;
    }
    if (data < 0) { /* a file system that does not know */
        r->data = offset;
        r->end = UINT64_MAX;
        return 0;
    }
    off_t end = lseek(r->fd, data, SEEK_HOLE);
    r->data = (uint64_t)data;
    r->end = end < 0 ? UINT64_MAX : (uint64_t)end;
    return 0;
}

static int know(struct blockreader *r, uint64_t offset, struct err *e)
{
    return (offset >= r->end || offset < r->hole) && find_data(r, offset, e) < 0 ? -1 : 0;
}

int blockreader_skip(struct blockreader *r, uint64_t offset, uint64_t *next, struct err *e)
{
    *next = offset;
    if (know(r, offset, e) < 0)
        return -1;
    if (r->data >= r->size)
        *next = r->size;
    else if (r->data > offset)
        *next = r->data - r->data % DIGEST_BLOCK;
    return 0;
}

int blockreader_read(struct blockreader *r, uint64_t offset, bool *zero, struct digest *digest, struct err *e)
{
    size_t n = block_length(r->size, offset);
    if (know(r, offset, e) < 0)
        return -1;
    *zero = offset + n <= r->data;
    if (!*zero) {
        if (fs_pread_all(r->fd, r->buffer, n, offset, r->what, e) < 0)
            return -1;
        *zero = memcmp(r->buffer, zeros, n) == 0;
    }
    if (*zero)
        *digest = digest_of_zeros(n);
    else
        digest_of(r->buffer, n, digest);
    return 0;
}
