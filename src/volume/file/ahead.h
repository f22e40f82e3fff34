/* A reflink of a file that is in use, most of it made ahead. To clone a file of many extents takes
 * microseconds for each, and nobody can write meanwhile; to compare two maps of extents takes a small part of
 * that. So the clone is made in slices while the file is written to, and brought up to date when its writers
 * hold still.
 *
 * Blocks that two files share are never written in place, so the same place at the same offset is the same
 * data. Whether the writers did hold still is not believed but seen: whatever is written changes the file's
 * ctime. What was written before, and is under way, is waited for (a clone of any range does so).
 */
#pragma once

#include "base/err.h"
#include "base/tick.h"

#include <stdbool.h>
#include <stdint.h>

/* Fewer extents are cloned in a tenth of a second. */
#define AHEAD_EXTENTS 16384

/* Has the file so many that it is worth while? */
bool ahead_worth(int from);
/* Make `to`, an empty file beside it, nearly what `from` is. */
int ahead_clone(int to, int from, const struct tick *tick, struct err *e);
/* Make `to` exactly what `from` is. 1: nobody can tell whether it is, because `from` was written to
 * meanwhile, or the clock was put back: clone the whole file at once. ranges: that were cloned; may be NULL.
 */
int ahead_finish(int to, int from, uint64_t *ranges, struct err *e);
