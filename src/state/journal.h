/* The journal of all runs: STATE-DIR/pvesr-journal.db, SQLite in WAL mode. A row is written at the start and
 * completed at the end, so that a killed run is visible too ("interrupted"). Losing the file loses history
 * only.
 *
 * A damaged file does not stop anything: it is moved aside to pvesr-journal.db.damaged-EPOCH, a new one is
 * made, and journal_notice says so. That happens in journal_open as well as in journal_begin and journal_end,
 * which then go on in the new file; journal_list and journal_prune report the damage as ERR_DATA. */
#pragma once

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct journal;

struct journal_run {
    int64_t row;
    char job[24];
    char node[64], target[64];
    int64_t start;   /* epoch seconds */
    double duration; /* seconds, < 0 while running or interrupted */
    char result[16]; /* "running", "ok", "failed", "postponed", "removed", "interrupted" */
    char err_kind[16];
    char *error;    /* NULL: none */
    uint64_t bytes; /* sent over the link */
    uint64_t delta; /* changed bytes of the volumes, as found */
    char *steps;    /* JSON array of {"name":…,"seconds":…}, or NULL */
    char *log;      /* the job log's text, or NULL */
};

struct journal *journal_open(const char *state_dir, struct err *e);
/* For journal_list alone, by whoever must not wait long: nothing is made, mended or waited for more than a
 * moment. Damage is ERR_DATA. */
struct journal *journal_open_to_read(const char *state_dir, struct err *e);
void journal_free(struct journal *j);
static inline void journal_freep(struct journal **j)
{
    journal_free(*j);
}
/* What the caller should tell the administrator ("the journal '…' was damaged …"), or NULL. */
const char *journal_notice(const struct journal *j);
/* Row id into run->row. */
int journal_begin(struct journal *j, struct journal_run *run, struct err *e);
/* Complete the row run->row; a row that has meanwhile gone is written anew. */
int journal_end(struct journal *j, const struct journal_run *run, struct err *e);
/* What became of a run that did not complete its row, or had none: the process `pid`, which is gone; -1: none
 * could be started. Of `run` count job, node, target, error (what became of it) and start (no row of it is
 * older). */
int journal_killed(struct journal *j, int64_t pid, const struct journal_run *run, struct err *e);
/* Newest first; job NULL: all; at most `limit` rows, 0: all; without `logs` their log is NULL. each() returns
 * false to stop. A "running" row whose process (pid and start time are stored by journal_begin) was gone
 * before the rows were read is given as "interrupted". */
int journal_list(struct journal *j, const char *job, unsigned limit, bool logs,
                 bool (*each)(const struct journal_run *, void *), void *arg, struct err *e);
/* Delete the job's rows older than `before` (job NULL: those of all), but keep the newest 10 of each job. */
int journal_prune(struct journal *j, const char *job, int64_t before, struct err *e);
/* Delete all rows older than `before` of jobs for which `there` says false, and of the others as
 * journal_prune does; at most `most` rows of the former. */
int journal_sweep(struct journal *j, bool (*there)(const char *job, void *arg), void *arg, int64_t before,
                  unsigned most, struct err *e);
