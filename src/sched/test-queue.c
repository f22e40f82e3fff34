/* The queue: what runs when. */
#include "sched/testqueue.h"

#define TWO_JOBS "local: 900-0\n\ttarget pve2\n\nlocal: 900-1\n\ttarget pve1\n"

/* R2: two jobs of one guest, to another node and to its own; passes each minute. */
static void test_timeline_success(void **state)
{
    struct world *w = *state;
    _cleanup_strv_ struct strv got = STRV_INIT;
    configure(w, TWO_JOBS);
    for (int64_t now = 0; now <= 3600; now += 60) {
        struct job_state before = state_of(w, "900-0");
        if (*run_one(w, now, NULL))
            strv_addf(&got, "%lld after %lld", (long long)now, (long long)before.last_sync);
        job_state_release(&before);
        assert_string_equal(start(w, now), "");
    }
    _cleanup_free_ char *all = strv_join(&got, ", ");
    assert_string_equal(all, "900 after 0, 1800 after 900, 2700 after 1800, 3600 after 2700");
}

/* R4: every run fails; 120 passes from t = 1000 on. */
static void test_timeline_failure(void **state)
{
    struct world *w = *state;
    _cleanup_strv_ struct strv got = STRV_INIT;
    configure(w, TWO_JOBS);
    look(w, 1000);
    assert_int_equal(queue_find(&w->q, "900-0")->next, 900);
    assert_null(queue_find(&w->q, "900-1"));
    for (int64_t now = 1000; now < 1000 + 120 * 60; now += 60)
        if (*run_one(w, now, "no route"))
            strv_addf(&got, "%lld", (long long)now);
    look(w, 9000);
    _cleanup_free_ char *all = strv_join(&got, " ");
    assert_string_equal(all, "1000 1300 1900 2800 4600 6400");
    assert_int_equal(queue_find(&w->q, "900-0")->fail_count, 6);
    assert_string_equal(queue_find(&w->q, "900-0")->error, "no route");
}

/* R6: a job to the node itself, marked for removal, runs at once and is gone. */
static void test_removal_of_local_target(void **state)
{
    struct world *w = *state;
    configure(w, "local: 900-1\n\tremove_job full\n\ttarget pve1\n");
    look(w, 0);
    assert_int_equal(queue_find(&w->q, "900-1")->next, 1);
    assert_string_equal(start(w, 60), "900-1");
    configure(w, "");
    assert_int_equal(w->q.running, 1);
    queue_ended(&w->q, "900-1", QUEUE_DONE);
    look(w, 61);
    assert_string_equal(start(w, 61), "");
    configure(w, "");
    assert_int_equal(w->q.n, 0);
}

/* Made anew under its id, and marked again, before the end of the run was seen, as clients do that are quick:
 * no removal is put off, nor taken for a failure; but what never leaves a trace is told in the end. */
static void test_removed_and_made_anew(void **state)
{
    struct world *w = *state;
    int64_t now = 60;
    configure(w, "local: 900-1\n\tremove_job full\n\ttarget pve1\n");
    look(w, now);
    for (int i = 0; i < QUEUE_MADE_ANEW_MOST; i++, now += QUEUE_MADE_ANEW) {
        assert_string_equal(start(w, now), "900-1");
        queue_ended(&w->q, "900-1", QUEUE_DONE);
        configure(w, "local: 900-1\n\trate 5\n\tremove_job full\n\ttarget pve1\n");
        look(w, now);
        assert_false(queue_find(&w->q, "900-1")->untraced);
        assert_string_equal(start(w, now), "");
    }
    assert_string_equal(start(w, now), "900-1");
    queue_ended(&w->q, "900-1", QUEUE_DONE);
    look(w, now);
    assert_true(queue_find(&w->q, "900-1")->untraced);
}

/* The job was marked, removed and made anew after its first run was started as one that replicates. */
static void test_removed_by_its_first_run(void **state)
{
    struct world *w = *state;
    configure(w, "local: 100-0\n\ttarget pve2\n");
    look(w, 1000);
    assert_string_equal(start(w, 1000), "100-0");
    queue_ended(&w->q, "100-0", QUEUE_DONE);
    look(w, 1000);
    assert_false(queue_find(&w->q, "100-0")->untraced);
    assert_string_equal(start(w, 1000 + QUEUE_MADE_ANEW), "100-0");
}

/* Removed by force while its first run cannot reach the target, and made anew to another one: that run has
 * failed for a job that is no more, and says nothing of this one. So it is where it found its job gone, or
 * disabled, for a moment. But what never leaves a trace is told in the end. */
static void test_made_anew_during_a_run(void **state)
{
    struct world *w = *state;
    int64_t now = 1000;
    configure(w, "local: 100-0\n\ttarget pve2\n");
    look(w, now);
    for (int i = 0; i < QUEUE_MADE_ANEW_MOST; i++, now += QUEUE_MADE_ANEW) {
        _cleanup_free_ char *text = xasprintf("local: 100-0\n\tcomment %d\n\ttarget pve%d\n", i, i ? 3 : 2);
        configure(w, text);
        look(w, now);
        assert_string_equal(start(w, now), "100-0");
        if (i == 0)
            record(w, "100-0", now, "no route");
        text[strlen("local: 100-0\n\tcomment ")] = 'x';
        memcpy(strstr(text, "pve"), "pve3", 4);
        configure(w, text);
        queue_ended(&w->q, "100-0", QUEUE_FAILED);
        look(w, now);
        assert_false(queue_find(&w->q, "100-0")->untraced);
        assert_string_equal(start(w, now), "");
    }
    assert_string_equal(start(w, now), "100-0");
    configure(w, "local: 100-0\n\ttarget pve3\n");
    queue_ended(&w->q, "100-0", QUEUE_FAILED);
    look(w, now);
    assert_true(queue_find(&w->q, "100-0")->untraced);
}

/* No run can remove it: it is told what does, and none is started. */
static void test_removal_without_a_guest(void **state)
{
    struct world *w = *state;
    configure(w, "local: 777-1\n\tremove_job full\n\ttarget pve2\n");
    look(w, 1000);
    const struct queue_job *j = queue_find(&w->q, "777-1");
    assert_non_null(strstr(j->fault, "pvesr delete 777-1 --force"));
    assert_int_equal(j->next, 0);
    assert_string_equal(start(w, 1000), "");
}

/* N7: the guest is busy: no failure, no report, once more within a minute. */
static void test_busy_guest(void **state)
{
    struct world *w = *state;
    configure(w, "local: 100-0\n\ttarget pve2\n");
    look(w, 1000);
    assert_string_equal(start(w, 1000), "100-0");
    queue_ended(&w->q, "100-0", QUEUE_POSTPONED);
    assert_string_equal(start(w, 1002), ""); /* its state is not yet read */
    look(w, 1002);
    assert_string_equal(start(w, 1002), "");
    int64_t wake = queue_wake(&w->q, 1002);
    assert_in_range(wake, 1003, 1062);
    assert_string_equal(start(w, wake), "100-0");
    assert_int_equal(queue_find(&w->q, "100-0")->fail_count, 0);
}

/* A run that cannot even begin must not be started over and over. */
static void test_run_without_trace(void **state)
{
    struct world *w = *state;
    static const int64_t delays[] = {300, 600, 900, 1800, 1800};
    int64_t now = 1000;
    configure(w, "local: 100-0\n\ttarget pve2\n");
    record(w, "100-0", 100, "no route");
    look(w, now);
    for (size_t i = 0; i < ELEMENTS(delays); i++) {
        assert_string_equal(start(w, now), "100-0");
        queue_ended(&w->q, "100-0", i % 2 ? QUEUE_DONE : QUEUE_FAILED);
        look(w, now);
        assert_string_equal(start(w, now), "");
        assert_int_equal(queue_wake(&w->q, now), now + delays[i]);
        now += delays[i];
    }
    queue_refused(&w->q, queue_find(&w->q, "100-0"), "no such program", now);
    assert_int_equal(queue_wake(&w->q, now), now + 1800);
    /* Asking for it ends the waiting. */
    struct job_state s = state_of(w, "100-0");
    s.last_try = s.last_sync = now;
    store(w, "100-0", &s);
    look(w, now);
    s = state_of(w, "100-0");
    s.last_try = 0;
    store(w, "100-0", &s);
    configure(w, "local: 100-0\n\ttarget pve2\n\tcomment also changed\n");
    look(w, now);
    assert_string_equal(start(w, now), "100-0");
}

static void ask_for(struct world *w, const char *id)
{
    struct err e;
    assert_int_equal(job_state_schedule_now(w->dir, jobs_find(&w->jobs, id), &e), 0);
}

/* Whatever a job waits for in this process, asking for it ends that: also where it never ran, was asked for
 * before, or a run of it is just over. Once only, or a busy guest would be tried all the time. */
static void test_asked_for_while_put_off(void **state)
{
    static const enum queue_outcome outcomes[] = {QUEUE_POSTPONED, QUEUE_FAILED};
    struct world *w = *state;
    int64_t now = 1000;
    configure(w, "local: 100-0\n\ttarget pve2\n");
    look(w, now);
    for (size_t i = 0; i < 6; i++) {
        bool at_its_end = i >= 4;
        assert_string_equal(start(w, ++now), "100-0"); /* and it records nothing */
        if (at_its_end)
            ask_for(w, "100-0");
        queue_ended(&w->q, "100-0", outcomes[i % 2]);
        look(w, now);
        if (at_its_end)
            continue;
        assert_string_equal(start(w, now + 1), "");
        ask_for(w, "100-0");
        configure(w, "local: 100-0\n\ttarget pve2\n");
        look(w, now);
    }
    assert_string_equal(start(w, ++now), "100-0");
    queue_ended(&w->q, "100-0", QUEUE_POSTPONED);
    for (int i = 0; i < 3; i++) {
        configure(w, "local: 100-0\n\ttarget pve2\n");
        look(w, now);
        assert_string_equal(start(w, now + 1), "");
    }
    queue_refused(&w->q, queue_find(&w->q, "100-0"), "no such program", now);
    ask_for(w, "100-0");
    look(w, now);
    assert_string_equal(start(w, now), "100-0");
}

/* It is seen while the run is under way that is then put off. */
static void test_asked_for_during_a_run(void **state)
{
    struct world *w = *state;
    configure(w, "local: 100-0\n\ttarget pve2\n");
    look(w, 1000);
    assert_string_equal(start(w, 1000), "100-0");
    ask_for(w, "100-0");
    look(w, 1001);
    queue_ended(&w->q, "100-0", QUEUE_POSTPONED);
    look(w, 1002);
    assert_string_equal(start(w, 1002), "100-0");
    queue_ended(&w->q, "100-0", QUEUE_POSTPONED);
    look(w, 1003);
    assert_string_equal(start(w, 1003), ""); /* once only */
}

/* schedule-now, which waits for the guest's lock, comes before the end of a run is seen that began at once
 * itself: the first one of a job, or one that was asked for. It left its trace, and another one is to follow.
 */
static void test_asked_for_at_the_end(void **state)
{
    struct world *w = *state;
    configure(w, "local: 100-0\n\ttarget pve2\n");
    look(w, 1000);
    for (int64_t now = 1000; now < 1003; now++) {
        assert_string_equal(start(w, now), "100-0");
        record(w, "100-0", now, NULL);
        ask_for(w, "100-0");
        queue_ended(&w->q, "100-0", QUEUE_DONE);
        look(w, now);
        assert_int_equal(queue_find(&w->q, "100-0")->lost, 0);
    }
    assert_string_equal(start(w, 1003), "100-0");
}

/* Never two of one guest, never more than max-workers, least recently served first. */
static void test_parallel(void **state)
{
    struct world *w = *state;
    w->q.max_workers = 3;
    configure(w, FIVE_JOBS);
    look(w, 1000);
    assert_int_equal(queue_count_due(&w->q, 1000), 5);
    assert_string_equal(start(w, 1000), "100-0");
    assert_string_equal(start(w, 1000), "101-0");
    assert_string_equal(start(w, 1000), "102-0");
    assert_string_equal(start(w, 1000), "");
    record(w, "102-0", 1000, NULL);
    queue_ended(&w->q, "102-0", QUEUE_DONE);
    assert_string_equal(start(w, 1001), "900-0"); /* 100-1 must wait for its guest */
    record(w, "100-0", 1000, NULL);
    queue_ended(&w->q, "100-0", QUEUE_DONE);
    look(w, 1002);
    assert_string_equal(w->told, "100-0 102-0 ");
    assert_string_equal(start(w, 1002), "100-1");
    assert_string_equal(start(w, 1002), "");
    assert_int_equal(queue_wake(&w->q, 1002), 1800);
}

/* A target whose runs come to no end takes two workers, and the others go on. */
static void test_workers_per_target(void **state)
{
    struct world *w = *state;
    w->q.max_per_target = 2;
    configure(w, FIVE_JOBS "\nlocal: 900-1\n\ttarget pve3\n");
    look(w, 1000);
    assert_string_equal(start(w, 1000), "100-0");
    assert_string_equal(start(w, 1000), "101-0");
    assert_string_equal(start(w, 1000), "900-1");
    assert_string_equal(start(w, 1000), "");
    queue_ended(&w->q, "101-0", QUEUE_FAILED);
    assert_string_equal(start(w, 1000), "102-0");
    assert_string_equal(start(w, 1000), "");
}

/* So does a run of somebody else. */
static void test_foreign_run_to_target(void **state)
{
    struct world *w = *state;
    w->q.max_per_target = 1;
    configure(w, FIVE_JOBS);
    run_by_another(w, "100-0");
    look(w, 9000);
    assert_string_equal(start(w, 9000), "");
    queue_foreign_ended(&w->q, getpid());
    assert_string_equal(start(w, 9000), "100-1");
    assert_string_equal(start(w, 9000), "101-0");
}

static void on_storage(struct world *w, const char *id, const char *storage)
{
    struct job_state s = state_of(w, id);
    strv_add(&s.sources, storage);
    store(w, id, &s);
}

/* One storage has all places but one where there are others. What stands still counts for its storage only.
 */
static void test_workers_per_storage(void **state)
{
    struct world *w = *state;
    w->q.max_workers = 3;
    configure(w, FIVE_JOBS);
    const char *const jobs[] = {"100-0", "101-0", "102-0"};
    for (size_t i = 0; i < ELEMENTS(jobs); i++)
        on_storage(w, jobs[i], "bad");
    on_storage(w, "900-0", "good");
    look(w, 1000);
    assert_string_equal(start(w, 1000), "100-0");
    assert_string_equal(start(w, 1000), "101-0");
    assert_string_equal(start(w, 1000), "900-0");
    assert_string_equal(start(w, 1000), "");
    assert_int_equal(queue_taken(&w->q), 3);
    for (size_t i = 0; i < 2; i++)
        queue_still(queue_find(&w->q, jobs[i]), true);
    assert_int_equal(queue_taken(&w->q), 1);
    assert_string_equal(start(w, 1000), "");
    struct queue_job *waits = queue_find(&w->q, "102-0");
    _cleanup_free_ char *why = queue_why_overdue(&w->q, waits, NULL, 1000);
    assert_string_equal(why,
                        "it waits for a place: of storage 'bad' 2 runs may be under way at once, and they "
                        "are held by 100-0, 101-0");
    configure(w, FIVE_JOBS);
    look(w, 1000);
    assert_int_equal(queue_taken(&w->q), 1);
    queue_ended(&w->q, "100-0", QUEUE_FAILED);
    assert_string_equal(start(w, 1000), "102-0");
}

/* A node with one storage has all places for it; what stands still has none, of its target neither. */
static void test_runs_that_stand_still(void **state)
{
    struct world *w = *state;
    w->q.max_workers = 2;
    w->q.max_per_target = 1;
    configure(w, FIVE_JOBS);
    look(w, 1000);
    assert_string_equal(start(w, 1000), "100-0");
    assert_string_equal(start(w, 1000), "");
    queue_still(queue_find(&w->q, "100-0"), true);
    assert_string_equal(start(w, 1000), "101-0"); /* never 100-1 */
    assert_string_equal(start(w, 1000), "");
    queue_still(queue_find(&w->q, "100-1"), true);
    assert_false(queue_find(&w->q, "100-1")->still);
}

static void test_order_of_service(void **state)
{
    struct world *w = *state;
    configure(w, FIVE_JOBS);
    record(w, "100-0", 1000, NULL);
    record(w, "101-0", 400, NULL);
    record(w, "102-0", 500, NULL);
    look(w, 2000);
    assert_string_equal(start(w, 2000), "100-1");
    assert_string_equal(start(w, 2000), "900-0");
    assert_string_equal(start(w, 2000), "101-0");
    assert_string_equal(start(w, 2000), "102-0");
}

/* A run that somebody else began: its guest and its worker are taken until the process is gone. */
static void test_foreign_run(void **state)
{
    struct world *w = *state;
    w->q.max_workers = 2;
    configure(w, FIVE_JOBS);
    run_by_another(w, "100-0");
    look(w, 9000);
    assert_int_equal(w->q.foreign, 1);
    assert_string_equal(start(w, 9000), "101-0");
    assert_string_equal(start(w, 9000), "");
    queue_foreign_ended(&w->q, getpid());
    assert_string_equal(start(w, 9000), "100-1");
}

/* Changes of the configuration while a run goes on. */
static void test_reconfiguration(void **state)
{
    struct world *w = *state;
    configure(w, "local: 100-0\n\ttarget pve2\n");
    look(w, 1000);
    assert_string_equal(start(w, 1000), "100-0");
    configure(w, FIVE_JOBS);
    look(w, 1000);
    assert_int_equal(w->q.running, 1);
    assert_string_equal(start(w, 1000), "101-0");
    /* Now it points elsewhere; the run is still a run of the guest. */
    configure(w, "local: 100-0\n\ttarget pve3\n");
    look(w, 1000);
    assert_int_equal(w->q.running, 2);
    assert_string_equal(start(w, 1000), "");
    queue_ended(&w->q, "100-0", QUEUE_DONE);
    queue_ended(&w->q, "101-0", QUEUE_DONE);
    assert_int_equal(w->q.running, 0);
    look(w, 1001);
    assert_string_equal(start(w, 99000), "100-0"); /* and not 101-0, which has been taken away */
    assert_string_equal(start(w, 99000), "");
    queue_ended(&w->q, "100-0", QUEUE_DONE);
    configure(w, "local: 100-0\n\ttarget pve3\n\tdisable 1\n");
    look(w, 1000);
    assert_int_equal(w->q.n, 0);
}

/* N15: in error with its target away it waits for the target, not for the time. */
static void test_target_away(void **state)
{
    struct world *w = *state;
    nodes[1].online = false;
    configure(w, "local: 100-0\n\ttarget pve2\n");
    assert_string_equal(run_one(w, 1000, "no route"), "100-0");
    look(w, 99000);
    assert_string_equal(start(w, 99000), "");
    assert_int_equal(queue_wake(&w->q, 99000), 0);
    nodes[1].online = true;
    configure(w, "local: 100-0\n\ttarget pve2\n");
    look(w, 99000);
    assert_string_equal(start(w, 99000), "100-0");
}

/* The clock is put back by a day while a job waits after a failure and another for its guest. */
static void test_clock_put_back(void **state)
{
    struct world *w = *state;
    int64_t now = 1700000000;
    configure(w, "local: 100-0\n\ttarget pve2\n\nlocal: 101-0\n\ttarget pve2\n");
    assert_string_equal(run_one(w, now, "no route"), "100-0");
    assert_string_equal(start(w, now), "101-0");
    queue_ended(&w->q, "101-0", QUEUE_POSTPONED);
    look(w, now);
    assert_string_equal(start(w, now), "");
    now -= 86400;
    look(w, now);
    assert_string_equal(start(w, now), "101-0");
    assert_string_equal(start(w, now), "100-0");
}

/* Verifications: the longest due one, never one whose guest has something to run, runs, or fails. */
static void test_verify(void **state)
{
    struct world *w = *state;
    configure(
        w,
        "local: 100-0\n\ttarget pve2\n\tschedule 00:00\n\nlocal: 101-0\n\ttarget pve2\n\tschedule 00:00\n");
    for (size_t i = 0; i < w->jobs.n; i++) {
        struct job_state s = {
            .duration = -1, .last_sync = 1000, .last_try = 1000, .verify_next = 2000 - (int64_t)i};
        store(w, w->jobs.v[i].id, &s);
    }
    look(w, 1500);
    queue_find(&w->q, "100-0")->verify_after = queue_find(&w->q, "101-0")->verify_after = 1;
    assert_null(queue_pick_verify(&w->q, 1500));
    assert_int_equal(queue_wake_verify(&w->q, 1500), 1999);
    assert_string_equal(queue_pick_verify(&w->q, 2000)->id, "101-0");
    queue_verified(&w->q, "101-0", false, 2000);
    assert_string_equal(queue_pick_verify(&w->q, 2000)->id, "100-0");
    queue_find(&w->q, "100-0")->next = 1990; /* due: what runs comes first */
    assert_null(queue_pick_verify(&w->q, 2000));
    queue_started(&w->q, queue_find(&w->q, "100-0"));
    assert_null(queue_pick_verify(&w->q, 2000));
    queue_ended(&w->q, "100-0", QUEUE_DONE);
    record(w, "100-0", 2001, "no route");
    look(w, 2001);
    assert_null(queue_pick_verify(&w->q, 2002)); /* it fails */
    assert_string_equal(queue_pick_verify(&w->q, 2000 + QUEUE_VERIFY_PAUSE)->id, "101-0");
    queue_find(&w->q, "101-0")->scrub_days = 0;
    assert_null(queue_pick_verify(&w->q, 9000));
    assert_int_equal(queue_wake_verify(&w->q, 1), 0);
}

int main(void)
{
    setenv("TZ", "UTC", 1);
    tzset();
    const struct CMUnitTest tests[] = {
        WORLD_TEST(test_timeline_success),         WORLD_TEST(test_timeline_failure),
        WORLD_TEST(test_asked_for_at_the_end),     WORLD_TEST(test_asked_for_while_put_off),
        WORLD_TEST(test_asked_for_during_a_run),   WORLD_TEST(test_removal_of_local_target),
        WORLD_TEST(test_removal_without_a_guest),  WORLD_TEST(test_removed_and_made_anew),
        WORLD_TEST(test_removed_by_its_first_run), WORLD_TEST(test_busy_guest),
        WORLD_TEST(test_run_without_trace),        WORLD_TEST(test_parallel),
        WORLD_TEST(test_order_of_service),         WORLD_TEST(test_workers_per_target),
        WORLD_TEST(test_workers_per_storage),      WORLD_TEST(test_runs_that_stand_still),
        WORLD_TEST(test_foreign_run_to_target),    WORLD_TEST(test_foreign_run),
        WORLD_TEST(test_reconfiguration),          WORLD_TEST(test_target_away),
        WORLD_TEST(test_clock_put_back),           WORLD_TEST(test_verify),
        WORLD_TEST(test_made_anew_during_a_run),
    };
    return cmocka_run_group_tests_name("queue", tests, NULL, NULL);
}
