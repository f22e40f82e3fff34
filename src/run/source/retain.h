/* After the ACK: which snapshots go. Pure but for the time zone ($TZ or the system's), in which hours and
 * days are counted. */
#pragma once

#include "base/strv.h"
#include "conf/keep.h"
#include "run/received.h"
#include "volume/volume.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The runs whose restore points stay, by the epochs in their names. Counted for all volumes of the guest
 * together, so that what stays is the same on each. */
struct history_run {
    int64_t epoch; /* in the names */
    int64_t when;  /* the same, unless that is still to come by this node's clock: then that of the point
                    * before  it, whatever clock made the name */
    size_t order;  /* of those of one time */
};
struct history {
    const char *job_id; /* borrowed */
    int64_t now;        /* 0: any time has come */
    struct history_run *v;
    size_t n;
};
void history_release(struct history *h);
/* Is this one of the job's points that stay? h NULL: no. */
bool history_has(const struct history *h, const char *snapshot);

/* Take in the job's points of one volume, on either side, oldest first. */
void history_add(struct history *h, const struct snapshots *s);
/* Leave only what the rules keep. They are applied in the order last, hourly, … yearly: each keeps the newest
 * point of so many of its periods, newest first, and skips periods of which a rule before it keeps any, as
 * the prune rules of Proxmox's backups do. */
void history_prune(struct history *h, const struct keep *rules);

/* Was each of the guest's other jobs (`siblings`: the names of their last acknowledged snapshots)
 * acknowledged by a run from the node with these snapshots? */
bool siblings_settled(const struct snapshots *source, const struct strv *siblings);

/* By what is chosen. */
struct retain {
    const char *job_id, *new_snapshot; /* "" where the job goes */
    const struct strv *siblings;       /* as above */
    const struct history *history;     /* of this job; NULL: only the newest point is kept */
    const struct history *others;      /* target: of other jobs, of which it has a history (sync-prune.c) */
    size_t n_others;
    struct jobs *jobs;
    const struct received *here, *there; /* what either side had received before this run */
    bool leave;                          /* the job goes, and leaves its points where they are */
    const struct strv *listed;           /* the guest's own snapshots, by its configuration */
};

/* What was received and is data (run/received.h) goes by the rules of its job alone.
 *
 * Source: this job's, but the new one, and what was received for jobs that are no
 * more; a node that was a target of this guest keeps what it received until its siblings are settled, because
 * that may be all it has in common with their targets, and as long as the rules keep it. Target: replication
 * snapshots of the guest and received guest snapshots that the source no longer has, but the new one, the
 * history and what is lost here (snapshot_lost_here); never one that is kept aside, nor somebody's
 * (SNAPSHOT_STRANGE). */
void retain_source(const struct retain *by, const struct snapshots *source, struct snapshots *ret);
void retain_target(const struct retain *by, const struct snapshots *target,
                   const struct snapshots *source_after, const char *new_snapshot_id, struct snapshots *ret);

/* Is it, of the target, a guest's own snapshot that was received there, that the guest's configuration lists
 * (`listed`), and that the source has not, nor another of its name? It may be the last copy. */
bool snapshot_lost_here(const struct snapshot *there, const struct snapshots *source,
                        const struct strv *listed);
/* Does retain_target leave this snapshot of the target's that the source has not, though it is not of this
 * job: the guest's own that was lost here, or what a job that is no more has kept? Where snapshots are of one
 * line it must be kept aside for that. */
bool retain_keeps_alone(const struct retain *by, const struct snapshots *source, const struct snapshot *s);
