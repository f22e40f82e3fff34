#include "run/source/progress.h"

#include "base/clock.h"

#include <inttypes.h>
#include <stdio.h>

static void human(double bytes, char out[32])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    int u = 0;
    for (; bytes >= 1024 && u < 4; u++)
        bytes /= 1024;
    snprintf(out, 32, u ? "%.1f %s" : "%.0f %s", bytes, units[u]);
}

static void print(struct progress *p, double now, char *out, size_t room)
{
    double elapsed = now - p->start > 0.001 ? now - p->start : 0.001;
    char sent[32], rate[32];
    human((double)p->sent, sent);
    human((double)p->sent / elapsed, rate);
    int n = snprintf(out, room, "%s: %s sent, %s/s", p->what, sent, rate);
    if (p->total && p->at && n > 0 && (size_t)n < room) {
        double done = (double)p->at / (double)p->total;
        snprintf(out + n, room - (size_t)n, ", %d %%, %.0f s left", (int)(done * 100),
                 elapsed / done * (1 - done));
    }
}

void progress_begin(struct progress *p, const char *what, uint64_t total, uint64_t at)
{
    p->what = what;
    p->total = total;
    p->at = at;
    p->sent = 0;
    p->start = p->last = clock_mono();
    p->shown = false;
}

void progress_update(struct progress *p, uint64_t at, uint64_t more_sent)
{
    p->at = at;
    p->sent += more_sent;
    double now = clock_mono();
    if (now - p->last < (p->terminal ? 0.2 : 1.0))
        return;
    p->last = now;
    char line[256];
    print(p, now, line, sizeof line);
    if (p->terminal)
        fprintf(stderr, "\r\033[K%s", line);
    else
        joblog_add(p->log, "%s", line);
    p->shown = true;
}

void progress_end(struct progress *p)
{
    if (p->terminal && p->shown)
        fprintf(stderr, "\r\033[K");
    char sent[32];
    human((double)p->sent, sent);
    joblog_add(p->log, "%s: %s sent in %.1f s", p->what, sent, clock_mono() - p->start);
}
