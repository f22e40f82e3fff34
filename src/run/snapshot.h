/* What replication knows of a snapshot by its name: whose it is, of which run. */
#pragma once

#include "volume/snapshot.h"

#include <stdbool.h>
#include <stdint.h>

/* Is this a replication snapshot: of this job (exact), of any job of the guest. */
bool snapshot_is_of_job(const char *name, const char *job_id);
bool snapshot_is_of_guest(const char *name, uint32_t guest);
/* "100-0" for "__replicate_100-0_17__"; "" if it is none. */
void snapshot_job(const char *name, char out[24]);
/* The epoch in a replication snapshot's name, 0 if it is none. */
int64_t snapshot_epoch(const char *name);

/* What was found of one that has `damaged`, as the beginning of a sentence; volid NULL: it is named
 * elsewhere. malloc'ed. */
char *snapshot_damaged_text(const struct snapshot *s, const char *volid);

/* The n-th name (from 1) to keep a snapshot aside under: "__replicate_100-0_17__" → "diverged_100-0_17",
 * "g1" → "diverged_g1", then "diverged_g1_2" …; the first that is free is the one to take. */
void aside_name(const char *from, unsigned n, char to[SNAPSHOT_NAME_MAX + 1]);
