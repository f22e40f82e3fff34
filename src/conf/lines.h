/* The lines of a text that may hold any byte and need not end with a newline:
 *
 *     struct lines l = LINES_INIT(text, len);
 *     while (lines_next(&l))
 *         use l.text, l.len
 *
 * Everything points into the text; nothing is copied and nothing ends with a zero byte.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct lines {
    const char *raw; /* the line with its end; the lines of a text are contiguous */
    size_t raw_len;
    const char *text; /* without newline and one carriage return before it; of the first one without a byte
                         order mark */
    size_t len;
    unsigned number; /* 1 for the first line */
    const char *next, *end;
};

#define LINES_INIT(t, n)                                                                                     \
    {                                                                                                        \
        .next = (t), .end = (t) ? (t) + (n) : NULL                                                           \
    }

bool lines_next(struct lines *l);

/* White space inside a line: blank, tab, carriage return, form feed, vertical tab. */
bool line_is_blank(char c);
/* How many blanks s begins with; the length of s without the blanks at its end. */
size_t line_lead(const char *s, size_t n);
size_t line_trim(const char *s, size_t n);
