/* Volumes of a guest that no run carries, though no setting of the guest says so (BEHAVIOUR.md#volumes). */
#pragma once

#include "conf/job.h"
#include "run/env.h"

/* Images of other guests, but those that a job of that guest, on the same node, carries. all: as
 * guest_volumes_left_out. */
int left_out_foreign(struct env *env, const struct jobs *jobs, const struct guest_config *g, bool all,
                     struct strv *ret, struct err *e);
/* ERR_CONFIG where a volume on a storage that is called shared was replicated, by what there is of it on this
 * node: it would be of another instant than the guest's other disks on a target. */
int left_out_check_shared(struct env *env, const struct guest_config *g, uint32_t guest, struct err *e);

/* Is its storage a mount of what a server or a cluster shares? That is the same on all nodes, and may not
 * answer: who looks there would wait, and with him the guest's other disks, or its failover. */
bool left_out_is_remote(struct env *env, const char *volid);
