/* Several processes write the state file at once, and die while they do. */
#include "state/testdir.h"

#include "base/proc.h"
#include "base/testbrief.h"
#include "state/jobstate.h"

#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { WRITERS = 4, ROUNDS = 40, ENTRIES = 4000 };

/* Each writer has an entry of its own, and they share the guests. */
static int write_many(const char *dir, int writer)
{
    for (int round = 1; round <= test_rounds(ROUNDS); round++) {
        struct err e;
        struct job_state s;
        char target[16];
        snprintf(target, sizeof target, "node%d", writer);
        if (job_state_load(dir, 100, target, &s, &e) < 0 || s.fail_count != round - 1)
            return 1;
        s.fail_count = round;
        if (job_state_store(dir, 100, target, &s, &e) < 0)
            return 2;
        job_state_release(&s);
    }
    return 0;
}

static void test_no_update_is_lost(void **state)
{
    pid_t pids[WRITERS];
    for (int i = 0; i < WRITERS; i++)
        if ((pids[i] = fork()) == 0)
            _exit(write_many(*state, i));
    for (int i = 0; i < WRITERS; i++) {
        int status;
        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_int_equal(status, 0);
    }
    for (int i = 0; i < WRITERS; i++) {
        struct err e;
        struct job_state s;
        char target[16];
        snprintf(target, sizeof target, "node%d", i);
        assert_int_equal(job_state_load(*state, 100, target, &s, &e), 0);
        assert_int_equal(s.fail_count, test_rounds(ROUNDS));
        job_state_release(&s);
    }
}

/* Writes without end; each write is told by one byte. */
static void write_for_ever(const char *dir, int told)
{
    struct job_state s = {.duration = 1.5, .error = (char *)"an error text"};
    struct err e;
    for (s.fail_count = 1;; s.fail_count++) {
        if (job_state_store(dir, 100, "a", &s, &e) < 0)
            _exit(1);
        if (write(told, "", 1) != 1)
            _exit(2);
    }
}

/* Enough other entries that most kills hit while the file is being written. */
static void put_many_entries(const char *dir)
{
    _cleanup_buf_ struct buf text = BUF_INIT;
    for (unsigned i = 0; i < ENTRIES; i++)
        buf_addf(&text, "%c\"%u\":{\"local/b\":{\"last_sync\":1700000000,\"note\":\"some text\"}}",
                 i ? ',' : '{', 1000 + i);
    buf_addc(&text, '}');
    put(dir, "pve-replication-state.json", text.data);
}

static void test_kill_leaves_a_whole_file(void **state)
{
    int64_t seen = 0;
    put_many_entries(*state);
    for (int round = 0; round < test_rounds(ROUNDS); round++) {
        int told[2];
        assert_int_equal(pipe(told), 0);
        pid_t pid = fork();
        if (pid == 0)
            write_for_ever(*state, told[1]);
        char c;
        close(told[1]);
        for (int i = 0; i <= round % 2; i++)
            assert_int_equal(read(told[0], &c, 1), 1);
        nanosleep(&(struct timespec){0, round * 400000}, NULL); /* die at another instruction each time */
        kill(pid, SIGKILL);
        int status;
        waitpid(pid, &status, 0);
        assert_true(WIFSIGNALED(status));
        close(told[0]);

        struct err e;
        struct job_state s;
        if (job_state_load(*state, 100, "a", &s, &e) < 0)
            fail_msg("%s", e.text);
        assert_true(s.exists && s.fail_count >= 1);
        seen += s.fail_count;
        job_state_release(&s);
        assert_int_equal(job_state_load(*state, 999 + ENTRIES, "b", &s, &e), 0);
        assert_int_equal(s.last_sync, 1700000000);
        job_state_release(&s);
        const struct job job = {.id = "100-0", .guest = 100, .target = (char *)"a"};
        assert_int_equal(job_state_schedule_now(*state, &job, &e), 0); /* and the lock is free */
    }
    assert_true(seen >= test_rounds(ROUNDS));
}

/* A run: that it is under way, told by a byte, and that it has ended. */
static void begin_and_end(const char *dir, int told)
{
    struct err e;
    struct job_state s = {.duration = -1, .last_try = 7, .pid = getpid(), .ptime = proc_start_time(getpid())};
    if (job_state_store(dir, 100, "a", &s, &e) < 0)
        _exit(1);
    if (write(told, "", 1) != 1)
        _exit(1);
    s.pid = 0;
    s.last_sync = 7;
    _exit(job_state_store(dir, 100, "a", &s, &e) < 0);
}

static void look_at(const struct job_states *all, const char *dir)
{
    struct err e;
    struct job_state s;
    if (all)
        job_states_get(all, 100, "a", &s);
    else
        assert_int_equal(job_state_load(dir, 100, "a", &s, &e), 0);
    assert_int_equal(s.lost, 0);
    job_state_release(&s);
}

/* Whoever looks while a run ends takes it for no lost one, however old what was read is by then. */
static void test_end_is_no_loss(void **state)
{
    struct err e;
    put_many_entries(*state); /* it takes a while to read them */
    for (int round = 0; round < test_rounds(ROUNDS); round++) {
        int told[2], status;
        char c;
        assert_int_equal(pipe(told), 0);
        pid_t pid = fork();
        if (pid == 0)
            begin_and_end(*state, told[1]);
        assert_int_equal(read(told[0], &c, 1), 1);
        struct job_states *all = job_states_load(*state, &e);
        look_at(NULL, *state);
        look_at(all, *state);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
        look_at(all, *state);
        job_states_free(all);
        close(told[0]);
        close(told[1]);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        DIR_TEST(test_no_update_is_lost),
        DIR_TEST(test_kill_leaves_a_whole_file),
        DIR_TEST(test_end_is_no_loss),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
