/* Who else on this node uses a volume: processes, loop devices, mounts, devices made on top of it, as the
 * kernel knows them. Our own process is nobody; what only reads a file is nobody either, since it loses
 * nothing when that is replaced. There is no lock against who comes a moment later, so this is asked right
 * before something is replaced or removed.
 *
 * 1: `by` says who, for people: "process 4711 (qemu-system-x86)", "/dev/loop3", "a mount at /mnt/x"; 0:
 * nobody.
 */
#pragma once

#include "volume/volume.h"

/* A regular file, opened for reading; this process must not have it open for writing. users_writing, and
 * mounts of the file itself. */
int users_of_file(int fd, const struct tick *tick, char by[VOLUME_USER_MAX + 1], struct err *e);
/* Whoever has it open for writing, or mapped so. A read lease (fcntl(2), F_SETLEASE) tells it, so nobody can
 * hide in another namespace, and it takes no time; on file systems without leases it is /proc alone. */
int users_writing(int fd, const struct tick *tick, char by[VOLUME_USER_MAX + 1], struct err *e);
/* Mounts of a file, a directory or of a part of it, and mounts in it. */
int users_by_mount(int fd, const struct tick *tick, char by[VOLUME_USER_MAX + 1], struct err *e);
/* A btrfs subvolume, its root directory: who has anything in it open or stands in it, for whatever purpose;
 * and users_by_mount. */
int users_of_tree(int fd, const struct tick *tick, char by[VOLUME_USER_MAX + 1], struct err *e);
/* The same of a ZFS filesystem. Its mount at `point` ("": it has none) is its own, and no use. */
int users_of_dataset(const char *dataset, const char *point, const struct tick *tick,
                     char by[VOLUME_USER_MAX + 1], struct err *e);
/* A block device, or one of its partitions: who has it open for whatever purpose, since what is open cannot
 * be removed; what holds it (device mapper, a mount). A scan of new devices gets a moment to end. Not there:
 * 0. */
int users_of_device(const char *path, const struct tick *tick, char by[VOLUME_USER_MAX + 1], struct err *e);

/* ERR_BUSY, with what to do; -1. */
int users_refuse(const char *by, struct err *e);
