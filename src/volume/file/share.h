/* A file that shares the blocks of another (a reflink). */
#pragma once

#include "base/err.h"

#include <stdint.h>

/* All of `from` becomes the content of `to`, which is new and empty. What a folder or a mount gives new files
 * keeps some of them from sharing: btrfs does not mix such with checksums and such without (nodatacow,
 * nodatasum, chattr +C). So `to` becomes of from's kind where that is in the way. `path`: of `from`, for the
 * error, which says how to come by a file that can be shared. */
int share_file(int to, int from, const char *path, struct err *e);
/* The same of a range, at the same offset in both; length 0: up to the end. */
int share_range(int to, int from, uint64_t start, uint64_t length, struct err *e);
