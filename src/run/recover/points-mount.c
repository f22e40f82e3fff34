#include "run/recover/points.h"

#include "base/fs.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define SAFE (MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC)

/* What is mounted upon: an empty file, or a directory. */
static int make_place(int dir, const char *name, bool is_dir, struct err *e)
{
    _cleanup_close_ int fd = -1;
    if (is_dir ? mkdirat(dir, name, 0700) == 0
               : (fd = openat(dir, name, O_CREAT | O_EXCL | O_NOFOLLOW | O_RDONLY | O_CLOEXEC, 0400)) >= 0)
        return 0;
    return errno == EEXIST
               ? err_set(e, ERR_USAGE, 0, "'%s' exists in the directory already: give an empty one", name)
               : err_sys(e, "cannot make '%s' in the directory", name);
}

/* What was opened may be the root of a mount that is nowhere yet; that cannot be copied, nor needs to be. */
static int copy_of(int fd)
{
    int tree = open_tree(fd, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
    return tree < 0 && errno == EINVAL ? fcntl(fd, F_DUPFD_CLOEXEC, 0) : tree;
}

/* Nobody sees it before it is read-only. A block device is to be opened as one; it is read-only itself. */
static int bind(int fd, bool is_device, const char *to, struct err *e)
{
    _cleanup_close_ int tree = copy_of(fd);
    struct mount_attr attr = {.attr_set = SAFE | (is_device ? 0 : MOUNT_ATTR_NODEV)};
    if (tree < 0)
        return err_sys(e, "cannot mount upon '%s'", to);
    if (mount_setattr(tree, "", AT_EMPTY_PATH, &attr, sizeof attr) < 0)
        return err_sys(e, "cannot make what is mounted upon '%s' read-only", to);
    if (move_mount(tree, "", AT_FDCWD, to, MOVE_MOUNT_F_EMPTY_PATH) < 0)
        return err_sys(e, "cannot mount upon '%s'", to);
    return 0;
}

static int mount_volume(struct env *env, uint32_t guest, const struct point_volume *p, const char *dir,
                        int dir_fd, struct strv *ret, struct err *e)
{
    struct env_volume v;
    struct stat st;
    _cleanup_close_ int fd = -1;
    const char *slash = strrchr(p->volid, '/'), *image = slash ? slash + 1 : strchr(p->volid, ':') + 1;
    _cleanup_free_ char *to = xasprintf("%s/%s", dir, image);
    int r = env_volume_open(env, p->volid, guest, &v, e);
    if (r == 0)
        r = volume_snapshot_open(v.volume, &p->snapshot, &fd, e);
    env_volume_close(&v);
    if (r < 0)
        return -1;
    if (fstat(fd, &st) < 0)
        return err_sys(e, "cannot look at '%s'", p->volid);
    bool is_dir = S_ISDIR(st.st_mode);
    if (make_place(dir_fd, image, is_dir, e) < 0)
        return -1;
    if (bind(fd, S_ISBLK(st.st_mode), to, e) < 0) {
        unlinkat(dir_fd, image, is_dir ? AT_REMOVEDIR : 0);
        return -1;
    }
    strv_add(ret, to);
    return 0;
}

static void unmount_all(struct strv *mounted)
{
    for (size_t i = mounted->n; i-- > 0;) {
        umount2(mounted->v[i], MNT_DETACH | UMOUNT_NOFOLLOW);
        if (unlink(mounted->v[i]) < 0)
            rmdir(mounted->v[i]);
    }
    strv_release(mounted);
}

int point_mount(struct env *env, uint32_t guest, const char *name, const char *dir, struct strv *ret,
                struct strv *doubts, struct err *e)
{
    _cleanup_close_ int dir_fd = open(dir, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
    if (dir_fd < 0)
        return err_sys(e, "cannot open the directory '%s'", dir);
    struct points points;
    if (points_load(env, guest, &points, e) < 0)
        return -1;
    const struct point *p = points_find(&points, name, e);
    int r = p ? 0 : -1;
    if (p)
        point_doubts(&points, p, doubts);
    for (size_t i = 0; r == 0 && i < p->n; i++)
        r = mount_volume(env, guest, &p->v[i], dir, dir_fd, ret, e);
    if (r < 0)
        unmount_all(ret);
    points_release(&points);
    return r;
}
