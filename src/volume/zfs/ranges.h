/* What changed in a zvol, as ranges with their data, out of the stream of `zfs send` without -c, -e, -w: the
 * data itself is in there, ascending, so nothing is read twice and no device of the snapshot is needed.
 *
 * The stream's records: zfsrecord.h; object 1 of a zvol is its data.
 */
#pragma once

#include "volume/volume.h"

struct zfsranges;

/* Gives up to `room` bytes of the stream; 0 at its end, when it is known to be whole; -1. */
typedef ssize_t zfsranges_read(void *arg, void *data, size_t room, struct err *e);

/* Of a snapshot of `size` bytes; `full`: the stream has no base; ranges below `from` are left out. */
struct zfsranges *zfsranges_new(uint64_t size, bool full, uint64_t from, zfsranges_read *read, void *arg);
void zfsranges_free(struct zfsranges *r);
CLEANUP_FUNC(zfsranges_free, struct zfsranges)
/* As delta_next. ERR_DATA for a stream that is not of this kind. */
int zfsranges_next(struct zfsranges *r, struct extent *ret, struct err *e);
const void *zfsranges_data(const struct zfsranges *r);
