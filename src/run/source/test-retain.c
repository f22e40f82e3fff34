/* Tables: the rules of `keep`, which runs there are and which stay; and which snapshots go on a side. */
#include "run/source/retain.h"

#include "base/mem.h"
#include "run/source/plan.h"
#include "run/source/testside.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

/* Times are "DD hh:mm" of March 2027, or "MM-DD hh:mm", or with the year before it; "*" at the end: it stays.
 */
static const struct {
    int line;
    const char *zone, *keep, *runs;
} cases[] = {
    {__LINE__, "UTC", "last=1", "01 10:00, 01 11:00, 01 12:00*"},
    {__LINE__, "UTC", "last=2", "01 10:00, 01 11:00*, 01 12:00*"},
    {__LINE__, "UTC", "last=9", "01 10:00*, 01 11:00*, 01 12:00*"},
    {__LINE__, "UTC", "last=2", "01 12:00*, 01 10:00, 01 11:00*, 01 12:00*"},
    /* the newest of each period, and the newest of all always */
    {__LINE__, "UTC", "hourly=2", "01 09:59, 01 10:00, 01 10:59*, 01 11:00, 01 11:15*"},
    {__LINE__, "UTC", "daily=1", "01 10:00, 01 11:00*"},
    {__LINE__, "UTC", "daily=2", "01 23:59*, 02 00:00, 02 23:59*"},
    {__LINE__, "UTC", "daily=2", "01 10:00*, 25 10:00*"}, /* days without a run do not count */
    {__LINE__, "UTC", "yearly=3",
     "2024-12-31 23:59, 2025-12-31 23:59*, 2026-01-01 00:00, 2026-01-01 00:01*, 01 00:00*"},
    {__LINE__, "UTC", "monthly=2", "01-31 10:00, 02-01 10:00, 02-28 10:00*, 01 10:00, 02 10:00*"},
    /* weeks begin on Monday: 7 March is a Sunday; 3 January belongs to the week of 28 December */
    {__LINE__, "UTC", "weekly=2", "01 10:00, 07 10:00*, 08 10:00, 14 10:00*"},
    {__LINE__, "UTC", "weekly=3", "2026-12-27 10:00*, 2026-12-28 10:00, 01-03 10:00*, 01-04 10:00*"},
    /* a rule passes over what those before it cover */
    {__LINE__, "UTC", "last=2,daily=2", "26 10:00, 27 10:00*, 28 10:00*, 29 10:00, 29 11:00*, 29 12:00*"},
    {__LINE__, "UTC", "last=1,hourly=1,daily=1", "01 10:00*, 02 09:00, 02 10:00*, 02 11:00, 02 11:30*"},
    {__LINE__, "UTC", "last=1,yearly=1", "2025-06-01 10:00, 2026-06-01 10:00*, 01 10:00, 02 10:00*"},
    /* days are those of the zone */
    {__LINE__, "UTC", "daily=2", "01 22:30, 01 23:30*, 02 00:30*"},
    {__LINE__, "CET-1", "daily=2", "01 22:30*, 01 23:30, 02 00:30*"},
    /* the hour from 01:00 UTC is 02:00 a second time on 31 October, with an hour of its own */
    {__LINE__, "CET-1CEST,M3.5.0,M10.5.0/3", "hourly=3",
     "10-30 23:30, 10-31 00:10, 10-31 00:30*, 10-31 01:10, 10-31 01:30*, 10-31 02:30*"},
};

/* The epoch in UTC; *kept from the "*". */
static int64_t parse_run(const char *text, bool *kept)
{
    struct tm tm = {.tm_year = 127, .tm_mon = 2};
    int n = 0;
    if (sscanf(text, "%d-%d-%d %d:%d%n", &tm.tm_year, &tm.tm_mon, &tm.tm_mday, &tm.tm_hour, &tm.tm_min, &n) ==
        5) {
        tm.tm_year -= 1900;
        tm.tm_mon--;
    } else if (tm.tm_year = 127,
               sscanf(text, "%d-%d %d:%d%n", &tm.tm_mon, &tm.tm_mday, &tm.tm_hour, &tm.tm_min, &n) == 4) {
        tm.tm_mon--;
    } else {
        tm.tm_mon = 2;
        assert_int_equal(sscanf(text, "%d %d:%d%n", &tm.tm_mday, &tm.tm_hour, &tm.tm_min, &n), 3);
    }
    *kept = text[n] == '*';
    return timegm(&tm);
}

static void check_case(size_t at)
{
    _cleanup_strv_ struct strv runs = STRV_INIT;
    struct snapshots points = {0};
    struct keep keep;
    struct err e;
    struct history h = {.job_id = "100-0"};
    bool kept;
    for (const char *s = cases[at].runs; *s; s += strcspn(s, ","), s += strspn(s, ", ")) {
        struct snapshot one = {0};
        snprintf(one.name, sizeof one.name, "__replicate_100-0_%" PRId64 "__", parse_run(s, &kept));
        strv_addf(&runs, "%.*s", (int)strcspn(s, ","), s);
        snapshots_add(&points, &one);
    }
    setenv("TZ", cases[at].zone, 1);
    assert_int_equal(keep_parse(cases[at].keep, &keep, &e), 0);
    history_add(&h, &points);
    history_prune(&h, &keep);
    for (size_t i = 0; i < points.n; i++) {
        parse_run(runs.v[i], &kept);
        if (history_has(&h, points.v[i].name) != kept)
            fail_msg("line %d, %s: %s %s", cases[at].line, cases[at].keep, runs.v[i],
                     kept ? "goes" : "stays");
    }
    snapshots_release(&points);
    history_release(&h);
}

static void keeps_by_the_rules(void **state)
{
    for (size_t i = 0; i < ELEMENTS(cases); i++)
        check_case(i);
}

/* What is not this job's point is never counted, nor said to stay. */
static void counts_points_only(void **state)
{
    static const char *const names[] = {
        "__replicate_100-0_3__", "__replicate_100-00_9__", "__replicate_100-1_8__", "diverged_100-0_7", "g1",
        "__replicate_100-0_2__"};
    struct snapshots s = {0};
    struct history h = {.job_id = "100-0"};
    for (size_t i = 0; i < ELEMENTS(names); i++) {
        struct snapshot one = {0};
        snprintf(one.name, sizeof one.name, "%s", names[i]);
        snapshots_add(&s, &one);
    }
    history_add(&h, &s);
    history_add(&h, &s);
    assert_int_equal(h.n, 2);
    history_prune(&h, &(struct keep){.n = {[KEEP_LAST] = 2}});
    for (size_t i = 0; i < ELEMENTS(names); i++)
        assert_int_equal(history_has(&h, names[i]), i == 0 || i == 5);
    assert_false(history_has(NULL, names[0]));
    history_release(&h);
    snapshots_release(&s);
}

/* A run by a clock that was ten years ahead is counted where it came in the order, not as the newest. */
static void counts_another_clock_in_order(void **state)
{
    static const char *const names[] = {"__replicate_100-0_1__", "__replicate_100-0_2__",
                                        "__replicate_100-0_900__", "__replicate_100-0_3__",
                                        "__replicate_100-0_5__"};
    struct snapshots s = {0};
    struct history h = {.job_id = "100-0", .now = 5};
    for (size_t i = 0; i < ELEMENTS(names); i++) {
        struct snapshot one = {0};
        snprintf(one.name, sizeof one.name, "%s", names[i]);
        snapshots_add(&s, &one);
    }
    history_add(&h, &s);
    history_prune(&h, &(struct keep){.n = {[KEEP_LAST] = 3}});
    for (size_t i = 0; i < ELEMENTS(names); i++)
        assert_int_equal(history_has(&h, names[i]), i >= 2);
    history_prune(&h, &(struct keep){.n = {[KEEP_LAST] = 2}});
    assert_false(history_has(&h, names[2]));
    history_release(&h);
    snapshots_release(&s);
}

static void tells_history_from_one(void **state)
{
    struct keep keep;
    assert_false(keep_history(NULL, &keep));
    assert_false(keep_history("last=1", &keep));
    assert_true(keep_history("last=2", &keep));
    assert_true(keep_history("daily=1", &keep));
}

/* Whatever the rules: the newest stays, never more than their sum, and all where there are fewer. */
static void bounds(void **state)
{
    uint64_t x = 88172645463325252u;
    for (int round = 0; round < 200; round++) {
        struct keep keep = {0};
        struct snapshots s = {0};
        struct history h = {.job_id = "100-0"};
        size_t sum = 0;
        int64_t newest = 0;
        for (size_t i = 0; i < KEEP_RULES; i++)
            sum += keep.n[i] = (unsigned)((x = x * 6364136223846793005u + 1) >> 61);
        if (sum == 0)
            sum = keep.n[KEEP_DAILY] = 1;
        for (size_t i = 0; i < 60; i++) {
            struct snapshot one = {0};
            int64_t epoch = 1700000000 + (int64_t)((x = x * 6364136223846793005u + 1) >> 38);
            newest = epoch > newest ? epoch : newest;
            snprintf(one.name, sizeof one.name, "__replicate_100-0_%" PRId64 "__", epoch);
            snapshots_add(&s, &one);
        }
        history_add(&h, &s);
        history_prune(&h, &keep);
        assert_true(h.n >= 1 && h.n <= sum);
        assert_true(h.v[0].epoch == newest);
        size_t n = h.n;
        history_prune(&h, &keep); /* pruning again takes nothing more */
        assert_int_equal(h.n, n);
        history_release(&h);
        snapshots_release(&s);
    }
}

/* ---- the snapshots ---- */

/* Two jobs of today's, which keep one point. */
static struct jobs jobs;

static int parse_jobs(void **state)
{
    static const char text[] = "local: 100-0\n\ttarget pve2\n\nlocal: 100-1\n\ttarget pve3\n";
    jobs_parse("replication.cfg", text, sizeof text - 1, &jobs);
    return jobs.n == 2 ? 0 : -1;
}

static int release_jobs(void **state)
{
    jobs_release(&jobs);
    return 0;
}

static const struct retain_case {
    int line;
    const char *target, *source_after, *want;
    bool history;       /* S5 and S9 are kept */
    const char *listed; /* the guest's snapshots */
} retain_cases[] = {
    {__LINE__, "S5=a S9=n", "S9=n", "S5", false, ""},
    {__LINE__, "S5=a g1=b S9=n", "g1=b S9=n", "S5", false, ""},
    {__LINE__, "S5=a g1=b S9=n", "S9=n", "S5 g1", false, ""},
    {__LINE__, "S5=a mine=b! S9=n", "S9=n", "S5", false, ""},
    {__LINE__, "S5=a! T6=b! S9=n", "S9=n", "S5 T6", false, ""},
    {__LINE__, "diverged_100-0_5=a! S9=n", "S9=n", "", false, ""},
    {__LINE__, "diverged_100-0_5=a S9=n", "S9=n", "", false, ""},
    {__LINE__, "T6=b S9=n", "T6=b S9=n", "", false, ""},
    {__LINE__, "g1=b S9=n", "g1=c S9=n", "g1", false, ""},
    {__LINE__, "S4=a S5=b S7=c S9=n", "S9=n", "S4 S7", true, ""},
    {__LINE__, "S5=a! T5=b g1=c diverged_100-0_4=d S9=n", "S9=n", "T5 g1", true, ""},
    {__LINE__, "S4=a S7=b S9=n", "S4=a S9=n", "S7", true, ""},
    /* what the guest's configuration lists and the source has lost; not what was made anew, or was deleted */
    {__LINE__, "g1=b g2=c S9=n", "S9=n", "g2", false, "g1"},
    {__LINE__, "g1=b g2=c S9=n", "g2=c S9=n", "", false, "g1 g2"},
    {__LINE__, "g1=b S9=n", "g1=c S9=n", "g1", false, "g1"},
    {__LINE__, "g1=b! S5=a S9=n", "S9=n", "S5", false, "g1 S5"},
    /* of a job that is no more: one alone was a base, several are data, also where the source has some */
    {__LINE__, "U4=a S9=n", "S9=n", "U4", false, ""},
    {__LINE__, "U4=a U5=b S9=n", "S9=n", "", false, ""},
    {__LINE__, "U4=a U5=b S9=n", "U5=b S9=n", "", false, ""},
    {__LINE__, "U4=a U5=b! S9=n", "S9=n", "U4 U5", false, ""},
    /* of another job of today's, which keeps one */
    {__LINE__, "T4=a T5=b S9=n", "S9=n", "T4 T5", false, ""},
};

static void test_retain(void **state)
{
    (void)state;
    const struct strv none = STRV_INIT;
    for (size_t i = 0; i < ELEMENTS(retain_cases); i++) {
        const struct retain_case *c = &retain_cases[i];
        const struct history history = {
            .job_id = "100-0", .v = (struct history_run[]){{5, 5, 0}, {9, 9, 1}}, .n = 2};
        struct snapshots target = {0}, after = {0}, go = {0};
        char new_id[SNAPSHOT_ID_LEN + 1] = "";
        memset(new_id, 'n', SNAPSHOT_ID_LEN);
        side_parse(c->target, true, &target);
        side_parse(c->source_after, false, &after);
        struct received received = {0};
        _cleanup_strv_ struct strv listed = STRV_INIT;
        strv_split(&listed, c->listed, " ");
        const struct retain by = {.job_id = "100-0",
                                  .new_snapshot = "__replicate_100-0_9__",
                                  .siblings = &none,
                                  .history = c->history ? &history : NULL,
                                  .jobs = &jobs,
                                  .there = &received,
                                  .listed = &listed};
        received_add(&received, &target);
        retain_target(&by, &target, &after, new_id, &go);
        received_release(&received);
        _cleanup_buf_ struct buf got = BUF_INIT;
        for (size_t k = 0; k < go.n; k++) {
            if (k)
                buf_addc(&got, ' ');
            short_name(go.v[k].name, &got);
        }
        if (strcmp(buf_str(&got), c->want) != 0)
            fail_msg("line %d: want '%s', got '%s'", c->line, c->want, buf_str(&got));
        snapshots_release(&target);
        snapshots_release(&after);
        snapshots_release(&go);
    }
}

/* Another job's history, of when the target was that one's: by that job's rules, if it has any. */
static void test_others(void **state)
{
    (void)state;
    const struct strv none = STRV_INIT;
    const struct history other = {
        .job_id = "100-1", .v = (struct history_run[]){{4, 4, 0}, {7, 7, 1}}, .n = 2};
    for (int rules = 0; rules < 2; rules++) {
        struct snapshots target = {0}, after = {0}, go = {0};
        _cleanup_(received_release) struct received received = {0};
        side_parse("T3=a T4=b T7=c! T7=d S9=n", true, &target);
        side_parse("S9=n", false, &after);
        received_add(&received, &target);
        jobs.v[1].keep = rules ? xstrdup("last=2") : NULL;
        const struct retain by = {.job_id = "100-0",
                                  .new_snapshot = "__replicate_100-0_9__",
                                  .siblings = &none,
                                  .others = &other,
                                  .n_others = 1,
                                  .jobs = &jobs,
                                  .there = &received};
        retain_target(&by, &target, &after, target.v[4].id, &go);
        assert_int_equal(go.n, rules ? 2 : 4); /* T3, and the T7 that was made there */
        snapshots_release(&target);
        snapshots_release(&after);
        snapshots_release(&go);
    }
    free(jobs.v[1].keep);
    jobs.v[1].keep = NULL;
}

static const struct retain_source_case {
    int line;
    const char *source, *siblings,
        *want;    /* source: "?" marks what was received; siblings: of job T, epochs */
    bool history; /* S5 and S9 are kept */
    bool leave;
} retain_source_cases[] = {
    {__LINE__, "S5=a S9=n", "", "S5", false, false},
    {__LINE__, "S5=a T6=b g1=c S9=n", "", "S5", false, false},
    {__LINE__, "S5=a? S9=n", "", "S5", false, false},
    {__LINE__, "S5=a? S7=d S9=n", "T0", "S7", false, false},
    {__LINE__, "S5=a? T6=b? S9=n", "T6", "", false, false},
    {__LINE__, "S5=a? T6=b S9=n", "T6", "S5", false, false},
    {__LINE__, "S5=a? T6=b S9=n", "T8", "", false, false},
    {__LINE__, "S5=a? U6=b? S9=n", "", "S5 U6", false, false},
    {__LINE__, "S5=a? U6=b? T6=c S9=n", "T6", "S5 U6", false, false},
    {__LINE__, "S5=a? U6=b? S9=n", "T8", "", false, false},
    {__LINE__, "S4=a? S5=b? S7=c? S9=n", "", "S4 S7", true, false},
    {__LINE__, "S5=a S9=n", "", "S5", true, false},
    /* of a job that is no more: one alone was a base, several are data */
    {__LINE__, "S5=a? U6=b? U7=c? S9=n", "", "S5", false, false},
    {__LINE__, "S5=a? U6=b U7=c? S9=n", "", "S5 U7", false, false},
    /* of this one, which goes and leaves what is data */
    {__LINE__, "S5=a? S6=b? S8=c", "", "S8", false, true},
    {__LINE__, "S5=a? S8=c", "", "S5 S8", false, true},
};

static void test_retain_source(void **state)
{
    (void)state;
    for (size_t i = 0; i < ELEMENTS(retain_source_cases); i++) {
        const struct retain_source_case *c = &retain_source_cases[i];
        const struct history history = {
            .job_id = "100-0", .v = (struct history_run[]){{5, 5, 0}, {9, 9, 1}}, .n = 2};
        struct snapshots source = {0}, go = {0};
        struct received received = {0};
        _cleanup_strv_ struct strv siblings = STRV_INIT;
        _cleanup_buf_ struct buf got = BUF_INIT;
        if (*c->siblings)
            strv_addf(&siblings, "__replicate_100-1_%s__", c->siblings + 1);
        side_parse(c->source, false, &source);
        const struct retain by = {.job_id = "100-0",
                                  .new_snapshot = "__replicate_100-0_9__",
                                  .siblings = &siblings,
                                  .history = c->history ? &history : NULL,
                                  .jobs = &jobs,
                                  .here = &received,
                                  .leave = c->leave};
        received_add(&received, &source);
        jobs.v[0].remove = c->leave ? REMOVE_LOCAL : REMOVE_NOT;
        retain_source(&by, &source, &go);
        received_release(&received);
        for (size_t k = 0; k < go.n; k++) {
            if (k)
                buf_addc(&got, ' ');
            short_name(go.v[k].name, &got);
        }
        if (strcmp(buf_str(&got), c->want) != 0)
            fail_msg("line %d: want '%s', got '%s'", c->line, c->want, buf_str(&got));
        snapshots_release(&source);
        snapshots_release(&go);
    }
}

/* A disk that was added later has one point of a job that is no more, where the others have several: of one
 * line it is kept aside on each, since elsewhere it stays on each. */
static void test_of_one_line(void **state)
{
    (void)state;
    struct err e = {0};
    struct plan plan = {0};
    struct snapshots source = {0};
    struct replica there[2] = {{.info = {.exists = true, .many = true, .stream = true}},
                               {.info = {.exists = true, .many = true, .stream = true}}};
    struct plan_input_volume v[2] = {{.volid = "s:vm-100-disk-0"}, {.volid = "s:vm-100-disk-1"}};
    side_parse("S2=a", false, &source);
    side_parse("S2=a T6=c S7=d", true, &there[0].snapshots);
    side_parse("S2=a T5=b T6=c S7=d", true, &there[1].snapshots);
    for (size_t i = 0; i < 2; i++) {
        strcpy(there[i].owner, "100-0");
        memset(there[i].base_id, 'd', SNAPSHOT_ID_LEN);
        v[i].info = (struct volume_info){.stream = true, .one_line = true, .many = true};
        v[i].snapshots = &source;
        v[i].replica = &there[i];
    }
    const struct plan_input in = {.job_id = "100-0",
                                  .guest = 100,
                                  .last_sync = 2,
                                  .new_snapshot = "__replicate_100-0_9__",
                                  .volumes = v,
                                  .n = 2};
    assert_int_equal(plan_make(&in, &plan, &e), 0);
    assert_int_equal(plan.v[1].keep_aside.n, 3);
    assert_int_equal(plan.v[0].keep_aside.n, 2);
    assert_string_equal(plan.v[0].keep_aside.v[0].to, "diverged_100-1_6");
    plan_release(&plan);
    snapshots_release(&source);
    for (size_t i = 0; i < 2; i++)
        replica_release(&there[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keeps_by_the_rules),
        cmocka_unit_test(counts_points_only),
        cmocka_unit_test(counts_another_clock_in_order),
        cmocka_unit_test(tells_history_from_one),
        cmocka_unit_test(bounds),
        cmocka_unit_test(test_retain),
        cmocka_unit_test(test_others),
        cmocka_unit_test(test_retain_source),
        cmocka_unit_test(test_of_one_line),
    };
    return cmocka_run_group_tests(tests, parse_jobs, release_jobs);
}
