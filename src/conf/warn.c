#include "conf/warn.h"

#include "base/buf.h"
#include "base/text.h"

#include <stdarg.h>
#include <stdio.h>

void warn_at(struct strv *warnings, const char *file, unsigned line, const char *fmt, ...)
{
    if (warnings->n > WARNINGS_MAX)
        return;
    if (warnings->n == WARNINGS_MAX) {
        strv_addf(warnings, "%s: further warnings are left out", file);
        return;
    }
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    text_clean(text);
    if (line)
        strv_addf(warnings, "%s:%u: %s", file, line, text);
    else
        strv_addf(warnings, "%s: %s", file, text);
}
