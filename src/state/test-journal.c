#include "state/testdir.h"

#include "base/testbrief.h"
#include "state/journal.h"
#include "state/runtotals.h"

#include <dirent.h>
#include <limits.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/wait.h>
#include <unistd.h>

static struct journal *open_journal(const char *dir)
{
    struct err e;
    struct journal *j = journal_open(dir, &e);
    if (!j)
        fail_msg("%s", e.text);
    return j;
}

static struct journal_run new_run(const char *job, int64_t start)
{
    struct journal_run run = {.start = start, .node = "pve1", .target = "pve2"};
    snprintf(run.job, sizeof run.job, "%s", job);
    return run;
}

static void assert_ok(int rc, const struct err *e)
{
    if (rc != 0)
        fail_msg("%s", e->text);
}

static void complete(struct journal *j, struct journal_run *run, const char *result)
{
    struct err e;
    snprintf(run->result, sizeof run->result, "%s", result);
    run->duration = 1.25;
    assert_ok(journal_end(j, run, &e), &e);
}

struct seen {
    struct buf text;
    unsigned n, stop_after;
};

static bool see(const struct journal_run *run, void *arg)
{
    struct seen *s = arg;
    buf_addf(&s->text, "%s@%lld=%s ", run->job, (long long)run->start, run->result);
    return ++s->n != s->stop_after;
}

static void assert_listed(struct journal *j, const char *job, unsigned limit, unsigned stop_after,
                          const char *expected)
{
    struct err e;
    struct seen s = {.stop_after = stop_after};
    assert_ok(journal_list(j, job, limit, true, see, &s, &e), &e);
    assert_string_equal(buf_str(&s.text), expected);
    buf_release(&s.text);
}

static void test_begin_end_list(void **state)
{
    struct err e;
    _cleanup_(journal_freep) struct journal *j = open_journal(*state);
    assert_null(journal_notice(j));
    assert_listed(j, NULL, 0, 0, "");
    struct journal_run a = new_run("100-0", 1000), b = new_run("100-1", 2000), c = new_run("100-0", 3000);
    assert_ok(journal_begin(j, &a, &e), &e);
    assert_ok(journal_begin(j, &b, &e), &e);
    complete(j, &a, "ok");
    assert_ok(journal_begin(j, &c, &e), &e);
    static const struct {
        const char *job;
        unsigned limit, stop_after;
        const char *expected;
    } cases[] = {
        {NULL, 0, 0, "100-0@3000=running 100-1@2000=running 100-0@1000=ok "},
        {"100-0", 0, 0, "100-0@3000=running 100-0@1000=ok "},
        {"100-0", 1, 0, "100-0@3000=running "},
        {NULL, 0, 2, "100-0@3000=running 100-1@2000=running "},
        {"100-10", 0, 0, ""},
        {"' OR 1=1 --", 0, 0, ""},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++)
        assert_listed(j, cases[i].job, cases[i].limit, cases[i].stop_after, cases[i].expected);
}

static bool check_all_fields(const struct journal_run *run, void *arg)
{
    assert_string_equal(run->job, "100-0");
    assert_string_equal(run->node, "pve1");
    assert_string_equal(run->target, "pve2");
    assert_int_equal(run->start, 1000);
    assert_true(run->duration == 1.25);
    assert_string_equal(run->result, "failed");
    assert_string_equal(run->err_kind, "network");
    assert_string_equal(run->error, "cut 'here'");
    assert_true(run->bytes == UINT64_C(1) << 45);
    assert_int_equal(run->delta, 4096);
    assert_string_equal(run->steps, "[{\"name\":\"send\",\"seconds\":1}]");
    assert_string_equal(run->log, "a log\n");
    (*(int *)arg)++;
    return true;
}

static void test_fields_survive(void **state)
{
    struct err e;
    struct journal *j = open_journal(*state);
    struct journal_run run = new_run("100-0", 1000);
    assert_ok(journal_begin(j, &run, &e), &e);
    snprintf(run.err_kind, sizeof run.err_kind, "network");
    run.error = (char *)"cut 'here'";
    run.bytes = UINT64_C(1) << 45;
    run.delta = 4096;
    run.steps = (char *)"[{\"name\":\"send\",\"seconds\":1}]";
    run.log = (char *)"a log\n";
    complete(j, &run, "failed");
    journal_free(j);
    j = open_journal(*state);
    int n = 0;
    assert_ok(journal_list(j, NULL, 0, true, check_all_fields, &n, &e), &e);
    assert_int_equal(n, 1);
    journal_free(j);
}

/* Of job 100-0, and of the other. */
static bool collect_errors(const struct journal_run *run, void *arg)
{
    const char **said = arg;
    said[strcmp(run->job, "100-0") != 0] = run->error ? xstrdup(run->error) : NULL;
    return true;
}

static void assert_interrupted(const char *dir, const char *job, uint64_t n)
{
    struct err e;
    struct run_totals totals;
    _cleanup_(run_totals_freep) struct run_totals_reader *r = run_totals_open(dir, &e);
    assert_non_null(r);
    assert_ok(run_totals_get(r, job, 0, &totals, &e), &e);
    assert_int_equal(totals.interrupted, n);
}

/* A FIFO would be waited for. */
static void test_no_regular_file(void **state)
{
    struct err e = {0};
    static const char *const names[] = {"pvesr-journal.db", "pvesr-journal.db-wal"};
    for (size_t i = 0; i < ELEMENTS(names); i++) {
        _cleanup_free_ char *path = xasprintf("%s/%s", (char *)*state, names[i]);
        remove(path);
        assert_int_equal(mkfifo(path, 0600), 0);
        alarm(60);
        assert_null(journal_open(*state, &e));
        assert_non_null(strstr(e.text, "is no regular file"));
        assert_null(run_totals_open(*state, &e));
        assert_non_null(strstr(e.text, "is no regular file"));
        alarm(0);
        remove(path);
        journal_free(open_journal(*state)); /* the next one is in its way */
    }
}

static void test_killed_run_shows_as_interrupted(void **state)
{
    pid_t pid = fork();
    if (pid == 0) {
        struct err e;
        struct journal_run run = new_run("100-0", 1000);
        struct journal *j = journal_open(*state, &e);
        if (!j || journal_begin(j, &run, &e) < 0)
            _exit(1);
        raise(SIGKILL);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    _cleanup_(journal_freep) struct journal *j = open_journal(*state);
    assert_listed(j, NULL, 0, 0, "100-0@1000=interrupted ");
    struct journal_run other = new_run("100-1", 2000);
    struct err e;
    assert_ok(journal_begin(j, &other, &e), &e);
    assert_interrupted(*state, "100-0", 1);
    assert_interrupted(*state, "100-1", 0); /* of this process, which lives */
    struct journal_run killed = new_run("100-0", 999);
    killed.error = (char *)"by signal 9";
    assert_ok(journal_killed(j, pid, &killed, &e), &e);
    const char *said[2] = {0};
    assert_ok(journal_list(j, NULL, 0, true, collect_errors, said, &e), &e);
    assert_true(!said[1] && said[0]);
    free((char *)said[0]);
}

/* A run in a process of its own, which ends when `tell` is closed. */
static pid_t run_until_told(const char *dir, const char *job, int tell[2])
{
    char byte;
    int begun[2];
    assert_int_equal(pipe(tell), 0);
    assert_int_equal(pipe(begun), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct err e;
        struct journal_run run = new_run(job, 1000);
        struct journal *j = journal_open(dir, &e);
        close(tell[1]);
        if (!j || journal_begin(j, &run, &e) < 0 || write(begun[1], "", 1) != 1 ||
            read(tell[0], &byte, 1) != 0)
            _exit(1);
        strcpy(run.result, "ok");
        _exit(journal_end(j, &run, &e) < 0);
    }
    close(tell[0]);
    close(begun[1]);
    assert_int_equal(read(begun[0], &byte, 1), 1);
    close(begun[0]);
    return pid;
}

struct ending {
    struct seen seen;
    pid_t pid;
    int tell;
};

/* At the first one, what another one does ends. */
static bool see_while_it_ends(const struct journal_run *run, void *arg)
{
    struct ending *e = arg;
    int status;
    if (e->seen.n == 0) {
        close(e->tell);
        assert_int_equal(waitpid(e->pid, &status, 0), e->pid);
        assert_int_equal(status, 0);
    }
    return see(run, &e->seen);
}

/* It recorded its end, be it after the list was begun: nobody cut it. */
static void test_run_that_ends_meanwhile(void **state)
{
    int tell[2];
    struct err e;
    pid_t pid = run_until_told(*state, "100-0", tell);
    _cleanup_(journal_freep) struct journal *j = open_journal(*state);
    struct journal_run newer = new_run("100-1", 2000);
    assert_ok(journal_begin(j, &newer, &e), &e);
    struct ending ending = {.pid = pid, .tell = tell[1]};
    assert_ok(journal_list(j, NULL, 0, true, see_while_it_ends, &ending, &e), &e);
    assert_string_equal(buf_str(&ending.seen.text), "100-1@2000=running 100-0@1000=running ");
    buf_release(&ending.seen.text);
    assert_listed(j, "100-0", 0, 0, "100-0@1000=ok ");
}

static bool has_no_log(const struct journal_run *run, void *arg)
{
    assert_null(run->log);
    (*(int *)arg)++;
    return true;
}

static void test_without_logs(void **state)
{
    struct err e;
    _cleanup_(journal_freep) struct journal *j = open_journal(*state);
    struct journal_run run = new_run("100-0", 1000);
    assert_ok(journal_begin(j, &run, &e), &e);
    run.log = (char *)"a log\n";
    complete(j, &run, "ok");
    int n = 0;
    assert_ok(journal_list(j, NULL, 0, false, has_no_log, &n, &e), &e);
    assert_int_equal(n, 1);
}

/* A run that was killed before it made its row gets one; one that had completed it gets no second. */
static void test_killed_without_a_row(void **state)
{
    _cleanup_(journal_freep) struct journal *j = open_journal(*state);
    struct journal_run run = new_run("100-0", 1000), killed = new_run("100-0", 1999);
    struct err e;
    assert_ok(journal_begin(j, &run, &e), &e);
    strcpy(run.result, "ok");
    assert_ok(journal_end(j, &run, &e), &e);
    run.error = killed.error = (char *)"by signal 9";
    assert_ok(journal_killed(j, getpid(), &run, &e), &e);
    assert_listed(j, NULL, 0, 0, "100-0@1000=ok ");
    assert_ok(journal_killed(j, getpid(), &killed, &e), &e);
    assert_listed(j, NULL, 0, 0, "100-0@1999=interrupted 100-0@1000=ok ");
}

static void test_writers_at_once(void **state)
{
    enum { WRITERS = 4, RUNS = 25 };
    pid_t pids[WRITERS];
    for (int i = 0; i < WRITERS; i++)
        if ((pids[i] = fork()) == 0) {
            struct err e;
            struct journal *j = journal_open(*state, &e); /* they make the file together, too */
            for (int k = 0; j && k < RUNS; k++) {
                struct journal_run run = new_run("100-0", 1000 + k);
                if (journal_begin(j, &run, &e) < 0)
                    _exit(1);
                snprintf(run.result, sizeof run.result, "ok");
                if (journal_end(j, &run, &e) < 0)
                    _exit(2);
            }
            journal_free(j);
            _exit(j ? 0 : 3);
        }
    for (int i = 0; i < WRITERS; i++) {
        int status;
        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_int_equal(status, 0);
    }
    struct err e;
    struct seen s = {0};
    _cleanup_(journal_freep) struct journal *j = open_journal(*state);
    assert_ok(journal_list(j, NULL, 0, true, see, &s, &e), &e);
    assert_int_equal(s.n, WRITERS * RUNS);
    assert_null(strstr(s.text.data, "running"));
    buf_release(&s.text);
}

/* The first ones to open make the file: each round is a new folder, and the pipe's end is their start. */
static void test_first_openers(void **state)
{
    enum { OPENERS = 8 };
    for (int round = 0; round < test_rounds(30); round++) {
        char dir[PATH_MAX];
        snprintf(dir, sizeof dir, "%s/round-%d", (const char *)*state, round);
        int start[2];
        pid_t pids[OPENERS];
        assert_int_equal(pipe(start), 0);
        for (int i = 0; i < OPENERS; i++)
            if ((pids[i] = fork()) == 0) {
                struct err e;
                char none;
                close(start[1]);
                if (read(start[0], &none, 1) != 0)
                    _exit(2);
                struct journal *j = journal_open(dir, &e);
                if (!j)
                    fprintf(stderr, "%s\n", e.text);
                journal_free(j);
                _exit(j ? 0 : 1);
            }
        close(start[0]);
        close(start[1]);
        for (int i = 0; i < OPENERS; i++) {
            int status;
            assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
            assert_int_equal(status, 0);
        }
    }
}

static void test_prune_keeps_ten_of_each(void **state)
{
    struct err e;
    _cleanup_(journal_freep) struct journal *j = open_journal(*state);
    for (int i = 0; i < 30; i++) {
        struct journal_run a = new_run("100-0", 1000 + i), b = new_run("100-1", 1000 + i);
        assert_ok(journal_begin(j, &a, &e), &e);
        if (i < 12)
            assert_ok(journal_begin(j, &b, &e), &e);
    }
    struct seen s = {0};
    assert_ok(journal_prune(j, "100-1", 1015, &e), &e);
    assert_ok(journal_list(j, NULL, 0, true, see, &s, &e), &e);
    assert_int_equal(s.n, 30 + 10);
    buf_release(&s.text);
    s = (struct seen){0};
    assert_ok(journal_prune(j, NULL, 1015, &e), &e);
    assert_ok(journal_list(j, "100-0", 0, true, see, &s, &e), &e);
    assert_int_equal(s.n, 15); /* 1015 … 1029 */
    assert_ok(journal_list(j, "100-1", 0, true, see, &s, &e), &e);
    assert_int_equal(s.n, 15 + 10); /* all are old: the newest ten stay */
    assert_non_null(strstr(s.text.data, "100-1@1002"));
    assert_null(strstr(s.text.data, "100-1@1001"));
    assert_ok(journal_prune(j, NULL, INT64_MAX, &e), &e);
    assert_ok(journal_list(j, NULL, 0, true, see, &s, &e), &e);
    assert_int_equal(s.n, 15 + 10 + 20);
    buf_release(&s.text);
}

static bool is_first(const char *job, void *arg)
{
    return strcmp(job, "100-0") == 0;
}

/* Of a job that is no more not even those, in portions. */
static void test_sweep(void **state)
{
    struct err e;
    _cleanup_(journal_freep) struct journal *j = open_journal(*state);
    for (int i = 0; i < 20; i++) {
        struct journal_run a = new_run("100-0", 1000 + i), b = new_run("100-1", 1000 + i);
        assert_ok(journal_begin(j, &a, &e), &e);
        assert_ok(journal_begin(j, &b, &e), &e);
    }
    static const size_t left[] = {10 + 13, 10 + 6, 10 + 5, 10 + 5};
    for (size_t i = 0; i < ELEMENTS(left); i++) {
        struct seen s = {0};
        assert_ok(journal_sweep(j, is_first, NULL, 1015, 7, &e), &e);
        assert_ok(journal_list(j, NULL, 0, true, see, &s, &e), &e);
        assert_int_equal(s.n, left[i]);
        buf_release(&s.text);
    }
}

/* One of them began by a clock that was years ahead: what came after it is newer all the same. */
static void test_newest_is_what_came_last(void **state)
{
    struct err e;
    _cleanup_(journal_freep) struct journal *j = open_journal(*state);
    for (int i = 0; i < 12; i++) {
        struct journal_run run = new_run("100-0", i == 3 ? 1 << 30 : 1000 + i);
        assert_ok(journal_begin(j, &run, &e), &e);
    }
    assert_listed(j, "100-0", 2, 0, "100-0@1011=running 100-0@1010=running ");
}

/* Names in the directory that contain `part`. */
static unsigned count_files(const char *dir, const char *part)
{
    unsigned n = 0;
    DIR *d = opendir(dir);
    for (const struct dirent *entry; (entry = readdir(d));)
        n += strstr(entry->d_name, part) != NULL;
    closedir(d);
    return n;
}

static void test_damaged_file_is_moved_aside(void **state)
{
    struct err e;
    put(*state, "pvesr-journal.db",
        "this is no database, but it is longer than the hundred bytes of a header, which "
        "is what SQLite looks at before it says so");
    struct journal *j = open_journal(*state);
    assert_non_null(journal_notice(j));
    assert_non_null(strstr(journal_notice(j), ".damaged-"));
    assert_int_equal(count_files(*state, ".damaged-"), 1);
    struct journal_run run = new_run("100-0", 1000);
    assert_ok(journal_begin(j, &run, &e), &e);
    assert_listed(j, NULL, 0, 0, "100-0@1000=running ");
    journal_free(j);
    j = open_journal(*state);
    assert_null(journal_notice(j));
    journal_free(j);
}

/* The header is sound, the pages are not: opening goes well, the first write finds it. */
static void test_damage_found_while_writing(void **state)
{
    struct err e;
    struct journal *j = open_journal(*state);
    for (int i = 0; i < 200; i++) {
        struct journal_run run = new_run("100-0", 1000 + i);
        assert_ok(journal_begin(j, &run, &e), &e);
    }
    journal_free(j);
    _cleanup_free_ char *path = xasprintf("%s/pvesr-journal.db", (char *)*state);
    sqlite3 *db;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "PRAGMA wal_checkpoint(TRUNCATE)", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    FILE *f = fopen(path, "r+");
    fseek(f, 100, SEEK_SET);
    for (off_t i = 100; i < st.st_size; i++)
        fputc(0x5a, f);
    fclose(f);

    j = open_journal(*state);
    struct journal_run run = new_run("100-1", 5000);
    assert_ok(journal_begin(j, &run, &e), &e);
    assert_non_null(journal_notice(j));
    complete(j, &run, "ok");
    assert_listed(j, NULL, 0, 0, "100-1@5000=ok ");
    journal_free(j);
}

static void test_end_in_a_new_journal(void **state)
{
    struct err e;
    struct journal *j = open_journal(*state);
    struct journal_run mine = new_run("100-0", 1000), other = new_run("200-0", 1000);
    mine.row = 1; /* of the journal that was lost; in this one another run has it */
    assert_ok(journal_begin(j, &other, &e), &e);
    assert_int_equal(other.row, 1);
    complete(j, &mine, "ok");
    assert_listed(j, NULL, 0, 0, "100-0@1000=ok 200-0@1000=running ");
    journal_free(j);
}

static void test_newer_schema_is_refused(void **state)
{
    struct err e;
    journal_free(open_journal(*state));
    _cleanup_free_ char *path = xasprintf("%s/pvesr-journal.db", (char *)*state);
    sqlite3 *db;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "PRAGMA user_version = 99", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    assert_null(journal_open(*state, &e));
    assert_int_equal(e.kind, ERR_CONFIG);
    assert_int_equal(count_files(*state, ".damaged-"), 0);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        DIR_TEST(test_begin_end_list),
        DIR_TEST(test_fields_survive),
        DIR_TEST(test_no_regular_file),
        DIR_TEST(test_killed_run_shows_as_interrupted),
        DIR_TEST(test_run_that_ends_meanwhile),
        DIR_TEST(test_without_logs),
        DIR_TEST(test_killed_without_a_row),
        DIR_TEST(test_first_openers),
        DIR_TEST(test_writers_at_once),
        DIR_TEST(test_prune_keeps_ten_of_each),
        DIR_TEST(test_sweep),
        DIR_TEST(test_newest_is_what_came_last),
        DIR_TEST(test_damaged_file_is_moved_aside),
        DIR_TEST(test_damage_found_while_writing),
        DIR_TEST(test_end_in_a_new_journal),
        DIR_TEST(test_newer_schema_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
