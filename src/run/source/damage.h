/* What a verification found, as the job's state remembers it: "ID RANGES VOLID" of each restore point on the
 * target that is not what the source has under its id. A run builds nothing upon it but with the ranges sent
 * anew; then RANGES becomes "-" (it is kept aside), until the source has no snapshot of the id any more. */
#pragma once

#include "base/strv.h"
#include "run/source/ranges.h"
#include "volume/volume.h"

/* False: nothing is known against it. *ret may be NULL; "-" gives no ranges. */
bool damage_find(const struct strv *damaged, const char *volid, const char *id, struct ranges *ret);
/* r NULL: it is kept aside, and nobody's base. What was known of it before is forgotten. */
void damage_set(struct strv *damaged, const char *volid, const char *id, const struct ranges *r);
void damage_forget(struct strv *damaged, const char *volid, const char *id);
/* All but those of `source`, the snapshots of one volume on this node. */
void damage_forget_gone(struct strv *damaged, const char *volid, const struct snapshots *source);
