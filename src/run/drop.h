/* How a volume goes that nobody wants any more, whoever says so: the source of a job, Proxmox VE's own tool,
 * or a person (run/recover/doctor.h). What came to it since its guest left may be nowhere else. */
#pragma once

#include "run/env.h"

/* Destroy it, once its state is kept aside where it was written to since its restore point, or never was a
 * replica, and snapshots that were made here. Refused where it is not alone (volume_alone), or in use. The
 * caller knows that the guest is not this node's. `kept` gets sentences, may be NULL. A guest of which
 * nothing is known any more has no snapshots of its own. */
int drop_volume(struct env *env, struct volume *v, const char *volid, const char *job_id, uint32_t guest,
                struct strv *kept, struct err *e);

/* ERR_CONFIG when another job of the guest replicates to the node that keeps it (volume_keeper): nothing of
 * it is this node's. */
int drop_check_keeper(struct env *env, struct volume *v, const char *volid, uint32_t guest, struct err *e);

/* 1: what it shows is a point of the job that was received, and nobody renamed it; nobody wrote to it since,
 * the caller says. *point: that one. One without marks was taken by Proxmox VE's own tool: whoever received
 * it, the source had all that is older, too (its stream is one of all, and its receive removes what is not in
 * that). */
int drop_shows_received(struct volume *v, const char *job_id, const char *since, struct snapshot *point,
                        struct err *e);
