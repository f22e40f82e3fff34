/* The rows of lists of jobs as text, kept while nothing that they are made of has changed: lists are asked
 * for again and again, and of many jobs few change meanwhile.
 *
 * What changes with time alone (a job becomes overdue) is seen after ROWS_SECONDS at the latest. A row that
 * tells of a run under way, or of trouble, is made anew each time. */
#pragma once

#include "view/world.h"

#define ROWS_SECONDS 10

struct row {
    char id[sizeof((struct job *)0)->id];
    uint32_t guest;
    uint64_t state;  /* hash of what is in the state file */
    int64_t until;   /* epoch: it is good so long */
    struct buf text; /* JSON on one line, without its end; empty: the job is none of the node's */
};

struct rows {      /* starts with zeroes */
    struct row *v; /* by id */
    size_t n;
    uint64_t made_of;
};
void rows_release(struct rows *r);

/* Brings them up to date: rows of /nodes/NODE/replication where the world has its states, else of
 * /cluster/replication; a set of rows is always of one kind. jobs: another number whenever the world's jobs
 * may be others (jobs_kept.version). */
void rows_look(struct rows *r, const struct world *w, uint64_t jobs, int64_t now);
