#include "wire/duplex.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#define EARLY_PIECE (64u << 10)
#define BEATS 12 /* within the time that a peer waits */

static int make_nonblocking(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags >= 0 && !(flags & O_NONBLOCK))
        fcntl(fd, F_SETFL, flags | O_NONBLOCK);
    return flags;
}

void duplex_init(struct duplex *d, int in, int out, double timeout, const uint8_t word[PULSE_WORD])
{
    *d = (struct duplex){.in = in, .out = out, .timeout = timeout, .last_sent = clock_mono(), .side = -1};
    d->in_flags = make_nonblocking(in);
    d->out_flags = in == out ? d->in_flags : make_nonblocking(out);
    pulse_start(&d->pulse, out, timeout / BEATS, word);
}

void duplex_release(struct duplex *d)
{
    pulse_stop(&d->pulse);
    if (d->in_flags >= 0)
        fcntl(d->in, F_SETFL, d->in_flags);
    if (d->out_flags >= 0)
        fcntl(d->out, F_SETFL, d->out_flags);
    buf_release(&d->early);
}

void duplex_set_timeout(struct duplex *d, double timeout)
{
    d->timeout = timeout;
    pulse_set_period(&d->pulse, timeout / BEATS);
}

void duplex_expect(struct duplex *d)
{
    d->until = d->limit > 0 ? clock_mono() + d->limit : 0;
}

static int check_limit(const struct duplex *d, double until, struct err *e)
{
    return until == 0 || clock_mono() < until ? 0
                                              : err_set(e, ERR_NETWORK, 0,
                                                        "the other node says that it is busy, but has not "
                                                        "done in %g s what it was asked for (see "
                                                        "peer-limit in pvesr.conf(5))",
                                                        d->limit);
}

static int cut(int code, struct err *e)
{
    return err_set(e, ERR_NETWORK, code, "the connection was cut");
}

/* Wait until `in` (when wanted) or `out` (when wanted) is ready; what can be done is left in *in_ready.
 * The side fd is served and does not end the wait. */
static int wait_ready(struct duplex *d, bool want_in, bool want_out, double deadline, bool *in_ready,
                      struct err *e)
{
    for (;;) {
        struct pollfd fds[3] = {{.fd = want_in ? d->in : -1, .events = POLLIN},
                                {.fd = want_out ? d->out : -1, .events = POLLOUT},
                                {.fd = d->side, .events = POLLIN}};
        double left = deadline - clock_mono();
        int n = poll(fds, 3, left <= 0 ? 0 : left > 1e6 ? 1000000000 : (int)(left * 1000) + 1);
        if (n < 0 && errno != EINTR)
            return err_sys(e, "cannot wait for the other node");
        if (n > 0 && fds[2].revents && !d->side_readable(d->side_arg))
            d->side = -1;
        *in_ready = n > 0 && fds[0].revents;
        if (n > 0 && (fds[0].revents || fds[1].revents))
            return 0;
        if (n <= 0 && left <= 0)
            return err_set(e, ERR_NETWORK, ETIMEDOUT, "the other node %s for %g s",
                           want_out ? "took no data" : "said nothing", d->timeout);
    }
}

static bool again(int code)
{
    return code == EAGAIN || code == EWOULDBLOCK;
}

/* Put aside what has arrived. */
static int take_early(struct duplex *d, struct err *e)
{
    char *to = buf_reserve(&d->early, EARLY_PIECE);
    ssize_t n = read(d->in, to, EARLY_PIECE);
    if (n < 0 && !again(errno) && errno != EINTR)
        return cut(errno, e);
    if (n == 0)
        d->ended = true;
    if (n > 0) {
        d->early.len += (size_t)n;
        d->received += (uint64_t)n;
    }
    return 0;
}

static void advance(struct iovec **iov, int *n, size_t done)
{
    while (*n > 0 && done >= (*iov)->iov_len) {
        done -= (*iov)->iov_len;
        (*iov)++;
        (*n)--;
    }
    if (*n > 0) {
        (*iov)->iov_base = (char *)(*iov)->iov_base + done;
        (*iov)->iov_len -= done;
    }
}

static int write_all(struct duplex *d, struct iovec *iov, int n, struct err *e)
{
    double began = clock_mono(), deadline = began + d->timeout, until = d->limit > 0 ? began + d->limit : 0;
    for (advance(&iov, &n, 0); n > 0;) {
        ssize_t w = writev(d->out, iov, n);
        if (w < 0 && errno == EINTR)
            continue;
        if (w < 0 && !again(errno))
            return errno == ENOSPC ? err_sys(e, "cannot send") : cut(errno, e);
        if (w > 0) {
            advance(&iov, &n, (size_t)w);
            d->sent += (uint64_t)w;
            d->last_sent = clock_mono();
            deadline = d->last_sent + d->timeout;
            continue;
        }
        bool in_ready = false, room = !d->ended && d->early.len < DUPLEX_EARLY_MAX;
        if (wait_ready(d, room, true, deadline, &in_ready, e) < 0)
            return -1;
        if (check_limit(d, until, e) < 0 || (in_ready && take_early(d, e) < 0))
            return -1;
        if (in_ready)
            deadline = clock_mono() + d->timeout;
    }
    return 0;
}

int duplex_write(struct duplex *d, struct iovec *iov, int n, struct err *e)
{
    pulse_enter(&d->pulse);
    int r = write_all(d, iov, n, e);
    pulse_leave(&d->pulse);
    return r;
}

static size_t give_early(struct duplex *d, void *to, size_t room)
{
    size_t n = d->early.len - d->early_taken;
    if (n > room)
        n = room;
    memcpy(to, d->early.data + d->early_taken, n);
    d->early_taken += n;
    if (d->early_taken == d->early.len) {
        buf_release(&d->early);
        d->early_taken = 0;
    }
    return n;
}

static int read_some(struct duplex *d, void *to, size_t room, size_t *got, struct err *e)
{
    double deadline = clock_mono() + d->timeout;
    for (;;) {
        ssize_t n = read(d->in, to, room);
        if (n >= 0) {
            *got = (size_t)n;
            d->received += (uint64_t)n;
            d->ended = n == 0;
            return 0;
        }
        if (errno == EINTR)
            continue;
        if (!again(errno))
            return cut(errno, e);
        bool ready;
        if (wait_ready(d, true, false, deadline, &ready, e) < 0)
            return -1;
    }
}

int duplex_read(struct duplex *d, void *to, size_t room, size_t *got, struct err *e)
{
    *got = 0;
    if (check_limit(d, d->until, e) < 0)
        return -1;
    if (d->early.len > 0)
        *got = give_early(d, to, room);
    if (*got > 0 || d->ended)
        return 0;
    pulse_enter(&d->pulse);
    int r = read_some(d, to, room, got, e);
    pulse_leave(&d->pulse);
    return r;
}
