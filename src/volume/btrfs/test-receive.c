/* Send streams made by hand: what they must do, and streams made to harm, which must be refused. The receiver
 * works on any directory, so no btrfs is needed. */
#include "volume/btrfs/receive.h"
#include "volume/stream/sendstream.h"

#include "base/mem.h"
#include "base/testfilter.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <endian.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char top[64]; /* holds "victim" and the receiver's root */
static int root = -1;
static struct err err;

static char wire[4096];
static size_t wire_len;

static void add(const void *data, size_t n)
{
    memcpy(wire + wire_len, data, n);
    wire_len += n;
}

static void add_command(unsigned command, const char *tlvs, size_t n)
{
    uint32_t len = htole32((uint32_t)n), crc = 0;
    uint16_t cmd = htole16((uint16_t)command);
    char *start = wire + wire_len;
    add(&len, 4);
    add(&cmd, 2);
    add(&crc, 4);
    add(tlvs, n);
    for (const char *p = start; p < wire + wire_len; p++) {
        crc ^= (uint8_t)*p;
        for (int i = 0; i < 8; i++)
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
    }
    crc = htole32(crc);
    memcpy(start + 6, &crc, 4);
}

static size_t tlv(char *to, unsigned type, const void *data, size_t n)
{
    uint16_t head[2] = {htole16((uint16_t)type), htole16((uint16_t)n)};
    memcpy(to, head, 4);
    memcpy(to + 4, data, n);
    return 4 + n;
}

static void add_text_command(unsigned command, const char *path, unsigned type, const void *data, size_t n)
{
    char t[512];
    size_t len = tlv(t, ATTR_PATH, path, strlen(path));
    if (type)
        len += tlv(t + len, type, data, n);
    if (command == SEND_WRITE) {
        uint64_t zero = 0;
        len += tlv(t + len, ATTR_FILE_OFFSET, &zero, 8);
    }
    add_command(command, t, len);
}

static const char good_id[16] = "0123456789abcdef";
#define GOOD_ID "30313233343536373839616263646566"

static void add_begin(const char id[16])
{
    char t[64];
    uint64_t transid = htole64(9);
    size_t n = tlv(t, ATTR_UUID, id, 16);
    n += tlv(t + n, ATTR_CTRANSID, &transid, 8);
    n += tlv(t + n, ATTR_PATH, "x", 1);
    add_command(SEND_SUBVOL, t, n);
}

static void begin_stream(const char id[16])
{
    wire_len = 0;
    add("btrfs-stream\0\1\0\0\0", 17);
    add_begin(id);
}

/* Into a fresh root, in pieces of `piece` bytes. 0 when it was taken whole. */
static int receive(size_t piece)
{
    char name[96];
    snprintf(name, sizeof name, "%s/rootXXXXXX", top);
    assert_non_null(mkdtemp(name));
    if (root >= 0)
        close(root);
    root = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct receiver *rx = receiver_new(root, GOOD_ID, -1, "");
    int r = 0;
    for (size_t i = 0; r == 0 && i < wire_len; i += piece)
        r = receiver_feed(rx, wire + i, wire_len - i < piece ? wire_len - i : piece, &err);
    if (r == 0 && !receiver_whole(rx))
        r = err_set(&err, ERR_DATA, 0, "cut off");
    receiver_free(rx);
    return r;
}

static void end_stream(void)
{
    add_command(SEND_END, "", 0);
}

static void check_refused(const char *what)
{
    struct stat st;
    char victim[96];
    snprintf(victim, sizeof victim, "%s/victim", top);
    if (receive(7) != -1)
        fail_msg("%s was taken", what);
    assert_int_equal(err.kind, ERR_DATA);
    assert_int_equal(stat(victim, &st), 0);
    assert_int_equal(st.st_size, 4);
    print_message("  %s: %s\n", what, err.text);
}

static void test_good(void **state)
{
    static const size_t pieces[] = {1, 7, 4096};
    for (size_t i = 0; i < ELEMENTS(pieces); i++) {
        char data[8] = "";
        begin_stream(good_id);
        add_text_command(SEND_MKDIR, "d", 0, NULL, 0);
        add_text_command(SEND_MKFILE, "d/f", 0, NULL, 0);
        add_text_command(SEND_WRITE, "d/f", ATTR_DATA, "data", 4);
        add_text_command(SEND_RENAME, "d/f", ATTR_PATH_TO, "g", 1);
        add_text_command(SEND_RMDIR, "d", 0, NULL, 0);
        add_text_command(SEND_SYMLINK, "l", ATTR_PATH_LINK, "g", 1);
        end_stream();
        if (receive(pieces[i]) < 0)
            fail_msg("%s", err.text);
        int fd = openat(root, "l", O_RDONLY | O_CLOEXEC);
        assert_int_equal(read(fd, data, sizeof data), 4);
        assert_string_equal(data, "data");
        close(fd);
        assert_int_equal(faccessat(root, "d", F_OK, 0), -1);
    }
}

static void test_broken(void **state)
{
    wire_len = 0;
    add("not a stream at all", 19);
    check_refused("something else");

    begin_stream(good_id);
    wire[13] = 2;
    check_refused("another version");

    begin_stream("another id......");
    end_stream();
    check_refused("another identity");

    begin_stream(good_id);
    add_begin(good_id);
    check_refused("two subvolumes");

    wire_len = 0;
    add("btrfs-stream\0\1\0\0\0", 17);
    add_text_command(SEND_MKDIR, "d", 0, NULL, 0);
    check_refused("a command before the beginning");

    begin_stream(good_id);
    add_text_command(SEND_MKFILE, "f", 0, NULL, 0);
    check_refused("a stream without an end");

    begin_stream(good_id);
    add_text_command(SEND_MKDIR, "d", 0, NULL, 0);
    wire[wire_len - 1] ^= 1;
    end_stream();
    check_refused("a damaged command");

    begin_stream(good_id);
    end_stream();
    add("more", 4);
    check_refused("bytes after the end");

    begin_stream(good_id);
    add("\xff\xff\xff\x7f\x0f\0\0\0\0\0", 10);
    check_refused("a command of 2 GiB");

    begin_stream(good_id);
    add_command(SEND_MKDIR, "\x0f\0\xff\xff", 4);
    check_refused("an attribute that is longer than its command");

    begin_stream(good_id);
    add_command(SEND_MKDIR, "\x0f\0\3\0a\0b", 7);
    check_refused("a name with a NUL");

    begin_stream(good_id);
    add_command(SEND_WRITE, "", 0);
    check_refused("a command without its attributes");
}

static void begin_flags(uint64_t ino, const char *path)
{
    struct buf command = BUF_INIT;
    if (ino == 1) {
        wire_len = 0;
        add("btrfs-stream\0\1\0\0\0", 17);
    }
    send_add_fileattr(&command, ino, 1 << 6, path);
    add(command.data, command.len);
    buf_release(&command);
}

/* The flags of files come before all else, in order, and are of files in the subvolume. */
static void test_flags(void **state)
{
    begin_flags(1, "f");
    add_begin(good_id);
    end_stream();
    check_refused("no file of that name");

    begin_flags(1, NULL);
    begin_flags(3, NULL);
    begin_flags(2, NULL);
    add_begin(good_id);
    end_stream();
    check_refused("inodes out of order");

    begin_stream(good_id);
    begin_flags(2, "f");
    end_stream();
    check_refused("flags in the middle");

    static const char *const paths[] = {"../victim", "link", "dir/victim", "fifo"};
    char victim[96];
    snprintf(victim, sizeof victim, "%s/victim", top);
    for (size_t i = 0; i < ELEMENTS(paths); i++) {
        begin_flags(1, paths[i]);
        add_begin(good_id);
        add_text_command(SEND_SYMLINK, "link", ATTR_PATH_LINK, victim, strlen(victim));
        add_text_command(SEND_SYMLINK, "dir", ATTR_PATH_LINK, top, strlen(top));
        end_stream();
        check_refused(paths[i]);
    }
}

static void test_hostile(void **state)
{
    char victim[96];
    snprintf(victim, sizeof victim, "%s/victim", top);
    begin_stream(good_id);
    add_text_command(SEND_SYMLINK, "link", ATTR_PATH_LINK, victim, strlen(victim));
    add_text_command(SEND_WRITE, "link", ATTR_DATA, "evil", 4);
    end_stream();
    check_refused("a write through a symlink");

    begin_stream(good_id);
    add_text_command(SEND_MKDIR, "fifo-dir", 0, NULL, 0);
    add_text_command(SEND_WRITE, "fifo-dir", ATTR_DATA, "evil", 4);
    end_stream();
    check_refused("a write to what is no file");

    begin_stream(good_id);
    add_text_command(SEND_SYMLINK, "dir", ATTR_PATH_LINK, top, strlen(top));
    add_text_command(SEND_UNLINK, "dir/victim", 0, NULL, 0);
    end_stream();
    check_refused("a removal through a symlink");

    static const char *const paths[] = {"../victim", "..", "/etc/victim", "a/../../victim", "./.", "f/"};
    for (size_t i = 0; i < ELEMENTS(paths); i++) {
        begin_stream(good_id);
        add_text_command(SEND_MKDIR, "a", 0, NULL, 0);
        add_text_command(SEND_MKFILE, "f", 0, NULL, 0);
        add_text_command(SEND_UNLINK, paths[i], 0, NULL, 0);
        end_stream();
        check_refused(paths[i]);
    }
}

static int setup(void **state)
{
    strcpy(top, "/tmp/pvesr-test-XXXXXX");
    assert_non_null(mkdtemp(top));
    char victim[96];
    snprintf(victim, sizeof victim, "%s/victim", top);
    int fd = open(victim, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(write(fd, "safe", 4), 4);
    close(fd);
    return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *f)
{
    return remove(path);
}

static int teardown(void **state)
{
    if (root >= 0)
        close(take_fd(&root));
    return nftw(top, remove_one, 16, FTW_PHYS | FTW_DEPTH);
}

/* For good, so it is the last. */
static void test_without_openat2(void **state)
{
    if (!forbid_openat2(ENOSYS))
        skip();
    test_good(state);
    test_broken(state);
    test_hostile(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),    cmocka_unit_test(test_broken),          cmocka_unit_test(test_flags),
        cmocka_unit_test(test_hostile), cmocka_unit_test(test_without_openat2),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
