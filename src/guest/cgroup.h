/* A container as its control group (cgroups(7), the kernel's cgroup-v2.rst and freezer-subsystem.rst). */
#pragma once

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Put before /run and /sys/fs/cgroup; "" but in tests. */
extern const char *guest_runtime_root;

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
