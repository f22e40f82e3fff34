/* The mail about a job that failed (BEHAVIOUR.md#reports). Whether one is due says job_reports
 * (state/due.h). */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "base/proc.h"
#include "base/strv.h"

#include <stdint.h>

struct failure_mail {
    const char *from; /* NULL: root */
    const char *to;
    const char *node, *job, *target;
    const char *schedule; /* NULL: the default */
    const char *error;
    uint32_t guest;
    int64_t fail_count;
    int64_t last_sync; /* epoch, 0: never */
    int64_t next_try;  /* epoch, 0: not before the target is online */
};

/* Headers and text, for a program that takes the recipients from the headers. Pure. Nothing in the values can
 * make a header. */
void mail_compose(const struct failure_mail *m, struct buf *ret);

struct overdue_mail {
    const char *from; /* NULL: root */
    const char *to;
    const char *node;
    const struct strv *jobs; /* a line on each */
    const char *paused;      /* why nothing is scheduled, NULL: it is */
};
/* About jobs whose newest restore point is older than it may be, or a scheduler that stands still. Pure. */
void mail_compose_overdue(const struct overdue_mail *m, struct buf *ret);

struct text_mail {
    const char *from; /* NULL: root */
    const char *to, *subject;
    const char *id;   /* the same whenever it is sent again */
    const char *text; /* lines; they are clean */
};
/* Any other. Pure but for the date. */
void mail_compose_text(const struct text_mail *m, struct buf *ret);

/* Give the text to `PROGRAM -i -t`, as sendmail(8) understands it, and wait until it is accepted (60 s). */
int mail_send(const char *program, const struct buf *text, struct err *e);
/* The same without waiting. */
int mail_start(const char *program, const struct buf *text, struct proc *ret, struct err *e);
