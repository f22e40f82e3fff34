/* libFuzzer: a zvol's send stream, any bytes. */
#include "volume/zfs/ranges.h"

#include <stdlib.h>
#include <string.h>

struct input {
    const uint8_t *data;
    size_t left;
};

static ssize_t take(void *arg, void *to, size_t room, struct err *e)
{
    struct input *in = arg;
    size_t n = in->left < room ? in->left : room;
    memcpy(to, in->data, n);
    in->data += n;
    in->left -= n;
    return (ssize_t)n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    struct err e;
    struct extent x;
    struct input in = {data + 2, size - 2};
    uint64_t volume = (uint64_t)data[0] << 12, from = (uint64_t)data[1] << 9,
             at = from = from < volume ? from : volume;
    _cleanup_(zfsranges_freep) struct zfsranges *r = zfsranges_new(volume, data[0] & 1, from, take, &in);
    for (int is; (is = zfsranges_next(r, &x, &e)) > 0;) {
        if (is == 2)
            continue;
        if (x.offset < at || !x.length || x.offset > volume || x.length > volume - x.offset ||
            (x.kind == EXTENT_DATA && x.length > EXTENT_DATA_MAX))
            abort();
        at = x.offset + x.length;
        const uint8_t *given = zfsranges_data(r);
        if (x.kind == EXTENT_DATA && given[0] == given[x.length - 1]) /* readable? */
            at += 0 * given[x.length / 2];
    }
    return 0;
}
