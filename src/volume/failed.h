/* For what is said of all drivers' volumes (volume.c, delta.c, stage.c): errors that name the volume. All
 * return what their caller returns. */
#pragma once

#include "base/err.h"
#include "volume/volume.h"

/* Names the volume in a driver's error, and says how much room there is when there is none. -1. */
int volume_failed(const struct volume *v, struct err *e);
/* `r`, of a driver, with volume_failed when it is negative. */
int volume_done(const struct volume *v, int r, struct err *e);
/* volume_context.allowed: whoever removes something asks. */
int volume_allowed(const struct volume *v, struct err *e);
/* -1: storages of its type cannot do `what`. */
int volume_lacks(const struct volume *v, const char *what, struct err *e);
/* volume_read_digests, of any file with a volume's data. */
int read_digests(struct volume *v, struct blockreader *r, uint64_t offset, size_t n, struct digest *ret,
                 struct err *bad, struct err *e);
int volume_check_snapshot_name(const struct volume *v, const char *name, struct err *e);
int volume_check_id(const struct volume *v, const char *id, struct err *e);
