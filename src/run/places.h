/* Volumes of this node by where they are (volume_place), not by what they are called: two entries of
 * storage.cfg may lead to one directory. All that is compared must have been added at the same time. */
#pragma once

#include "base/err.h"
#include "volume/volume.h"

struct placed {
    char *volid;
    struct volume_place place;
};
struct places {
    struct placed *v;
    size_t n;
};
void places_release(struct places *p);
#define _cleanup_places_ _cleanup_(places_release)

/* 1: it is there, *volid is what it is called there and belongs to p; 0: it is not. */
int places_find(const struct places *p, struct volume *v, const char **volid, struct err *e);
/* 1: it is there already. */
int places_add(struct places *p, struct volume *v, const char *volid, struct err *e);
