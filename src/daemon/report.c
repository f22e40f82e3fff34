/* A failure that somebody should hear of: to the journal, and by mail. */
#include "base/clock.h"
#include "base/mem.h"
#include "conf/datacenter.h"
#include "daemon/daemon.h"
#include "daemon/log.h"
#include "state/due.h"
#include "state/mail.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>

#define PAUSE_SECONDS 900
#define OWN_PAUSE_SECONDS 15
#define MAIL_SECONDS 300

/* A program that takes a mail; one that hangs would stay, and so would those for all mails after it. */
struct mail {
    struct daemon *daemon;
    struct mail *next;
    pid_t pid; /* also its process group */
    char *title;
    struct buf text; /* until it is accepted */
    sd_event_source *ended, *late;
};

static void mail_free(struct mail *m)
{
    sd_event_source_unref(m->ended);
    sd_event_source_unref(m->late);
    free(m->title);
    buf_release(&m->text);
    free(m);
}

/* Tried again by the courier, until it is accepted. */
static void keep_mail(struct daemon *d, const char *title, const struct buf *text)
{
    struct err e = {0};
    json_t *event = json_pack("{s:s, s:s}", "title", title, COURIER_MAIL, buf_str(text));
    int r = event ? courier_add(&d->courier, COURIER_MAIL_TARGET, event, &e)
                  : err_set(&e, ERR_DATA, 0, "it is not valid UTF-8");
    json_decref(event);
    if (r < 0)
        log_line(LOG_ERR, "the mail '%s' is lost: %s", title, e.text);
    else
        courier_look(&d->courier);
}

static int on_mail_end(sd_event_source *s, const siginfo_t *si, void *arg)
{
    struct mail *m = arg, **p = &m->daemon->mails;
    if (si->si_code != CLD_EXITED || si->si_status != 0) {
        log_line(LOG_WARNING,
                 "a mail was not accepted, and is tried again: the program that 'sendmail' names in "
                 "pvesr.conf %s %d",
                 si->si_code == CLD_EXITED ? "ended with exit status" : "was ended by signal", si->si_status);
        keep_mail(m->daemon, m->title, &m->text);
    }
    while (*p != m)
        p = &(*p)->next;
    *p = m->next;
    mail_free(m);
    return 0;
}

static int on_mail_late(sd_event_source *s, uint64_t usec, void *arg)
{
    const struct mail *m = arg;
    log_line(LOG_WARNING,
             "the program that 'sendmail' names in pvesr.conf has not taken a mail within %d s: it is killed",
             MAIL_SECONDS);
    kill(-m->pid, SIGKILL);
    return 0;
}

static int follow_mail(struct daemon *d, pid_t pid, const char *title, const struct buf *text)
{
    struct mail *m = xcalloc(1, sizeof *m);
    *m = (struct mail){.daemon = d, .pid = pid, .title = xstrdup(title)};
    buf_add(&m->text, text->data, text->len);
    int r = sd_event_add_child(d->event, &m->ended, pid, WEXITED, on_mail_end, m);
    if (r >= 0)
        r = sd_event_add_time_relative(d->event, &m->late, CLOCK_MONOTONIC, MAIL_SECONDS * UINT64_C(1000000),
                                       0, on_mail_late, m);
    if (r < 0) {
        mail_free(m);
        return r == -ESTALE ? 0 : r; /* the loop has ended */
    }
    m->next = d->mails;
    d->mails = m;
    return 0;
}

static void start_mail(struct daemon *d, const char *title, const struct buf *text)
{
    struct proc p = PROC_INIT;
    struct err e = {0};
    if (mail_start(d->settings.sendmail, text, &p, &e) < 0) {
        log_line(LOG_WARNING, "the mail '%s' is tried again: %s", title, e.text);
        keep_mail(d, title, text);
        return;
    }
    int r = follow_mail(d, p.pid, title, text);
    if (r < 0)
        log_line(LOG_WARNING,
                 "whether the mail '%s' is accepted is not known: process %d cannot be followed: %s", title,
                 (int)p.pid, strerror(-r));
}

void report_release(struct daemon *d)
{
    free(d->adopted);
    while (d->mails) {
        struct mail *m = d->mails;
        d->mails = m->next;
        mail_free(m);
    }
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
    const char *error = j->error ? j->error : "unknown error";
    log_failure(j->id, j->target, j->fail_count, error);
    if (tell_is_on(d)) {
        tell_failure(d, j);
        return;
    }
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
    _cleanup_free_ char *title = xasprintf("Replication Job: '%s' failed", j->id);
    start_mail(d, title, &text);
}

/* ---- runs of a daemon before this one ---- */

struct adopted {
    char job[24];
    int64_t fail_count; /* when it was under way */
};

static void adopt(struct daemon *d)
{
    d->has_adopted = true;
    for (size_t i = 0; i < d->queue.n; i++) {
        const struct queue_job *j = &d->queue.v[i];
        if (!j->foreign)
            continue;
        d->adopted = xgrow(d->adopted, d->n_adopted, sizeof *d->adopted);
        struct adopted *a = &d->adopted[d->n_adopted++];
        a->fail_count = j->fail_count;
        memcpy(a->job, j->id, sizeof a->job);
    }
}

void report_adopted(struct daemon *d)
{
    if (!d->has_adopted)
        adopt(d);
    for (size_t i = d->n_adopted; i-- > 0;) {
        struct adopted a = d->adopted[i];
        const struct queue_job *j = queue_find(&d->queue, a.job);
        if (j && j->foreign)
            continue;
        d->adopted[i] = d->adopted[--d->n_adopted];
        if (j && j->fail_count > a.fail_count && job_reports(j->fail_count))
            report_failure(d, j);
    }
}

static void mail_text(struct daemon *d, const char *title, const char *words)
{
    static unsigned count;
    _cleanup_buf_ struct buf text = BUF_INIT;
    _cleanup_free_ char *from = sender(d);
    _cleanup_free_ char *id =
        xasprintf("%" PRId64 "-%d-%u@%s", clock_epoch(), (int)getpid(), count++, d->settings.node);
    mail_compose_text(
        &(struct text_mail){
            .from = from, .to = d->settings.mail_to, .subject = title, .id = id, .text = words},
        &text);
    start_mail(d, title, &text);
}

void report_doubts(struct daemon *d, const struct strv *lines)
{
    size_t n = lines->n;
    if (!mails(d))
        return;
    _cleanup_free_ char *all = strv_join(lines, "\n");
    _cleanup_free_ char *title = xasprintf("Replication: %zu %s in doubt on node '%s'", n,
                                           n == 1 ? "replica is" : "replicas are", d->settings.node);
    _cleanup_free_ char *words = xasprintf(
        "A verification did not find these replicas to be what their guests have. If the node failed now, "
        "they might be of no use.\n\n%s\n\nThis is told once. 'pvesr status' has all jobs, 'pvesr history "
        "--verbose' what their verifications found.\n",
        all);
    mail_text(d, title, words);
}

void report_event(struct daemon *d, const json_t *event, const struct err *why)
{
    const char *title = event_text(event, "title");
    if (!mails(d)) {
        log_line(LOG_ERR, "'%s' is told to nobody ('mail-to' in pvesr.conf is 'none'): %s", title, why->text);
        return;
    }
    log_line(LOG_ERR, "'%s' is told by mail, and not by the targets of notify.cfg: %s", title, why->text);
    _cleanup_free_ char *words =
        xasprintf("%s\nThis comes by mail because it could not be kept for all targets of notify.cfg:\n%s\n",
                  event_text(event, "message"), why->text);
    mail_text(d, title, words);
}

/* ---- what is overdue ---- */

struct overdue {
    struct daemon *daemon;
    int64_t now;
    struct strv lines;
};

char *report_why_overdue(const struct daemon *d, const struct queue_job *j)
{
    struct err e;
    bool recordable = job_states_recordable(d->settings.state_dir, &e) == 0;
    return queue_why_overdue(&d->queue, j, recordable ? NULL : e.text, clock_epoch());
}

static void add_overdue(const struct queue_job *j, void *arg)
{
    struct overdue *o = arg;
    char newest[32];
    clock_print_log(j->last_sync, newest);
    _cleanup_free_ char *why = report_why_overdue(o->daemon, j);
    strv_addf(&o->lines, "%s (guest %" PRIu32 " to node '%s'), newest restore point: %s; %s", j->id, j->guest,
              j->target, j->last_sync ? newest : "none", why);
    if (tell_is_on(o->daemon))
        tell_overdue(o->daemon, j, o->now);
}

/* Nothing can become overdue where nothing could be read since the begin. */
static bool tells_pause(const struct daemon *d, int64_t now)
{
    return d->paused_at && now - d->paused_at >= (d->pause_is_ours ? OWN_PAUSE_SECONDS : PAUSE_SECONDS) &&
           (!d->pause_told || now - d->pause_told >= QUEUE_TELL_AGAIN);
}

static void mail_overdue(struct daemon *d, const struct strv *lines)
{
    _cleanup_buf_ struct buf text = BUF_INIT;
    if (!mails(d))
        return;
    _cleanup_free_ char *from = sender(d);
    mail_compose_overdue(
        &(struct overdue_mail){from, d->settings.mail_to, d->settings.node, lines, d->problem}, &text);
    start_mail(d, "jobs are overdue", &text);
}

void report_overdue(struct daemon *d, int64_t now)
{
    struct overdue o = {.daemon = d, .now = now};
    queue_tell_overdue(&d->queue, d->watched, now, add_overdue, &o);
    bool pause = tells_pause(d, now);
    if (o.lines.n == 0 && !pause)
        return;
    d->pause_told = d->paused ? now : 0;
    for (size_t i = 0; i < o.lines.n; i++)
        log_line(LOG_WARNING, "overdue: %s", o.lines.v[i]);
    if (!tell_is_on(d)) {
        mail_overdue(d, &o.lines);
        if (o.lines.n) /* behind it: rather twice than never */
            queue_note_told(&d->queue, d->settings.state_dir, now);
    } else if (pause) {
        tell_paused(d, now);
    }
    strv_release(&o.lines);
}
