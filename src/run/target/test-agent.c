/* A source that lies: whatever it says, the agent answers with an error that names the lie, and nothing is
 * made on the target. */
#include "run/target/testagent.h"

#include "base/testsleep.h"

#include <dirent.h>
#include <stdio.h>

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
    {__LINE__, "data between calls", {DATA_AT(AT_0, "x")}, "unexpected message"},
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
     "a guest that nobody knows",
     {CALL("{\"do\":\"open\",\"job\":\"400-0\",\"volumes\":[],\"scan\":[]}")},
     "guest '400' is not known on node 'pve2'"},
    {__LINE__,
     "a guest of two nodes",
     {CALL("{\"do\":\"open\",\"job\":\"500-0\",\"volumes\":[],\"scan\":[]}")},
     "two configuration files"},
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
     "nor all that was sent of it"},
    {__LINE__,
     "a name for what is kept aside that is none",
     {CALL(OPEN),
      CALL("{\"do\":\"commit\",\"volumes\":[{\"volume\":\"" DISK "\",\"id\":\"" ID_A
           "\",\"as\":\"__replicate_100-0_5__\",\"live-aside\":\"x\",\"keep-live\":false,\"aside\":[]}]}")},
     "'x' is not a name for what is kept aside"},
    {__LINE__,
     "another job's name for what is shown",
     {CALL(OPEN), CALL("{\"do\":\"commit\",\"volumes\":[{\"volume\":\"" DISK "\",\"id\":\"" ID_A
                       "\",\"as\":\"__replicate_100-1_5__\",\"live-aside\":\"diverged_100-0_5\","
                       "\"keep-live\":false,\"aside\":[]}]}")},
     "not a replication snapshot of job '100-0'"},
    {__LINE__,
     "a name of two lines",
     {CALL("{\"do\":\"open\",\"job\":\"100-0\",\"volumes\":[\"st:100/vm-100-disk-0.raw\\nx\"],\"scan\":[]}")},
     "names"},
    {__LINE__,
     "a name to rename to that is not for what is kept aside",
     {CALL(OPEN), CALL("{\"do\":\"aside\",\"volume\":\"" DISK "\",\"aside\":[[\"a\",\"b\"]]}")},
     "'b' is not a name for what is kept aside"},
    {__LINE__,
     "a drop of what is not stale",
     {CALL(OPEN), CALL("{\"do\":\"prune\",\"volumes\":[],\"drop\":[\"st:100/vm-100-disk-0.raw\"]}")},
     "is not removed"},
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
    {__LINE__,
     "a look at a guest of a third node",
     {CALL("{\"do\":\"open\",\"job\":\"300-0\",\"volumes\":[],\"scan\":[],\"look\":true}")},
     "is on node 'pve3'"},
    {__LINE__, "digests of what is not there", {CALL(LOOK), CALL(DIGEST("", "0", "1"))}, "is not there"},
    {__LINE__,
     "…of a point that is not",
     {CALL(LOOK), CALL(DIGEST(ID_A, "0", "1"))},
     "is not there any more"},
    {__LINE__, "…of what was read", {CALL(LOOK), CALL(DIGEST("", "0", "0"))}, "removed or replaced"},
    {__LINE__, "…of half a block", {CALL(LOOK), CALL(DIGEST("", "512", "1"))}, "of no blocks"},
    {__LINE__, "…of too many", {CALL(LOOK), CALL(DIGEST("", "0", "4097"))}, "of no blocks"},
    {__LINE__, "…of a negative number", {CALL(LOOK), CALL(DIGEST("", "-65536", "1"))}, "'offset'"},
    {__LINE__, "…of a point that is a path", {CALL(LOOK), CALL(DIGEST("../../x", "0", "1"))}, "of no blocks"},
    {__LINE__, "a mark before open", {CALL(MARK(ID_A, "true"))}, "before 'open'"},
    {__LINE__,
     "…at a point that is a path",
     {CALL(LOOK), CALL(MARK("../../x", "true"))},
     "not a snapshot id"},
    {__LINE__, "…that is neither", {CALL(LOOK), CALL(MARK(ID_A, "1"))}, "'damaged'"},
    {__LINE__,
     "…at another guest's volume",
     {CALL(LOOK),
      CALL("{\"do\":\"mark\",\"volume\":\"st:200/vm-200-disk-0.raw\",\"id\":\"" ID_A "\",\"damaged\":true}")},
     "200/vm-200-disk-0.raw"},
};

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

static pid_t start_looking(struct channel **c, int *fd)
{
    pid_t pid = start_agent(fd);
    *c = channel_new(*fd, *fd, 10);
    greet(*c);
    ask_ok(*c, LOOK);
    return pid;
}

static void assert_refused(struct channel *c, const char *call, const char *want)
{
    struct err e = {0};
    assert_null(ask(c, call, &e));
    if (!strstr(e.text, want))
        fail_msg("want '%s', got '%s'", want, e.text);
}

/* The answer's `problem`, or "wanted". */
static char *mark(struct channel *c, const char *call)
{
    struct err e = {0};
    json_t *o = ask(c, call, &e);
    if (!o)
        fail_msg("%s", e.text);
    char *text = xstrdup(json_is_true(json_object_get(o, "wanted"))
                             ? "wanted"
                             : json_string_value(json_object_get(o, "problem")));
    json_decref(o);
    return text;
}

static void assert_mark(struct channel *c, const char *call, const char *want)
{
    _cleanup_free_ char *got = mark(c, call);
    if (*want ? !strstr(got, want) : *got)
        fail_msg("%s: want '%s', got '%s'", call, want, got);
}

/* What a look says of the only restore point; 0: nothing. */
static int64_t look_damaged(void)
{
    int fd;
    struct err e = {0};
    pid_t pid = start_agent(&fd);
    struct channel *c = channel_new(fd, fd, 10);
    greet(c);
    json_t *o = ask(c, LOOK, &e);
    assert_non_null(o);
    assert_true(json_is_true(json_object_get(o, "marks")));
    json_t *all = json_object_get(json_array_get(json_object_get(o, "volumes"), 0), "snapshots");
    assert_int_equal(json_array_size(all), 1);
    int64_t since = json_integer_value(json_object_get(json_array_get(all, 0), "damaged"));
    json_decref(o);
    hang_up(c, fd, pid, 0);
    return since;
}

/* Noted by who only looks, under the lock that a run has for itself; told to the next; taken back. */
static void test_marks(void **state)
{
    (void)state;
    int fd, looks;
    struct channel *looker;
    pid_t looking = start_looking(&looker, &looks), pid = start_agent(&fd);
    struct channel *c = channel_new(fd, fd, 10);
    assert_mark(looker, MARK(ID_A, "true"), "is not there any more");
    greet(c);
    send_stage(c);
    ask_ok(c, COMMIT);
    assert_mark(looker, MARK(ID_A, "true"), "wanted");
    assert_mark(c, MARK(ID_A, "true"), "");
    assert_mark(c, MARK(ID_A, "false"), "");
    hang_up(c, fd, pid, 0);
    assert_int_equal(look_damaged(), 0);
    assert_mark(looker, MARK(ID_B, "true"), "is not there any more");
    assert_mark(looker, MARK(ID_A, "true"), "");
    assert_true(look_damaged() > 1700000000);
    assert_mark(looker, MARK(ID_A, "false"), "");
    assert_int_equal(look_damaged(), 0);
    _cleanup_free_ char *from = xasprintf("%s/tree/nodes/pve1/qemu-server/100.conf", dir);
    _cleanup_free_ char *there = xasprintf("%s/tree/nodes/pve2/qemu-server/100.conf", dir);
    assert_int_equal(rename(from, there), 0);
    assert_refused(looker, MARK(ID_A, "true"), "is on local node 'pve2'");
    hang_up(looker, looks, looking, 1);
}

/* The guest is moved while its run is under way: whoever has it now, what this source has is the past, and
 * what the replica reads as is nothing for it. */
static void test_moved_meanwhile(void **state)
{
    (void)state;
    static const char *const to[] = {"pve2", "pve3"};
    static const char *const want[] = {"is on local node 'pve2'", "is on node 'pve3'"};
    for (size_t i = 0; i < ELEMENTS(to); i++) {
        int fd, looks;
        struct channel *looker;
        pid_t looking = start_looking(&looker, &looks), pid = start_agent(&fd);
        struct channel *c = channel_new(fd, fd, 10);
        _cleanup_free_ char *from = xasprintf("%s/tree/nodes/pve1/qemu-server/100.conf", dir);
        _cleanup_free_ char *there = xasprintf("%s/tree/nodes/%s/qemu-server/100.conf", dir, to[i]);
        greet(c);
        send_stage(c);
        assert_int_equal(rename(from, there), 0);
        assert_refused(c, COMMIT, want[i]);
        hang_up(c, fd, pid, 1);
        assert_refused(looker, DIGEST("", "0", "1"), want[i]);
        hang_up(looker, looks, looking, 1);
        assert_nothing_made(&(struct lie){.line = __LINE__, .what = to[i]});
        teardown(state);
        setup(state);
    }
}

/* …and while it waits for another run to end. */
static void test_moved_while_waiting(void **state)
{
    (void)state;
    int first, second;
    pid_t at_work = start_agent(&first), waiting = start_agent(&second);
    struct channel *a = channel_new(first, first, 10), *b = channel_new(second, second, 10);
    _cleanup_free_ char *from = xasprintf("%s/tree/nodes/pve1/qemu-server/100.conf", dir);
    _cleanup_free_ char *to = xasprintf("%s/tree/nodes/pve2/qemu-server/100.conf", dir);
    struct err e = {0};
    greet(a);
    greet(b);
    ask_ok(a, OPEN);
    send_text(b, FRAME_CALL, OPEN);
    assert_true(await_sleep(waiting));
    assert_int_equal(rename(from, to), 0);
    hang_up(a, first, at_work, 0);
    assert_null(message_receive(b, FRAME_REPLY, "agent", &e));
    if (!strstr(e.text, "is on local node 'pve2'"))
        fail_msg("%s", e.text);
    hang_up(b, second, waiting, 1);
}

/* Whoever has the key of one node is not another one. */
static void test_peer_of_the_key(void **state)
{
    (void)state;
    static const struct {
        const char *peer, *want;
    } cases[] = {{"pve1", NULL},
                 {"pve3", "the key of node 'pve3' was used by one that says it is node 'pve1'"}};
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        int fd;
        struct err e = {0};
        options.peer = cases[i].peer;
        pid_t pid = start_agent(&fd);
        options.peer = NULL;
        struct channel *c = channel_new(fd, fd, 10);
        send_text(c, FRAME_HELLO, "{\"pvesr\":1,\"version\":\"x\",\"node\":\"pve1\"}");
        json_t *o = message_receive(c, FRAME_HELLO, "agent", &e);
        assert_int_equal(o == NULL, cases[i].want != NULL);
        if (cases[i].want && !strstr(e.text, cases[i].want))
            fail_msg("%s", e.text);
        json_decref(o);
        hang_up(c, fd, pid, cases[i].want != NULL);
    }
}

/* The file of a new guest comes while the agent waits for it. */
static void test_new_guest(void **state)
{
    (void)state;
    int fd;
    struct err e = {0};
    options.patience = 60;
    pid_t pid = start_agent(&fd);
    options.patience = 0;
    struct channel *c = channel_new(fd, fd, 10);
    greet(c);
    send_text(c, FRAME_CALL, "{\"do\":\"open\",\"job\":\"400-0\",\"volumes\":[],\"scan\":[]}");
    put("tree/nodes/pve1/qemu-server/400.conf", "");
    json_t *o = message_receive(c, FRAME_REPLY, "agent", &e);
    if (!o)
        fail_msg("%s", e.text);
    json_decref(o);
    hang_up(c, fd, pid, 0);
}

/* A source that forgot, or lies: what a commit showed is not destroyed for a new first copy. */
static void test_replace_of_what_is_shown(void **state)
{
    (void)state;
    int fd;
    struct err e = {0};
    pid_t pid = start_agent(&fd);
    struct channel *c = channel_new(fd, fd, 10);
    greet(c);
    send_stage(c);
    ask_ok(c, COMMIT);
    hang_up(c, fd, pid, 0);
    pid = start_agent(&fd);
    c = channel_new(fd, fd, 10);
    greet(c);
    ask_ok(c, OPEN);
    assert_null(ask(c,
                    "{\"do\":\"stage\",\"volume\":\"" DISK
                    "\",\"snapshot\":\"__replicate_100-0_9__\",\"id\":\"" ID_B
                    "\",\"created\":9,\"base\":\"\",\"size\":65536,\"replace\":true,\"resume\":false}",
                    &e));
    if (!strstr(e.text, "may have been acknowledged"))
        fail_msg("%s", e.text);
    hang_up(c, fd, pid, 1);
    _cleanup_free_ char *path = xasprintf("%s/pve2/st/images/100/vm-100-disk-0.raw", dir);
    assert_true(fs_exists(path));
}

#define LIVE "ffffffffffffffffffffffffffffffff"
#define RESYNC                                                                                               \
    "{\"do\":\"stage\",\"volume\":\"" DISK "\",\"snapshot\":\"__replicate_100-0_6__\",\"id\":\"" ID_B        \
    "\",\"created\":6,\"base\":\"" LIVE "\",\"size\":65536,\"replace\":false,\"resume\":false}"

/* In a transfer upon what the replica holds only that is told, and nothing beyond it. */
static void test_lies_in_a_resync(void **state)
{
    (void)state;
    static const struct {
        const char *call, *want;
    } cases[] = {
        {"{\"do\":\"prune\"}", "'id'"},
        {MARK(LIVE, "true"), "'offset'"},
        {DIGEST("", "0", "1"), "in a transfer"},
        {DIGEST(ID_A, "0", "1"), "in a transfer"},
        {DIGEST(LIVE, "512", "1"), "no blocks"},
        {DIGEST(LIVE, "0", "2"), "no blocks"},
        {DIGEST(LIVE, "65536", "1"), "no blocks"},
        {DIGEST(LIVE, "0", "4097"), "in a transfer"},
        {DIGEST(LIVE, "-65536", "1"), "'offset'"},
    };
    int fd;
    pid_t pid = start_agent(&fd);
    struct channel *c = channel_new(fd, fd, 10);
    greet(c);
    send_stage(c);
    ask_ok(c, COMMIT);
    hang_up(c, fd, pid, 0);
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct err e = {0};
        pid = start_agent(&fd);
        c = channel_new(fd, fd, 10);
        greet(c);
        ask_ok(c, OPEN);
        ask_ok(c, RESYNC);
        assert_null(ask(c, cases[i].call, &e));
        if (!strstr(e.text, cases[i].want))
            fail_msg("%s: '%s' instead of '%s'", cases[i].call, e.text, cases[i].want);
        hang_up(c, fd, pid, 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_lies, setup, teardown),
        cmocka_unit_test_setup_teardown(test_truth, setup, teardown),
        cmocka_unit_test_setup_teardown(test_marks, setup, teardown),
        cmocka_unit_test_setup_teardown(test_moved_meanwhile, setup, teardown),
        cmocka_unit_test_setup_teardown(test_moved_while_waiting, setup, teardown),
        cmocka_unit_test_setup_teardown(test_peer_of_the_key, setup, teardown),
        cmocka_unit_test_setup_teardown(test_new_guest, setup, teardown),
        cmocka_unit_test_setup_teardown(test_replace_of_what_is_shown, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lies_in_a_resync, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
