/* What a peer may: decided from facts alone, without I/O, so that all of it can be read here and is played as
 * a table (test-policy.c). The agent (run/target/agent.h) and the calls of the stock tool gather the facts.
 *
 * Every function returns 0: allowed; or -1 and the refusal, which goes to the peer: it names who is refused
 * what, and the way out.
 */
#pragma once

#include "base/err.h"
#include "volume/volume.h"

#include <stdbool.h>
#include <stdint.h>

/* Who talks. Without `is` a peer is believed: whoever may start any command here needs no agent to do harm.
 */
struct policy_peer {
    const char *says; /* in its HELLO */
    const char *is;   /* by `agent --peer`, in the forced command of its key; NULL: not said */
};
int policy_peer(const struct policy_peer *p, struct err *e);

/* The guest's owner may change while a run is on its way. Replicas are written only where the guest is not,
 * and only by the node where it is: another one sends the past, or a lie. A guest without an owner has no
 * replicas that anybody may write. */
struct policy_guest {
    uint32_t guest;
    const char *self;
    const char *peer;  /* NULL: a stock source, of which nothing but the guest is known */
    const char *owner; /* by this node's tree; NULL: none */
    bool twice;        /* …because two nodes have its file */
    unsigned waited;   /* seconds, for a file that may still come */
};
int policy_guest(const struct policy_guest *g, struct err *e);
/* Can waiting help: the file of a new guest is on its way to this node's tree? */
bool policy_guest_may_come(const struct policy_guest *g);

/* May what is there be destroyed for a first copy that begins anew (`stage` with `replace`)? Only a copy of
 * the same job of which no commit showed anything: what a commit showed may have been acknowledged, whatever
 * the source remembers. */
struct policy_replace {
    const char *volid, *job;
    bool exists, written;
    const char *owner; /* job that made the live volume */
    const char *shows; /* name of the restore point that it shows, "" if none */
    bool received;     /* all snapshots were */
};
int policy_replace(const struct policy_replace *r, struct err *e);

/* May this snapshot go? Only a replication snapshot of the guest, or one that was received; not one kept
 * aside, nor what the replica shows. */
struct policy_prune {
    uint32_t guest;
    const struct snapshot *snapshot;
    const char *base_id; /* of what the replica shows */
};
int policy_prune(const struct policy_prune *p, struct err *e);

/* May what the source found of this restore point be noted at it, or taken back? Of what replication made or
 * received, whatever it is called there; not of what is somebody's. */
struct policy_mark {
    uint32_t guest;
    const struct snapshot *snapshot;
};
int policy_mark(const struct policy_mark *m, struct err *e);

/* May this image go? Only what `open` called stale and is none of the run's volumes under another name. */
struct policy_drop {
    const char *volid;
    bool stale;
    const char *other; /* the volume that it is; NULL: none */
};
int policy_drop(const struct policy_drop *d, struct err *e);

/* Is an image without marks, that ends in a point of the job and was not written to, a replica that Proxmox
 * VE's own tool received? Or a copy that somebody made of a replica: that has the id of what it was made of,
 * or is left behind by it. */
struct policy_unmarked {
    size_t
        same_id; /* snapshots with the id of that point on all images of the guest here, its own included */
    size_t same_name; /* the same by its name: of one run */
    size_t newer;     /* points of later runs there */
};
bool policy_is_replica(const struct policy_unmarked *u);

/* Names that a peer gives: what a commit shows is a restore point of the job; what is kept aside is called
 * so. */
int policy_shown_as(const char *job, const char *as, struct err *e);
int policy_aside_as(const char *as, struct err *e);
