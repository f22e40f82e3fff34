/* The children: started when the queue says so, reaped, stopped; and runs that others began. */
#include "base/clock.h"
#include "base/proc.h"
#include "daemon/daemon.h"
#include "daemon/log.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <systemd/sd-daemon.h>

/* From the first signal to the last, and from there to giving up. */
#define STOP_STEP_SECONDS 10

static void run_free(struct run *r)
{
    sd_event_source_unref(r->source);
    free(r);
}

static void unlink_run(struct run *r)
{
    struct run **p = &r->daemon->runs;
    while (*p != r)
        p = &(*p)->next;
    *p = r->next;
}

static int on_child(sd_event_source *s, const siginfo_t *si, void *arg)
{
    struct run *r = arg;
    struct daemon *d = r->daemon;
    int status = si->si_code == CLD_EXITED ? si->si_status : 128 + si->si_status;
    if (status > 128 && d->stop == STOP_NOT)
        log_line(LOG_WARNING, "the run of job '%s' was ended by signal %d", r->job, si->si_status);
    queue_ended(&d->queue, r->job, worker_outcome(status));
    unlink_run(r);
    run_free(r);
    d->jobs_changed = d->states_changed = true; /* a removal run takes its job away */
    if (d->stop != STOP_NOT && !d->runs)
        return sd_event_exit(d->event, 0);
    daemon_refresh_soon(d, 0);
    daemon_schedule(d);
    return 0;
}

static int follow(struct daemon *d, const char *job, pid_t pid)
{
    struct run *r = xcalloc(1, sizeof *r);
    r->daemon = d;
    r->pid = pid;
    memcpy(r->job, job, sizeof r->job);
    r->next = d->runs;
    d->runs = r;
    return sd_event_add_child(d->event, &r->source, pid, WEXITED, on_child, r);
}

void runs_start_due(struct daemon *d, int64_t now)
{
    struct queue_job *j;
    while ((j = queue_pick(&d->queue, now))) {
        struct err e = {0};
        pid_t pid = worker_start(d->program, d->config, j->id, &e);
        if (pid < 0) {
            log_line(LOG_ERR, "cannot run job '%s': %s", j->id, e.text);
            queue_refused(&d->queue, j, now);
            continue;
        }
        queue_started(&d->queue, j);
        int r = follow(d, j->id, pid);
        if (r < 0) {
            log_line(LOG_ERR, "cannot follow process %d: %s", (int)pid, strerror(-r));
            sd_event_exit(d->event, r);
            return;
        }
    }
}

bool runs_own(pid_t pid, void *daemon)
{
    for (const struct run *r = ((struct daemon *)daemon)->runs; r; r = r->next)
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
    struct foreign *f = arg, **p = &f->daemon->foreign;
    struct daemon *d = f->daemon;
    while (*p != f)
        p = &(*p)->next;
    *p = f->next;
    queue_foreign_ended(&d->queue, f->pid);
    foreign_free(f);
    d->jobs_changed = d->states_changed = true;
    daemon_refresh_soon(d, 0);
    return 0;
}

static bool is_followed(const struct daemon *d, pid_t pid)
{
    for (const struct foreign *f = d->foreign; f; f = f->next)
        if (f->pid == pid)
            return true;
    return false;
}

/* False when the process is gone already. */
static bool follow_foreign(struct daemon *d, pid_t pid, uint64_t start)
{
    struct foreign *f = xcalloc(1, sizeof *f);
    *f = (struct foreign){.daemon = d, .pid = pid, .pidfd = (int)syscall(SYS_pidfd_open, pid, 0)};
    if (f->pidfd < 0 || proc_start_time(pid) != start ||
        sd_event_add_io(d->event, &f->source, f->pidfd, EPOLLIN, on_foreign_end, f) < 0) {
        foreign_free(f);
        return false;
    }
    f->next = d->foreign;
    d->foreign = f;
    return true;
}

void runs_follow_foreign(struct daemon *d)
{
    for (size_t i = 0; i < d->queue.n; i++) {
        struct queue_job *j = &d->queue.v[i];
        if (!j->foreign || is_followed(d, j->foreign))
            continue;
        if (!follow_foreign(d, j->foreign, j->foreign_start)) {
            d->states_changed = true;
            daemon_refresh_soon(d, 1);
        }
    }
}

/* ---- stopping ---- */

static int on_stop_timer(sd_event_source *s, uint64_t usec, void *arg)
{
    runs_stop(arg);
    return 0;
}

static void set_stop_timer(struct daemon *d, double seconds)
{
    uint64_t usec = (uint64_t)(seconds * 1e6);
    sd_event_source_unref(d->stop_timer);
    d->stop_timer = NULL;
    sd_event_add_time_relative(d->event, &d->stop_timer, CLOCK_MONOTONIC, usec, 0, on_stop_timer, d);
}

static void signal_runs(struct daemon *d, int signal)
{
    for (const struct run *r = d->runs; r; r = r->next)
        kill(-r->pid, signal);
}

/* Nothing new is started; then what runs gets its time; then SIGTERM, with which a run cleans up after
 * itself; then SIGKILL, which the next run repairs. */
void runs_stop(struct daemon *d)
{
    if (!d->runs || d->stop == STOP_KILLED) {
        sd_event_exit(d->event, 0);
        return;
    }
    switch (d->stop) {
    case STOP_NOT:
        d->stop = STOP_WAITING;
        sd_notifyf(0, "STOPPING=1\nSTATUS=Stopping: waiting for %u runs to end", d->queue.running);
        log_line(LOG_NOTICE, "stopping: waiting up to %.0f s for %u runs to end", d->stop_timeout,
                 d->queue.running);
        set_stop_timer(d, d->stop_timeout);
        break;
    case STOP_WAITING:
        d->stop = STOP_TERMINATED;
        log_line(LOG_WARNING, "stopping: ending %u runs", d->queue.running);
        signal_runs(d, SIGTERM);
        set_stop_timer(d, STOP_STEP_SECONDS);
        break;
    default:
        d->stop = STOP_KILLED;
        log_line(LOG_WARNING, "stopping: killing %u runs", d->queue.running);
        signal_runs(d, SIGKILL);
        set_stop_timer(d, STOP_STEP_SECONDS);
    }
}

void runs_release(struct daemon *d)
{
    while (d->runs) {
        struct run *r = d->runs;
        d->runs = r->next;
        run_free(r);
    }
    while (d->foreign) {
        struct foreign *f = d->foreign;
        d->foreign = f->next;
        foreign_free(f);
    }
}
