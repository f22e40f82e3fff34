/* The device mapper by the kernel's own calls. dmsetup(8) would be every other program that a run starts.
 *
 * Each blocks the process until the kernel has done it: no tick comes, no time limit ends it, and where the
 * pool's disk does not answer, not even SIGKILL does before that answers again. */
#pragma once

#include "base/buf.h"
#include "base/err.h"

/* Of a device with one target, by its path below /dev/mapper: what `dmsetup status` prints of it, without the
 * line's end. As with that, a thin pool writes down what it knows first. 1: there is no such device. */
int dm_status(const char *device, struct buf *ret, struct err *e);
/* What `dmsetup message DEVICE 0 TEXT` does, told at debug level as that. ERR_BUSY: the target says so. */
int dm_message(const char *device, const char *text, struct err *e);
