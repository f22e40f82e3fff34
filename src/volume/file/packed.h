/* Compressed extents of a file on btrfs. FIEMAP gives their place on the device but not which part of the
 * uncompressed data a file shows, so two files with the same place may still differ; the file system's tree
 * says it (BTRFS_IOC_TREE_SEARCH_V2, needs CAP_SYS_ADMIN).
 */
#pragma once

#include "volume/file/map.h"

struct packed; /* a walk over one file's */

struct packed *packed_new(int fd);
void packed_free(struct packed *p);
/* The compressed extent that holds pos; false when the tree does not say, or there is none. */
bool packed_at(struct packed *p, uint64_t pos, struct region *ret);
