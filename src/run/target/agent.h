/* The target's side of a run. One process serves one run, one call after the other; it ends when the peer
 * hangs up. Nothing the peer says is trusted: names, sizes and owners are checked for every call, and a
 * volume that was not opened first is refused. */
#pragma once

#include "base/err.h"
#include "run/env.h"

/* The far side of a run, over two file descriptors; returns when the peer is done or gone. */
int agent_serve(struct env *env, int in, int out, struct err *e);
