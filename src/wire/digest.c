#include "base/mem.h"
#include "wire/frame.h"

#include <stdlib.h>
#include <xxhash.h>

struct transfer_digest {
    XXH3_state_t *state;
};

struct transfer_digest *transfer_digest_new(void)
{
    struct transfer_digest *d = xcalloc(1, sizeof *d);
    d->state = XXH3_createState();
    if (!d->state)
        abort();
    XXH3_128bits_reset(d->state);
    return d;
}

void transfer_digest_free(struct transfer_digest *d)
{
    if (!d)
        return;
    XXH3_freeState(d->state);
    free(d);
}

void transfer_digest_add(struct transfer_digest *d, enum frame_type type, uint64_t offset, uint64_t length,
                         const void *data)
{
    uint8_t head[17] = {(uint8_t)type};
    put_u64(head + 1, offset);
    put_u64(head + 9, length);
    XXH3_128bits_update(d->state, head, sizeof head);
    if (data)
        XXH3_128bits_update(d->state, data, length);
}

void transfer_digest_final(const struct transfer_digest *d, uint8_t out[16])
{
    XXH128_hash_t h = XXH3_128bits_digest(d->state);
    put_u64(out, h.low64);
    put_u64(out + 8, h.high64);
}
