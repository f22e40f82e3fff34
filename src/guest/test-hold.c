/* Holding a machine still: by control groups that are real, and by a process that plays QEMU's monitor. */
#include "guest/freeze.h"

#include "base/fs.h"
#include "base/mem.h"
#include "guest/testmonitor.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <jansson.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define ID 100

static char root[] = "/tmp/test-hold.XXXXXX";

/* Shared with the monitor that is played, and with children. */
static struct shared {
    atomic_int paused, stops, conts, deaf, garbage;
} * shared;

static pid_t fake;

/* ---- QEMU's monitor ---- */

static void answer(int fd, const char *text)
{
    if (write(fd, text, strlen(text)) < 0)
        return;
}

static void serve_line(int fd, const char *line)
{
    json_auto_t *request = json_loads(line, 0, NULL);
    const char *command = json_string_value(json_object_get(request, "execute"));
    if (!command)
        return;
    if (strcmp(command, "query-status") == 0) {
        answer(fd, shared->garbage  ? "{\"return\": {}}\r\n"
                   : shared->paused ? "{\"return\": {\"status\": \"paused\", \"running\": false}}\r\n"
                                    : "{\"return\": {\"status\": \"running\", \"running\": true}}\r\n");
        return;
    }
    if (strcmp(command, "stop") == 0) {
        shared->stops++;
        shared->paused = 1;
        answer(fd, "{\"event\": \"STOP\", \"timestamp\": {\"seconds\": 1, \"microseconds\": 2}}\r\n");
    }
    if (strcmp(command, "cont") == 0) {
        shared->conts++;
        shared->paused = 0;
    }
    answer(fd, "{\"return\": {}}\r\n");
}

static void serve(int fd)
{
    answer(fd, "{\"QMP\": {\"version\": {}, \"capabilities\": []}}\r\n");
    if (!shared->deaf)
        serve_lines(fd, serve_line);
}

/* ---- the stage ---- */

static void put_file(const char *path, const char *text)
{
    struct err e = {0};
    _cleanup_free_ char *dir = xstrdup(path);
    *strrchr(dir, '/') = 0;
    if (fs_mkdir_p(dir, 0755, &e) < 0 || fs_write_atomic(path, text, strlen(text), 0644, &e) < 0)
        fail_msg("%s", e.text);
}

static void say_running(pid_t pid)
{
    char text[32];
    _cleanup_free_ char *path = xasprintf("%s/run/qemu-server/%d.pid", root, ID);
    snprintf(text, sizeof text, "%d\n", (int)pid);
    put_file(path, text);
}

static int set_up(void **state)
{
    (void)state;
    alarm(110);
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED || !mkdtemp(root))
        return -1;
    say_running(getpid());
    _cleanup_free_ char *path = xasprintf("%s/run/qemu-server/%d.qmp", root, ID);
    if ((fake = play_at(path, serve)) < 0)
        return -1;
    say_running(fake);
    guest_runtime_root = root;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    return end_playing(fake, root);
}

static struct guest_config *machine(void)
{
    return guest_config_parse("100.conf", GUEST_QEMU, ID, "name: x\n", 8);
}

static void anew(void)
{
    shared->paused = shared->stops = shared->conts = shared->deaf = shared->garbage = 0;
}

/* ---- by the monitor: the played QEMU is in our own group ---- */

static void test_monitor(void **state)
{
    _cleanup_(guest_config_freep) struct guest_config *g = machine();
    struct err e = {0};
    enum freeze_end end;
    (void)state;
    anew();
    assert_true(guest_may_hold(g));
    assert_int_equal(shared->stops, 0);
    struct freeze *f = guest_hold(g, 60, &e);
    if (!f)
        fail_msg("%s", e.text);
    assert_string_equal(guest_held_by(f), "QEMU");
    assert_int_equal(shared->paused, 1);
    assert_int_equal(guest_thaw(f, &end, &e), 0);
    assert_int_equal(end, FREEZE_HELD);
    assert_int_equal(shared->stops, 1);
    assert_int_equal(shared->conts, 1);
}

static void test_paused_stays_paused(void **state)
{
    _cleanup_(guest_config_freep) struct guest_config *g = machine();
    struct err e = {.kind = ERR_DATA};
    (void)state;
    anew();
    shared->paused = 1;
    assert_false(guest_may_hold(g));
    assert_null(guest_hold(g, 60, &e));
    assert_int_equal(e.kind, ERR_NONE);
    assert_int_equal(shared->paused, 1);
    assert_int_equal(shared->stops + shared->conts, 0);
}

static void test_stands_still(void **state)
{
    _cleanup_(guest_config_freep) struct guest_config *g = machine();
    (void)state;
    anew();
    assert_null(guest_stands_still(g));
    shared->paused = 1;
    _cleanup_free_ char *text = guest_stands_still(g);
    assert_non_null(text);
    assert_non_null(strstr(text, "QEMU has paused it: 'qm resume 100' lets it go on"));
    shared->garbage = 1;
    assert_null(guest_stands_still(g));
    assert_int_equal(shared->stops + shared->conts, 0);
}

static void test_no_answer(void **state)
{
    _cleanup_(guest_config_freep) struct guest_config *g = machine();
    struct err e = {0};
    (void)state;
    anew();
    shared->deaf = 1;
    assert_null(guest_hold(g, 60, &e));
    assert_int_not_equal(e.kind, ERR_NONE);
    assert_non_null(strstr(e.text, "QEMU's monitor"));
    assert_non_null(strstr(e.text, "control group"));
    anew();
    shared->garbage = 1;
    assert_null(guest_hold(g, 60, &e));
    assert_non_null(strstr(e.text, "does not say whether the guest runs"));
    assert_int_equal(shared->stops, 0);
}

static void wait_until(const atomic_int *value, int wanted)
{
    while (*value != wanted) /* the alarm ends it */
        poll(NULL, 0, 5);
}

static void test_watchdog(void **state)
{
    _cleanup_(guest_config_freep) struct guest_config *g = machine();
    struct err e = {0};
    enum freeze_end end;
    (void)state;
    anew();
    struct freeze *f = guest_hold(g, 1, &e); /* more than it takes on a busy machine */
    assert_non_null(f);
    siginfo_t ended; /* only then it has QEMU's answer */
    assert_int_equal(waitid(P_PID, (id_t)f->watchdog.pid, &ended, WEXITED | WNOWAIT), 0);
    assert_int_equal(shared->paused, 0);
    shared->paused = 1; /* by a person, since */
    shared->garbage = 1;
    assert_int_equal(guest_thaw(f, &end, &e), -1);
    assert_int_equal(end, FREEZE_LOST);
}

static void test_killed(void **state)
{
    _cleanup_(guest_config_freep) struct guest_config *g = machine();
    (void)state;
    anew();
    pid_t pid = fork();
    if (pid == 0) {
        struct err e;
        setpgid(0, 0);
        if (!guest_hold(g, 3600, &e))
            _exit(1);
        for (;;)
            pause();
    }
    wait_until(&shared->stops, 1);
    kill(-pid, SIGKILL);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    wait_until(&shared->conts, 1);
    assert_int_equal(shared->paused, 0);
}

/* ---- by a control group ---- */

static char group[200]; /* "" where there is none to be had */

/* A process of that group, or of one below (`sub`, may be ""). */
static pid_t start_in(const char *sub)
{
    char path[300];
    int ready[2];
    char c;
    snprintf(path, sizeof path, "%s%s", group, sub);
    if (mkdir(path, 0755) < 0 && errno != EEXIST)
        return 0;
    snprintf(path, sizeof path, "%s%s/cgroup.procs", group, sub);
    if (pipe2(ready, O_CLOEXEC) < 0)
        return 0;
    pid_t pid = fork();
    if (pid == 0) {
        int fd = open(path, O_WRONLY | O_CLOEXEC);
        if (fd < 0 || write(fd, "0", 1) != 1 || write(ready[1], "x", 1) != 1)
            _exit(1);
        for (;;)
            pause();
    }
    close(ready[1]);
    ssize_t n = read(ready[0], &c, 1);
    close(ready[0]);
    return n == 1 ? pid : 0;
}

static void end(pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

/* The guest's group is `group`, its pid file is now. */
static int of_machine(pid_t pid, uint32_t id, time_t written, struct cgroup *g, struct err *e)
{
    guest_runtime_root = "";
    int r = cgroup_of_machine(pid, id, written, g, e);
    guest_runtime_root = root;
    return r;
}

static void refused(pid_t pid, time_t written, const char *why)
{
    struct err e = {0};
    struct cgroup g = {0};
    if (of_machine(pid, ID, written, &g, &e) == 0)
        fail_msg("%s is taken: not so '%s'", g.path, why);
    if (!strstr(e.text, why))
        fail_msg("'%s', not '%s'", e.text, why);
}

static void make_group(const char *name)
{
    const char *top =
        access("/sys/fs/cgroup/cgroup.controllers", F_OK) == 0 ? "/sys/fs/cgroup" : "/sys/fs/cgroup/unified";
    snprintf(group, sizeof group, "%s/%s", top, name);
    if (mkdir(group, 0755) < 0 && errno != EEXIST) {
        print_message("skipped: no control group to be had below %s\n", top);
        skip();
    }
}

static void test_whose_group(void **state)
{
    char name[64], sub[300];
    struct err e = {0};
    struct cgroup g = {0};
    (void)state;
    snprintf(name, sizeof name, "pvesr-test-hold-%d", (int)getpid());
    make_group(name);
    pid_t guest = start_in("");
    assert_true(guest > 0);
    time_t now = time(NULL); /* the pid file is written behind the start */
    if (of_machine(guest, ID, now, &g, &e) < 0)
        fail_msg("%s", e.text);
    assert_string_equal(g.path, group);
    cgroup_release(&g);
    refused(guest, now - 3600, "younger than");
    refused(getpid(), now, "control group");
    pid_t other = start_in("");
    refused(guest, now, "holds process");
    end(other);
    other = start_in("/below");
    refused(guest, now, "holds process");
    end(other);
    assert_int_equal(of_machine(guest, ID, now, &g, &e), 0);
    cgroup_release(&g);
    pid_t asks = fork(); /* from within */
    if (asks == 0) {
        char procs[300];
        snprintf(procs, sizeof procs, "%s/below/cgroup.procs", group);
        int fd = open(procs, O_WRONLY | O_CLOEXEC);
        if (fd < 0 || write(fd, "0", 1) != 1)
            _exit(1);
        _exit(of_machine(guest, ID, now, &g, &e) < 0 && strstr(e.text, "is ours, too") ? 0 : 2);
    }
    int status;
    waitpid(asks, &status, 0);
    assert_int_equal(status, 0);
    end(guest);
    snprintf(sub, sizeof sub, "%s/below", group);
    assert_int_equal(rmdir(sub), 0);
    assert_int_equal(rmdir(group), 0);
}

/* What Proxmox VE starts a machine in is that machine's, whoever is in it: a TPM, too. */
static void test_named_group(void **state)
{
    char name[64], *slice;
    struct err e = {0};
    struct cgroup g = {0};
    uint32_t id = 4000000000u + (uint32_t)getpid();
    (void)state;
    make_group("qemu.slice");
    snprintf(name, sizeof name, "qemu.slice/%u.scope", id);
    make_group(name);
    pid_t guest = start_in(""), tpm = start_in("");
    assert_true(guest > 0 && tpm > 0);
    if (of_machine(guest, id, 0, &g, &e) < 0)
        fail_msg("%s", e.text);
    assert_string_equal(g.path, group);
    cgroup_release(&g);
    refused(guest, time(NULL), "holds process"); /* another machine's */
    end(guest);
    end(tpm);
    assert_int_equal(rmdir(group), 0);
    slice = strrchr(group, '/');
    *slice = 0;
    rmdir(group); /* unless it is not ours */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_monitor),      cmocka_unit_test(test_paused_stays_paused),
        cmocka_unit_test(test_stands_still), cmocka_unit_test(test_no_answer),
        cmocka_unit_test(test_watchdog),     cmocka_unit_test(test_killed),
        cmocka_unit_test(test_whose_group),  cmocka_unit_test(test_named_group),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
