#include "api/child.h"

#include "base/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

struct child {
    struct children *all;
    struct child *next;
    struct proc proc;
    sd_event_source *exit, *out, *err, *timer;
    bool ended;
    char *who, *what; /* child_mark */
    struct child_result result;
    void (*done)(const struct child_result *r, void *arg);
    void *arg;
};

static void close_stream(sd_event_source **source, int *fd)
{
    *source = sd_event_source_disable_unref(*source);
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static void destroy(struct child *c)
{
    struct child **at = &c->all->first;
    while (*at != c)
        at = &(*at)->next;
    *at = c->next;
    close_stream(&c->out, &c->proc.out);
    close_stream(&c->err, &c->proc.err);
    sd_event_source_disable_unref(c->exit);
    sd_event_source_disable_unref(c->timer);
    buf_release(&c->result.out);
    buf_release(&c->result.err);
    free(c->who);
    free(c->what);
    free(c);
}

static bool is_over(const struct child *c)
{
    return c->ended && c->proc.out < 0 && c->proc.err < 0;
}

static void end_if_over(struct child *c)
{
    if (!is_over(c))
        return;
    if (c->done)
        c->done(&c->result, c->arg);
    destroy(c);
}

static void kill_group(struct child *c)
{
    if (!c->ended)
        kill(-c->proc.pid, SIGKILL);
}

static int on_ended(sd_event_source *s, const siginfo_t *si, void *arg)
{
    struct child *c = arg;
    c->ended = true;
    c->result.status = si->si_code == CLD_EXITED ? si->si_status : 128 + si->si_status;
    end_if_over(c);
    return 0;
}

/* What it left running may hold the pipes open for ever. */
static int on_late(sd_event_source *s, uint64_t usec, void *arg)
{
    struct child *c = arg;
    c->result.late = true;
    kill_group(c);
    close_stream(&c->out, &c->proc.out);
    close_stream(&c->err, &c->proc.err);
    end_if_over(c);
    return 0;
}

/* True: that was all. */
static bool read_some(int fd, struct buf *to)
{
    char block[16384];
    ssize_t n = read(fd, block, sizeof block);
    if (n > 0)
        buf_add(to, block, (size_t)n);
    return n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR);
}

static int on_readable(sd_event_source *s, int fd, uint32_t revents, void *arg)
{
    struct child *c = arg;
    bool out = fd == c->proc.out;
    struct buf *to = out ? &c->result.out : &c->result.err;
    bool over = read_some(fd, to);
    if (to->len > CHILD_OUTPUT_MAX) {
        c->result.too_big = over = true;
        kill_group(c);
    }
    if (over)
        close_stream(out ? &c->out : &c->err, out ? &c->proc.out : &c->proc.err);
    end_if_over(c);
    return 0;
}

static int follow(double seconds, struct child *c)
{
    sd_event *event = c->all->event;
    fcntl(c->proc.out, F_SETFL, O_NONBLOCK);
    fcntl(c->proc.err, F_SETFL, O_NONBLOCK);
    int r = sd_event_add_child(event, &c->exit, c->proc.pid, WEXITED, on_ended, c);
    if (r >= 0)
        r = sd_event_add_io(event, &c->out, c->proc.out, EPOLLIN, on_readable, c);
    if (r >= 0)
        r = sd_event_add_io(event, &c->err, c->proc.err, EPOLLIN, on_readable, c);
    if (r >= 0)
        r = sd_event_add_time_relative(event, &c->timer, CLOCK_MONOTONIC, (uint64_t)(seconds * 1e6), 0,
                                       on_late, c);
    return r;
}

struct child *child_start(struct children *all, const struct strv *argv, const char *input, size_t input_len,
                          double seconds, void (*done)(const struct child_result *r, void *arg), void *arg,
                          struct err *e)
{
    struct child *c = xcalloc(1, sizeof *c);
    struct proc_streams streams = {.pipe_in = input != NULL, .pipe_out = true, .pipe_err = true};
    *c = (struct child){.proc = PROC_INIT, .all = all, .next = all->first, .done = done, .arg = arg};
    if (proc_spawn(argv->v, &streams, &c->proc, e) < 0) {
        free(c);
        return NULL;
    }
    all->first = c;
    if (input) {
        /* a pipe takes that much at once */
        if (write(c->proc.in, input, input_len) != (ssize_t)input_len)
            kill_group(c);
        close(c->proc.in);
        c->proc.in = -1;
    }
    int r = follow(seconds, c);
    if (r >= 0)
        return c;
    err_set(e, ERR_SYSTEM, -r, "cannot follow '%s'", c->proc.name);
    child_free(c);
    return NULL;
}

void child_mark(struct child *c, const char *who, const char *what)
{
    c->who = who ? xstrdup(who) : NULL;
    c->what = what ? xstrdup(what) : NULL;
}

unsigned children_count(const struct children *all)
{
    unsigned n = 0;
    for (const struct child *c = all->first; c; c = c->next)
        n += !is_over(c);
    return n;
}

unsigned children_of(const struct children *all, const char *who)
{
    unsigned n = 0;
    for (const struct child *c = all->first; c; c = c->next)
        n += c->who && !is_over(c) && (!who || strcmp(c->who, who) == 0);
    return n;
}

bool children_at(const struct children *all, const char *what)
{
    for (const struct child *c = all->first; c; c = c->next)
        if (c->what && !is_over(c) && strcmp(c->what, what) == 0)
            return true;
    return false;
}

void child_forget(struct child *c)
{
    if (c)
        c->done = NULL;
}

void children_release(struct children *all)
{
    while (all->first)
        destroy(all->first);
}

void child_free(struct child *c)
{
    if (!c)
        return;
    c->exit = sd_event_source_disable_unref(c->exit);
    kill_group(c);
    if (!c->ended)
        waitpid(c->proc.pid, NULL, 0);
    destroy(c);
}
