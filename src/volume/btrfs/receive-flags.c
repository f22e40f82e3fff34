/* The flags of files on the target. See flags.h. */
#include "volume/btrfs/flags.h"
#include "volume/btrfs/receive.h"

#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#define ENTRIES_MAX (4u << 20)
#define PATHS_MAX (64u << 20)
#define COMPRESSION "btrfs.compression"

struct flags_entry {
    uint64_t ino;
    uint64_t flags;
    char *path;
};

/* An inode, which may move until the end. */
struct flags_lifted {
    struct file_handle *handle;
    int mount;
    uint64_t flags;
};

void flags_release(struct flags_list *f)
{
    for (size_t i = 0; i < f->n; i++)
        free(f->v[i].path);
    for (size_t i = 0; i < f->n_lifted; i++)
        free(f->lifted[i].handle);
    free(f->v);
    free(f->lifted);
    *f = (struct flags_list){0};
}

int flags_note(struct flags_list *f, uint64_t ino, uint64_t flags, const char *path, struct err *e)
{
    if (f->n && ino <= f->v[f->n - 1].ino)
        return err_set(e, ERR_DATA, 0, "the btrfs stream has the flags of files out of order");
    f->paths += path ? strlen(path) : 0;
    if (f->n == ENTRIES_MAX || f->paths > PATHS_MAX)
        return err_set(e, ERR_DATA, 0, "the btrfs stream has the flags of too many files");
    f->v = xgrow(f->v, f->n, sizeof *f->v);
    f->v[f->n++] = (struct flags_entry){ino, flags & FLAGS_CARRIED, path ? xstrdup(path) : NULL};
    return 0;
}

/* ---- one file ---- */

static const struct {
    uint64_t flag;
    unsigned fs, extra; /* FS_IOC_SETFLAGS, FS_IOC_FSSETXATTR; 0: it has none */
} words[] = {
    {FLAGS_NOCOW, FS_NOCOW_FL, 0},
    {FLAGS_DIRSYNC, FS_DIRSYNC_FL, 0},
    {FLAGS_SYNC, FS_SYNC_FL, FS_XFLAG_SYNC},
    {FLAGS_IMMUTABLE, FS_IMMUTABLE_FL, FS_XFLAG_IMMUTABLE},
    {FLAGS_APPEND, FS_APPEND_FL, FS_XFLAG_APPEND},
    {FLAGS_NODUMP, FS_NODUMP_FL, FS_XFLAG_NODUMP},
    {FLAGS_NOATIME, FS_NOATIME_FL, FS_XFLAG_NOATIME},
};

static int flags_get(int fd, uint64_t *ret, unsigned *all)
{
    int fs = 0;
    *ret = 0;
    if (ioctl(fd, FS_IOC_GETFLAGS, &fs) < 0)
        return -1;
    *all = (unsigned)fs;
    for (size_t i = 0; i < ELEMENTS(words); i++)
        *ret |= *all & words[i].fs ? words[i].flag : 0;
    return 0;
}

/* Setting flags in this way takes the compression's property away, or makes it another. */
static int set_by_flags(int fd, uint64_t flags)
{
    char value[32];
    int fs = 0;
    ssize_t n = fgetxattr(fd, COMPRESSION, value, sizeof value);
    for (size_t i = 0; i < ELEMENTS(words); i++)
        fs |= flags & words[i].flag ? (int)words[i].fs : 0;
    if (ioctl(fd, FS_IOC_SETFLAGS, &fs) < 0)
        return -1;
    return n > 0 ? fsetxattr(fd, COMPRESSION, value, (size_t)n, 0) : 0;
}

static int set_by_extra(int fd, uint64_t flags)
{
    struct fsxattr x;
    if (ioctl(fd, FS_IOC_FSGETXATTR, &x) < 0)
        return -1;
    for (size_t i = 0; i < ELEMENTS(words); i++)
        x.fsx_xflags = flags & words[i].flag ? x.fsx_xflags | words[i].extra : x.fsx_xflags & ~words[i].extra;
    return ioctl(fd, FS_IOC_FSSETXATTR, &x);
}

/* That a file with data is copied on write or not, btrfs does not change: then it stays as it is. */
static int flags_set(int fd, uint64_t flags)
{
    static const uint64_t by_flags = FLAGS_NOCOW | FLAGS_DIRSYNC;
    uint64_t now;
    unsigned all;
    if (flags_get(fd, &now, &all) < 0)
        return -1;
    if ((now ^ flags) & by_flags && set_by_flags(fd, flags & ~(uint64_t)FLAGS_BARS) < 0)
        return -1;
    return now == flags ? 0 : set_by_extra(fd, flags);
}

/* ---- when it is made ---- */

static uint64_t noted(const struct flags_list *f, uint64_t ino)
{
    size_t low = 0, high = f->n;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (f->v[mid].ino < ino)
            low = mid + 1;
        else
            high = mid;
    }
    return low < f->n && f->v[low].ino == ino ? f->v[low].flags : 0;
}

static void drop(int root, const char *given, const char *path, const char *name)
{
    if (fgetxattr(root, given, NULL, 0) > 0)
        lremovexattr(path, name);
}

static bool gives(int fd)
{
    uint64_t flags;
    unsigned all;
    return flags_get(fd, &flags, &all) == 0 && all & (FS_NOCOW_FL | FS_COMPR_FL | FS_NOCOMP_FL);
}

/* Asked once: of the root, and of the first file, which also has what the mount gives (nodatacow). */
static bool are_given(struct flags_list *f, int root, int fresh)
{
    if (f->given == 0)
        f->given = gives(root) || gives(fresh) ? 1 : -1;
    return f->given > 0;
}

int flags_fresh(struct flags_list *f, int root, int dir, const char *name, mode_t type, uint64_t ino,
                struct err *e)
{
    char path[64 + NAME_MAX];
    uint64_t flags = noted(f, ino) & ~(uint64_t)FLAGS_BARS;
    snprintf(path, sizeof path, "/proc/self/fd/%d/%.*s", dir, NAME_MAX, name);
    drop(root, "system.posix_acl_default", path, "system.posix_acl_access");
    if (!S_ISREG(type) && !S_ISDIR(type))
        return 0;
    if (S_ISDIR(type))
        drop(root, "system.posix_acl_default", path, "system.posix_acl_default");
    drop(root, COMPRESSION, path, COMPRESSION);
    if (!flags && f->given < 0)
        return 0;
    _cleanup_close_ int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (!flags && S_ISREG(type) && fd >= 0 && !are_given(f, root, fd))
        return 0;
    return fd < 0 || set_by_flags(fd, flags) < 0 ? err_sys(e, "cannot set the flags of '%s'", name) : 0;
}

int flags_compress(const char *path, const char *name, const void *value, size_t n)
{
    struct stat st;
    if (strcmp(name, COMPRESSION) != 0 || lstat(path, &st) < 0 || !S_ISREG(st.st_mode)) {
        errno = EINVAL;
        return -1;
    }
    _cleanup_close_ int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    uint64_t now;
    unsigned all;
    if (fd < 0 || flags_get(fd, &now, &all) < 0 || set_by_flags(fd, now & ~(uint64_t)FLAGS_NOCOW) < 0)
        return -1;
    return fsetxattr(fd, name, value, n, 0) < 0 && errno != EINVAL ? -1 : 0;
}

/* ---- what must be changed ---- */

static int reopen(int fd)
{
    char link[64];
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0 || (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)))
        return -1;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    return open(link, O_RDONLY | O_CLOEXEC);
}

static bool lift_one(struct flags_list *f, int root, const char *path)
{
    _cleanup_close_ int at = receive_open(root, *path ? path : ".", O_PATH), fd = reopen(at);
    uint64_t flags;
    unsigned all;
    if (fd < 0 || flags_get(fd, &flags, &all) < 0 || !(flags & FLAGS_BARS))
        return false;
    struct flags_lifted l = {.flags = flags & FLAGS_BARS};
    l.handle = xcalloc(1, sizeof *l.handle + MAX_HANDLE_SZ);
    l.handle->handle_bytes = MAX_HANDLE_SZ;
    if (name_to_handle_at(fd, "", l.handle, &l.mount, AT_EMPTY_PATH) < 0 ||
        set_by_extra(fd, flags & ~(uint64_t)FLAGS_BARS) < 0) {
        free(l.handle);
        return false;
    }
    f->lifted = xgrow(f->lifted, f->n_lifted, sizeof *f->lifted);
    f->lifted[f->n_lifted++] = l;
    return true;
}

bool flags_lift(struct flags_list *f, int root, const char *path)
{
    const char *slash = strrchr(path, '/');
    _cleanup_free_ char *folder = xstrndup(path, slash ? (size_t)(slash - path) : 0);
    bool lifted = lift_one(f, root, folder);
    return (*path && lift_one(f, root, path)) || lifted;
}

/* What is gone since needs nothing. */
static int put_back(const struct flags_lifted *l, int root, struct err *e)
{
    uint64_t now;
    unsigned all;
    _cleanup_close_ int fd = open_by_handle_at(root, l->handle, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && (errno == ESTALE || errno == ENOENT))
        return 0;
    return fd < 0 || flags_get(fd, &now, &all) < 0 || set_by_extra(fd, now | l->flags) < 0
               ? err_sys(e, "cannot put back the flags of a file")
               : 0;
}

int flags_finish(struct flags_list *f, int root, struct err *e)
{
    for (size_t i = 0; i < f->n_lifted; i++)
        if (put_back(&f->lifted[i], root, e) < 0)
            return -1;
    for (size_t i = 0; i < f->n; i++) {
        if (!f->v[i].path)
            continue;
        const char *path = f->v[i].path;
        _cleanup_close_ int at = receive_open(root, *path ? path : ".", O_PATH), fd = reopen(at);
        if (fd < 0)
            return err_set(e, ERR_DATA, errno, "the btrfs stream has the flags of '%s', which is no file",
                           path);
        if (flags_set(fd, *path ? f->v[i].flags : f->v[i].flags & ~(uint64_t)FLAGS_BARS) < 0)
            return err_sys(e, "cannot set the flags of '%s'", path);
    }
    return 0;
}
