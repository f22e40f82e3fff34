/* A source that lies: whatever it says, the agent answers with an error that names the lie, and nothing is
 * made on the target. */
#include "run/target/agent.h"

#include "base/fs.h"
#include "base/mem.h"
#include "base/proc.h"
#include "run/message.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define ID_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define DISK "st:100/vm-100-disk-0.raw"
#define OPEN "{\"do\":\"open\",\"job\":\"100-0\",\"volumes\":[\"" DISK "\"],\"scan\":[\"st\"]}"
#define LOOK "{\"do\":\"open\",\"job\":\"100-0\",\"volumes\":[\"" DISK "\"],\"scan\":[],\"look\":true}"
#define DIGEST(id, offset, blocks)                                                                           \
    "{\"do\":\"digest\",\"volume\":\"" DISK "\",\"id\":\"" id "\",\"offset\":" offset ",\"blocks\":" blocks  \
    "}"
#define STAGE                                                                                                \
    "{\"do\":\"stage\",\"volume\":\"" DISK "\",\"snapshot\":\"__replicate_100-0_5__\",\"id\":\"" ID_A        \
    "\",\"created\":5,"                                                                                      \
    "\"base\":\"\",\"size\":65536,\"replace\":false,\"resume\":false}"

static char dir[64];

static void put(const char *name, const char *text)
{
    struct err e = {0};
    _cleanup_free_ char *path = xasprintf("%s/%s", dir, name);
    _cleanup_free_ char *parent = xstrndup(path, (size_t)(strrchr(path, '/') - path));
    assert_int_equal(fs_mkdir_p(parent, 0755, &e), 0);
    assert_int_equal(fs_write_atomic(path, text, strlen(text), 0644, &e), 0);
}

static int setup(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/pvesr-agent-XXXXXX");
    assert_non_null(mkdtemp(dir));
    put("tree/storage.cfg", "dir: st\n\tpath /st\n\n");
    put("tree/nodes.cfg", "node: pve1\n\taddress local\n\nnode: pve2\n\taddress local\n\n");
    put("tree/nodes/pve1/qemu-server/100.conf", "scsi0: " DISK "\n");
    put("tree/nodes/pve2/qemu-server/200.conf", "scsi0: st:200/vm-200-disk-0.raw\n");
    put("tree/nodes/pve3/qemu-server/300.conf", "scsi0: st:300/vm-300-disk-0.raw\n");
    put("pve2/st/keep", "");
    _cleanup_free_ char *conf =
        xasprintf("node: pve2\ncluster: dir:%s/tree\nstate-dir: %s/state\nlog-dir: %s/log\n"
                  "lock-dir: %s/lock\nrun-dir: %s/run\nstorage-root: %s/pve2\n",
                  dir, dir, dir, dir, dir, dir);
    put("pvesr.conf", conf);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    struct err e = {0};
    char *argv[] = {(char *)"rm", (char *)"-rf", dir, NULL};
    return proc_check(argv, NULL, NULL, &e);
}

static pid_t start_agent(int *fd)
{
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct env env;
        struct err e = {0};
        _cleanup_free_ char *conf = xasprintf("%s/pvesr.conf", dir);
        close(pair[0]);
        if (env_open(&env, conf, &e) < 0)
            _exit(9);
        int r = agent_serve(&env, pair[1], pair[1], &e);
        env_release(&env);
        _exit(r < 0);
    }
    close(pair[1]);
    *fd = pair[0];
    return pid;
}

static void send_text(struct channel *c, enum frame_type type, const char *text)
{
    struct err e = {0};
    if (frame_write(c, type, text, strlen(text), NULL, 0, false, &e) == 0)
        channel_flush(c, &e);
}

/* A step of a lie: what is sent, and how it must be answered. */
struct say {
    enum frame_type type;
    const char *text; /* NULL: the binary below */
    const char *bytes;
    size_t n;
    bool silent; /* no answer is expected */
};

#define CALL(json)                                                                                           \
    {                                                                                                        \
        .type = FRAME_CALL, .text = json                                                                     \
    }
#define RAW(t, b)                                                                                            \
    {                                                                                                        \
        .type = t, .bytes = b, .n = sizeof b - 1, .silent = true                                             \
    }
#define DATA_AT(offset, bytes) RAW(FRAME_DATA, offset bytes)
#define AT_0 "\0\0\0\0\0\0\0\0"
#define AT_64K "\0\0\1\0\0\0\0\0"
#define AT_MAX "\377\377\377\377\377\377\377\377"
#define ZEROES16 AT_0 AT_0

static const struct lie {
    int line;
    const char *what;
    struct say say[5];
    const char *want; /* in the last answer, an ERROR */
} lies[] = {
    {__LINE__, "no JSON", {CALL("garbage")}, "damaged message"},
    {__LINE__, "a list", {CALL("[1]")}, "not a JSON object"},
    {__LINE__, "nothing to do", {CALL("{}")}, "'do'"},
    {__LINE__, "an unknown call", {CALL("{\"do\":\"format\"}")}, "unknown call 'format'"},
    {__LINE__,
     "no network",
     {CALL("{\"do\":\"address\",\"network\":\"10.0.0.1\"}")},
     "'10.0.0.1' is no network"},
    {__LINE__, "data between calls", {DATA_AT(AT_0, "x")}, "unexpected frame"},
    {__LINE__, "stage before open", {CALL(STAGE)}, "before 'open'"},
    {__LINE__, "open twice", {CALL(OPEN), CALL(OPEN)}, "second run"},
    {__LINE__,
     "a bad job id",
     {CALL("{\"do\":\"open\",\"job\":\"100-00\",\"volumes\":[],\"scan\":[]}")},
     "100-0"},
    {__LINE__,
     "a job id that is a path",
     {CALL("{\"do\":\"open\",\"job\":\"../../x\",\"volumes\":[],\"scan\":[]}")},
     "pattern"},
    {__LINE__,
     "a local guest",
     {CALL("{\"do\":\"open\",\"job\":\"200-0\",\"volumes\":[],\"scan\":[]}")},
     "is on local node"},
    {__LINE__,
     "a guest of a third node",
     {CALL("{\"do\":\"open\",\"job\":\"300-0\",\"volumes\":[],\"scan\":[]}")},
     "is on node 'pve3': node 'pve1' has nothing to replicate of it"},
    {__LINE__,
     "another guest's volume",
     {CALL("{\"do\":\"open\",\"job\":\"100-0\",\"volumes\":[\"st:101/vm-101-disk-0.raw\"],\"scan\":[]}")},
     "wrong owner"},
    {__LINE__,
     "a path that climbs",
     {CALL("{\"do\":\"open\",\"job\":\"100-0\",\"volumes\":[\"st:100/../100/"
           "vm-100-disk-0.raw\"],\"scan\":[]}")},
     "100"},
    {__LINE__,
     "an absolute path",
     {CALL("{\"do\":\"open\",\"job\":\"100-0\",\"volumes\":[\"st:/etc/passwd\"],\"scan\":[]}")},
     "owner"},
    {__LINE__,
     "no such storage",
     {CALL("{\"do\":\"open\",\"job\":\"100-0\",\"volumes\":[\"nn:100/vm-100-disk-0.raw\"],\"scan\":[]}")},
     "'nn' does not exist"},
    {__LINE__,
     "a volume twice",
     {CALL("{\"do\":\"open\",\"job\":\"100-0\",\"volumes\":[\"" DISK "\",\"" DISK "\"],\"scan\":[]}")},
     "twice"},
    {__LINE__,
     "volumes that are no names",
     {CALL("{\"do\":\"open\",\"job\":\"100-0\",\"volumes\":[1],\"scan\":[]}")},
     "names"},
    {__LINE__,
     "a volume that was not opened",
     {CALL("{\"do\":\"open\",\"job\":\"100-0\",\"volumes\":[],\"scan\":[]}"), CALL(STAGE)},
     "was not opened"},
    {__LINE__,
     "a snapshot name that is a path",
     {CALL(OPEN), CALL("{\"do\":\"stage\",\"volume\":\"" DISK "\",\"snapshot\":\"../x\",\"id\":\"" ID_A
                       "\",\"created\":5,\"base\":\"\",\"size\":1,\"replace\":false,\"resume\":false}")},
     "no snapshot"},
    {__LINE__,
     "an id that is none",
     {CALL(OPEN), CALL("{\"do\":\"stage\",\"volume\":\"" DISK
                       "\",\"snapshot\":\"a1\",\"id\":\"x\",\"created\":5,\"base\":\"\","
                       "\"size\":1,\"replace\":false,\"resume\":false}")},
     "no snapshot"},
    {__LINE__,
     "a base that is not there",
     {CALL(OPEN), CALL("{\"do\":\"stage\",\"volume\":\"" DISK "\",\"snapshot\":\"a1\",\"id\":\"" ID_A
                       "\",\"created\":5,\"base\":\"bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\",\"size\":1,"
                       "\"replace\":false,\"resume\":false}")},
     "base"},
    {__LINE__,
     "a negative size",
     {CALL(OPEN), CALL("{\"do\":\"stage\",\"volume\":\"" DISK "\",\"snapshot\":\"a1\",\"id\":\"" ID_A
                       "\",\"created\":5,\"base\":\"\",\"size\":-1,\"replace\":false,\"resume\":false}")},
     "'size'"},
    {__LINE__, "data beyond the size", {CALL(OPEN), CALL(STAGE), DATA_AT(AT_64K, "x")}, "65536"},
    {__LINE__, "data at the end of the world", {CALL(OPEN), CALL(STAGE), DATA_AT(AT_MAX, "x")}, ""},
    {__LINE__, "zeroes beyond the size", {CALL(OPEN), CALL(STAGE), RAW(FRAME_ZERO, AT_0 AT_MAX)}, ""},
    {__LINE__, "a stream where ranges belong", {CALL(OPEN), CALL(STAGE), RAW(FRAME_FEED, "x")}, ""},
    {__LINE__,
     "a call in a transfer",
     {CALL(OPEN), CALL(STAGE), {.type = FRAME_CALL, .text = "{\"do\":\"prune\"}", .silent = true}},
     "in a transfer"},
    {__LINE__,
     "an end with the wrong digest",
     {CALL(OPEN), CALL(STAGE), RAW(FRAME_END, ZEROES16 ZEROES16)},
     "digest"},
    {__LINE__,
     "an end with the wrong counts",
     {CALL(OPEN), CALL(STAGE), DATA_AT(AT_0, "x"), RAW(FRAME_END, ZEROES16 ZEROES16)},
     "counts or digest"},
    {__LINE__,
     "a commit of nothing",
     {CALL(OPEN), CALL("{\"do\":\"commit\",\"volumes\":[{\"volume\":\"" DISK "\",\"id\":\"" ID_A
                       "\",\"as\":\"__replicate_100-0_5__\",\"live-aside\":\"diverged_100-0_5\",\"keep-"
                       "live\":false,\"aside\":[]}]}")},
     "stage"},
    {__LINE__,
     "a name for what is kept aside that is none",
     {CALL(OPEN),
      CALL("{\"do\":\"commit\",\"volumes\":[{\"volume\":\"" DISK "\",\"id\":\"" ID_A
           "\",\"as\":\"__replicate_100-0_5__\",\"live-aside\":\"x\",\"keep-live\":false,\"aside\":[]}]}")},
     "live-aside"},
    {__LINE__,
     "a name to rename to that is not for what is kept aside",
     {CALL(OPEN), CALL("{\"do\":\"aside\",\"volume\":\"" DISK "\",\"aside\":[[\"a\",\"b\"]]}")},
     "'aside'"},
    {__LINE__,
     "a drop of what is not stale",
     {CALL(OPEN), CALL("{\"do\":\"prune\",\"volumes\":[],\"drop\":[\"st:100/vm-100-disk-0.raw\"]}")},
     "not stale"},
    {__LINE__,
     "replacing what is not there is harmless, a lie about it is not",
     {CALL(OPEN), CALL("{\"do\":\"stage\",\"volume\":\"" DISK "\",\"snapshot\":\"a1\",\"id\":\"" ID_A
                       "\",\"created\":5,\"base\":\"\",\"size\":1,\"replace\":\"yes\"}")},
     "'replace'"},
    {__LINE__, "digests before open", {CALL(DIGEST("", "0", "1"))}, "before 'open'"},
    {__LINE__, "a stage after a look", {CALL(LOOK), CALL(STAGE)}, "before 'open'"},
    {__LINE__,
     "a commit after a look",
     {CALL(LOOK), CALL("{\"do\":\"commit\",\"volumes\":[]}")},
     "before 'open'"},
    {__LINE__, "a run after a look", {CALL(LOOK), CALL(OPEN)}, "second run"},
    {__LINE__, "digests of what is not there", {CALL(LOOK), CALL(DIGEST("", "0", "1"))}, "is not there"},
    {__LINE__,
     "…of a point that is not",
     {CALL(LOOK), CALL(DIGEST(ID_A, "0", "1"))},
     "is not there any more"},
    {__LINE__, "…of half a block", {CALL(LOOK), CALL(DIGEST("", "512", "1"))}, "of no blocks"},
    {__LINE__, "…of too many", {CALL(LOOK), CALL(DIGEST("", "0", "4097"))}, "of no blocks"},
    {__LINE__, "…of a negative number", {CALL(LOOK), CALL(DIGEST("", "-65536", "1"))}, "'offset'"},
    {__LINE__, "…of a point that is a path", {CALL(LOOK), CALL(DIGEST("../../x", "0", "1"))}, "of no blocks"},
};

static void greet(struct channel *c)
{
    struct err e = {0};
    send_text(c, FRAME_HELLO, "{\"pvesr\":1,\"version\":\"x\",\"node\":\"pve1\"}");
    json_t *o = message_receive(c, FRAME_HELLO, "agent", &e);
    assert_non_null(o);
    json_decref(o);
}

static void tell(const struct lie *l)
{
    int fd, status;
    struct err e = {0};
    pid_t pid = start_agent(&fd);
    struct channel *c = channel_new(fd, fd, 10);
    greet(c);
    size_t last = 0;
    while (last + 1 < ELEMENTS(l->say) && l->say[last + 1].type)
        last++;
    for (size_t i = 0; i <= last; i++) {
        const struct say *s = &l->say[i];
        if (s->text)
            send_text(c, s->type, s->text);
        else if (frame_write(c, s->type, s->bytes, s->n, NULL, 0, false, &e) == 0)
            channel_flush(c, &e);
        if (i == last || s->silent)
            continue;
        json_t *o = message_receive(c, FRAME_REPLY, "agent", &e);
        if (!o)
            fail_msg("line %d, %s: step %zu: %s", l->line, l->what, i, e.text);
        json_decref(o);
    }
    json_t *o = message_receive(c, FRAME_REPLY, "agent", &e);
    if (o || e.kind == ERR_NETWORK || !strstr(e.text, l->want))
        fail_msg("line %d, %s: want '%s', got '%s'", l->line, l->what, l->want, o ? "a reply" : e.text);
    channel_free(c);
    close(fd);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
}

/* What a replica is, or a restore point: nothing a lie made may look like one. */
static void assert_nothing_made(const struct lie *l)
{
    _cleanup_free_ char *folder = xasprintf("%s/pve2/st/images/100", dir);
    DIR *d = opendir(folder);
    for (struct dirent *x; d && (x = readdir(d));)
        if (strcmp(x->d_name, ".") != 0 && strcmp(x->d_name, "..") != 0 &&
            strncmp(x->d_name, ".pvesr-stage", 12) != 0)
            fail_msg("line %d, %s: '%s' was made", l->line, l->what, x->d_name);
    if (d)
        closedir(d);
}

static void test_lies(void **state)
{
    (void)state;
    for (size_t i = 0; i < ELEMENTS(lies); i++) {
        tell(&lies[i]);
        assert_nothing_made(&lies[i]);
    }
}

static json_t *ask(struct channel *c, const char *call, struct err *e)
{
    send_text(c, FRAME_CALL, call);
    return message_receive(c, FRAME_REPLY, "agent", e);
}

static void ask_ok(struct channel *c, const char *call)
{
    struct err e = {0};
    json_t *o = ask(c, call, &e);
    if (!o)
        fail_msg("%s", e.text);
    json_decref(o);
}

/* 4 KiB of x into a stage of 64 KiB, sealed. */
static void send_stage(struct channel *c)
{
    struct err e = {0};
    struct transfer_digest *digest = transfer_digest_new();
    uint8_t head[8] = {0}, end[32];
    char data[4096];
    ask_ok(c, OPEN);
    ask_ok(c, STAGE);
    memset(data, 'x', sizeof data);
    transfer_digest_add(digest, FRAME_DATA, 0, sizeof data, data);
    put_u64(end, sizeof data);
    put_u64(end + 8, 1);
    transfer_digest_final(digest, end + 16);
    transfer_digest_free(digest);
    assert_int_equal(frame_write(c, FRAME_DATA, head, 8, data, sizeof data, false, &e), 0);
    assert_int_equal(frame_write(c, FRAME_END, end, sizeof end, NULL, 0, false, &e), 0);
    assert_int_equal(channel_flush(c, &e), 0);
    json_t *o = message_receive(c, FRAME_REPLY, "agent", &e);
    if (!o)
        fail_msg("%s", e.text);
    json_decref(o);
}

static void hang_up(struct channel *c, int fd, pid_t pid, int want)
{
    int status;
    channel_free(c);
    close(fd);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == want);
}

#define COMMIT                                                                                               \
    "{\"do\":\"commit\",\"volumes\":[{\"volume\":\"" DISK "\",\"id\":\"" ID_A                                \
    "\",\"as\":\"__replicate_100-0_5__\",\"live-aside\":\"diverged_100-0_5\",\"keep-live\":false,\"aside\":" \
    "[]}]}"
#define PRUNE                                                                                                \
    "{\"do\":\"prune\",\"volumes\":[{\"volume\":\"" DISK                                                     \
    "\",\"snapshots\":[[\"__replicate_100-0_5__\",\"" ID_A "\"]],\"adopt\":[]}],\"drop\":[]}"

/* The honest one, so that the lies are known to fail for the right reason. Its restore point then stays, even
 * if it asks for its removal. */
static void test_truth(void **state)
{
    (void)state;
    int fd;
    struct err e = {0};
    pid_t pid = start_agent(&fd);
    struct channel *c = channel_new(fd, fd, 10);
    greet(c);
    send_stage(c);
    ask_ok(c, COMMIT);
    json_t *o = ask(c, PRUNE, &e);
    if (!o)
        fail_msg("%s", e.text);
    const char *problem = json_string_value(json_array_get(json_object_get(o, "problems"), 0));
    assert_non_null(problem);
    assert_non_null(strstr(problem, "the replica shows"));
    json_decref(o);
    hang_up(c, fd, pid, 0);
    _cleanup_buf_ struct buf replica = BUF_INIT;
    _cleanup_free_ char *path = xasprintf("%s/pve2/st/images/100/vm-100-disk-0.raw", dir);
    assert_int_equal(fs_read(path, 1 << 20, &replica, &e), 0);
    assert_int_equal(replica.len, 65536);
    for (size_t i = 0; i < replica.len; i++)
        assert_int_equal(replica.data[i], i < 4096 ? 'x' : 0);
}

/* The guest is moved while its run is under way: whoever has it now, what this source has is the past. */
static void test_moved_meanwhile(void **state)
{
    (void)state;
    static const char *const to[] = {"pve2", "pve3"};
    static const char *const want[] = {"is on local node 'pve2'", "is on node 'pve3'"};
    for (size_t i = 0; i < ELEMENTS(to); i++) {
        int fd;
        struct err e = {0};
        pid_t pid = start_agent(&fd);
        struct channel *c = channel_new(fd, fd, 10);
        _cleanup_free_ char *from = xasprintf("%s/tree/nodes/pve1/qemu-server/100.conf", dir);
        _cleanup_free_ char *there = xasprintf("%s/tree/nodes/%s/qemu-server/100.conf", dir, to[i]);
        greet(c);
        send_stage(c);
        assert_int_equal(rename(from, there), 0);
        assert_null(ask(c, COMMIT, &e));
        if (!strstr(e.text, want[i]))
            fail_msg("want '%s', got '%s'", want[i], e.text);
        hang_up(c, fd, pid, 1);
        assert_nothing_made(&(struct lie){.line = __LINE__, .what = to[i]});
        teardown(state);
        setup(state);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_lies, setup, teardown),
        cmocka_unit_test_setup_teardown(test_truth, setup, teardown),
        cmocka_unit_test_setup_teardown(test_moved_meanwhile, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
