#include "state/doubt.h"
#include "state/due.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

struct due_case {
    const char *label;
    struct job job;
    struct job_state state;
    bool offline;
    int64_t expected;
};

#define NOW 1800000000

static char no_schedule[] = "invalid", never[] = "2019-1-1", one_shot[] = "2090-1-1",
            fault[] = "no such schedule";

static const struct due_case cases[] = {
    {"a new job: the first event after 1970", {}, {}, false, 900},
    {"the next event after the last try", {}, {.exists = true, .last_try = 1000}, false, 1800},
    {"an event is strictly later", {}, {.exists = true, .last_try = 1800}, false, 2700},
    {"first failure", {}, {.exists = true, .last_try = 1000, .fail_count = 1}, false, 1300},
    {"second failure", {}, {.exists = true, .last_try = 1300, .fail_count = 2}, false, 1900},
    {"third failure", {}, {.exists = true, .last_try = 1900, .fail_count = 3}, false, 2800},
    {"fourth failure", {}, {.exists = true, .last_try = 2800, .fail_count = 4}, false, 4600},
    {"hundredth failure", {}, {.exists = true, .last_try = 2800, .fail_count = 100}, false, 4600},
    {"failed, target offline", {}, {.exists = true, .last_try = 1000, .fail_count = 1}, true, 0},
    {"offline matters only after a failure", {}, {.exists = true, .last_try = 1000}, true, 1800},
    {"asked for now", {}, {.exists = true}, false, 1},
    {"asked for now, one-shot schedule", {.schedule = one_shot}, {.exists = true}, false, 1},
    {"asked for now after a failure", {}, {.exists = true, .fail_count = 2}, false, 600},
    {"removal", {.remove = REMOVE_FULL}, {.exists = true, .last_try = 1000}, false, 1},
    {"removal waits after a failure",
     {.remove = REMOVE_FULL},
     {.last_try = 1000, .fail_count = 1},
     true,
     1300},
    {"removal in spite of a fault", {.remove = REMOVE_LOCAL, .fault = fault}, {}, false, 1},
    {"a fault", {.fault = fault}, {.exists = true}, false, 0},
    {"a schedule that cannot be read", {.schedule = no_schedule}, {.last_try = 1000}, false, 0},
    {"a schedule that never fires", {.schedule = never}, {.last_try = 1700000000}, false, 0},
    {"a lying last try", {}, {.last_try = INT64_MAX, .fail_count = 9}, false, 1},
    {"the clock was ten years ahead", {}, {.exists = true, .last_try = NOW + 315360000}, false, 1},
    {"and a fault", {.fault = fault}, {.exists = true, .last_try = NOW + 315360000}, false, 0},
    {"and a removal that failed",
     {.remove = REMOVE_FULL},
     {.last_try = NOW + 315360000, .fail_count = 1},
     false,
     1},
};

static void test_next_sync(void **arg)
{
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        int64_t got = job_next_sync(&cases[i].job, &cases[i].state, !cases[i].offline, NOW);
        if (got != cases[i].expected)
            fail_msg("%s: %" PRId64 " instead of %" PRId64, cases[i].label, got, cases[i].expected);
    }
}

static char ninety[] = "90s", hours[] = "2h", minutely[] = "*", nightly[] = "mon..fri 22:00";

static void test_overdue(void **arg)
{
    static const struct {
        const char *label;
        struct job job;
        int64_t last_sync, known, expected;
    } ages[] = {
        {"the third event after the last sync", {}, 1000, 0, 3600},
        {"as old as it is known to be", {}, 0, 1000, 3600},
        {"nothing is known", {}, 0, 0, 0},
        {"five minutes at least", {.schedule = minutely}, 1000, 0, 1300},
        {"weekends do not count", {.schedule = nightly}, 1764367200 /* Friday 22:00 */, 0, 1764799200},
        {"its own age", {.max_age = ninety}, 1000, 500, 1090},
        {"hours", {.max_age = hours}, 1000, 500, 8200},
        {"fewer than three events", {.schedule = one_shot}, 1000, 0, 3786912000 + 86400},
        {"none", {.schedule = never}, 1764367200, 0, 1764367200 + 86400},
        {"no event at all", {.schedule = no_schedule}, 1000, 0, 1000 + 86400},
        {"its own age without events", {.schedule = one_shot, .max_age = ninety}, 1000, 0, 1090},
        {"to be removed", {.remove = REMOVE_FULL}, 1000, 0, 0},
        {"a fault is no excuse", {.fault = fault}, 1000, 0, 3600},
        {"no clock can say when it was", {}, NOW + 315360000, 1000, 3600},
        {"nor since when it is known", {}, NOW + 315360000, NOW + 1, NOW},
        {"nor with its own age", {.max_age = ninety}, NOW + 315360000, NOW + 1, NOW},
    };
    for (size_t i = 0; i < ELEMENTS(ages); i++) {
        struct job_state state = {.last_sync = ages[i].last_sync};
        int64_t got = job_overdue_at(&ages[i].job, &state, ages[i].known, NOW);
        if (got != ages[i].expected)
            fail_msg("%s: %" PRId64 " instead of %" PRId64, ages[i].label, got, ages[i].expected);
    }
}

static void test_reports(void **state)
{
    static const int64_t yes[] = {1, 2, 3, 48, 96, 192, 384, 768, 48LL << 40};
    static const int64_t no[] = {-1, 0, 4, 24, 47, 49, 95, 97, 144, 240, 288, 480, INT64_MAX};
    for (size_t i = 0; i < ELEMENTS(yes); i++)
        assert_true(job_reports(yes[i]));
    for (size_t i = 0; i < ELEMENTS(no); i++)
        assert_false(job_reports(no[i]));
}

static void test_doubts(void **state)
{
    static char volid[] = "st:x", wrong[] = "7 0+65536 st:y";
    char *damaged[] = {wrong};
    const struct strv one = {.v = damaged, .n = 1};
    const int64_t days = 86400;
    const struct {
        struct job_state state;
        int64_t scrub_days;
        enum doubt expected;
    } doubts[] = {
        {{}, 30, DOUBT_NONE}, /* nothing is known of when it began */
        {{.gone = volid, .damaged = one}, 0, DOUBT_GONE},
        {{.damaged = one, .verify_fails = 9}, 30, DOUBT_DIFFERS},
        {{.verify_fails = JOB_VERIFY_FAILS - 1}, 30, DOUBT_NONE},
        {{.verify_fails = JOB_VERIFY_FAILS}, 30, DOUBT_FAILS},
        {{.verify_fails = JOB_VERIFY_FAILS, .verified = 1}, 0, DOUBT_NONE},
        {{.verified = NOW - 90 * days}, 30, DOUBT_NONE},
        {{.verified = NOW - 90 * days - 1}, 30, DOUBT_LATE},
        {{.verify_since = NOW - 91 * days}, 30, DOUBT_LATE},
        {{.verified = NOW - 91 * days, .verify_since = NOW - days}, 30, DOUBT_NONE},
        {{.verified = NOW + 91 * days}, 30, DOUBT_NONE}, /* by another clock */
    };
    for (size_t i = 0; i < ELEMENTS(doubts); i++) {
        enum doubt got = job_doubt(&doubts[i].state, doubts[i].scrub_days, NOW);
        _cleanup_free_ char *text = job_doubt_text(got, &doubts[i].state, "pve2", doubts[i].scrub_days);
        if (got != doubts[i].expected || (got == DOUBT_NONE) != !text)
            fail_msg("row %zu: '%s' (%s)", i, job_doubt_name(got), text ? text : "");
    }
}

int main(void)
{
    setenv("TZ", "UTC", 1);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_next_sync), cmocka_unit_test(test_overdue),
                                       cmocka_unit_test(test_reports), cmocka_unit_test(test_doubts)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
