#include "view/metrics.h"

#include "base/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define LABEL_MAX 256
#define END "# EOF\n"

/* ---- the format ---- */

static void add_head(struct buf *out, const char *name, const char *unit, const char *help)
{
    if (*unit)
        buf_addf(out, "# HELP %s %s\n# TYPE %s gauge\n# UNIT %s %s\n", name, help, name, name, unit);
    else
        buf_addf(out, "# HELP %s %s\n# TYPE %s gauge\n", name, help, name);
}

/* NAME="VALUE", on one line and bounded, whatever the value. */
static void add_label(struct buf *out, const char *name, const char *value)
{
    _cleanup_free_ char *text = xstrndup(value, LABEL_MAX);
    text_clean(text);
    buf_addf(out, "%s=\"", name);
    for (const char *p = text; *p; p++) {
        if (*p == '"' || *p == '\\')
            buf_addc(out, '\\');
        buf_addc(out, *p);
    }
    buf_addc(out, '"');
}

static void add_labels(struct buf *out, const struct job *job, const char *node)
{
    char guest[16];
    snprintf(guest, sizeof guest, "%" PRIu32, job->guest);
    add_label(out, "job", job->id);
    buf_addc(out, ',');
    add_label(out, "guest", guest);
    buf_addc(out, ',');
    add_label(out, "source", node);
    buf_addc(out, ',');
    add_label(out, "target", job->target);
}

/* ---- of a job ---- */

/* Seconds since then; a moment that is still to come, by a clock that was put back, is now. */
static double since(int64_t then, int64_t now)
{
    return then < now ? (double)(now - then) : 0;
}

enum figure {
    RESTORE_POINT_AGE,
    VERIFIED_AGE,
    LAST_SUCCESS,
    LAST_TRY,
    NEXT_RUN,
    DURATION,
    SENT,
    DELTA,
    FAILURES,
    POSTPONEMENTS,
    KEPT_ASIDE,
    OVERDUE,
    ENABLED,
    RUNNING,
    CANNOT_RUN,
    DIFFERS,
    GONE,
    UNVERIFIED,
    FIGURES
};

static const struct {
    const char *name, *unit, *help;
} figures[FIGURES] = {
    [RESTORE_POINT_AGE] = {"pvesr_job_restore_point_age_seconds", "seconds",
                           "Age of the newest restore point on the target; none without one, or where no "
                           "clock can say."},
    [VERIFIED_AGE] = {"pvesr_job_verified_age_seconds", "seconds",
                      "Since the replica was last verified and nothing found; none where it never was."},
    [LAST_SUCCESS] = {"pvesr_job_last_success_timestamp_seconds", "seconds",
                      "When the last run that succeeded began; 0: none."},
    [LAST_TRY] = {"pvesr_job_last_try_timestamp_seconds", "seconds", "When the last run began; 0: none."},
    [NEXT_RUN] = {"pvesr_job_next_run_timestamp_seconds", "seconds",
                  "From when on the next run may begin; 0: not by itself, 1: at once."},
    [DURATION] = {"pvesr_job_duration_seconds", "seconds", "How long the last run took."},
    [SENT] = {"pvesr_job_sent_bytes", "bytes", "What the last run that succeeded sent."},
    [DELTA] = {"pvesr_job_delta_bytes", "bytes", "What had changed when the last run that succeeded looked."},
    [FAILURES] = {"pvesr_job_consecutive_failures", "", "Runs that failed, in a row."},
    [POSTPONEMENTS] = {"pvesr_job_consecutive_postponements", "", "Runs that were postponed, in a row."},
    [KEPT_ASIDE] = {"pvesr_job_kept_aside_points", "",
                    "What the target keeps aside because nobody else has it."},
    [OVERDUE] = {"pvesr_job_overdue", "", "1: the newest restore point is older than it may be."},
    [ENABLED] = {"pvesr_job_enabled", "", "0: the job is disabled."},
    [RUNNING] = {"pvesr_job_running", "", "1: a run is under way."},
    [CANNOT_RUN] = {"pvesr_job_cannot_run", "",
                    "1: the job has a fault, or no guest: no run will come before somebody mends it."},
    [DIFFERS] = {"pvesr_job_differs", "", "1: a verification found the replica other than the guest."},
    [GONE] = {"pvesr_job_gone", "", "1: a verification did not find the replica on the target."},
    [UNVERIFIED] = {"pvesr_job_unverified", "",
                    "1: verifications of the replica fail again and again, or do not come through."},
};

/* False: there is nothing to say. */
static bool figure_of(enum figure f, const struct metrics_job *j, int64_t now, double *ret)
{
    const struct job_view *v = &j->view;
    const struct job_state *s = &v->state;
    switch (f) {
    case RESTORE_POINT_AGE:
        *ret = since(v->newest, now);
        return v->newest;
    case VERIFIED_AGE:
        *ret = since(s->verified, now);
        return s->verified;
    case LAST_SUCCESS:
        *ret = (double)s->last_sync;
        return true;
    case LAST_TRY:
        *ret = (double)s->last_try;
        return true;
    case NEXT_RUN:
        *ret = (double)v->next_sync;
        return true;
    case DURATION:
        *ret = s->duration;
        return s->duration >= 0;
    case SENT:
        *ret = (double)j->runs.bytes;
        return j->runs.known;
    case DELTA:
        *ret = (double)j->runs.delta;
        return j->runs.known;
    default:
        return false;
    }
}

static double state_of(enum figure f, const struct job_view *v)
{
    bool faulty = v->lost || (v->job->fault && v->job->remove == REMOVE_NOT);
    switch (f) {
    case FAILURES:
        return (double)v->state.fail_count;
    case POSTPONEMENTS:
        return (double)v->state.postponements;
    case KEPT_ASIDE:
        return (double)v->state.kept_aside.n;
    case OVERDUE:
        return v->overdue != 0;
    case ENABLED:
        return !v->job->disabled;
    case RUNNING:
        return v->state.pid != 0;
    case CANNOT_RUN:
        return faulty;
    case GONE:
        return v->state.gone != NULL;
    case UNVERIFIED:
        return v->doubt == DOUBT_FAILS || v->doubt == DOUBT_LATE;
    default:
        return job_state_differs(&v->state) != NULL;
    }
}

static void add_sample(struct buf *out, const char *name, const struct job *job, const char *node,
                       double value)
{
    buf_addf(out, "%s{", name);
    add_labels(out, job, node);
    buf_addf(out, "} %.15g\n", value);
}

static void add_figure(struct buf *out, enum figure f, const struct metrics_job *jobs, size_t n,
                       const char *node, int64_t now)
{
    add_head(out, figures[f].name, figures[f].unit, figures[f].help);
    for (size_t i = 0; i < n; i++) {
        double value;
        if (f >= FAILURES)
            add_sample(out, figures[f].name, jobs[i].view.job, node, state_of(f, &jobs[i].view));
        else if (figure_of(f, &jobs[i], now, &value))
            add_sample(out, figures[f].name, jobs[i].view.job, node, value);
    }
}

static void add_runs(struct buf *out, const struct metrics_job *j, const char *node)
{
    const struct {
        const char *result;
        uint64_t n;
    } counts[] = {{"ok", j->runs.ok},
                  {"failed", j->runs.failed},
                  {"postponed", j->runs.postponed},
                  {"interrupted", j->runs.interrupted}};
    for (size_t i = 0; i < ELEMENTS(counts); i++) {
        buf_adds(out, "pvesr_job_runs_last_day{");
        add_labels(out, j->view.job, node);
        buf_addf(out, ",result=\"%s\"} %" PRIu64 "\n", counts[i].result, counts[i].n);
    }
}

void metrics_print_jobs(const struct metrics_job *jobs, size_t n, const char *node, bool counted, int64_t now,
                        struct buf *out)
{
    add_head(out, "pvesr_info", "", "1; the version of pvesr, and the node.");
    buf_adds(out, "pvesr_info{");
    add_label(out, "node", node);
    buf_adds(out, ",version=\"" PVESR_VERSION "\"} 1\n");
    for (enum figure f = 0; f < FIGURES; f++)
        add_figure(out, f, jobs, n, node, now);
    if (!counted)
        return;
    add_head(out, "pvesr_job_runs_last_day", "", "Runs that began within 24 hours and are over, by result.");
    for (size_t i = 0; i < n; i++)
        add_runs(out, &jobs[i], node);
}

/* ---- of the daemon ---- */

static void add_one(struct buf *out, const char *name, const char *unit, const char *help, double value)
{
    add_head(out, name, unit, help);
    buf_addf(out, "%s %.15g\n", name, value);
}

void metrics_print_daemon(const struct metrics_daemon *d, struct buf *out)
{
    add_one(out, "pvesr_daemon_jobs", "", "Jobs that the scheduler has.", (double)d->jobs);
    add_one(out, "pvesr_daemon_queue_length", "", "Jobs that are due and not begun.", (double)d->due);
    add_one(out, "pvesr_daemon_workers", "", "Runs that there may be at the same time.", d->workers);
    add_one(out, "pvesr_daemon_workers_busy", "", "Runs of the scheduler that are under way.", d->running);
    add_one(out, "pvesr_daemon_runs_by_others", "", "Runs under way that others began, on this node.",
            d->foreign);
    add_one(out, "pvesr_daemon_paused", "", "1: nothing is scheduled; the daemon's log says why.", d->paused);
    add_one(out, "pvesr_daemon_notifications_waiting", "", "Notifications that could not be sent yet.",
            (double)d->waiting);
    add_one(out, "pvesr_daemon_start_timestamp_seconds", "seconds", "When the daemon began.",
            (double)d->began);
    add_one(out, "pvesr_daemon_cpu_seconds", "seconds", "Processor time of the daemon since it began.",
            d->cpu_seconds);
    add_one(out, "pvesr_daemon_resident_memory_bytes", "bytes", "Memory of the daemon.", d->resident_bytes);
}

void metrics_print_end(struct buf *out)
{
    buf_adds(out, END);
}

size_t metrics_cut_end(const char *text, size_t len)
{
    size_t n = strlen(END);
    return len >= n && memcmp(text + len - n, END, n) == 0 ? len - n : len;
}
