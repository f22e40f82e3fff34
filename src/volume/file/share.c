#include "volume/file/share.h"

#include <errno.h>
#include <linux/fs.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>

/* Of an empty file; off also gives checksums to one that has none because of `nodatasum`. */
static int set_nocow(int fd, bool on)
{
    int flags;
    if (ioctl(fd, FS_IOC_GETFLAGS, &flags) < 0)
        return -1;
    flags &= ~(FS_NOCOW_FL | FS_COMPR_FL);
    flags |= on ? FS_NOCOW_FL : 0;
    return ioctl(fd, FS_IOC_SETFLAGS, &flags);
}

static bool share(int to, int from, const struct file_clone_range *range)
{
    return range ? ioctl(to, FICLONERANGE, range) == 0 : ioctl(to, FICLONE, from) == 0;
}

static bool is_of_a_kind(int code)
{
    return code == EINVAL || code == EOPNOTSUPP || code == EXDEV;
}

/* 0, or the errno of the first attempt. */
static int share_as_it_is(int to, int from, const struct file_clone_range *range)
{
    if (share(to, from, range))
        return 0;
    int code = errno;
    for (int nocow = 0; nocow <= 1 && is_of_a_kind(code); nocow++)
        if (set_nocow(to, nocow) == 0 && share(to, from, range))
            return 0;
    return code;
}

int share_range(int to, int from, uint64_t start, uint64_t length, struct err *e)
{
    struct file_clone_range range = {
        .src_fd = from, .src_offset = start, .dest_offset = start, .src_length = length};
    int code = share_as_it_is(to, from, &range);
    return code ? err_set(e, ERR_SYSTEM, code, "cannot make a reflink of a part of the image") : 0;
}

int share_file(int to, int from, const char *path, struct err *e)
{
    int code = share_as_it_is(to, from, NULL);
    if (!code)
        return 0;
    if (code == ETXTBSY)
        return err_set(e, ERR_CONFIG, 0,
                       "the node uses '%s' as swap space, of which there can be no snapshot: swapoff '%s'",
                       path, path);
    if (!is_of_a_kind(code))
        return err_set(e, ERR_SYSTEM, code, "cannot make a reflink of '%s'", path);
    return err_set(
        e, ERR_CONFIG, 0,
        "the file system does not share the blocks of '%s', as a snapshot must (%s): while the guest is "
        "stopped, put a new file in its place: cp --sparse=always --reflink=never '%s' '%s.new' && mv "
        "'%s.new' '%s'",
        path, strerror(code), path, path, path, path);
}
