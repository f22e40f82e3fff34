/* Digests of a disk's blocks: one XXH3-128 for each 64 KiB, the last one over what is left. What was damaged
 * by chance or by somebody's hand is found by them; they are no defence against who computes a block to fit.
 */
#pragma once

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DIGEST_BLOCK 65536u

struct digest {
    unsigned char b[16];
};

/* Bytes in the block at this offset of a file of `size` bytes. */
static inline size_t block_length(uint64_t size, uint64_t offset)
{
    return size - offset < DIGEST_BLOCK ? (size_t)(size - offset) : DIGEST_BLOCK;
}

void digest_of(const void *data, size_t n, struct digest *ret);
/* Of n zeros, at most a block. */
struct digest digest_of_zeros(size_t n);
bool digest_same(const struct digest *a, const struct digest *b);

extern const struct digest digest_unreadable; /* stands for a block that cannot be read */

/* A file read block by block; holes are not read. */
struct blockreader {
    int fd;              /* borrowed */
    const char *what;    /* borrowed; for messages */
    uint64_t size;       /* of the file */
    uint64_t hole, data; /* the kernel's answer: [hole, data) is a hole, data until `end` */
    uint64_t end;
    unsigned char *buffer; /* one block */
};
void blockreader_init(struct blockreader *r, int fd, uint64_t size, const char *what);
void blockreader_release(struct blockreader *r);
/* The first block at or behind this offset that may have data: all before it are holes. The file's size where
 * there is none. */
int blockreader_skip(struct blockreader *r, uint64_t offset, uint64_t *next, struct err *e);
/* The block at this offset (a multiple of the block size, below size; ascending calls). *zero: it is all
 * zeros; the buffer is then not filled. The digest is over its bytes in any case. ERR_DATA when the file ends
 * early. */
int blockreader_read(struct blockreader *r, uint64_t offset, bool *zero, struct digest *digest,
                     struct err *e);
