/* What `thin_delta` says about two thin devices of one pool: XML like
 *
 *     <superblock … data_block_size="128" …>
 *       <diff left="1" right="2">
 *         <different begin="0" length="3"/> <same …/> <left_only …/> <right_only …/>
 *       </diff>
 *     </superblock>
 *
 * in chunks of the pool (data_block_size sectors of 512 bytes). Chunks not named are mapped in neither. A
 * device against itself gives its mapped chunks, all `same`. */
#pragma once

#include "base/err.h"
#include "base/mem.h"

#include <stdbool.h>
#include <stdint.h>

enum thin_kind {
    THIN_NONE,      /* mapped in neither */
    THIN_SAME,      /* the same chunk */
    THIN_LEFT,      /* in the older one only */
    THIN_RIGHT,     /* in the newer one only */
    THIN_DIFFERENT, /* a chunk each; or not known any more */
};

struct thinmap;

/* `same` regions that end below this offset (bytes) are not wanted. */
struct thinmap *thinmap_new(uint64_t same_from);
void thinmap_free(struct thinmap *m);
CLEANUP_FUNC(thinmap_free, struct thinmap)

/* Feed the text as it comes; ERR_DATA when it is not what it must be. */
int thinmap_feed(struct thinmap *m, const char *data, size_t n, struct err *e);
/* Its end: ERR_DATA when anything is missing. */
int thinmap_finish(struct thinmap *m, struct err *e);

/* The kind of what lies at pos and behind it up to *end (UINT64_MAX behind the last), bytes. pos must not go
 * back. */
enum thin_kind thinmap_at(struct thinmap *m, uint64_t pos, uint64_t *end);
/* Nothing was kept: no difference (or nothing mapped). */
bool thinmap_empty(const struct thinmap *m);
/* Regions were joined: a kind is no more than what must be looked at. */
bool thinmap_coarse(const struct thinmap *m);
/* Bytes of a chunk. */
uint64_t thinmap_chunk(const struct thinmap *m);

/* Above this number of regions neighbours are joined: more is read then, never less. Tests want less. */
extern size_t thinmap_regions_max;
