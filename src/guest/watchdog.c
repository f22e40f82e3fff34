#include "guest/watchdog.h"

#include "base/clock.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#define TRY_SECONDS 20.0
#define PERSIST_SECONDS 600.0
#define REPORT_SECONDS 30.0 /* for which what it says, and its end, is waited for */

enum message { MESSAGE_READY = 'r', MESSAGE_ANEW = 'a', MESSAGE_STANDING = 's', MESSAGE_THAWED = 't' };

static int fd_of_stream(int fd)
{
    return fd == 3 ? 3 : dup3(fd, 3, O_CLOEXEC);
}

/* Nothing of the parent's stays open: its locks and streams end with it. */
static void let_go(int fd)
{
    int null = open("/dev/null", O_RDWR);
    for (int i = 0; i < 3 && null >= 0; i++)
        dup2(null, i);
    fd_of_stream(fd);
    syscall(SYS_close_range, 4u, ~0u, 0u);
    for (int s = 1; s < NSIG; s++)
        signal(s, s == SIGTERM || s == SIGINT || s == SIGHUP || s == SIGPIPE ? SIG_IGN : SIG_DFL);
    setsid();
    prctl(PR_SET_NAME, "pvesr-thaw");
}

/* True: the parent has thawed the guest. False: it died, or the time is over. */
static bool wait_thawed(double seconds)
{
    double deadline = clock_mono() + seconds;
    for (;;) {
        struct pollfd p = {.fd = 3, .events = POLLIN};
        double left = deadline - clock_mono();
        int n = left <= 0 ? 0 : poll(&p, 1, (int)(left * 1000) + 1);
        char message;
        if (n == 0)
            return false;
        if (n < 0 || (n = (int)read(3, &message, 1)) < 0)
            continue;
        if (n == 0 || message == MESSAGE_THAWED)
            return n > 0;
        if (message == MESSAGE_ANEW)
            deadline = clock_mono() + seconds;
        const char standing = MESSAGE_STANDING;
        send(3, &standing, 1, MSG_NOSIGNAL);
    }
}

static _Noreturn void watch(watchdog_thaw thaw, const void *arg, double seconds)
{
    struct err ignored;
    const char ready = MESSAGE_READY;
    if (send(3, &ready, 1, MSG_NOSIGNAL) != 1 || wait_thawed(seconds))
        _exit(0);
    close(3); /* who asks from now on hears that it is too late */
    double deadline = clock_mono() + PERSIST_SECONDS;
    while (thaw(arg, TRY_SECONDS, &ignored) < 0 && clock_mono() < deadline)
        poll(NULL, 0, 500);
    _exit(1);
}

static bool hears(int fd)
{
    char message;
    ssize_t n;
    while ((n = read(fd, &message, 1)) < 0 && errno == EINTR)
        ;
    return n == 1;
}

/* One that does not run itself (stopped, by a person or a debugger) must not keep the guest frozen. */
static void expect_soon(int fd)
{
    const struct timeval most = {.tv_sec = (time_t)REPORT_SECONDS};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &most, sizeof most);
}

/* Only in its own session is it safe from a signal to our group, so the freeze waits for that. */
static int wait_ready(int fd, struct err *e)
{
    return hears(fd) ? 0
                     : err_set(e, ERR_SYSTEM, 0,
                               "the process that would thaw the guest if this one died ended at its start, "
                               "so the guest is not frozen");
}

int watchdog_start(watchdog_thaw thaw, const void *arg, double seconds, struct watchdog *ret, struct err *e)
{
    int fds[2];
    double due = clock_mono() + seconds; /* before it can be so for the watchdog */
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
        return err_sys(e, "cannot make a socket pair");
    pid_t pid = fork();
    if (pid == 0) {
        let_go(fds[1]);
        watch(thaw, arg, seconds);
    }
    close(fds[1]);
    expect_soon(fds[0]);
    if (pid < 0)
        err_sys(e, "cannot start the process that would thaw the guest if this one died");
    if (pid < 0 || wait_ready(fds[0], e) < 0) {
        close(fds[0]);
        return -1;
    }
    *ret = (struct watchdog){.pid = pid, .fd = fds[0], .seconds = seconds, .due = due};
    return 0;
}

static void tell(const struct watchdog *w, enum message m)
{
    char c = (char)m;
    while (send(w->fd, &c, 1, MSG_NOSIGNAL) < 0 && errno == EINTR)
        ;
}

int watchdog_frozen(struct watchdog *w, bool anew, struct err *e)
{
    double due = clock_mono() + w->seconds;
    tell(w, anew ? MESSAGE_ANEW : MESSAGE_STANDING);
    if (hears(w->fd)) {
        w->due = anew ? due : w->due;
        return 0;
    }
    return watchdog_is_due(w)
               ? err_set(e, ERR_SYSTEM, 0,
                         "freezing the guest took more than %g s, and is undone (see freeze-limit and "
                         "hold-limit in pvesr.conf(5))",
                         w->seconds)
               : err_set(
                     e, ERR_SYSTEM, 0,
                     "the process that would thaw the guest if this one died (%d) was killed or is stopped",
                     (int)w->pid);
}

bool watchdog_is_due(const struct watchdog *w)
{
    return clock_mono() >= w->due;
}

int watchdog_end(struct watchdog *w, struct err *e)
{
    int status = 0;
    double deadline = clock_mono() + REPORT_SECONDS;
    tell(w, MESSAGE_THAWED);
    watchdog_leave(w);
    _cleanup_close_ int fd = (int)syscall(SYS_pidfd_open, w->pid, 0);
    pid_t got;
    while ((got = waitpid(w->pid, &status, WNOHANG)) == 0 && clock_mono() < deadline) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        poll(&p, 1, fd < 0 ? 10 : 1000);
    }
    if (got == 0) { /* the guest is thawed: nobody may thaw it once more, when it is frozen again */
        kill(w->pid, SIGKILL);
        got = waitpid(w->pid, &status, 0);
    }
    if (got == w->pid && WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    return err_set(e, ERR_SYSTEM, 0, "the guest was frozen for more than %g s, and was thawed meanwhile",
                   w->seconds);
}

void watchdog_leave(struct watchdog *w)
{
    close(w->fd);
    w->fd = -1;
}
