#include "volume/stream/streamproc.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

/* How long to wait for the kernel before telling the peer that we are still here. */
#define TICK_MS 3000
#define ERRORS_MAX 4096

int streamproc_start(struct streamproc *s, char *const argv[], bool source,
                     const struct volume_context *context, struct err *e)
{
    struct proc_streams streams = {.pipe_out = source, .pipe_in = !source, .pipe_err = true};
    if (context)
        *(source ? &streams.use_in : &streams.use_out) = context->lock_fd;
    *s = (struct streamproc)STREAMPROC_INIT;
    s->context = context;
    if (proc_spawn(argv, &streams, &s->proc, e) < 0)
        return -1;
    fcntl(source ? s->proc.out : s->proc.in, F_SETPIPE_SZ, 1 << 20); /* fewer turns; a smaller one does too */
    if (!source && fcntl(s->proc.in, F_SETFL, O_NONBLOCK) < 0)
        return err_sys(e, "cannot prepare the pipe to %s", s->proc.name);
    return 0;
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* Keep what it complains of. */
static void listen_once(struct streamproc *s)
{
    char text[1024];
    ssize_t n = read(s->proc.err, text, sizeof text);
    if (n > 0 && s->errors.len < ERRORS_MAX)
        buf_add(&s->errors, text, (size_t)n);
    if (n == 0 || (n < 0 && errno != EINTR))
        close_fd(&s->proc.err);
}

/* Until `fd` (-1: none) can be used, listening meanwhile; with none, until stderr is closed. */
static int await(struct streamproc *s, int fd, short events, struct err *e)
{
    while (fd >= 0 || s->proc.err >= 0) {
        struct pollfd p[] = {{.fd = fd, .events = events}, {.fd = s->proc.err, .events = POLLIN}};
        int r = poll(p, 2, TICK_MS);
        if (r < 0 && errno != EINTR)
            return err_sys(e, "cannot wait for %s", s->proc.name);
        if (r == 0 && s->context)
            tick_now(&s->context->tick);
        if (r > 0 && p[1].revents)
            listen_once(s);
        if (r > 0 && p[0].revents)
            return 0;
    }
    return 0;
}

int streamproc_end(struct streamproc *s, struct err *e)
{
    if (!s->proc.pid)
        return 0;
    close_fd(&s->proc.in);
    if (await(s, -1, 0, e) < 0)
        return -1;
    int status = proc_wait(&s->proc, 60);
    if (status == 0)
        return 0;
    char line[512];
    proc_complaint(&s->errors, line, sizeof line);
    err_set(e, strstr(line, "out of space") ? ERR_FULL : ERR_SYSTEM, 0, "%s: exit status %d: %s",
            s->proc.name, status, line);
    e->code = strstr(line, "Input/output error") ? EIO : 0;
    return -1;
}

ssize_t streamproc_read(struct streamproc *s, void *data, size_t room, struct err *e)
{
    while (s->proc.pid) {
        if (await(s, s->proc.out, POLLIN, e) < 0)
            return -1;
        ssize_t n = read(s->proc.out, data, room);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_sys(e, "cannot read from %s", s->proc.name);
        return n > 0 ? n : streamproc_end(s, e);
    }
    return 0;
}

int streamproc_write(struct streamproc *s, const void *data, size_t n, struct err *e)
{
    for (const char *p = data; n;) {
        if (await(s, s->proc.in, POLLOUT, e) < 0)
            return -1;
        ssize_t done = write(s->proc.in, p, n);
        if (done < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (done < 0 && errno == EPIPE) { /* it says why on stderr */
            if (streamproc_end(s, e) == 0)
                err_set(e, ERR_DATA, 0, "%s ended in the middle of its stream", s->proc.name);
            return -1;
        }
        if (done < 0)
            return err_sys(e, "cannot write to %s", s->proc.name);
        p += done;
        n -= (size_t)done;
    }
    return 0;
}

void streamproc_stop(struct streamproc *s)
{
    proc_kill(&s->proc);
    buf_release(&s->errors);
}
