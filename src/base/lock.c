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

/* Does it hold a lock on this file, by whatever way it came to it (proc_pid_fdinfo(5))? A process that waits
 * for one has the file open, too. No file system is asked for that, which may hang. */
static bool holds(int pid, const struct stat *file)
{
    _cleanup_free_ char *folder = xasprintf("/proc/%d/fd", pid);
    DIR *open_files = opendir(folder);
    bool is = false;
    for (struct dirent *d; open_files && !is && (d = readdir(open_files));) {
        _cleanup_buf_ struct buf info = BUF_INIT;
        _cleanup_free_ char *path = xasprintf("/proc/%d/fdinfo/%s", pid, d->d_name);
        struct statx x;
        struct err ignored;
        is = *d->d_name != '.' &&
             statx(dirfd(open_files), d->d_name, AT_STATX_DONT_SYNC, STATX_INO, &x) == 0 &&
             x.stx_ino == file->st_ino && makedev(x.stx_dev_major, x.stx_dev_minor) == file->st_dev &&
             fs_read(path, 1 << 16, &info, &ignored) == 0 && strstr(buf_str(&info), "FLOCK");
    }
    if (open_files)
        closedir(open_files);
    return is;
}

/* Among all processes: the one that took it may be gone, and have left it to others. NULL: there is none. */
static char *search_holder(const struct stat *file)
{
    DIR *all = opendir("/proc");
    char *holder = NULL;
    for (struct dirent *d; all && !holder && (d = readdir(all));)
        if (*d->d_name >= '1' && *d->d_name <= '9' && holds(atoi(d->d_name), file))
            holder = describe_holder(atoi(d->d_name));
    if (all)
        closedir(all);
    return holder;
}

/* As far as the kernel tells, which knows the file by the device of its file system (proc_locks(5)), and
 * where it does not, if that is worth a search: "" where not. */
static char *holder_of(int fd, bool search)
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
        char *holder = holds(pid, &st) ? describe_holder(pid) : NULL;
        if (holder)
            return holder;
    }
    char *found = search ? search_holder(&st) : NULL;
    return found ? found : xstrdup("");
}

static int too_late(int fd, const char *path, bool waited, struct err *e)
{
    _cleanup_free_ char *holder = holder_of(fd, waited);
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
            return too_late(fd, path, seconds > 0, e);
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
    if (l->fd >= 0)
        close(l->fd);
    free(l->path);
    free(l);
}

int lock_inherit(struct lock *l, double seconds, struct err *e)
{
    close(l->fd);
    l->fd = open_lock_file(l->path, e);
    return l->fd < 0 ? -1 : wait_for(l->fd, l->path, LOCK_EX, seconds, e);
}

int lock_fd(const struct lock *l)
{
    return l->fd;
}
