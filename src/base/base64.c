#include "base/base64.h"

#include <string.h>

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void base64_encode(const void *data, size_t len, bool padded, struct buf *out)
{
    const uint8_t *p = data;
    for (; len > 0; p += 3) {
        size_t n = len < 3 ? len : 3; /* bytes, which make one digit more */
        uint32_t bits = (uint32_t)p[0] << 16 | (n > 1 ? p[1] << 8 : 0) | (n > 2 ? p[2] : 0);
        for (size_t i = 0; i < 4; i++)
            if (i <= n)
                buf_addc(out, digits[bits >> (18 - 6 * i) & 63]);
            else if (padded)
                buf_addc(out, '=');
        len -= n;
    }
}

/* Four characters, of which the last two may be '=' if this is the end: the number of bytes, -1: damaged. */
static int decode_four(const char *p, bool is_last, uint8_t out[3])
{
    uint32_t bits = 0;
    int n = is_last && p[3] == '=' ? (p[2] == '=' ? 1 : 2) : 3;
    for (int i = 0; i <= n; i++) {
        const char *digit = p[i] ? strchr(digits, p[i]) : NULL;
        if (!digit)
            return -1;
        bits |= (uint32_t)(digit - digits) << (18 - 6 * i);
    }
    for (int i = 0; i < 3; i++)
        out[i] = (uint8_t)(bits >> (16 - 8 * i));
    return bits & (0xffffffu >> 8 * n) ? -1 : n; /* bits behind the last byte */
}

bool base64_decode(const char *text, size_t len, struct buf *out)
{
    if (len % 4 != 0)
        return false;
    for (size_t i = 0; i < len; i += 4) {
        uint8_t bytes[3];
        int n = decode_four(text + i, i + 4 == len, bytes);
        if (n < 0)
            return false;
        buf_add(out, bytes, (size_t)n);
    }
    return true;
}
