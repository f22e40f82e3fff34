/* Which guests there are and which node owns them: where the config file lies says it
 * (nodes/NODE/qemu-server/VMID.conf, nodes/NODE/lxc/VMID.conf; pmxcfs: .vmlist).
 *
 * A guest that has two config files has no owner: it is left out, and a warning names the files. No run may
 * guess which of two copies of a disk is the true one. */
#pragma once

#include "cluster/tree.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum guest_type { GUEST_QEMU, GUEST_LXC };

struct guest_entry {
    uint32_t id;
    enum guest_type type;
    char node[64];
};

struct guest_list {
    struct guest_entry *v; /* sorted by id */
    size_t n;
    struct guest_entry *twice; /* of the guests that have two files, and are not in v: one of each file */
    size_t n_twice;
    struct strv warnings;
};

int guests_load(struct tree *t, struct guest_list *ret, struct err *e);
/* Does the list say of this guest what the tree says now? Looks at what is of this guest. 1; 0: load it anew.
 */
int guests_still(struct tree *t, const struct guest_list *g, uint32_t id, struct err *e);
void guests_release(struct guest_list *g);
const struct guest_entry *guests_find(const struct guest_list *g, uint32_t id); /* NULL: none */
bool guests_has_two(const struct guest_list *g, uint32_t id); /* two files, so that it has no owner */
/* Is it on this node? arg: a struct guests_on. */
struct guests_on {
    const struct guest_list *guests;
    const char *node;
};
bool guests_is_on(uint32_t id, const void *arg);
/* "nodes/pve1/qemu-server/100.conf"; malloc'ed. */
char *guest_config_path(const struct guest_entry *g);
const char *guest_type_name(enum guest_type t); /* "qemu", "lxc" */
