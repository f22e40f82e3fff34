#include "volume/btrfs/subvol.h"

#include "base/fs.h"
#include "base/mem.h"
#include "base/strv.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/btrfs.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>

/* The inode number of every subvolume's root directory. */
#define SUBVOL_ROOT_INO 256
/* Names of what is unfinished begin so. */
#define OURS ".pvesr-"

int subvol_open(int dir, const char *name, int *ret, struct err *e)
{
    _cleanup_close_ int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return 1;
    if (fd < 0 && (errno == ENOTDIR || errno == ELOOP))
        return err_set(e, ERR_DATA, 0, "'%s' is a symlink or a file instead of a btrfs subvolume", name);
    if (fd < 0)
        return err_sys(e, "cannot open the subvolume '%s'", name);
    struct stat st;
    struct statfs fs;
    if (fstat(fd, &st) < 0 || fstatfs(fd, &fs) < 0)
        return err_sys(e, "cannot stat the subvolume '%s'", name);
    if (st.st_ino != SUBVOL_ROOT_INO || fs.f_type != BTRFS_SUPER_MAGIC)
        return err_set(
            e, ERR_DATA, 0,
            "'%s' is a plain directory instead of a btrfs subvolume, as after a restore from a backup: "
            "where it lies, 'mv %s %s.old && btrfs subvolume create %s && cp -a --reflink=auto "
            "%s.old/. %s/' makes it one",
            name, name, name, name, name, name);
    *ret = take_fd(&fd);
    return 0;
}

static void print_uuid(const uint8_t uuid[16], char out[SUBVOL_UUID_LEN + 1])
{
    static const uint8_t none[16];
    out[0] = 0;
    if (memcmp(uuid, none, sizeof none) == 0)
        return;
    for (int i = 0; i < 16; i++)
        snprintf(out + (size_t)2 * (unsigned)i, 3, "%02x", uuid[i]);
}

static int parse_uuid(const char *text, char out[16], struct err *e)
{
    for (int i = 0; i < 16; i++) {
        unsigned byte;
        int used = 0;
        if (strspn(text, "0123456789abcdef") != SUBVOL_UUID_LEN || text[SUBVOL_UUID_LEN] ||
            sscanf(text + (size_t)2 * (unsigned)i, "%2x%n", &byte, &used) != 1 || used != 2)
            return err_set(e, ERR_DATA, 0, "'%s' is no snapshot id of 32 hex digits", text);
        out[i] = (char)byte;
    }
    return 0;
}

int subvol_read(int fd, struct subvol *ret, struct err *e)
{
    struct btrfs_ioctl_get_subvol_info_args a = {0};
    if (ioctl(fd, BTRFS_IOC_GET_SUBVOL_INFO, &a) < 0)
        return err_sys(e, "cannot read the btrfs subvolume's identity");
    *ret = (struct subvol){.generation = a.generation,
                           .treeid = a.treeid,
                           .written = a.ctransid,
                           .changed = a.ctransid > a.otransid && a.ctransid > a.rtransid};
    /* the flag of the root item differs from the one of the ioctls, so ask for the latter */
    uint64_t flags = 0;
    if (ioctl(fd, BTRFS_IOC_SUBVOL_GETFLAGS, &flags) < 0)
        return err_sys(e, "cannot read the btrfs subvolume's flags");
    ret->readonly = flags & BTRFS_SUBVOL_RDONLY;
    print_uuid(a.uuid, ret->uuid);
    print_uuid(a.parent_uuid, ret->parent_uuid);
    print_uuid(a.received_uuid, ret->received_uuid);
    ret->created = (int64_t)(ret->received_uuid[0] && a.stime.sec ? a.stime.sec : a.otime.sec);
    return 0;
}

int subvol_create(int dir, const char *name, struct err *e)
{
    struct btrfs_ioctl_vol_args_v2 a = {0};
    snprintf(a.name, sizeof a.name, "%s", name);
    if (ioctl(dir, BTRFS_IOC_SUBVOL_CREATE_V2, &a) < 0)
        return err_sys(e, "cannot create the btrfs subvolume '%s'", name);
    return 0;
}

int subvol_snapshot(int source, int dir, const char *name, bool readonly, struct err *e)
{
    struct btrfs_ioctl_vol_args_v2 a = {.fd = source, .flags = readonly ? BTRFS_SUBVOL_RDONLY : 0};
    snprintf(a.name, sizeof a.name, "%s", name);
    if (ioctl(dir, BTRFS_IOC_SNAP_CREATE_V2, &a) == 0)
        return 0;
    if (errno == ETXTBSY)
        return err_set(e, ERR_CONFIG, 0,
                       "cannot make the btrfs snapshot '%s': a swap file in it is in use, and btrfs makes no "
                       "snapshot then: swapoff that file, or move it to a volume that does not replicate",
                       name);
    return err_sys(e, "cannot make the btrfs snapshot '%s'", name);
}

static int destroy_one(int dir, const char *name)
{
    struct btrfs_ioctl_vol_args a = {0};
    snprintf(a.name, sizeof a.name, "%s", name);
    return ioctl(dir, BTRFS_IOC_SNAP_DESTROY, &a);
}

/* Not, where that cannot be seen: what is empty may go. */
static bool is_empty_dir(int fd)
{
    int again = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = again < 0 ? NULL : fdopendir(again);
    if (!d) {
        if (again >= 0)
            close(again);
        return false;
    }
    bool empty = true, failed = false;
    for (const struct dirent *x; empty && (x = fs_next_entry(d, &failed));)
        empty = strcmp(x->d_name, ".") == 0 || strcmp(x->d_name, "..") == 0;
    closedir(d);
    return empty && !failed;
}

/* One nested subvolume: empty? Then, with `remove`, remove it; else add its path. */
static int check_nested_one(int fd, const char *name, uint64_t treeid, uint64_t dirid, bool remove,
                            struct strv *full, struct err *e)
{
    struct btrfs_ioctl_ino_lookup_user_args a = {.treeid = treeid, .dirid = dirid};
    if (ioctl(fd, BTRFS_IOC_INO_LOOKUP_USER, &a) < 0)
        return err_sys(e, "cannot find a subvolume inside '%s'", name);
    _cleanup_close_ int parent = -1, child = -1;
    parent = fs_open_beneath(fd, a.path[0] ? a.path : ".", O_RDONLY | O_DIRECTORY, 0, e);
    if (parent < 0)
        return -1;
    child = openat(parent, a.name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (child < 0)
        return err_sys(e, "cannot open the subvolume '%s%s' inside '%s'", a.path, a.name, name);
    if (!is_empty_dir(child)) {
        strv_addf(full, "%s%s", a.path, a.name);
        return 0;
    }
    if (remove && destroy_one(parent, a.name) < 0)
        return err_sys(e, "cannot remove the empty subvolume '%s%s' inside '%s'", a.path, a.name, name);
    return 0;
}

static int check_nested(int dir, const char *name, bool remove, struct err *e)
{
    _cleanup_close_ int fd = -1;
    if (subvol_open(dir, name, &fd, e) != 0)
        return -1;
    struct btrfs_ioctl_get_subvol_rootref_args a = {0};
    _cleanup_strv_ struct strv full = STRV_INIT;
    int r;
    do {
        r = ioctl(fd, BTRFS_IOC_GET_SUBVOL_ROOTREF, &a);
        if (r < 0 && errno != EOVERFLOW)
            return err_sys(e, "cannot list the subvolumes inside '%s'", name);
        for (unsigned i = 0; i < a.num_items; i++)
            if (check_nested_one(fd, name, a.rootref[i].treeid, a.rootref[i].dirid, remove, &full, e) < 0)
                return -1;
    } while (r < 0);
    if (!full.n)
        return 0;
    _cleanup_free_ char *list = strv_join(&full, "', '");
    return err_set(
        e, ERR_CONFIG, 0,
        "'%s' holds %zu other subvolume%s with data, which no snapshot of it carries: '%.600s'. Move "
        "what is in there into plain directories, or onto a mount point of its own, and remove %s",
        name, full.n, full.n > 1 ? "s" : "", list, full.n > 1 ? "them" : "it");
}

int subvol_destroyable(int dir, const char *name, struct err *e)
{
    return check_nested(dir, name, false, e);
}

/* A snapshot has the flags (chattr +i, +a) of what it was made of. */
static int lift_flags(int fd)
{
    uint64_t readonly = 0;
    int flags;
    if (ioctl(fd, BTRFS_IOC_SUBVOL_SETFLAGS, &readonly) < 0 || ioctl(fd, FS_IOC_GETFLAGS, &flags) < 0)
        return -1;
    flags &= ~(FS_IMMUTABLE_FL | FS_APPEND_FL);
    return ioctl(fd, FS_IOC_SETFLAGS, &flags);
}

int subvol_destroy(int dir, const char *name, struct err *e)
{
    _cleanup_close_ int fd = -1;
    int r = subvol_open(dir, name, &fd, e);
    if (r != 0)
        return r;
    r = destroy_one(dir, name);
    if (r < 0 && errno == ENOTEMPTY) {
        if (check_nested(dir, name, true, e) < 0)
            return -1;
        r = destroy_one(dir, name);
    }
    if (r < 0 && errno == EPERM && strncmp(name, OURS, strlen(OURS)) == 0 && lift_flags(fd) == 0)
        r = destroy_one(dir, name);
    if (r < 0)
        return err_sys(e, "cannot remove the btrfs subvolume '%s'", name);
    return 0;
}

int subvol_rename(int dir, const char *from, const char *to, unsigned flags, struct err *e)
{
    if (renameat2(dir, from, dir, to, flags ? flags : RENAME_NOREPLACE) < 0)
        return err_set(e, errno == EEXIST ? ERR_USAGE : ERR_SYSTEM, errno,
                       "cannot rename the btrfs subvolume '%s' to '%s'", from, to);
    return 0;
}

int subvol_seal(int fd, const char *uuid, uint64_t stransid, int64_t created, struct err *e)
{
    struct btrfs_ioctl_received_subvol_args a = {.stransid = stransid, .stime.sec = (uint64_t)created};
    uint64_t flags = 0;
    if (parse_uuid(uuid, a.uuid, e) < 0)
        return -1;
    if (ioctl(fd, BTRFS_IOC_SET_RECEIVED_SUBVOL, &a) < 0)
        return err_sys(e, "cannot set the identity of the btrfs subvolume");
    if (ioctl(fd, BTRFS_IOC_SUBVOL_GETFLAGS, &flags) < 0)
        return err_sys(e, "cannot read the btrfs subvolume's flags");
    flags |= BTRFS_SUBVOL_RDONLY;
    if (ioctl(fd, BTRFS_IOC_SUBVOL_SETFLAGS, &flags) < 0)
        return err_sys(e, "cannot make the btrfs subvolume read-only");
    return subvol_commit(fd, e);
}

int subvol_commit(int fd, struct err *e)
{
    uint64_t transid = 0;
    if (ioctl(fd, BTRFS_IOC_START_SYNC, &transid) < 0 || ioctl(fd, BTRFS_IOC_WAIT_SYNC, &transid) < 0)
        return err_sys(e, "cannot commit the btrfs transaction");
    return 0;
}
