/* The queue: what is told of jobs that do not run. */
#include "sched/testqueue.h"

/* What was told at `now`, each followed by a blank. */
static const char *overdue(struct world *w, int64_t began, int64_t now)
{
    free(w->told);
    w->told = NULL;
    queue_tell_overdue(&w->q, began, now, tell, w);
    return w->told ? w->told : "";
}

/* Told once, a day later again, and anew after a success. */
static void test_overdue(void **state)
{
    struct world *w = *state;
    configure(w, FIVE_JOBS);
    for (size_t i = 0; i < w->jobs.n; i++)
        record(w, w->jobs.v[i].id, i ? 10000000 : 9000, NULL);
    look(w, 10000);
    assert_int_equal(queue_wake_overdue(&w->q, 0, 10000), 11700);
    assert_string_equal(overdue(w, 0, 11699), "");
    assert_string_equal(overdue(w, 0, 11700), "100-0 ");
    assert_string_equal(overdue(w, 0, 11701), "");
    configure(w, FIVE_JOBS);
    look(w, 11702);
    assert_string_equal(overdue(w, 0, 11702), "");
    assert_int_equal(queue_wake_overdue(&w->q, 0, 11702), 11700 + QUEUE_TELL_AGAIN);
    assert_string_equal(overdue(w, 0, 11700 + QUEUE_TELL_AGAIN), "100-0 ");
    record(w, "100-0", 200000, NULL);
    look(w, 200001);
    assert_string_equal(overdue(w, 0, 200001), "");
    assert_string_equal(overdue(w, 0, 202499), "");
    assert_string_equal(overdue(w, 0, 202500), "100-0 ");
}

/* A process that has just begun makes up for what was missed before it complains. */
static void test_overdue_at_first(void **state)
{
    struct world *w = *state;
    configure(w, "local: 100-0\n\ttarget pve2\n");
    record(w, "100-0", 1000, NULL);
    look(w, 50000);
    assert_int_equal(queue_wake_overdue(&w->q, 50000, 50000), 50300);
    assert_string_equal(overdue(w, 50000, 50299), "");
    assert_string_equal(overdue(w, 50000, 50300), "100-0 ");
}

/* What was told by a clock that was ahead is told again by the right one. */
static void test_overdue_by_another_clock(void **state)
{
    struct world *w = *state;
    configure(w, "local: 100-0\n\ttarget pve2\n");
    record(w, "100-0", 1000, NULL);
    look(w, 50000000);
    assert_string_equal(overdue(w, 1, 50000000), "100-0 ");
    look(w, 60000);
    assert_string_equal(overdue(w, 1, 60000), "100-0 ");
    assert_string_equal(overdue(w, 1, 60001), "");
}

/* Nobody is to look for a daemon that does not run. */
static void test_overdue_for_ever(void **state)
{
    struct world *w = *state;
    static const char *const schedules[] = {"2019-1-1", "*/15"};
    for (int i = 0; i < 2; i++) {
        _cleanup_free_ char *text = xasprintf("local: 100-0\n\ttarget pve2\n\tschedule %s\n", schedules[i]);
        configure(w, text);
        record(w, "100-0", 1700000000, NULL);
        look(w, 1800000000);
        _cleanup_free_ char *why = queue_why_overdue(&w->q, queue_find(&w->q, "100-0"), NULL, 1800000000);
        assert_string_equal(why,
                            i ? "no run has succeeded: 'pvesr history' says what they did"
                              : "its schedule has no event any more: give it another one, or run it by hand");
    }
}

/* A guest whose file is gone, or lies on two nodes: its job is never due, and does not vanish. */
static void test_overdue_without_guest(void **state)
{
    struct world *w = *state;
    struct guest_list here = w->guests;
    configure(w,
              "local: 100-0\n\ttarget pve2\n\tsource pve1\n\nlocal: 101-0\n\ttarget pve1\n\tsource pve2\n");
    record(w, "100-0", 1000, NULL);
    w->guests.v += 2;
    w->guests.n -= 2;
    configure(w,
              "local: 100-0\n\ttarget pve2\n\tsource pve1\n\nlocal: 101-0\n\ttarget pve1\n\tsource pve2\n");
    look(w, 90000);
    assert_string_equal(start(w, 90000), "");
    assert_string_equal(overdue(w, 1, 90000), "100-0 ");
    _cleanup_free_ char *why = queue_why_overdue(&w->q, queue_find(&w->q, "100-0"), NULL, 90000);
    assert_non_null(strstr(why, "no guest 100"));
    w->guests = here;
}

/* The next run says nothing about those before it. */
static void test_why_while_running(void **state)
{
    struct world *w = *state;
    configure(w, "local: 100-0\n\ttarget pve2\n");
    record(w, "100-0", 1000, NULL);
    look(w, 9000);
    struct queue_job *j = queue_find(&w->q, "100-0");
    queue_refused(&w->q, j, "no such program", 9000);
    queue_started(&w->q, j);
    _cleanup_free_ char *why = queue_why_overdue(&w->q, j, NULL, 9000);
    assert_non_null(strstr(why, "1 runs in a row left no trace, the last: no such program"));
    queue_ended(&w->q, "100-0", QUEUE_DONE);
}

/* Why its runs are put off, as the state has it; and one that is gone without a word, which is reported once
 * it was counted. */
static void test_put_off_and_lost(void **state)
{
    struct world *w = *state;
    struct err e;
    configure(w, "local: 100-0\n\ttarget pve2\n");
    record(w, "100-0", 1000, NULL);
    for (int i = 0; i < 2; i++)
        assert_int_equal(job_state_postpone(w->dir, 100, "pve2", "in use by x", &e), 0);
    look(w, 9000);
    struct queue_job *j = queue_find(&w->q, "100-0");
    _cleanup_free_ char *why = queue_why_overdue(&w->q, j, NULL, 9000);
    assert_string_equal(why, "its runs were postponed, 2 in a row: in use by x");
    assert_int_equal(j->dead, 0);
    struct job_state failed = state_of(w, "100-0");
    failed.error = xstrdup("no route");
    store(w, "100-0", &failed);
    look(w, 9000);
    _cleanup_free_ char *both = queue_why_overdue(&w->q, j, NULL, 9000);
    assert_string_equal(both,
                        "its runs were postponed, 2 in a row: in use by x; the one before failed: no route");
    record(w, "100-0", 2000, NULL); /* by hand */
    look(w, 9000);
    assert_int_equal(j->postponed, 0);
    struct job_state s = state_of(w, "100-0");
    s.pid = INT32_MAX;
    s.ptime = 5;
    store(w, "100-0", &s);
    look(w, 9001);
    assert_true(j->dead == INT32_MAX && !w->told);
    const struct job_loss loss = {.pid = j->dead, .how = "killed"};
    assert_int_equal(job_state_lose(w->dir, 100, "pve2", &loss, &e), 0);
    queue_lost(&w->q, j);
    look(w, 9002);
    assert_string_equal(w->told, "100-0 ");
    assert_true(j->dead == 0 && j->fail_count == 1);
    assert_string_equal(j->error, "killed");
}

int main(void)
{
    setenv("TZ", "UTC", 1);
    tzset();
    const struct CMUnitTest tests[] = {
        WORLD_TEST(test_overdue),
        WORLD_TEST(test_overdue_at_first),
        WORLD_TEST(test_overdue_for_ever),
        WORLD_TEST(test_overdue_by_another_clock),
        WORLD_TEST(test_overdue_without_guest),
        WORLD_TEST(test_why_while_running),
        WORLD_TEST(test_put_off_and_lost),
    };
    return cmocka_run_group_tests_name("told", tests, NULL, NULL);
}
