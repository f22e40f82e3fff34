/* What the daemon says of itself in metrics. */
#include "daemon/daemon.h"

#include "base/clock.h"
#include "view/metrics.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/resource.h>

static double resident_bytes(void)
{
    unsigned long size, resident = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (f && fscanf(f, "%lu %lu", &size, &resident) != 2)
        resident = 0;
    if (f)
        fclose(f);
    return (double)resident * (double)sysconf(_SC_PAGESIZE);
}

static double cpu_seconds(void)
{
    struct rusage u = {0};
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

void daemon_add_metrics(struct buf *out, void *arg)
{
    const struct daemon *d = arg;
    struct metrics_daemon m = {.workers = d->queue.max_workers,
                               .running = d->queue.running,
                               .foreign = d->queue.foreign,
                               .jobs = d->queue.n,
                               .due = queue_count_due(&d->queue, clock_epoch()),
                               .waiting = d->courier.waiting,
                               .paused = d->paused,
                               .began = d->began,
                               .cpu_seconds = cpu_seconds(),
                               .resident_bytes = resident_bytes()};
    metrics_print_daemon(&m, out);
}
