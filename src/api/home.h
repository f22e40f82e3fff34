/* Is the tree this node's? */
#pragma once

#include "cluster/tree.h"
#include "conf/settings.h"

/* As the scheduler asks before it believes a tree that has no jobs (members_check_node). Whatever is made for
 * this node in one that is not, as in the folder on which it is to be mounted, makes it seem so for good: no
 * keys, no certificate and no place are. */
int home_check(struct tree *t, const struct settings *s, struct err *e);
