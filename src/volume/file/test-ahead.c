/* A clone made ahead is bit for bit what the file is once its writers hold still, whatever they did
 * meanwhile; and who does not hold still is found out. */
#include "base/fs.h"
#include "base/mem.h"
#include "volume/file/ahead.h"
#include "volume/test-mount.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define BLOCK 4096
#define BLOCKS 6000
#define ROUNDS 3

static unsigned seed;

static unsigned chance(unsigned n)
{
    seed = seed * 1103515245 + 12345;
    return (seed >> 8) % n;
}

static int make(const char *dir, const char *name, int flags)
{
    _cleanup_free_ char *path = xasprintf("%s/%s", dir, name);
    int fd = open(path, O_RDWR | flags, 0600);
    assert_true(fd >= 0);
    return fd;
}

/* One change of any kind that a guest, or who grows its disk, may make. */
static void change(int fd, int direct, char *block)
{
    off_t at = (off_t)chance(BLOCKS) * BLOCK;
    memset(block, (int)chance(255) + 1, BLOCK);
    switch (chance(12)) {
    case 0:
        (void)!fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, (off_t)(1 + chance(40)) * BLOCK);
        break;
    case 1:
        (void)!fallocate(fd, 0, at, (off_t)(1 + chance(40)) * BLOCK);
        break;
    case 2:
        (void)!ftruncate(fd, (off_t)(BLOCKS - chance(200)) * BLOCK + (off_t)chance(BLOCK));
        break;
    case 3:
        (void)!ftruncate(fd, (off_t)BLOCKS * BLOCK);
        break;
    case 4:
    case 5:
    case 6:
        (void)!pwrite(fd, block, 512 + chance(3000), at + chance(500));
        break;
    default:
        (void)!pwrite(direct, block, BLOCK, at);
    }
}

static _Noreturn void writer(const char *dir)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that fails does not end it */
    int fd = make(dir, "live", 0), direct = make(dir, "live", O_DIRECT);
    char *block = aligned_alloc(BLOCK, BLOCK);
    for (;;)
        change(fd, direct, block);
}

static pid_t begin_writer(const char *dir)
{
    chance(2);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        writer(dir);
    return pid;
}

static void end_writer(pid_t pid)
{
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

/* Written, unwritten and holes in turn. */
static void fragment(int fd)
{
    char block[BLOCK];
    assert_int_equal(ftruncate(fd, (off_t)BLOCKS * BLOCK), 0);
    assert_int_equal(fallocate(fd, 0, 0, (off_t)BLOCKS / 2 * BLOCK), 0);
    for (off_t i = 0; i < BLOCKS; i += 2) {
        memset(block, (int)(i % 251) + 1, BLOCK);
        assert_int_equal(pwrite(fd, block, BLOCK, i * BLOCK), BLOCK);
    }
}

static bool is_same(int a, int b)
{
    enum { PART = 1 << 20 };
    off_t size = lseek(a, 0, SEEK_END);
    char *x = xmalloc(PART), *y = xmalloc(PART);
    bool same = size == lseek(b, 0, SEEK_END);
    for (off_t at = 0; same && at < size; at += PART) {
        ssize_t n = pread(a, x, PART, at);
        same = n > 0 && pread(b, y, PART, at) == n && memcmp(x, y, (size_t)n) == 0;
    }
    free(x);
    free(y);
    return same;
}

static void ok(int r, const struct err *e)
{
    if (r < 0)
        fail_msg("%s (seed %u)", e->text, seed);
}

/* The file may be cut while it is cloned: then whoever clones begins anew, as here. */
static int clone_busy(const char *dir, int from)
{
    struct err e;
    for (int i = 0; i < 1000; i++) {
        int to = make(dir, "copy", O_CREAT | O_TRUNC);
        if (ahead_clone(to, from, NULL, &e) == 0)
            return to;
        close(to);
    }
    fail_msg("%s", e.text);
    return -1;
}

static const char *const xfs[] = {"mkfs.xfs", "-q", "-m", "reflink=1", NULL}, *const btrfs[] = {"mkfs.btrfs",
                                                                                                "-q", NULL};

static void begin(struct test_mount *m, const char *const mkfs[], const char *options)
{
    const char *why = test_mount(m, mkfs, options);
    if (!why)
        return;
    print_message("%s: %s\n", mkfs[0], why);
    skip();
}

static void play(const char *const mkfs[], const char *options, int flags)
{
    struct test_mount m = {0};
    struct err e;
    begin(&m, mkfs, options);
    const char *dir = m.path, *kind = mkfs[0];
    int live = make(dir, "live", O_CREAT | O_TRUNC);
    assert_true(!flags || ioctl(live, FS_IOC_SETFLAGS, &flags) == 0);
    fragment(live);
    for (int i = 0; i < ROUNDS; i++) {
        uint64_t ranges;
        pid_t pid = begin_writer(dir);
        int to = clone_busy(dir, live);
        usleep(1000 * chance(20)); /* the more or less that is written */
        if (i % 3 == 2) {          /* it does not hold still, unless it gets no processor meanwhile */
            int r = 0;
            for (int tries = 0; r == 0 && tries < 100; tries++)
                r = ahead_finish(to, live, NULL, &e);
            end_writer(pid);
            assert_true(r != 0);
        }
        if (i % 3 != 2)
            end_writer(pid);
        int r = ahead_finish(to, live, &ranges, &e);
        ok(r, &e);
        assert_int_equal(r, 0);
        if (!is_same(to, live))
            fail_msg("the copy differs in round %d on %s (seed %u)", i, kind, seed);
        ok(ahead_finish(to, live, &ranges, &e), &e);
        assert_true(ranges <= 1); /* of a tail that no map is sure of */
        close(to);
    }
    close(live);
    test_unmount(&m);
}

static void test_xfs(void **state)
{
    play(xfs, NULL, 0);
}

static void test_btrfs(void **state)
{
    play(btrfs, NULL, 0);
}

static void test_compressed(void **state)
{
    play(btrfs, "compress-force=zstd", 0);
}

/* Without checksums, beside files that have them. */
static void test_nocow(void **state)
{
    play(btrfs, NULL, FS_NOCOW_FL);
}

static void test_worth(void **state)
{
    struct test_mount m = {0};
    begin(&m, xfs, NULL);
    int fd = make(m.path, "few", O_CREAT | O_TRUNC);
    char block[BLOCK] = "x";
    assert_int_equal(ftruncate(fd, (off_t)(AHEAD_EXTENTS + 1) * 2 * BLOCK), 0);
    for (off_t i = 0; i < AHEAD_EXTENTS - 1; i++)
        assert_int_equal(pwrite(fd, block, 1, i * 2 * BLOCK), 1);
    fsync(fd);
    assert_false(ahead_worth(fd));
    assert_int_equal(pwrite(fd, block, 1, (off_t)AHEAD_EXTENTS * 2 * BLOCK), 1);
    fsync(fd);
    assert_true(ahead_worth(fd));
    close(fd);
    test_unmount(&m);
}

int main(void)
{
    const char *given = getenv("PVESR_TEST_SEED");
    seed = given ? (unsigned)strtoul(given, NULL, 10) : (unsigned)getpid();
    print_message("seed %u\n", seed);
    static const struct CMUnitTest tests[] = {cmocka_unit_test(test_xfs), cmocka_unit_test(test_btrfs),
                                              cmocka_unit_test(test_compressed), cmocka_unit_test(test_nocow),
                                              cmocka_unit_test(test_worth)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
