/* The zfspool driver: a snapshot's data for reading. See zfs.h. */
#include "volume/zfs/zfs.h"

#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <linux/fs.h>

#define DEVICE_TRIES 3000
#define DEVICE_NANOSECONDS 10000000

/* udev makes it a moment after ZFS has it. */
int zfs_device_open(const char *path, int flags, const struct tick *tick, struct err *e)
{
    int fd;
    for (int i = 0; (fd = open(path, flags | O_CLOEXEC)) < 0 && errno == ENOENT && i < DEVICE_TRIES; i++) {
        tick_now(tick);
        nanosleep(&(struct timespec){.tv_nsec = DEVICE_NANOSECONDS}, NULL);
    }
    return fd < 0 ? err_sys(e, "cannot open '%s'", path) : fd;
}

static int open_read_only(const char *path, const struct tick *tick, struct err *e)
{
    int fd = zfs_device_open(path, O_RDONLY, tick, e);
    if (fd < 0)
        return -1;
    struct stat st;
    int read_only = 0;
    if (fstat(fd, &st) == 0 && S_ISBLK(st.st_mode) && ioctl(fd, BLKROGET, &read_only) == 0 && read_only)
        return fd;
    close(fd);
    return err_set(e, ERR_DATA, 0, "'%s' is no read-only block device", path);
}

/* The devices of all snapshots come, and stay until the next commit replaces the volume. */
static int open_zvol(struct zfs *z, const char *name, const char *full, struct err *e)
{
    _cleanup_free_ char *path = xasprintf("/dev/zvol/%s", full);
    if (access(path, F_OK) < 0 && zfs_change(z, e, "set", "snapdev=visible", name, NULL) < 0)
        return -1;
    return open_read_only(path, zfs_tick(z), e);
}

/* A mount that is nowhere. */
static int open_filesystem(const char *full, struct err *e)
{
    _cleanup_close_ int fs = fsopen("zfs", FSOPEN_CLOEXEC);
    if (fs < 0 || fsconfig(fs, FSCONFIG_SET_STRING, "source", full, 0) < 0 ||
        fsconfig(fs, FSCONFIG_SET_FLAG, "ro", NULL, 0) < 0 ||
        fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
        return err_sys(e, "cannot mount '%s'", full);
    int fd = fsmount(fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
    return fd < 0 ? err_sys(e, "cannot mount '%s'", full) : fd;
}

int zfs_snapshot_open(struct volume *v, const struct snapshot *s, int *fd, struct err *e)
{
    struct zfs *z = zfs_of(v);
    _cleanup_view_ struct zfs_view w = {0};
    if (zfs_view(z, &w, e) < 0)
        return -1;
    const struct zfs_snapshot *x = zfs_find_id(&w, s->id);
    if (!x || x->is_bookmark)
        return err_set(e, ERR_DATA, 0, "snapshot '%s' is not there any more", s->name);
    _cleanup_free_ char *full = xasprintf("%s@%s", x->dataset, x->s.name);
    *fd = x->s.size ? open_zvol(z, x->dataset, full, e) : open_filesystem(full, e);
    return *fd < 0 ? -1 : 0;
}

static int open_live(struct zfs *z, uint64_t *size, struct err *e)
{
    _cleanup_view_ struct zfs_view w = {0};
    if (zfs_view(z, &w, e) < 0)
        return -1;
    if (!w.live.name[0] || !w.live.volume)
        return err_set(e, ERR_DATA, 0, "there is no zvol '%s'", z->live);
    _cleanup_free_ char *path = xasprintf("/dev/zvol/%s", z->live);
    *size = w.live.size;
    return zfs_device_open(path, O_RDONLY, zfs_tick(z), e);
}

int zfs_read_open(struct volume *v, const struct snapshot *s, struct volume_reader *ret, int *fd,
                  uint64_t *size, struct err *e)
{
    if (s && !s->size)
        return err_set(e, ERR_CONFIG, 0, "a directory tree cannot be read block by block");
    *size = s ? s->size : 0;
    if (s)
        return zfs_snapshot_open(v, s, fd, e);
    *fd = open_live(zfs_of(v), size, e);
    return *fd < 0 ? -1 : 0;
}
