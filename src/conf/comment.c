#include "conf/comment.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* The length of the UTF-8 character at s, 0 when it is none: overlong forms, surrogates and what is beyond
 * U+10FFFF are none (RFC 3629). */
static size_t character(const unsigned char *s)
{
    static const struct {
        uint8_t first, last, second_min, second_max, len;
    } forms[] = {
        {0x01, 0x7f, 0, 0, 1},       {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
        {0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
        {0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4},
    };
    for (size_t i = 0; i < ELEMENTS(forms); i++) {
        if (*s < forms[i].first || *s > forms[i].last)
            continue;
        if (forms[i].len > 1 && (s[1] < forms[i].second_min || s[1] > forms[i].second_max))
            return 0;
        for (size_t k = 2; k < forms[i].len; k++)
            if ((s[k] & 0xc0) != 0x80)
                return 0;
        return forms[i].len;
    }
    return 0;
}

int comment_check(const char *text, struct err *e)
{
    size_t characters = 0;
    for (const char *s = text; *s; characters++) {
        size_t n = character((const unsigned char *)s);
        if (n == 0)
            return err_set(e, ERR_USAGE, 0, "value is not UTF-8 at byte %zu", (size_t)(s - text));
        s += n;
    }
    if (characters > COMMENT_MAX)
        return err_set(e, ERR_USAGE, 0, "value may only be %d characters long", COMMENT_MAX);
    return 0;
}

static bool is_plain(unsigned char c)
{
    return c >= 0x20 && c <= 0x7e && c != '%' && c != ':';
}

void comment_encode(const char *text, struct buf *out)
{
    for (const char *s = text; *s; s++) {
        bool edge = s == text || !s[1];
        if (is_plain((unsigned char)*s) && !(*s == ' ' && edge))
            buf_addc(out, *s);
        else
            buf_addf(out, "%%%02X", (unsigned char)*s);
    }
}

static int hex(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

char *comment_decode(const char *text, struct err *e)
{
    _cleanup_buf_ struct buf b = BUF_INIT;
    for (const char *s = text; *s; s++) {
        if (*s == '%' && hex(s[1]) >= 0 && hex(s[2]) >= 0) {
            buf_addc(&b, (char)(hex(s[1]) << 4 | hex(s[2])));
            s += 2;
        } else {
            buf_addc(&b, *s);
        }
    }
    if (b.len && memchr(b.data, 0, b.len)) {
        err_set(e, ERR_USAGE, 0, "value has a zero byte");
        return NULL;
    }
    return comment_check(buf_str(&b), e) < 0 ? NULL : buf_take(&b);
}
