/* The flags of files (chattr(1)) in a btrfs stream. `btrfs send` has none of them: version 1 of its stream
 * knows no command for it, and the kernel gives that of version 2 (FILEATTR) for files that change, but for
 * none that is new. So ours come in commands of that form before the first one of the kernel's, in ascending
 * order of the inodes: number and flags of each file and folder that has any, and of those of which an
 * increment takes them; with its path in the new snapshot where it must be found again in the end (it was
 * there before, or the flag keeps files from being changed).
 *
 * The number is that of the source, which MKFILE and MKDIR tell: what decides how data is written (+C) is set
 * when a file is made.
 *
 * Not carried: whether the file system compresses (+c, +m), which it sets itself; the property
 * btrfs.compression is an extended attribute, and travels as such.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "base/tick.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Of a btrfs inode (struct btrfs_inode_item; https://btrfs.readthedocs.io/en/latest/dev/On-disk-format.html).
 */
enum {
    FLAGS_NOCOW = 1 << 1,
    FLAGS_SYNC = 1 << 5,
    FLAGS_IMMUTABLE = 1 << 6,
    FLAGS_APPEND = 1 << 7,
    FLAGS_NODUMP = 1 << 8,
    FLAGS_NOATIME = 1 << 9,
    FLAGS_DIRSYNC = 1 << 10,
};
#define FLAGS_BARS (FLAGS_IMMUTABLE | FLAGS_APPEND)
#define FLAGS_CARRIED (FLAGS_BARS | FLAGS_NOCOW | FLAGS_SYNC | FLAGS_NODUMP | FLAGS_NOATIME | FLAGS_DIRSYNC)

/* Source: the commands for the difference between two snapshots, given by their roots; base -1: for all.
 * `since`: what the snapshot's tree has of earlier transactions is in the base, too. */
int flags_gather(int base, uint64_t since, int snapshot, const struct tick *tick, struct buf *ret,
                 struct err *e);

/* Target: what they said. Starts as zeroes. */
struct flags_list {
    struct flags_entry *v;
    size_t n;
    size_t paths; /* bytes */
    struct flags_lifted *lifted;
    size_t n_lifted;
    signed char given; /* new files have flags that nobody set: 1 yes, -1 no, 0 not asked yet */
};
void flags_release(struct flags_list *f);
/* ERR_DATA: out of order, or too many. path may be NULL. */
int flags_note(struct flags_list *f, uint64_t ino, uint64_t flags, const char *path, struct err *e);
/* A file or folder was made in the subvolume's root, and has inherited from that, or from the mount, what it
 * must not: flags, ACLs, a property. `name` in `dir`. */
int flags_fresh(struct flags_list *f, int root, int dir, const char *name, mode_t type, uint64_t ino,
                struct err *e);
/* An attribute of a file was refused with EINVAL. Where it says how the file is compressed, and a mount
 * without checksums (nodatasum, nodatacow) made it one that cannot be: it becomes one that can, or, where it
 * has data already, stays as it is: that changes no byte of it. -1 with errno. */
int flags_compress(const char *path, const char *name, const void *value, size_t n);
/* Take from what is at this path, and from the folder that it is in, what keeps it from being changed, until
 * flags_finish. True: there was something. */
bool flags_lift(struct flags_list *f, int root, const char *path);
/* All else is as it shall be: the flags, too. */
int flags_finish(struct flags_list *f, int root, struct err *e);
