/* What pmxcfs says of the cluster in its file .members. */
#pragma once

#include "cluster/members.h"

/* Add its nodes to *nodes, and to *m whether they are online, with the same index. */
int dotmembers_parse(const struct buf *text, struct nodes *nodes, struct members *m, struct err *e);
/* Text that cannot be read says nothing of a quorum: false. */
bool dotmembers_quorate(const struct buf *text);
