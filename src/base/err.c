#include "base/err.h"

#include "base/text.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

__attribute__((format(printf, 4, 0))) static int fill(struct err *e, enum err_kind kind, int code,
                                                      const char *fmt, va_list ap)
{
    if (kind == ERR_SYSTEM && (code == ENOSPC || code == EDQUOT))
        kind = ERR_FULL;
    char text[ERR_TEXT_MAX]; /* arguments may point into e->text */
    int n = vsnprintf(text, sizeof text, fmt, ap);
    if (n < 0)
        n = 0;
    if ((size_t)n >= sizeof text)
        n = sizeof text - 1;
    if (code)
        snprintf(text + n, sizeof text - (size_t)n, ": %s", strerror(code));
    text_clean(text);
    e->kind = kind;
    e->code = code;
    memcpy(e->text, text, sizeof text);
    return -1;
}

int err_set(struct err *e, enum err_kind kind, int code, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fill(e, kind, code, fmt, ap);
    va_end(ap);
    return -1;
}

int err_sys(struct err *e, const char *fmt, ...)
{
    int code = errno;
    va_list ap;
    va_start(ap, fmt);
    fill(e, ERR_SYSTEM, code, fmt, ap);
    va_end(ap);
    return -1;
}

int err_wrap(struct err *e, const char *fmt, ...)
{
    char context[ERR_TEXT_MAX];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(context, sizeof context, fmt, ap);
    va_end(ap);
    char text[ERR_TEXT_MAX];
    size_t n = strnlen(context, sizeof context);
    memcpy(text, context, n);
    snprintf(text + n, sizeof text - n, ": %s", e->text);
    text_clean(text);
    memcpy(e->text, text, sizeof text);
    return -1;
}

static const char *const kind_names[] = {
    [ERR_NONE] = "none", [ERR_USAGE] = "usage",     [ERR_CONFIG] = "config",
    [ERR_BUSY] = "busy", [ERR_NETWORK] = "network", [ERR_GONE] = "gone",
    [ERR_FULL] = "full", [ERR_DATA] = "data",       [ERR_SYSTEM] = "system",
};

#define N_KINDS (sizeof kind_names / sizeof *kind_names)

const char *err_kind_name(enum err_kind kind)
{
    return (size_t)kind < N_KINDS ? kind_names[kind] : "system";
}

enum err_kind err_kind_parse(const char *name)
{
    for (size_t i = 0; i < N_KINDS; i++)
        if (strcmp(kind_names[i], name) == 0)
            return (enum err_kind)i;
    return ERR_SYSTEM;
}
