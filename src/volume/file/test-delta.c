/* filedelta against a model: whatever was done to a file, the delta applied to the base gives the new file.
 */
#include "volume/file/delta.h"

#include "base/testbrief.h"
#include "volume/test-mount.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#define ROOM (6u << 20)
#define ROUNDS 30

static struct test_mount mnt;
static unsigned seed;

static unsigned rnd(unsigned below)
{
    seed = seed * 1664525u + 1013904223u;
    return (unsigned)(((uint64_t)(seed >> 4) * below) >> 28);
}

static int open_file(const char *name, int flags)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", mnt.path, name);
    int fd = open(path, flags | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    return fd;
}

static uint64_t size_of(int fd)
{
    struct stat st;
    assert_int_equal(fstat(fd, &st), 0);
    return (uint64_t)st.st_size;
}

/* A reflink where the file system has them, else a copy. */
static int snapshot_of(int fd, const char *name)
{
    int to = open_file(name, O_RDWR | O_CREAT | O_TRUNC);
    if (ioctl(to, FICLONE, fd) == 0)
        return to;
    uint64_t size = size_of(fd);
    char *all = xmalloc(size + 1);
    assert_int_equal(pread(fd, all, size, 0), size);
    assert_int_equal(pwrite(to, all, size, 0), size);
    free(all);
    return to;
}

static void scribble(int fd, uint64_t offset, uint64_t n)
{
    static char noise[1 << 20];
    bool zero = rnd(6) == 0, plain = rnd(2) == 0;
    for (uint64_t i = 0; i < n; i++)
        noise[i] = zero ? 0 : plain ? (char)('a' + i % 7 + seed % 5) : (char)rnd(256);
    assert_int_equal(pwrite(fd, noise, n, (off_t)offset), n);
}

static void move_inside(int fd)
{
    uint64_t blocks = size_of(fd) / 4096;
    if (blocks < 4)
        return;
    unsigned n = 1 + rnd((unsigned)blocks / 3);
    struct file_clone_range r = {.src_fd = fd,
                                 .src_offset = 4096ull * rnd((unsigned)(blocks - n)),
                                 .src_length = 4096ull * n,
                                 .dest_offset = 4096ull * rnd((unsigned)(blocks - n))};
    ioctl(fd, FICLONERANGE, &r); /* refused where the two overlap, or without reflinks: then nothing moves */
}

/* One random thing that a guest, or its administrator, may do to an image. */
static void mutate(int fd)
{
    uint64_t at = rnd(4) ? 4096ull * rnd(ROOM / 4096) : rnd(ROOM), n = 1 + rnd(rnd(3) ? 20000 : 400000);
    uint64_t size = size_of(fd);
    switch (rnd(9)) {
    case 0:
        fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)at, (off_t)n);
        break;
    case 1:
        fallocate(fd, rnd(2) ? 0 : FALLOC_FL_KEEP_SIZE, (off_t)at, (off_t)n);
        break;
    case 2:
        fallocate(fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, (off_t)at, (off_t)n);
        break;
    case 3:
        assert_int_equal(ftruncate(fd, rnd(3) ? (off_t)at : (off_t)(size / 2 + rnd(99))), 0);
        break;
    case 4:
        move_inside(fd);
        break;
    case 5:
        assert_int_equal(fsync(fd), 0);
        break;
    default:
        scribble(fd, at, n);
        break;
    }
}

/* Check the order of the extents and put them into `image`; the bytes of DATA. */
static uint64_t apply(struct filedelta *d, uint8_t *image, uint64_t size, uint64_t from, bool full)
{
    struct err e;
    struct extent x;
    uint64_t end = from, data = 0;
    int r;
    while ((r = filedelta_next(d, &x, &e)) > 0) {
        if (r == 2)
            continue;
        assert_true(x.length > 0 && x.offset >= end && x.offset + x.length <= size);
        end = x.offset + x.length;
        if (x.kind == EXTENT_DATA) {
            assert_true(x.length <= 1 << 20);
            memcpy(image + x.offset, filedelta_data(d), x.length);
            data += x.length;
        } else {
            assert_false(full);
            memset(image + x.offset, 0, x.length);
        }
    }
    assert_int_equal(r, 0);
    return data;
}

/* The delta from base (-1: none) to fd, from `from` on, over what a receiver has by then, must give fd. */
static uint64_t bytes_read; /* by the last check_delta */

static uint64_t check_delta(int base, int fd, uint64_t from)
{
    struct err e;
    uint64_t size = size_of(fd);
    uint8_t *want = xcalloc(1, size + 1), *got = xcalloc(1, size + 1);
    assert_int_equal(pread(fd, want, size, 0), size);
    if (base >= 0)
        assert_true(pread(base, got, size, 0) >= 0);
    memcpy(got, want, from < size ? from : size);
    struct filedelta *d = filedelta_new(base, fd, size, from, &e);
    assert_non_null(d);
    uint64_t data = apply(d, got, size, from, base < 0);
    bytes_read = filedelta_read(d);
    filedelta_free(d);
    if (memcmp(got, want, size) != 0) /* which byte by byte takes long */
        assert_memory_equal(got, want, size);
    if (base >= 0 && from == 0) {
        uint64_t n = size_of(base);
        uint8_t *old = xcalloc(1, n + 1);
        assert_int_equal(pread(base, old, n, 0), n);
        int differ = n != size || memcmp(old, want, n) != 0;
        assert_int_equal(filedelta_same(base, fd, NULL, &e), differ);
        free(old);
    }
    free(want);
    free(got);
    return data;
}

static void random_histories(void)
{
    int live = open_file("live", O_RDWR | O_CREAT | O_TRUNC);
    int base = -1;
    for (unsigned round = 0; round < (unsigned)test_rounds(ROUNDS); round++) {
        for (unsigned i = rnd(12); i > 0; i--)
            mutate(live);
        char name[16];
        snprintf(name, sizeof name, "snap%u", round % 3);
        int new = snapshot_of(live, name);
        check_delta(-1, new, 0);
        if (base >= 0) {
            check_delta(base, new, 0);
            check_delta(base, new, rnd(2) ? rnd(ROOM) : 4096ull * rnd(ROOM / 4096));
            close(base);
        }
        base = new;
    }
    close(base);
    close(live);
}

#define BIG (24u << 20)

/* 1,000 blocks of 4 KiB rewritten here and there are sent as that and nothing more. */
static void sparse_changes(bool maps)
{
    int live = open_file("big", O_RDWR | O_CREAT | O_TRUNC);
    static char noise[1 << 20];
    for (unsigned i = 0; i < sizeof noise; i++)
        noise[i] = (char)rnd(16); /* can be compressed, where the file system does */
    for (uint64_t at = 0; at < BIG; at += 1 << 20) {
        for (unsigned i = 0; i < sizeof noise; i += 512) /* no two blocks are alike */
            memcpy(noise + i, (uint64_t[]){at + i}, sizeof(uint64_t));
        assert_int_equal(pwrite(live, noise, sizeof noise, (off_t)at), sizeof noise);
    }
    int base = snapshot_of(live, "snap0");
    static bool taken[BIG / 4096];
    memset(taken, 0, sizeof taken);
    for (unsigned i = 0; i < 1000; i++) {
        unsigned block;
        do
            block = rnd(BIG / 4096);
        while (taken[block]);
        taken[block] = true;
        char data[4096];
        memset(data, (int)(1 + i % 255), sizeof data);
        assert_int_equal(pwrite(live, data, sizeof data, 4096 * (off_t)block), sizeof data);
    }
    int new = snapshot_of(live, "snap1");
    uint64_t sent = check_delta(base, new, 0);
    print_message("  1000 changed blocks: %llu bytes of data, %llu read\n", (unsigned long long)sent,
                  (unsigned long long)bytes_read);
    assert_true(!maps || bytes_read == sent);
    assert_true(sent >= 4096000 && sent <= 4096000 * 102 / 100);
    assert_int_equal(check_delta(new, new, 0), 0);
    close(live);
    close(base);
    close(new);
}

static const struct {
    const char *name;
    const char *const *mkfs;
    const char *options;
} systems[] = {
    {"xfs", (const char *const[]){"mkfs.xfs", "-q", "-m", "reflink=1", NULL}, NULL},
    {"xfs, blocks of 1 KiB", (const char *const[]){"mkfs.xfs", "-q", "-b", "size=1024", NULL}, NULL},
    {"btrfs", (const char *const[]){"mkfs.btrfs", "-q", NULL}, NULL},
    {"btrfs, compressed", (const char *const[]){"mkfs.btrfs", "-q", NULL}, "compress-force=zstd"},
    {"tmpfs, no maps", NULL, NULL},
};

static void test_histories(void **state)
{
    (void)state;
    for (size_t i = 0; i < ELEMENTS(systems); i++) {
        const char *why = test_mount(&mnt, systems[i].mkfs, systems[i].options);
        if (why) {
            print_message("SKIPPED test_histories on %s: %s\n", systems[i].name, why);
            continue;
        }
        const char *wish = getenv("PVESR_TEST_SEED");
        seed = wish ? (unsigned)atol(wish) : 20260101u + (unsigned)i;
        print_message("%s, seed %u\n", systems[i].name, seed);
        random_histories();
        if (!test_is_brief())
            sparse_changes(systems[i].mkfs != NULL);
        test_unmount(&mnt);
    }
}

static int unmount(void **state)
{
    (void)state;
    test_unmount(&mnt);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_histories, unmount),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
