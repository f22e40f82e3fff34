/* Digest maps: what a plain file looked like, one XXH3-128 for each 64 KiB block, 1/4096 of its size. Where
 * the file system cannot share blocks this is all that is remembered of a restore point: enough to find what
 * changed since, and to prove that what is read now is still what was there then.
 *
 * On disk: a header of 32 bytes ("PVESRMAP", version, block size, size of the file), then the digests in
 * order, the last one over what is left, and in the header a sum over them. Since version 2 a block of zeros
 * has 16 bytes of zeros for its digest, and where many follow each other the map has a hole: what a map
 * takes, and how long it takes, go by the file's data, not by its size. Memory is bounded whatever either is.
 */
#pragma once

#include "base/err.h"
#include "base/tick.h"
#include "volume/blocks.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BLOCKMAP_BLOCK DIGEST_BLOCK

/* Write the map of `size` bytes of file fd to the empty file map_fd. Not flushed. */
int blockmap_make(int fd, uint64_t size, const char *what, int map_fd, const struct tick *tick,
                  struct err *e);

struct blockmap;
/* map_fd is borrowed. NULL and ERR_DATA when the file is not a whole map. */
struct blockmap *blockmap_open(int map_fd, const char *what, struct err *e);
/* Reads all of it: ERR_DATA when it is not as it was written. One of the former version cannot be proved;
 * what is lost of that one is no digest of anything. */
int blockmap_prove(struct blockmap *m, const struct tick *tick, struct err *e);
void blockmap_free(struct blockmap *m);
static inline void blockmap_freep(struct blockmap **m)
{
    blockmap_free(*m);
}
uint64_t blockmap_size(const struct blockmap *m);
/* The first block at or behind this offset that may have other than zeros; the file's size where there is
 * none, or where the offset lies behind its end. */
int blockmap_skip(struct blockmap *m, uint64_t offset, uint64_t *next, struct err *e);
/* A second map like that in the file `from`, into the empty file `to`. Not flushed. */
int blockmap_duplicate(int from, int to, const char *what, struct err *e);
/* The digest of the block at this offset. Cheapest in ascending order. */
int blockmap_at(struct blockmap *m, uint64_t offset, struct digest *ret, struct err *e);

/* 0: the file has this map's size and content; 1: it has not. */
int blockmap_differs(struct blockmap *m, int fd, const char *what, const struct tick *tick, struct err *e);
/* Copy the file fd to the file `to` of the same size and without data, holes and zeros left out, and what
 * cannot be read. Not flushed. */
int blocks_copy(int fd, uint64_t size, const char *what, int to, const struct tick *tick, struct err *e);
/* Copy the file fd to the empty file `to`, holes and zeros left out, its size set, while checking each block
 * against the map. 1 when it is not what the map says. Not flushed. */
int blockmap_copy(struct blockmap *m, int fd, const char *what, int to, const struct tick *tick,
                  struct err *e);
