#include "base/mem.h"
#include "wire/frame.h"
#include "wire/pulse.h"

#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define SOON 0.02

/* Both ends, ours first. */
static void connect_two(int fds[2])
{
    const struct timeval patience = {.tv_sec = 60};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    for (int i = 0; i < 2; i++)
        assert_int_equal(setsockopt(fds[i], SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience), 0);
}

static void read_exactly(int fd, uint8_t *to, size_t n)
{
    for (ssize_t got; n > 0; to += got, n -= (size_t)got) {
        got = read(fd, to, n);
        assert_true(got > 0);
    }
}

/* It is busy with something else until it is told to stop, and then goes on where it was. */
static _Noreturn void be_busy(int fd, int told)
{
    struct err e;
    uint8_t byte;
    struct channel *c = channel_new(fd, fd, 12 * SOON);
    bool bad = frame_write(c, FRAME_NOTE, "one", 3, NULL, 0, false, &e) < 0;
    bad |= read(told, &byte, 1) != 1;
    bad |= frame_write(c, FRAME_NOTE, "two", 3, NULL, 0, false, &e) < 0 || channel_flush(c, &e) < 0;
    channel_free(c);
    _exit(bad);
}

static void test_says_that_it_lives(void **state)
{
    int fds[2], tell[2], status;
    uint8_t words[3 * FRAME_HEADER];
    struct frame f;
    struct err e;
    (void)state;
    connect_two(fds);
    assert_int_equal(pipe(tell), 0);
    pid_t pid = fork();
    if (pid == 0)
        be_busy(fds[1], tell[0]);
    close(fds[1]);
    read_exactly(fds[0], words, sizeof words);
    assert_int_equal(words[4], FRAME_ALIVE);
    assert_memory_equal(words, words + FRAME_HEADER, FRAME_HEADER);
    struct channel *c = channel_new(fds[0], fds[0], 60);
    assert_int_equal(write(tell[1], "", 1), 1);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(frame_read(c, &f, &e), 0);
        assert_int_equal(f.type, FRAME_NOTE);
        assert_memory_equal(f.payload, i ? "two" : "one", 3);
    }
    assert_int_equal(frame_read(c, &f, &e), 1);
    channel_free(c);
    waitpid(pid, &status, 0);
    assert_int_equal(status, 0);
    close(fds[0]);
    close(tell[0]);
    close(tell[1]);
}

/* What hangs says no more, until it works again. */
static void test_falls_silent(void **state)
{
    static const uint8_t word[PULSE_WORD] = "0123456789abcdef";
    int fds[2];
    uint8_t got[PULSE_WORD];
    struct pulse p;
    (void)state;
    connect_two(fds);
    pulse_start(&p, fds[1], SOON, word);
    read_exactly(fds[0], got, sizeof got);
    assert_memory_equal(got, word, sizeof got);
    pulse_enter(&p);
    p.work = 0;
    uint64_t said = p.said - sizeof got;
    pulse_leave(&p);
    for (; said > 0; said -= sizeof got)
        read_exactly(fds[0], got, sizeof got);
    struct pollfd fd = {.fd = fds[0], .events = POLLIN};
    assert_int_equal(poll(&fd, 1, (int)(10 * SOON * 1000)), 0);
    pulse_enter(&p);
    p.work = 60;
    pulse_leave(&p);
    read_exactly(fds[0], got, sizeof got);
    pulse_stop(&p);
    close(fds[0]);
    close(fds[1]);
}

/* A stream that is full gets no word, and its reader finds none amid a frame. */
static void test_full_stream(void **state)
{
    static const uint8_t word[PULSE_WORD] = "0123456789abcdef";
    static uint8_t fill[4096], got[4096];
    int fds[2];
    ssize_t n, filled = 0;
    struct pulse p;
    (void)state;
    connect_two(fds);
    pulse_start(&p, fds[1], 3600, word);
    while ((n = send(fds[1], fill, sizeof fill, MSG_DONTWAIT)) > 0)
        filled += n;
    pulse_set_period(&p, SOON);
    for (; filled > 0; filled -= n) {
        n = read(fds[0], got, filled < (ssize_t)sizeof got ? (size_t)filled : sizeof got);
        assert_true(n > 0);
        assert_memory_equal(got, fill, (size_t)n);
    }
    read_exactly(fds[0], got, sizeof word);
    assert_memory_equal(got, word, sizeof word);
    pulse_stop(&p);
    close(fds[0]);
    close(fds[1]);
}

/* ---- a peer that only says that it lives ---- */

static void say_alive(int fd)
{
    struct err e;
    struct channel *c = channel_new(fd, fd, 60);
    while (frame_write(c, FRAME_ALIVE, NULL, 0, NULL, 0, false, &e) == 0 && channel_flush(c, &e) == 0)
        ;
}

/* A byte of a frame that is to have 64 KiB, now and then. */
static void trickle(int fd)
{
    uint8_t head[FRAME_HEADER] = {0, 0, 1, 0, FRAME_REPLY};
    for (size_t i = 0; write(fd, i < sizeof head ? head + i : head, 1) == 1; i++)
        poll(NULL, 0, 1);
}

static void take_nothing(int fd)
{
    struct err e;
    struct channel *c = channel_new(fd, fd, 60);
    do
        poll(NULL, 0, 1);
    while (frame_write(c, FRAME_ALIVE, NULL, 0, NULL, 0, false, &e) == 0 && channel_flush(c, &e) == 0);
}

static int expect_answer(struct channel *c, struct err *e)
{
    struct frame f;
    channel_expect(c);
    return frame_read(c, &f, e);
}

static int send_much(struct channel *c, struct err *e)
{
    static const uint8_t data[1 << 20];
    int r = 0;
    for (int i = 0; i < 64 && r == 0; i++)
        r = frame_write(c, FRAME_DATA, data, 8, data, sizeof data, false, e);
    return r;
}

static void test_comes_to_no_end(void **state)
{
    static const struct {
        void (*peer)(int fd);
        int (*we)(struct channel *c, struct err *e);
    } cases[] = {{say_alive, expect_answer}, {trickle, expect_answer}, {take_nothing, send_much}};
    (void)state;
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        int fds[2];
        struct err e = {0};
        connect_two(fds);
        pid_t pid = fork();
        if (pid == 0) {
            signal(SIGPIPE, SIG_IGN);
            close(fds[0]);
            cases[i].peer(fds[1]);
            _exit(0);
        }
        close(fds[1]);
        struct channel *c = channel_new(fds[0], fds[0], 60);
        channel_set_limit(c, SOON);
        assert_int_equal(cases[i].we(c, &e), -1);
        assert_int_equal(e.kind, ERR_NETWORK);
        assert_non_null(strstr(e.text, "has not done in"));
        channel_free(c);
        close(fds[0]);
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_says_that_it_lives),
        cmocka_unit_test(test_falls_silent),
        cmocka_unit_test(test_full_stream),
        cmocka_unit_test(test_comes_to_no_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
