/* Compression of single payloads: u32 length before compression, then one zstd frame. The contexts and
 * buffers are made when first needed; zeroes are a valid start. */
#pragma once

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>
#include <zstd.h>

#define SQUEEZE_PREFIX 4

struct squeeze {
    ZSTD_CCtx *compressor;
    ZSTD_DCtx *decompressor;
    uint8_t *joined, *packed, *unpacked;
    size_t joined_room, packed_room, unpacked_room;
    unsigned skip, skipped; /* after payloads that did not shrink, some are not tried */
};

void squeeze_release(struct squeeze *s);

/* Compress the two parts into s->packed, prefix included; the length, or 0 when that would not be smaller. */
size_t squeeze_pack(struct squeeze *s, const void *a, size_t na, const void *b, size_t nb);

/* Into s->unpacked. ERR_DATA unless exactly the promised number of bytes, within [min, max], comes out. */
int squeeze_unpack(struct squeeze *s, const uint8_t *data, size_t n, size_t min, size_t max, size_t *len,
                   struct err *e);
