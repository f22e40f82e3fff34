/* What the target does with its own volumes, whoever asks: the agent of a run, or a stock source's
 * prepare/finalize calls. */
#pragma once

#include "base/err.h"
#include "run/env.h"
#include "run/replica.h"

/* Everything there is to know of it; leftovers of a crash are tidied first. */
int replica_look(struct volume *v, struct replica *ret, struct err *e);

/* Was it made by this job, or does it carry a snapshot of it? */
int replica_of_job(struct volume *v, const char *job_id, bool *ret, struct err *e);

/* That of `volids` which names the same volume as `volid`, NULL for none: a linked clone is listed by its
 * storage without the name of its template's volume. */
const char *replica_named(const struct strv *volids, const char *volid);

/* The images of the guest on the scanned storages that are not wanted, but were made by this job or carry its
 * snapshots. Storages that are disabled or not for this node are skipped; one that is not in storage.cfg is
 * an error (BEHAVIOUR.md#prepare-local-job). */
int replica_stale(struct env *env, const char *job_id, uint32_t guest, const struct strv *wanted,
                  const struct strv *scan, struct strv *ret, struct err *e);

/* Destroy a first copy that this job did not finish: refused unless this job made all that is there and
 * nobody wrote. */
int replica_replace(struct volume *v, const char *job_id, struct err *e);
/* Destroy an image; one that was written to since its restore point is kept aside first, and so is one that
 * never was a replica, and snapshots that were made here: what came since the guest left may be nowhere
 * else. */
int replica_drop(struct env *env, const char *volid, const char *job_id, uint32_t guest, struct err *e);
/* Remove one snapshot: only a replication snapshot of the guest or one that was received, never one kept
 * aside or the restore point that the replica shows. */
int replica_prune(struct volume *v, const char *name, const char *id, uint32_t guest, struct err *e);
