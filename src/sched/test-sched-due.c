#include "sched/due.h"

#include "sched/worker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include <time.h>

static void test_due_time(void **state)
{
    static const struct {
        const char *what, *schedule;
        enum remove_mode remove;
        bool faulty, offline;
        int64_t last_try, last_sync, fails;
        bool unknown; /* no entry in the state file */
        int64_t now, due;
    } cases[] = {
        {"new", "*/15", .unknown = true, .now = 1000, .due = 900},
        {"new and daily: at once (N16)", "21:00", .unknown = true, .now = 1700000000, .due = 75600},
        {"new, for a day to come", "2030-1-1", .unknown = true, .now = 1700000000, .due = 1893456000},
        {"new, for a day gone by", "2001-1-1", .unknown = true, .now = 1700000000, .due = 978307200},
        {"synced", "*/15", .last_try = 1000, .last_sync = 1000, .now = 1000, .due = 1800},
        {"missed events are one", "*/15", .last_try = 1000, .last_sync = 1000, .now = 90000, .due = 1800},
        {"never again", "2001-1-1", .last_try = 1700000000, .last_sync = 1700000000, .now = 1700000001},
        {"asked for", "2030-1-1", .now = 1000, .due = 1},
        {"failed once", "*/15", .last_try = 1000, .fails = 1, .now = 1000, .due = 1300},
        {"failed twice", "*/15", .last_try = 1000, .fails = 2, .now = 1000, .due = 1600},
        {"failed 3 times", "*/15", .last_try = 1000, .fails = 3, .now = 1000, .due = 1900},
        {"failed 4 times", "*/15", .last_try = 1000, .fails = 4, .now = 1000, .due = 2800},
        {"failed often", "*/15", .last_try = 1000, .fails = INT64_MAX, .now = 1000, .due = 2800},
        {"failed, target away (N15)", "*/15", .offline = true, .last_try = 1000, .fails = 1, .now = 9999},
        {"not failed, target away", "*/15", .offline = true, .last_try = 1000, .last_sync = 1000, .now = 9999,
         .due = 1800},
        {"removal", "*/15", REMOVE_FULL, .last_try = 1000, .last_sync = 1000, .now = 1000, .due = 1},
        {"removal, failed, target away (N13)", "*/15", REMOVE_FULL, .offline = true, .last_try = 1000,
         .fails = 2, .now = 1000, .due = 1600},
        {"removal with a bad schedule", "x", REMOVE_LOCAL, .faulty = true, .now = 1000, .due = 1},
        {"bad schedule", "x", .faulty = true, .last_try = 1000, .now = 5000},
        {"killed in its first run", "daily", .last_try = 1000, .now = 1000, .due = 1300},
        {"killed in a later run", "daily", .last_try = 5000, .last_sync = 1000, .now = 5000, .due = 5300},
        {"killed, next event comes first", "*/1", .last_try = 5000, .last_sync = 1000, .now = 5000,
         .due = 5040},
        {"clock put back", "daily", .last_try = 1800000000, .last_sync = 1800000000, .now = 1700000000,
         .due = 1},
        {"clock put back, failed", "daily", .last_try = 1800000000, .fails = 9, .now = 1700000000, .due = 1},
        {"clock put back, failed, target away", "daily", .offline = true, .last_try = 1800000000, .fails = 9,
         .now = 1700000000},
        {"clock put back, removal failed", "daily", REMOVE_FULL, .last_try = 1800000000, .fails = 9,
         .now = 1700000000, .due = 1},
        {"clock put back a little", "*/15", .last_try = 1010, .last_sync = 1010, .now = 1000, .due = 1800},
        {"hostile state", "*/15", .last_try = INT64_MIN, .fails = INT64_MIN, .now = 1000, .due = 0},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct job job = {
            .target = (char *)"pve2", .schedule = (char *)cases[i].schedule, .remove = cases[i].remove};
        struct job_state s = {.last_try = cases[i].last_try,
                              .last_sync = cases[i].last_sync,
                              .fail_count = cases[i].fails,
                              .exists = !cases[i].unknown};
        job.fault = cases[i].faulty ? (char *)"bad" : NULL;
        int64_t due = due_time(&job, &s, !cases[i].offline, cases[i].now);
        if (cases[i].last_try == INT64_MIN)
            continue; /* only that it ends */
        if (due != cases[i].due)
            fail_msg("%s: %lld instead of %lld", cases[i].what, (long long)due, (long long)cases[i].due);
    }
}

static void test_concerns(void **state)
{
    static struct guest_entry entries[] = {{100, GUEST_QEMU, "pve1"}, {101, GUEST_LXC, "pve2"}};
    const struct guest_list guests = {.v = entries, .n = 2};
    static const struct {
        uint32_t guest;
        const char *target;
        bool disabled;
        enum remove_mode remove;
        bool ours;
    } cases[] = {
        {100, "pve2", .ours = true},
        {.guest = 101, .target = "pve3"},
        {.guest = 102, .target = "pve2"},
        {102, "pve2", .remove = REMOVE_FULL},
        {.guest = 100, .target = "pve1"},
        {100, "pve1", .remove = REMOVE_LOCAL, .ours = true},
        {100, "pve2", .disabled = true},
        {100, "pve2", .disabled = true, .remove = REMOVE_FULL, .ours = true},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct job job = {.guest = cases[i].guest,
                          .target = (char *)cases[i].target,
                          .disabled = cases[i].disabled,
                          .remove = cases[i].remove};
        assert_true(due_concerns(&job, &guests, "pve1") == cases[i].ours);
    }
}

static void test_order(void **state)
{
    /* In order: each comes before all that follow it. */
    static const struct due_rank ranks[] = {{0, 5, 900, "900-0"},   {0, 6, 100, "100-0"},
                                            {0, 6, 200, "200-10"},  {0, 6, 200, "200-2"},
                                            {0, 6, 1000, "1000-0"}, {7, 1, 100, "100-1"}};
    for (size_t i = 0; i < ELEMENTS(ranks); i++)
        for (size_t k = 0; k < ELEMENTS(ranks); k++) {
            int c = due_compare(&ranks[i], &ranks[k]);
            assert_true(i < k ? c < 0 : i > k ? c > 0 : c == 0);
        }
}

static void test_outcome(void **state)
{
    assert_int_equal(worker_outcome(0), QUEUE_DONE);
    assert_int_equal(worker_outcome(75), QUEUE_POSTPONED);
    assert_int_equal(worker_outcome(1), QUEUE_FAILED);
    assert_int_equal(worker_outcome(128 + 9), QUEUE_FAILED);
}

int main(void)
{
    setenv("TZ", "UTC", 1);
    tzset();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_due_time),
        cmocka_unit_test(test_concerns),
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_outcome),
    };
    return cmocka_run_group_tests_name("due", tests, NULL, NULL);
}
