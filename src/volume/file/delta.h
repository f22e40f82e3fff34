/* What changed between two files on one file system that shares blocks (XFS with reflink, btrfs).
 *
 * The file system's own maps (FIEMAP) are walked side by side. The same physical block at the same offset is
 * the same data, because shared blocks are never written in place; it is not read. A hole in the new file
 * where the base had data is EXTENT_ZERO without reading. Data at another place is read. Where the maps
 * cannot tell (inline, compressed unless btrfs' own tree is readable, not yet allocated, not aligned, the
 * files lie on two mounts, no FIEMAP at all) both files are read and compared in blocks of 4 KiB.
 *
 * Neither file may be written to meanwhile: both are snapshots. Both descriptors are borrowed, must be
 * readable, and must outlive the delta. Memory is bounded whatever the files' size.
 */
#pragma once

#include "volume/volume.h"

struct filedelta;

/* From base_fd (-1: everything that is not zero) to fd, whose size is `size`. Nothing below `from` is
 * returned. The base may be shorter (it reads as zeros behind its end) or longer (that part is ignored). */
struct filedelta *filedelta_new(int base_fd, int fd, uint64_t size, uint64_t from, struct err *e);
void filedelta_free(struct filedelta *d);
CLEANUP_FUNC(filedelta_free, struct filedelta)

/* As delta_next: 1 *ret is the next range, 2 some 64 MiB were looked at without a result, 0 end. Ascending,
 * adjacent zeros merged, DATA at most 1 MiB, boundaries multiples of 4 KiB but for `from` and the end. */
int filedelta_next(struct filedelta *d, struct extent *ret, struct err *e);
/* 0: there is no range; 1: there is one. */
int filedelta_any(struct filedelta *d, const struct tick *tick, struct err *e);
/* The bytes of the DATA range just returned, until the next call. */
const void *filedelta_data(const struct filedelta *d);

/* The same for files, or block devices, of which something else than the file system knows what changed. `at`
 * is asked in ascending order what lies at pos and up to *end; the base reads as zeros behind its end. */
enum filedelta_change {
    CHANGE_NONE,
    CHANGE_ZERO,    /* became zeros */
    CHANGE_FRESH,   /* read; the base is zeros there */
    CHANGE_COMPARE, /* read both */
};
typedef enum filedelta_change filedelta_plan(void *arg, uint64_t pos, uint64_t *end);
struct filedelta *filedelta_new_planned(int base_fd, int fd, uint64_t size, uint64_t from, filedelta_plan *at,
                                        void *arg);

/* How many bytes of the two files were read so far. */
uint64_t filedelta_read(const struct filedelta *d);

/* 0: the two files have the same size and content, 1: they differ. Here blocks at another place are compared
 * too, so a file that was only moved about (defragmented) is the same. What the disk does not give (EIO) is
 * not known to be the same: it differs. */
int filedelta_same(int a_fd, int b_fd, const struct tick *tick, struct err *e);
