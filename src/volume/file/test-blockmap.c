/* Digest maps: of files that are nearly all holes, and those that an earlier version wrote. */
#include "volume/file/blockmap.h"

#include "base/buf.h"
#include "base/mem.h"
#include "volume/file/mapdelta.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define HUGE_SIZE (15ull << 40)
#define SMALL_SIZE (10 * BLOCKMAP_BLOCK + 100)

static struct err err;

static void ok(int r)
{
    if (r < 0)
        fail_msg("%s", err.text);
}

/* An unlinked file of this size. */
static int file_of(uint64_t size)
{
    char path[] = "/tmp/pvesr-blockmap-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    unlink(path);
    if (ftruncate(fd, (off_t)size) == 0)
        return fd;
    print_message("SKIPPED: /tmp cannot hold a file of %llu bytes\n", (unsigned long long)size);
    close(fd);
    return -1;
}

static void put(int fd, uint64_t offset, const char *text)
{
    assert_int_equal(pwrite(fd, text, strlen(text), (off_t)offset), strlen(text));
}

static int map_of(int fd, uint64_t size)
{
    int map = file_of(0);
    ok(blockmap_make(fd, size, "the file", map, NULL, &err));
    return map;
}

static int differs(int map_fd, int fd)
{
    _cleanup_(blockmap_freep) struct blockmap *m = blockmap_open(map_fd, "the map", &err);
    assert_non_null(m);
    int r = blockmap_differs(m, fd, "the file", NULL, &err);
    ok(r);
    return r;
}

/* "OFFSET+LENGTH KIND " of each extent */
static char *delta_of(int base, int map, int fd)
{
    struct buf out = BUF_INIT;
    struct extent x;
    _cleanup_(mapdelta_freep) struct mapdelta *d = mapdelta_new(base, map, fd, 0, &err);
    assert_non_null(d);
    for (int r; (r = mapdelta_next(d, &x, &err)) != 0;) {
        ok(r);
        if (r == 1)
            buf_addf(&out, "%llu+%llu %s ", (unsigned long long)(x.offset / BLOCKMAP_BLOCK),
                     (unsigned long long)x.length, x.kind == EXTENT_ZERO ? "zero" : "data");
    }
    return buf_take(&out);
}

static void check_delta(int base, int map, int fd, const char *want)
{
    _cleanup_free_ char *seen = delta_of(base, map, fd);
    assert_string_equal(seen ? seen : "", want);
}

/* What a map takes goes by the data, not by the size; so does the time, but for which this test would not
 * end. */
static void test_huge(void **state)
{
    _cleanup_close_ int fd = file_of(HUGE_SIZE);
    if (fd < 0)
        return;
    put(fd, 5 * BLOCKMAP_BLOCK + 7, "a");
    put(fd, HUGE_SIZE / 2, "b");
    put(fd, HUGE_SIZE - 1, "c");
    _cleanup_close_ int first = map_of(fd, HUGE_SIZE);
    struct stat st;
    assert_int_equal(fstat(first, &st), 0);
    assert_in_range(st.st_blocks * 512, 1, 1 << 20);
    assert_int_equal(differs(first, fd), 0);
    check_delta(-1, first, fd, "5+65536 data 125829120+65536 data 251658239+65536 data ");
    put(fd, HUGE_SIZE / 4, "d");
    assert_int_equal(differs(first, fd), 1);
    assert_int_equal(pwrite(fd, "", 1, (off_t)(HUGE_SIZE / 2)), 1);
    _cleanup_close_ int second = map_of(fd, HUGE_SIZE);
    check_delta(first, second, fd, "62914560+65536 data 125829120+65536 zero ");
    _cleanup_close_ int copy = file_of(0);
    ok(blockmap_duplicate(second, copy, "the map", &err));
    assert_int_equal(fstat(copy, &st), 0);
    assert_in_range(st.st_blocks * 512, 1, 1 << 20);
    assert_int_equal(differs(copy, fd), 0);
    check_delta(copy, second, fd, "");
}

/* As version 1 wrote it: each block has its digest. */
static int former_map(int fd, uint64_t size)
{
    struct {
        char magic[8];
        uint32_t version, block;
        uint64_t size, reserved;
    } h = {"PVESRMAP", 1, BLOCKMAP_BLOCK, size, 0};
    memcpy(h.magic, "PVESRMAP", 8);
    int map = file_of(0);
    off_t at = sizeof h;
    struct blockreader r;
    assert_int_equal(pwrite(map, &h, sizeof h, 0), sizeof h);
    blockreader_init(&r, fd, size, "the file");
    for (uint64_t offset = 0; offset < size; offset += BLOCKMAP_BLOCK, at += sizeof(struct digest)) {
        struct digest digest;
        bool zero;
        ok(blockreader_read(&r, offset, &zero, &digest, &err));
        assert_int_equal(pwrite(map, &digest, sizeof digest, at), sizeof digest);
    }
    blockreader_release(&r);
    return map;
}

/* Digests that got lost read as those of zeros: none may be taken for one. */
static void test_lost_digests(void **state)
{
    static const struct {
        uint64_t at, n;
    } lost[] = {{32, 16}, {32 + 16 * 5, 16}, {32 + 16 * 10, 16}, {32, 11 * 16}, {24, 8}};
    static const char zeros[11 * 16];
    int fd = file_of(SMALL_SIZE);
    (void)state;
    for (uint64_t at = 0; at < SMALL_SIZE; at += BLOCKMAP_BLOCK)
        put(fd, at, "data");
    for (size_t i = 0; i < ELEMENTS(lost); i++) {
        int map_fd = map_of(fd, SMALL_SIZE);
        _cleanup_(blockmap_freep) struct blockmap *m = blockmap_open(map_fd, "the map", &err);
        assert_non_null(m);
        ok(blockmap_prove(m, NULL, &err));
        assert_int_equal(pwrite(map_fd, zeros, lost[i].n, (off_t)lost[i].at), lost[i].n);
        _cleanup_(blockmap_freep) struct blockmap *again = blockmap_open(map_fd, "the map", &err);
        assert_non_null(again);
        assert_int_equal(blockmap_prove(again, NULL, &err), -1);
        assert_int_equal(err.kind, ERR_DATA);
        close(map_fd);
    }
    close(fd);
}

static void test_former_version(void **state)
{
    _cleanup_close_ int fd = file_of(SMALL_SIZE);
    put(fd, 2 * BLOCKMAP_BLOCK, "a");
    put(fd, 6 * BLOCKMAP_BLOCK, "b");
    _cleanup_close_ int former = former_map(fd, SMALL_SIZE);
    _cleanup_close_ int same = map_of(fd, SMALL_SIZE);
    assert_int_equal(differs(former, fd), 0);
    check_delta(former, same, fd, "");
    check_delta(same, former, fd, "");
    _cleanup_close_ int copy = file_of(0);
    ok(blockmap_duplicate(former, copy, "the map", &err));
    assert_int_equal(differs(copy, fd), 0);
    put(fd, SMALL_SIZE - 1, "c");
    assert_int_equal(differs(former, fd), 1);
    assert_int_equal(differs(copy, fd), 1);
    _cleanup_close_ int after = map_of(fd, SMALL_SIZE);
    check_delta(former, after, fd, "10+100 data ");
}

/* What is behind the end of the base reads as zeros there; what is behind the new end is not looked at. */
static void test_other_size(void **state)
{
    _cleanup_close_ int fd = file_of(SMALL_SIZE);
    put(fd, 2 * BLOCKMAP_BLOCK, "a");
    _cleanup_close_ int small = map_of(fd, SMALL_SIZE);
    assert_int_equal(ftruncate(fd, 40 * BLOCKMAP_BLOCK), 0);
    _cleanup_close_ int grown = map_of(fd, 40 * BLOCKMAP_BLOCK);
    check_delta(small, grown, fd, "");
    put(fd, 30 * BLOCKMAP_BLOCK, "b");
    _cleanup_close_ int more = map_of(fd, 40 * BLOCKMAP_BLOCK);
    check_delta(small, more, fd, "30+65536 data ");
    assert_int_equal(ftruncate(fd, SMALL_SIZE), 0);
    check_delta(more, small, fd, "");
    assert_int_equal(differs(more, fd), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_huge),
        cmocka_unit_test(test_lost_digests),
        cmocka_unit_test(test_former_version),
        cmocka_unit_test(test_other_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
