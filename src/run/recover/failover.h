/* A guest comes to live on this node, on its replicas. */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "run/env.h"

#include <stdbool.h>
#include <stdint.h>

struct failover_options {
    bool dry_run;
    bool force;        /* the node that has the guest is not known to be gone */
    bool as_is;        /* take the disks as they are, also of different instants, written to, or damaged */
    const char *point; /* the restore point that all disks are to show; NULL: the newest; not with as_is */
};

/* What is known of it when it ends, also when it fails. */
struct failover_result {
    struct buf said;                   /* sentences, one a line */
    char from[64];                     /* the node that has the guest; "": not found out */
    char point[SNAPSHOT_NAME_MAX + 1]; /* the restore point of all disks; "": none, or not found out */
    int64_t taken;                     /* when that was taken, epoch; 0: not known */
};
void failover_result_release(struct failover_result *r);

/* Move the guest's configuration from its node to this one, and call its volumes there by the names that
 * their replicas have here (the job's map of storages). Where the configuration is here already, moved by
 * hand or by a call that was killed, only the latter. Before, all volumes are brought to the newest restore
 * point that all of them have (options.point); one that was written to here is kept aside first. Release
 * `ret`, which is empty before, in any case.
 *
 * Nothing is changed unless each volume that is replicated is here, and they have one in common. ERR_BUSY
 * while a run is writing to the replicas. The guest is not started. */
int run_failover(struct env *env, uint32_t guest, const struct failover_options *o,
                 struct failover_result *ret, struct err *e);
