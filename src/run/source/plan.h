/* The plan of a run: a pure function of what both sides hold. No I/O, no clock.
 *
 * In:  per volume, the source's snapshots, the target's snapshots and its stage; what the guest's
 * configuration names (its snapshots, its parent); the last sync of the job state, which is a hint. Out: per
 * volume, the base and the chain of snapshots to send, what is kept aside on the target, what is thrown away
 * on either side before and after; or the sentence why it cannot be.
 *
 * Rules (BEHAVIOUR.md#base):
 *  - Common = same id on both sides. Candidates for a base are this guest's replication snapshots (any job)
 * and the snapshots of the guest's configuration. The newest by the source's order wins: it gives the least
 * to send, and a replica's older points stay readable until the ACK.
 *  - The chain holds every candidate of the source that is newer than the base and missing on the target,
 * oldest first, then the new snapshot. Old snapshots of this job itself are in it only where a stage of
 * theirs can be resumed.
 *  - A target that keeps only one restore point cannot hold the resumed one beside the new one: there the new
 * one is sent upon the stage, in place.
 *  - Nothing common but the target has the volume: replaced only if every snapshot there was received for
 * this job by a first copy of which the state knows that it was begun and never acknowledged, and the live
 * volume was not written to. A plain file that is not what its restore point was any more, which is common,
 * is kept aside and copied in full: it has no older state to go on from. Else ERR_DATA "No common base
 * snapshot on volume(s) …". What is kept aside counts as nothing.
 *  - Where the base is this job's own, no history is kept, the replica shows it and nothing else has to be
 * sent, a volume that did not change needs no new snapshot: on both sides the base takes the new name and
 * keeps its id. Copying the maps of a large fragmented image three times costs more than all else in such a
 * run.
 *  - Kept aside, never destroyed: a live replica that was written to; replication snapshots on the target,
 * newer than the base, that the source does not have (it was rolled back, or the target was the source once
 * and died with them), unless the target finds that they hold what the base holds; guest snapshots made there
 * whose name is needed. An intermediate snapshot of another job that was only received is none of these: its
 * own target has it.
 *  - A replica in doubt (volume_info.lossy, SNAPSHOT_DOUBTFUL) is made anew beside itself and replaced at the
 * commit, with all that a first copy brings. Of what the old one had, the source's is sent again, and what
 * the source has not is kept aside. Not if the source's own volume is in doubt, too (the guest was moved to
 * such a replica): what the target has may be better, and goes on by increments. If that is no doubtful one,
 * it has another state under the base's id, which is kept aside.
 *  - A failing run leaves a finished snapshot per volume on both sides for the next one to go on from. Only
 * the newest of them counts, and what the replica shows: those between go.
 */
#pragma once

#include "base/err.h"
#include "base/strv.h"
#include "run/replica.h"
#include "run/source/damage.h"
#include "run/snapshot.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct plan_input_volume {
    const char *volid;
    struct volume_info info;           /* the source's */
    const struct snapshots *snapshots; /* the source's */
    const struct replica *replica;
    bool moved; /* at the last sync its replica was on another storage: target-storage was changed since */
};

struct plan_input {
    const char *job_id;
    uint32_t guest;
    int64_t former; /* the job's run of this epoch was of another guest of this id (known.h); 0: it was not */
    int64_t last_sync;
    const struct strv
        *first_copies;           /* names of new snapshots whose full copy was begun, never acknowledged */
    const struct strv *siblings; /* see retain.h; NULL: there are none */
    const struct strv *damaged;  /* see damage.h; NULL: nothing is known */
    const struct strv
        *compared;            /* ids of bases of which this run has found out what is damaged; NULL: none */
    const char *new_snapshot; /* name */
    const char *parent;       /* of the guest configuration, or NULL */
    const struct strv *guest_snapshots;
    bool resync;  /* whatever the target has may be kept aside, also of a job that never synced */
    bool resyncs; /* the target can compare what a stage begins as (STAGE_OF_LIVE) */
    bool large;   /* a new replica is to have blocks above 128 KiB as they are */
    bool history; /* the target keeps more than the newest restore point: each run makes one */
    const struct plan_input_volume *volumes;
    size_t n;
};

/* A snapshot on the target, and the name under which it is kept aside there. */
struct aside {
    char from[SNAPSHOT_NAME_MAX + 1], to[SNAPSHOT_NAME_MAX + 1];
    char base_id[SNAPSHOT_ID_LEN + 1]; /* if it has nothing that this one has not, it goes; "": it is kept */
};
struct asides {
    struct aside *v;
    size_t n;
};

struct plan_step {
    struct snapshot snapshot; /* for the new snapshot only the name is known while planning */
    bool is_new;
    bool resume; /* the target has a stage of it */
};

/* How a reason begins that nobody must overlook. */
#define PLAN_WARNING "WARNING: "
/* Why a guest is taken for another one of its id. */
#define PLAN_OTHER "another type, UUID or host name, other network addresses, other disks"

struct plan_volume {
    const char *volid;
    bool full;      /* no base */
    bool resync;    /* …and the first step is sent upon what the target's live volume holds: what differs */
    bool unrelated; /* nothing is in common: all that the target has is kept aside */
    struct snapshot base; /* on the source; its name on the target may differ */
    struct plan_step *steps;
    size_t n_steps;
    bool prove; /* the base may have been written to on the target: it must be compared before it is one */
    struct ranges patch; /* the target's base is wrong there: sent with the first step, whatever changed */
    bool renamable; /* if nothing changed since the base, the base itself can become the new restore point */
    bool replace;   /* destroy the target's half-made copy first */
    bool anew;      /* the replica is in doubt: everything is sent to take its place (stage_want.anew) */
    bool large;     /* blocks above 128 KiB go as they are (volume_send_large) */
    bool keep_live_aside;
    struct asides keep_aside;      /* target snapshots to rename at the commit */
    struct asides move_aside;      /* …and before the transfer, because one to be sent has their name */
    struct strv reasons;           /* sentences for `pvesr plan` and the log */
    struct strv missing;           /* …of guest snapshots that the target lacks: not for each run's log */
    struct snapshots clear_target; /* hold the name of a snapshot to be sent, with another id: removed before
                                      the transfer */
    struct snapshots drop_target;  /* points of failed runs, older than the base; may fail */
    struct snapshots adopt; /* guest snapshots of both sides, made on the target while the guest was there */
    struct snapshots drop_source; /* stale snapshots of this job to remove before the new one is taken */
};

struct plan {
    struct plan_volume *v; /* as the input's volumes */
    size_t n;
};

/* Is it, of this node, a guest's own snapshot (in->guest_snapshots) that the target should have and has not,
 * under its id? */
bool plan_is_missing(const struct plan_input *in, const struct plan_input_volume *v,
                     const struct snapshot *s);
int plan_make(const struct plan_input *in, struct plan *ret, struct err *e);
void plan_release(struct plan *p);
