/* A guest as its control group (cgroups(7), the kernel's cgroup-v2.rst and freezer-subsystem.rst). */
#pragma once

#include "base/err.h"
#include "base/mem.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

/* Put before /run and /sys/fs/cgroup; "" but in tests. */
extern const char *guest_runtime_root;

struct cgroup {
    char *path; /* malloc'ed */
    bool v2;    /* else the freezer of version 1 */
};
void cgroup_release(struct cgroup *g);
#define _cleanup_cgroup_ _cleanup_(cgroup_release)

/* Where the hierarchies are: version 2 alone, version 2 beside version 1, and version 1's freezer. */
#define CGROUP_PLACES 3
extern const struct cgroup_place {
    const char *path; /* behind guest_runtime_root */
    bool v2;
} cgroup_places[CGROUP_PLACES];

bool cgroup_can_freeze(const struct cgroup *g);
/* 1 frozen, 0 not: what is so now, not what was asked for. */
int cgroup_is_frozen(const struct cgroup *g, struct err *e);
/* Freeze or thaw, and wait until it is so, at most so many seconds. A group that is gone is thawed. */
int cgroup_set_frozen(const struct cgroup *g, bool frozen, double seconds, struct err *e);

/* The group of a virtual machine's process that can be frozen, and holds nothing else: it is named for this
 * machine (/qemu.slice/VMID.scope), or each process in it is `pid`, which is older than its pid file
 * (`written`, epoch seconds), or descends from that. Never the root's, nor one that we are in ourselves.
 * -1: there is none, *e says why. */
int cgroup_of_machine(pid_t pid, uint32_t id, time_t written, struct cgroup *ret, struct err *e);

/* A process of the container, 0 when there is none. */
pid_t container_pid(uint32_t id);

/* 1 frozen, 0 not, -1: there is no group that can freeze it. */
int container_is_frozen(uint32_t id, struct err *e);
/* Freeze or thaw, and wait until it is so. A freeze that is not complete in time is an error; the caller
 * thaws. */
int container_set_frozen(uint32_t id, bool frozen, double seconds, struct err *e);

/* Write out the file systems mounted in the container (those on disks; a process in a mount of another kind
 * could keep us waiting for ever), by a process of its own that is given up after so many seconds. */
int container_sync(pid_t pid, double seconds, struct err *e);
