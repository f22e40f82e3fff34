/* The agent's `prune` (docs/PROTOCOL.md): what a run needs no more goes, and each thing that went is told. */
#pragma once

#include "run/env.h"
#include "run/target/replica.h"

#include <jansson.h>

struct pruning {
    struct env *env;
    const char *job;
    uint32_t guest;
    const struct replicas *replicas;
    const struct strv *stale; /* volids that may be dropped */
    struct strv *removed;     /* gets what was removed and why, and what was kept of it */
    const char *why;          /* set by prune_serve */
};

int prune_serve(struct pruning *p, const json_t *o, json_t **reply, struct err *e);
