/* What the files of one sync (sync*.c) share with each other and with nobody else. */
#pragma once

#include "run/source/retain.h"
#include "run/source/sync.h"

/* The storage of a volume's replica. */
const char *sync_storage_there(const struct sync *s, size_t i);

/* A sentence "WARNING: …" for the log, and for stderr where it was not said there before. */
void sync_warn(struct sync *s, const char *warning);

/* ---- sync-prove.c ---- */

/* s->known, s->former: by what this node's volumes and the last run's note say. */
void sync_look_whose(struct sync *s);
/* Refuses a job that has lost settings (run/lost.h), by what this node noted, and the target, once it is
 * connected. */
int sync_check_settings(const struct sync *s, struct err *e);

/* Afterwards the plan has no base in doubt (plan_volume.prove). */
int sync_prove(struct sync *s, struct err *e);

/* ---- sync-snapshot.c ---- */

/* What is left of earlier runs goes, before anything new is made. */
int sync_tidy_source(struct sync *s, struct err *e);
/* One snapshot of each volume, as close together as the storage allows; a volume on which nothing was written
 * since its base has that base under the new name. */
int sync_take_snapshots(struct sync *s, struct err *e);
void sync_undo_snapshots(struct sync *s);

/* ---- sync-prune.c ---- */

/* go: as s->there; why: for the log. What cannot go is added to `problems`; an error means that nothing more
 * can be asked. */
int sync_prune_target(struct sync *s, struct peer_prune *go, const char *why, struct strv *problems,
                      struct err *e);
/* What of a run's volumes (s->n of them) goes once its restore point is acknowledged. */
struct sync_prune {
    struct snapshots *here, *spare; /* spare: those of them of which what can be a base may stay */
    struct peer_prune *there;
    size_t n;
};
/* Remove these of volume i on this node; the log says so of each: "delete KIND replication snapshot …". What
 * fails is no failure of the run. */
void sync_destroy_here(struct sync *s, size_t i, const struct snapshots *go, const char *kind);
/* The same of any volume: -1 when one of them could not go, or all. */
int sync_destroy_of(struct sync *s, struct volume *v, const char *volid, const struct snapshots *go,
                    const char *kind, struct err *e);
/* The runs of which the restore points stay, with those of one more volume (NULL: none). False: only that of
 * the newest. */
bool sync_history(const struct sync *s, const struct snapshots *more, struct history *ret);
/* Of all that a volume here has, which the job does not replicate any more, or replicates no longer. here:
 * what this node had received on the guest's volumes. */
void sync_leaving_choose(const struct sync *s, const struct snapshots *all, const struct history *history,
                         const struct received *here, struct snapshots *ret);
/* What either side had received before this run, on the run's volumes. */
void sync_received(const struct sync *s, struct received *here, struct received *there);
/* Pure. Before the run: volumes[].new needs only the name. */
void sync_prune_choose(const struct sync *s, struct sync_prune *ret);
void sync_prune_release(struct sync_prune *p);
/* The snapshots that only older runs needed go, on both sides. False: the target is not clean; the next run
 * goes on. */
bool sync_prune(struct sync *s);

/* ---- sync-gone.c ---- */

/* The volumes of the guest that the job is to replicate by the configuration and the jobs of now, which may
 * have changed since sync_look; and their names there. Nothing may go that is one of them. */
int sync_replicated_now(struct sync *s, struct strv *here, struct strv *there, struct err *e);

/* Warns of what no run carries; -1 where that would tear the guest's disks apart. */
int sync_look_left_out(struct sync *s, struct err *e);

/* The job's points, and what else a run leaves, on volumes of the guest here that the job does not replicate
 * any more; on the storages where it has or had replicas. False: not all could go, the log says so. */
bool sync_clear_gone(struct sync *s);

/* The look at volume i failed, as *e says; -1. Notes which of s->volids are not here: should the
 * configuration name them no more when the next run looks, that is no reason to remove their replicas. */
int sync_look_failed(struct sync *s, size_t i, struct err *e);
/* What of s->stale is to stay is moved to s->held, and told, as what a former job has there is. lost: only
 * what may be the last copy of a disk. */
void sync_hold(struct sync *s, bool lost);
