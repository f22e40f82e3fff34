/* A request that is another node's to answer goes there: with the caller's own credentials, so that the node
 * decides, and as checked here, so that no byte of the client's own text goes further. */
#pragma once

#include "api/call.h"

/* The header that says which node a request came by: it goes on to no other. */
#define RELAY_HEADER "PVESR-Forwarded-By"

/* 1: its answer comes later; -1: refused. */
int relay_begin(struct call *c, const char *node, struct err *e);
