#include "base/debug.h"

#include "base/buf.h"
#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool debug_on(void)
{
    const char *wish = getenv("PVESR_DEBUG");
    return wish && *wish && strcmp(wish, "0") != 0;
}

void debug_line(const char *fmt, ...)
{
    _cleanup_free_ char *text = NULL;
    va_list ap;
    if (!debug_on())
        return;
    va_start(ap, fmt);
    if (vasprintf(&text, fmt, ap) < 0)
        abort();
    va_end(ap);
    fprintf(stderr, "debug: %s\n", text);
}

static void add_quoted(struct buf *b, const char *word)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+.,-/=:@%";
    if (*word && !word[strspn(word, plain)]) {
        buf_adds(b, word);
        return;
    }
    buf_addc(b, '\'');
    for (; *word; word++)
        *word == '\'' ? buf_adds(b, "'\\''") : buf_addc(b, *word);
    buf_addc(b, '\'');
}

void debug_command(char *const argv[])
{
    _cleanup_buf_ struct buf b = BUF_INIT;
    if (!debug_on())
        return;
    for (size_t i = 0; argv[i]; i++) {
        if (i)
            buf_addc(&b, ' ');
        add_quoted(&b, argv[i]);
    }
    debug_line("+ %s", buf_str(&b));
}
