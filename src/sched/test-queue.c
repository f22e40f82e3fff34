/* The queue with a real state file and a made-up time. A "run" is what a child would have written. */
#include "sched/purge.h"
#include "sched/queue.h"

#include "base/proc.h"
#include "base/strv.h"

#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

struct world {
    char dir[40];
    struct queue q;
    struct jobs jobs;
    struct guest_list guests;
    struct members members;
    const char *node;
    char *told; /* ids of jobs whose run was reported as ended */
};

static struct guest_entry guest_entries[] = {{100, GUEST_QEMU, "pve1"},
                                             {101, GUEST_QEMU, "pve1"},
                                             {102, GUEST_LXC, "pve1"},
                                             {900, GUEST_QEMU, "pve1"}};
static struct member nodes[] = {
    {{.name = (char *)"pve1"}, true}, {{.name = (char *)"pve2"}, true}, {{.name = (char *)"pve3"}, true}};

static int setup(void **state)
{
    struct world *w = xcalloc(1, sizeof *w);
    strcpy(w->dir, "/tmp/pvesr-queue-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    nodes[1].online = true;
    w->guests = (struct guest_list){.v = guest_entries, .n = ELEMENTS(guest_entries)};
    w->members = (struct members){.v = nodes, .n = ELEMENTS(nodes), .quorate = true};
    w->node = "pve1";
    queue_init(&w->q, 4, 4);
    *state = w;
    return 0;
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    return remove(path);
}

static int teardown(void **state)
{
    struct world *w = *state;
    nftw(w->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    queue_release(&w->q);
    jobs_release(&w->jobs);
    free(w->told);
    free(w);
    return 0;
}

static void configure(struct world *w, const char *text)
{
    jobs_release(&w->jobs);
    jobs_parse("replication.cfg", text, strlen(text), &w->jobs);
    queue_set_jobs(&w->q, &w->jobs, &w->guests, &w->members, w->node);
}

static void tell(const struct queue_job *job, void *arg)
{
    struct world *w = arg;
    char *more = xasprintf("%s%s ", w->told ? w->told : "", job->id);
    free(w->told);
    w->told = more;
}

static void look(struct world *w, int64_t now)
{
    struct err e = {0};
    struct queue_events ev = {.ended = tell, .arg = w};
    struct job_states *s = job_states_load(w->dir, &e);
    assert_non_null(s);
    queue_set_states(&w->q, s, now, &ev);
    job_states_free(s);
}

static struct job_state state_of(struct world *w, const char *id)
{
    struct err e;
    struct job_state s = {0};
    struct job *job = jobs_find(&w->jobs, id);
    assert_int_equal(job_state_load(w->dir, job->guest, job->target, &s, &e), 0);
    return s;
}

static void store(struct world *w, const char *id, struct job_state *s)
{
    struct err e;
    struct job *job = jobs_find(&w->jobs, id);
    assert_int_equal(job_state_store(w->dir, job->guest, job->target, s, &e), 0);
    job_state_release(s);
}

/* A run of it that this queue did not start, and that lives. */
static void run_by_another(struct world *w, const char *id)
{
    struct job_state s = state_of(w, id);
    s.last_try = 1000;
    s.pid = getpid();
    s.ptime = proc_start_time(getpid());
    store(w, id, &s);
}

/* What a run at `now` records: success, or a failure. */
static void record(struct world *w, const char *id, int64_t now, const char *failure)
{
    struct job_state s = state_of(w, id);
    s.last_try = s.last_iteration = now;
    free(s.error);
    s.error = failure ? xstrdup(failure) : NULL;
    s.fail_count = failure ? s.fail_count + 1 : 0;
    if (!failure)
        s.last_sync = now;
    store(w, id, &s);
}

/* The job that is to be started now, and start it; "" when none. */
static const char *start(struct world *w, int64_t now)
{
    struct queue_job *j = queue_pick(&w->q, now);
    if (!j)
        return "";
    queue_started(&w->q, j);
    return j->id;
}

/* One whole run of what is due; its id, or "" when nothing is. */
static const char *run_one(struct world *w, int64_t now, const char *failure)
{
    static char id[24];
    look(w, now);
    snprintf(id, sizeof id, "%s", start(w, now));
    if (id[0]) {
        record(w, id, now, failure);
        queue_ended(&w->q, id, failure ? QUEUE_FAILED : QUEUE_DONE);
    }
    return id;
}

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
    look(w, now);
    for (size_t i = 0; i < ELEMENTS(delays); i++) {
        assert_string_equal(start(w, now), "100-0");
        queue_ended(&w->q, "100-0", i % 2 ? QUEUE_DONE : QUEUE_FAILED);
        look(w, now);
        assert_string_equal(start(w, now), "");
        assert_int_equal(queue_wake(&w->q, now), now + delays[i]);
        now += delays[i];
    }
    queue_refused(&w->q, queue_find(&w->q, "100-0"), now);
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

#define FIVE_JOBS                                                                                            \
    "local: 100-0\n\ttarget pve2\n\nlocal: 100-1\n\ttarget pve3\n\nlocal: 101-0\n\ttarget pve2\n\n"          \
    "local: 102-0\n\ttarget pve2\n\nlocal: 900-0\n\ttarget pve2\n"

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
    _cleanup_free_ char *why = queue_why_overdue(queue_find(&w->q, "100-0"));
    assert_non_null(strstr(why, "no guest 100"));
    w->guests = here;
}

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

static bool has_entry(struct world *w, uint32_t guest)
{
    struct err e;
    struct job_state s = {0};
    assert_int_equal(job_state_load(w->dir, guest, "pve2", &s, &e), 0);
    bool exists = s.exists;
    job_state_release(&s);
    return exists;
}

/* An entry without a job is dropped by the second round that finds it, and by none that comes too early; one
 * that has got its guest meanwhile (a migration) stays. */
static void test_purge(void **state)
{
    struct world *w = *state;
    struct err e;
    struct purge p = {0};
    struct guest_list guests = {.v = guest_entries, .n = 1};
    configure(w, FIVE_JOBS);
    record(w, "100-0", 1, NULL);
    record(w, "101-0", 1, NULL);
    record(w, "102-0", 1, NULL);
    assert_int_equal(purge_round(&p, w->dir, &w->jobs, &guests, "pve1", 10000, &e), 0);
    assert_int_equal(purge_round(&p, w->dir, &w->jobs, &guests, "pve1", 10000 + PURGE_INTERVAL - 1, &e), 0);
    assert_true(has_entry(w, 101));
    guests.n = 2; /* 101 has arrived */
    assert_int_equal(purge_round(&p, w->dir, &w->jobs, &guests, "pve1", 10000 + PURGE_INTERVAL, &e), 0);
    assert_true(has_entry(w, 100));
    assert_true(has_entry(w, 101));
    assert_false(has_entry(w, 102));
    /* No job file: the tree may just not be there. */
    struct jobs none = {0};
    jobs_parse("replication.cfg", NULL, 0, &none);
    for (int i = 2; i < 5; i++)
        assert_int_equal(purge_round(&p, w->dir, &none, &guests, "pve1", 10000 + i * PURGE_INTERVAL, &e), 0);
    assert_true(has_entry(w, 100));
    jobs_release(&none);
    purge_release(&p);
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
    queue_find(&w->q, "101-0")->scrub = false;
    assert_null(queue_pick_verify(&w->q, 9000));
    assert_int_equal(queue_wake_verify(&w->q, 1), 0);
}

#define WORLD_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    setenv("TZ", "UTC", 1);
    tzset();
    const struct CMUnitTest tests[] = {
        WORLD_TEST(test_timeline_success),
        WORLD_TEST(test_timeline_failure),
        WORLD_TEST(test_removal_of_local_target),
        WORLD_TEST(test_busy_guest),
        WORLD_TEST(test_run_without_trace),
        WORLD_TEST(test_parallel),
        WORLD_TEST(test_order_of_service),
        WORLD_TEST(test_workers_per_target),
        WORLD_TEST(test_overdue),
        WORLD_TEST(test_overdue_at_first),
        WORLD_TEST(test_overdue_without_guest),
        WORLD_TEST(test_foreign_run_to_target),
        WORLD_TEST(test_foreign_run),
        WORLD_TEST(test_reconfiguration),
        WORLD_TEST(test_target_away),
        WORLD_TEST(test_clock_put_back),
        WORLD_TEST(test_purge),
        WORLD_TEST(test_verify),
    };
    return cmocka_run_group_tests_name("queue", tests, NULL, NULL);
}
