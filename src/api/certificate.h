/* The certificate under which the API is served: pvesr.conf's, else the node's own in the tree
 * (nodes/NODE/pveproxy-ssl.pem and .key, or pve-ssl.pem and .key), else one made here and put there, so that
 * other nodes know it. */
#pragma once

#include "base/buf.h"
#include "cluster/tree.h"
#include "conf/settings.h"

struct certificate {
    struct buf cert, key; /* PEM */
};

int certificate_load(const struct settings *s, struct tree *t, struct certificate *ret, struct err *e);
/* Something that is another when a file of these is: appended. */
void certificate_stamp(const struct settings *s, const struct tree *t, struct buf *ret);
void certificate_release(struct certificate *c);
