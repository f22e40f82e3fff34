/* What the ways of freezing a guest share (runtime.c, hold.c), and nobody else sees. */
#pragma once

#include "guest/cgroup.h"
#include "guest/runtime.h"
#include "guest/watchdog.h"

#define PING_SECONDS 3.0

typedef int freeze_fn(struct freeze *f, double seconds, struct err *e);
typedef int thaw_fn(const struct freeze *f, double seconds, struct err *e);

struct freeze {
    uint32_t id;
    freeze_fn *make;
    thaw_fn *undo;       /* may be repeated, and is fine when the guest has ended */
    struct cgroup group; /* hold.c; path NULL: QEMU is stopped */
    bool still;          /* hold.c; its time begins with the attempt: it is still from the first thread on */
    bool untouched;      /* it held still without us: nothing is undone */
    struct watchdog watchdog;
};

/* Start the watchdog, then freeze; the copy is freed by guest_thaw. NULL: it failed and was undone. Of
 * `model` the group is taken over, also then. */
struct freeze *freeze_begin(const struct freeze *model, double seconds, struct err *e);

/* Does its agent say that its file systems are frozen? */
bool machine_fs_is_frozen(const struct guest_config *g);

/* The virtual machine's process (0: none), and when its pid file was written (may be NULL). */
pid_t machine_pid(uint32_t id, time_t *written);
/* /run/qemu-server/ID.KIND; malloc'ed */
char *machine_path(uint32_t id, const char *kind);
