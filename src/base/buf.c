#include "base/buf.h"

#include <stdio.h>
#include <string.h>

void buf_release(struct buf *b)
{
    free(b->data);
    *b = (struct buf)BUF_INIT;
}

void buf_clear(struct buf *b)
{
    b->len = 0;
    if (b->data)
        b->data[0] = 0;
}

char *buf_reserve(struct buf *b, size_t n)
{
    size_t need;
    if (__builtin_add_overflow(b->len, n, &need) || __builtin_add_overflow(need, (size_t)1, &need))
        abort();
    if (need > b->room) {
        size_t room = b->room * 2 > need ? b->room * 2 : need;
        b->data = xrealloc(b->data, room < 64 ? 64 : room);
        b->room = room < 64 ? 64 : room;
    }
    return b->data + b->len;
}

void buf_add(struct buf *b, const void *data, size_t n)
{
    char *to = buf_reserve(b, n);
    if (n)
        memcpy(to, data, n);
    b->len += n;
    b->data[b->len] = 0;
}

void buf_adds(struct buf *b, const char *s)
{
    buf_add(b, s, strlen(s));
}

void buf_addc(struct buf *b, char c)
{
    buf_add(b, &c, 1);
}

void buf_addf(struct buf *b, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    va_list again;
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0)
        abort();
    vsnprintf(buf_reserve(b, (size_t)n), (size_t)n + 1, fmt, again);
    va_end(again);
    b->len += (size_t)n;
}

const char *buf_str(const struct buf *b)
{
    return b->data && b->len ? b->data : "";
}

char *buf_take(struct buf *b)
{
    char *s = b->data ? b->data : xstrdup("");
    s[b->data ? b->len : 0] = 0;
    *b = (struct buf)BUF_INIT;
    return s;
}
