#include "base/proc.h"

#include "base/clock.h"
#include "base/fs.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define STDERR_KEPT (64 << 10)
#define DEFAULT_CAP (1 << 20)
#define DEFAULT_SECONDS 60

double proc_unkillable_seconds = 60;
#define SEARCH_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

void proc_begin(void)
{
    static const int modes[] = {O_RDONLY, O_RDONLY, O_WRONLY};
    for (int fd = 0; fd < 3; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", modes[fd]) != fd)
            _exit(127);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
}

void proc_result_release(struct proc_result *r)
{
    buf_release(&r->out);
    buf_release(&r->err);
}

/* ---- starting ---- */

static void close_quietly(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static char *find_program(const char *name, struct err *e)
{
    if (strchr(name, '/'))
        return xstrdup(name);
    _cleanup_strv_ struct strv dirs = STRV_INIT;
    strv_split(&dirs, SEARCH_PATH, ":");
    for (size_t i = 0; i < dirs.n; i++) {
        _cleanup_free_ char *path = xasprintf("%s/%s", dirs.v[i], name);
        if (access(path, X_OK) == 0)
            return take_ptr(path);
    }
    err_set(e, ERR_SYSTEM, ENOENT, "cannot start '%s': no such program in %s", name, SEARCH_PATH);
    return NULL;
}

/* The environment with LC_ALL=C, built before the child: that may only use async-signal-safe calls. */
static char **make_environment(void)
{
    size_t n = 0;
    while (environ[n])
        n++;
    char **env = xcalloc(n + 2, sizeof *env);
    size_t k = 0;
    for (size_t i = 0; i < n; i++)
        if (strncmp(environ[i], "LC_ALL=", 7) != 0)
            env[k++] = environ[i];
    env[k] = (char *)"LC_ALL=C";
    return env;
}

struct child_setup {
    const char *path;
    char *const *argv;
    char *const *env;
    int fds[4]; /* the last: what it holds beside its streams, or -1 */
    bool new_session;
    int report; /* exec's errno is written here; closed by a successful exec */
};

static _Noreturn void child(const struct child_setup *c)
{
    int moved[4];
    struct sigaction dfl = {.sa_handler = SIG_DFL};
    sigset_t none;
    if (c->new_session)
        setsid();
    else
        setpgid(0, 0);
    for (int s = 1; s < NSIG; s++)
        sigaction(s, &dfl, NULL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    /* Out of the way first, so that putting one in place cannot overwrite another. */
    int report = fcntl(c->report, F_DUPFD_CLOEXEC, 10);
    for (int i = 0; i < 4; i++)
        moved[i] = fcntl(c->fds[i], F_DUPFD_CLOEXEC, 10);
    /* What is above 2 closes at exec by CLOEXEC; this catches what somebody opened without it. */
    for (int fd = 3; fd < 10; fd++)
        close(fd);
    for (int i = 0; i < 4; i++)
        dup2(moved[i], i);
    syscall(SYS_close_range, 10u, ~0u, 4u /* CLOSE_RANGE_CLOEXEC */);
    execve(c->path, c->argv, c->env);
    int code = errno;
    ssize_t ignored = write(report, &code, sizeof code);
    (void)ignored;
    _exit(127);
}

/* The child has this process' memory, which stands still until the program runs: nothing of it is copied, or
 * mapped anew. A handler of ours must not run in there. */
static pid_t start_child(const struct child_setup *c)
{
    sigset_t all, before;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    pid_t pid = vfork();
    if (pid == 0)
        child(c);
    int code = errno;
    sigprocmask(SIG_SETMASK, &before, NULL);
    errno = code;
    return pid;
}

static pid_t start(char *const argv[], const int fds[4], bool new_session, struct err *e)
{
    _cleanup_free_ char *path = find_program(argv[0], e);
    if (!path)
        return -1;
    _cleanup_free_ char **env = make_environment();
    int report[2];
    if (pipe2(report, O_CLOEXEC) < 0)
        return err_sys(e, "cannot start '%s'", argv[0]);
    struct child_setup c = {.path = path,
                            .argv = argv,
                            .env = env,
                            .fds = {fds[0], fds[1], fds[2], fds[3]},
                            .new_session = new_session,
                            .report = report[1]};
    pid_t pid = start_child(&c);
    int saved = errno;
    close(report[1]);
    int code = 0;
    ssize_t n = 0;
    if (pid > 0)
        while ((n = read(report[0], &code, sizeof code)) < 0 && errno == EINTR)
            ;
    close(report[0]);
    if (pid < 0)
        return err_set(e, ERR_SYSTEM, saved, "cannot start '%s'", argv[0]);
    if (n == sizeof code) {
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
            ;
        return err_set(e, ERR_SYSTEM, code, "cannot start '%s'", path);
    }
    return pid;
}

/* One of the three streams: *theirs is for the child, *ours for us. Returns whether *theirs must be closed by
 * us. */
static int stream(bool piped, int use, int number, int *theirs, int *ours, struct err *e)
{
    int p[2];
    if (piped) {
        if (pipe2(p, O_CLOEXEC) < 0)
            return err_sys(e, "cannot make a pipe");
        *theirs = p[number == 0 ? 0 : 1];
        *ours = p[number == 0 ? 1 : 0];
        return 0;
    }
    *theirs = use > 2
                  ? fcntl(use, F_DUPFD_CLOEXEC, 3)
                  : (number == 0 ? open("/dev/null", O_RDWR | O_CLOEXEC) : fcntl(number, F_DUPFD_CLOEXEC, 3));
    if (*theirs < 0 && number > 0) /* our own stream is closed */
        *theirs = open("/dev/null", O_RDWR | O_CLOEXEC);
    return *theirs < 0 ? err_sys(e, "cannot pass an open file on to a program") : 0;
}

/* held_fd: -1, or as in proc_options. */
static int spawn(char *const argv[], const struct proc_streams *s, bool new_session, int held_fd,
                 struct proc *p, struct err *e)
{
    int theirs[4] = {-1, -1, -1, held_fd};
    int r = 0;
    pid_t pid = -1;
    *p = (struct proc)PROC_INIT;
    snprintf(p->name, sizeof p->name, "%s", base_name(argv[0]));
    if (stream(s->pipe_in, s->use_in, 0, &theirs[0], &p->in, e) < 0 ||
        stream(s->pipe_out, s->use_out, 1, &theirs[1], &p->out, e) < 0 ||
        stream(s->pipe_err, s->use_err, 2, &theirs[2], &p->err, e) < 0)
        r = -1;
    else
        r = (pid = start(argv, theirs, new_session, e)) < 0 ? -1 : 0;
    for (int i = 0; i < 3; i++)
        close_quietly(&theirs[i]);
    if (r < 0) {
        close_quietly(&p->in);
        close_quietly(&p->out);
        close_quietly(&p->err);
        return -1;
    }
    p->pid = pid;
    return 0;
}

int proc_spawn(char *const argv[], const struct proc_streams *streams, struct proc *p, struct err *e)
{
    return spawn(argv, streams, false, -1, p, e);
}

/* ---- ending ---- */

static int status_of(int wstatus)
{
    return WIFEXITED(wstatus) ? WEXITSTATUS(wstatus) : 128 + WTERMSIG(wstatus);
}

/* What poll takes: at least 1 ms, so that a loop on it never spins, and at most an hour. */
static int poll_time(double seconds)
{
    return seconds > 3600 ? 3600000 : (int)(seconds * 1000) + 1;
}

/* False at the deadline. */
static bool wait_until(pid_t pid, double deadline, int *status)
{
    _cleanup_close_ int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    for (;;) {
        int wstatus;
        pid_t got = waitpid(pid, &wstatus, WNOHANG);
        if (got == pid || (got < 0 && errno == ECHILD)) {
            *status = got == pid ? status_of(wstatus) : 255;
            return true;
        }
        double left = deadline - clock_mono();
        if (left <= 0)
            return false;
        struct pollfd pfd = {.fd = fd, .events = POLLIN};
        poll(&pfd, 1, fd < 0 ? 10 : poll_time(left));
    }
}

int proc_wait(struct proc *p, double seconds)
{
    int status = 0;
    if (p->pid <= 0)
        return 0;
    close_quietly(&p->in);
    close_quietly(&p->out);
    close_quietly(&p->err);
    if (!wait_until(p->pid, clock_mono() + seconds, &status)) {
        kill(-p->pid, SIGKILL);
        if (!wait_until(p->pid, clock_mono() + proc_unkillable_seconds, &status))
            status = PROC_UNKILLABLE;
    }
    p->pid = 0;
    return status;
}

int proc_kill(struct proc *p)
{
    if (p->pid > 0)
        kill(-p->pid, SIGKILL);
    return proc_wait(p, 0);
}

/* ---- running to the end ---- */

/* Move what is there from fd into b; false at its end. Only the last `keep` bytes stay when `keep` is given.
 */
static bool drain(int fd, struct buf *b, size_t keep)
{
    char *to = buf_reserve(b, 65536);
    ssize_t n = read(fd, to, 65536);
    if (n < 0)
        return errno == EINTR || errno == EAGAIN;
    b->len += (size_t)n;
    b->data[b->len] = 0;
    if (keep && b->len > keep) {
        memmove(b->data, b->data + b->len - keep, keep + 1);
        b->len = keep;
    }
    return n > 0;
}

static int pump(struct proc *p, const struct proc_options *o, double deadline, struct proc_result *r,
                struct err *e)
{
    size_t cap = o->cap ? o->cap : DEFAULT_CAP, fed = 0;
    if (p->in >= 0)
        fcntl(p->in, F_SETFL, O_NONBLOCK);
    while (p->out >= 0 || p->err >= 0 || p->in >= 0) {
        struct pollfd fds[3] = {{.fd = p->out, .events = POLLIN},
                                {.fd = p->err, .events = POLLIN},
                                {.fd = p->in, .events = POLLOUT}};
        double left = deadline - clock_mono();
        if (left > 0 && poll(fds, 3, poll_time(o->tick && left > 1 ? 1 : left)) < 0 && errno == EINTR)
            continue;
        tick_now(o->tick);
        if (left <= 0)
            return err_set(e, ERR_SYSTEM, 0, "%s: timed out after %g s", p->name,
                           o->seconds > 0 ? o->seconds : DEFAULT_SECONDS);
        if (fds[0].revents && !drain(p->out, &r->out, 0))
            close_quietly(&p->out);
        if (r->out.len > cap)
            return err_set(e, ERR_DATA, 0, "%s: printed more than %zu bytes", p->name, cap);
        if (fds[1].revents && !drain(p->err, &r->err, STDERR_KEPT))
            close_quietly(&p->err);
        if (fds[2].revents) {
            ssize_t w = write(p->in, o->input + fed, o->input_len - fed);
            fed += w > 0 ? (size_t)w : 0;
            if (fed == o->input_len || (w < 0 && errno != EAGAIN && errno != EINTR))
                close_quietly(&p->in);
        }
    }
    return 0;
}

int proc_run(char *const argv[], const struct proc_options *options, struct proc_result *r, struct err *e)
{
    static const struct proc_options none;
    const struct proc_options *o = options ? options : &none;
    struct proc p;
    struct proc_streams streams = {
        .pipe_in = o->input, .pipe_out = true, .pipe_err = true, .use_in = o->input ? 0 : o->held_fd};
    if (spawn(argv, &streams, o->new_session, o->input && o->held_fd > 2 ? o->held_fd : -1, &p, e) < 0)
        return -1;
    double deadline = clock_mono() + (o->seconds > 0 ? o->seconds : DEFAULT_SECONDS);
    struct sigaction ignore = {.sa_handler = SIG_IGN}, before;
    sigaction(SIGPIPE, &ignore, &before); /* the child may not want its input */
    int failed = pump(&p, o, deadline, r, e);
    sigaction(SIGPIPE, &before, NULL);
    double left = deadline - clock_mono();
    pid_t pid = p.pid;
    r->status = failed < 0 ? proc_kill(&p) : proc_wait(&p, left > 1 ? left : 1);
    if (r->status == PROC_UNKILLABLE)
        return err_set(
            e, ERR_SYSTEM, 0,
            "%s: process %d was killed and does not end, it waits for the kernel (state D in ps): look at "
            "what dmesg says of its storage; only a restart of the node may help",
            p.name, (int)pid);
    return failed;
}

/* Programs end with advice (zfs(8)) or go on complaining of what follows from it (btrfs(8)). */
static const char *first_complaint(const char *text)
{
    static const char *const beginnings[] = {"cannot ", "ERROR: "};
    for (const char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        for (size_t i = 0; i < ELEMENTS(beginnings); i++)
            if (strncmp(line, beginnings[i], strlen(beginnings[i])) == 0)
                return line;
    }
    return NULL;
}

void proc_complaint(const struct buf *b, char *out, size_t room)
{
    const char *text = buf_str(b), *first = first_complaint(text);
    size_t end = b->len;
    if (first) {
        snprintf(out, room, "%.*s", (int)strcspn(first, "\n"), first);
        return;
    }
    while (end > 0 && isspace((unsigned char)text[end - 1]))
        end--;
    size_t begin = end;
    while (begin > 0 && text[begin - 1] != '\n')
        begin--;
    snprintf(out, room, "%.*s", (int)(end - begin), text + begin);
}

int proc_check(char *const argv[], const struct proc_options *options, struct buf *out, struct err *e)
{
    struct proc_result r = {0};
    int result = proc_run(argv, options, &r, e);
    if (result == 0 && r.status != 0) {
        char line[512], what[96];
        proc_complaint(&r.err, line, sizeof line);
        snprintf(what, sizeof what, "%s%s%s", base_name(argv[0]), argv[1] ? " " : "", argv[1] ? argv[1] : "");
        bool killed = r.status > 128 && r.status <= 128 + SIGRTMAX;
        result = err_set(e, ERR_SYSTEM, 0, killed ? "%s: ended by signal %d: %s" : "%s: exit status %d: %s",
                         what, killed ? r.status - 128 : r.status, line);
    }
    if (result == 0 && out) {
        buf_release(out);
        *out = r.out;
        r.out = (struct buf)BUF_INIT;
    }
    proc_result_release(&r);
    return result;
}

/* From its state on (proc(5), stat field 3), in `text`; NULL: there is no such process. */
static const char *read_stat(pid_t pid, struct buf *text)
{
    char path[64];
    struct err ignored;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    if (pid <= 0 || fs_read(path, 4096, text, &ignored) != 0)
        return NULL;
    const char *p =
        strrchr(buf_str(text), ')'); /* the program's name may hold anything, blanks and ')' too */
    return p && p[1] == ' ' ? p + 2 : NULL;
}

char proc_state(pid_t pid)
{
    _cleanup_buf_ struct buf text = BUF_INIT;
    const char *p = read_stat(pid, &text);
    return p ? *p : 0;
}

bool proc_is_stopped(pid_t pid)
{
    char state = proc_state(pid);
    return state == 'T' || state == 't';
}

uint64_t proc_turns(pid_t pid)
{
    static const char *const keys[] = {"\nvoluntary_ctxt_switches:", "\nnonvoluntary_ctxt_switches:"};
    _cleanup_buf_ struct buf text = BUF_INIT;
    struct err ignored;
    char path[64];
    uint64_t turns = 0;
    snprintf(path, sizeof path, "/proc/%d/task/%d/status", (int)pid, (int)pid);
    if (pid <= 0 || fs_read(path, 64 << 10, &text, &ignored) != 0)
        return 0;
    for (size_t i = 0; i < ELEMENTS(keys); i++) {
        const char *at = strstr(buf_str(&text), keys[i]);
        turns += at ? strtoull(at + strlen(keys[i]), NULL, 10) : 0;
    }
    return turns;
}

uint64_t proc_start_time(pid_t pid)
{
    _cleanup_buf_ struct buf text = BUF_INIT;
    const char *p = read_stat(pid, &text);
    if (!p || *p == 'Z' || *p == 'X')
        return 0;
    for (int field = 3; field < 22; field++) {
        p = strchr(p, ' ');
        if (!p)
            return 0;
        p++;
    }
    return strtoull(p, NULL, 10);
}

void proc_boot(char ret[PROC_BOOT_MAX])
{
    struct err ignored;
    _cleanup_buf_ struct buf text = BUF_INIT;
    ret[0] = 0;
    if (fs_read("/proc/sys/kernel/random/boot_id", 64, &text, &ignored) == 0)
        snprintf(ret, PROC_BOOT_MAX, "%.*s", (int)strcspn(buf_str(&text), " \n"), buf_str(&text));
}
