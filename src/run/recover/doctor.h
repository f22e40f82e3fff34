/* What is left over of replication on this node, found by looking at its storages under the locks of each
 * guest. What a crash interrupted is always brought to its end; more is removed only on request, and a
 * volume, or anything that somebody else may need, only by its name. Without quorum nothing is (ERR_BUSY). */
#pragma once

#include "base/err.h"
#include "run/env.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum finding_state {
    FINDING_ENDED,   /* a crash had left the volume without its name: it has it again */
    FINDING_REMOVED, /* was left over */
    FINDING_LEFT,    /* left over: removed when asked for */
    FINDING_KEPT,    /* for a person to judge: nothing here removes it but `free` */
};

struct finding {
    enum finding_state state;
    uint32_t guest;
    char *volid;
    char *text;
};

struct findings {
    struct finding *v; /* by guest, storage as in storage.cfg, volume */
    size_t n;
    struct strv warnings; /* storages that are not there */
    struct strv problems; /* what could not be looked at, or removed */
};

const char *finding_state_name(enum finding_state s); /* "ended", "removed", "left", "kept" */

struct doctor_options {
    uint32_t guest; /* which need not be in the tree any more; 0: all that are, or have anything here */
    bool repair;    /* remove what is left over */
    const struct strv *free; /* borrowed: of what is kept, what somebody knows to be needed by nobody: "VOLID"
                                a replica, by drop_volume (run/drop.h), "VOLID@POINT" a restore point, or
                                what was kept aside. What is not found to be of that
                                kind, or is in use, stays, and is one of the problems */
};
/* A guest on whose volumes a run is at work for 10 s is one of the problems. */
int doctor_look(struct env *env, const struct doctor_options *o, struct findings *ret, struct err *e);
void findings_release(struct findings *f);
