/* The plan of a run: a pure function of what both sides hold. No I/O, no clock.
 *
 * In:  per volume, the source's snapshots, the target's snapshots and its stage; what the guest's
 * configuration names (its snapshots, its parent); the last sync of the job state, which is a hint. Out: per
 * volume, the base and the chain of snapshots to send, what is kept aside on the target, what is thrown away
 * on either side before and after; or the sentence why it cannot be.
 *
 * Rules (spec 3.5, 3.6 with the differences of docs/ARCHITECTURE.md):
 *  - Common = same id on both sides. Candidates for a base are this guest's replication snapshots (any job)
 * and the snapshots of the guest's configuration. The newest by the source's order wins: it gives the least
 * to send, and a replica's older points stay readable until the ACK.
 *  - The chain holds every candidate of the source that is newer than the base and missing on the target,
 * oldest first, then the new snapshot. Old snapshots of this job itself are in it only where a stage of
 * theirs can be resumed.
 *  - Nothing common but the target has the volume: replaced only if every snapshot there was received for
 * this job, the live volume was not written to, and none of them is known to have been acknowledged
 * (last_sync). Else ERR_DATA "No common base snapshot on volume(s) …".
 *  - Where the base is this job's own, the replica shows it and nothing else has to be sent, a volume that
 * did not change needs no new snapshot: on both sides the base takes the new name and keeps its id. Copying
 * the maps of a large fragmented image three times costs more than all else in such a run.
 *  - A live replica that was written to, and target snapshots of this job that the source no longer has
 * although they were acknowledged (the source was rolled back), are kept aside, never destroyed.
 */
#pragma once

#include "base/err.h"
#include "base/strv.h"
#include "volume/volume.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One volume as the target shows it. */
struct replica {
    struct volume_info info;
    struct snapshots snapshots;
    struct stage_info stage;
    bool written;   /* live differs from its restore point */
    char owner[32]; /* job id that made the live replica, "" if it is no replica */
    char base_id[SNAPSHOT_ID_LEN + 1];
};
void replica_release(struct replica *r);

struct plan_input_volume {
    const char *volid;
    struct volume_info info;           /* the source's */
    const struct snapshots *snapshots; /* the source's */
    const struct replica *replica;
};

struct plan_input {
    const char *job_id;
    uint32_t guest;
    int64_t last_sync;
    int64_t first_try;        /* start of the first attempt that the state remembers, 0: unknown */
    const char *new_snapshot; /* name */
    const char *parent;       /* of the guest configuration, or NULL */
    const struct strv *guest_snapshots;
    const struct plan_input_volume *volumes;
    size_t n;
};

struct plan_step {
    struct snapshot snapshot; /* for the new snapshot only the name is known while planning */
    bool is_new;
    bool resume; /* the target has a stage of it */
};

struct plan_volume {
    const char *volid;
    bool full;            /* no base */
    struct snapshot base; /* on the source; its name on the target may differ */
    struct plan_step *steps;
    size_t n_steps;
    bool renamable; /* if nothing changed since the base, the base itself can become the new restore point */
    bool replace;   /* destroy the target's half-made copy first */
    bool keep_live_aside;
    struct strv keep_aside;        /* target snapshots to rename aside */
    struct strv reasons;           /* sentences for `pvesr plan` and the log */
    struct snapshots clear_target; /* hold the name of a snapshot to be sent, with another id: removed before
                                      the transfer */
    struct snapshots drop_source;  /* stale snapshots of this job to remove before the new one is taken */
};

struct plan {
    struct plan_volume *v; /* as the input's volumes */
    size_t n;
};

int plan_make(const struct plan_input *in, struct plan *ret, struct err *e);
void plan_release(struct plan *p);

/* Append a copy. */
void snapshots_add(struct snapshots *s, const struct snapshot *one);

/* Is this a replication snapshot: of this job (exact), of any job of the guest. */
bool snapshot_is_of_job(const char *name, const char *job_id);
bool snapshot_is_of_guest(const char *name, uint32_t guest);
/* The epoch in a replication snapshot's name, 0 if it is none. */
int64_t snapshot_epoch(const char *name);

/* After the ACK, pure too: which snapshots go. Source: this job's, but the new one. Target: replication
 * snapshots of the guest and received guest snapshots that the source no longer has, but the new one; never
 * one that is kept aside. */
void retain_source(const struct snapshots *source, const char *job_id, const char *new_snapshot,
                   struct snapshots *ret);
void retain_target(const struct snapshots *target, const struct snapshots *source_after, uint32_t guest,
                   const char *new_snapshot_id, struct snapshots *ret);
