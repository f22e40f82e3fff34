/* A link: the agent's process on another node, and the channel to it.
 *
 * ssh: one master connection per target is shared between runs (a ControlMaster of its own session, started
 * on demand under a lock, ControlPersist), ConnectTimeout and keep-alives set, so that a dead target fails
 * within 15 s and a hung one within 60 s. Local: the agent is spawned directly with --config.
 */
#pragma once

#include "base/err.h"
#include "wire/frame.h"

#include <stdbool.h>
#include <stdint.h>

struct link_target {
    const char *node;    /* HostKeyAlias */
    const char *address; /* "local": spawn directly */
    uint16_t port;
    const char *user;
    const char *agent;       /* "pvesr agent"; split at blanks for a local spawn */
    const char *config;      /* the far pvesr.conf or NULL */
    const char *known_hosts; /* a file with pinned host keys, or NULL */
    const char *run_dir;     /* for control sockets */
};

struct link {
    struct channel *channel;
    /* private */
    struct link_process *process;
};

/* Connects, starts the agent; no frame has been exchanged yet. */
int link_open(const struct link_target *t, struct link *ret, struct err *e);
/* Ends the agent and closes; false: it had to be killed. Collects its last stderr line into *e's sentence
 * when `e` is already set and of kind ERR_NETWORK (so that "connection refused" or "command not found" is
 * told). */
void link_close(struct link *l, struct err *e);

/* Run one command on the node with arguments (each quoted for the remote shell), used for calls that Proxmox
 * VE defines (set-state). Output and status as proc_check. */
int link_command(const struct link_target *t, char *const argv[], struct err *e);
