/* A request that is another node's to answer goes there: with the caller's own credentials, so that the node
 * decides, and as checked here, so that no byte of the client's own text goes further. */
#pragma once

#include "api/call.h"
#include "api/forward.h"

/* The header that says which node a request came by: it goes on to no other. */
#define RELAY_HEADER "PVESR-Forwarded-By"

/* 1: its answer comes later; -1: refused. */
int relay_begin(struct call *c, const char *node, struct err *e);
/* Asks another node for `path` (below /api2/json) in the same way, with c's parameters. NULL and *e;
 * ERR_NONE: the node has never served its API. */
struct forward *relay_ask(struct call *c, const char *node, const char *path,
                          void (*done)(const struct forward_result *r, void *arg), void *arg, struct err *e);
