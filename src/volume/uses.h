/* What processes have open, mapped, or stand in, and what is mounted where, in all mount namespaces: read
 * from proc(5). A process that ends meanwhile is none; our own is left out. Nothing here asks another file
 * system, which may hang: files are looked at through the links of /proc/PID, without asking for fresh
 * attributes.
 */
#pragma once

#include "base/err.h"
#include "base/mountinfo.h"
#include "base/tick.h"

#include <stdbool.h>
#include <sys/stat.h>

/* "process 4711 (qemu-system-x86)" */
#define USES_PROCESS_MAX 48

/* One thing that a process has open or mapped, its root, its working directory, or its program. */
struct use {
    const struct statx *file; /* type, inode and device numbers */
    bool writes;              /* opened or mapped for writing */
};

/* `process`: one in the namespace, "" for our own. */
typedef int use_mount_each(const struct mountinfo *m, const char *process, void *arg);

/* Until `each` returns other than 0, which is then returned, and `process` says whose use it was. */
int uses_each(int (*each)(const struct use *u, void *arg), void *arg, char process[USES_PROCESS_MAX],
              const struct tick *tick, struct err *e);
/* Our own namespace first. */
int uses_each_mount(use_mount_each *each, void *arg, const struct tick *tick, struct err *e);
