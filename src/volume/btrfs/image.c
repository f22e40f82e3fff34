/* What lies in the directory of a guest's images: names, and opening by them. */
#include "volume/btrfs/btrfs.h"

#include "base/fs.h"
#include "base/modes.h"
#include "volume/name.h"
#include "volume/root.h"
#include "volume/users.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

bool btrfs_image_parse(const char *name, struct btrfs_image *ret)
{
    const char *image;
    if (!volume_name_valid(name, NULL, &image) || volume_name_linked(name))
        return false;
    ret->stream = strncmp(image, "subvol-", 7) == 0;
    if (!ret->stream && strncmp(image, "vm-", 3) != 0)
        return false;
    size_t n = strspn(image, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-");
    const char *suffix = image + n;
    if (n > BTRFS_IMAGE_MAX || (*suffix && strcmp(suffix, ret->stream ? ".subvol" : ".raw") != 0))
        return false;
    memcpy(ret->image, image, n);
    ret->image[n] = 0;
    return volume_name_valid(ret->image, &ret->vmid, NULL);
}

void btrfs_snapshot_name(const struct btrfs_volume *b, const char *snapshot, char ret[BTRFS_NAME_MAX])
{
    snprintf(ret, BTRFS_NAME_MAX, "%s@%s", b->image, snapshot);
}

int btrfs_dir(struct btrfs_volume *b, uint32_t vmid, bool make, struct err *e)
{
    if (b->dir >= 0)
        return 0;
    int r = root_enter(b->root, b->store, vmid, make, &b->dir, e);
    if (r == 0 && make && subvol_commit(b->dir, e) < 0)
        return -1;
    struct err ignored; /* where nothing can be written, nothing can be removed */
    if (r == 0)
        btrfs_bonds_begin(b, &ignored);
    return r;
}

int btrfs_each_name(int dir, const char *prefix, int (*each)(const char *rest, void *arg, struct err *e),
                    void *arg, struct err *e)
{
    if (dir < 0)
        return 0;
    int again = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = again < 0 ? NULL : fdopendir(again);
    if (!d) {
        err_sys(e, "cannot list the images");
        if (again >= 0)
            close(again);
        return -1;
    }
    int r = 0;
    bool failed = false;
    size_t n = strlen(prefix);
    for (const struct dirent *x; r == 0 && (x = fs_next_entry(d, &failed));)
        if (strncmp(x->d_name, prefix, n) == 0)
            r = each(x->d_name + n, arg, e);
    if (failed)
        r = err_sys(e, "cannot list the images");
    closedir(d);
    return r;
}

int btrfs_open_live(struct btrfs_volume *b, int *ret, struct err *e)
{
    return b->dir < 0 ? 1 : subvol_open(b->dir, b->image, ret, e);
}

int btrfs_need_live(struct btrfs_volume *b, int *ret, struct err *e)
{
    int r = btrfs_open_live(b, ret, e);
    return r == 1 ? err_set(e, ERR_GONE, 0, "there is no volume '%s/%s'", b->dir_path, b->image) : r;
}

int btrfs_open_disk(int subvol, int flags, struct err *e)
{
    _cleanup_close_ int fd =
        openat(subvol, BTRFS_DISK_FILE, flags | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, MODE_DISK);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_sys(e, "cannot open '%s'", BTRFS_DISK_FILE);
    if (!S_ISREG(st.st_mode))
        return err_set(e, ERR_DATA, 0, "'%s' is not a regular file", BTRFS_DISK_FILE);
    return take_fd(&fd);
}

int btrfs_disk_size(const struct btrfs_volume *b, int subvol, uint64_t *ret, struct err *e)
{
    *ret = 0;
    if (b->stream)
        return 0;
    _cleanup_close_ int fd = btrfs_open_disk(subvol, O_RDONLY, e);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return fd < 0 ? err_wrap(e, "'%s/%s'", b->dir_path, b->image) : err_sys(e, "cannot stat the image");
    *ret = (uint64_t)st.st_size;
    return 0;
}

static int disk_is_open(const struct btrfs_volume *b, int live, char *by, struct err *e)
{
    _cleanup_close_ int disk = btrfs_open_disk(live, O_RDONLY, e);
    if (disk < 0)
        return e->code == ENOENT ? 0 : -1;
    return users_writing(disk, btrfs_tick(b), by, e);
}

int btrfs_used(struct btrfs_volume *b, int subvol, char *by, struct err *e)
{
    return b->stream ? users_of_tree(subvol, btrfs_tick(b), by, e) : disk_is_open(b, subvol, by, e);
}

int btrfs_in_use(struct btrfs_volume *b, bool mounts, char *by, struct err *e)
{
    _cleanup_close_ int live = -1;
    int r = btrfs_open_live(b, &live, e);
    if (r != 0)
        return r < 0 ? -1 : 0;
    r = btrfs_used(b, live, by, e);
    return r == 0 && mounts && !b->stream ? users_by_mount(live, btrfs_tick(b), by, e) : r;
}

int btrfs_owner_get(int live, char owner[32], struct err *e)
{
    ssize_t n = fgetxattr(live, BTRFS_OWNER_ATTR, owner, 31);
    if (n < 0 && errno != ENODATA && errno != ERANGE)
        return err_sys(e, "cannot read the attribute %s", BTRFS_OWNER_ATTR);
    owner[n < 0 ? 0 : n] = 0;
    return 0;
}

int btrfs_owner_set(int live, const char *owner, struct err *e)
{
    int r = owner[0] ? fsetxattr(live, BTRFS_OWNER_ATTR, owner, strlen(owner), 0)
                     : fremovexattr(live, BTRFS_OWNER_ATTR);
    if (r < 0 && errno != ENODATA)
        return err_sys(e, "cannot set the attribute %s", BTRFS_OWNER_ATTR);
    return 0;
}
