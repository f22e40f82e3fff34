/* A link: the agent's process on another node, and the channel to it.
 *
 * ssh: one master connection per target is shared between runs. It is started on demand under a lock, in a
 * session of its own, and stays ten minutes after its last use. A dead target fails within 15 s; on a link
 * that hangs later, the keep-alives (40 s) or the channel's timeout end it. When the path of the control
 * socket in run_dir would be too long for a socket, each run has its own connection.
 * Local: the agent is spawned directly with --config; a `pvesr` that is not installed is this very program.
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
    const char *agent;       /* "pvesr agent"; split at blanks */
    const char *config;      /* the far pvesr.conf or NULL */
    const char *known_hosts; /* a file with pinned host keys, or NULL */
    const char *run_dir;     /* for control sockets, or NULL: nothing is shared */
    /* Called with each line that the carrier or the agent writes to stderr, as text_clean leaves it; or
     * NULL. */
    void (*line)(const char *line, void *arg);
    void *line_arg;
};

struct link {
    struct channel *channel;
    /* private */
    struct link_process *process;
};

/* Connects, starts the agent; no frame has been exchanged yet. The strings of t are needed until then only.
 * ERR_CONFIG: a name that cannot be given to ssh. ERR_NETWORK: no connection. */
int link_open(const struct link_target *t, struct link *ret, struct err *e);
/* Closes the channel, lets the agent end (10 s; 2 s after a failure) and kills it otherwise. e->kind must be
 * ERR_NONE, or tell the failure that ends the link: the last line from stderr is then added to the sentence
 * of an ERR_NETWORK ("Connection refused", "command not found"). */
void link_close(struct link *l, struct err *e);
/* The agent did not answer: the next link_open makes a new connection instead of sharing the present one. */
void link_forget(const struct link_target *t);

/* Run one command on the node with arguments (each quoted for the remote shell), used for calls that Proxmox
 * VE defines (set-state). `pvesr` as the first word stands for the program of t->agent. A status other than
 * 0 is an error, as in proc_check. */
int link_command(const struct link_target *t, char *const argv[], struct err *e);
