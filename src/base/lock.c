#include "base/lock.h"

#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/modes.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
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
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_sys(e, "can't open lock file '%s'", path);
    if (st.st_uid != 0 && st.st_uid != geteuid() && others_make_files(path))
        return err_set(
            e, ERR_SYSTEM, 0,
            "can't open lock file '%s': it belongs to user %u, who could hold it for ever; remove it", path,
            (unsigned)st.st_uid);
    fs_restrict(fd, MODE_LOCK);
    return take_fd(&fd);
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
            return err_set(e, ERR_BUSY, 0, "can't lock file '%s' - got timeout", path);
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

int lock_fd(const struct lock *l)
{
    return l->fd;
}
