#include "wire/frame.h"

#include "base/mem.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <xxhash.h>
#include <zstd.h>

#include <cmocka.h>

/* A frame made by hand, its digest right whatever the rest says. */
static size_t raw_frame(uint8_t *to, uint32_t len, unsigned type, unsigned flags, const void *payload,
                        size_t n)
{
    _cleanup_free_ uint8_t *digested = xcalloc(1, 8 + n);
    put_u32(digested, len);
    digested[4] = (uint8_t)type;
    digested[5] = (uint8_t)flags;
    digested[6] = (uint8_t)(flags >> 8);
    digested[7] = (uint8_t)(flags >> 16);
    if (n)
        memcpy(digested + 8, payload, n);
    memcpy(to, digested, 8);
    put_u64(to + 8, XXH3_64bits(digested, 8 + n));
    if (n)
        memcpy(to + 16, payload, n);
    return 16 + n;
}

static void close_channel(struct channel *c, int in, int out)
{
    channel_free(c);
    close(in);
    if (out != in)
        close(out);
}

/* The result of reading all frames: 1 at a clean end; *n counts them. */
static int read_all(const void *data, size_t len, size_t *n, struct err *e)
{
    int r;
    struct frame f;
    int fd = memfd_create("frames", MFD_CLOEXEC), null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    assert_int_equal(write(fd, data, len), len);
    lseek(fd, 0, SEEK_SET);
    struct channel *c = channel_new(fd, null, 5);
    for (*n = 0; (r = frame_read(c, &f, e)) == 0;)
        (*n)++;
    close_channel(c, fd, null);
    return r;
}

struct pair {
    int fd[2];
    struct channel *a, *b;
};

static void pair_open(struct pair *p, double timeout)
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, p->fd), 0);
    p->a = channel_new(p->fd[0], p->fd[0], timeout);
    p->b = channel_new(p->fd[1], p->fd[1], timeout);
}

static void pair_close(struct pair *p)
{
    channel_free(p->a);
    channel_free(p->b);
    close(p->fd[0]);
    close(p->fd[1]);
}

static void fill_bytes(uint8_t *p, size_t n, uint32_t seed)
{
    for (size_t i = 0; i < n; i++) {
        seed = seed * 1664525 + 1013904223;
        p[i] = (uint8_t)(seed >> 24);
    }
}

static void test_travels(void **state)
{
    static const struct {
        enum frame_type type;
        size_t na, nb;
        bool compress;
    } cases[] = {{FRAME_HELLO, 2, 0, false},         {FRAME_CALL, 70000, 10, false},
                 {FRAME_REPLY, FRAME_MAX, 0, false}, {FRAME_ERROR, 100, 100, true},
                 {FRAME_DATA, 8, 1 << 20, false},    {FRAME_DATA, 8, 1 << 20, true},
                 {FRAME_DATA, 8, 1, true},           {FRAME_ZERO, 16, 0, true},
                 {FRAME_FEED, 0, 0, false},          {FRAME_FEED, 65536, 65536, true},
                 {FRAME_END, 32, 0, false},          {FRAME_NOTE, 65536, 0, true},
                 {FRAME_REPLY, 1000, 1000000, true}};
    static const bool zeroes[] = {false, true};
    (void)state;
    for (size_t i = 0; i < ELEMENTS(cases); i++)
        for (size_t z = 0; z < 2; z++) {
            size_t n = cases[i].na + cases[i].nb;
            _cleanup_free_ uint8_t *data = xcalloc(1, n + 1);
            struct err e;
            struct frame f;
            int fds[2];
            if (!zeroes[z])
                fill_bytes(data, n, (uint32_t)i);
            assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
            pid_t pid = fork();
            if (pid == 0) {
                struct channel *c = channel_new(fds[0], fds[0], 20);
                bool ok = frame_write(c, cases[i].type, data, cases[i].na, data + cases[i].na, cases[i].nb,
                                      cases[i].compress, &e) == 0 &&
                          channel_flush(c, &e) == 0;
                bool smaller = channel_sent(c) < n + FRAME_HEADER;
                bool expect = cases[i].compress && zeroes[z] && n > 128;
                _exit(ok && smaller == expect ? 0 : 1);
            }
            close(fds[0]);
            struct channel *c = channel_new(fds[1], fds[1], 20);
            assert_int_equal(frame_read(c, &f, &e), 0);
            assert_int_equal(f.type, cases[i].type);
            assert_int_equal(f.len, n);
            if (n)
                assert_memory_equal(f.payload, data, n);
            assert_int_equal(frame_read(c, &f, &e), 1);
            close_channel(c, fds[1], fds[1]);
            int status;
            waitpid(pid, &status, 0);
            assert_int_equal(status, 0);
        }
}

static void test_refuses_to_send(void **state)
{
    static const struct {
        enum frame_type type;
        size_t n;
    } cases[] = {{FRAME_HELLO, 1},
                 {FRAME_CALL, FRAME_MAX + 1},
                 {FRAME_DATA, 7},
                 {FRAME_DATA, (1 << 20) + 17},
                 {FRAME_FEED, (1 << 20) + 17},
                 {FRAME_ZERO, 15},
                 {FRAME_END, 33},
                 {FRAME_NOTE, 65537},
                 {0, 0},
                 {FRAME_ALIVE, 1},
                 {(enum frame_type)(FRAME_NOTE + 1), 0}};
    (void)state;
    _cleanup_free_ uint8_t *data = xcalloc(1, FRAME_MAX + 1);
    struct pair p;
    pair_open(&p, 5);
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct err e = {0};
        assert_int_equal(frame_write(p.a, cases[i].type, data, cases[i].n, NULL, 0, false, &e), -1);
        assert_int_equal(e.kind, ERR_DATA);
    }
    pair_close(&p);
}

static size_t squeezed_frame(uint8_t *to, unsigned type, uint32_t promised, const void *data, size_t n,
                             size_t cut)
{
    uint8_t payload[4096];
    put_u32(payload, promised);
    size_t len = ZSTD_compress(payload + 4, sizeof payload - 4, data, n, 1);
    assert_false(ZSTD_isError(len));
    len += 4 - cut;
    return raw_frame(to, (uint32_t)len, type, 1, payload, len);
}

static void test_lies(void **state)
{
    /* The digest is right in all of them: what is checked is what the header says. */
    static const struct {
        uint32_t len;
        unsigned type, flags;
        size_t n;
        bool ok;
    } cases[] = {
        {16, FRAME_ZERO, 0, 16, true},
        {15, FRAME_ZERO, 0, 15, false},
        {17, FRAME_ZERO, 0, 17, false},
        {0, FRAME_ALIVE, 0, 0, true},
        {1, FRAME_ALIVE, 0, 1, false},
        {31, FRAME_END, 0, 31, false},
        {32, FRAME_END, 0, 32, true},
        {7, FRAME_DATA, 0, 7, false},
        {0, 0, 0, 0, false},
        {0, FRAME_NOTE + 1, 0, 0, false},
        {0, 255, 0, 0, false},
        {2, FRAME_CALL, 2, 2, false},
        {2, FRAME_CALL, 0x80, 2, false},
        {2, FRAME_CALL, 0x100, 2, false},
        {2, FRAME_CALL, 0x10000, 2, false},
        {1, FRAME_CALL, 0, 1, false},
        {16, FRAME_ZERO, 1, 16, false},
        {0, FRAME_ALIVE, 1, 0, false},
        {4, FRAME_CALL, 1, 4, false},
        {20, FRAME_CALL, 1, 20, false},
        {FRAME_MAX + 1, FRAME_CALL, 0, 16, false},
        {0xffffffff, FRAME_CALL, 0, 16, false},
        {0xfffffff0, FRAME_DATA, 0, 16, false},
        {(1 << 20) + 17, FRAME_DATA, 0, 16, false},
        {(1 << 20) + 17, FRAME_FEED, 1, 16, false},
        {65537, FRAME_NOTE, 0, 16, false},
    };
    (void)state;
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        uint8_t payload[64] = {0}, frame[128];
        struct err e = {0};
        size_t n, len = raw_frame(frame, cases[i].len, cases[i].type, cases[i].flags, payload, cases[i].n);
        int r = read_all(frame, len, &n, &e);
        if (r != (cases[i].ok ? 1 : -1) || (r < 0 && e.kind != ERR_DATA))
            fail_msg("case %zu: %d %s", i, r, e.text);
    }
}

static void test_compressed_lies(void **state)
{
    static const struct {
        unsigned type;
        uint32_t promised;
        size_t real, cut;
        bool ok;
    } cases[] = {
        {FRAME_DATA, 2000, 2000, 0, true},
        {FRAME_DATA, 1999, 2000, 0, false},
        {FRAME_DATA, 2001, 2000, 0, false},
        {FRAME_DATA, 2000, 2000, 1, false},
        {FRAME_DATA, 7, 7, 0, false},
        {FRAME_DATA, (1 << 20) + 17, (1 << 20) + 17, 0, false},
        {FRAME_DATA, (1 << 20) + 16, (1 << 20) + 16, 0, true},
        {FRAME_DATA, 1 << 20, 64 << 20, 0, false}, /* a bomb */
        {FRAME_NOTE, 0, 0, 0, true},
        {FRAME_NOTE, 65537, 65537, 0, false},
        {FRAME_REPLY, 0xffffffff, 100, 0, false},
        {FRAME_REPLY, FRAME_MAX, FRAME_MAX, 0, true},
        {FRAME_ZERO, 16, 16, 0, false},
    };
    (void)state;
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        _cleanup_free_ uint8_t *data = xcalloc(1, cases[i].real + 1);
        uint8_t frame[8192];
        struct err e = {0};
        size_t n,
            len = squeezed_frame(frame, cases[i].type, cases[i].promised, data, cases[i].real, cases[i].cut);
        int r = read_all(frame, len, &n, &e);
        if (r != (cases[i].ok ? 1 : -1) || (r < 0 && e.kind != ERR_DATA))
            fail_msg("case %zu: %d %s", i, r, e.text);
    }
}

static size_t sample(uint8_t *to)
{
    static const char zeroes[600];
    size_t n = raw_frame(to, 20, FRAME_CALL, 0, "{\"do\":\"something\"} \n", 20);
    n += raw_frame(to + n, 0, FRAME_ALIVE, 0, NULL, 0);
    n += raw_frame(to + n, 16, FRAME_ZERO, 0, "0123456789abcdef", 16);
    n += squeezed_frame(to + n, FRAME_DATA, sizeof zeroes, zeroes, sizeof zeroes, 0);
    return n;
}

static void test_each_byte_damaged(void **state)
{
    uint8_t good[1024], bad[1024];
    size_t n, len = sample(good);
    struct err e;
    (void)state;
    assert_int_equal(read_all(good, len, &n, &e), 1);
    assert_int_equal(n, 3); /* ALIVE is skipped */
    for (size_t i = 0; i < len; i++)
        for (int bit = 0; bit < 8; bit++) {
            memcpy(bad, good, len);
            bad[i] ^= (uint8_t)(1 << bit);
            if (read_all(bad, len, &n, &e) != -1)
                fail_msg("byte %zu bit %d: not noticed", i, bit);
        }
}

static void test_each_truncation(void **state)
{
    uint8_t good[1024];
    size_t n, len = sample(good), boundaries = 0;
    struct err e;
    (void)state;
    for (size_t cut = 0; cut <= len; cut++) {
        int r = read_all(good, cut, &n, &e);
        boundaries += r == 1;
        if (r == -1)
            assert_int_equal(e.kind, ERR_NETWORK);
    }
    assert_int_equal(boundaries, 5); /* before each of the four frames and at the end */
}

static void test_silent_peer(void **state)
{
    struct pair p;
    struct frame f;
    struct err e = {0};
    (void)state;
    pair_open(&p, 5);
    channel_set_timeout(p.a, 0.05);
    assert_int_equal(frame_read(p.a, &f, &e), -1);
    assert_int_equal(e.kind, ERR_NETWORK);
    assert_non_null(strstr(e.text, "said nothing"));
    /* Half a frame and then silence. */
    assert_int_equal(write(p.fd[1], "\2\0\0\0", 4), 4);
    assert_int_equal(frame_read(p.a, &f, &e), -1);
    assert_int_equal(e.kind, ERR_NETWORK);
    pair_close(&p);
}

static void test_peer_takes_nothing(void **state)
{
    struct pair p;
    struct err e = {0};
    int r = 0;
    _cleanup_free_ uint8_t *data = xcalloc(1, 1 << 20);
    (void)state;
    pair_open(&p, 5);
    channel_set_timeout(p.a, 0.05);
    for (int i = 0; i < 64 && r == 0; i++)
        r = frame_write(p.a, FRAME_DATA, data, 8, data, 1 << 20, false, &e);
    assert_int_equal(r, -1);
    assert_int_equal(e.kind, ERR_NETWORK);
    assert_non_null(strstr(e.text, "took no data"));
    pair_close(&p);
}

static void test_peer_gone(void **state)
{
    struct pair p;
    struct frame f;
    struct err e = {0};
    (void)state;
    pair_open(&p, 5);
    /* It said why before it hung up: that can still be read after our write failed. */
    assert_int_equal(frame_write(p.b, FRAME_ERROR, "{}", 2, NULL, 0, false, &e), 0);
    assert_int_equal(channel_flush(p.b, &e), 0);
    shutdown(p.fd[1], SHUT_RDWR);
    assert_int_equal(frame_write(p.a, FRAME_CALL, "{}", 2, NULL, 0, false, &e), 0);
    assert_int_equal(channel_flush(p.a, &e), -1);
    assert_int_equal(e.kind, ERR_NETWORK);
    assert_int_equal(frame_read(p.a, &f, &e), 0);
    assert_int_equal(f.type, FRAME_ERROR);
    assert_int_equal(frame_read(p.a, &f, &e), 1);
    pair_close(&p);
}

#define BOTH_WAYS 3

/* Both peers send more than the kernel takes before either reads. */
static int send_then_receive(int fd, uint32_t mine, uint32_t theirs)
{
    struct err e;
    struct frame f;
    struct channel *c = channel_new(fd, fd, 20);
    _cleanup_free_ uint8_t *data = xmalloc(1 << 20);
    int bad = 0;
    for (uint32_t i = 0; i < BOTH_WAYS; i++) {
        fill_bytes(data, 1 << 20, mine + i);
        bad |= frame_write(c, FRAME_FEED, data, 1 << 20, NULL, 0, false, &e) != 0;
    }
    bad |= channel_flush(c, &e) != 0;
    for (uint32_t i = 0; i < BOTH_WAYS && !bad; i++) {
        fill_bytes(data, 1 << 20, theirs + i);
        bad |= frame_read(c, &f, &e) != 0 || f.len != 1 << 20 || memcmp(f.payload, data, 1 << 20) != 0;
    }
    channel_free(c);
    return bad;
}

static void test_both_ways_at_once(void **state)
{
    int fds[2], status = -1;
    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    pid_t pid = fork();
    if (pid == 0) {
        close(fds[0]);
        _exit(send_then_receive(fds[1], 100, 200));
    }
    close(fds[1]);
    assert_int_equal(send_then_receive(fds[0], 200, 100), 0);
    waitpid(pid, &status, 0);
    assert_int_equal(status, 0);
    close(fds[0]);
}

/* A frame that was read stays as it is while we write and the peer floods us. */
static void test_payload_survives_writes(void **state)
{
    struct pair p;
    struct frame f;
    struct err e;
    (void)state;
    pair_open(&p, 5);
    channel_set_timeout(p.a, 0.05);
    assert_int_equal(frame_write(p.b, FRAME_CALL, "{\"a\":1}", 7, NULL, 0, false, &e), 0);
    assert_int_equal(channel_flush(p.b, &e), 0);
    assert_int_equal(frame_read(p.a, &f, &e), 0);
    int r = 0;
    _cleanup_free_ uint8_t *data = xcalloc(1, 1 << 20);
    assert_int_equal(frame_write(p.b, FRAME_NOTE, data, 60000, NULL, 0, false, &e), 0);
    assert_int_equal(channel_flush(p.b, &e), 0);
    for (int i = 0; i < 64 && r == 0; i++)
        r = frame_write(p.a, FRAME_FEED, data, 1 << 20, NULL, 0, true, &e);
    for (int i = 0; i < 64 && r == 0; i++)
        r = frame_write(p.a, FRAME_FEED, data, 1 << 20, NULL, 0, false, &e);
    assert_int_equal(r, -1);
    assert_memory_equal(f.payload, "{\"a\":1}", 7);
    assert_int_equal(frame_read(p.a, &f, &e), 0);
    assert_int_equal(f.len, 60000);
    pair_close(&p);
}

/* A question that was only queued goes out when the answer is waited for. */
static void test_read_flushes(void **state)
{
    struct pair p;
    struct frame f;
    struct err e;
    (void)state;
    pair_open(&p, 5);
    channel_set_timeout(p.a, 0.05);
    assert_int_equal(frame_write(p.a, FRAME_CALL, "{}", 2, NULL, 0, false, &e), 0);
    assert_int_equal(frame_read(p.a, &f, &e), -1);
    assert_int_equal(frame_read(p.b, &f, &e), 0);
    assert_int_equal(f.type, FRAME_CALL);
    pair_close(&p);
}

static bool seen(void *arg)
{
    int *fd = arg;
    char c;
    if (read(*fd, &c, 1) == 1)
        return true;
    *fd = -1;
    return false;
}

static void test_watch(void **state)
{
    struct pair p;
    struct frame f;
    struct err e;
    int side[2], fd;
    (void)state;
    assert_int_equal(pipe2(side, O_CLOEXEC), 0);
    pair_open(&p, 5);
    channel_set_timeout(p.a, 0.1);
    fd = side[0];
    channel_watch(p.a, side[0], seen, &fd);
    assert_int_equal(write(side[1], "xy", 2), 2);
    close(side[1]);
    assert_int_equal(frame_read(p.a, &f, &e), -1);
    assert_int_equal(fd, -1);
    close(side[0]);
    pair_close(&p);
}

static void test_digest(void **state)
{
    static const struct {
        enum frame_type type;
        uint64_t offset, length;
        const char *data;
    } base = {FRAME_DATA, 4096, 4, "abcd"}, others[] = {{FRAME_FEED, 4096, 4, "abcd"},
                                                        {FRAME_DATA, 4097, 4, "abcd"},
                                                        {FRAME_DATA, 4096, 3, "abcd"},
                                                        {FRAME_DATA, 4096, 4, "abce"},
                                                        {FRAME_ZERO, 4096, 4, NULL}};
    uint8_t first[16], other[16];
    (void)state;
    struct transfer_digest *d = transfer_digest_new();
    transfer_digest_add(d, base.type, base.offset, base.length, base.data);
    transfer_digest_final(d, first);
    transfer_digest_add(d, base.type, base.offset, base.length, base.data);
    transfer_digest_final(d, other);
    assert_memory_not_equal(first, other, 16); /* once is not twice */
    transfer_digest_free(d);
    for (size_t i = 0; i < ELEMENTS(others); i++) {
        d = transfer_digest_new();
        transfer_digest_add(d, others[i].type, others[i].offset, others[i].length, others[i].data);
        transfer_digest_final(d, other);
        transfer_digest_free(d);
        assert_memory_not_equal(first, other, 16);
    }
    /* Sixteen bytes, little endian, as docs/PROTOCOL.md says. */
    uint8_t expect[16];
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, XXH3_128bits("", 0));
    for (int i = 0; i < 16; i++)
        expect[i] = canonical.digest[15 - i];
    d = transfer_digest_new();
    transfer_digest_final(d, other);
    transfer_digest_free(d);
    assert_memory_equal(other, expect, 16);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_travels),
        cmocka_unit_test(test_refuses_to_send),
        cmocka_unit_test(test_lies),
        cmocka_unit_test(test_compressed_lies),
        cmocka_unit_test(test_each_byte_damaged),
        cmocka_unit_test(test_each_truncation),
        cmocka_unit_test(test_silent_peer),
        cmocka_unit_test(test_peer_takes_nothing),
        cmocka_unit_test(test_peer_gone),
        cmocka_unit_test(test_both_ways_at_once),
        cmocka_unit_test(test_payload_survives_writes),
        cmocka_unit_test(test_read_flushes),
        cmocka_unit_test(test_watch),
        cmocka_unit_test(test_digest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
