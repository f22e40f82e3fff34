#include "cluster/tree_engine.h"

#include "base/fs.h"
#include "base/modes.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { DIR_FLAGS = O_RDONLY | O_DIRECTORY };

int tree_files_open_root(struct tree *t, struct err *e)
{
    int fd = open(t->root, DIR_FLAGS | O_CLOEXEC);
    return fd < 0 ? err_sys(e, "cannot open the configuration tree '%s'", t->root) : fd;
}

static bool is_missing(const struct err *e)
{
    return e->code == ENOENT || e->code == ENOTDIR;
}

int tree_files_read(int rootfd, const char *path, size_t cap, struct buf *ret, struct err *e)
{
    buf_clear(ret);
    struct err local;
    _cleanup_close_ int fd = fs_open_beneath(rootfd, path, O_RDONLY | O_NOCTTY | O_NONBLOCK, 0, &local);
    if (fd < 0) {
        if (is_missing(&local))
            return 1;
        *e = local;
        return -1;
    }
    return fs_read_fd(fd, path, cap, ret, e);
}

/* One directory level; its parent is flushed when it was made. */
static int enter_dir(int parent, const char *name, const char *path, struct err *e)
{
    if (mkdirat(parent, name, MODE_FOLDER) == 0) {
        if (fs_sync_dir_fd(parent, path, e) < 0)
            return -1;
    } else if (errno != EEXIST) {
        return err_sys(e, "cannot make the directory '%s'", path);
    }
    return fs_open_beneath(parent, name, DIR_FLAGS, 0, e);
}

int tree_files_make_dir(int rootfd, const char *path, struct err *e)
{
    struct err local;
    int fd = fs_open_beneath(rootfd, path, DIR_FLAGS, 0, &local);
    if (fd >= 0)
        return fd;
    if (local.code != ENOENT) {
        *e = local;
        return -1;
    }
    _cleanup_strv_ struct strv parts = STRV_INIT;
    strv_split(&parts, path, "/");
    _cleanup_close_ int at = fs_open_beneath(rootfd, ".", DIR_FLAGS, 0, e);
    for (size_t i = 0; at >= 0 && i < parts.n; i++) {
        int next = enter_dir(at, parts.v[i], path, e);
        close(at);
        at = next;
    }
    return take_fd(&at);
}

/* The directory that holds `path`; *name is the last component, pointing into path. */
static int open_parent(int rootfd, const char *path, bool make, const char **name, struct err *e)
{
    const char *slash = strrchr(path, '/');
    *name = slash ? slash + 1 : path;
    _cleanup_free_ char *dir = slash ? xstrndup(path, (size_t)(slash - path)) : xstrdup(".");
    return make ? tree_files_make_dir(rootfd, dir, e) : fs_open_beneath(rootfd, dir, DIR_FLAGS, 0, e);
}

/* As on Proxmox VE: what lies in priv/, and private keys wherever they are. */
static bool is_secret(const char *path)
{
    const char *dot = strrchr(path, '.');
    return strncmp(path, "priv/", 5) == 0 || (dot && strcmp(dot, ".key") == 0);
}

int tree_files_write(int rootfd, const char *path, const void *data, size_t len, struct err *e)
{
    const char *name;
    _cleanup_close_ int dir = open_parent(rootfd, path, true, &name, e);
    if (dir < 0)
        return -1;
    mode_t mode = is_secret(path) ? MODE_NOTE : MODE_TREE;
    struct stat st;
    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode))
        mode &= st.st_mode; /* an administrator may want it stricter */
    return fs_write_atomic_at(dir, name, path, data, len, mode, e);
}

int tree_files_remove(int rootfd, const char *path, struct err *e)
{
    const char *name;
    struct err local;
    _cleanup_close_ int dir = open_parent(rootfd, path, false, &name, &local);
    if (dir < 0) {
        if (is_missing(&local))
            return 1;
        *e = local;
        return -1;
    }
    if (unlinkat(dir, name, 0) < 0)
        return errno == ENOENT ? 1 : err_sys(e, "cannot remove '%s'", path);
    return fs_sync_dir_fd(dir, path, e);
}

bool tree_files_sweep(int rootfd, const char *path, bool look)
{
    const char *name;
    struct err ignored;
    _cleanup_close_ int dir = open_parent(rootfd, path, false, &name, &ignored);
    return dir >= 0 && fs_sweep(dir, name, look);
}

int tree_files_has(int rootfd, const char *path, struct err *e)
{
    const char *name;
    struct err local;
    _cleanup_close_ int dir = open_parent(rootfd, path, false, &name, &local);
    if (dir >= 0 && faccessat(dir, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
        return 1;
    if (dir >= 0 ? errno == ENOENT : is_missing(&local))
        return 0;
    if (dir >= 0)
        return err_sys(e, "cannot look for '%s'", path);
    *e = local;
    return -1;
}

int tree_files_look_and_rename(int from_dir, const char *from, int to_dir, const char *to)
{
    if (faccessat(to_dir, to, F_OK, AT_SYMLINK_NOFOLLOW) == 0) {
        errno = EEXIST;
        return -1;
    }
    return errno == ENOENT ? renameat(from_dir, from, to_dir, to) : -1;
}

int tree_files_rename(int rootfd, const char *from, const char *to, struct err *e)
{
    const char *from_name, *to_name;
    _cleanup_close_ int from_dir = open_parent(rootfd, from, false, &from_name, e);
    if (from_dir < 0)
        return -1;
    _cleanup_close_ int to_dir = open_parent(rootfd, to, true, &to_name, e);
    if (to_dir < 0)
        return -1;
    int rc = renameat2(from_dir, from_name, to_dir, to_name, RENAME_NOREPLACE);
    if (rc < 0 && (errno == EINVAL || errno == ENOSYS || errno == ENOTSUP))
        rc = tree_files_look_and_rename(from_dir, from_name, to_dir, to_name);
    if (rc < 0)
        return err_sys(e, "cannot rename '%s' to '%s'", from, to);
    return fs_sync_dir_fd(to_dir, to, e) < 0 ? -1 : fs_sync_dir_fd(from_dir, from, e);
}

static void closedirp(DIR **d)
{
    if (*d)
        closedir(*d);
}

int tree_files_list(int rootfd, const char *path, struct strv *ret, struct err *e)
{
    struct err local;
    _cleanup_close_ int fd = fs_open_beneath(rootfd, path, DIR_FLAGS, 0, &local);
    if (fd < 0) {
        if (is_missing(&local)) /* a file where a directory could be lists nothing, too */
            return 1;
        *e = local;
        return -1;
    }
    _cleanup_(closedirp) DIR *dir = fdopendir(fd);
    if (!dir)
        return err_sys(e, "cannot list '%s'", path);
    take_fd(&fd); /* the stream's now */
    const struct dirent *entry;
    while (errno = 0, (entry = readdir(dir)))
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            strv_add(ret, entry->d_name);
    if (errno)
        return err_sys(e, "cannot list '%s'", path);
    strv_sort(ret);
    return 0;
}
