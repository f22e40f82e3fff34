/* The running guest: is it, and freezing its file systems, or holding it still, around the snapshots
 * (BEHAVIOUR.md#freeze).
 *
 * VM: running when /run/qemu-server/ID.pid names a live process; frozen through the guest agent's socket
 * /run/qemu-server/ID.qga, only if `agent` is enabled and it answers a ping within 3 s. CT: running when its
 * cgroup has processes; frozen through the cgroup file system (v2 cgroup.freeze, v1 freezer.state), then
 * synced.
 *
 * While frozen, a second process watches: it thaws when this process dies or `seconds` pass.
 */
#pragma once

#include "base/err.h"
#include "guest/guest.h"

#include <stdbool.h>
#include <sys/types.h>

/* The pid of the running guest, 0 when it is not running. */
pid_t guest_running(enum guest_type type, uint32_t id);

/* The lock under which Proxmox VE's tools edit the guest's configuration on this node, as their messages name
 * it ("can't lock file '…' - got timeout"); malloc'ed. NULL: there is no such folder, so no such tool. */
char *guest_edit_lock_path(enum guest_type type, uint32_t id);

/* Does freezing apply, as far as can be told beforehand? */
bool guest_may_freeze(const struct guest_config *g);

struct freeze; /* a guest that is frozen, or held still, now */

/* NULL with e->kind ERR_NONE: freezing does not apply (the sentence says why). NULL with another kind: it was
 * tried and failed; the guest is thawed; the run may go on, crash-consistent. */
struct freeze *guest_freeze(const struct guest_config *g, double seconds, struct err *e);
/* Nothing of a virtual machine writes while it is held, whether it has an agent or not: its control group is
 * frozen, or where it has none of its own, QEMU stopped through /run/qemu-server/ID.qmp. NULL with e->kind
 * ERR_NONE: it writes nothing, since it is paused or does not run. NULL with another kind: it cannot be held,
 * *e says why; it goes on. */
struct freeze *guest_hold(const struct guest_config *g, double seconds, struct err *e);
bool guest_may_hold(const struct guest_config *g);
/* The path of the control group, or "QEMU". */
const char *guest_held_by(const struct freeze *f);

/* How a guest that runs stands still although nobody is in the middle of a run, and the command that lets it
 * go on: a control group that is frozen, a QEMU that is paused, file systems that are frozen. Malloc'ed;
 * NULL: it does not, or cannot be asked. */
char *guest_stands_still(const struct guest_config *g);

enum freeze_end {
    FREEZE_HELD,    /* it was frozen until now */
    FREEZE_RAN_OUT, /* the watchdog thawed it before */
    FREEZE_LOST,    /* as well, or it may at any time: a new freeze would not hold */
};
/* Thaw and free. -1: thawing failed, or the watchdog had done it. */
int guest_thaw(struct freeze *f, enum freeze_end *end, struct err *e);
