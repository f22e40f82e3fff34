/* The flags of files on the source: found in the inodes of the snapshot's tree, of an increment only in those
 * parts of it that were written since. See flags.h. */
#include "volume/btrfs/flags.h"

#include "base/mem.h"
#include "volume/stream/sendstream.h"

#include <endian.h>
#include <errno.h>
#include <linux/btrfs.h>
#include <linux/btrfs_tree.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#define ROOT_INO 256u
#define PATHS_ROOM 65536u
#define TICK_INODES 4096u

/* The next inode from *ino on in a part of the tree that was written in this transaction or later: 1, and its
 * number in *ino; 0: there is none. */
static int next_inode(int subvol, uint64_t transid, uint64_t *ino, struct btrfs_inode_item *ret,
                      struct err *e)
{
    struct btrfs_ioctl_search_header h;
    for (;; ++*ino) {
        struct btrfs_ioctl_search_args a = {.key = {.min_objectid = *ino,
                                                    .max_objectid = BTRFS_LAST_FREE_OBJECTID,
                                                    .min_type = BTRFS_INODE_ITEM_KEY,
                                                    .max_type = BTRFS_INODE_ITEM_KEY,
                                                    .max_offset = UINT64_MAX,
                                                    .min_transid = transid,
                                                    .max_transid = UINT64_MAX,
                                                    .nr_items = 1}};
        if (ioctl(subvol, BTRFS_IOC_TREE_SEARCH, &a) < 0)
            return err_sys(e, "cannot read the inodes of the btrfs subvolume");
        if (!a.key.nr_items)
            return 0;
        memcpy(&h, a.buf, sizeof h);
        *ino = h.objectid;
        if (h.type != BTRFS_INODE_ITEM_KEY || h.len < sizeof *ret)
            continue; /* of an inode that lies in an older part */
        memcpy(ret, a.buf + sizeof h, sizeof *ret);
        return 1;
    }
}

static int inode_of(int subvol, uint64_t ino, struct btrfs_inode_item *ret, struct err *e)
{
    uint64_t at = ino;
    int r = next_inode(subvol, 0, &at, ret, e);
    return r < 0 ? -1 : r == 1 && at == ino;
}

static bool can_have_flags(const struct btrfs_inode_item *i)
{
    mode_t mode = le32toh(i->mode);
    return (S_ISREG(mode) || S_ISDIR(mode)) && i->nlink;
}

/* The first of its paths, malloc'ed; "" for the root. */
static char *path_of(int subvol, uint64_t ino, struct err *e)
{
    if (ino == ROOT_INO)
        return xstrdup("");
    _cleanup_free_ struct btrfs_data_container *found = xmalloc(PATHS_ROOM);
    struct btrfs_ioctl_ino_path_args a = {.inum = ino, .size = PATHS_ROOM, .fspath = (uintptr_t)found};
    if (ioctl(subvol, BTRFS_IOC_INO_PATHS, &a) < 0) {
        err_sys(e, "cannot find the name of inode %llu", (unsigned long long)ino);
        return NULL;
    }
    if (found->elem_cnt == 0) {
        err_set(e, ERR_DATA, 0, "inode %llu has no name, or one that is too long", (unsigned long long)ino);
        return NULL;
    }
    return xstrdup((const char *)(found->val) + found->val[0]);
}

static int add_inode(int base, int subvol, uint64_t ino, const struct btrfs_inode_item *i, struct buf *ret,
                     struct err *e)
{
    struct btrfs_inode_item old;
    uint64_t now = le64toh(i->flags) & FLAGS_CARRIED, before = 0;
    int r = base < 0 ? 0 : inode_of(base, ino, &old, e);
    if (r < 0)
        return -1;
    bool there = r == 1 && old.generation == i->generation;
    if (there)
        before = le64toh(old.flags) & FLAGS_CARRIED;
    if (!now && !before)
        return 0;
    _cleanup_free_ char *path = NULL;
    if ((there || ino == ROOT_INO || now & FLAGS_BARS) && !(path = path_of(subvol, ino, e)))
        return -1;
    send_add_fileattr(ret, ino, now, path);
    return 0;
}

int flags_gather(int base, uint64_t since, int snapshot, const struct tick *tick, struct buf *ret,
                 struct err *e)
{
    struct btrfs_inode_item i;
    int r;
    for (uint64_t ino = ROOT_INO; (r = next_inode(snapshot, since, &ino, &i, e)) > 0; ino++) {
        if (can_have_flags(&i) && add_inode(base, snapshot, ino, &i, ret, e) < 0)
            return -1;
        if (ino % TICK_INODES == 0)
            tick_now(tick);
    }
    return r;
}
