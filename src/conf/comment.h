/* The comment of a job: UTF-8 in memory, percent-encoded in replication.cfg (BEHAVIOUR.md#job-file). */
#pragma once

#include "base/buf.h"
#include "base/err.h"

#define COMMENT_MAX 4096 /* characters */

/* ERR_USAGE: not UTF-8, or too long. */
int comment_check(const char *text, struct err *e);

/* Encodes every byte but 0x20-0x24, 0x26-0x39, 0x3B-0x7E, and also a blank at either end: the file's format
 * would lose it. */
void comment_encode(const char *text, struct buf *out);
/* The text, malloc'ed; "%" without two hex digits stays as it is. NULL and ERR_USAGE when the result is not a
 * comment. */
char *comment_decode(const char *text, struct err *e);
