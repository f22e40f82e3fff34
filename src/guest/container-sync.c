#include "guest/cgroup.h"

#include "base/clock.h"
#include "base/fs.h"
#include "base/mountinfo.h"
#include "base/strv.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define MOUNTINFO_MAX (4u << 20)

/* Only these: syncing a FUSE or network mount may wait for the container that we have just frozen. */
static bool on_disk(const char *type)
{
    static const char *const types[] = {"ext2", "ext3", "ext4",     "xfs", "btrfs",
                                        "zfs",  "f2fs", "bcachefs", "vfat"};
    for (size_t i = 0; i < ELEMENTS(types); i++)
        if (strcmp(type, types[i]) == 0)
            return true;
    return false;
}

/* The path is the container's: it is looked up below its root, and no link leads out of there. */
static int sync_mount(int root, const char *path)
{
    struct open_how how = {.flags = O_RDONLY | O_DIRECTORY | O_NONBLOCK | O_CLOEXEC,
                           .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};
    _cleanup_close_ int fd = (int)syscall(SYS_openat2, root, path, &how, sizeof how);
    if (fd < 0)
        return errno == ENOTDIR || errno == ENOENT ? 0 : -1; /* a mount upon a file; one that is hidden */
    return syncfs(fd);
}

static int sync_line(int root, char *line, struct strv *done)
{
    struct mountinfo m;
    char device[32];
    if (!mountinfo_parse(line, &m) || !on_disk(m.type))
        return 0;
    snprintf(device, sizeof device, "%u:%u", m.major, m.minor);
    return strv_add_once(done, device) ? sync_mount(root, m.point) : 0;
}

/* 0, or the errno of the first failure. */
static int sync_all(pid_t pid)
{
    char path[64];
    struct err ignored;
    _cleanup_buf_ struct buf text = BUF_INIT;
    _cleanup_strv_ struct strv lines = STRV_INIT, done = STRV_INIT;
    int code = 0;
    snprintf(path, sizeof path, "/proc/%d/root", (int)pid);
    _cleanup_close_ int root = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (root < 0)
        return errno;
    snprintf(path, sizeof path, "/proc/%d/mountinfo", (int)pid);
    if (fs_read(path, MOUNTINFO_MAX, &text, &ignored) != 0)
        return EIO;
    strv_split(&lines, buf_str(&text), "\n");
    for (size_t i = 0; i < lines.n; i++)
        if (sync_line(root, lines.v[i], &done) < 0 && code == 0)
            code = errno;
    return code;
}

int container_sync(pid_t pid, double seconds, struct err *e)
{
    double deadline = clock_mono() + seconds;
    int status = 0;
    pid_t child = fork();
    if (child == 0) {
        syscall(SYS_close_range, 0u, ~0u, 0u); /* if it hangs, no lock of ours shall hang with it */
        _exit(sync_all(pid) & 0xff);
    }
    if (child < 0)
        return err_sys(e, "cannot start a process");
    _cleanup_close_ int fd = (int)syscall(SYS_pidfd_open, child, 0);
    while (waitpid(child, &status, WNOHANG) == 0) {
        double left = deadline - clock_mono();
        if (left <= 0) {
            kill(child, SIGKILL); /* in a system call that does not return it stays, for init to reap */
            waitpid(child, NULL, WNOHANG);
            return err_set(e, ERR_SYSTEM, 0,
                           "the container's file systems are not synced in time: one of them hangs, or its "
                           "disk is slow");
        }
        struct pollfd p = {.fd = fd, .events = POLLIN};
        poll(&p, 1, fd < 0 ? 10 : (int)(left * 1000) + 1);
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return err_set(e, ERR_SYSTEM, WIFEXITED(status) ? WEXITSTATUS(status) : EINTR,
                       "cannot sync the container's file systems");
    return 0;
}
