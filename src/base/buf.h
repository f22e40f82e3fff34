/* A growing run of bytes that is also always a C string: data[len] is 0 once anything was added.
 * Start with BUF_INIT or zeroes; buf_release frees the contents and leaves an empty buffer. */
#pragma once

#include "base/mem.h"

#include <stdarg.h>
#include <stdbool.h>

struct buf {
    char *data; /* NULL while nothing was ever added */
    size_t len;
    size_t room;
};

#define BUF_INIT                                                                                             \
    {                                                                                                        \
        NULL, 0, 0                                                                                           \
    }

void buf_release(struct buf *b);
/* Length 0, the room stays. */
void buf_clear(struct buf *b);
void buf_add(struct buf *b, const void *data, size_t n);
void buf_adds(struct buf *b, const char *s);
void buf_addc(struct buf *b, char c);
void buf_addf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Make room for n more bytes and return where they go; the caller then raises len. */
char *buf_reserve(struct buf *b, size_t n);
/* The contents as a C string, "" when empty; still owned by the buffer. */
const char *buf_str(const struct buf *b);
/* Hand the contents over as a malloc'ed C string (never NULL); the buffer is empty afterwards. */
char *buf_take(struct buf *b);

#define _cleanup_buf_ _cleanup_(buf_release)
