#include "cli/lines.h"

#include "base/mem.h"
#include "base/text.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

void put_line(FILE *to, const char *format, ...)
{
    _cleanup_free_ char *line = NULL;
    va_list ap;
    va_start(ap, format);
    int n = vasprintf(&line, format, ap);
    va_end(ap);
    if (n < 0)
        abort(); /* out of memory, as everywhere */
    text_clean(line);
    fprintf(to, "%s\n", line);
}

void put_lines(FILE *to, unsigned indent, const char *text)
{
    while (*text) {
        size_t n = strcspn(text, "\n");
        put_line(to, "%*s%.*s", (int)indent, "", (int)n, text);
        text += n + (text[n] != 0);
    }
}
