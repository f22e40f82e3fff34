#include "wire/squeeze.h"

#include "base/mem.h"
#include "wire/frame.h"

#include <string.h>

#define LEVEL 1
#define SMALLEST 128 /* below, there is nothing to win */
#define SKIP_MAX 16

void squeeze_release(struct squeeze *s)
{
    ZSTD_freeCCtx(s->compressor);
    ZSTD_freeDCtx(s->decompressor);
    free(s->joined);
    free(s->packed);
    free(s->unpacked);
    *s = (struct squeeze){0};
}

static void grow(uint8_t **p, size_t *room, size_t need)
{
    if (*room >= need)
        return;
    free(*p);
    *p = xmalloc(need);
    *room = need;
}

static const void *join(struct squeeze *s, const void *a, size_t na, const void *b, size_t nb)
{
    if (nb == 0)
        return a;
    grow(&s->joined, &s->joined_room, na + nb);
    if (na)
        memcpy(s->joined, a, na);
    memcpy(s->joined + na, b, nb);
    return s->joined;
}

size_t squeeze_pack(struct squeeze *s, const void *a, size_t na, const void *b, size_t nb)
{
    size_t n = na + nb;
    if (n < SMALLEST)
        return 0;
    if (s->skipped < s->skip) {
        s->skipped++;
        return 0;
    }
    if (!s->compressor && !(s->compressor = ZSTD_createCCtx()))
        abort();
    grow(&s->packed, &s->packed_room, SQUEEZE_PREFIX + ZSTD_compressBound(n));
    size_t len = ZSTD_compressCCtx(s->compressor, s->packed + SQUEEZE_PREFIX, s->packed_room - SQUEEZE_PREFIX,
                                   join(s, a, na, b, nb), n, LEVEL);
    s->skipped = 0;
    if (ZSTD_isError(len) || SQUEEZE_PREFIX + len >= n) {
        s->skip = s->skip ? (s->skip < SKIP_MAX ? s->skip * 2 : SKIP_MAX) : 1;
        return 0;
    }
    s->skip = 0;
    put_u32(s->packed, (uint32_t)n);
    return SQUEEZE_PREFIX + len;
}

int squeeze_unpack(struct squeeze *s, const uint8_t *data, size_t n, size_t min, size_t max, size_t *len,
                   struct err *e)
{
    if (n <= SQUEEZE_PREFIX)
        return err_set(e, ERR_DATA, 0, "what arrives is damaged: compressed, but only %zu bytes", n);
    size_t promised = get_u32(data);
    if (promised < min || promised > max)
        return err_set(e, ERR_DATA, 0, "what arrives is damaged: %zu bytes before compression", promised);
    if (!s->decompressor && !(s->decompressor = ZSTD_createDCtx()))
        abort();
    grow(&s->unpacked, &s->unpacked_room, promised ? promised : 1);
    size_t got = ZSTD_decompressDCtx(s->decompressor, s->unpacked, promised, data + SQUEEZE_PREFIX,
                                     n - SQUEEZE_PREFIX);
    if (ZSTD_isError(got) || got != promised)
        return err_set(e, ERR_DATA, 0, "what arrives is damaged: not %zu compressed bytes: %s", promised,
                       ZSTD_isError(got) ? ZSTD_getErrorName(got) : "another length");
    *len = got;
    return 0;
}
