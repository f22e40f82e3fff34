#include "volume/users.h"

#include "base/clock.h"
#include "base/mem.h"
#include "volume/uses.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/dm-ioctl.h>
#include <linux/loop.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#define CIFS_MAGIC 0xff534d42
#define SCAN_SECONDS 3 /* udev's and LVM's looking at a device takes a fraction of that */
#define SCAN_NANOSECONDS 200000000
#define DEVICES_MAX 300 /* with its partitions: 256 at most */

/* What is asked for, and the answer. */
struct question {
    enum { ANY_IN, WRITERS_OF, DEVICE } kind;
    dev_t device; /* ANY_IN, WRITERS_OF: stat's */
    ino_t inode;  /* WRITERS_OF */
    dev_t devices[DEVICES_MAX];
    size_t n;
    /* Mounts: of the file system with this number (that of btrfs is none of stat's) what lies at or below
     * `root` in it, or at or below `seen`, which is its name here. */
    dev_t mounted;
    char *root, *seen;
    const char *own; /* a mount there is none */
    const struct tick *tick;
    char *by;
};

static void question_release(struct question *q)
{
    free(q->root);
    free(q->seen);
}
#define _cleanup_question_ _cleanup_(question_release)

static int answer(const struct question *q, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static int answer(const struct question *q, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(q->by, VOLUME_USER_MAX + 1, fmt, ap);
    va_end(ap);
    return 1;
}

int users_refuse(const char *by, struct err *e)
{
    return err_set(e, ERR_BUSY, 0, "in use by %s: stop that, then the next run goes on", by);
}

static bool is_one_of(const struct question *q, dev_t device)
{
    for (size_t i = 0; i < q->n; i++)
        if (q->devices[i] == device)
            return true;
    return false;
}

/* ---- processes ---- */

static int is_process(const struct use *u, void *arg)
{
    const struct question *q = arg;
    const struct statx *f = u->file;
    bool here = makedev(f->stx_dev_major, f->stx_dev_minor) == q->device, hit = false;
    switch (q->kind) {
    case ANY_IN:
        hit = here;
        break;
    case WRITERS_OF:
        hit = here && f->stx_ino == q->inode && u->writes;
        break;
    case DEVICE:
        hit = S_ISBLK(f->stx_mode) && is_one_of(q, makedev(f->stx_rdev_major, f->stx_rdev_minor));
        break;
    }
    return hit;
}

static int ask_processes(struct question *q, struct err *e)
{
    char process[USES_PROCESS_MAX];
    int r = uses_each(is_process, q, process, q->tick, e);
    return r > 0 ? answer(q, "%s", process) : r;
}

/* ---- loop devices: their files are the kernel's, no process has them ---- */

static bool is_loop(const struct question *q, const struct loop_info64 *i)
{
    switch (q->kind) {
    case ANY_IN:
        return i->lo_device == q->device;
    case WRITERS_OF:
        return i->lo_device == q->device && i->lo_inode == q->inode && !(i->lo_flags & LO_FLAGS_READ_ONLY);
    case DEVICE:
        return is_one_of(q, i->lo_rdevice);
    }
    return false;
}

static int ask_loops(const struct question *q)
{
    DIR *list = opendir("/sys/block");
    int r = 0;
    for (const struct dirent *x; list && r == 0 && (x = readdir(list));) {
        char path[300];
        struct loop_info64 info = {0};
        snprintf(path, sizeof path, "/sys/block/%s/loop", x->d_name);
        if (strncmp(x->d_name, "loop", 4) != 0 || access(path, F_OK) < 0)
            continue;
        snprintf(path, sizeof path, "/dev/%s", x->d_name);
        _cleanup_close_ int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
        if (fd >= 0 && ioctl(fd, LOOP_GET_STATUS64, &info) == 0 && is_loop(q, &info))
            r = answer(q, "%s", path);
    }
    if (list)
        closedir(list);
    return r;
}

/* ---- mounts ---- */

static bool is_below(const char *path, const char *top)
{
    size_t n = strlen(top);
    if (n == 1)
        return true;
    return strncmp(path, top, n) == 0 && (path[n] == 0 || path[n] == '/');
}

/* In another namespace "/tank/x" may be "/host/tank/x". */
static bool is_own(const struct question *q, const char *point)
{
    size_t n = strlen(point), k = q->own ? strlen(q->own) : 0;
    return k && n >= k && strcmp(point + n - k, q->own) == 0;
}

static bool is_mount(const struct question *q, const struct mountinfo *m, bool here)
{
    struct stat st;
    dev_t device = makedev(m->major, m->minor);
    if (q->kind != DEVICE)
        return !is_own(q, m->point) && ((q->root && device == q->mounted && is_below(m->root, q->root)) ||
                                        (here && q->seen && is_below(m->point, q->seen)));
    return is_one_of(q, device) || (here && m->source[0] == '/' && stat(m->source, &st) == 0 &&
                                    S_ISBLK(st.st_mode) && is_one_of(q, st.st_rdev));
}

/* What is written to an overlay goes there, by the path that whoever mounted it gave. */
static bool is_overlay(const struct question *q, const struct mountinfo *m)
{
    static const char *const keys[] = {"upperdir=", "workdir="};
    for (size_t i = 0; q->seen && strcmp(m->type, "overlay") == 0 && i < ELEMENTS(keys); i++) {
        const char *at = strstr(m->options, keys[i]);
        const char *dir = at ? at + strlen(keys[i]) : "";
        _cleanup_free_ char *path = xstrndup(dir, strcspn(dir, ","));
        if (is_below(path, q->seen))
            return true;
    }
    return false;
}

static int ask_mount(const struct mountinfo *m, const char *process, void *arg)
{
    const struct question *q = arg;
    if (!is_mount(q, m, !*process) && !is_overlay(q, m))
        return 0;
    return answer(q, "a mount at %.160s%s%s", m->point, *process ? " of " : "", process);
}

static int ask_mounts(struct question *q, struct err *e)
{
    return uses_each_mount(ask_mount, q, q->tick, e);
}

struct mount_of {
    unsigned long id;
    struct question *q;
};

static int note_mount(const struct mountinfo *m, const char *process, void *arg)
{
    const struct mount_of *x = arg;
    struct question *q = x->q;
    if (*process || m->id != x->id)
        return *process ? 1 : 0;
    if (is_below(q->seen, m->point)) {
        const char *rest = q->seen + (m->point[1] ? strlen(m->point) : 0);
        q->mounted = makedev(m->major, m->minor);
        q->root = xasprintf("%s%s", m->root[1] || !*rest ? m->root : "", rest);
    }
    return 1;
}

/* What the file or directory is called in its file system: that is how other mounts of it are known. */
static int note_place(struct question *q, int fd, struct err *e)
{
    struct statx st;
    char link[32], path[PATH_MAX];
    if (statx(fd, "", AT_EMPTY_PATH, STATX_INO | STATX_MNT_ID, &st) < 0)
        return err_sys(e, "cannot stat the volume");
    q->device = makedev(st.stx_dev_major, st.stx_dev_minor);
    q->inode = st.stx_ino;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path);
    if (n <= 0 || n == sizeof path || !(st.stx_mask & STATX_MNT_ID))
        return 0;
    q->seen = xstrndup(path, (size_t)n);
    struct mount_of x = {st.stx_mnt_id, q};
    return uses_each_mount(note_mount, &x, q->tick, e) < 0 ? -1 : 0;
}

/* ---- files and trees ---- */

/* On these "somebody else has it open" may mean that the server grants no lease. */
static bool leases_count(int fd)
{
    struct statfs fs;
    if (fstatfs(fd, &fs) < 0)
        return false;
    switch ((unsigned long)fs.f_type) {
    case NFS_SUPER_MAGIC:
    case SMB2_SUPER_MAGIC:
    case CIFS_MAGIC:
        return false;
    default:
        return true;
    }
}

/* Is it open for writing? 1, 0, or -1 when leases cannot tell. Who opens it while we hold the lease waits,
 * and we get a signal, which must not be the usual one: that ends the process. */
static int ask_lease(int fd)
{
    if (fcntl(fd, F_SETSIG, SIGURG) < 0)
        return -1;
    if (fcntl(fd, F_SETLEASE, F_RDLCK) == 0)
        return fcntl(fd, F_SETLEASE, F_UNLCK) < 0 ? -1 : 0;
    return errno == EAGAIN && leases_count(fd) ? 1 : -1;
}

int users_writing(int fd, const struct tick *tick, char by[VOLUME_USER_MAX + 1], struct err *e)
{
    struct question q = {.kind = WRITERS_OF, .tick = tick, .by = by};
    struct stat st;
    int open_for_writing = ask_lease(fd);
    if (open_for_writing == 0)
        return 0;
    if (fstat(fd, &st) < 0)
        return err_sys(e, "cannot stat the volume");
    q.device = st.st_dev;
    q.inode = st.st_ino;
    int r = ask_loops(&q);
    if (r == 0)
        r = ask_processes(&q, e);
    return r == 0 && open_for_writing > 0 ? answer(&q, "somebody who has it open for writing") : r;
}

int users_of_file(int fd, const struct tick *tick, char by[VOLUME_USER_MAX + 1], struct err *e)
{
    int r = users_writing(fd, tick, by, e);
    return r == 0 ? users_by_mount(fd, tick, by, e) : r;
}

static int ask_tree(struct question *q, struct err *e)
{
    int r = ask_mounts(q, e);
    if (r == 0)
        r = ask_loops(q);
    return r == 0 ? ask_processes(q, e) : r;
}

int users_by_mount(int fd, const struct tick *tick, char by[VOLUME_USER_MAX + 1], struct err *e)
{
    _cleanup_question_ struct question q = {.kind = ANY_IN, .tick = tick, .by = by};
    return note_place(&q, fd, e) < 0 ? -1 : ask_mounts(&q, e);
}

int users_of_tree(int fd, const struct tick *tick, char by[VOLUME_USER_MAX + 1], struct err *e)
{
    _cleanup_question_ struct question q = {.kind = ANY_IN, .tick = tick, .by = by};
    return note_place(&q, fd, e) < 0 ? -1 : ask_tree(&q, e);
}

struct dataset {
    const char *name;
    dev_t device;
};

static int find_dataset(const struct mountinfo *m, const char *process, void *arg)
{
    struct dataset *d = arg;
    if (strcmp(m->type, "zfs") != 0 || strcmp(m->source, d->name) != 0)
        return 0;
    d->device = makedev(m->major, m->minor);
    return 1;
}

int users_of_dataset(const char *dataset, const char *point, const struct tick *tick,
                     char by[VOLUME_USER_MAX + 1], struct err *e)
{
    _cleanup_question_ struct question q = {.kind = ANY_IN, .tick = tick, .by = by};
    struct dataset d = {.name = dataset};
    int r = uses_each_mount(find_dataset, &d, tick, e);
    if (r <= 0)
        return r;
    q.device = q.mounted = d.device;
    q.root = xstrdup("/");
    q.own = point;
    q.seen = *point ? xstrdup(point) : NULL;
    return ask_tree(&q, e);
}

/* ---- block devices ---- */

static void note_partitions(struct question *q, const char *folder)
{
    DIR *list = opendir(folder);
    for (const struct dirent *x; list && (x = readdir(list));) {
        char path[PATH_MAX];
        unsigned major, minor;
        snprintf(path, sizeof path, "%s/%s/partition", folder, x->d_name);
        if (x->d_name[0] == '.' || access(path, F_OK) < 0)
            continue;
        snprintf(path, sizeof path, "%s/%s/dev", folder, x->d_name);
        FILE *f = fopen(path, "re");
        if (f && fscanf(f, "%u:%u", &major, &minor) == 2 && q->n < DEVICES_MAX)
            q->devices[q->n++] = makedev(major, minor);
        if (f)
            fclose(f);
    }
    if (list)
        closedir(list);
}

static int ask_holders(const struct question *q)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < q->n; i++) {
        char path[PATH_MAX], name[128] = "";
        snprintf(path, sizeof path, "/sys/dev/block/%u:%u/holders", major(q->devices[i]),
                 minor(q->devices[i]));
        DIR *list = opendir(path);
        for (const struct dirent *x; list && r == 0 && (x = readdir(list));) {
            if (x->d_name[0] == '.')
                continue;
            snprintf(path, sizeof path, "/sys/block/%s/dm/name", x->d_name);
            FILE *f = fopen(path, "re");
            if (f && fscanf(f, "%127s", name) != 1)
                name[0] = 0;
            if (f)
                fclose(f);
            r = answer(q, "the device /dev/%s%s", *name ? "mapper/" : "", *name ? name : x->d_name);
        }
        if (list)
            closedir(list);
    }
    return r;
}

/* Of a device of the device mapper, how often it is open; -1: it is none. */
static int open_count(dev_t device)
{
    struct dm_ioctl d = {.version = {DM_VERSION_MAJOR, 0, 0}, .data_size = sizeof d, .dev = device};
    _cleanup_close_ int fd = open("/dev/" DM_DIR "/" DM_CONTROL_NODE, O_RDWR | O_CLOEXEC);
    return fd < 0 || ioctl(fd, DM_DEV_STATUS, &d) < 0 ? -1 : d.open_count;
}

/* A mount, or whatever else takes it for itself alone. 1, 0; -1: it went away. */
static int is_claimed(const char *path)
{
    _cleanup_close_ int fd = open(path, O_RDONLY | O_EXCL | O_NONBLOCK | O_CLOEXEC);
    return fd >= 0 ? 0 : errno == EBUSY ? 1 : -1;
}

/* *passing: it may be but a look at a new device. */
static int ask_device(struct question *q, const char *path, bool *passing, struct err *e)
{
    int open = open_count(q->devices[0]);
    int claimed = open < 0 ? is_claimed(path) : open;
    *passing = false;
    if (open == 0 || claimed < 0)
        return 0;
    int r = ask_holders(q);
    if (r == 0 && claimed > 0)
        r = ask_mounts(q, e);
    if (r == 0)
        r = ask_loops(q);
    if (r != 0)
        return r;
    *passing = true;
    r = ask_processes(q, e);
    return r == 0 && claimed > 0 ? answer(q, "somebody who has its device open") : r;
}

int users_of_device(const char *path, const struct tick *tick, char by[VOLUME_USER_MAX + 1], struct err *e)
{
    double end = clock_mono() + SCAN_SECONDS;
    for (;;) {
        _cleanup_question_ struct question q = {.kind = DEVICE, .tick = tick, .by = by, .n = 1};
        struct stat st;
        char folder[64];
        bool passing;
        if (stat(path, &st) < 0)
            return errno == ENOENT ? 0 : err_sys(e, "cannot stat '%s'", path);
        if (!S_ISBLK(st.st_mode))
            return err_set(e, ERR_DATA, 0, "'%s' is no block device", path);
        q.devices[0] = st.st_rdev;
        snprintf(folder, sizeof folder, "/sys/dev/block/%u:%u", major(st.st_rdev), minor(st.st_rdev));
        note_partitions(&q, folder);
        int r = ask_device(&q, path, &passing, e);
        if (r <= 0 || !passing || clock_mono() > end)
            return r;
        tick_now(tick);
        nanosleep(&(struct timespec){.tv_nsec = SCAN_NANOSECONDS}, NULL);
    }
}
