/* What the target does with its own volumes, whoever asks: the agent of a run, or a stock source's
 * prepare/finalize calls. */
#pragma once

#include "base/err.h"
#include "run/env.h"
#include "run/replica.h"

/* Everything there is to know of it; leftovers of a crash are tidied first. */
int replica_look(struct volume *v, struct replica *ret, struct err *e);
/* Its snapshots now, to be compared with what was seen before. 1: nobody can tell now what could be told
 * then.
 */
int replica_look_again(struct volume *v, const struct replica *before, struct snapshots *ret, struct err *e);

/* Was it made by this job, or does it carry a snapshot of it that a run made, and nobody renamed or copied
 * (SNAPSHOT_OURS)? by_name: any of such a name, be it of another tool. */
int replica_of_job(struct volume *v, const char *job_id, bool by_name, bool *ret, struct err *e);

/* The volumes that a conversation is about, opened. */
struct replicas {
    struct env_volume *v;
    size_t n;
    struct strv signs; /* of the source's own volumes (volume_sign) */
};
/* Of a guest that is not this node's. ERR_CONFIG when two of the volids lead to one volume: each would be
 * written over the other; or one to the source's own, by ret->signs; or one is what another node keeps for
 * another job (volume_keeper). What was opened until then is in *ret in any case. */
int replicas_open(struct env *env, const struct strv *volids, uint32_t guest, struct replicas *ret,
                  struct err *e);
void replicas_close(struct replicas *r);
/* By its volid; ERR_DATA when it is none of them. */
struct env_volume *replicas_find(const struct replicas *r, const char *volid, struct err *e);
/* Is v, by whatever name, one of them? 1: yes, *volid is how it is called there. */
int replicas_have(const struct replicas *r, struct volume *v, const char **volid, struct err *e);
/* ERR_CONFIG when v is the source's own volume, or beside it: both nodes see one storage. */
int replicas_check_sign(const struct replicas *r, struct volume *v, const char *volid, struct err *e);

/* The images of the guest on the scanned storages that are none of `wanted`, but were made by this job or
 * carry its snapshots; of those without marks, those that Proxmox VE's own tool received
 * (BEHAVIOUR.md#whose-things). Storages that are disabled or not for this node are skipped; one that is not
 * in storage.cfg is an error (BEHAVIOUR.md#prepare-local-job). */
int replica_stale(struct env *env, const char *job_id, uint32_t guest, const struct replicas *wanted,
                  const struct strv *scan, struct strv *ret, struct err *e);

/* Of those, what a former job of this id left moves from *stale to *former: no point of the job that it has
 * is as young as `since` (epoch), when the job as it is now began. Whose it was, nobody may have it
 * elsewhere. */
int replica_former(struct env *env, const char *job_id, uint32_t guest, int64_t since, struct strv *stale,
                   struct strv *former, struct err *e);

/* Destroy a first copy that this job did not finish, if it may be (policy_replace). */
int replica_replace(struct env_volume *v, const char *job_id, struct err *e);
/* Destroy an image; one that was written to since its restore point is kept aside first, and so is one that
 * never was a replica, and snapshots that were made here: what came since the guest left may be nowhere
 * else. Refused is one of `wanted` (NULL after the last), which may have been made since replica_stale, one
 * that is not alone (volume_alone), and any once the guest is this node's. `kept` gets sentences, may be
 * NULL. */
int replica_drop(struct env *env, const char *volid, const char *job_id, uint32_t guest,
                 const struct replicas *const wanted[], struct strv *kept, struct err *e);
/* Remove those that may go (policy_prune), after one look at what there is; `told` hears of each. */
int replica_prune(struct volume *v, const struct snapshots *go, uint32_t guest, volume_destroyed_fn *told,
                  void *arg, struct err *e);
