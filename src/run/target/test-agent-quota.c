/* A source that sends as much as it can: the agent holds a bounded amount, and says in one line what is
 * wrong.
 */
#include "run/target/testagent.h"

#include "base/testbrief.h"

#include <sys/resource.h>

#if defined(__SANITIZE_ADDRESS__)
#define MEMORY_MAX (1024l << 10)
#else
#define MEMORY_MAX (192l << 10) /* KiB */
#endif

static const struct {
    int line;
    enum frame_type type;
    const char *head, *piece, *tail;
    size_t bytes;
    const char *want; /* in the error; NULL: a reply */
} bombs[] = {
    {__LINE__, FRAME_CALL, "{\"do\":\"open\",\"x\":[{}", ",{}", "]}", FRAME_MAX, "would take more than"},
    {__LINE__, FRAME_CALL, "{\"do\":[[]", ",[]", "]}", FRAME_MAX, "would take more than"},
    {__LINE__, FRAME_CALL, "", "[", "", FRAME_MAX, "would take more than"},
    {__LINE__, FRAME_CALL, "{\"do\":\"", "x", "\"}", FRAME_MAX, "'do'"},
    {__LINE__, FRAME_CALL, "{\"do\":\"\\n", "\\u001b[2J", "\"}", 4096, "'do'"},
    {__LINE__, FRAME_CALL,
     "{\"do\":\"prune\",\"drop\":[],\"volumes\":[{\"volume\":\"" DISK "\",\"adopt\":[[\"a\",\"" ID_A "\"]",
     ",[\"a\",\"" ID_A "\"]", "],\"snapshots\":[]}]}", 256 << 10, NULL},
    {__LINE__, FRAME_CALL,
     "{\"do\":\"prune\",\"drop\":[],\"volumes\":[{\"volume\":\"" DISK "\",\"snapshots\":[[\"a\",\"" ID_A
     "\"]",
     ",[\"a\",\"" ID_A "\"]", "],\"adopt\":[]}]}", 1 << 20, "'snapshots' is not a list of at most 8192"},
};

static void throw_bomb(size_t i)
{
    int fd, status;
    struct err e = {0};
    struct rusage used;
    _cleanup_buf_ struct buf b = BUF_INIT;
    pid_t pid = start_agent(&fd);
    struct channel *c = channel_new(fd, fd, 60);
    greet(c);
    ask_ok(c, OPEN);
    buf_adds(&b, bombs[i].head);
    while (b.len + strlen(bombs[i].piece) + strlen(bombs[i].tail) <= bombs[i].bytes)
        buf_adds(&b, bombs[i].piece);
    buf_adds(&b, bombs[i].tail);
    assert_int_equal(frame_write(c, bombs[i].type, b.data, b.len, NULL, 0, true, &e), 0);
    assert_int_equal(channel_flush(c, &e), 0);
    json_t *o = message_receive(c, FRAME_REPLY, "agent", &e);
    if (bombs[i].want ? o || !strstr(e.text, bombs[i].want) || strpbrk(e.text, "\n\033") : !o)
        fail_msg("line %d: %s", bombs[i].line, o ? "a reply" : e.text);
    assert_true(json_array_size(json_object_get(o, "problems")) <= PEER_PROBLEMS_MAX + 1);
    json_decref(o);
    channel_free(c);
    close(fd);
    assert_int_equal(wait4(pid, &status, 0, &used), pid);
    assert_true(WIFEXITED(status));
    if (used.ru_maxrss > MEMORY_MAX)
        fail_msg("line %d: %ld KiB were held, more than %ld", bombs[i].line, used.ru_maxrss, MEMORY_MAX);
}

static void test_bombs(void **state)
{
    (void)state;
    for (size_t i = 0; i < ELEMENTS(bombs); i++)
        if (!test_is_brief() || bombs[i].bytes < FRAME_MAX)
            throw_bomb(i);
}

/* Of somebody who has not even said a name next to nothing is read. */
static void test_long_hello(void **state)
{
    (void)state;
    int fd;
    struct err e = {0};
    uint8_t header[FRAME_HEADER] = {[4] = FRAME_HELLO};
    pid_t pid = start_agent(&fd);
    put_u32(header, FRAME_HELLO_MAX + 1);
    assert_int_equal(write(fd, header, sizeof header), sizeof header);
    struct channel *c = channel_new(fd, fd, 10);
    assert_null(message_receive(c, FRAME_HELLO, "agent", &e));
    if (!strstr(e.text, "a length of 4097"))
        fail_msg("%s", e.text);
    hang_up(c, fd, pid, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_bombs, setup, teardown),
        cmocka_unit_test_setup_teardown(test_long_hello, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
