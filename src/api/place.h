/* Where a node's API is, and by which key it is known to the others: one line in the tree,
 * nodes/NODE/pvesr-api, that the node's daemon writes: "ADDRESS:PORT PIN". It is there on each engine,
 * whatever the node listens on and whichever certificate it has; whoever may write the tree is believed. */
#pragma once

#include "cluster/tree.h"
#include "conf/settings.h"

struct place {
    char *host; /* a name or an address, without brackets */
    uint16_t port;
    char *pin; /* "sha256//BASE64", of the public key */
};
void place_release(struct place *p);

/* Say that this node's API is served on `where` with the certificate `pem`. Writes nothing that is there
 * already, and nothing into a tree that is not this node's (home.h). */
int place_publish(struct tree *t, const struct settings *s, const char *where, const char *pem,
                  struct err *e);
/* Of a node that listens on all addresses it is the cluster's for it. 1: it has no API. ERR_CONFIG: the line
 * is none. */
int place_find(struct tree *t, const char *node, struct place *ret, struct err *e);
