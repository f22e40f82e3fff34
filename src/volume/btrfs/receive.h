/* Applies a btrfs send stream to a subvolume, as `btrfs receive` would, but confined to it.
 *
 * The stream comes from another machine and may be made to harm: every path is resolved beneath the
 * subvolume's root without following a symlink and without leaving the mount, only regular files are opened
 * for writing, clones come from the named base or the subvolume itself, and the stream must be of the
 * expected identity. `btrfs receive` follows symlinks, and finds its parent only under the mount point it was
 * given.
 */
#pragma once

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct receiver;

/* A path beneath `root`, following no symlink and leaving no mount. Close-on-exec, -1 with errno. */
int receive_open(int root, const char *path, int flags);

/* `subvol` is empty, or a writable snapshot of `base` (-1: none). id, base_id: of the stream's snapshot and
 * of its base, "" for a full one. Both descriptors are borrowed. */
struct receiver *receiver_new(int subvol, const char *id, int base, const char *base_id);
void receiver_free(struct receiver *rx);
int receiver_feed(struct receiver *rx, const void *data, size_t n, struct err *e);
/* Has the stream's end come? */
bool receiver_whole(const struct receiver *rx);
/* The source's change counter of this snapshot. */
uint64_t receiver_transid(const struct receiver *rx);
