/* Warnings about the content of a file, "FILE:LINE: what is wrong": bounded in number, since the file may be
 * hostile, and without control bytes, since they end on terminals and in logs. */
#pragma once

#include "base/strv.h"

#define WARNINGS_MAX 100

/* After WARNINGS_MAX one more says that the rest is left out. line 0: "FILE: …". */
void warn_at(struct strv *warnings, const char *file, unsigned line, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* For quoting a piece of the file in a warning: "%.*s" with WARN_QUOTE(text, len) gives at most 80 bytes. */
#define WARN_QUOTE(s, n) (int)((n) > 80 ? 80 : (n)), (s)
