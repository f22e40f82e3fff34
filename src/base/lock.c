#include "base/lock.h"

#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/modes.h"
#include "base/proc.h"
#include "base/refusal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>

struct lock {
    char *path;
    int fd;
    unsigned held; /* nested requests */
    struct lock *next;
};

static struct lock *locks; /* held by this process; it has no threads */

/* May others make files in its folder? Where only root may, a file that belongs to nobody is root's as well:
 * a server of NFS that squashes root gives it that owner. */
static bool others_make_files(const char *path)
{
    const char *slash = strrchr(path, '/');
    _cleanup_free_ char *dir = slash ? xstrndup(path, (size_t)(slash - path)) : xstrdup(".");
    struct stat st;
    return stat(*dir ? dir : "/", &st) < 0 || st.st_mode & 022;
}

static int open_lock_file(const char *path, struct err *e)
{
    const char *slash = strrchr(path, '/');
    _cleanup_close_ int fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, MODE_LOCK);
    if (fd < 0 && errno == ENOENT && slash && slash != path) {
        _cleanup_free_ char *dir = xstrndup(path, (size_t)(slash - path));
        if (fs_mkdir_p(dir, MODE_FOLDER, e) < 0)
            return -1;
        fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, MODE_LOCK);
    }
    struct stat st;
    if (fd < 0 && (errno == EISDIR || errno == ELOOP))
        return err_set(e, ERR_SYSTEM, errno,
                       "can't open lock file '%s': it must be a regular file, remove it", path);
    if (fd < 0 || fstat(fd, &st) < 0) {
        err_sys(e, "can't open lock file '%s'", path);
        refusal_explain(e, path);
        return -1;
    }
    if (st.st_uid != 0 && st.st_uid != geteuid() && others_make_files(path))
        return err_set(
            e, ERR_SYSTEM, 0,
            "can't open lock file '%s': it belongs to user %u, who could hold it for ever; remove it", path,
            (unsigned)st.st_uid);
    fs_restrict(fd, MODE_LOCK);
    return take_fd(&fd);
}

/* " (held by process 4711, pvesr)", of a process that can be seen from here. Malloc'ed, or NULL. */
static char *describe_holder(int pid)
{
    struct err ignored;
    _cleanup_buf_ struct buf stat = BUF_INIT;
    _cleanup_free_ char *path = xasprintf("/proc/%d/stat", pid);
    if (pid <= 0 || fs_read(path, 4096, &stat, &ignored) != 0)
        return NULL;
    const char *name = strchr(buf_str(&stat), '('), *end = strrchr(buf_str(&stat), ')');
    if (!name || !end || end < name)
        return NULL;
    _cleanup_free_ char *remedy =
        proc_is_stopped(pid) ? xasprintf(", which is stopped: 'kill -CONT %d' lets it go on", pid) : NULL;
    return xasprintf(" (held by process %d, %.*s%s)", pid, (int)(end - name - 1), name + 1,
                     remedy ? remedy : "");
}

/* Does it have this file as one of its first descriptors, as programs have that inherited a lock
 * (base/proc.h)? No file system is asked for that, which may hang. */
static bool inherited(int pid, const struct stat *file)
{
    for (int fd = 0; fd <= 3; fd++) {
        char path[64];
        struct statx x;
        snprintf(path, sizeof path, "/proc/%d/fd/%d", pid, fd);
        if (statx(AT_FDCWD, path, AT_STATX_DONT_SYNC, STATX_INO, &x) == 0 && x.stx_ino == file->st_ino &&
            makedev(x.stx_dev_major, x.stx_dev_minor) == file->st_dev)
            return true;
    }
    return false;
}

/* One to which a process that is gone left it; NULL: there is none. */
static char *describe_heir(const struct stat *file)
{
    DIR *all = opendir("/proc");
    char *heir = NULL;
    for (struct dirent *d; all && !heir && (d = readdir(all));)
        if (*d->d_name >= '1' && *d->d_name <= '9' && inherited(atoi(d->d_name), file))
            heir = describe_holder(atoi(d->d_name));
    if (all)
        closedir(all);
    return heir;
}

/* As far as the kernel tells, which knows the file by the device of its file system (proc_locks(5)): "" where
 * not. */
static char *holder_of(int fd)
{
    struct stat st;
    struct err ignored;
    char wanted[64];
    _cleanup_buf_ struct buf table = BUF_INIT;
    if (fstat(fd, &st) < 0 || fs_read("/proc/locks", 16 << 20, &table, &ignored) != 0)
        return xstrdup("");
    snprintf(wanted, sizeof wanted, "%02x:%02x:%ju", major(st.st_dev), minor(st.st_dev),
             (uintmax_t)st.st_ino);
    for (const char *line = buf_str(&table); *line; line += strcspn(line, "\n"), line += *line == '\n') {
        int pid;
        char file[64];
        if (sscanf(line, "%*[0-9]: FLOCK %*s %*s %d %63s", &pid, file) != 2 || strcmp(file, wanted) != 0)
            continue;
        char *holder = describe_holder(pid);
        if (holder)
            return holder;
    }
    char *heir = describe_heir(&st);
    return heir ? heir : xstrdup("");
}

static int too_late(int fd, const char *path, struct err *e)
{
    _cleanup_free_ char *holder = holder_of(fd);
    return err_set(e, ERR_BUSY, 0, "can't lock file '%s' - got timeout%s", path, holder);
}

/* flock has no deadline and an alarm would be a signal in somebody's way: try, sleep a little, at first less.
 */
static int wait_for(int fd, const char *path, int operation, double seconds, struct err *e)
{
    double deadline = clock_mono() + seconds;
    long pause = 1000000; /* ns */
    while (flock(fd, operation | LOCK_NB) < 0) {
        if (errno == EINTR)
            continue;
        if (errno != EWOULDBLOCK)
            return err_sys(e, "can't lock file '%s'", path);
        if (clock_mono() >= deadline)
            return too_late(fd, path, e);
        nanosleep(&(struct timespec){0, pause}, NULL);
        if (pause < 50000000)
            pause *= 2;
    }
    return 0;
}

struct lock *lock_take(const char *path, bool exclusive, double seconds, bool chatty, struct err *e)
{
    for (struct lock *l = locks; l; l = l->next)
        if (strcmp(l->path, path) == 0) {
            l->held++;
            return l;
        }
    _cleanup_close_ int fd = open_lock_file(path, e);
    if (fd < 0)
        return NULL;
    int operation = exclusive ? LOCK_EX : LOCK_SH;
    if (flock(fd, operation | LOCK_NB) < 0) {
        if (chatty)
            fprintf(stderr, "trying to acquire lock...\n");
        if (wait_for(fd, path, operation, seconds, e) < 0)
            return NULL;
        if (chatty)
            fprintf(stderr, " OK\n");
    }
    struct lock *l = xmalloc(sizeof *l);
    *l = (struct lock){.path = xstrdup(path), .fd = take_fd(&fd), .held = 1, .next = locks};
    locks = l;
    return l;
}

void lock_free(struct lock *l)
{
    if (!l || --l->held > 0)
        return;
    for (struct lock **p = &locks; *p; p = &(*p)->next)
        if (*p == l) {
            *p = l->next;
            break;
        }
    close(l->fd);
    free(l->path);
    free(l);
}

int lock_inherit(struct lock *l, double seconds, struct err *e)
{
    int fd = open_lock_file(l->path, e);
    if (fd < 0)
        return -1;
    close(l->fd);
    l->fd = fd;
    return wait_for(fd, l->path, LOCK_EX, seconds, e);
}

int lock_fd(const struct lock *l)
{
    return l->fd;
}
