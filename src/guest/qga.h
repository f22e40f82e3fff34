/* The sockets of a virtual machine, as far as freezing needs them: its guest agent (QEMU: qapi
 * "guest-sync-delimited", "guest-fsfreeze-*") and QEMU's own monitor (QMP: "query-status", "stop", "cont").
 * The guest is not trusted: what it says is bounded in size and time.
 *
 * QEMU serves one client at a time: keep a connection only as long as a few commands take.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"

#include <jansson.h>

struct qga {
    int fd;
    struct buf in;
    const char *path; /* borrowed */
    const char *who;  /* for messages: "the guest agent" */
};

/* Connect, and agree on where answers begin, within so many seconds. ERR_NETWORK: nobody answers. */
int qga_open(const char *path, double seconds, struct qga *ret, struct err *e);
/* The same of QEMU's monitor: up to where it takes commands. */
int qmp_open(const char *path, double seconds, struct qga *ret, struct err *e);
void qga_close(struct qga *q);
/* Run a command without arguments and return its value, which the caller decrefs. ERR_NETWORK: no answer in
 * time; close then. ERR_DATA: garbage; ERR_SYSTEM: the agent refused. */
json_t *qga_call(struct qga *q, const char *command, double seconds, struct err *e);
