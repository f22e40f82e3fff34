/* The zfspool driver: who uses the live volume. */
#include "volume/users.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/proc.h"
#include "volume/zfs/zfs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>

/* The dataset of a zvol's device, as ZFS' own udev helper asks for it. */
#define ZVOL_NAME_OF _IOR(0x12, 125, char[ZFS_NAME_MAX])
#define LINK_SECONDS 10
#define LINK_NANOSECONDS 50000000

/* After a rename udev makes the links anew, a moment later. 1: the device is this zvol's; 0: it has none. */
static int has_device(const struct zfs *z, const char *path, struct err *e)
{
    double end = clock_mono() + LINK_SECONDS;
    for (;;) {
        char name[ZFS_NAME_MAX] = "";
        _cleanup_close_ int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
        if (fd < 0)
            return errno == ENOENT || errno == ENXIO ? 0 : err_sys(e, "cannot open '%s'", path);
        if (ioctl(fd, ZVOL_NAME_OF, name) < 0)
            return err_sys(e, "'%s' is no zvol", path);
        name[sizeof name - 1] = 0;
        if (strcmp(name, z->live) == 0)
            return 1;
        if (clock_mono() > end)
            return err_set(e, ERR_BUSY, 0, "'%s' is still the device of '%s': does udev run?", path, name);
        tick_now(zfs_tick(z));
        nanosleep(&(struct timespec){.tv_nsec = LINK_NANOSECONDS}, NULL);
    }
}

static int zvol_in_use(const struct zfs *z, char *by, struct err *e)
{
    _cleanup_free_ char *path = xasprintf("/dev/zvol/%s", z->live);
    int r = has_device(z, path, e);
    return r > 0 ? users_of_device(path, zfs_tick(z), by, e) : r;
}

/* Where it is mounted of itself is no use, but whoever is in there. */
static int filesystem_in_use(const struct zfs *z, bool mounted, char *by, struct err *e)
{
    struct proc_options o = {.cap = 8192, .tick = zfs_tick(z)};
    _cleanup_buf_ struct buf point = BUF_INIT;
    char *argv[] = {(char *)"zfs",   (char *)"get",        (char *)"-H", (char *)"-o",
                    (char *)"value", (char *)"mountpoint", z->live,      NULL};
    if (mounted && proc_check(argv, &o, &point, e) < 0)
        return -1;
    _cleanup_free_ char *own = xstrndup(buf_str(&point), strcspn(buf_str(&point), "\n"));
    return users_of_dataset(z->live, *own == '/' && own[1] ? own : "", zfs_tick(z), by, e);
}

int zfs_in_use(struct zfs *z, char *by, struct err *e)
{
    _cleanup_view_ struct zfs_view w = {0};
    if (zfs_view(z, &w, e) < 0)
        return -1;
    if (!w.live.name[0])
        return 0;
    return w.live.volume ? zvol_in_use(z, by, e) : filesystem_in_use(z, w.live.mounted, by, e);
}

int zfs_check_unused(struct zfs *z, struct err *e)
{
    char by[VOLUME_USER_MAX + 1];
    int r = zfs_in_use(z, by, e);
    return r > 0 ? users_refuse(by, e) : r;
}
