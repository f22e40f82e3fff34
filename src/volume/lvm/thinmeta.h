/* What a thin pool's metadata says of its devices, read from its own device by way of a metadata snapshot
 * (pool_hold). thin_delta does not tell when a chunk was allocated, and thin_dump would be a program more for
 * each device. Blocks of 4 KiB, all numbers little endian:
 *
 * - Superblock, in block 0, and the copy of it that a metadata snapshot is: 32 magic (64 bits), 40 version
 *   (32), 56 where that copy is (64), 320 and 328 the roots of the trees of mappings and of details (64), 360
 *   what a reader must know (32).
 * - Node of a tree: 4 kind (32; 1 inner, 2 leaf), 8 its own number (64), 16 entries (32), 20 room (32), 24
 *   bytes of a value (32), 32 the keys (64), then, behind the room for keys, the values.
 *
 * The tree of mappings has by device the root of a tree of its own: by chunk the chunk of the pool (40 bits)
 * and the pool's time at which that was allocated (24), which each new snapshot puts forward. That of details
 * has by device: mapped chunks (64), transaction (64), time of its making (32), time of the last snapshot
 * from it or its making (32).
 *
 * dm-thin never writes in place to a chunk that is older than the last snapshot from the device: the first
 * write gives it another chunk of the pool and the time of now. So of a device of which all chunks are older
 * than that, whoever writes or discards changes the mappings, and nothing else does: what other devices do,
 * snapshots from it, and a metadata that is repaired leave them as they are.
 */
#pragma once

#include "base/err.h"
#include "base/mem.h"
#include "base/tick.h"

#include <stdint.h>

struct thinmeta;

/* The sums do not depend on how the tree is built. */
struct thin_mappings {
    uint64_t n;      /* chunks */
    uint64_t sum[2]; /* of the digests of all mappings */
    uint32_t newest; /* time of the newest of them */
};

struct thin_device {
    struct thin_mappings map;
    uint32_t made, snapshotted; /* times */
};

/* `fd` of the metadata's device stays the caller's; it has O_DIRECT, or what it gives may be of the past.
 * ERR_DATA: not understood, or without a metadata snapshot. */
struct thinmeta *thinmeta_open(int fd, const struct tick *tick, struct err *e);
void thinmeta_free(struct thinmeta *m);
CLEANUP_FUNC(thinmeta_free, struct thinmeta)

/* Of more than that (256 GiB in chunks of 64 KiB) nothing is read: a run reads a few times all that its
 * volumes map, which on a slow disk is a minute for each of these. */
#define THINMETA_MAPPED_MAX (1u << 22)
/* 1: there is no such device. Reads all that it maps, but what was read for another already. ERR_FULL: that
 * is too much. */
int thinmeta_device(struct thinmeta *m, uint64_t id, struct thin_device *ret, struct err *e);
