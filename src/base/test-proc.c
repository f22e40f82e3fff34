#include "base/clock.h"
#include "base/proc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define ARGV(...)                                                                                            \
    (char *const[])                                                                                          \
    {                                                                                                        \
        (char *)__VA_ARGS__, NULL                                                                            \
    }

static void test_status_and_output(void **state)
{
    static const struct {
        const char *script;
        int status;
        const char *out, *err;
    } cases[] = {
        {"echo out; echo err >&2; exit 3", 3, "out\n", "err\n"},
        {"printf 'a b'", 0, "a b", ""},
        {"kill -TERM $$", 128 + SIGTERM, "", ""},
        {"cat", 0, "", ""}, /* stdin is /dev/null */
        {"echo $LC_ALL", 0, "C\n", ""},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct proc_result r = {0};
        struct err e = {0};
        if (proc_run(ARGV("sh", (char *)"-c", (char *)cases[i].script), NULL, &r, &e) < 0)
            fail_msg("%s", e.text);
        assert_int_equal(r.status, cases[i].status);
        assert_string_equal(buf_str(&r.out), cases[i].out);
        assert_string_equal(buf_str(&r.err), cases[i].err);
        proc_result_release(&r);
    }
}

static void test_cannot_start(void **state)
{
    static const char *const programs[] = {"no-such-program-anywhere", "/no/such/file", "/etc/passwd",
                                           "/tmp"};
    for (size_t i = 0; i < ELEMENTS(programs); i++) {
        struct proc_result r = {0};
        struct err e = {0};
        assert_int_equal(proc_run(ARGV(programs[i]), NULL, &r, &e), -1);
        assert_int_equal(e.kind, ERR_SYSTEM);
        assert_true(e.code != 0);
        assert_non_null(strstr(e.text, programs[i]));
        proc_result_release(&r);
    }
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
}

/* More than two pipes hold, in both directions and on both outputs: nobody may wait for the other. */
static void test_large_input_and_output(void **state)
{
    size_t n = 1 << 20;
    char *input = xmalloc(n);
    for (size_t i = 0; i < n; i++)
        input[i] = (char)(i * 31 >> 3);
    struct proc_options o = {.input = input, .input_len = n, .cap = n};
    struct proc_result r = {0};
    struct err e = {0};
    if (proc_run(ARGV("sh", (char *)"-c", (char *)"head -c 300000 /dev/zero >&2; echo tail >&2; cat"), &o, &r,
                 &e) < 0)
        fail_msg("%s", e.text);
    assert_int_equal(r.status, 0);
    assert_int_equal(r.out.len, n);
    assert_memory_equal(r.out.data, input, n);
    assert_int_equal(r.err.len, 64 << 10);
    assert_string_equal(r.err.data + r.err.len - 5, "tail\n");
    proc_result_release(&r);
    free(input);
}

static void test_input_that_nobody_reads(void **state)
{
    size_t n = 1 << 20;
    char *input = xcalloc(n, 1);
    struct proc_options o = {.input = input, .input_len = n};
    struct proc_result r = {0};
    struct err e = {0};
    assert_int_equal(proc_run(ARGV("true"), &o, &r, &e), 0);
    assert_int_equal(r.status, 0);
    proc_result_release(&r);
    free(input);
}

static void test_cap(void **state)
{
    struct proc_options o = {.cap = 1000};
    struct proc_result r = {0};
    struct err e = {0};
    assert_int_equal(proc_run(ARGV("yes"), &o, &r, &e), -1);
    assert_int_equal(e.kind, ERR_DATA);
    assert_string_equal(e.text, "yes: printed more than 1000 bytes");
    proc_result_release(&r);
}

/* The whole group goes, not the shell alone: a grandchild would keep the pipe open for ever. */
static void test_deadline_kills_the_group(void **state)
{
    int alive[2];
    char byte;
    assert_int_equal(pipe2(alive, O_CLOEXEC), 0);
    struct proc_streams streams = {.use_out = alive[1], .pipe_err = true};
    struct proc p;
    struct err e = {0};
    assert_int_equal(
        proc_spawn(ARGV("sh", (char *)"-c", (char *)"sleep 1000 & echo x; wait"), &streams, &p, &e), 0);
    close(alive[1]);
    assert_int_equal(read(alive[0], &byte, 1), 1);
    assert_int_equal(getpgid(p.pid), p.pid);
    assert_int_equal(proc_wait(&p, 0.01), 128 + SIGKILL);
    assert_int_equal(p.pid, 0);
    while (read(alive[0], &byte, 1) > 0) /* ends when the last holder is gone */
        ;
    close(alive[0]);

    struct proc_options o = {.seconds = 0.05};
    struct proc_result r = {0};
    assert_int_equal(proc_run(ARGV("sh", (char *)"-c", (char *)"sleep 1000 & wait"), &o, &r, &e), -1);
    assert_string_equal(e.text, "sh: timed out after 0.05 s");
    proc_result_release(&r);
}

/* A file system that is frozen lets no writer go, not even a killed one. */
static void test_unkillable(void **state)
{
    static const char prepare[] =
        "cd \"$(mktemp -d)\" && truncate -s 8M i && mkfs.ext4 -q -F i && mkdir m && "
        "mount -o loop i m && fsfreeze -f m && pwd";
    struct proc_result r = {0}, none = {0};
    struct err e = {0};
    if (proc_run(ARGV("sh", (char *)"-c", (char *)prepare), NULL, &r, &e) < 0 || r.status != 0) {
        proc_result_release(&r);
        skip();
    }
    _cleanup_free_ char *dir = xstrndup(buf_str(&r.out), r.out.len - 1);
    _cleanup_free_ char *file = xasprintf("%s/m/x", dir);
    proc_unkillable_seconds = 0.2;
    int got = proc_run(ARGV("touch", file), &(struct proc_options){.seconds = 0.1}, &none, &e);
    proc_unkillable_seconds = 60;
    static const char end[] = "fsfreeze -u \"$0/m\"; umount \"$0/m\" || umount -l \"$0/m\"; rm -rf \"$0\"";
    struct err ignored;
    proc_check(ARGV("sh", (char *)"-c", (char *)end, dir), NULL, NULL, &ignored);
    while (waitpid(-1, NULL, 0) > 0)
        ;
    assert_int_equal(got, -1);
    assert_non_null(strstr(e.text, "touch: process "));
    assert_non_null(strstr(e.text, "does not end"));
    proc_result_release(&r);
    proc_result_release(&none);
}

static void let_go(void *fifo)
{
    int fd = open(fifo, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd >= 0) /* else it did not open it yet */
        close(fd);
}

/* What ends when the tick comes, and not before. */
static void test_tick(void **state)
{
    char dir[] = "/tmp/pvesr-test-proc-XXXXXX";
    assert_non_null(mkdtemp(dir));
    _cleanup_free_ char *fifo = xasprintf("%s/fifo", dir);
    assert_int_equal(mkfifo(fifo, 0600), 0);
    const struct tick tick = {let_go, fifo};
    struct proc_options o = {.tick = &tick};
    struct proc_result r = {0};
    struct err e = {0};
    if (proc_run(ARGV("cat", fifo), &o, &r, &e) < 0)
        fail_msg("%s", e.text);
    assert_int_equal(r.status, 0);
    proc_result_release(&r);
    unlink(fifo);
    rmdir(dir);
}

/* Signals blocked or ignored here, and descriptors opened without CLOEXEC, do not reach the child. */
static void test_clean_child(void **state)
{
    sigset_t all, before;
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, &before);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGUSR1, SIG_IGN);
    int low = dup(1), high = fcntl(1, F_DUPFD, 200);
    struct buf out = BUF_INIT;
    struct err e = {0};
    int r = proc_check(
        ARGV("sh", (char *)"-c", (char *)"grep -E '^Sig(Blk|Ign)' /proc/self/status; ls /proc/self/fd"), NULL,
        &out, &e);
    close(low);
    close(high);
    signal(SIGPIPE, SIG_DFL);
    signal(SIGUSR1, SIG_DFL);
    sigprocmask(SIG_SETMASK, &before, NULL);
    if (r < 0)
        fail_msg("%s", e.text);
    assert_string_equal(buf_str(&out),
                        "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n0\n1\n2\n3\n"); /* 3: ls */
    buf_release(&out);
}

static void test_check(void **state)
{
    static const struct {
        const char *script, *want;
    } cases[] = {
        {"echo first >&2; echo the reason >&2; echo >&2; exit 4", "sh -c: exit status 4: the reason"},
        {"kill -KILL $$", "sh -c: ended by signal 9: "},
        {"exit 255", "sh -c: exit status 255: "},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct err e = {0};
        assert_int_equal(proc_check(ARGV("/bin/sh", (char *)"-c", (char *)cases[i].script), NULL, NULL, &e),
                         -1);
        assert_string_equal(e.text, cases[i].want);
    }
    struct buf out = BUF_INIT;
    struct err e = {0};
    buf_adds(&out, "old");
    assert_int_equal(proc_check(ARGV("echo", (char *)"new"), NULL, &out, &e), 0);
    assert_string_equal(buf_str(&out), "new\n");
    buf_release(&out);
}

static void test_pipes(void **state)
{
    struct proc_streams streams = {.pipe_in = true, .pipe_out = true};
    struct proc p;
    struct err e = {0};
    char back[6] = "";
    assert_int_equal(proc_spawn(ARGV("cat"), &streams, &p, &e), 0);
    assert_int_equal(p.err, -1);
    assert_int_equal(write(p.in, "hello", 5), 5);
    assert_int_equal(read(p.out, back, 5), 5);
    assert_string_equal(back, "hello");
    assert_int_equal(proc_wait(&p, 60), 0); /* closes its stdin, so it ends */
    assert_int_equal(proc_wait(&p, 60), 0);
    assert_int_equal(proc_spawn(ARGV("cat"), &streams, &p, &e), 0);
    proc_kill(&p);
    assert_int_equal(p.pid, 0);
    assert_int_equal(p.in, -1);
    proc_kill(&p);
}

static void test_holds(void **state)
{
    static const struct {
        const char *input, *script;
    } cases[] = {{NULL, "readlink /proc/$$/fd/0"}, {"said", "readlink /proc/$$/fd/3; cat"}};
    char path[] = "/tmp/pvesr-held-XXXXXX", want[64];
    int fd = mkostemp(path, O_CLOEXEC);
    assert_true(fd > 2);
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        const char *input = cases[i].input;
        struct proc_options o = {.held_fd = fd, .input = input, .input_len = input ? strlen(input) : 0};
        struct buf out = BUF_INIT;
        struct err e = {0};
        snprintf(want, sizeof want, "%s\n%s", path, input ? input : "");
        assert_int_equal(proc_check(ARGV("/bin/sh", (char *)"-c", (char *)cases[i].script), &o, &out, &e), 0);
        assert_string_equal(buf_str(&out), want);
        buf_release(&out);
    }
    close(fd);
    unlink(path);
}

static void test_new_session(void **state)
{
    struct proc_options o = {.new_session = true};
    struct proc_result r = {0};
    struct err e = {0};
    assert_int_equal(proc_run(ARGV("sh", (char *)"-c", (char *)"cut -d' ' -f1,6 /proc/$$/stat"), &o, &r, &e),
                     0);
    int pid = 0, session = 0;
    assert_int_equal(sscanf(buf_str(&r.out), "%d %d", &pid, &session), 2);
    assert_int_equal(pid, session);
    proc_result_release(&r);
}

static void test_boot(void **state)
{
    char is[PROC_BOOT_MAX], again[PROC_BOOT_MAX];
    proc_boot(is);
    proc_boot(again);
    assert_int_equal(strlen(is), 36);
    assert_int_equal(strspn(is, "0123456789abcdef-"), 36);
    assert_string_equal(is, again);
    (void)state;
}

static void test_start_time(void **state)
{
    uint64_t own = proc_start_time(getpid());
    assert_true(own > 0);
    assert_true(proc_start_time(1) <= own);
    assert_true(proc_start_time(0) == 0);
    assert_true(proc_start_time(-5) == 0);
    pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    siginfo_t info;
    assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
    assert_true(proc_start_time(pid) == 0); /* a zombie */
    waitpid(pid, NULL, 0);
    assert_true(proc_start_time(pid) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_status_and_output),
        cmocka_unit_test(test_cannot_start),
        cmocka_unit_test(test_large_input_and_output),
        cmocka_unit_test(test_input_that_nobody_reads),
        cmocka_unit_test(test_cap),
        cmocka_unit_test(test_deadline_kills_the_group),
        cmocka_unit_test(test_unkillable),
        cmocka_unit_test(test_tick),
        cmocka_unit_test(test_clean_child),
        cmocka_unit_test(test_check),
        cmocka_unit_test(test_pipes),
        cmocka_unit_test(test_holds),
        cmocka_unit_test(test_new_session),
        cmocka_unit_test(test_start_time),
        cmocka_unit_test(test_boot),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
