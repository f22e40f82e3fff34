/* Freezing, against a process that plays QEMU with a guest agent, and against real control groups. */
#include "guest/runtime.h"

#include "base/fs.h"
#include "base/mem.h"
#include "guest/freeze.h"
#include "guest/testmonitor.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <jansson.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define ID 100

static uint32_t container; /* an id that no other test run and no real guest has */
static char root[] = "/tmp/test-runtime.XXXXXX";

enum mode { GOOD, STALE, HANGS, GARBAGE, FLOOD, REFUSES, FREEZE_HANGS, WRONG_STATUS };

/* Shared with the fake agent and with children. */
static struct shared {
    atomic_int mode, frozen, freezes, thaws, counter;
} * shared;

static pid_t fake;

/* ---- the fake agent ---- */

static void answer(int fd, const char *text)
{
    if (write(fd, text, strlen(text)) < 0)
        return;
}

static void answer_sync(int fd, json_t *request)
{
    char line[100];
    json_int_t id = json_integer_value(json_object_get(json_object_get(request, "arguments"), "id"));
    if (shared->mode == STALE) /* what somebody else asked for; then an answer to an earlier number */
        answer(fd, "{\"return\": {}}\n\xff{\"return\": 17}\n{\"ret");
    snprintf(line, sizeof line, "\xff{\"return\": %" JSON_INTEGER_FORMAT "}\n", id);
    answer(fd, line);
}

static void answer_freeze(int fd)
{
    if (shared->mode == REFUSES) {
        answer(fd, "{\"error\": {\"class\": \"GenericError\", \"desc\": \"no such luck\"}}\n");
        return;
    }
    shared->freezes++;
    shared->frozen = 1;
    if (shared->mode != FREEZE_HANGS)
        answer(fd, "{\"return\": 2}\n");
}

static void serve_line(int fd, const char *line)
{
    json_t *request = json_loads(line[0] == '\xff' ? line + 1 : line, 0, NULL);
    const char *command = json_string_value(json_object_get(request, "execute"));
    if (shared->mode == GARBAGE)
        answer(fd, "\xff}}} no JSON \x01\n\xff[]\n");
    else if (!command || shared->mode == HANGS)
        ;
    else if (strcmp(command, "guest-sync-delimited") == 0)
        answer_sync(fd, request);
    else if (strcmp(command, "guest-ping") == 0)
        answer(fd, "{\"return\": {}}\n");
    else if (strcmp(command, "guest-fsfreeze-status") == 0)
        answer(fd, shared->mode == WRONG_STATUS ? "{\"return\": 5}\n"
                   : shared->frozen             ? "{\"return\": \"frozen\"}\n"
                                                : "{\"return\": \"thawed\"}\n");
    else if (strcmp(command, "guest-fsfreeze-freeze") == 0)
        answer_freeze(fd);
    else if (strcmp(command, "guest-fsfreeze-thaw") == 0) {
        shared->thaws++;
        shared->frozen = 0;
        answer(fd, "{\"return\": 2}\n");
    }
    json_decref(request);
}

static void serve(int fd)
{
    static const char flood[4096] = "no line ends here";
    while (shared->mode == FLOOD && write(fd, flood, sizeof flood) > 0)
        ;
    serve_lines(fd, serve_line);
}

/* ---- the stage ---- */

static char *at(const char *path)
{
    return xasprintf("%s%s", root, path);
}

static void put_file(const char *path, const char *text)
{
    struct err e = {0};
    _cleanup_free_ char *full = at(path), *dir = at(path);
    *strrchr(dir, '/') = 0;
    if (fs_mkdir_p(dir, 0755, &e) < 0 || fs_write_atomic(full, text, strlen(text), 0644, &e) < 0)
        fail_msg("%s", e.text);
}

static int set_up(void **state)
{
    char pid[32];
    (void)state;
    alarm(110);
    container = 4000000000u + (uint32_t)getpid();
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED || !mkdtemp(root))
        return -1;
    put_file("/run/qemu-server/1.pid", "x");
    _cleanup_free_ char *path = xasprintf("%s/run/qemu-server/%d.qga", root, ID);
    if ((fake = play_at(path, serve)) < 0)
        return -1;
    snprintf(pid, sizeof pid, "%d\n", (int)fake);
    put_file("/run/qemu-server/100.pid", pid);
    guest_runtime_root = root;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    return end_playing(fake, root);
}

static struct guest_config *machine(const char *agent)
{
    _cleanup_free_ char *text = xasprintf("name: x\n%s%s\n", agent ? "agent: " : "", agent ? agent : "");
    return guest_config_parse("100.conf", GUEST_QEMU, ID, text, strlen(text));
}

static void become(enum mode m)
{
    shared->mode = (int)m;
    shared->frozen = shared->freezes = shared->thaws = 0;
}

static void wait_until(const atomic_int *value, int wanted)
{
    while (*value != wanted) /* the alarm ends it */
        poll(NULL, 0, 5);
}

/* ---- virtual machines ---- */

static void test_running(void **state)
{
    static const struct {
        const char *text;
        bool running;
    } cases[] = {{"", false},
                 {"\n", false},
                 {"0", false},
                 {"-1", false},
                 {"12x\n", false},
                 {"99999999999", false},
                 {"2147483646\n", false},
                 {"1\n", true},
                 {"1", true}};
    (void)state;
    assert_int_equal(guest_running(GUEST_QEMU, 7), 0);
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        put_file("/run/qemu-server/8.pid", cases[i].text);
        if ((guest_running(GUEST_QEMU, 8) != 0) != cases[i].running)
            fail_msg("case %zu", i);
    }
    assert_int_equal(guest_running(GUEST_QEMU, ID), fake);
}

static void test_freeze_and_thaw(void **state)
{
    static const enum mode modes[] = {GOOD, STALE};
    (void)state;
    for (size_t i = 0; i < ELEMENTS(modes); i++) {
        _cleanup_(guest_config_freep) struct guest_config *g = machine("1");
        struct err e = {0};
        become(modes[i]);
        struct freeze *f = guest_freeze(g, 60, &e);
        enum freeze_end end;
        if (!f)
            fail_msg("%s", e.text);
        assert_int_equal(shared->frozen, 1);
        assert_int_equal(shared->thaws, 0);
        assert_int_equal(guest_thaw(f, &end, &e), 0);
        assert_int_equal(end, FREEZE_HELD);
        assert_int_equal(shared->frozen, 0);
        assert_int_equal(shared->thaws, 1);
    }
}

static void test_agent_option(void **state)
{
    static const struct {
        const char *agent;
        bool freezes;
    } cases[] = {{NULL, false},
                 {"0", false},
                 {"1", true},
                 {"enabled=1", true},
                 {"enabled=0", false},
                 {"type=virtio", false},
                 {"1,freeze-fs=1", true},
                 {"1,freeze-fs=0", false},
                 {"1,freeze-fs-on-backup=0", false},
                 {"enabled=1,guest-fsfreeze=0,type=virtio", false},
                 {"yes,fstrim_cloned_disks=1", true},
                 {"rubbish", false}};
    (void)state;
    become(GOOD);
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        _cleanup_(guest_config_freep) struct guest_config *g = machine(cases[i].agent);
        struct err e = {.kind = ERR_DATA};
        struct freeze *f = guest_freeze(g, 60, &e);
        enum freeze_end end;
        if ((f != NULL) != cases[i].freezes)
            fail_msg("case %zu: %s", i, e.text);
        if (f)
            assert_int_equal(guest_thaw(f, &end, &e), 0);
        else
            assert_int_equal(e.kind, ERR_NONE);
    }
}

/* Freezing does not apply: no answer to the ping, or frozen by somebody else. */
static void test_not_applied(void **state)
{
    static const struct {
        enum mode mode;
        int frozen;
        const char *text;
    } cases[] = {{HANGS, 0, "does not answer"},
                 {GARBAGE, 0, "does not answer"},
                 {FLOOD, 0, "does not answer"},
                 {GOOD, 1, "frozen already"},
                 {WRONG_STATUS, 0, "does not answer"}};
    (void)state;
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        _cleanup_(guest_config_freep) struct guest_config *g = machine("1");
        struct err e = {.kind = ERR_DATA};
        become(cases[i].mode);
        shared->frozen = cases[i].frozen;
        assert_null(guest_freeze(g, 60, &e));
        assert_int_equal(e.kind, ERR_NONE);
        if (!strstr(e.text, cases[i].text))
            fail_msg("case %zu: %s", i, e.text);
        assert_int_equal(shared->freezes, 0);
        assert_int_equal(shared->thaws, 0);
    }
}

static void test_refused(void **state)
{
    _cleanup_(guest_config_freep) struct guest_config *g = machine("1");
    struct err e = {0};
    (void)state;
    become(REFUSES);
    assert_null(guest_freeze(g, 60, &e));
    assert_int_equal(e.kind, ERR_SYSTEM);
    assert_non_null(strstr(e.text, "no such luck"));
    assert_int_equal(shared->frozen, 0);
}

/* It freezes but never says so: thawed, and told as a failure. */
static void test_freeze_hangs(void **state)
{
    _cleanup_(guest_config_freep) struct guest_config *g = machine("1");
    struct err e = {0};
    (void)state;
    become(FREEZE_HANGS);
    assert_null(guest_freeze(g, 1, &e)); /* more than it takes to ask, on a busy machine, too */
    assert_int_equal(e.kind, ERR_NETWORK);
    assert_int_equal(shared->freezes, 1);
    assert_int_equal(shared->frozen, 0);
}

/* We take too long: the watchdog thaws, and the late thaw says that the snapshots may not be quiet. */
static void test_watchdog_deadline(void **state)
{
    _cleanup_(guest_config_freep) struct guest_config *g = machine("1");
    struct err e = {0};
    (void)state;
    become(GOOD);
    struct freeze *f = guest_freeze(g, 1, &e); /* as above */
    enum freeze_end end;
    assert_non_null(f);
    wait_until(&shared->frozen, 0);
    assert_int_equal(guest_thaw(f, &end, &e), -1);
    assert_int_equal(end, FREEZE_RAN_OUT);
    assert_non_null(strstr(e.text, "thawed meanwhile"));
}

static int make_after_the_watchdog(struct freeze *f, double seconds, struct err *e)
{
    wait_until(&shared->thaws, 1);
    shared->frozen = 1;
    return 0;
}

static int count_thaw(const struct freeze *f, double seconds, struct err *e)
{
    shared->frozen = 0;
    shared->thaws++;
    return 0;
}

static int make_without_a_watchdog(struct freeze *f, double seconds, struct err *e)
{
    shared->frozen = 1;
    return kill(f->watchdog.pid, SIGKILL);
}

static void test_watchdog_killed(void **state)
{
    struct freeze model = {.id = ID, .make = make_without_a_watchdog, .undo = count_thaw};
    struct err e = {0};
    (void)state;
    become(GOOD);
    assert_null(freeze_begin(&model, 3600, &e));
    assert_non_null(strstr(e.text, "was killed or is stopped"));
    assert_int_equal(shared->frozen, 0);
}

/* The guest is frozen, but only when its watchdog has gone: nobody would thaw it if we died now. */
static void test_frozen_too_late(void **state)
{
    (void)state;
    for (int still = 0; still < 2; still++) {
        struct freeze model = {
            .id = ID, .make = make_after_the_watchdog, .undo = count_thaw, .still = still == 1};
        struct err e = {0};
        become(GOOD);
        assert_null(freeze_begin(&model, 0.05, &e));
        assert_non_null(strstr(e.text, "took more than 0.05 s"));
        assert_int_equal(shared->thaws, 2);
        assert_int_equal(shared->frozen, 0);
    }
}

/* A run that is killed while the guest is frozen. `held` stands for its locks and streams. */
static pid_t freeze_and_die(const struct guest_config *g, int *held)
{
    int fds[2], ready[2];
    char c;
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct err e;
        setpgid(0, 0);
        if (!guest_freeze(g, 3600, &e) || write(ready[1], "x", 1) != 1)
            _exit(1);
        for (;;)
            pause();
    }
    close(fds[1]);
    close(ready[1]);
    assert_int_equal(read(ready[0], &c, 1), 1);
    close(ready[0]);
    *held = fds[0];
    return pid;
}

static void test_parent_killed(void **state)
{
    _cleanup_(guest_config_freep) struct guest_config *g = machine("1");
    int held;
    char c;
    (void)state;
    become(GOOD);
    pid_t pid = freeze_and_die(g, &held);
    assert_int_equal(shared->frozen, 1);
    shared->mode = HANGS; /* so that the watchdog lives on for a while */
    kill(-pid, SIGKILL);
    waitpid(pid, NULL, 0);
    assert_int_equal(read(held, &c, 1), 0); /* and holds nothing of the dead */
    close(held);
    assert_int_equal(shared->frozen, 1);
    shared->mode = GOOD;
    wait_until(&shared->frozen, 0);
}

/* ---- containers ---- */

static void test_container_running(void **state)
{
    static const char *const places[] = {
        "/sys/fs/cgroup/lxc/101", "/sys/fs/cgroup/lxc/102/ns/init.scope", "/sys/fs/cgroup/lxc.payload.103",
        "/sys/fs/cgroup/unified/lxc.payload/104/a/b", "/sys/fs/cgroup/freezer/lxc/105"};
    (void)state;
    assert_int_equal(guest_running(GUEST_LXC, 101), 0);
    for (size_t i = 0; i < ELEMENTS(places); i++) {
        uint32_t id = 101 + (uint32_t)i;
        _cleanup_free_ char *file = xasprintf("%s/cgroup.procs", places[i]);
        put_file(file, "");
        assert_int_equal(guest_running(GUEST_LXC, id), 0);
        put_file(file, "1\n4711\n");
        assert_int_equal(guest_running(GUEST_LXC, id), 1);
    }
    put_file("/sys/fs/cgroup/lxc.monitor/106/cgroup.procs", "1\n");
    assert_int_equal(guest_running(GUEST_LXC, 106), 0);
}

/* A group that never gets there is given up and thawed; without a freezer it is said. */
static void test_container_cannot_freeze(void **state)
{
    struct err e = {0};
    _cleanup_buf_ struct buf text = BUF_INIT;
    _cleanup_free_ char *control = at("/sys/fs/cgroup/lxc/110/cgroup.freeze");
    (void)state;
    _cleanup_(guest_config_freep) struct guest_config *without =
        guest_config_parse("c", GUEST_LXC, 111, "arch: amd64\n", 12);
    put_file("/sys/fs/cgroup/lxc/111/cgroup.procs", "1\n");
    assert_null(guest_freeze(without, 0.1, &e));
    assert_int_equal(e.kind, ERR_SYSTEM);
    assert_non_null(strstr(e.text, "no control group that can be frozen"));

    _cleanup_(guest_config_freep) struct guest_config *stuck =
        guest_config_parse("c", GUEST_LXC, 110, "arch: amd64\n", 12);
    put_file("/sys/fs/cgroup/lxc/110/cgroup.procs", "1\n");
    put_file("/sys/fs/cgroup/lxc/110/cgroup.events", "populated 1\nfrozen 0\n");
    put_file("/sys/fs/cgroup/lxc/110/cgroup.freeze", "0\n");
    assert_null(guest_freeze(stuck, 0.1, &e));
    assert_int_equal(e.kind, ERR_SYSTEM);
    assert_non_null(strstr(e.text, "did not become frozen"));
    assert_int_equal(fs_read(control, 100, &text, &e), 0);
    assert_string_equal(text.data, "0\n");

    put_file("/sys/fs/cgroup/lxc/110/cgroup.events", "populated 1\nfrozen 1\n");
    assert_null(guest_freeze(stuck, 0.1, &e));
    assert_int_equal(e.kind, ERR_NONE);
}

/* A process that counts, in a root of its own that is a mount, in the group. */
static pid_t start_container(const char *group)
{
    char path[200];
    int ready[2];
    char c;
    assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
    pid_t pid = fork();
    if (pid == 0) {
        snprintf(path, sizeof path, "%s/cgroup.procs", group);
        int fd = open(path, O_WRONLY | O_CLOEXEC);
        bool ok = fd >= 0 && write(fd, "0", 1) == 1 && unshare(CLONE_NEWNS) == 0 &&
                  mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
                  mount(root, root, NULL, MS_BIND, NULL) == 0 && chroot(root) == 0 && chdir("/") == 0;
        if (!ok || write(ready[1], "x", 1) != 1)
            _exit(1);
        for (;;) {
            shared->counter++;
            poll(NULL, 0, 1);
        }
    }
    close(ready[1]);
    ssize_t n = read(ready[0], &c, 1);
    close(ready[0]);
    if (n == 1)
        return pid;
    waitpid(pid, NULL, 0);
    return 0;
}

static void freeze_container(void)
{
    _cleanup_(guest_config_freep) struct guest_config *g =
        guest_config_parse("c", GUEST_LXC, container, "arch: amd64\n", 12);
    struct err e = {0};
    struct freeze *f = guest_freeze(g, 60, &e);
    enum freeze_end end;
    if (!f)
        fail_msg("%s", e.text);
    assert_int_equal(container_is_frozen(container, &e), 1);
    int before = shared->counter;
    poll(NULL, 0, 50);
    assert_int_equal(shared->counter, before);
    assert_null(guest_freeze(g, 60, &e)); /* once is enough */
    assert_int_equal(e.kind, ERR_NONE);
    assert_int_equal(guest_thaw(f, &end, &e), 0);
    assert_int_equal(container_is_frozen(container, &e), 0);
    while (shared->counter < before + 3)
        poll(NULL, 0, 1);
}

static void real_group(const char *hierarchy, const char *control)
{
    struct err e;
    _cleanup_free_ char *group = xasprintf("%s/lxc.payload.%u", hierarchy, container);
    _cleanup_free_ char *file = xasprintf("%s/%s", group, control);
    pid_t pid = 0;
    if (mkdir(group, 0755) == 0 && access(file, W_OK) == 0)
        pid = start_container(group);
    if (pid <= 0) {
        rmdir(group);
        print_message("skipped: no %s to be had below %s\n", control, hierarchy);
        skip();
    }
    guest_runtime_root = "";
    assert_int_equal(guest_running(GUEST_LXC, container), pid);
    freeze_container();
    guest_runtime_root = root;
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    if (rmdir(group) < 0)
        fail_msg("%s: %s", group, strerror(errno));
    guest_runtime_root = "";
    assert_int_equal(container_set_frozen(container, false, 1, &e), 0); /* gone: nothing to thaw */
    guest_runtime_root = root;
}

static void test_real_v2(void **state)
{
    (void)state;
    real_group(access("/sys/fs/cgroup/cgroup.controllers", F_OK) == 0 ? "/sys/fs/cgroup"
                                                                      : "/sys/fs/cgroup/unified",
               "cgroup.freeze");
}

static void test_real_v1(void **state)
{
    (void)state;
    real_group("/sys/fs/cgroup/freezer", "freezer.state");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_running),           cmocka_unit_test(test_freeze_and_thaw),
        cmocka_unit_test(test_agent_option),      cmocka_unit_test(test_not_applied),
        cmocka_unit_test(test_refused),           cmocka_unit_test(test_freeze_hangs),
        cmocka_unit_test(test_watchdog_deadline), cmocka_unit_test(test_frozen_too_late),
        cmocka_unit_test(test_watchdog_killed),   cmocka_unit_test(test_parent_killed),
        cmocka_unit_test(test_container_running), cmocka_unit_test(test_container_cannot_freeze),
        cmocka_unit_test(test_real_v2),           cmocka_unit_test(test_real_v1),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
