/* libFuzzer: what thin_delta prints, any bytes, in two pieces. */
#include "volume/lvm/thinmap.h"

#include <stddef.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err e;
    _cleanup_(thinmap_freep) struct thinmap *m = thinmap_new(size % 3 * 65536);
    thinmap_regions_max = 4;
    size_t half = size / 2;
    if (thinmap_feed(m, (const char *)data, half, &e) < 0 ||
        thinmap_feed(m, (const char *)data + half, size - half, &e) < 0 || thinmap_finish(m, &e) < 0)
        return 0;
    uint64_t end, before = 0;
    for (uint64_t pos = 0; pos < UINT64_MAX; before = pos, pos = end) {
        thinmap_at(m, pos, &end);
        if (end <= pos || (pos && pos <= before))
            abort();
    }
    return 0;
}
