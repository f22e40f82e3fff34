/* A failure that somebody should hear of: to the journal, and by mail. */
#include "base/clock.h"
#include "conf/datacenter.h"
#include "daemon/daemon.h"
#include "daemon/log.h"
#include "state/mail.h"

#include <inttypes.h>
#include <signal.h>
#include <string.h>

#define PAUSE_SECONDS 900

static int on_mail_end(sd_event_source *s, const siginfo_t *si, void *arg)
{
    if (si->si_code != CLD_EXITED || si->si_status != 0)
        log_line(LOG_WARNING,
                 "a mail was not accepted: the program that 'sendmail' names in pvesr.conf %s %d",
                 si->si_code == CLD_EXITED ? "ended with exit status" : "was ended by signal", si->si_status);
    sd_event_source_unref(s);
    return 0;
}

static int start_mail(struct daemon *d, const struct buf *text, struct err *e)
{
    struct proc p = PROC_INIT;
    sd_event_source *source;
    if (mail_start(d->settings.sendmail, text, &p, e) < 0)
        return -1;
    int r = sd_event_add_child(d->event, &source, p.pid, WEXITED, on_mail_end, NULL);
    return r < 0 ? err_set(e, ERR_SYSTEM, -r, "cannot follow process %d", (int)p.pid) : 0;
}

static bool mails(const struct daemon *d)
{
    return strcmp(d->settings.mail_to, "none") != 0;
}

/* Malloc'ed, or NULL. */
static char *sender(struct daemon *d)
{
    _cleanup_buf_ struct buf datacenter = BUF_INIT;
    struct err ignored;
    return d->tree && tree_read(d->tree, "datacenter.cfg", &datacenter, &ignored) == 0
               ? datacenter_email_from(buf_str(&datacenter), datacenter.len)
               : NULL;
}

void report_failure(struct daemon *d, const struct queue_job *j)
{
    _cleanup_buf_ struct buf text = BUF_INIT;
    struct err e = {0};
    const char *error = j->error ? j->error : "unknown error";
    log_failure(j->id, j->target, j->fail_count, error);
    if (!mails(d))
        return;
    _cleanup_free_ char *from = sender(d);
    struct failure_mail m = {.from = from,
                             .to = d->settings.mail_to,
                             .node = d->settings.node,
                             .job = j->id,
                             .target = j->target,
                             .schedule = j->schedule,
                             .error = error,
                             .guest = j->guest,
                             .fail_count = j->fail_count,
                             .last_sync = j->last_sync,
                             .next_try = j->next};
    mail_compose(&m, &text);
    if (start_mail(d, &text, &e) < 0)
        log_line(LOG_WARNING, "the failure of job '%s' was not mailed: %s", j->id, e.text);
}

/* ---- what is overdue ---- */

static void add_overdue(const struct queue_job *j, void *lines)
{
    char newest[32];
    clock_print_log(j->last_sync, newest);
    _cleanup_free_ char *why = queue_why_overdue(j);
    strv_addf(lines, "%s (guest %" PRIu32 " to node '%s'), newest restore point: %s; %s", j->id, j->guest,
              j->target, j->last_sync ? newest : "none", why);
}

/* Nothing can become overdue where nothing could be read since the begin. */
static bool tells_pause(const struct daemon *d, int64_t now)
{
    return d->paused_at && now - d->paused_at >= PAUSE_SECONDS &&
           (!d->pause_told || now - d->pause_told >= QUEUE_TELL_AGAIN);
}

void report_overdue(struct daemon *d, int64_t now)
{
    _cleanup_strv_ struct strv lines = STRV_INIT;
    _cleanup_buf_ struct buf text = BUF_INIT;
    struct err e = {0};
    queue_tell_overdue(&d->queue, d->began, now, add_overdue, &lines);
    if (lines.n == 0 && !tells_pause(d, now))
        return;
    d->pause_told = d->paused ? now : 0;
    for (size_t i = 0; i < lines.n; i++)
        log_line(LOG_WARNING, "overdue: %s", lines.v[i]);
    if (!mails(d))
        return;
    _cleanup_free_ char *from = sender(d);
    mail_compose_overdue(
        &(struct overdue_mail){from, d->settings.mail_to, d->settings.node, &lines, d->problem}, &text);
    if (start_mail(d, &text, &e) < 0)
        log_line(LOG_WARNING, "that jobs are overdue was not mailed: %s", e.text);
}
