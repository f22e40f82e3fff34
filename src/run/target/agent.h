/* The target's side of a run. One process serves one run, one call after the other; it ends when the peer
 * hangs up. Nothing the peer says is trusted: names, sizes and owners are checked for every call, and a
 * volume that was not opened first is refused. */
#pragma once

#include "base/err.h"
#include "run/env.h"

struct agent_options {
    const char *peer; /* the only node that may be at the other end, or NULL: whoever it says that it is */
    double patience;  /* seconds to wait for the configuration of a guest that this node does not know yet */
};
#define AGENT_PATIENCE 10

/* The far side of a run, over two file descriptors; returns when the peer is done or gone. What it may is
 * said in run/target/policy.h. */
int agent_serve(struct env *env, int in, int out, const struct agent_options *o, struct err *e);
