#include "daemon/log.h"

#include "base/text.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <systemd/sd-journal.h>

/* systemd says which file its journal's stream is; stderr may have been led elsewhere since. */
static bool stderr_is_journal(void)
{
    const char *stream = getenv("JOURNAL_STREAM");
    uintmax_t dev, ino;
    struct stat st;
    return stream && sscanf(stream, "%ju:%ju", &dev, &ino) == 2 && fstat(2, &st) == 0 && st.st_dev == dev &&
           st.st_ino == ino;
}

void log_line(int priority, const char *fmt, ...)
{
    char text[4096];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    text_clean(text);
    if (stderr_is_journal())
        sd_journal_send("MESSAGE=%s", text, "PRIORITY=%d", priority, NULL);
    else
        fprintf(stderr, "pvesrd: %s\n", text);
}

void log_failure(const char *job, const char *target, int64_t fail_count, const char *error)
{
    if (stderr_is_journal())
        sd_journal_send("MESSAGE=Replication job '%s' to '%s' failed %" PRId64 " times: %s", job, target,
                        fail_count, error, "PRIORITY=%d", LOG_ERR, "PVESR_JOB=%s", job,
                        "PVESR_FAIL_COUNT=%" PRId64, fail_count, NULL);
    else
        log_line(LOG_ERR, "Replication job '%s' to '%s' failed %" PRId64 " times: %s", job, target,
                 fail_count, error);
}
