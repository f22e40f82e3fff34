/* bench-sched CONFIG: what scheduling costs on the node of these settings. Prints NAME MILLISECONDS lines.
 * Made and read by bench/sched-10k. Changes nothing. */
#include "base/clock.h"
#include "sched/load.h"

#include <stdio.h>

#define ROUNDS 21

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void tell(const char *what, double *seconds)
{
    qsort(seconds, ROUNDS, sizeof *seconds, compare);
    printf("%s %.3f %.3f\n", what, seconds[ROUNDS / 2] * 1000, seconds[ROUNDS - 1] * 1000);
}

/* One decision: whom to start, and when to look again. */
static double decide(struct queue *q, int64_t now)
{
    double begin = clock_mono();
    struct queue_job *job = queue_pick(q, now);
    int64_t wake = queue_wake(q, now);
    double seconds = clock_mono() - begin;
    if (!job && !wake)
        printf("# nothing to do\n");
    return seconds;
}

int main(int argc, char **argv)
{
    struct err e = {0};
    struct settings s = {0};
    struct queue q;
    struct purge purge = {0};
    struct strv warnings = STRV_INIT;
    double jobs[ROUNDS], states[ROUNDS], idle[ROUNDS], busy[ROUNDS];
    int64_t now = clock_epoch();
    if (argc != 2 || settings_load(argv[1], &s, &e) < 0) {
        fprintf(stderr, "bench-sched CONFIG: %s\n", e.text);
        return 1;
    }
    _cleanup_(tree_freep) struct tree *tree = tree_open(s.cluster, &e);
    queue_init(&q, 4, 4);
    for (int i = 0; i < ROUNDS; i++) {
        double begin = clock_mono();
        if (!tree || load_jobs(&q, &purge, tree, &s, now, &warnings, &e) < 0)
            break;
        double between = clock_mono();
        jobs[i] = between - begin;
        if (load_states(&q, &s, now, NULL, &e) < 0)
            break;
        states[i] = clock_mono() - between;
        idle[i] = decide(&q, now);
        busy[i] = decide(&q, now + 86400); /* all are due */
    }
    if (e.text[0]) {
        fprintf(stderr, "%s\n", e.text);
        return 1;
    }
    printf("jobs %zu\n", q.n);
    tell("load-jobs", jobs);
    tell("load-states", states);
    tell("decision-none-due", idle);
    tell("decision-all-due", busy);
    queue_release(&q);
    purge_release(&purge);
    strv_release(&warnings);
    settings_release(&s);
    return 0;
}
