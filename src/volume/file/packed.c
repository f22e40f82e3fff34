#include "volume/file/packed.h"

#include "base/mem.h"

#include <endian.h>
#include <linux/btrfs.h>
#include <linux/btrfs_tree.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

/* A compressed extent holds at most this much, so none that begins further below reaches a position. */
#define PACKED_MAX (128u << 10)
#define ROOM (64u << 10)

struct packed {
    int fd;
    uint64_t ino;
    bool refused;
    uint64_t from, until; /* the regions are all that there are in between */
    size_t i, n;
    struct region regions[ROOM / (sizeof(struct btrfs_ioctl_search_header) +
                                  offsetof(struct btrfs_file_extent_item, disk_bytenr))];
    struct btrfs_ioctl_search_args_v2 *search; /* with ROOM bytes behind it */
};

struct packed *packed_new(int fd)
{
    struct packed *p = xcalloc(1, sizeof *p);
    struct stat st;
    p->fd = fd;
    p->search = xcalloc(1, sizeof *p->search + ROOM);
    p->refused = fstat(fd, &st) < 0;
    p->ino = p->refused ? 0 : st.st_ino;
    return p;
}

void packed_free(struct packed *p)
{
    if (!p)
        return;
    free(p->search);
    free(p);
}

/* One item of the tree, if it is what we are after. */
static bool parse(const struct btrfs_ioctl_search_header *h, const uint8_t *data, struct region *ret)
{
    struct btrfs_file_extent_item x;
    if (h->type != BTRFS_EXTENT_DATA_KEY || h->len < sizeof x)
        return false; /* shorter: inline */
    memcpy(&x, data, sizeof x);
    if (x.type != BTRFS_FILE_EXTENT_REG || !x.compression || x.encryption || x.other_encoding)
        return false;
    *ret = (struct region){.start = h->offset,
                           .end = h->offset + le64toh(x.num_bytes),
                           .kind = REGION_PLACED,
                           .pack = le64toh(x.disk_bytenr),
                           .place = le64toh(x.offset)};
    return ret->pack && ret->end > ret->start;
}

static bool search(struct packed *p, uint64_t pos)
{
    uint64_t from = pos < PACKED_MAX ? 0 : pos - PACKED_MAX;
    struct btrfs_ioctl_search_args_v2 *a = p->search;
    *a = (struct btrfs_ioctl_search_args_v2){.key = {.min_objectid = p->ino,
                                                     .max_objectid = p->ino,
                                                     .min_type = BTRFS_EXTENT_DATA_KEY,
                                                     .max_type = BTRFS_EXTENT_DATA_KEY,
                                                     .min_offset = from,
                                                     .max_offset = UINT64_MAX,
                                                     .max_transid = UINT64_MAX,
                                                     .nr_items = UINT32_MAX},
                                             .buf_size = ROOM};
    if (ioctl(p->fd, BTRFS_IOC_TREE_SEARCH_V2, a) < 0)
        return false;
    p->from = pos;
    p->until = UINT64_MAX;
    p->i = p->n = 0;
    const uint8_t *at = (const uint8_t *)a->buf, *end = at + ROOM;
    uint64_t last = from;
    for (uint32_t i = 0; i < a->key.nr_items; i++) {
        struct btrfs_ioctl_search_header h;
        if ((size_t)(end - at) < sizeof h)
            return false;
        memcpy(&h, at, sizeof h);
        at += sizeof h;
        if ((size_t)(end - at) < h.len)
            return false;
        if (p->n < ELEMENTS(p->regions) && parse(&h, at, &p->regions[p->n]))
            p->n++;
        at += h.len;
        last = h.offset;
    }
    /* The buffer may have been too small for all: what begins behind the last item is not known. */
    if (a->key.nr_items > 0 && last > pos)
        p->until = last;
    return true;
}

bool packed_at(struct packed *p, uint64_t pos, struct region *ret)
{
    if (!p->refused && (p->until == 0 || pos < p->from || pos >= p->until))
        p->refused = !search(p, pos);
    if (p->refused)
        return false;
    while (p->i < p->n && p->regions[p->i].end <= pos)
        p->i++;
    if (p->i == p->n || p->regions[p->i].start > pos)
        return false;
    *ret = p->regions[p->i];
    return true;
}
