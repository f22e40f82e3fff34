/* What changed between two digest maps of a plain file, with the data read from the live file and each block
 * proved to be still the one that the newer map saw: ERR_DATA when it is not. Same shape as
 * volume/file/delta.h; descriptors are borrowed. */
#pragma once

#include "volume/volume.h"

struct mapdelta;

/* base_fd: the older map, -1 for everything that is not zero. data_fd: the live file. */
struct mapdelta *mapdelta_new(int base_fd, int map_fd, int data_fd, uint64_t from, struct err *e);
void mapdelta_free(struct mapdelta *d);
CLEANUP_FUNC(mapdelta_free, struct mapdelta)
int mapdelta_next(struct mapdelta *d, struct extent *ret, struct err *e);
const void *mapdelta_data(const struct mapdelta *d);
