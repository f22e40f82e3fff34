#include "state/testdir.h"

#include "state/joblog.h"

#include <fcntl.h>
#include <unistd.h>

/* "YYYY-MM-DD HH:MM:SS JOBID: MESSAGE" → MESSAGE, having checked the rest. */
static const char *message_of(const char *line, const char *job)
{
    static const char shape[] = "dddd-dd-dd dd:dd:dd ";
    for (size_t i = 0; shape[i]; i++) {
        if (shape[i] == 'd')
            assert_in_range(line[i], '0', '9');
        else
            assert_int_equal(line[i], shape[i]);
    }
    line += sizeof shape - 1;
    assert_int_equal(strncmp(line, job, strlen(job)), 0);
    line += strlen(job);
    assert_int_equal(strncmp(line, ": ", 2), 0);
    return line + 2;
}

static void test_lines(void **state)
{
    static const struct {
        const char *message;
        const char *lines[3];
    } cases[] = {
        {"start replication job", {"start replication job"}},
        {"one\ntwo\n", {"one", "two"}},
        {"a\n\nb", {"a", "", "b"}},
        {"", {""}},
        {"\x1b[31mred\rover\ttab\x7f", {"?[31mred over tab?"}},
        {"\xc3\xa4 100%", {"\xc3\xa4 100%"}},
    };
    _cleanup_free_ char *dir = xasprintf("%s/log/replicate", (char *)*state);
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct err e;
        _cleanup_(joblog_freep) struct joblog *l = joblog_open(dir, "100-0", false, &e);
        assert_non_null(l);
        joblog_add(l, "%s", cases[i].message);
        assert_null(joblog_failure(l));
        _cleanup_free_ char *text = get(dir, "100-0"); /* truncated at each open */
        assert_string_equal(text, joblog_text(l));
        char *rest = text;
        for (size_t k = 0; k < 3 && cases[i].lines[k]; k++) {
            char *line = strsep(&rest, "\n");
            assert_non_null(line);
            assert_string_equal(message_of(line, "100-0"), cases[i].lines[k]);
        }
        assert_string_equal(rest, "");
    }
}

static void test_refuses(void **state)
{
    struct err e;
    static const char *const ids[] = {"",      "../x", "a", "100-0/..", "100-0000000000000000000000000000",
                                      "100-0 "};
    for (size_t i = 0; i < ELEMENTS(ids); i++) {
        assert_null(joblog_open(*state, ids[i], false, &e));
        assert_int_equal(e.kind, ERR_USAGE);
    }
    /* a link planted in the log directory: what it points at is neither truncated nor written */
    put(*state, "victim", "precious");
    _cleanup_free_ char *victim = xasprintf("%s/victim", (char *)*state);
    _cleanup_free_ char *link = xasprintf("%s/100-0", (char *)*state);
    _cleanup_free_ char *fifo = xasprintf("%s/100-1", (char *)*state);
    _cleanup_free_ char *dir = xasprintf("%s/100-2", (char *)*state);
    assert_int_equal(symlink(victim, link), 0);
    assert_int_equal(mkfifo(fifo, 0644), 0);
    assert_int_equal(mkdir(dir, 0755), 0);
    static const char *const odd[] = {"100-0", "100-1", "100-2"};
    for (size_t i = 0; i < ELEMENTS(odd); i++) {
        _cleanup_(joblog_freep) struct joblog *l = joblog_open(*state, odd[i], false, &e);
        joblog_add(l, "kept in memory");
        assert_non_null(strstr(joblog_failure(l), odd[i]));
        assert_non_null(strstr(joblog_text(l), "kept in memory"));
    }
    _cleanup_free_ char *text = get(*state, "victim");
    assert_string_equal(text, "precious");
}

static void test_long_log_keeps_both_ends(void **state)
{
    struct err e;
    _cleanup_(joblog_freep) struct joblog *l = joblog_open(*state, "100-0", false, &e);
    assert_non_null(l);
    for (int i = 0; i < 20000; i++)
        joblog_add(l, "line %d", i);
    const char *kept = joblog_text(l);
    assert_true(strlen(kept) <= 256 << 10);
    assert_non_null(strstr(kept, ": line 0\n"));
    assert_non_null(strstr(kept, "\n[lines left out]\n2"));
    assert_non_null(strstr(kept, ": line 19999\n"));
    _cleanup_free_ char *text = get(*state, "100-0");
    assert_true(strlen(text) > 256 << 10); /* the file has them all */
    assert_non_null(strstr(text, ": line 10000\n"));
}

static void test_write_error_does_not_stop(void **state)
{
    struct err e;
    if (access("/dev/full", W_OK) < 0)
        skip();
    _cleanup_(joblog_freep) struct joblog *l = joblog_open(*state, "100-0", false, &e);
    assert_non_null(l);
    _cleanup_free_ char *path = xasprintf("%s/100-0", (char *)*state);
    /* the log's descriptor, found by its file, now leads to a device without space */
    struct stat want, st;
    assert_int_equal(stat(path, &want), 0);
    int full = open("/dev/full", O_WRONLY), fd = 0;
    while (fd < 100 && (fstat(fd, &st) < 0 || st.st_ino != want.st_ino || st.st_dev != want.st_dev))
        fd++;
    assert_int_equal(dup2(full, fd), fd);
    close(full);
    joblog_add(l, "one");
    joblog_add(l, "two");
    assert_non_null(strstr(joblog_failure(l), "No space left"));
    assert_non_null(strstr(joblog_text(l), "two"));
}

static void test_no_log(void **state)
{
    joblog_add(NULL, "nothing");
    assert_string_equal(joblog_text(NULL), "");
    assert_null(joblog_failure(NULL));
    joblog_free(NULL);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        DIR_TEST(test_lines),
        DIR_TEST(test_refuses),
        DIR_TEST(test_long_log_keeps_both_ends),
        DIR_TEST(test_write_error_does_not_stop),
        DIR_TEST(test_no_log),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
