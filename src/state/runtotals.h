/* What the journal (state/journal.h) says of a job in figures, for metrics. Read-only, and by its index only:
 * the cost is that of a job's runs since `since`. */
#pragma once

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

struct run_totals {
    uint64_t ok, failed, postponed,
        interrupted; /* runs that began at or after `since` and are over, if only because they were killed */
    bool known;      /* there is a run that succeeded: the last such… */
    uint64_t bytes, delta; /* …sent, and found changed */
};

struct run_totals_reader;

/* NULL and *e where the journal cannot be read. One that is not there yet has no runs. */
struct run_totals_reader *run_totals_open(const char *state_dir, struct err *e);
int run_totals_get(struct run_totals_reader *r, const char *job, int64_t since, struct run_totals *ret,
                   struct err *e);
void run_totals_free(struct run_totals_reader *r);
static inline void run_totals_freep(struct run_totals_reader **r)
{
    run_totals_free(*r);
}
