/* What every command works with: this node's settings, the tree, and what was read from it. Opened once a
 * process, lazily: a part that was not asked for is not read. */
#pragma once

#include "base/err.h"
#include "base/lock.h"
#include "cluster/guests.h"
#include "cluster/jobs.h"
#include "cluster/members.h"
#include "cluster/tree.h"
#include "conf/datacenter.h"
#include "conf/settings.h"
#include "conf/storage.h"
#include "guest/guest.h"
#include "volume/volume.h"

#include <stdbool.h>

struct env {
    struct settings settings;
    struct volume_context volumes; /* of all volumes that are opened with env_store: without quorum nothing of
                                      them is removed (tree_check_quorum) */
    struct tree *tree;
    bool has_guests, has_members, has_storages, has_transport;
    struct guest_list guests;   /* env_guests */
    struct jobs_kept jobs;      /* env_jobs */
    struct members members;     /* env_members */
    struct storages storages;   /* env_storages */
    struct transport transport; /* env_transport */
    struct strv transport_warnings;
};

/* config: the --config option or NULL. */
int env_open(struct env *env, const char *config, struct err *e);
void env_release(struct env *env);

int env_guests(struct env *env, struct err *e);
/* Read the list anew: before a commit, the owner is checked again. Entries got before are invalid afterwards.
 */
int env_guests_again(struct env *env, struct err *e);
/* The same for what it says of this guest: what is of others may be older. 1: it was read anew. */
int env_guest_again(struct env *env, uint32_t id, struct err *e);
/* env->jobs.jobs as they are now; 1: they are others than before, and pointers into them are invalid. */
int env_jobs(struct env *env, struct err *e);
/* Those whose source is wrong are put right first (cluster/jobs.h). */
int env_jobs_repaired(struct env *env, struct err *e);
int env_members(struct env *env, struct err *e);
int env_members_again(struct env *env, struct err *e);
/* They again, and this node is one of them (members_check_node): who has no job and no guest in a tree that
 * is not its own is not well. */
int env_members_with_us(struct env *env, struct err *e);
int env_storages(struct env *env, struct err *e);
int env_transport(struct env *env, struct err *e);

/* The guest's entry: NULL and ERR_GONE "no such guest 'ID'", or ERR_CONFIG where two nodes have its file. */
const struct guest_entry *env_guest(struct env *env, uint32_t id, struct err *e);
/* The guest's configuration file, parsed. NULL on error. */
struct guest_config *env_guest_config(struct env *env, const struct guest_entry *g, struct err *e);
/* The guest's replicatable volids; asks the drivers what they can do. */
int env_guest_volumes(struct env *env, const struct guest_config *g, enum volumes_mode mode, struct strv *ret,
                      struct err *e);

/* The storage as the volume layer wants it: ERR_CONFIG when unknown, disabled, or not for this node, or
 * without a driver. The env must outlive it. */
struct env_store {
    struct volume_store store;
    /* owned: the names with this node's storage-root or pool-prefix */
    char *path, *mountpoint, *pool, *vgname;
};
void env_store_release(struct env_store *s);
int env_store(struct env *env, const char *storage_id, struct env_store *ret, struct err *e);

/* The volume of a volid, opened. ERR_CONFIG also when its owner is not `guest`. What was not opened, or
 * zeroed, may be closed all the same. */
struct env_volume {
    char *volid;
    uint32_t guest;
    struct env_store store;
    struct volume *volume;
};
int env_volume_open(struct env *env, const char *volid, uint32_t guest, struct env_volume *ret,
                    struct err *e);
void env_volume_close(struct env_volume *v);

/* Call fn with each volume of the guest that a storage of this node holds anything of (volume_list), but for
 * shared ones, on which there are no replicas. A
 * storage that cannot be looked at, or where fn fails, becomes one of *problems. 1: one that is there could
 * not be looked at. asides: volume_list_all. What two storages show is one volume, called as the guest's
 * configuration calls it, if that does. */
int env_each_volume(struct env *env, uint32_t guest, bool asides,
                    int (*fn)(struct volume *v, const char *volid, void *arg, struct err *e), void *arg,
                    struct strv *problems, struct err *e);

/* The guests of the tree, and those of which storages of this node that are not shared may hold anything
 * (volume_guests); ascending, *ret is malloc'ed. 1: as for env_each_volume. */
int env_guests_all(struct env *env, uint32_t **ret, size_t *n, struct strv *problems, struct err *e);

/* The lock under which volumes are changed from now on lasts until the programs that do so have ended
 * (volume_context.lock_fd); NULL, before it is released: none. */
void env_hold(struct env *env, const struct lock *l);
/* LOCK-DIR/pve-migrate-VMID: the guest migration lock (BEHAVIOUR.md#locks); malloc'ed. */
char *env_guest_lock_path(const struct env *env, uint32_t guest);
/* LOCK-DIR/pvesr-agent-VMID: held while an agent works on the guest's replica; malloc'ed. */
char *env_agent_lock_path(const struct env *env, uint32_t guest);
