#include "volume/btrfs/receive.h"

#include "base/fs.h"
#include "base/mem.h"
#include "volume/btrfs/flags.h"
#include "volume/stream/sendstream.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>

struct receiver {
    int subvol, base;
    char id[33], base_id[33];
    struct sendreader reader;
    bool begun; /* the first command was the right one */
    uint64_t transid;
    struct timespec root_times[2]; /* access and change, as on the source */
    int file;                      /* open for writing, or -1 */
    struct flags_list flags;
    size_t unpushed; /* bytes written to it since its writeback was begun */
    char file_path[PATH_MAX];
};

/* Where a path leads: a directory (O_PATH) and the last component, which may be a symlink itself. */
struct place {
    int dir;
    char path[PATH_MAX];
    const char *name; /* "." for the subvolume's root */
};

static void place_release(struct place *p)
{
    if (p->dir >= 0)
        close(p->dir);
}
#define _cleanup_place_ _cleanup_(place_release)
#define PLACE_INIT                                                                                           \
    {                                                                                                        \
        .dir = -1                                                                                            \
    }

/* Where openat2 is missing or forbidden: the device takes the place of RESOLVE_NO_XDEV. */
static int open_by_steps(int root, const char *path, int flags)
{
    struct err e = {0};
    struct stat here, there;
    _cleanup_close_ int fd = fs_open_beneath(root, path, flags | O_NOFOLLOW, 0, &e);
    if (fd < 0)
        errno = e.code;
    else if (fstat(root, &here) == 0 && fstat(fd, &there) == 0) {
        if (here.st_dev == there.st_dev)
            return take_fd(&fd);
        errno = EXDEV;
    }
    return -1;
}

int receive_open(int root, const char *path, int flags)
{
    struct open_how how = {.flags = (uint64_t)flags | O_CLOEXEC | O_NOFOLLOW,
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS |
                                      RESOLVE_NO_XDEV};
    int fd = (int)syscall(SYS_openat2, root, path, &how, sizeof how);
    return fd < 0 && (errno == ENOSYS || errno == EPERM) ? open_by_steps(root, path, flags) : fd;
}

static int locate(const struct receiver *rx, const struct send_record *r, enum send_attr a, struct place *p,
                  struct err *e)
{
    if (send_text(r, a, sizeof p->path, p->path, e) < 0)
        return -1;
    char *slash = strrchr(p->path, '/');
    p->name = slash ? slash + 1 : p->path;
    if (slash)
        *slash = 0;
    if (!slash && !*p->name)
        p->name = ".";
    else if (!*p->name || strcmp(p->name, ".") == 0 || strcmp(p->name, "..") == 0)
        return err_set(e, ERR_DATA, 0, "the btrfs stream names a path that ends with '%s'", p->name);
    p->dir = receive_open(rx->subvol, slash ? p->path : ".", O_PATH | O_DIRECTORY);
    if (p->dir < 0)
        return err_set(e, ERR_DATA, errno, "the btrfs stream names the path '%s/%s'", slash ? p->path : "",
                       p->name);
    return 0;
}

/* A regular file for reading or writing. Opened as a path first: to open a device or a fifo does things. */
static int open_regular(int root, const char *path, int flags, struct err *e)
{
    _cleanup_close_ int fd = receive_open(root, path, O_PATH);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_set(e, ERR_DATA, errno, "the btrfs stream names the file '%s'", path);
    if (!S_ISREG(st.st_mode))
        return err_set(e, ERR_DATA, 0, "the btrfs stream takes '%s' for a regular file", path);
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    int ret = open(link, flags | O_CLOEXEC);
    return ret < 0 ? err_sys(e, "cannot open the file '%s'", path) : ret;
}

/* Begin writeback early, so that the seal does not find all of it still to do. A hint, may fail. */
static void push_file(struct receiver *rx, size_t least)
{
    if (rx->unpushed < least)
        return;
    sync_file_range(rx->file, 0, 0, SYNC_FILE_RANGE_WRITE);
    rx->unpushed = 0;
}

static void forget_file(struct receiver *rx)
{
    if (rx->file >= 0) {
        push_file(rx, 1 << 20);
        close(rx->file);
    }
    rx->unpushed = 0;
    rx->file = -1;
}

/* Writes come by file: the last one stays open. */
static int file_of(struct receiver *rx, const struct send_record *r, struct err *e)
{
    char path[PATH_MAX];
    if (send_text(r, ATTR_PATH, sizeof path, path, e) < 0)
        return -1;
    if (rx->file >= 0 && strcmp(path, rx->file_path) == 0)
        return rx->file;
    forget_file(rx);
    rx->file = open_regular(rx->subvol, path, O_RDWR, e);
    strcpy(rx->file_path, path);
    return rx->file;
}

static int failed(const struct send_record *r, const char *name, struct err *e)
{
    return err_sys(e, "cannot apply '%s' to '%s'", send_command_name(r->command), name);
}

/* ---- one function for each kind of command ---- */

static int on_begin(struct receiver *rx, const struct send_record *r, struct err *e)
{
    char id[33], base[33] = "";
    if (rx->begun)
        return err_set(e, ERR_DATA, 0, "the btrfs stream holds more than one subvolume");
    if (send_uuid(r, ATTR_UUID, id, e) < 0 || send_number(r, ATTR_CTRANSID, &rx->transid, e) < 0 ||
        (r->command == SEND_SNAPSHOT && send_uuid(r, ATTR_CLONE_UUID, base, e) < 0))
        return -1;
    if (strcmp(id, rx->id) != 0)
        return err_set(e, ERR_DATA, 0, "the btrfs stream is of snapshot %s instead of %s", id, rx->id);
    if (strcmp(base, rx->base_id) != 0)
        return err_set(e, ERR_DATA, 0, "the btrfs stream is based on '%s' instead of '%s'", base,
                       rx->base_id);
    rx->begun = true;
    return 0;
}

/* They come before all else. */
static int on_flags(struct receiver *rx, const struct send_record *r, struct err *e)
{
    uint64_t ino, flags;
    char path[PATH_MAX];
    if (rx->begun)
        return err_set(e, ERR_DATA, 0, "the btrfs stream has the flags of files in its middle");
    if (send_number(r, ATTR_INO, &ino, e) < 0 || send_number(r, ATTR_FILEATTR, &flags, e) < 0 ||
        (r->attr[ATTR_PATH].data && send_text(r, ATTR_PATH, sizeof path, path, e) < 0))
        return -1;
    return flags_note(&rx->flags, ino, flags, r->attr[ATTR_PATH].data ? path : NULL, e);
}

static int fresh(struct receiver *rx, const struct send_record *r, const struct place *p, struct err *e)
{
    uint64_t ino = 0;
    if (r->attr[ATTR_INO].data && send_number(r, ATTR_INO, &ino, e) < 0)
        return -1;
    mode_t type = r->command == SEND_MKFILE ? S_IFREG : r->command == SEND_MKDIR ? S_IFDIR : S_IFIFO;
    return flags_fresh(&rx->flags, rx->subvol, p->dir, p->name, type, ino, e);
}

static int on_make(struct receiver *rx, const struct send_record *r, struct err *e)
{
    _cleanup_place_ struct place p = PLACE_INIT;
    uint64_t mode = 0, dev = 0;
    char target[PATH_MAX];
    if (locate(rx, r, ATTR_PATH, &p, e) < 0)
        return -1;
    if (r->command >= SEND_MKNOD && r->command <= SEND_MKSOCK &&
        (send_number(r, ATTR_MODE, &mode, e) < 0 || send_number(r, ATTR_RDEV, &dev, e) < 0))
        return -1;
    int n;
    switch (r->command) {
    case SEND_MKFILE:
        n = mknodat(p.dir, p.name, S_IFREG | 0600, 0);
        break;
    case SEND_MKDIR:
        n = mkdirat(p.dir, p.name, 0700);
        break;
    case SEND_MKNOD:
        n = mknodat(p.dir, p.name, (mode_t)(mode & S_IFMT) | 0600, (dev_t)dev);
        break;
    case SEND_MKFIFO:
        n = mknodat(p.dir, p.name, S_IFIFO | 0600, 0);
        break;
    case SEND_MKSOCK:
        n = mknodat(p.dir, p.name, S_IFSOCK | 0600, 0);
        break;
    default:
        if (send_text(r, ATTR_PATH_LINK, sizeof target, target, e) < 0)
            return -1;
        n = symlinkat(target, p.dir, p.name);
    }
    if (n < 0)
        return failed(r, p.name, e);
    return r->command == SEND_SYMLINK ? 0 : fresh(rx, r, &p, e);
}

static int on_rename(struct receiver *rx, const struct send_record *r, struct err *e)
{
    _cleanup_place_ struct place p = PLACE_INIT, to = PLACE_INIT;
    forget_file(rx);
    if (locate(rx, r, ATTR_PATH, &p, e) < 0 ||
        locate(rx, r, r->command == SEND_RENAME ? ATTR_PATH_TO : ATTR_PATH_LINK, &to, e) < 0)
        return -1;
    int n = r->command == SEND_RENAME ? renameat(p.dir, p.name, to.dir, to.name)
                                      : linkat(to.dir, to.name, p.dir, p.name, 0);
    return n < 0 ? failed(r, p.name, e) : 0;
}

static int on_remove(struct receiver *rx, const struct send_record *r, struct err *e)
{
    _cleanup_place_ struct place p = PLACE_INIT;
    forget_file(rx);
    if (locate(rx, r, ATTR_PATH, &p, e) < 0)
        return -1;
    if (unlinkat(p.dir, p.name, r->command == SEND_RMDIR ? AT_REMOVEDIR : 0) < 0)
        return failed(r, p.name, e);
    return 0;
}

static int on_xattr(struct receiver *rx, const struct send_record *r, struct err *e)
{
    _cleanup_place_ struct place p = PLACE_INIT;
    char name[XATTR_NAME_MAX + 1], path[64 + NAME_MAX];
    if (locate(rx, r, ATTR_PATH, &p, e) < 0 || send_text(r, ATTR_XATTR_NAME, sizeof name, name, e) < 0)
        return -1;
    if (strlen(p.name) > NAME_MAX)
        return err_set(e, ERR_DATA, 0, "the btrfs stream has a name that is too long");
    snprintf(path, sizeof path, "/proc/self/fd/%d/%s", p.dir, p.name);
    int n = r->command == SEND_REMOVE_XATTR
                ? lremovexattr(path, name)
                : lsetxattr(path, name,
                            r->attr[ATTR_XATTR_DATA].data ? (const void *)r->attr[ATTR_XATTR_DATA].data : "",
                            r->attr[ATTR_XATTR_DATA].n, 0);
    if (n < 0 && errno == EINVAL && r->command == SEND_SET_XATTR)
        n = flags_compress(path, name, r->attr[ATTR_XATTR_DATA].data, r->attr[ATTR_XATTR_DATA].n);
    return n < 0 ? failed(r, p.name, e) : 0;
}

static int on_write(struct receiver *rx, const struct send_record *r, struct err *e)
{
    uint64_t offset;
    int fd = file_of(rx, r, e);
    if (fd < 0 || send_number(r, ATTR_FILE_OFFSET, &offset, e) < 0)
        return -1;
    if (!r->attr[ATTR_DATA].data || offset > INT64_MAX - r->attr[ATTR_DATA].n)
        return err_set(e, ERR_DATA, 0, "the btrfs stream writes nothing, or nowhere, in '%s'", rx->file_path);
    if (fs_pwrite_all(fd, r->attr[ATTR_DATA].data, r->attr[ATTR_DATA].n, offset, rx->file_path, e) < 0)
        return -1;
    rx->unpushed += r->attr[ATTR_DATA].n;
    push_file(rx, 16 << 20);
    return 0;
}

static int copy_range(int from, const struct file_clone_range *c, int to)
{
    off64_t in = (off64_t)c->src_offset, out = (off64_t)c->dest_offset;
    for (uint64_t left = c->src_length; left > 0;) {
        ssize_t n = copy_file_range(from, &in, to, &out, left < SSIZE_MAX ? left : SSIZE_MAX, 0);
        if (n <= 0)
            return -1;
        left -= (uint64_t)n;
    }
    return 0;
}

static int on_clone(struct receiver *rx, const struct send_record *r, struct err *e)
{
    char from_id[33], from_path[PATH_MAX];
    uint64_t offset, length, from_offset;
    if (send_uuid(r, ATTR_CLONE_UUID, from_id, e) < 0 ||
        send_text(r, ATTR_CLONE_PATH, sizeof from_path, from_path, e) < 0 ||
        send_number(r, ATTR_FILE_OFFSET, &offset, e) < 0 || send_number(r, ATTR_CLONE_LEN, &length, e) < 0 ||
        send_number(r, ATTR_CLONE_OFFSET, &from_offset, e) < 0)
        return -1;
    int root = strcmp(from_id, rx->id) == 0                     ? rx->subvol
               : rx->base >= 0 && !strcmp(from_id, rx->base_id) ? rx->base
                                                                : -1;
    if (root < 0)
        return err_set(e, ERR_DATA, 0, "the btrfs stream clones from the unknown subvolume %s", from_id);
    int fd = file_of(rx, r, e);
    if (fd < 0)
        return -1;
    _cleanup_close_ int from = open_regular(root, from_path, O_RDONLY, e);
    if (from < 0)
        return -1;
    struct file_clone_range c = {
        .src_fd = from, .src_offset = from_offset, .src_length = length, .dest_offset = offset};
    if (ioctl(fd, FICLONERANGE, &c) == 0)
        return 0;
    /* of files that are copied on write and such that are not */
    return errno == EINVAL && copy_range(from, &c, fd) == 0 ? 0 : failed(r, rx->file_path, e);
}

static int on_truncate(struct receiver *rx, const struct send_record *r, struct err *e)
{
    uint64_t size;
    int fd = file_of(rx, r, e);
    if (fd < 0 || send_number(r, ATTR_SIZE, &size, e) < 0)
        return -1;
    if (size > INT64_MAX || ftruncate(fd, (off_t)size) < 0)
        return failed(r, rx->file_path, e);
    return 0;
}

/* A change of the owner takes away what makes a file run as that (chown(2)), and the sender says it again
 * only if it changed, too. */
static int change_owner(const struct place *p, uid_t user, gid_t group)
{
    struct stat st;
    if (fstatat(p->dir, p->name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
        fchownat(p->dir, p->name, user, group, AT_SYMLINK_NOFOLLOW) < 0)
        return -1;
    return S_ISLNK(st.st_mode) || !(st.st_mode & (S_ISUID | S_ISGID))
               ? 0
               : fchmodat(p->dir, p->name, st.st_mode & 07777, AT_SYMLINK_NOFOLLOW);
}

static int on_owner(struct receiver *rx, const struct send_record *r, struct err *e)
{
    _cleanup_place_ struct place p = PLACE_INIT;
    uint64_t a, b;
    if (locate(rx, r, ATTR_PATH, &p, e) < 0)
        return -1;
    if (r->command == SEND_CHMOD) {
        if (send_number(r, ATTR_MODE, &a, e) < 0)
            return -1;
        return fchmodat(p.dir, p.name, (mode_t)a & 07777, AT_SYMLINK_NOFOLLOW) < 0 ? failed(r, p.name, e) : 0;
    }
    if (send_number(r, ATTR_UID, &a, e) < 0 || send_number(r, ATTR_GID, &b, e) < 0)
        return -1;
    return change_owner(&p, (uid_t)a, (gid_t)b) < 0 ? failed(r, p.name, e) : 0;
}

static int on_utimes(struct receiver *rx, const struct send_record *r, struct err *e)
{
    _cleanup_place_ struct place p = PLACE_INIT;
    struct timespec t[2];
    static const enum send_attr which[] = {ATTR_ATIME, ATTR_MTIME};
    if (locate(rx, r, ATTR_PATH, &p, e) < 0)
        return -1;
    for (int i = 0; i < 2; i++) {
        uint64_t seconds;
        uint32_t nanos;
        if (r->attr[which[i]].n != sizeof seconds + sizeof nanos)
            return err_set(e, ERR_DATA, 0, "the btrfs stream has a time of another size");
        memcpy(&seconds, r->attr[which[i]].data, sizeof seconds);
        memcpy(&nanos, r->attr[which[i]].data + sizeof seconds, sizeof nanos);
        t[i] = (struct timespec){.tv_sec = (time_t)le64toh(seconds), .tv_nsec = (long)le32toh(nanos)};
    }
    if (!p.path[0])
        memcpy(rx->root_times, t, sizeof t);
    return utimensat(p.dir, p.name, t, AT_SYMLINK_NOFOLLOW) < 0 ? failed(r, p.name, e) : 0;
}

/* The sender gives what it moves about a temporary name in the root, and says nothing of the root's times
 * afterwards when the source's root did not change. */
static int on_end(struct receiver *rx, const struct send_record *r, struct err *e)
{
    forget_file(rx);
    if (futimens(rx->subvol, rx->root_times) < 0)
        return failed(r, ".", e);
    return flags_finish(&rx->flags, rx->subvol, e);
}

static int (*const handlers[SEND_COMMANDS])(struct receiver *, const struct send_record *, struct err *) = {
    [SEND_SUBVOL] = on_begin,    [SEND_SNAPSHOT] = on_begin,     [SEND_MKFILE] = on_make,
    [SEND_MKDIR] = on_make,      [SEND_MKNOD] = on_make,         [SEND_MKFIFO] = on_make,
    [SEND_MKSOCK] = on_make,     [SEND_SYMLINK] = on_make,       [SEND_RENAME] = on_rename,
    [SEND_LINK] = on_rename,     [SEND_UNLINK] = on_remove,      [SEND_RMDIR] = on_remove,
    [SEND_SET_XATTR] = on_xattr, [SEND_REMOVE_XATTR] = on_xattr, [SEND_WRITE] = on_write,
    [SEND_CLONE] = on_clone,     [SEND_TRUNCATE] = on_truncate,  [SEND_CHMOD] = on_owner,
    [SEND_CHOWN] = on_owner,     [SEND_UTIMES] = on_utimes,      [SEND_END] = on_end,
    [SEND_FILEATTR] = on_flags,
};

/* The base has flags that keep files from being changed (chattr +i). */
static bool lift(struct receiver *rx, const struct send_record *r)
{
    static const enum send_attr which[] = {ATTR_PATH, ATTR_PATH_TO, ATTR_PATH_LINK};
    bool lifted = false;
    for (size_t i = 0; i < ELEMENTS(which); i++) {
        char path[PATH_MAX];
        struct err ignored;
        if (send_text(r, which[i], sizeof path, path, &ignored) == 0)
            lifted |= flags_lift(&rx->flags, rx->subvol, path);
    }
    return lifted;
}

static int apply(const struct send_record *r, void *arg, struct err *e)
{
    struct receiver *rx = arg;
    if (!handlers[r->command])
        return err_set(e, ERR_DATA, 0, "the btrfs stream was made without data (command '%s')",
                       send_command_name(r->command));
    if (!rx->begun && handlers[r->command] != on_begin && handlers[r->command] != on_flags)
        return err_set(e, ERR_DATA, 0, "the btrfs stream does not begin with a subvolume");
    int n = handlers[r->command](rx, r, e);
    return n < 0 && e->code == EPERM && lift(rx, r) ? handlers[r->command](rx, r, e) : n;
}

struct receiver *receiver_new(int subvol, const char *id, int base, const char *base_id)
{
    struct receiver *rx = xcalloc(1, sizeof *rx);
    rx->subvol = subvol;
    rx->base = base;
    rx->file = -1;
    struct stat st;
    rx->root_times[0].tv_nsec = rx->root_times[1].tv_nsec = UTIME_OMIT;
    if (fstat(subvol, &st) == 0) {
        rx->root_times[0] = st.st_atim;
        rx->root_times[1] = st.st_mtim;
    }
    snprintf(rx->id, sizeof rx->id, "%s", id);
    snprintf(rx->base_id, sizeof rx->base_id, "%s", base_id);
    return rx;
}

void receiver_free(struct receiver *rx)
{
    if (!rx)
        return;
    forget_file(rx);
    flags_release(&rx->flags);
    sendreader_release(&rx->reader);
    free(rx);
}

int receiver_feed(struct receiver *rx, const void *data, size_t n, struct err *e)
{
    return sendreader_feed(&rx->reader, data, n, apply, rx, e);
}

bool receiver_whole(const struct receiver *rx)
{
    return rx->reader.ended;
}

uint64_t receiver_transid(const struct receiver *rx)
{
    return rx->transid;
}
