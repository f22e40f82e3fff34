/* One volume as the target shows it: what it looks up of its own, tells in a message, and what the plan is
 * made from. */
#pragma once

#include "volume/volume.h"

#include <stdbool.h>

struct replica {
    struct volume_info info;
    struct snapshots snapshots;
    struct stage_info stage;
    bool written;   /* live differs from its restore point */
    char owner[32]; /* job id that made the live replica, "" if it is no replica */
    char base_id[SNAPSHOT_ID_LEN + 1];
};

static inline void replica_release(struct replica *r)
{
    snapshots_release(&r->snapshots);
}
