#include "daemon/runs.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/proc.h"
#include "base/text.h"
#include "daemon/log.h"
#include "daemon/notify.h"
#include "daemon/patience.h"
#include "sched/worker.h"
#include "state/due.h"
#include "state/jobstate.h"
#include "state/journal.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sysexits.h>

/* From the first signal to the last, and from there to giving up. */
#define STOP_STEP_SECONDS 10
/* Of what a run says on stderr: reads at once, and bytes that are kept. */
#define HEAR_AT_ONCE 16
#define WORDS_KEPT (8 << 10)

/* A child of ours. */
struct run {
    struct runs *all;
    struct run *next;
    pid_t pid;       /* also its process group */
    int64_t since;   /* it began not before */
    const char *why; /* …it was killed by us; NULL: it was not */
    char job[24];
    char *target; /* of the job when it began: another one may have its id by now */
    sd_event_source *source;
    int said; /* its stderr, -1: none, or it has ended */
    sd_event_source *speaking;
    struct buf words;          /* the end of what it said there */
    struct patience *patience; /* with a verification */
};

/* A run that is not ours. */
struct foreign {
    struct runs *all;
    struct foreign *next;
    pid_t pid;
    int pidfd;
    sd_event_source *source;
};

static void run_free(struct run *r)
{
    sd_event_source_unref(r->source);
    sd_event_source_disable_unref(r->speaking);
    if (r->said > 2)
        close(r->said);
    buf_release(&r->words);
    patience_end(r->patience);
    free(r->target);
    free(r);
}

static void unlink_run(struct run **p, struct run *r)
{
    while (*p != r)
        p = &(*p)->next;
    *p = r->next;
}

/* loss: with job and since. */
static void tell_journal(const struct runs *all, const struct job_loss *loss, const char *target)
{
    struct err e = {0};
    struct journal_run row = {.start = loss->since, .error = (char *)loss->how};
    snprintf(row.job, sizeof row.job, "%s", loss->job);
    snprintf(row.node, sizeof row.node, "%s", all->node);
    snprintf(row.target, sizeof row.target, "%s", target);
    _cleanup_(journal_freep) struct journal *journal = journal_open(all->state_dir, &e);
    if (!journal || journal_killed(journal, loss->pid, &row, &e) < 0)
        log_line(LOG_WARNING, "what became of the run of job '%s' is not in the history: %s", loss->job,
                 e.text);
}

/* What kills a run keeps it from recording its end. One that is ended because we stop is no failure. */
static void record_kill(const struct run *r, int signal)
{
    struct err e = {0};
    struct runs *all = r->all;
    const struct queue_job *j = queue_find(all->queue, r->job);
    _cleanup_free_ char *how =
        r->why ? xstrdup(r->why)
               : xasprintf("the run was killed by signal %d (%s)%s", signal, strsignal(signal),
                           signal == SIGKILL ? ": if nobody did that, the node's memory was used up, and "
                                               "'journalctl -k' says so"
                                             : "");
    struct job_loss loss = {.pid = r->pid,
                            .how = all->stop == STOP_NOT ? how : NULL,
                            .job = r->job,
                            .node = all->node,
                            .since = r->since};
    if (loss.how) {
        log_line(LOG_WARNING, "job '%s': %s", r->job, how);
        tell_journal(all, &loss, r->target);
        queue_said(all->queue, r->job, how, r->pid, r->since);
    }
    loss.since =
        0; /* a run that had left no trace is told by the queue, once the jobs are known as they are */
    if (j && job_state_lose(all->state_dir, j->guest, r->target, &loss, &e) < 0)
        log_line(LOG_WARNING, "that the run of job '%s' was killed is not in its state: %s", r->job, e.text);
}

/* It could not be started, or ended before it could record anything: nobody else will. */
static void record_untraced(struct runs *all, struct queue_job *j)
{
    struct err e = {0};
    const struct job_loss loss = {.pid = j->said_by ? j->said_by : -1,
                                  .how = j->said ? j->said : "the run ended, and recorded nothing",
                                  .job = j->id,
                                  .node = all->node,
                                  .since = j->said ? j->said_since : clock_epoch()};
    j->untraced = false;
    log_line(LOG_WARNING, "job '%s': %s", j->id, loss.how);
    tell_journal(all, &loss, j->target);
    bool recorded = job_state_lose(all->state_dir, j->guest, j->target, &loss, &e) == 0;
    free(j->error);
    j->error = recorded ? xstrdup(loss.how) : xasprintf("%s; and nothing is recorded: %s", loss.how, e.text);
    j->fail_count += j->lost; /* until the states are read again */
    j->lost = recorded ? 0 : j->lost;
    j->next = clock_epoch() + job_retry_delay(j->fail_count);
    all->untraced(j, all->arg);
}

void runs_count_lost(struct runs *all)
{
    for (size_t i = 0; i < all->queue->n; i++) {
        struct err e = {0};
        struct queue_job *j = &all->queue->v[i];
        if (j->untraced && !j->running)
            record_untraced(all, j);
        if (!j->dead || j->running) /* a new run counts it itself */
            continue;
        _cleanup_free_ char *why = job_why_lost(j->last_try);
        const struct job_loss loss = {.pid = j->dead, .how = why};
        if (job_state_lose(all->state_dir, j->guest, j->target, &loss, &e) < 0)
            log_line(LOG_WARNING, "job '%s': %s, and that is not recorded: %s", j->id, why, e.text);
        else
            queue_lost(all->queue, j);
    }
}

/* What it says is passed on. False: there is no more to come. */
static bool hear(struct run *r)
{
    char some[4096];
    ssize_t n = 0;
    for (int i = 0; i < HEAR_AT_ONCE && (n = read(r->said, some, sizeof some)) > 0; i++) {
        fwrite(some, 1, (size_t)n, stderr);
        buf_add(&r->words, some, (size_t)n);
        if (r->words.len > WORDS_KEPT) {
            size_t rest = r->words.len - WORDS_KEPT / 2;
            memmove(r->words.data, r->words.data + rest, WORDS_KEPT / 2);
            r->words.len = WORDS_KEPT / 2;
        }
    }
    return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

static int on_words(sd_event_source *s, int fd, uint32_t revents, void *arg)
{
    return hear(arg) ? 0 : sd_event_source_set_enabled(s, SD_EVENT_OFF);
}

static void note_words(struct run *r, int status)
{
    char line[512];
    if (r->said > 2)
        hear(r);
    if (worker_outcome(status) != QUEUE_FAILED)
        return;
    proc_complaint(&r->words, line, sizeof line);
    _cleanup_free_ char *what = xasprintf("the run ended with exit status %d and recorded nothing%s%s",
                                          status, *line ? ": " : "", line);
    text_clean(what);
    queue_said(r->all->queue, r->job, what, r->pid, r->since);
}

static int on_child(sd_event_source *s, const siginfo_t *si, void *arg)
{
    struct run *r = arg;
    struct runs *all = r->all;
    int status = si->si_code == CLD_EXITED ? si->si_status : 128 + si->si_status;
    note_words(r, status);
    if (si->si_code != CLD_EXITED)
        record_kill(r, si->si_status);
    queue_ended(all->queue, r->job, worker_outcome(status));
    unlink_run(&all->own, r);
    run_free(r);
    if (all->stop != STOP_NOT && !all->own)
        return sd_event_exit(all->event, 0);
    all->ended(true, all->arg);
    return 0;
}

static int follow(struct runs *all, const struct queue_job *j, int said, int64_t since)
{
    struct run *r = xcalloc(1, sizeof *r);
    r->all = all;
    r->pid = j->pid;
    r->since = since;
    r->said = said;
    memcpy(r->job, j->id, sizeof r->job);
    r->target = xstrdup(j->target);
    r->next = all->own;
    all->own = r;
    still_expect(all);
    sd_event_add_io(all->event, &r->speaking, said, EPOLLIN, on_words, r);
    return sd_event_add_child(all->event, &r->source, r->pid, WEXITED, on_child, r);
}

void runs_start_due(struct runs *all, int64_t now)
{
    struct queue_job *j;
    while ((j = queue_pick(all->queue, now))) {
        struct err e = {0};
        int64_t since = clock_epoch();
        int said = -1;
        pid_t pid = worker_start(all->program, all->config, j->id, &said, &e);
        if (pid < 0) {
            queue_refused(all->queue, j, e.text, now);
            record_untraced(all, j);
            continue;
        }
        queue_started(all->queue, j);
        j->pid = pid;
        int r = follow(all, j, said, since);
        if (r < 0) {
            log_line(LOG_ERR, "cannot follow the run of job '%s' (process %d), and pvesrd ends: %s", j->id,
                     (int)pid, strerror(-r));
            sd_event_exit(all->event, r);
            return;
        }
    }
}

/* ---- verifications ---- */

/* One that could not even say that it failed. */
static void record_unverified(const struct run *r, const siginfo_t *si)
{
    struct err e = {0};
    struct runs *all = r->all;
    const struct queue_job *j = queue_find(all->queue, r->job);
    _cleanup_free_ char *why =
        xasprintf("a part of the verification ended by itself, with %s %d: see 'journalctl -u pvesrd'",
                  si->si_code == CLD_EXITED ? "exit status" : "signal", si->si_status);
    log_line(LOG_WARNING, "job '%s': %s", r->job, why);
    if (j && job_state_unverified(all->state_dir, j->guest, j->target, r->job, why, &e) < 0)
        log_line(LOG_WARNING, "job '%s': that is not in its state: %s", r->job, e.text);
}

/* It is killed, and the others go on, also where it waits for the kernel and is not gone so soon. */
static void on_impatient(void *arg)
{
    struct run *r = arg;
    struct runs *all = r->all;
    log_line(LOG_WARNING,
             "the verification of job '%s' (process %d) has done nothing for %.0f s: it is killed", r->job,
             (int)r->pid, all->patience);
    kill(-r->pid, SIGKILL);
    queue_verified(all->queue, r->job, true, clock_epoch());
    all->verification = NULL;
    r->next = all->given_up;
    all->given_up = r;
    all->ended(true, all->arg);
}

static int on_verified(sd_event_source *s, const siginfo_t *si, void *arg)
{
    struct run *r = arg;
    struct runs *all = r->all;
    bool busy = si->si_code == CLD_EXITED && si->si_status == EX_TEMPFAIL;
    bool said = si->si_code == CLD_EXITED && si->si_status <= 1;
    if (!said && !busy && all->stop == STOP_NOT)
        record_unverified(r, si);
    if (said && si->si_status == 1)
        log_line(LOG_WARNING,
                 "the replica of job '%s' differs, or a part of its verification failed: see 'pvesr history "
                 "--id %s --verbose'",
                 r->job, r->job);
    queue_verified(all->queue, r->job, !said, clock_epoch());
    if (all->verification == r)
        all->verification = NULL;
    else
        unlink_run(&all->given_up, r);
    run_free(r);
    if (all->stop == STOP_NOT)
        all->ended(true, all->arg);
    return 0;
}

void runs_verify_due(struct runs *all, int64_t now)
{
    struct err e = {0};
    struct queue_job *j = all->verification ? NULL : queue_pick_verify(all->queue, now);
    if (!j)
        return;
    pid_t pid = worker_verify(all->program, all->config, j->id, &e);
    if (pid < 0) {
        log_line(LOG_ERR, "cannot verify the replica of job '%s': %s", j->id, e.text);
        queue_verified(all->queue, j->id, true, now);
        return;
    }
    struct run *r = xcalloc(1, sizeof *r);
    r->all = all;
    r->pid = pid;
    memcpy(r->job, j->id, sizeof r->job);
    all->verification = r;
    r->patience = patience_begin(all->event, pid, all->patience, on_impatient, r);
    if (sd_event_add_child(all->event, &r->source, pid, WEXITED, on_verified, r) < 0)
        log_line(LOG_ERR, "cannot follow the verification of job '%s' (process %d)", r->job, (int)pid);
}

void runs_kill(struct runs *all, pid_t pid, const char *why)
{
    for (struct run *r = all->own; r; r = r->next)
        if (r->pid == pid) {
            r->why = why;
            kill(-pid, SIGKILL);
        }
}

bool runs_own(const struct runs *all, pid_t pid)
{
    for (const struct run *r = all->own; r; r = r->next)
        if (r->pid == pid)
            return true;
    return false;
}

/* ---- runs of others ---- */

static void foreign_free(struct foreign *f)
{
    sd_event_source_unref(f->source);
    if (f->pidfd >= 0)
        close(f->pidfd);
    free(f);
}

static int on_foreign_end(sd_event_source *s, int fd, uint32_t revents, void *arg)
{
    struct foreign *f = arg, **p = &f->all->foreign;
    struct runs *all = f->all;
    while (*p != f)
        p = &(*p)->next;
    *p = f->next;
    queue_foreign_ended(all->queue, f->pid);
    foreign_free(f);
    all->ended(false, all->arg);
    return 0;
}

static bool is_followed(const struct runs *all, pid_t pid)
{
    for (const struct foreign *f = all->foreign; f; f = f->next)
        if (f->pid == pid)
            return true;
    return false;
}

/* False when the process is gone already. */
static bool follow_foreign(struct runs *all, pid_t pid, uint64_t start)
{
    struct foreign *f = xcalloc(1, sizeof *f);
    *f = (struct foreign){.all = all, .pid = pid, .pidfd = (int)syscall(SYS_pidfd_open, pid, 0)};
    if (f->pidfd < 0 || proc_start_time(pid) != start ||
        sd_event_add_io(all->event, &f->source, f->pidfd, EPOLLIN, on_foreign_end, f) < 0) {
        foreign_free(f);
        return false;
    }
    f->next = all->foreign;
    all->foreign = f;
    still_expect(all);
    return true;
}

bool runs_follow_foreign(struct runs *all)
{
    bool followed = true;
    for (size_t i = 0; i < all->queue->n; i++) {
        const struct queue_job *j = &all->queue->v[i];
        if (j->foreign && !is_followed(all, j->foreign))
            followed &= follow_foreign(all, j->foreign, j->foreign_start);
    }
    return followed;
}

/* ---- stopping ---- */

static int on_stop_timer(sd_event_source *s, uint64_t usec, void *arg)
{
    runs_stop(arg);
    return 0;
}

static void set_stop_timer(struct runs *all, double seconds)
{
    uint64_t usec = (uint64_t)(seconds * 1e6);
    sd_event_source_unref(all->stop_timer);
    all->stop_timer = NULL;
    sd_event_add_time_relative(all->event, &all->stop_timer, CLOCK_MONOTONIC, usec, 0, on_stop_timer, all);
}

static void signal_runs(struct runs *all, int signal)
{
    for (const struct run *r = all->own; r; r = r->next)
        kill(-r->pid, signal);
}

/* Nothing new is started; then what runs gets its time; then SIGTERM, with which a run cleans up after
 * itself; then SIGKILL, which the next run repairs. */
void runs_stop(struct runs *all)
{
    if (all->verification)
        kill(-all->verification->pid, SIGTERM);
    if (!all->own || all->stop == STOP_KILLED) {
        sd_event_exit(all->event, 0);
        return;
    }
    switch (all->stop) {
    case STOP_NOT:
        all->stop = STOP_WAITING;
        notify("STOPPING=1\nSTATUS=Stopping: waiting for runs to end");
        log_line(LOG_NOTICE, "stopping: waiting up to %.0f s for %u runs to end", all->stop_timeout,
                 all->queue->running);
        set_stop_timer(all, all->stop_timeout);
        break;
    case STOP_WAITING:
        all->stop = STOP_TERMINATED;
        log_line(LOG_WARNING, "stopping: ending %u runs", all->queue->running);
        signal_runs(all, SIGTERM);
        set_stop_timer(all, STOP_STEP_SECONDS);
        break;
    default:
        all->stop = STOP_KILLED;
        log_line(LOG_WARNING, "stopping: killing %u runs", all->queue->running);
        signal_runs(all, SIGKILL);
        set_stop_timer(all, STOP_STEP_SECONDS);
    }
}

void runs_release(struct runs *all)
{
    sd_event_source_unref(all->stop_timer);
    still_release(&all->still);
    if (all->verification)
        run_free(all->verification);
    while (all->given_up) {
        struct run *r = all->given_up;
        all->given_up = r->next;
        run_free(r);
    }
    while (all->own) {
        struct run *r = all->own;
        all->own = r->next;
        run_free(r);
    }
    while (all->foreign) {
        struct foreign *f = all->foreign;
        all->foreign = f->next;
        foreign_free(f);
    }
}
