#include "base/fs.h"

#include "base/mem.h"
#include "base/num.h"
#include "base/refusal.h"
#include "base/strv.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static char *parent_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (!slash)
        return xstrdup(".");
    return slash == path ? xstrdup("/") : xstrndup(path, (size_t)(slash - path));
}

int fs_read(const char *path, size_t cap, struct buf *ret, struct err *e)
{
    buf_clear(ret);
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
        return 1;
    int r = fd < 0 ? err_sys(e, "cannot open '%s'", path) : fs_read_fd(fd, path, cap, ret, e);
    if (r < 0 && e->code == EIO)
        refusal_explain(e, path);
    return r;
}

int fs_read_fd(int fd, const char *what, size_t cap, struct buf *ret, struct err *e)
{
    buf_clear(ret);
    struct stat st;
    if (fstat(fd, &st) < 0)
        return err_sys(e, "cannot read '%s'", what);
    if (!S_ISREG(st.st_mode))
        return err_set(e, ERR_DATA, 0, "'%s' is not a regular file", what);
    for (;;) { /* not by st_size: files of FUSE and /proc may lie about it */
        char *to = buf_reserve(ret, 65536);
        ssize_t n = read(fd, to, 65536);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_sys(e, "cannot read '%s'", what);
        ret->len += (size_t)n;
        ret->data[ret->len] = 0;
        if (ret->len > cap)
            return err_set(e, ERR_DATA, 0, "'%s' is larger than %zu bytes", what, cap);
        if (n == 0)
            return 0;
    }
}

/* One file that is to replace another. */
struct replacement {
    int dir;
    const char *name;
    const char *what; /* for sentences */
    mode_t mode;
    bool exact; /* the mode, whatever the umask is */
};

static int write_new(const struct replacement *r, const char *tmp, const void *data, size_t len,
                     struct err *e)
{
    _cleanup_close_ int fd =
        openat(r->dir, tmp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, r->mode);
    if (fd < 0)
        return err_sys(e, "cannot write '%s'", r->what);
    if (r->exact && fchmod(fd, r->mode) < 0 && errno != EPERM && errno != ENOTSUP)
        return err_sys(e, "cannot set the mode of '%s'", r->what);
    if (fs_write_all(fd, data, len, r->what, e) < 0)
        return -1;
    if (fsync(fd) < 0)
        return err_sys(e, "cannot flush '%s'", r->what);
    if (close(take_fd(&fd)) < 0)
        return err_sys(e, "cannot close '%s'", r->what);
    return 0;
}

static int replace(const struct replacement *r, const void *data, size_t len, struct err *e)
{
    _cleanup_free_ char *tmp = xasprintf("%s.tmp.%d", r->name, (int)getpid());
    unlinkat(r->dir, tmp, 0); /* of a killed process that had our pid */
    int rc = write_new(r, tmp, data, len, e);
    if (rc == 0 && renameat(r->dir, tmp, r->dir, r->name) < 0)
        rc = err_sys(e, "cannot write '%s'", r->what);
    if (rc == 0)
        return fs_sync_dir_fd(r->dir, r->what, e);
    unlinkat(r->dir, tmp, 0);
    if (*r->what == '/')
        refusal_explain(e, r->what);
    return -1;
}

/* Is this "NAME.tmp.PID" of a process that is gone? */
static bool is_left(const char *entry, const char *name)
{
    static const char middle[] = ".tmp.";
    const char *tmp = NULL;
    for (const char *p = entry; (p = strstr(p, middle)); p++)
        tmp = p;
    if (!tmp ||
        (name && (strlen(name) != (size_t)(tmp - entry) || strncmp(entry, name, (size_t)(tmp - entry)))))
        return false;
    uint64_t pid;
    struct err ignored;
    return num_parse_u64("", tmp + strlen(middle), 1, INT32_MAX, &pid, &ignored) == 0 &&
           kill((pid_t)pid, 0) < 0 && errno == ESRCH;
}

bool fs_sweep(int dirfd, const char *name, bool look)
{
    bool any = false;
    int again = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = again < 0 ? NULL : fdopendir(again);
    if (!dir && again >= 0)
        close(again);
    for (const struct dirent *d; dir && (d = readdir(dir));)
        if (is_left(d->d_name, name))
            any = look || unlinkat(dirfd, d->d_name, 0) == 0;
    if (dir)
        closedir(dir);
    return any;
}

int fs_write_atomic(const char *path, const void *data, size_t len, mode_t mode, struct err *e)
{
    const char *slash = strrchr(path, '/');
    _cleanup_free_ char *parent = parent_of(path);
    _cleanup_close_ int dir = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return err_sys(e, "cannot write '%s'", path);
    struct replacement r = {dir, slash ? slash + 1 : path, path, mode, true};
    fs_sweep(dir, r.name, false);
    return replace(&r, data, len, e);
}

int fs_write_atomic_at(int dirfd, const char *name, const char *what, const void *data, size_t len,
                       mode_t mode, struct err *e)
{
    struct replacement r = {dirfd, name, what, mode, false};
    return replace(&r, data, len, e);
}

void fs_restrict(int fd, mode_t mode)
{
    struct stat st;
    if (fstat(fd, &st) == 0 && st.st_mode & 0777 & ~mode)
        (void)!fchmod(fd, st.st_mode & 07777 & ~(0777 & ~mode));
}

int fs_mkdir_p(const char *path, mode_t mode, struct err *e)
{
    if (!*path)
        return err_set(e, ERR_SYSTEM, ENOENT, "cannot make directory ''");
    _cleanup_free_ char *copy = xstrdup(path);
    for (char *p = copy + 1;; p++) {
        if (*p && *p != '/')
            continue;
        char kept = *p;
        *p = 0;
        if (mkdir(copy, mode) < 0 && errno != EEXIST) {
            err_sys(e, "cannot make directory '%s'", copy);
            refusal_explain(e, copy);
            return -1;
        }
        *p = kept;
        if (!kept)
            break;
    }
    struct stat st;
    if (stat(path, &st) < 0) {
        err_sys(e, "cannot make directory '%s'", path);
        refusal_explain(e, path);
        return -1;
    }
    if (!S_ISDIR(st.st_mode))
        return err_set(e, ERR_SYSTEM, ENOTDIR, "cannot make directory '%s'", path);
    return 0;
}

int fs_sync_dir(const char *path, struct err *e)
{
    _cleanup_close_ int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return err_sys(e, "cannot open directory '%s'", path);
    return fs_sync_dir_fd(fd, path, e);
}

int fs_sync_dir_fd(int fd, const char *what, struct err *e)
{
    if (fsync(fd) < 0 && errno != EINVAL && errno != ENOTSUP) /* FUSE file systems may not offer it */
        return err_sys(e, "cannot flush the directory of '%s'", what);
    return 0;
}

int fs_unlink(const char *path, struct err *e)
{
    if (unlink(path) == 0)
        return 0;
    return errno == ENOENT ? 1 : err_sys(e, "cannot remove '%s'", path);
}

int fs_look_at(int dirfd, const char *name, struct err *e)
{
    struct stat st;
    if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
        return 1;
    return errno == ENOENT || errno == ENOTDIR ? 0 : err_sys(e, "cannot look at '%s'", name);
}

const struct dirent *fs_next_entry(DIR *dir, bool *failed)
{
    errno = 0;
    const struct dirent *entry = readdir(dir);
    *failed = !entry && errno != 0;
    return entry;
}

bool fs_exists(const char *path)
{
    return access(path, F_OK) == 0;
}

static bool is_symlink(int dirfd, const char *name)
{
    struct stat st;
    return fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(st.st_mode);
}

/* One component. -1 with errno, ELOOP for a symlink whatever the flags. */
static int open_component(int dirfd, const char *name, int flags, mode_t mode)
{
    if (strcmp(name, "..") == 0) {
        errno = EXDEV;
        return -1;
    }
    int fd = openat(dirfd, name, flags | O_NOFOLLOW | O_CLOEXEC, mode);
    if (fd < 0 && errno == ENOTDIR && is_symlink(dirfd, name))
        errno = ELOOP;
    struct stat st;
    if (fd >= 0 && flags & O_PATH && fstat(fd, &st) == 0 && S_ISLNK(st.st_mode)) {
        close(fd);
        errno = ELOOP;
        return -1;
    }
    return fd;
}

/* openat2 where there is none (a filter of system calls, valgrind). Stricter: no ".." at all. */
static int open_by_steps(int dirfd, const char *name, int flags, mode_t mode)
{
    if (*name == '/') {
        errno = EXDEV;
        return -1;
    }
    _cleanup_strv_ struct strv parts = STRV_INIT;
    strv_split(&parts, name, "/");
    if (parts.n == 0) {
        errno = ENOENT;
        return -1;
    }
    _cleanup_close_ int at = -1;
    for (size_t i = 0; i + 1 < parts.n; i++) {
        int next = open_component(at < 0 ? dirfd : at, parts.v[i], O_PATH | O_DIRECTORY, 0);
        if (next < 0)
            return -1;
        if (at >= 0)
            close(at);
        at = next;
    }
    return open_component(at < 0 ? dirfd : at, parts.v[parts.n - 1], flags, mode);
}

int fs_open_beneath(int dirfd, const char *name, int flags, mode_t mode, struct err *e)
{
    struct open_how how = {
        .flags = (uint64_t)(unsigned)(flags | O_CLOEXEC),
        .mode = flags & (O_CREAT | __O_TMPFILE) ? mode : 0,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
    };
    int fd;
    do
        fd = (int)syscall(SYS_openat2, dirfd, name, &how, sizeof how);
    while (fd < 0 && errno == EAGAIN);
    if (fd < 0 &&
        (errno == ENOSYS || errno == EPERM)) /* older filters answer EPERM to what they do not know */
        fd = open_by_steps(dirfd, name, flags, mode);
    if (fd >= 0)
        return fd;
    if (errno == ELOOP || errno == EXDEV)
        return err_set(e, ERR_DATA, errno, "'%s' is a symlink or leads elsewhere: it is not followed", name);
    return err_sys(e, "cannot open '%s'", name);
}

void fs_write_back(int fd, const struct tick *tick)
{
    off_t step = 64 << 20, size = lseek(fd, 0, SEEK_END);
    for (off_t at = 0; at < size; at += step) {
        sync_file_range(fd, at, step,
                        SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER);
        tick_now(tick);
    }
}

int fs_pwrite_all(int fd, const void *data, size_t n, uint64_t offset, const char *what, struct err *e)
{
    for (const char *p = data; n;) {
        ssize_t done = pwrite(fd, p, n, (off_t)offset);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return err_sys(e, "cannot write '%s'", what);
        p += done;
        n -= (size_t)done;
        offset += (uint64_t)done;
    }
    return 0;
}

int fs_pread_all(int fd, void *data, size_t n, uint64_t offset, const char *what, struct err *e)
{
    for (char *p = data; n;) {
        ssize_t done = pread(fd, p, n, (off_t)offset);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return err_sys(e, "cannot read '%s'", what);
        if (done == 0)
            return err_set(e, ERR_DATA, 0, "'%s' ends at byte %llu, before it should", what,
                           (unsigned long long)offset);
        p += done;
        n -= (size_t)done;
        offset += (uint64_t)done;
    }
    return 0;
}

int fs_write_all(int fd, const void *data, size_t n, const char *what, struct err *e)
{
    for (const char *p = data; n;) {
        ssize_t done = write(fd, p, n);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return err_sys(e, "cannot write '%s'", what);
        p += done;
        n -= (size_t)done;
    }
    return 0;
}
