/* The link over a real sshd on loopback, with keys made for it. Needs root and OpenSSH's server. */
#include "wire/link.h"
#include "wire/ssh.h"

#include "base/fs.h"
#include "base/mem.h"
#include "base/proc.h"
#include "base/strv.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ftw.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define SSHD "/usr/sbin/sshd"

static char dir[] = "/tmp/test-ssh.XXXXXX";
static struct proc sshd = PROC_INIT, keeper = PROC_INIT;
static char known_hosts[64], run_dir[64];
static uint16_t port;
static const char *why_not;

static char *at(const char *name)
{
    return xasprintf("%s/%s", dir, name);
}

static void run(char *const argv[])
{
    struct err e = {0};
    if (proc_check(argv, NULL, NULL, &e) < 0)
        fail_msg("%s", e.text);
}

static void write_file(const char *name, const char *text)
{
    struct err e = {0};
    _cleanup_free_ char *path = at(name);
    if (fs_write_atomic(path, text, strlen(text), 0600, &e) < 0)
        fail_msg("%s", e.text);
}

/* A listening socket on loopback; its port is free again when it is closed. */
static int listener(uint16_t *ret)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t n = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(fd, 5), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &n), 0);
    *ret = ntohs(a.sin_port);
    return fd;
}

/* 0 when something accepts on this address before 20 s are over. */
static int wait_listening(const struct sockaddr *a, socklen_t n)
{
    for (int i = 0; i < 2000; i++) {
        _cleanup_close_ int fd = socket(a->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (connect(fd, a, n) == 0)
            return 0;
        poll(NULL, 0, 10);
    }
    return -1;
}

static void make_keys(void)
{
    static const char *const names[] = {"host", "key"};
    for (size_t i = 0; i < ELEMENTS(names); i++) {
        _cleanup_free_ char *path = at(names[i]);
        char *const argv[] = {(char *)"ssh-keygen", (char *)"-q", (char *)"-t",
                              (char *)"ed25519",    (char *)"-N", (char *)"",
                              (char *)"-f",         path,         NULL};
        run(argv);
    }
    _cleanup_buf_ struct buf key = BUF_INIT;
    struct err e = {0};
    _cleanup_free_ char *public = at("host.pub");
    assert_int_equal(fs_read(public, 4096, &key, &e), 0);
    /* HostKeyAlias makes the node's name the key of this file. */
    _cleanup_free_ char *line = xasprintf("pve2 %s", buf_str(&key));
    write_file("known_hosts", line);
}

static void start_keeper(void)
{
    struct err e = {0};
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    _cleanup_free_ char *socket_path = at("agent"), *key = at("key");
    char *const argv[] = {(char *)"ssh-agent", (char *)"-D", (char *)"-a", socket_path, NULL};
    struct proc_streams none = {.pipe_out = true};
    assert_int_equal(proc_spawn(argv, &none, &keeper, &e), 0);
    snprintf(a.sun_path, sizeof a.sun_path, "%s", socket_path);
    assert_int_equal(wait_listening((struct sockaddr *)&a, sizeof a), 0);
    setenv("SSH_AUTH_SOCK", socket_path, 1);
    char *const add[] = {(char *)"ssh-add", (char *)"-q", key, NULL};
    run(add);
}

static void start_sshd(void)
{
    struct err e = {0};
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    close(listener(&port));
    _cleanup_free_ char *number = xasprintf("%u", port), *host = at("host"), *log = at("log");
    _cleanup_free_ char *keys = xasprintf("AuthorizedKeysFile=%s/key.pub", dir);
    /* SHLVL: a shell that starts another's prompt helpers from .bashrc would only slow this down. */
    char *const argv[] = {(char *)SSHD,
                          (char *)"-D",
                          (char *)"-f",
                          (char *)"/dev/null",
                          (char *)"-E",
                          log,
                          (char *)"-p",
                          number,
                          (char *)"-h",
                          host,
                          (char *)"-o",
                          keys,
                          (char *)"-oStrictModes=no",
                          (char *)"-oUsePAM=no",
                          (char *)"-oPidFile=none",
                          (char *)"-oListenAddress=127.0.0.1",
                          (char *)"-oSetEnv=SHLVL=3",
                          NULL};
    struct proc_streams none = {0};
    assert_int_equal(proc_spawn(argv, &none, &sshd, &e), 0);
    a.sin_port = htons(port);
    assert_int_equal(wait_listening((struct sockaddr *)&a, sizeof a), 0);
}

static struct link_target target(const char *agent)
{
    return (struct link_target){.node = "pve2",
                                .address = "127.0.0.1",
                                .port = port,
                                .user = "root",
                                .agent = agent,
                                .known_hosts = known_hosts,
                                .run_dir = run_dir};
}

/* The master at the control socket of t; 0: none. */
static pid_t master_pid(const struct link_target *t)
{
    struct err e = {0};
    struct proc_result r = {0};
    _cleanup_free_ char *path = ssh_control_path(t), *option = xasprintf("ControlPath=%s", path);
    char *const argv[] = {(char *)"/usr/bin/ssh", (char *)"-O", (char *)"check", (char *)"-o", option,
                          (char *)"any",          NULL};
    assert_int_equal(proc_run(argv, NULL, &r, &e), 0);
    const char *pid = strstr(buf_str(&r.err), "(pid=");
    pid_t ret = pid ? (pid_t)strtol(pid + 5, NULL, 10) : 0;
    proc_result_release(&r);
    return ret;
}

static void must_open(const struct link_target *t, struct link *l)
{
    struct err e = {0};
    if (link_open(t, l, &e) < 0)
        fail_msg("%s", e.text);
}

/* One frame there and back; -1 and the error when it does not come. */
static int echo(struct link *l, struct err *e)
{
    struct frame f;
    if (frame_write(l->channel, FRAME_CALL, "{\"a\":1}", 7, NULL, 0, false, e) < 0)
        return -1;
    int r = frame_read(l->channel, &f, e);
    return r == 1 ? err_set(e, ERR_NETWORK, 0, "the stream ended") : r;
}

static void open_and_echo(const struct link_target *t)
{
    struct link l;
    struct err e = {0};
    must_open(t, &l);
    int r = echo(&l, &e);
    link_close(&l, &e);
    if (r < 0 || e.kind != ERR_NONE)
        fail_msg("%s", e.text);
}

static void end_master(const struct link_target *t)
{
    pid_t pid = master_pid(t);
    link_forget(t);
    if (pid > 0) {
        kill(pid, SIGKILL);
        while (kill(pid, 0) == 0 && proc_start_time(pid) > 0)
            poll(NULL, 0, 5);
    }
}

#define NEEDS_SSHD()                                                                                         \
    do {                                                                                                     \
        if (why_not) {                                                                                       \
            print_message("skipped: %s\n", why_not);                                                         \
            skip();                                                                                          \
        }                                                                                                    \
    } while (0)

static void test_shared(void **state)
{
    (void)state;
    NEEDS_SSHD();
    struct link_target t = target("cat");
    open_and_echo(&t);
    pid_t first = master_pid(&t);
    assert_true(first > 0);
    assert_int_not_equal(getsid(first), getsid(0));
    open_and_echo(&t);
    assert_int_equal(master_pid(&t), first);
    /* A master that was killed leaves its socket behind. */
    kill(first, SIGKILL);
    while (proc_start_time(first) > 0)
        poll(NULL, 0, 5);
    open_and_echo(&t);
    assert_true(master_pid(&t) > 0);
    assert_int_not_equal(master_pid(&t), first);
    end_master(&t);
}

static void test_not_shared(void **state)
{
    (void)state;
    NEEDS_SSHD();
    struct link_target t = target("cat");
    t.run_dir = NULL;
    open_and_echo(&t);
}

/* The run that started the master is killed with its whole group: the others go on. */
static void test_master_outlives_its_run(void **state)
{
    int ready[2];
    char c;
    (void)state;
    NEEDS_SSHD();
    struct link_target t = target("cat");
    assert_int_equal(pipe(ready), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct link l;
        struct err e = {0};
        setpgid(0, 0);
        if (link_open(&t, &l, &e) < 0 || echo(&l, &e) < 0 || write(ready[1], "x", 1) != 1)
            _exit(1);
        pause();
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &c, 1), 1);
    close(ready[0]);
    pid_t master = master_pid(&t);
    struct link l;
    struct err e = {0};
    must_open(&t, &l);
    kill(-pid, SIGKILL);
    waitpid(pid, NULL, 0);
    assert_int_equal(echo(&l, &e), 0);
    link_close(&l, &e);
    open_and_echo(&t);
    assert_int_equal(master_pid(&t), master);
    end_master(&t);
}

static void test_hung_master(void **state)
{
    struct link l;
    struct err e = {0};
    (void)state;
    NEEDS_SSHD();
    struct link_target t = target("cat");
    open_and_echo(&t);
    pid_t hung = master_pid(&t);
    kill(hung, SIGSTOP);
    must_open(&t, &l);
    channel_set_timeout(l.channel, 0.2);
    assert_int_equal(echo(&l, &e), -1);
    assert_int_equal(e.kind, ERR_NETWORK);
    link_close(&l, &e);
    link_forget(&t);
    open_and_echo(&t);
    assert_int_not_equal(master_pid(&t), hung);
    kill(hung, SIGKILL);
    end_master(&t);
}

/* The server's processes stop in the middle: the channel's timeout ends it. */
static void test_hung_agent(void **state)
{
    struct link l;
    struct err e = {0};
    (void)state;
    NEEDS_SSHD();
    struct link_target t = target("kill -STOP $$");
    must_open(&t, &l);
    channel_set_timeout(l.channel, 0.5);
    assert_int_equal(echo(&l, &e), -1);
    assert_int_equal(e.kind, ERR_NETWORK);
    link_close(&l, &e);
    end_master(&t);
}

static void test_bulk(void **state)
{
    struct link l;
    struct frame f;
    struct err e = {0};
    static uint8_t data[1 << 20];
    (void)state;
    NEEDS_SSHD();
    struct link_target t = target("cat");
    must_open(&t, &l);
    for (int i = 0; i < 16; i++) {
        memset(data, i, sizeof data);
        assert_int_equal(frame_write(l.channel, FRAME_FEED, data, sizeof data, NULL, 0, i & 1, &e), 0);
        assert_int_equal(frame_read(l.channel, &f, &e), 0);
        assert_int_equal(f.len, sizeof data);
        assert_memory_equal(f.payload, data, sizeof data);
    }
    link_close(&l, &e);
    assert_int_equal(e.kind, ERR_NONE);
    end_master(&t);
}

static void expect_failure(const struct link_target *t, const char *text)
{
    struct link l;
    struct err e = {0};
    if (link_open(t, &l, &e) == 0) {
        assert_int_equal(echo(&l, &e), -1);
        link_close(&l, &e);
    }
    assert_int_equal(e.kind, ERR_NETWORK);
    if (!strstr(e.text, text))
        fail_msg("no '%s' in: %s", text, e.text);
}

static void test_failures(void **state)
{
    uint16_t closed;
    (void)state;
    NEEDS_SSHD();
    struct link_target t = target("cat");
    close(listener(&closed));
    t.port = closed;
    expect_failure(&t, "Connection refused");
    t = target("cat");
    t.node = "another"; /* its host key is not in the file */
    expect_failure(&t, "Host key verification failed");
    t = target("cat");
    t.user = "no-such-user";
    expect_failure(&t, "Permission denied");
    t = target("no-such-agent --x");
    expect_failure(&t, "no-such-agent");
    end_master(&t);
}

/* A machine that takes the connection and then says nothing. It takes the ten seconds of the connect timeout
 * to find out, so that goes on beside the other tests; this one collects the result. */
static struct {
    pid_t pid;
    int result;
} dead;

static void try_dead_target(void)
{
    struct link l;
    struct err e = {0};
    struct link_target t = target("cat");
    int fd = listener(&t.port);
    bool ok = fd >= 0 && link_open(&t, &l, &e) < 0 && e.kind == ERR_NETWORK &&
              strstr(e.text, "no connection to root@127.0.0.1 port");
    if (!ok)
        print_error("%s\n", e.text);
    _exit(ok ? 0 : 1);
}

static void test_dead_target(void **state)
{
    (void)state;
    NEEDS_SSHD();
    assert_int_equal(waitpid(dead.pid, &dead.result, 0), dead.pid);
    assert_int_equal(dead.result, 0);
}

static void test_command(void **state)
{
    static const char *const names[] = {
        "plain", "two words", "don't", "$(reboot) `x` \"\\", "{\"a\":{\"b\":1}}", "new\nline", "*"};
    (void)state;
    NEEDS_SSHD();
    struct link_target t = target("touch agent");
    for (size_t i = 0; i < ELEMENTS(names); i++) {
        struct err e = {0};
        _cleanup_free_ char *path = at(names[i]);
        char *const argv[] = {(char *)"pvesr", (char *)"--", path, NULL}; /* stands for touch */
        if (link_command(&t, argv, &e) < 0)
            fail_msg("%s", e.text);
        if (access(path, F_OK) < 0)
            fail_msg("not made: %s", path);
    }
    struct err e = {0};
    char *const fails[] = {(char *)"ls", (char *)"/no such/file", NULL};
    assert_int_equal(link_command(&t, fails, &e), -1);
    assert_non_null(strstr(e.text, "node 'pve2': ls /no such/file: "));
    assert_non_null(strstr(e.text, "No such file or directory"));
    end_master(&t);
}

static int set_up(void **state)
{
    (void)state;
    signal(SIGPIPE, SIG_IGN);
    alarm(110);
    if (geteuid() != 0)
        why_not = "needs root";
    else if (access(SSHD, X_OK) < 0 || access("/usr/bin/ssh", X_OK) < 0)
        why_not = "needs " SSHD " and /usr/bin/ssh";
    if (why_not)
        return 0;
    if (!mkdtemp(dir) || (mkdir("/run/sshd", 0755) < 0 && errno != EEXIST))
        return -1;
    snprintf(known_hosts, sizeof known_hosts, "%s/known_hosts", dir);
    snprintf(run_dir, sizeof run_dir, "%s/run", dir);
    make_keys();
    start_keeper();
    start_sshd();
    if ((dead.pid = fork()) == 0)
        try_dead_target();
    return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    return remove(path);
}

static int tear_down(void **state)
{
    (void)state;
    if (why_not)
        return 0;
    proc_kill(&sshd);
    proc_kill(&keeper);
    return nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shared),      cmocka_unit_test(test_not_shared),
        cmocka_unit_test(test_bulk),        cmocka_unit_test(test_master_outlives_its_run),
        cmocka_unit_test(test_hung_master), cmocka_unit_test(test_hung_agent),
        cmocka_unit_test(test_failures),    cmocka_unit_test(test_command),
        cmocka_unit_test(test_dead_target),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
