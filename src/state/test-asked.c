/* What schedule-now writes, and for whom; what comes to a state between a look and a record. */
#include "state/testdir.h"

#include "base/proc.h"
#include "state/jobstate.h"

static const char file[] = "pve-replication-state.json";

static const struct job job_a = {.id = "100-0", .guest = 100, .target = (char *)"a"},
                        job_b = {.id = "200-0", .guest = 200, .target = (char *)"b"};

static void assert_ok(int rc, const struct err *e)
{
    if (rc != 0)
        fail_msg("%s", e->text);
}

static int64_t asked_of(const char *dir, const struct job *job)
{
    struct err e;
    struct job_state s;
    assert_ok(job_state_load_of(dir, job, &s, &e), &e);
    assert_true(s.exists);
    assert_int_equal(s.last_try, 0);
    int64_t asked = s.asked;
    job_state_release(&s);
    return asked;
}

static void test_schedule_now(void **state)
{
    struct err e;
    struct job_state s;
    put(*state, file,
        "{\"100\":{\"local/"
        "a\":{\"last_try\":9,\"last_sync\":8,\"fail_count\":3,\"x\":[],\"asked\":4000000000}}}");
    assert_ok(job_state_schedule_now(*state, &job_a, &e), &e);
    _cleanup_free_ char *text = get(*state, file);
    assert_string_equal(text,
                        "{\"100\":{\"local/a\":{\"x\":[],\"last_sync\":8,\"last_try\":0,\"last_iteration\":0,"
                        "\"fail_count\":3,\"asked\":4000000001}}}");
    assert_ok(job_state_schedule_now(*state, &job_b, &e), &e); /* never ran: an entry is made */
    int64_t first = asked_of(*state, &job_b);
    assert_ok(job_state_schedule_now(*state, &job_b, &e), &e);
    assert_true(first > 0 && asked_of(*state, &job_b) != first);
    /* what a job that was removed left is not asked for in its name, nor lost for where it had replicas */
    put(*state, file,
        "{\"100\":{\"local/"
        "a\":{\"last_try\":9,\"last_sync\":8,\"fail_count\":3,\"job\":\"100-7\",\"storeid_list\":[\"st\"]}}"
        "}");
    assert_ok(job_state_schedule_now(*state, &job_a, &e), &e);
    assert_true(asked_of(*state, &job_a) > 0);
    assert_ok(job_state_load_of(*state, &job_a, &s, &e), &e);
    assert_int_equal(s.last_sync + s.fail_count, 0);
    assert_int_equal(s.storages.n, 1);
    job_state_release(&s);
}

/* What the run itself knows of `asked` is older. */
static void test_asked_for_during_a_run(void **state)
{
    struct err e;
    bool during = true;
    struct job_state s, other = {.duration = -1};
    assert_ok(job_state_ask_during(*state, &job_a, &during, &e), &e);
    assert_false(during);
    assert_ok(job_state_load_of(*state, &job_a, &s, &e), &e);
    assert_false(s.exists);
    s.job = xstrdup("100-0");
    s.last_try = 1000;
    s.pid = getpid();
    s.ptime = proc_start_time(getpid());
    assert_ok(job_state_store(*state, 100, "a", &s, &e), &e);
    const struct job of_another = {.id = "100-7", .guest = 100, .target = (char *)"a"};
    assert_ok(job_state_ask_during(*state, &of_another, &during, &e), &e);
    assert_false(during);
    assert_ok(job_state_ask_during(*state, &job_a, &during, &e), &e);
    assert_true(during);
    assert_ok(job_state_store(*state, 100, "a", &s, &e), &e); /* as it does when it begins a first copy */
    assert_ok(job_state_load_of(*state, &job_a, &other, &e), &e);
    assert_true(other.asked > 0);
    assert_int_equal(other.last_try, 1000);
    job_state_release(&other);
    s.pid = 0;
    s.last_sync = 1000;
    assert_ok(job_state_store(*state, 100, "a", &s, &e), &e);
    assert_true(asked_of(*state, &job_a) > 0);
    s.asked = asked_of(*state, &job_a); /* the next run, for which nobody asked */
    s.last_try = s.last_sync = 2000;
    assert_ok(job_state_store(*state, 100, "a", &s, &e), &e);
    job_state_release(&s);
    assert_ok(job_state_load_of(*state, &job_a, &s, &e), &e);
    assert_int_equal(s.last_try, 2000);
    job_state_release(&s);
    /* what was asked of a former job of the place is asked of nobody */
    put(*state, file, "{\"100\":{\"local/a\":{\"last_try\":9,\"job\":\"100-7\",\"asked\":4000000000}}}");
    s.job = xstrdup("100-0");
    s.last_try = 3000;
    s.pid = getpid();
    s.ptime = proc_start_time(getpid());
    for (int i = 0; i < 2; i++, s.pid = 0)
        assert_ok(job_state_store(*state, 100, "a", &s, &e), &e);
    job_state_release(&s);
    assert_ok(job_state_load_of(*state, &job_a, &s, &e), &e);
    assert_int_equal(s.last_try, 3000);
    job_state_release(&s);
}

/* Another run began, and ended, between the look that found a process gone and its record. */
static void test_lost_and_run_since(void **state)
{
    struct err e;
    const struct job_loss loss = {.pid = 4711, .how = "killed"};
    struct job_state s = {.duration = -1, .last_try = 1800000000, .last_sync = 1800000000};
    assert_ok(job_state_store(*state, 100, "a", &s, &e), &e);
    assert_ok(job_state_lose(*state, 100, "a", &loss, &e), &e);
    assert_ok(job_state_load(*state, 100, "a", &s, &e), &e);
    assert_int_equal(s.fail_count, 0);
    assert_int_equal(s.last_try, 1800000000);
    job_state_release(&s);
}

/* …which a kill, or a crash of the node, ended: what another clock said is none. */
static void test_asked_for_during_a_run_that_is_lost(void **state)
{
    static const struct {
        const char *asked;
        int64_t last_try;
    } cases[] = {{"1650000000", 0}, {"1550000000", 1600000000}, {"99999999999", 1600000000}};
    for (size_t i = 0; i < 2 * ELEMENTS(cases); i++) {
        struct err e;
        struct job_state s;
        const struct job_loss loss = {.pid = 4711, .how = i % 2 ? "killed" : NULL, .job = "100-0"};
        _cleanup_free_ char *text =
            xasprintf("{\"100\":{\"local/a\":{\"last_try\":1600000000,\"pid\":4711,\"ptime\":\"1\","
                      "\"job\":\"100-0\",\"asked\":%s}}}",
                      cases[i / 2].asked);
        put(*state, file, text);
        assert_ok(job_state_lose(*state, 100, "a", &loss, &e), &e);
        assert_ok(job_state_load_of(*state, &job_a, &s, &e), &e);
        assert_int_equal(s.last_try, cases[i / 2].last_try);
        assert_int_equal(s.fail_count, i % 2);
        job_state_release(&s);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        DIR_TEST(test_schedule_now), DIR_TEST(test_asked_for_during_a_run),
        DIR_TEST(test_asked_for_during_a_run_that_is_lost), DIR_TEST(test_lost_and_run_since)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
