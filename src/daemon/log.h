/* What the daemon has to say: to the journal when stderr leads there, else to stderr as text. */
#pragma once

#include <stdint.h>
#include <syslog.h> /* LOG_ERR, LOG_WARNING, LOG_NOTICE, LOG_INFO */

void log_line(int priority, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* A failure that somebody should hear of (BEHAVIOUR.md#reports). In the journal with the fields PVESR_JOB and
 * PVESR_FAIL_COUNT, so that a notifier can pick it out. */
void log_failure(const char *job, const char *target, int64_t fail_count, const char *error);
