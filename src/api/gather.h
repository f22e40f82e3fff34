/* One question to all nodes of the cluster: this one answers by itself, the others by a relay (api/relay.h),
 * a few at a time. What each says is kept, and why some say nothing. */
#pragma once

#include "api/call.h"

#define GATHER_AT_ONCE 8

struct gathered {
    char *node;
    json_t *data;  /* of its answer; NULL: there is none… */
    char *problem; /* …and why: one line */
};

struct gather {
    struct call *call;        /* borrowed */
    char *what;               /* of the path: /nodes/NODE/WHAT */
    struct gather_part *part; /* of this node the first one */
    size_t n, begun, left;
    void (*done)(struct call *c);
};

/* Asks each of `nodes` for GET /nodes/NODE/WHAT with c's parameters; for this node, which is asked whether it
 * is among them or not, the caller calls gather_own. done is called from the event loop when another node was
 * the last one to answer. gather_free. */
struct gather *gather_begin(struct call *c, const struct strv *nodes, const char *what,
                            void (*done)(struct call *c));
/* This node's answer: data, which it takes over, or NULL and the problem. True: it was the last one. */
bool gather_own(struct gather *g, json_t *data, const char *problem);
/* What came of the i-th node, i < g->n. Borrowed. */
const struct gathered *gather_get(const struct gather *g, size_t i);
/* NULL is fine. done is not called any more. */
void gather_free(struct gather *g);
