#include "volume/root.h"

#include "base/fs.h"
#include "base/modes.h"
#include "base/refusal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* 1: it is; also of a directory that is mounted from another place of the same file system. */
static int is_mounted(const char *path, struct err *e)
{
    struct statx here, above;
    _cleanup_free_ char *parent = xasprintf("%s/..", path);
    if (statx(AT_FDCWD, path, 0, STATX_BASIC_STATS, &here) < 0)
        return errno == ENOENT || errno == ENOTDIR ? 0 : err_sys(e, "cannot stat '%s'", path);
    if (here.stx_attributes_mask & STATX_ATTR_MOUNT_ROOT)
        return (here.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
    if (statx(AT_FDCWD, parent, 0, STATX_BASIC_STATS, &above) < 0)
        return err_sys(e, "cannot stat '%s'", parent);
    return here.stx_dev_major != above.stx_dev_major || here.stx_dev_minor != above.stx_dev_minor ||
           here.stx_ino == above.stx_ino;
}

static int check_mounted(const struct volume_store *store, struct err *e)
{
    int r = store->mountpoint ? is_mounted(store->mountpoint, e) : 1;
    if (r == 0)
        return err_set(e, ERR_GONE, 0,
                       "storage '%s' is not there: nothing is mounted at '%s', and its is_mountpoint in "
                       "storage.cfg says that it lies on what is",
                       store->id, store->mountpoint);
    return r < 0 ? -1 : 0;
}

/* Asked before and after: what is mounted or unmounted while it is opened is not taken for the other. What is
 * unmounted later stays open. */
int root_open(const struct volume_store *store, struct err *e)
{
    if (!store->path || store->path[0] != '/')
        return err_set(e, ERR_CONFIG, 0,
                       "the path of storage '%s' in storage.cfg is not absolute: let it begin with '/'",
                       store->id);
    if (check_mounted(store, e) < 0)
        return -1;
    _cleanup_close_ int fd = open(store->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
        return err_set(e, ERR_GONE, 0, "the path '%s' of storage '%s' is not there (%s): is it mounted?",
                       store->path, store->id, strerror(errno));
    if (fd < 0) {
        err_sys(e, "cannot open the path '%s' of storage '%s'", store->path, store->id);
        refusal_explain(e, store->path);
        return -1;
    }
    return check_mounted(store, e) < 0 ? -1 : take_fd(&fd);
}

static int step_into(int at, const char *name, bool make, mode_t mode, int *fd, struct err *e)
{
    const int flags = O_RDONLY | O_DIRECTORY;
    *fd = fs_open_beneath(at, name, flags, 0, e);
    if (*fd < 0 && e->code == ENOENT && make) {
        if (mkdirat(at, name, mode) < 0 && errno != EEXIST)
            return err_sys(e, "cannot make the directory '%s'", name);
        if (fsync(at) < 0)
            return err_sys(e, "cannot flush the directory above '%s'", name);
        *fd = fs_open_beneath(at, name, flags, 0, e);
    }
    return *fd >= 0 ? 0 : e->code == ENOENT ? 1 : -1;
}

static bool is_guest(const char *name, uint32_t *vmid)
{
    char *end;
    unsigned long n = *name >= '1' && *name <= '9' ? strtoul(name, &end, 10) : 0;
    *vmid = (uint32_t)n;
    return n && !*end && strlen(name) <= 9;
}

int root_guests(const struct volume_store *store, volume_guest_fn *tell, void *arg, struct err *e)
{
    _cleanup_close_ int root = root_open(store, e);
    if (root < 0)
        return -1;
    int images = fs_open_beneath(root, root_images(store), O_RDONLY | O_DIRECTORY, 0, e);
    if (images < 0)
        return e->code == ENOENT ? 0 : -1;
    DIR *dir = fdopendir(images);
    uint32_t vmid;
    bool failed = !dir;
    for (const struct dirent *d; dir && (d = fs_next_entry(dir, &failed));)
        if (is_guest(d->d_name, &vmid))
            tell(vmid, arg);
    int r = failed ? err_sys(e, "cannot read '%s/%s'", store->path, root_images(store)) : 0;
    if (dir)
        closedir(dir);
    return r;
}

int root_enter(int root, const struct volume_store *store, uint32_t vmid, bool make, int *fd, struct err *e)
{
    _cleanup_strv_ struct strv parts = STRV_INIT;
    _cleanup_close_ int at = -1;
    strv_split(&parts, root_images(store), "/");
    strv_addf(&parts, "%u", vmid);
    for (size_t i = 0; i < parts.n; i++) {
        int next;
        mode_t mode = i + 1 < parts.n ? MODE_FOLDER : MODE_GUEST_FOLDER;
        int r = step_into(at >= 0 ? at : root, parts.v[i], make, mode, &next, e);
        if (r != 0)
            return r < 0 ? err_wrap(e, "path '%s' of storage '%s'", store->path, store->id) : r;
        if (at >= 0)
            close(at);
        at = next;
    }
    if (make)
        fs_restrict(at, MODE_GUEST_FOLDER);
    *fd = take_fd(&at);
    return 0;
}
