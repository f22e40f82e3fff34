/* A target that lies about what it reads, or is of an older version, and one that tells the truth. */
#include "run/source/compare.h"

#include "base/fs.h"
#include "base/proc.h"
#include "run/message.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <cmocka.h>

#define SIZE (40 * (int)DIGEST_BLOCK + 1000)

enum lie {
    TRUTH,
    OTHER_BLOCK,  /* one digest differs */
    SHORTER,      /* fewer blocks than there are */
    LONGER,       /* a larger volume */
    WANTED,       /* somebody needs it */
    OTHER_OFFSET, /* lies about the protocol from here on */
    TOO_MANY,
    HALF_A_DIGEST,
    OTHER_FRAME,
    NO_REPLY,
    BAD_SIZE,
    ERROR,
};

static char dir[64];
static unsigned char data[SIZE];

static int setup(void **state)
{
    (void)state;
    struct err e = {0};
    strcpy(dir, "/var/tmp/pvesr-compare-XXXXXX");
    assert_non_null(mkdtemp(dir));
    _cleanup_free_ char *folder = xasprintf("%s/images/100", dir);
    assert_int_equal(fs_mkdir_p(folder, 0755, &e), 0);
    for (size_t i = 0; i < SIZE; i++)
        data[i] = i / DIGEST_BLOCK % 3 ? (unsigned char)(i * 2654435761u >> 13) : 0;
    _cleanup_free_ char *path = xasprintf("%s/vm-100-disk-0.raw", folder);
    assert_int_equal(fs_write_atomic(path, (char *)data, SIZE, 0644, &e), 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    struct err e = {0};
    char *argv[] = {(char *)"rm", (char *)"-rf", dir, NULL};
    return proc_check(argv, NULL, NULL, &e);
}

static size_t digests(uint64_t offset, uint64_t blocks, enum lie lie, uint8_t *out)
{
    size_t n = 0;
    for (uint64_t at = offset; n < blocks && at < SIZE; at += DIGEST_BLOCK, n++)
        digest_of(data + at, block_length(SIZE, at), (struct digest *)(void *)(out + 8 + 16 * n));
    put_u64(out, lie == OTHER_OFFSET ? offset + DIGEST_BLOCK : offset);
    if (lie == OTHER_BLOCK)
        out[8 + 16 * 7] ^= 1;
    if (lie == WANTED)
        n = 0;
    return 8 +
           16 * (lie == SHORTER    ? n - 2
                 : lie == TOO_MANY ? FRAME_DIGESTS_MAX
                                   : n) +
           (lie == HALF_A_DIGEST ? 8 : 0);
}

static void answer(struct channel *c, const json_t *call, enum lie lie)
{
    static uint8_t out[8 + 16 * FRAME_DIGESTS_MAX + 8];
    struct err e = {.kind = ERR_GONE, .text = "it went away"};
    uint64_t offset, blocks;
    if (message_u64(call, "offset", &offset, &e) < 0 || message_u64(call, "blocks", &blocks, &e) < 0)
        _exit(2);
    if (lie == ERROR) {
        message_send(c, FRAME_ERROR, message_error(&e), &e);
        return;
    }
    size_t n = digests(offset, blocks, lie, out);
    frame_write(c, lie == OTHER_FRAME ? FRAME_FEED : FRAME_DIGESTS, out, n, NULL, 0, false, &e);
    json_int_t size = SIZE + (lie == LONGER) * 4096 - (lie == SHORTER) * 4096;
    if (lie == BAD_SIZE)
        size = -1;
    if (lie == NO_REPLY)
        channel_flush(c, &e);
    else
        message_send(c, FRAME_REPLY,
                     json_pack("{s:I, s:b, s:s}", "size", size, "wanted", lie == WANTED, "bad",
                               lie == OTHER_BLOCK ? "a bad\033[2J\nblock" : ""),
                     &e);
}

static void serve(int fd, enum lie lie)
{
    struct channel *c = channel_new(fd, fd, 20);
    struct frame f;
    struct err e = {0};
    while (frame_read(c, &f, &e) == 0) {
        json_t *o = message_parse(&f, &e);
        answer(c, o, lie);
        json_decref(o);
        if (lie == NO_REPLY)
            break;
    }
    channel_free(c);
    _exit(0);
}

struct played {
    int result;
    struct err e;
    char ranges[256], bad[256];
};

static void look(struct peer *p, struct volume *v, struct played *ret)
{
    struct rate rate;
    struct snapshot s = {.name = "point"};
    _cleanup_buf_ struct buf text = BUF_INIT;
    memset(s.id, 'a', SNAPSHOT_ID_LEN);
    struct compare c = {.peer = p, .rate = &rate, .volume = v, .snapshot = &s, .there = "st:x", .id = ""};
    rate_init(&rate, 0);
    c.snapshot = NULL; /* the live volume: nothing has to be made for it */
    ret->result = compare_volume(&c, &ret->e);
    ranges_print(&c.ranges, &text);
    snprintf(ret->ranges, sizeof ret->ranges, "%s", buf_str(&text));
    strcpy(ret->bad, c.bad);
    ranges_release(&c.ranges);
}

static struct played play(enum lie lie)
{
    struct played ret = {0};
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    pid_t pid = fork();
    if (pid == 0) {
        close(pair[0]);
        serve(pair[1], lie);
    }
    close(pair[1]);
    struct volume_store store = {.id = "st", .type = "dir", .path = dir};
    struct volume *v = volume_open(&store, "100/vm-100-disk-0.raw", &ret.e);
    assert_non_null(v);
    struct peer p = {.node = "pve2", .link.channel = channel_new(pair[0], pair[0], 20)};
    look(&p, v, &ret);
    volume_free(v);
    channel_free(p.link.channel);
    close(pair[0]);
    waitpid(pid, NULL, 0);
    return ret;
}

static const struct {
    enum lie lie;
    int result;
    const char *ranges, *error;
} cases[] = {
    {TRUTH, 0, "", ""},
    {OTHER_BLOCK, 0, "458752+65536", ""},
    {SHORTER, 0, "2555904+66536", ""},
    {LONGER, 0, "2622440+4096", ""},
    {WANTED, 1, "", ""},
    {OTHER_OFFSET, -1, "", "pve2: the answer is of other blocks"},
    {TOO_MANY, -1, "", "pve2: the answer is of other blocks"},
    {HALF_A_DIGEST, -1, "", "pve2: the answer is of other blocks"},
    {OTHER_FRAME, -1, "", "pve2: unexpected message of type 7"},
    {NO_REPLY, -1, "", ""},
    {BAD_SIZE, -1, "", "'size'"},
    {ERROR, -1, "", "it went away"},
};

static void test_lies(void **state)
{
    (void)state;
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct played p = play(cases[i].lie);
        if (p.result != cases[i].result || strcmp(p.ranges, cases[i].ranges) != 0 ||
            (p.result < 0) != (p.e.kind != ERR_NONE) || !strstr(p.e.text, cases[i].error))
            fail_msg("lie %d: %d, '%s', '%s'", (int)cases[i].lie, p.result, p.ranges, p.e.text);
        assert_string_equal(p.bad, cases[i].lie == OTHER_BLOCK ? "a bad?[2J block" : "");
    }
}

static void test_older(void **state)
{
    (void)state;
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    struct channel *theirs = channel_new(pair[1], pair[1], 20);
    struct peer p = {.node = "pve2", .link.channel = channel_new(pair[0], pair[0], 20)};
    struct err e = {0};
    _cleanup_strv_ struct strv volids = STRV_INIT;
    message_send(theirs, FRAME_REPLY, json_pack("{s:[], s:[]}", "volumes", "stale"), &e);
    assert_int_equal(peer_look(&p, "100-0", &volids, &volids, NULL, &e), -1);
    assert_int_equal(e.kind, ERR_CONFIG);
    assert_non_null(strstr(e.text, "node 'pve2' has an older version that cannot verify"));
    channel_free(theirs);
    channel_free(p.link.channel);
    close(pair[0]);
    close(pair[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(test_lies, setup, teardown),
                                       cmocka_unit_test(test_older)};
    return cmocka_run_group_tests_name("compare", tests, NULL, NULL);
}
