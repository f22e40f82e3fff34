/* Jobs, and pvesrd itself, as figures for Prometheus (BEHAVIOUR.md#metrics): OpenMetrics text, which is at
 * the same time text of the older format, as node_exporter's textfile collector reads it: all are gauges.
 * Pure. */
#pragma once

#include "base/buf.h"
#include "state/runtotals.h"
#include "view/job.h"

#define METRICS_RUNS_SECONDS 86400 /* of this time runs are counted */

struct metrics_job {
    struct job_view view;
    struct run_totals runs;
};

/* The same labels and the same order of figures whatever the state. `counted`: `runs` of all are known. */
void metrics_print_jobs(const struct metrics_job *jobs, size_t n, const char *node, bool counted, int64_t now,
                        struct buf *out);

struct metrics_daemon {
    unsigned workers, running, foreign; /* at most, of it, and of others on this node */
    size_t jobs, due, waiting;          /* `waiting`: notifications that are not sent yet */
    bool paused;
    int64_t began; /* epoch */
    double cpu_seconds, resident_bytes;
};
void metrics_print_daemon(const struct metrics_daemon *d, struct buf *out);

/* Ends the text. metrics_cut_end takes it away from one that has come, so that more can follow. */
void metrics_print_end(struct buf *out);
size_t metrics_cut_end(const char *text, size_t len);
