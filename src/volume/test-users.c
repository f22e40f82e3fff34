/* Who uses a file, a subvolume, a device: real users, each a process of its own. */
#include "volume/users.h"

#include "base/mem.h"
#include "base/strv.h"
#include "volume/test-mount.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <fcntl.h>
#include <linux/btrfs.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *const mkfs_xfs[] = {"mkfs.xfs", "-q", "-f", NULL};
static const char *const mkfs_ext4[] = {"mkfs.ext4", "-q", "-F", NULL};
static const char *const mkfs_btrfs[] = {"mkfs.btrfs", "-q", "-f", NULL};
static const struct {
    const char *name;
    const char *const *mkfs;
} places[] = {{"xfs", mkfs_xfs}, {"ext4", mkfs_ext4}, {"btrfs", mkfs_btrfs}, {"tmpfs", NULL}};

static struct test_mount m;
static char file[160], other[160], loop[64]; /* `other`: an empty file to mount on */
static struct err e;
static char by[VOLUME_USER_MAX + 1];

static char *in(const char *name)
{
    static char path[160];
    snprintf(path, sizeof path, "%s/%s", m.path, name);
    return path;
}

static void make(const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0 && ftruncate(fd, 64 << 20) == 0);
    close(fd);
}

/* ---- users: what a child does, then it waits to be killed ---- */

static bool open_it(int flags)
{
    return open(file, flags) >= 0;
}
static bool reads(void)
{
    return open_it(O_RDONLY);
}
static bool writes(void)
{
    return open_it(O_RDWR);
}
static bool writes_only(void)
{
    return open_it(O_WRONLY | O_APPEND);
}
static bool maps(void)
{
    int fd = open(file, O_RDWR);
    bool done = fd >= 0 && mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) != MAP_FAILED;
    close(fd);
    return done;
}
static bool stands_in(void)
{
    return chdir(in("sub/below")) == 0;
}
static bool lives_in(void)
{
    return chroot(in("sub")) == 0;
}
static bool reads_in(void)
{
    return open(in("sub/below/file"), O_RDONLY) >= 0;
}
static bool maps_in(void)
{
    strcpy(file, in("sub/below/file"));
    return maps();
}
static bool mounts_away(void)
{
    return unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount(in("sub"), "/mnt", NULL, MS_BIND, NULL) == 0;
}

static pid_t start(bool (*does)(void))
{
    int ready[2];
    char c = 0;
    assert_int_equal(pipe(ready), 0);
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        c = does();
        if (write(ready[1], &c, 1) != 1)
            _exit(1);
        for (;;)
            pause();
    }
    assert_true(pid > 0);
    assert_int_equal(read(ready[0], &c, 1), 1);
    close(ready[0]);
    close(ready[1]);
    if (!c)
        fail_msg("the user could not begin");
    return pid;
}

static void end(pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

/* As the kernel calls this program: under valgrind it has another name. */
static const char *own_name(void)
{
    static char name[17];
    assert_int_equal(prctl(PR_GET_NAME, name), 0);
    return name;
}

static bool says(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static bool says(const char *fmt, ...)
{
    char want[200];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(want, sizeof want, fmt, ap);
    va_end(ap);
    if (strcmp(by, want) == 0)
        return true;
    print_message("'%s' instead of '%s'\n", by, want);
    return false;
}

/* ---- files ---- */

static int ask_file(void)
{
    _cleanup_close_ int fd = open(file, O_RDONLY | O_CLOEXEC);
    int r = users_of_file(fd, NULL, by, &e);
    if (r < 0)
        fail_msg("%s", e.text);
    return r;
}

static int ask_tree(void)
{
    _cleanup_close_ int fd = open(in("sub"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int r = users_of_tree(fd, NULL, by, &e);
    if (r < 0)
        fail_msg("%s", e.text);
    return r;
}

/* losetup's answer: the device, false: there is none to be had. */
static bool set_up_loop(const char *option)
{
    char command[300];
    snprintf(command, sizeof command, "losetup %s --show -f '%s' 2>/dev/null", option, file);
    FILE *f = popen(command, "re"); /* of this test alone */
    bool got = f && fgets(loop, sizeof loop, f);
    if (f)
        pclose(f);
    loop[strcspn(loop, "\n")] = 0;
    return got;
}

/* Back when the file is nobody's: while somebody else has the device open, only its last closing lets go
 * (losetup(8)). */
static void drop_loop(void)
{
    char path[100], backing[200];
    assert_int_equal(test_run((const char *const[]){"losetup", "-d", loop, NULL}), 0);
    snprintf(path, sizeof path, "/sys/block/%s/loop/backing_file", loop + strlen("/dev/"));
    for (;; usleep(1000)) {
        FILE *f = fopen(path, "re");
        bool bound = f && fgets(backing, sizeof backing, f) && strncmp(backing, file, strlen(file)) == 0;
        if (f)
            fclose(f);
        if (!bound)
            return;
    }
}

static bool at_place(size_t i)
{
    const char *why = test_mount(&m, places[i].mkfs, places[i].mkfs ? NULL : "size=200M");
    if (why)
        print_message("SKIPPED %s: %s\n", places[i].name, why);
    strcpy(file, in("a file"));
    strcpy(other, in("other"));
    if (!why) {
        make(file);
        make(other);
    }
    return !why;
}

static void test_file_processes(void **state)
{
    static const struct {
        const char *what;
        bool (*does)(void);
        bool use;
    } forms[] = {{"reads", reads, false},
                 {"writes", writes, true},
                 {"appends", writes_only, true},
                 {"maps", maps, true}};
    for (size_t i = 0; i < ELEMENTS(places); i++) {
        for (size_t k = 0; at_place(i) && k < ELEMENTS(forms); k++) {
            assert_int_equal(ask_file(), 0);
            pid_t pid = start(forms[k].does);
            if (ask_file() != forms[k].use)
                fail_msg("%s, who %s: '%s'", places[i].name, forms[k].what, by);
            assert_true(!forms[k].use || says("process %d (%s)", (int)pid, own_name()));
            end(pid);
            assert_int_equal(ask_file(), 0);
            test_unmount(&m);
        }
        test_unmount(&m);
    }
}

/* Nobody sees such a process: leases do. */
static void test_file_hidden(void **state)
{
    if (!at_place(0))
        skip();
    int held = open(file, O_RDWR | O_CLOEXEC);
    assert_int_equal(ask_file(), 1);
    assert_true(says("somebody who has it open for writing"));
    close(held);
    assert_int_equal(ask_file(), 0);
}

static void test_file_loop(void **state)
{
    for (size_t i = 0; i < ELEMENTS(places); i++) {
        if (at_place(i) && set_up_loop("")) {
            assert_int_equal(ask_file(), 1);
            assert_true(says("%s", loop));
            drop_loop();
            assert_int_equal(ask_file(), 0);
            assert_true(set_up_loop("-r"));
            assert_int_equal(ask_file(), 0);
            drop_loop();
        } else {
            print_message("SKIPPED loop on %s: there is none\n", places[i].name);
        }
        test_unmount(&m);
    }
}

static void test_file_mounted(void **state)
{
    for (size_t i = 0; i < ELEMENTS(places); i++) {
        if (at_place(i)) {
            assert_int_equal(mount(file, other, NULL, MS_BIND, NULL), 0);
            assert_int_equal(ask_file(), 1);
            assert_true(says("a mount at %s", other));
            assert_int_equal(umount(other), 0);
            assert_int_equal(ask_file(), 0);
        }
        test_unmount(&m);
    }
}

/* Somebody opens the file while we ask: that signal must not end us. */
static void test_file_race(void **state)
{
    if (!at_place(0))
        skip();
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (;;)
            close(open(file, O_RDWR));
    }
    unsigned used = 0;
    for (unsigned i = 0; i < 20; i++)
        used += ask_file() == 1;
    print_message("in use %u of 20 times\n", used);
    end(pid);
    assert_int_equal(ask_file(), 0);
}

/* ---- subvolumes ---- */

static bool with_subvolume(void)
{
    struct btrfs_ioctl_vol_args a = {.name = "sub"};
    if (!at_place(2))
        return false;
    _cleanup_close_ int fd = open(m.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(ioctl(fd, BTRFS_IOC_SUBVOL_CREATE, &a), 0);
    assert_int_equal(mkdir(in("sub/below"), 0755), 0);
    assert_int_equal(mkdir(in("at"), 0755), 0);
    make(in("sub/below/file"));
    return true;
}

static void test_tree_processes(void **state)
{
    static const struct {
        const char *what;
        bool (*does)(void);
    } forms[] = {{"stands in it", stands_in},
                 {"lives in it", lives_in},
                 {"reads in it", reads_in},
                 {"maps in it", maps_in}};
    if (!with_subvolume())
        skip();
    for (size_t k = 0; k < ELEMENTS(forms); k++) {
        pid_t beside = start(writes);
        assert_int_equal(ask_tree(), 0);
        end(beside);
        pid_t pid = start(forms[k].does);
        if (ask_tree() != 1)
            fail_msg("nobody, but there is who %s", forms[k].what);
        assert_true(says("process %d (%s)", (int)pid, own_name()));
        end(pid);
        assert_int_equal(ask_tree(), 0);
    }
}

static void test_tree_mounts(void **state)
{
    const char *const from[] = {"sub", "sub/below", "other", "sub/below/file"};
    const char *const to[] = {"at", "at", "sub/below/file", "other"};
    if (!with_subvolume())
        skip();
    for (size_t k = 0; k < ELEMENTS(from); k++) {
        _cleanup_free_ char *a = xstrdup(in(from[k])), *b = xstrdup(in(to[k]));
        assert_int_equal(mount(a, b, NULL, MS_BIND, NULL), 0);
        assert_int_equal(ask_tree(), 1);
        assert_true(says("a mount at %s", b));
        assert_int_equal(umount(b), 0);
        assert_int_equal(ask_tree(), 0);
    }
}

static void test_tree_namespace(void **state)
{
    if (!with_subvolume())
        skip();
    pid_t pid = start(mounts_away);
    assert_int_equal(ask_tree(), 1);
    assert_true(says("a mount at /mnt of process %d (%s)", (int)pid, own_name()));
    end(pid);
    assert_int_equal(ask_tree(), 0);
}

static void test_tree_loop(void **state)
{
    if (!with_subvolume())
        skip();
    strcpy(file, in("sub/below/file"));
    if (!set_up_loop(""))
        skip();
    assert_int_equal(ask_tree(), 1);
    assert_true(says("%s", loop));
    drop_loop();
    assert_int_equal(ask_tree(), 0);
}

/* ---- block devices: here a loop device is one ---- */

/* Loop devices are the machine's: whoever looks for a free one opens this one for a moment, so the answer may
 * need a second look. */
static void used_by(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void used_by(const char *fmt, ...)
{
    char want[200];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(want, sizeof want, fmt, ap);
    va_end(ap);
    for (int tries = 0; tries < 1000; tries++, usleep(10000)) {
        by[0] = 0;
        if (users_of_device(loop, NULL, by, &e) < 0)
            fail_msg("%s", e.text);
        if (strcmp(by, want) == 0)
            return;
    }
    fail_msg("'%s' instead of '%s'", by, want);
}

static void free_for_all(void)
{
    used_by("%s", "");
}

static void test_device(void **state)
{
    strcpy(loop, "/dev/there-is-none");
    free_for_all();
    if (!at_place(0) || !set_up_loop(""))
        skip();
    char device[64];
    strcpy(device, loop);
    free_for_all();

    strcpy(file, device);
    pid_t pid = start(reads);
    used_by("process %d (%s)", (int)pid, own_name());
    end(pid);
    pid = start(maps);
    used_by("process %d (%s)", (int)pid, own_name());
    end(pid);
    free_for_all();

    assert_true(set_up_loop("")); /* upon it */
    char upper[64];
    strcpy(upper, loop);
    strcpy(loop, device);
    used_by("%s", upper);
    strcpy(loop, upper);
    drop_loop();
    strcpy(loop, device);

    assert_int_equal(test_run((const char *const[]){"mkfs.ext4", "-q", "-F", device, NULL}), 0);
    assert_int_equal(mkdir(in("at"), 0755), 0);
    assert_int_equal(mount(device, in("at"), "ext4", 0, NULL), 0);
    used_by("a mount at %s", in("at"));
    assert_int_equal(umount(in("at")), 0);
    free_for_all();
    drop_loop();
}

static int clean_up(void **state)
{
    test_unmount(&m);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_file_processes, clean_up),
        cmocka_unit_test_teardown(test_file_hidden, clean_up),
        cmocka_unit_test_teardown(test_file_loop, clean_up),
        cmocka_unit_test_teardown(test_file_mounted, clean_up),
        cmocka_unit_test_teardown(test_file_race, clean_up),
        cmocka_unit_test_teardown(test_tree_processes, clean_up),
        cmocka_unit_test_teardown(test_tree_mounts, clean_up),
        cmocka_unit_test_teardown(test_tree_namespace, clean_up),
        cmocka_unit_test_teardown(test_tree_loop, clean_up),
        cmocka_unit_test_teardown(test_device, clean_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
