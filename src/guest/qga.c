#include "guest/qga.h"

#include "base/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define ANSWER_MAX (64u << 10)
#define SENTINEL '\xff' /* never part of JSON in UTF-8 */

static int no_answer(const struct qga *q, int code, struct err *e)
{
    return err_set(e, ERR_NETWORK, code, "%s at '%s' does not answer", q->who, q->path);
}

static int wait_for(const struct qga *q, short events, double deadline, struct err *e)
{
    for (;;) {
        struct pollfd fd = {.fd = q->fd, .events = events};
        double left = deadline - clock_mono();
        int n = left <= 0 ? 0 : poll(&fd, 1, (int)(left * 1000) + 1);
        if (n > 0)
            return 0;
        if (n == 0)
            return no_answer(q, 0, e);
        if (errno != EINTR)
            return err_sys(e, "cannot wait for '%s'", q->path);
    }
}

static int send_all(struct qga *q, const char *data, size_t n, double deadline, struct err *e)
{
    while (n > 0) {
        ssize_t w = send(q->fd, data, n, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (w < 0 && errno != EAGAIN && errno != EINTR)
            return no_answer(q, errno, e);
        if (w > 0) {
            data += w;
            n -= (size_t)w;
        } else if (wait_for(q, POLLOUT, deadline, e) < 0) {
            return -1;
        }
    }
    return 0;
}

static int receive_more(struct qga *q, double deadline, struct err *e)
{
    if (q->in.len >= ANSWER_MAX)
        return err_set(e, ERR_DATA, 0, "%s at '%s' says more than an answer may have", q->who, q->path);
    if (wait_for(q, POLLIN, deadline, e) < 0)
        return -1;
    char *to = buf_reserve(&q->in, 4096);
    ssize_t n = recv(q->fd, to, 4096, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (n <= 0)
        return no_answer(q, n < 0 ? errno : 0, e);
    q->in.len += (size_t)n;
    q->in.data[q->in.len] = 0;
    return 0;
}

static void drop(struct buf *b, size_t n)
{
    if (n == 0)
        return;
    memmove(b->data, b->data + n, b->len - n);
    b->len -= n;
}

/* The next line as JSON; NULL on error. */
static json_t *receive_line(struct qga *q, double deadline, struct err *e)
{
    char *end;
    while (!q->in.data || !(end = memchr(q->in.data, '\n', q->in.len)))
        if (receive_more(q, deadline, e) < 0)
            return NULL;
    size_t n = (size_t)(end - q->in.data);
    json_t *o = json_loadb(q->in.data, n, JSON_REJECT_DUPLICATES, NULL);
    drop(&q->in, n + 1);
    if (!json_is_object(o)) {
        json_decref(o);
        err_set(e, ERR_DATA, 0, "%s at '%s' says something that is no answer", q->who, q->path);
        return NULL;
    }
    return o;
}

/* Drop everything up to and with the sentinel. */
static int skip_to_sentinel(struct qga *q, double deadline, struct err *e)
{
    for (;;) {
        char *at = q->in.data ? memchr(q->in.data, SENTINEL, q->in.len) : NULL;
        drop(&q->in, at ? (size_t)(at - q->in.data) + 1 : q->in.len);
        if (at)
            return 0;
        if (receive_more(q, deadline, e) < 0)
            return -1;
    }
}

/* What earlier clients asked may still be answered: everything before the answer with our number is old. */
static int synchronize(struct qga *q, double deadline, struct err *e)
{
    uint32_t id = 0;
    char command[128];
    if (getrandom(&id, sizeof id, 0) != sizeof id)
        return err_sys(e, "cannot get a random number");
    int n = snprintf(command, sizeof command,
                     "%c{\"execute\":\"guest-sync-delimited\",\"arguments\":{\"id\":%" PRIu32 "}}\n",
                     SENTINEL, id);
    if (send_all(q, command, (size_t)n, deadline, e) < 0)
        return -1;
    for (bool found = false; !found;) {
        if (skip_to_sentinel(q, deadline, e) < 0)
            return -1;
        json_t *answer = receive_line(q, deadline, e);
        if (!answer && e->kind != ERR_DATA)
            return -1;
        json_t *got = json_object_get(answer, "return");
        found = json_is_integer(got) && json_integer_value(got) == (json_int_t)id;
        json_decref(answer);
    }
    return 0;
}

/* QEMU greets, and takes nothing before this. */
static int negotiate(struct qga *q, double deadline, struct err *e)
{
    json_auto_t *greeting = receive_line(q, deadline, e);
    if (!greeting)
        return -1;
    json_auto_t *done = qga_call(q, "qmp_capabilities", deadline - clock_mono(), e);
    return done ? 0 : -1;
}

static int open_socket(struct qga *q, const char *path, int (*begin)(struct qga *, double, struct err *),
                       double seconds, struct err *e)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    struct err problem = {0};
    double deadline = clock_mono() + seconds;
    q->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    q->path = path;
    if (q->fd < 0)
        return err_sys(e, "cannot make a socket");
    int r = 0;
    size_t n = strlen(path);
    if (n < sizeof a.sun_path)
        memcpy(a.sun_path, path, n);
    else
        r = err_set(&problem, ERR_SYSTEM, ENAMETOOLONG, "cannot connect to '%s'", path);
    if (r == 0 && connect(q->fd, (struct sockaddr *)&a, sizeof a) < 0)
        r = no_answer(q, errno, &problem);
    if (r == 0)
        r = begin(q, deadline, &problem);
    if (r < 0) {
        *e = problem;
        qga_close(q);
    }
    return r;
}

int qga_open(const char *path, double seconds, struct qga *ret, struct err *e)
{
    *ret = (struct qga){.who = "the guest agent"};
    return open_socket(ret, path, synchronize, seconds, e);
}

int qmp_open(const char *path, double seconds, struct qga *ret, struct err *e)
{
    *ret = (struct qga){.who = "QEMU's monitor"};
    return open_socket(ret, path, negotiate, seconds, e);
}

void qga_close(struct qga *q)
{
    if (q->fd >= 0)
        close(q->fd);
    q->fd = -1;
    buf_release(&q->in);
}

/* The next line that answers: QEMU tells what happens between. */
static json_t *receive_answer(struct qga *q, double deadline, struct err *e)
{
    json_t *answer = receive_line(q, deadline, e);
    while (answer && json_object_get(answer, "event")) {
        json_decref(answer);
        answer = receive_line(q, deadline, e);
    }
    return answer;
}

json_t *qga_call(struct qga *q, const char *command, double seconds, struct err *e)
{
    double deadline = clock_mono() + seconds;
    _cleanup_buf_ struct buf text = BUF_INIT;
    buf_addf(&text, "{\"execute\":\"%s\"}\n", command);
    if (send_all(q, text.data, text.len, deadline, e) < 0)
        return NULL;
    json_t *answer = receive_answer(q, deadline, e);
    if (!answer)
        return NULL;
    json_t *value = json_object_get(answer, "return");
    if (value)
        json_incref(value);
    else {
        const char *why = json_string_value(json_object_get(json_object_get(answer, "error"), "desc"));
        err_set(e, ERR_SYSTEM, 0, "%s refused %s: %.200s", q->who, command, why ? why : "no reason given");
    }
    json_decref(answer);
    return value;
}
