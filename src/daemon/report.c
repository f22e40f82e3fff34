/* A failure that somebody should hear of: to the journal, and by mail. */
#include "conf/datacenter.h"
#include "daemon/daemon.h"
#include "daemon/log.h"
#include "state/mail.h"

#include <signal.h>
#include <string.h>

static int on_mail_end(sd_event_source *s, const siginfo_t *si, void *arg)
{
    if (si->si_code != CLD_EXITED || si->si_status != 0)
        log_line(LOG_WARNING,
                 "a mail was not accepted: the program that 'sendmail' names in pvesr.conf %s %d",
                 si->si_code == CLD_EXITED ? "ended with exit status" : "was ended by signal", si->si_status);
    sd_event_source_unref(s);
    return 0;
}

static int start_mail(struct daemon *d, const struct failure_mail *m, struct err *e)
{
    _cleanup_buf_ struct buf text = BUF_INIT;
    struct proc p = PROC_INIT;
    sd_event_source *source;
    mail_compose(m, &text);
    if (mail_start(d->settings.sendmail, &text, &p, e) < 0)
        return -1;
    int r = sd_event_add_child(d->event, &source, p.pid, WEXITED, on_mail_end, NULL);
    return r < 0 ? err_set(e, ERR_SYSTEM, -r, "cannot follow process %d", (int)p.pid) : 0;
}

void report_failure(struct daemon *d, const struct queue_job *j)
{
    _cleanup_buf_ struct buf datacenter = BUF_INIT;
    struct err e = {0};
    const char *error = j->error ? j->error : "unknown error";
    log_failure(j->id, j->target, j->fail_count, error);
    if (strcmp(d->settings.mail_to, "none") == 0)
        return;
    _cleanup_free_ char *from = tree_read(d->tree, "datacenter.cfg", &datacenter, &e) == 0
                                    ? datacenter_email_from(buf_str(&datacenter), datacenter.len)
                                    : NULL;
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
    if (start_mail(d, &m, &e) < 0)
        log_line(LOG_WARNING, "the failure of job '%s' was not mailed: %s", j->id, e.text);
}
