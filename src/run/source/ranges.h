/* Byte ranges of a volume, ascending and apart, as they are found; at most so many: what is found beyond them
 * makes the last one longer, over what lies between. */
#pragma once

#include "base/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RANGES_MAX 256

struct range {
    uint64_t offset, length;
};
struct ranges {
    struct range *v;
    size_t n;
};
void ranges_release(struct ranges *r);
#define _cleanup_ranges_ _cleanup_(ranges_release)

/* Not before the last one's offset. */
void ranges_add(struct ranges *r, uint64_t offset, uint64_t length);
/* Into r what is in either. */
void ranges_join(struct ranges *r, const struct ranges *other);
uint64_t ranges_bytes(const struct ranges *r);
/* "OFFSET+LENGTH,OFFSET+LENGTH"; "" for none. */
void ranges_print(const struct ranges *r, struct buf *out);
/* The reverse, of n bytes of text; false when it is none. */
bool ranges_parse(const char *text, size_t n, struct ranges *ret);
