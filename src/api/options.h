/* What a process of its own does for PUT /cluster/options, so that nobody waits for the tree's lock. */
#pragma once

#include "base/buf.h"
#include "cluster/tree.h"

/* Into datacenter.cfg, under its lock. changes: lines, "KEY=VALUE", or "KEY" to remove it. */
int options_write(struct tree *t, const char *changes, struct err *e);
