/* A target that lies: whatever it says, the source holds, logs and records a bounded amount of clean text, or
 * fails with a sentence of one line. */
#include "run/source/peer.h"

#include "base/fs.h"
#include "base/mem.h"
#include "base/testbrief.h"
#include "run/message.h"
#include "run/source/peer-hint.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#if defined(__SANITIZE_ADDRESS__)
#define MEMORY_MAX (1024u << 10)
#else
#define MEMORY_MAX (256u << 10) /* KiB of this process, ever */
#endif
#define REPLICA                                                                                              \
    "{\"exists\":false,\"stream\":false,\"many\":true,\"encrypts\":false,\"size\":0,\"available\":0,"        \
    "\"written\":false,\"owner\":\"\",\"base\":\"\",\"stage\":null,\"snapshots\":[]}"
#define ANSWER "{\"volumes\":[" REPLICA "],\"stale\":["
#define KEPT "],\"kept\":["

/* What the target answers to `open`: the piece again and again between head and tail, as often as it fits
 * into a frame of `type`, or `times`. */
struct lie {
    int line;
    enum frame_type type;
    const char *head, *piece, *join, *tail;
    size_t times;
    const char *want; /* in the error; NULL: it is no error */
};

#define TOO_MUCH "would take more than"
static const struct lie lies[] = {
    {__LINE__, FRAME_REPLY, ANSWER KEPT, "", "", "]}", 1, NULL},
    {__LINE__, FRAME_REPLY, ANSWER KEPT, "\"kept\\nOK\\u001b[A\\u202e\"", ",", "]}", 0, NULL},
    {__LINE__, FRAME_REPLY, ANSWER KEPT "],\"removed\":[", "\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\\ny\"", ",",
     "]}", 0, NULL},
    {__LINE__, FRAME_REPLY, ANSWER "\"st:1\\nst:2\"" KEPT, "", "", "]}", 1, "something else than names"},
    {__LINE__, FRAME_REPLY, ANSWER KEPT, "1", ",", "]}", 1, "something else than texts"},
    {__LINE__, FRAME_REPLY, ANSWER KEPT "],\"x\":[", "{}", ",", "]}", 0, TOO_MUCH},
    {__LINE__, FRAME_REPLY, "{\"volumes\":[", "{}", ",", "]}", 0, TOO_MUCH},
    {__LINE__, FRAME_REPLY, "{\"volumes\":[", REPLICA, ",", "]}", 513, "not a list of at most 512"},
    {__LINE__, FRAME_REPLY, "{\"volumes\":[", REPLICA, ",", "]}", 2, "asked about 2 volumes"},
    {__LINE__, FRAME_REPLY, "", "[", "", "", 0, TOO_MUCH},
    {__LINE__, FRAME_REPLY, "", "{\"a\":", "", "", 0, TOO_MUCH},
    {__LINE__, FRAME_REPLY, ANSWER, "\"st:1/vm-1-disk-0.raw\"", ",", "]}", 3, "twice"},
    {__LINE__, FRAME_ERROR, "{\"text\":\"", "x\\n100-1 Yes OK\\u001b[2J", "", "\"}", 0, "x 100-1 Yes OK?[2J"},
    {__LINE__, FRAME_ERROR, "{\"kind\":\"none\",\"removed\":[", "\"y\"", ",", "]}", 9, "does not say why"},
    {__LINE__, FRAME_HELLO, "", "", "", "", 1, "unexpected message"},
    {__LINE__, FRAME_NOTE, "", "", "", "", 1, "unexpected message"},
};

/* Compressed, so that the larger ones are a few hundred bytes on the line. */
static void answer(struct channel *c, const struct lie *l)
{
    struct err e = {0};
    struct frame f;
    _cleanup_buf_ struct buf b = BUF_INIT;
    if (frame_read(c, &f, &e) != 0 || f.type != FRAME_CALL)
        _exit(2);
    buf_adds(&b, l->head);
    size_t room = FRAME_MAX - strlen(l->tail) - strlen(l->piece) - 1;
    for (size_t i = 0; l->times ? i < l->times : b.len < room; i++) {
        buf_adds(&b, i ? l->join : "");
        buf_adds(&b, l->piece);
    }
    buf_adds(&b, l->tail);
    if (b.len < 2)
        buf_adds(&b, "{}");
    if (frame_write(c, l->type, b.data, b.len, NULL, 0, true, &e) < 0 || channel_flush(c, &e) < 0)
        _exit(3);
}

static pid_t start_target(const struct lie *l, size_t n, int *fd)
{
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    pid_t pid = fork();
    if (pid == 0) {
        close(pair[0]);
        struct channel *c = channel_new(pair[1], pair[1], 20);
        for (size_t i = 0; i < n; i++)
            answer(c, l);
        channel_free(c);
        _exit(0);
    }
    close(pair[1]);
    *fd = pair[0];
    return pid;
}

static int open_once(struct peer *p, struct strv *stale, struct err *e)
{
    const struct strv none = STRV_INIT;
    _cleanup_strv_ struct strv volids = STRV_INIT;
    struct replica r = {0};
    strv_add(&volids, "st:100/vm-100-disk-0.raw");
    int result = peer_open(p, "100-0", &volids, &none, &none, &r, stale, e);
    replica_release(&r);
    return result;
}

static void listen_to(const struct lie *l)
{
    int fd, status;
    struct err e = {0};
    _cleanup_strv_ struct strv stale = STRV_INIT;
    pid_t pid = start_target(l, 1, &fd);
    struct peer p = {.link.channel = channel_new(fd, fd, 20), .node = "pve2"};
    int r = open_once(&p, &stale, &e);
    if (l->want ? r == 0 || !strstr(e.text, l->want) : r < 0)
        fail_msg("line %d: %s", l->line, r < 0 ? e.text : "no error");
    assert_null(r < 0 ? strpbrk(e.text, "\n\033") : NULL);
    assert_true(p.kept.n <= PEER_KEPT_MAX);
    for (size_t i = 0; i < p.kept.n; i++)
        assert_true(!strpbrk(p.kept.v[i], "\n\033\xe2") && strlen(p.kept.v[i]) <= MESSAGE_TEXT_MAX);
    strv_release(&p.kept);
    channel_free(p.link.channel);
    close(fd);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void test_lies(void **state)
{
    (void)state;
    for (size_t i = 0; i < ELEMENTS(lies); i++)
        if (lies[i].times || !test_is_brief())
            listen_to(&lies[i]);
}

/* Noted there, or why not. Both answers of the target are one text. */
static void test_mark(void **state)
{
    (void)state;
#define MARKS(wanted)                                                                                        \
    {                                                                                                        \
        .type = FRAME_REPLY,                                                                                 \
        .head = ANSWER KEPT "],\"marks\":true,\"wanted\":" wanted ",\"problem\":\"x\\ny\"}", .piece = "",    \
        .join = "", .tail = "", .times = 1                                                                   \
    }
    static const struct {
        struct lie l;
        size_t answers;
        int want;
        const char *said;
    } cases[] = {
        {MARKS("false"), 2, 0, "x y"},
        {MARKS("true"), 2, 1, NULL},
        {MARKS("7"), 2, -1, "'wanted' is not true or false"},
        {{__LINE__, FRAME_REPLY, ANSWER KEPT, "", "", "]}", 1, NULL}, 1, 0, "its version does not know how"},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        int fd, status;
        struct err e = {0};
        char problem[PEER_PROBLEM_MAX] = "";
        _cleanup_strv_ struct strv stale = STRV_INIT;
        pid_t pid = start_target(&cases[i].l, cases[i].answers, &fd);
        struct peer p = {.link.channel = channel_new(fd, fd, 20), .node = "pve2"};
        if (open_once(&p, &stale, &e) < 0)
            fail_msg("%s", e.text);
        int r =
            peer_mark(&p, "st:100/vm-100-disk-0.raw", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", true, problem, &e);
        assert_int_equal(r, cases[i].want);
        if (cases[i].said && !strstr(r < 0 ? e.text : problem, cases[i].said))
            fail_msg("case %zu: %s%s", i, e.text, problem);
        strv_release(&p.kept);
        channel_free(p.link.channel);
        close(fd);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
    }
}

/* One answer may say much; many of them do not fill the disk with the log. */
static void test_log_is_bounded(void **state)
{
    (void)state;
    static const char big[] = "\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
                              "xxxxxxxxxxxxxxxxxxxxxxxxxx"
                              "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
                              "xxxxxxxxxxxxxxxxxxxxxxxxxxx"
                              "\"";
    enum { ANSWERS = 12 };
    if (test_is_brief())
        skip();
    static const struct lie l = {
        .type = FRAME_REPLY, .head = ANSWER KEPT "],\"removed\":[", .piece = big, .join = ",", .tail = "]}"};
    char dir[] = "/tmp/pvesr-peer-XXXXXX";
    int fd, status;
    struct err e = {0};
    assert_non_null(mkdtemp(dir));
    pid_t pid = start_target(&l, ANSWERS, &fd);
    struct peer p = {.link.channel = channel_new(fd, fd, 20), .node = "pve2"};
    p.log = joblog_open(dir, "100-0", false, &e);
    for (int i = 0; i < ANSWERS; i++) {
        _cleanup_strv_ struct strv stale = STRV_INIT;
        if (open_once(&p, &stale, &e) < 0)
            fail_msg("%s", e.text);
    }
    _cleanup_buf_ struct buf log = BUF_INIT;
    _cleanup_free_ char *path = xasprintf("%s/100-0", dir);
    assert_int_equal(fs_read(path, 3 * PEER_SAID_MAX, &log, &e), 0);
    assert_true(log.len > PEER_SAID_MAX / 2 && log.len < 2 * PEER_SAID_MAX);
    assert_non_null(strstr(log.data, "node 'pve2' has said more than 4 MiB"));
    joblog_free(p.log);
    strv_release(&p.kept);
    channel_free(p.link.channel);
    close(fd);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    fs_unlink(path, &e);
    rmdir(dir);
}

static void test_memory(void **state)
{
    (void)state;
    struct rusage r;
    assert_int_equal(getrusage(RUSAGE_SELF, &r), 0);
    if (r.ru_maxrss > (long)MEMORY_MAX)
        fail_msg("%ld KiB were held, more than %u", r.ru_maxrss, MEMORY_MAX);
}

/* ---- what is said of a node that cannot be reached sends to where the fault is ---- */

static const struct link_target far = {
    .node = "pve2", .address = "10.0.0.2", .port = 22, .user = "root", .agent = "pvesr agent"};
static const struct link_target near = {
    .node = "pve2", .address = "local", .port = 22, .user = "root", .agent = "pvesr agent"};

static void test_hint(void **state)
{
    (void)state;
    static const struct {
        const char *said, *want;
    } cases[] = {
        {"no connection to root@10.0.0.2 port 22: ssh: connect to host 10.0.0.2 port 22: Connection timed "
         "out",
         "can this one ping its address?"},
        {"no connection to root@10.0.0.2 port 22: Connection closed by UNKNOWN port 65535", "ProxyJump"},
        {"no connection to root@10.0.0.2 port 22: Connection reset by peer",
         "'ssh -v -p 22 root@10.0.0.2 true' on this node tells more"},
        {"no connection to root@10.0.0.2 port 22: ssh: timed out after 13 s",
         "'ssh -v -p 22 root@10.0.0.2 true' on this node tells more"},
        {"no connection to root@10.0.0.2 port 22: another run is still trying",
         "trying: the next run tries again"},
        {"the connection was closed before a word was said",
         "what does 'ssh -p 22 root@10.0.0.2 pvesr agent' on this node say?"},
        {"the connection was closed before a word was said (This account is disabled by policy)",
         "policy): what does 'ssh -p 22 root@10.0.0.2 pvesr agent' on this node say?"},
        {"the connection was closed before a word was said (sh: 1: pvesr: not found)",
         "not found): install pvesr on that node"},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct err e;
        err_set(&e, ERR_NETWORK, 0, "%s", cases[i].said);
        peer_hint(&far, &e);
        if (!strstr(e.text, cases[i].want) || strncmp(e.text, cases[i].said, strlen(cases[i].said)) != 0)
            fail_msg("%s", e.text);
    }
    struct err config;
    err_set(&config, ERR_CONFIG, 0, "node 'pve2' speaks protocol 7");
    peer_hint(&far, &config);
    assert_string_equal(config.text, "node 'pve2' speaks protocol 7");
}

/* An agent that says so much, and no more. */
static void hear(const struct link_target *t, const void *noise, size_t n, struct err *e)
{
    int pair[2];
    struct frame f;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(write(pair[1], noise, n), (ssize_t)n);
    struct link l = {.channel = channel_new(pair[0], pair[0], 0.01)};
    assert_int_equal(frame_read(l.channel, &f, e), -1);
    peer_hint_first(t, &l, e);
    peer_hint(t, e);
    channel_free(l.channel);
    close(pair[0]);
    close(pair[1]);
}

static void test_hint_first(void **state)
{
    (void)state;
    static const char
        menu[] = "1) status 2) quit of this machine, which is one of many others here\n",
        binary[] = "\xbb\xbb\xbb\xbb\1\2\3\4\5\6\7\x08\xbb\xbb\xbb\xbb\1\2\3\4\5\6\7\x08\xbb\xbb\xbb\xbb";
    struct err e = {0};
    hear(&far, "", 0, &e);
    assert_non_null(
        strstr(e.text, "though it was connected: 'time ssh -p 22 root@10.0.0.2 true' on this node"));
    assert_true(e.kind == ERR_NETWORK && !strstr(e.text, "ping") && !strstr(e.text, "timed out"));
    hear(&near, "", 0, &e);
    assert_non_null(strstr(e.text, "its agent was started, and stands still"));
    hear(&far, menu, sizeof menu - 1, &e);
    assert_non_null(strstr(e.text, "before the agent's first word comes '1) status 2) quit"));
    assert_non_null(strstr(e.text, "or what sshd, the key there or nodes.cfg has in the agent's place"));
    hear(&far, binary, sizeof binary - 1, &e);
    assert_non_null(
        strstr(e.text, "what answers is no agent: what does 'ssh -p 22 root@10.0.0.2 pvesr agent'"));
    assert_null(strpbrk(e.text, "\n\1\x08"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_lies),           cmocka_unit_test(test_mark),
                                       cmocka_unit_test(test_log_is_bounded), cmocka_unit_test(test_hint),
                                       cmocka_unit_test(test_hint_first),     cmocka_unit_test(test_memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
