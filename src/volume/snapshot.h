/* What is known of a snapshot.
 *
 * Identity. A snapshot is known by its id (32 hex digits), never by its name alone: the id of a replica's
 * snapshot is the id of the source's. Order is `seq`, never the clock.
 */
#pragma once

#include "base/lookup.h"
#include "base/mem.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SNAPSHOT_NAME_MAX 63
#define SNAPSHOT_ID_LEN 32
/* Snapshots with such names hold what nobody else has: nothing ever removes them but a person. */
#define ASIDE_PREFIX "diverged_"
bool snapshot_is_aside(const char *name);
/* Is it a name that runs give, a restore point's? */
bool snapshot_is_point(const char *name);

enum {
    SNAPSHOT_RECEIVED = 1, /* made on this node by volume_commit, or adopted; not by volume_snapshot alone */
    SNAPSHOT_READABLE =
        2, /* its data can be read (a digest-only snapshot of a plain file can only be a base) */
    SNAPSHOT_APART =
        4, /* kept aside where it is no part of the volume any more, so nothing can be based on it */
    SNAPSHOT_DOUBTFUL = 8, /* a stream on the way to it may have lost something (volume_info.lossy) */
    SNAPSHOT_UNTOLD = 16,  /* of a node of an older version: it cannot say whether it is doubtful */
    /* The mark that a snapshot got where it was made or received says which name it has there. OURS: it has
     * that. STRANGE: somebody gave it another one, so it is theirs: it can be a base, but nothing removes or
     * renames it, and it does not count as received. Neither: there is no such mark (another tool made it, or
     * an earlier version). */
    SNAPSHOT_OURS = 32,
    SNAPSHOT_STRANGE = 64,
    /* It was written to since it was made, or may have been. One that is writable is not READABLE either: it
     * may be another a moment later. Where volume_info.proves is false, such a change may leave no trace. */
    SNAPSHOT_CHANGED = 128,
    /* Its storage would tell, but has nothing noted of this one (an earlier version made it, somebody copied
     * its directory): it may have been. */
    SNAPSHOT_UNSEALED = 256,
    /* ZFS: it has blocks above 128 KiB, or its dataset once had; or it never had (volume_large). Neither:
     * nobody knows. */
    SNAPSHOT_LARGE = 512,
    SNAPSHOT_SMALL = 1024,
};

struct snapshot {
    char name[SNAPSHOT_NAME_MAX + 1];
    char id[SNAPSHOT_ID_LEN + 1];
    int64_t created; /* epoch seconds, information only */
    uint64_t seq;    /* ascending in order of making, per volume */
    uint64_t size;   /* bytes of the volume at that time; 0 for a directory tree */
    uint64_t state;  /* another one after every change that leaves a trace; 0: its storage tells none */
    unsigned flags;
    /* Epoch: since when it is known to be another than what the guest had, by a comparison with its source
     * (volume_snapshot_mark); 0: nothing is known against it. */
    int64_t damaged;
};

/* Filled by snapshots_add, and not changed where it is then: names and ids are looked up. */
struct snapshots {
    struct snapshot *v; /* ascending seq */
    size_t n;
    struct lookup names, ids;
};
/* Could it be the time of a finding? A mark is text that anybody may have written. */
#define SNAPSHOT_DAMAGED_MAX INT64_C(253402300799) /* the year 9999 */
bool snapshot_damaged_valid(int64_t since);
/* Does it go when its volume is destroyed? What a run made or received does, and whatever has such a name;
 * not what is kept aside, nor what somebody made, or renamed. */
bool snapshot_goes_along(const struct snapshot *s);
void snapshots_release(struct snapshots *s);
#define _cleanup_snapshots_ _cleanup_(snapshots_release)
/* Append a copy. */
void snapshots_add(struct snapshots *s, const struct snapshot *one);
/* By seq, then by name. */
void snapshots_sort(struct snapshots *s);
/* NULL: none; of several with one id the first. */
const struct snapshot *snapshots_find(const struct snapshots *s, const char *name);
const struct snapshot *snapshots_find_id(const struct snapshots *s, const char *id);
