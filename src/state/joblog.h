/* The job log: LOG-DIR/JOBID, truncated at the start of every run, lines "YYYY-MM-DD HH:MM:SS JOBID: MESSAGE"
 * in local time (BEHAVIOUR.md#job-log). The whole text is also kept for the journal; of more than 256 KiB the
 * middle is left out, because the beginning says what was planned and the end how it went. */
#pragma once

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

struct joblog;

/* The directory is made when missing. A file that cannot be opened, is a symlink or no regular file is left
 * untouched: joblog_failure says so, and the text is only kept in memory. NULL: not a job id.
 * also_to_stdout: each message without prefix on stdout too (run --verbose). */
struct joblog *joblog_open(const char *log_dir, const char *job_id, bool also_to_stdout, struct err *e);
/* Newlines in the message become one log line each; all else is as text_clean leaves it. A write error is
 * remembered, not raised: the log must not stop a run. NULL is fine: nothing is logged. */
void joblog_add(struct joblog *l, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
const char *joblog_text(const struct joblog *l); /* "" for NULL */
/* The first error of opening or writing the file as a sentence, or NULL. */
const char *joblog_failure(const struct joblog *l);
void joblog_free(struct joblog *l);
static inline void joblog_freep(struct joblog **l)
{
    joblog_free(*l);
}
