#include "volume/dir/dir.h"

#include "base/fs.h"
#include "base/mem.h"
#include "base/modes.h"
#include "volume/root.h"
#include "volume/users.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>

#define CREATE_TRIES 1000

struct dir_name dir_name(const struct dir *d, enum dir_kind kind, const char *tag)
{
    static const char *const prefix[] = {
        [DIR_SNAPSHOT] = ".pvesr.",
        [DIR_DIGEST] = ".pvesr-digest.",
        [DIR_STAGE] = ".pvesr-stage.",
        [DIR_TEMP] = ".pvesr-tmp.",
    };
    struct dir_name n;
    snprintf(n.s, sizeof n.s, "%s%s%s%s", prefix[kind], d->file, kind == DIR_STAGE ? "" : "@",
             kind == DIR_STAGE ? "" : tag);
    return n;
}

char *dir_path(const struct dir *d, const char *name)
{
    return xasprintf("%s/%s/%u/%s", d->store->path, root_images(d->store), d->vmid, name);
}

int dir_enter(struct dir *d, bool make, struct err *e)
{
    return d->fd >= 0 ? 0 : root_enter(d->root, d->store, d->vmid, make, &d->fd, e);
}

int dir_file(const struct dir *d, const char *name, int flags, int *fd, struct err *e)
{
    *fd = -1;
    if (d->fd < 0)
        return 1;
    /* O_NONBLOCK: someone may have put a FIFO there */
    _cleanup_close_ int got = openat(d->fd, name, flags | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (got < 0 && errno == ENOENT)
        return 1;
    if (got < 0 && errno == ELOOP)
        return err_set(e, ERR_DATA, 0, "'%s' is a symlink, which is not followed: put the file itself there",
                       name);
    if (got < 0)
        return err_sys(e, "cannot open '%s'", name);
    struct stat st;
    if (fstat(got, &st) < 0)
        return err_sys(e, "cannot stat '%s'", name);
    if (!S_ISREG(st.st_mode))
        return err_set(e, ERR_DATA, 0, "'%s' is not a regular file: move it away", name);
    *fd = take_fd(&got);
    return 0;
}

static int cannot_remove(const char *name, struct err *e)
{
    return errno == EISDIR ? err_set(e, ERR_DATA, 0,
                                     "'%s' is a folder where a file of pvesr's belongs: move it away", name)
                           : err_sys(e, "cannot remove '%s'", name);
}

int dir_create(const struct dir *d, const char *name, int *fd, struct err *e)
{
    *fd = -1;
    /* another process may make it in between, where no lock keeps it from that */
    for (int tries = 0; *fd < 0 && tries < CREATE_TRIES; tries++) {
        if (unlinkat(d->fd, name, 0) < 0 && errno != ENOENT)
            return cannot_remove(name, e);
        *fd = openat(d->fd, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, MODE_DISK);
        if (*fd < 0 && errno != EEXIST)
            break;
    }
    return *fd < 0 ? err_sys(e, "cannot create '%s'", name) : 0;
}

int dir_move(const struct dir *d, const char *from, const char *to, bool replace, struct err *e)
{
    int r = renameat2(d->fd, from, d->fd, to, replace ? 0 : RENAME_NOREPLACE);
    if (r < 0 && errno == EINVAL && !replace) { /* a file system without the flag; the caller has the lock */
        int there = dir_has(d, to, e);
        if (there < 0)
            return -1;
        r = there ? -1 : renameat(d->fd, from, d->fd, to);
        errno = there ? EEXIST : errno;
    }
    if (r < 0 && errno == EEXIST)
        return err_set(e, ERR_DATA, 0, "'%s' is there already", to);
    return r < 0 ? err_sys(e, "cannot rename '%s' to '%s'", from, to) : 0;
}

int dir_remove(const struct dir *d, const char *name, struct err *e)
{
    if (d->fd < 0)
        return 1;
    if (unlinkat(d->fd, name, 0) == 0)
        return 0;
    return errno == ENOENT ? 1 : cannot_remove(name, e);
}

int dir_sync(const struct dir *d, struct err *e)
{
    return fsync(d->fd) < 0 ? err_sys(e, "cannot flush the directory %s/%u", root_images(d->store), d->vmid)
                            : 0;
}

int dir_in_use(const struct dir *d, char by[VOLUME_USER_MAX + 1], struct err *e)
{
    _cleanup_close_ int fd = -1;
    int r = dir_file(d, d->file, O_RDONLY, &fd, e);
    return r != 0 ? (r < 0 ? -1 : 0) : users_of_file(fd, store_tick(d->store), by, e);
}

int dir_replace_live(const struct dir *d, const char *from, struct err *e)
{
    char by[VOLUME_USER_MAX + 1];
    _cleanup_close_ int fd = -1;
    int r = dir_file(d, d->file, O_RDONLY, &fd, e);
    if (r == 0)
        r = users_writing(fd, store_tick(d->store), by, e);
    if (r < 0 || (r > 0 && fd >= 0))
        return r < 0 ? -1 : users_refuse(by, e);
    if (fd >= 0 && dir_check_clones_of(d, fd, from, e) < 0)
        return -1;
    /* what came since it was looked for is somebody's */
    return dir_move(d, from, d->file, fd >= 0, e) < 0 ? -1 : dir_sync(d, e);
}

int dir_flush(int fd, const char *name, struct err *e)
{
    return fsync(fd) < 0 ? err_sys(e, "cannot flush '%s'", name) : 0;
}

int dir_has(const struct dir *d, const char *name, struct err *e)
{
    return d->fd >= 0 ? fs_look_at(d->fd, name, e) : 0;
}

int dir_tags(const struct dir *d, enum dir_kind kind, struct strv *ret, struct err *e)
{
    if (d->fd < 0)
        return 0;
    int fd = openat(d->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir) {
        err_sys(e, "cannot read the directory %s/%u", root_images(d->store), d->vmid);
        if (fd >= 0)
            close(fd);
        return -1;
    }
    struct dir_name prefix = dir_name(d, kind, "");
    size_t n = strlen(prefix.s);
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(dir);
        if (!entry)
            break;
        if (strncmp(entry->d_name, prefix.s, n) == 0 && (kind != DIR_STAGE || !entry->d_name[n]))
            strv_add(ret, entry->d_name + n);
    }
    int code = errno;
    closedir(dir);
    return code ? err_set(e, ERR_SYSTEM, code, "cannot read the directory %s/%u", root_images(d->store),
                          d->vmid)
                : 0;
}

/* ---- what the file system can do ---- */

/* An error of this moment. Anything else is what a file system says of what it has not: OpenZFS, too, which
 * refuses what is not on its disks yet (EAGAIN), so that a file in use could never be cloned there. */
static bool may_pass(int code)
{
    return code == EIO || code == ESTALE || code == ENOSPC || code == EDQUOT || code == EROFS ||
           code == EUCLEAN || code == EBADMSG || code == ETIMEDOUT || code == EBUSY || code == EACCES ||
           code == ENOMEM || code == EINTR;
}

static int try_reflink(int to, int from, struct err *e)
{
    if (ioctl(to, FICLONE, from) == 0)
        return 1;
    return may_pass(errno) ? err_sys(e, "cannot try whether files share blocks") : 0;
}

static int probe(const struct dir *d, struct err *e)
{
    struct dir_name name = dir_name(d, DIR_TEMP, DIR_TAG_PROBE);
    _cleanup_close_ int a = -1, b = -1;
    char block[4096] = {1};
    int r = dir_create(d, name.s, &a, e) < 0 ||
                    dir_create(d, name.s, &b, e) < 0 || /* the first is gone now */
                    fs_pwrite_all(a, block, sizeof block, 0, name.s, e) < 0
                ? -1
                : try_reflink(b, a, e);
    struct err ignored;
    dir_remove(d, name.s, &ignored);
    return r;
}

/* One answer per file system: a process has few of them. A device number alone comes again after an unmount.
 */
struct place {
    uint64_t device, mount;
    uint64_t type;
    fsid_t id;
};
static struct {
    struct place place;
    int answer;
} known[32];
static size_t n_known;

static int find_place(const struct dir *d, struct place *ret, struct err *e)
{
    struct statx st;
    struct statfs fs;
    if (statx(d->fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_MNT_ID, &st) < 0 || fstatfs(d->fd, &fs) < 0)
        return err_sys(e, "cannot stat the directory %s/%u", root_images(d->store), d->vmid);
    memset(ret, 0, sizeof *ret);
    ret->device = (uint64_t)st.stx_dev_major << 32 | st.stx_dev_minor;
    ret->mount = st.stx_mask & STATX_MNT_ID ? st.stx_mnt_id : 0;
    ret->type = (uint64_t)fs.f_type;
    ret->id = fs.f_fsid;
    return 0;
}

static int probe_once(const struct dir *d, struct err *e)
{
    struct place place;
    if (find_place(d, &place, e) < 0)
        return -1;
    for (size_t i = 0; i < n_known; i++)
        if (memcmp(&known[i].place, &place, sizeof place) == 0)
            return known[i].answer;
    int r = probe(d, e);
    if (r >= 0 && n_known < ELEMENTS(known)) {
        known[n_known].place = place;
        known[n_known++].answer = r;
    }
    return r;
}

static bool is_refused(const struct err *e)
{
    return e->kind == ERR_FULL || e->code == EROFS || e->code == EPERM || e->code == EACCES;
}

/* Where it cannot be tried (no room, read-only, a flag), what there is of the volume tells: files without
 * reflinks have digests, be it beside what was kept aside. -1: there is nothing, but what is read-only can
 * take no snapshot either. */
static int by_what_is_there(const struct dir *d, const struct err *why)
{
    _cleanup_strv_ struct strv tags = STRV_INIT, digests = STRV_INIT;
    struct err ignored;
    if (dir_tags(d, DIR_SNAPSHOT, &tags, &ignored) < 0 || dir_tags(d, DIR_DIGEST, &digests, &ignored) < 0)
        return -1;
    return digests.n ? 0 : tags.n ? 1 : why->code == EROFS ? 0 : -1;
}

int dir_can_reflink(struct dir *d, struct err *e)
{
    if (d->mode >= 0)
        return d->mode;
    int r = dir_enter(d, false, e);
    if (r < 0)
        return -1;
    if (r > 0) { /* ask the nearest directory that is there */
        struct dir near = *d;
        near.fd = d->root;
        return probe_once(&near, e);
    }
    struct err problem;
    r = probe_once(d, &problem);
    if (r < 0 && is_refused(&problem))
        r = by_what_is_there(d, &problem);
    if (r < 0)
        *e = problem;
    if (r >= 0)
        d->mode = (signed char)r;
    return r;
}

int dir_copy_mode(const struct dir *d, int fd, struct err *e)
{
    struct stat st = {.st_mode = MODE_DISK, .st_uid = geteuid(), .st_gid = getegid()};
    int r = fstatat(d->fd, d->file, &st, AT_SYMLINK_NOFOLLOW);
    if (r < 0 && errno != ENOENT)
        return err_sys(e, "cannot stat '%s'", d->file);
    if (r == 0 && !S_ISREG(st.st_mode))
        return err_set(e, ERR_DATA, 0, "'%s' is not a regular file", d->file);
    if ((st.st_uid != geteuid() || st.st_gid != getegid()) && fchown(fd, st.st_uid, st.st_gid) < 0)
        return err_sys(e, "cannot set the owner of the new '%s'", d->file);
    return fchmod(fd, st.st_mode & 0770) < 0 ? err_sys(e, "cannot set the mode of the new '%s'", d->file) : 0;
}

int dir_writable(struct dir *d, struct err *e)
{
    _cleanup_close_ int fd = -1;
    int r = dir_enter(d, false, e);
    if (r == 0)
        r = dir_file(d, d->file, O_RDWR, &fd, e);
    if (r > 0)
        return err_set(e, ERR_GONE, 0, "there is no file '%s'", d->file);
    return r == 0 ? 0 : err_wrap(e, "a guest could not write to it");
}
