/* Who is in the cluster, how to reach them, are they online, is there a quorum.
 * pmxcfs: .members (ip, online, quorate). Otherwise nodes.cfg; a node is then taken as online (online = true)
 * since only trying tells, and quorate is true. */
#pragma once

#include "cluster/tree.h"
#include "conf/nodes.h"

#include <stdbool.h>

struct member {
    struct node node;
    bool online;
};

struct members {
    struct member *v;
    size_t n;
    bool quorate;
    char *cluster;        /* its name, or NULL: it has none */
    struct strv warnings; /* "nodes.cfg:7: …" */
};

int members_load(struct tree *t, struct members *ret, struct err *e);
void members_release(struct members *m);
/* Is `node`, this one, a node of that tree: one of the members, or with a folder in nodes/? Otherwise
 * ERR_CONFIG: what such a tree has says nothing of this node's jobs. A tree without any member, node and job
 * is a new one, unless this node is known to have had jobs (`had_jobs`): that one is lost, or not mounted. */
int members_check_node(struct tree *t, const struct members *m, const char *node, bool had_jobs,
                       struct err *e);
const struct member *members_find(const struct members *m, const char *name); /* NULL: unknown */
