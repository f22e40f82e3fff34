#include "base/fs.h"
#include "base/mem.h"
#include "base/testfilter.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

/* Every test runs inside an empty directory of its own. */
static char home[64];

static int enter(void **state)
{
    snprintf(home, sizeof home, "/tmp/pvesr-test-fs-XXXXXX");
    return mkdtemp(home) && chdir(home) == 0 ? 0 : -1;
}

static int drop(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    return remove(path);
}

static int leave(void **state)
{
    return chdir("/") == 0 && nftw(home, drop, 16, FTW_DEPTH | FTW_PHYS) == 0 ? 0 : -1;
}

static unsigned count_files(void)
{
    unsigned n = 0;
    DIR *d = opendir(".");
    for (struct dirent *entry; (entry = readdir(d));)
        n += entry->d_name[0] != '.';
    closedir(d);
    return n;
}

static void put(const char *path, const char *text)
{
    struct err e;
    if (fs_write_atomic(path, text, strlen(text), 0644, &e) < 0)
        fail_msg("%s", e.text);
}

static void assert_holds(const char *path, const char *text)
{
    _cleanup_buf_ struct buf b = BUF_INIT;
    struct err e;
    int r = fs_read(path, 1 << 20, &b, &e);
    if (r < 0)
        fail_msg("%s", e.text);
    assert_int_equal(r, 0);
    assert_string_equal(buf_str(&b), text);
}

static void test_read(void **state)
{
    _cleanup_buf_ struct buf b = BUF_INIT;
    struct err e = {0};
    buf_adds(&b, "old");
    assert_int_equal(fs_read("none", 10, &b, &e), 1);
    assert_string_equal(buf_str(&b), "");
    put("ten", "0123456789");
    assert_int_equal(fs_read("ten", 10, &b, &e), 0);
    assert_string_equal(buf_str(&b), "0123456789");
    assert_int_equal(fs_read("ten", 9, &b, &e), -1);
    assert_int_equal(e.kind, ERR_DATA);
    assert_int_equal(fs_read("ten/x", 9, &b, &e), 1);
    assert_int_equal(fs_read(".", 9, &b, &e), -1);
    assert_non_null(strstr(e.text, "not a regular file"));
    assert_int_equal(mkfifo("fifo", 0600), 0);
    assert_int_equal(fs_read("fifo", 9, &b, &e), -1);                   /* and does not hang */
    assert_int_equal(fs_read("/proc/self/status", 1 << 20, &b, &e), 0); /* its st_size is 0 */
    assert_true(b.len > 100);
}

static mode_t mode_of(const char *path)
{
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    return st.st_mode & 07777;
}

static void test_write_atomic(void **state)
{
    struct err e;
    put("f", "one");
    put("f", "two");
    assert_holds("f", "two");
    assert_int_equal(fs_write_atomic("f", "", 0, 0600, &e), 0);
    assert_holds("f", "");
    assert_int_equal(mode_of("f"), 0600);
    assert_int_equal(count_files(), 1);
}

/* A pid that nobody has. */
static pid_t gone(void)
{
    pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    assert_true(pid > 0 && waitpid(pid, NULL, 0) == pid);
    return pid;
}

static void test_write_atomic_sweeps(void **state)
{
    pid_t dead = gone();
    _cleanup_free_ char *left = xasprintf("f.tmp.%d", (int)dead);
    _cleanup_free_ char *other = xasprintf("g.tmp.%d", (int)dead);
    _cleanup_free_ char *alive = xasprintf("f.tmp.%d", (int)getppid());
    static const char *const stay[] = {"f.tmp.", "f.tmp.1x", "f.tmp.0", "f.tmp"};
    int at = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    put(alive, "");
    put(other, "");
    for (size_t i = 0; i < ELEMENTS(stay); i++)
        put(stay[i], "");
    put(left, "");
    put("f", "1");
    assert_false(fs_exists(left));
    assert_true(fs_exists(alive) && fs_exists(other));
    for (size_t i = 0; i < ELEMENTS(stay); i++)
        assert_true(fs_exists(stay[i]));
    assert_true(fs_sweep(at, NULL, true) && fs_exists(other));
    assert_true(fs_sweep(at, NULL, false) && !fs_exists(other));
    assert_false(fs_sweep(at, NULL, true));
    close(at);
}

static void test_write_atomic_and_umask(void **state)
{
    struct err e;
    assert_int_equal(mkdir("d", 0755), 0);
    _cleanup_close_ int dir = open("d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    mode_t was = umask(077);
    put("d/exact", "1");
    assert_int_equal(fs_write_atomic_at(dir, "masked", "it", "2", 1, 0644, &e), 0);
    umask(was);
    assert_int_equal(mode_of("d/exact"), 0644);
    assert_int_equal(mode_of("d/masked"), 0600);
    assert_holds("d/masked", "2");
}

static void test_write_atomic_replaces_a_symlink(void **state)
{
    struct stat st;
    put("victim", "precious");
    assert_int_equal(symlink("victim", "link"), 0);
    put("link", "new");
    assert_holds("victim", "precious");
    assert_holds("link", "new");
    assert_int_equal(lstat("link", &st), 0);
    assert_true(S_ISREG(st.st_mode));
}

static void test_write_atomic_fails_cleanly(void **state)
{
    struct err e = {0};
    assert_int_equal(mkdir("dir", 0755), 0);
    assert_int_equal(fs_write_atomic("dir", "x", 1, 0644, &e), -1);
    assert_non_null(strstr(e.text, "'dir'"));
    assert_int_equal(count_files(), 1);
    assert_int_equal(fs_write_atomic("missing/f", "x", 1, 0644, &e), -1);
    assert_int_equal(e.code, ENOENT);
}

static void test_mkdir_p(void **state)
{
    struct err e = {0};
    static const char *const good[] = {"a", "a", "a/b/c", "a/b/c/", "./d//e", "."};
    for (size_t i = 0; i < ELEMENTS(good); i++)
        assert_int_equal(fs_mkdir_p(good[i], 0755, &e), 0);
    assert_true(fs_exists("d/e"));
    put("file", "");
    static const char *const bad[] = {"file", "file/x", ""};
    for (size_t i = 0; i < ELEMENTS(bad); i++) {
        assert_int_equal(fs_mkdir_p(bad[i], 0755, &e), -1);
        assert_int_equal(e.kind, ERR_SYSTEM);
    }
}

static void test_unlink(void **state)
{
    struct err e = {0};
    put("f", "");
    assert_int_equal(fs_unlink("f", &e), 0);
    assert_int_equal(fs_unlink("f", &e), 1);
    assert_int_equal(mkdir("dir", 0755), 0);
    assert_int_equal(fs_unlink("dir", &e), -1);
}

static void test_open_beneath(void **state)
{
    put("file", "text");
    assert_int_equal(mkdir("sub", 0755), 0);
    put("sub/inner", "");
    assert_int_equal(symlink("file", "link"), 0);
    assert_int_equal(symlink("sub", "linkdir"), 0);
    assert_int_equal(symlink("/etc/passwd", "out"), 0);
    static const struct {
        const char *name;
        bool good;
        enum err_kind kind;
    } cases[] = {
        {"file", true, 0},
        {"sub/inner", true, 0},
        {"sub//inner", true, 0},
        {"none", false, ERR_SYSTEM},
        {"", false, ERR_SYSTEM},
        {"file/x", false, ERR_SYSTEM},
        {"link", false, ERR_DATA},
        {"out", false, ERR_DATA},
        {"linkdir/inner", false, ERR_DATA},
        {"../../etc/passwd", false, ERR_DATA},
        {"/etc/passwd", false, ERR_DATA},
    };
    _cleanup_close_ int dir = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct err e = {0};
        _cleanup_close_ int fd = fs_open_beneath(dir, cases[i].name, O_RDONLY, 0, &e);
        _cleanup_close_ int handle = fs_open_beneath(dir, cases[i].name, O_PATH, 0, &e);
        assert_int_equal(fd >= 0, cases[i].good);
        assert_int_equal(handle >= 0, cases[i].good);
        if (fd >= 0)
            assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
        else
            assert_int_equal(e.kind, cases[i].kind);
    }
    struct err e = {0};
    _cleanup_close_ int made = fs_open_beneath(dir, "sub/made", O_RDWR | O_CREAT | O_EXCL, 0600, &e);
    assert_true(made >= 0);
}

static void test_whole_transfers(void **state)
{
    struct err e = {0};
    char back[8] = "";
    _cleanup_close_ int fd = open("f", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(fs_write_all(fd, "abcd", 4, "f", &e), 0);
    assert_int_equal(fs_pwrite_all(fd, "XYZ", 3, 6, "f", &e), 0);
    assert_int_equal(fs_pread_all(fd, back, 7, 2, "f", &e), 0);
    assert_memory_equal(back, "cd\0\0XYZ", 7);
    assert_int_equal(fs_pread_all(fd, back, 8, 2, "disk 'f'", &e), -1);
    assert_int_equal(e.kind, ERR_DATA);
    assert_non_null(strstr(e.text, "disk 'f'"));
    _cleanup_close_ int full = open("/dev/full", O_RDWR | O_CLOEXEC);
    assert_int_equal(fs_write_all(full, "x", 1, "/dev/full", &e), -1);
    assert_int_equal(e.kind, ERR_FULL);
}

static void test_open_beneath_not_implemented(void **state)
{
    if (!forbid_openat2(ENOSYS))
        skip();
    test_open_beneath(state);
}

static void test_open_beneath_forbidden(void **state)
{
    if (!forbid_openat2(EPERM))
        skip();
    test_open_beneath(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_read, enter, leave),
        cmocka_unit_test_setup_teardown(test_write_atomic, enter, leave),
        cmocka_unit_test_setup_teardown(test_write_atomic_sweeps, enter, leave),
        cmocka_unit_test_setup_teardown(test_write_atomic_and_umask, enter, leave),
        cmocka_unit_test_setup_teardown(test_write_atomic_replaces_a_symlink, enter, leave),
        cmocka_unit_test_setup_teardown(test_write_atomic_fails_cleanly, enter, leave),
        cmocka_unit_test_setup_teardown(test_mkdir_p, enter, leave),
        cmocka_unit_test_setup_teardown(test_unlink, enter, leave),
        cmocka_unit_test_setup_teardown(test_open_beneath, enter, leave),
        cmocka_unit_test_setup_teardown(test_whole_transfers, enter, leave),
        /* for good, so they are the last */
        cmocka_unit_test_setup_teardown(test_open_beneath_not_implemented, enter, leave),
        cmocka_unit_test_setup_teardown(test_open_beneath_forbidden, enter, leave),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
