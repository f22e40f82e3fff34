/* The places (struct volume_place) of volumes that are files or subvolumes. */
#pragma once

#include "volume/volume.h"

/* Of `name` in the directory `dir`, or where that is not there yet (-1), in `below` under `root`. */
int place_of_file(int dir, int root, const char *below, const char *name, struct volume_place *ret,
                  struct err *e);
