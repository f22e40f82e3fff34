/* One transfer: the delta of one volume between two snapshots, from the source's storage onto the link. */
#pragma once

#include "base/err.h"
#include "run/source/peer.h"
#include "run/source/progress.h"
#include "run/source/ranges.h"
#include "volume/volume.h"
#include "wire/rate.h"

#include <stdbool.h>
#include <stdint.h>

struct transfer {
    struct peer *peer;
    struct rate *rate;
    struct progress *progress;
    const char *volid;
    const char *there; /* what the target calls it */
    struct volume *volume;
    bool stream;
    const struct ranges *patch;  /* sent in any case: the target's base is wrong there; NULL: nothing */
    const struct snapshot *base; /* NULL: full */
    const struct snapshot *snapshot;
    bool resync;                    /* without a base: upon what the target's live volume holds */
    bool replace, anew;             /* struct peer_stage */
    const struct stage_info *stage; /* the target has this stage of it; NULL: none */
};

/* Send it and wait until the target has sealed the stage. *changed grows by the bytes of the delta. */
int transfer_send(const struct transfer *t, uint64_t *changed, struct err *e);
