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
    struct strv warnings; /* "nodes.cfg:7: …" */
};

int members_load(struct tree *t, struct members *ret, struct err *e);
void members_release(struct members *m);
const struct member *members_find(const struct members *m, const char *name); /* NULL: unknown */
