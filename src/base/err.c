#include "base/err.h"

#include "base/text.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define READ_LOG " (see dmesg: a disk or its file system may have failed)"

/* Who is not root and may not do something need not look any further. */
static void say_who(char *text, size_t room)
{
    size_t n = strlen(text);
    snprintf(text + n, room - n, " (this is user %u: run it as root)", (unsigned)geteuid());
}

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
        snprintf(text + n, sizeof text - (size_t)n, ": %s%s", strerror(code), code == EIO ? READ_LOG : "");
    if ((code == EACCES || code == EPERM) && geteuid() != 0)
        say_who(text, sizeof text);
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

/* With "CONTEXT: ". */
static bool begins_with(const char *text, const char *context)
{
    size_t n = strlen(context);
    return strncmp(text, context, n) == 0 && text[n] == ':' && text[n + 1] == ' ';
}

/* A name in quotes counts wherever it stands, else the beginning, also behind the node that said it. */
static bool says(const char *text, const char *context)
{
    size_t k = strlen(context), n = strcspn(text, " '");
    if (k && context[k - 1] == '\'')
        return strstr(text, context) != NULL;
    return begins_with(text, context) ||
           (n > 1 && text[n - 1] == ':' && text[n] == ' ' && begins_with(text + n + 1, context));
}

int err_unwrap(struct err *e, const char *context)
{
    if (begins_with(e->text, context)) {
        const char *rest = e->text + strlen(context) + 2;
        memmove(e->text, rest, strlen(rest) + 1);
    }
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
    if (says(e->text, context))
        return -1;
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
