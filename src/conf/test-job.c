#include "conf/job.h"
#include "conf/testjobs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- ids ---- */

static void knows_ids(void **state)
{
    static const struct {
        const char *text, *error; /* NULL: good */
    } cases[] = {
        {"100-0", NULL},
        {"999999999-999999999", NULL},
        {"123-7", NULL},
        {"99-0", "invalid replication job id '99-0' (guest IDs < 100 are reserved)"},
        {"0-0", "invalid replication job id '0-0' (guest IDs < 100 are reserved)"},
        {"100-00", "value does not match the regex pattern: write '100-00' as '100-0'"},
        {"0100-0", "value does not match the regex pattern: write '0100-0' as '100-0'"},
        {"", "value does not match the regex pattern"},
        {"100", "value does not match the regex pattern"},
        {"100-", "value does not match the regex pattern"},
        {"-0", "value does not match the regex pattern"},
        {"100-0 ", "value does not match the regex pattern"},
        {" 100-0", "value does not match the regex pattern"},
        {"100--1", "value does not match the regex pattern"},
        {"100-0-0", "value does not match the regex pattern"},
        {"100-0x", "value does not match the regex pattern"},
        {"1000000000-0", "value does not match the regex pattern"},
        {"100-1000000000", "value does not match the regex pattern"},
        {"18446744073709551716-0", "value does not match the regex pattern"},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct job_id id = {0};
        struct err e = {0};
        int r = job_id_parse(cases[i].text, &id, &e);
        if ((r == 0) != !cases[i].error || (r < 0 && strncmp(e.text, cases[i].error, strlen(cases[i].error))))
            fail_msg("'%s': %d %s", cases[i].text, r, e.text);
    }
}

/* ---- reading ---- */

static const struct {
    const char *text, *jobs, *warned;
} readings[] = {
    {"", "", ""},
    {"local: 100-0\n\tcomment nightly%3A copy\n\tdisable\n\ttarget pve2\n\trate 10\n"
     "\tschedule mon..fri 22:00\n\tsource pve1\n\n",
     "100-0>pve2 source=pve1 schedule=mon..fri 22:00 rate=10 comment=nightly: copy disable", ""},
    /* order: guest as a number, then id as a string */
    {"local: 1000-0\n\ttarget b\n\nlocal: 100-2\n\ttarget b\n\nlocal: 100-10\n\ttarget c\n",
     "100-10>c; 100-2>b; 1000-0>b", ""},
    {"local: 0100-007\n\ttarget b\n", "100-7>b", ""},
    {"LOCAL:100-0\n\ttarget b\n", "100-0>b", ""},
    {"local: 99-0\n\ttarget b\n", "", "1"},
    {"remote: 100-0\n\ttarget b\n\nlocal: 100-1\n\ttarget b\n", "100-1>b", "1"},
    {"local: abc\n\ttarget b\n", "", "1"},
    {"local: 100-0\n\tsource a\n\nlocal: 100-1\n\ttarget b\n", "100-1>b", "1"},
    {"local: 100-0\n\ttarget -b\n", "", "2 1"},
    {"local: 100-0\n\ttarget\n", "", "2 1"},
    /* the later one of an id, in whatever spelling; the first one, by id, of a target */
    {"local: 100-0\n\ttarget b\n\nlocal: 100-00\n\ttarget c\n", "100-0>c", "1"},
    {"local: 100-0\n\ttarget b\n\nlocal: 100-0\n\tsource c\n", "100-0>b", "4"},
    {"local: 100-2\n\ttarget b\n\nlocal: 100-10\n\ttarget b\n", "100-10>b", "1"},
    {"local: 100-0\n\ttarget b\n\nlocal: 101-0\n\ttarget b\n", "100-0>b; 101-0>b", ""},
    {"local: 100-0\n\ttarget b\n\nlocal: 100-0\n\ttarget c\n\nlocal: 100-1\n\ttarget b\n", "100-0>c; 100-1>b",
     "1"},
    /* values */
    {"local: 100-0\n\ttarget b\n\tfoo 1\n", "100-0>b", "3"},
    {"local: 100-0\n\ttarget b\n\ttarget c\n", "100-0>b", "3"},
    {"local: 100-0\n\ttarget b\n\trate 0.5\n", "100-0>b", "3"},
    {"local: 100-0\n\ttarget b\n\trate 1.50\n", "100-0>b rate=1.5", ""},
    {"local: 100-0\n\ttarget b\n\trate x\n", "100-0>b", "3"},
    {"local: 100-0\n\ttarget b\n\trate\n", "100-0>b", "3"},
    {"local: 100-0\n\ttarget b\n\trate nan\n", "100-0>b", "3"},
    {"local: 100-0\n\ttarget b\n\tdisable 1\n", "100-0>b disable", ""},
    {"local: 100-0\n\ttarget b\n\tdisable 0\n", "100-0>b", ""},
    {"local: 100-0\n\ttarget b\n\tdisable no\n", "100-0>b", "3"},
    {"local: 100-0\n\ttarget b\n\tremove_job full\n", "100-0>b remove=full", ""},
    {"local: 100-0\n\ttarget b\n\tremove_job local\n", "100-0>b remove=local", ""},
    {"local: 100-0\n\ttarget b\n\tremove_job x\n", "100-0>b", "3"},
    {"local: 100-0\n\ttarget b\n\tschedule */00\n", "100-0>b schedule=*/00", ""},
    {"local: 100-0\n\ttarget b\n\tschedule never ever\n", "100-0>b schedule=never ever FAULT", "1"},
    {"local: 100-0\n\ttarget b\n\tschedule 2-30\n", "100-0>b schedule=2-30 FAULT", "1"},
    /* once only, and that is over: runs by hand */
    {"local: 100-0\n\ttarget b\n\tschedule 2019-11-1 3:00\n", "100-0>b schedule=2019-11-1 3:00", ""},
    {"local: 100-0\n\ttarget b\n\tschedule 1969-1-1\n", "100-0>b schedule=1969-1-1", ""},
    {"local: 100-0\n\ttarget b\n\tschedule 2190-1-1\n", "100-0>b schedule=2190-1-1", ""},
    {"local: 100-0\n\ttarget b\n\tschedule\n", "100-0>b", "3"},
    {"local: 100-0\n\ttarget b\n\tcomment %25 100%\n", "100-0>b comment=% 100%", ""},
    {"local: 100-0\n\ttarget b\n\tcomment %C3%A4 %zz %4\n", "100-0>b comment=ä %zz %4", ""},
    {"local: 100-0\n\ttarget b\n\tcomment ä:b\n", "100-0>b comment=ä:b", ""},
    {"local: 100-0\n\ttarget b\n\tcomment a%0Ab\n", "100-0>b comment=a\nb", ""},
    {"local: 100-0\n\ttarget b\n\tcomment a%00b\n", "100-0>b", "3"},
    {"local: 100-0\n\ttarget b\n\tcomment %FF\n", "100-0>b", "3"},
    {"local: 100-0\n\ttarget b\n\tcomment %ED%A0%80\n", "100-0>b", "3"},
    {"local: 100-0\n\ttarget b\n\tcomment %C3\n", "100-0>b", "3"},
    /* a header without an empty line before it adds nothing and its properties are the first one's */
    {"local: 100-0\n\ttarget b\nlocal: 100-1\n\ttarget c\n\tsource d\n", "100-0>b source=d", "3 4"},
};

static void reads(void **state)
{
    for (size_t i = 0; i < ELEMENTS(readings); i++) {
        struct jobs j;
        _cleanup_buf_ struct buf lines = BUF_INIT;
        parse(readings[i].text, &j);
        expect_jobs(&j, readings[i].text, readings[i].jobs);
        dump_lines(&j.warnings, &lines);
        if (strcmp(buf_str(&lines), readings[i].warned) != 0)
            fail_msg("'%s': warned '%s'", readings[i].text, buf_str(&lines));
        expect_printed(&j, "unchanged", readings[i].text);
        for (size_t k = 0; k < j.n; k++)
            assert_ptr_equal(jobs_find(&j, j.v[k].id), &j.v[k]);
        assert_null(jobs_find(&j, "100-3"));
        assert_null(jobs_find(&j, "0100-0"));
        assert_null(jobs_find(&j, "what"));
        jobs_release(&j);
    }
}

static void knows_the_digest(void **state)
{
    struct jobs j;
    parse(NULL, &j);
    assert_string_equal(j.digest, "");
    jobs_release(&j);
    parse("", &j);
    assert_string_equal(j.digest, "da39a3ee5e6b4b0d3255bfef95601890afd80709");
    jobs_release(&j);
    parse("abc", &j);
    assert_string_equal(j.digest, "a9993e364706816aba3e25717850c26c9cd0d89d"); /* FIPS 180 */
    jobs_release(&j);
}

static void says_why_a_job_is_not_run(void **state)
{
    struct jobs j;
    struct err e;
    parse("local: 100-0\n\ttarget b\n\tschedule foo\n\n", &j);
    assert_non_null(strstr(j.v[0].fault, "invalid schedule 'foo': "));
    assert_non_null(strstr(j.warnings.v[0], "replication.cfg:1: job '100-0' is not run: invalid schedule"));
    j.v[0].disabled = true; /* other properties can be changed meanwhile */
    assert_int_equal(jobs_changed(&j, &j.v[0], &e), 0);
    assert_non_null(j.v[0].fault);
    free(j.v[0].schedule);
    j.v[0].schedule = xstrdup("*/5");
    assert_int_equal(jobs_changed(&j, &j.v[0], &e), 0);
    assert_null(j.v[0].fault);
    expect_printed(&j, "repaired", "local: 100-0\n\tdisable\n\ttarget b\n\tschedule */5\n\n");
    jobs_release(&j);
}

/* ---- writing ---- */

static void writes_in_order(void **state)
{
    static const struct {
        struct job job;
        const char *expect;
    } cases[] = {
        {{.id = "100-0", .target = "b"}, "local: 100-0\n\ttarget b\n\n"},
        {{.id = "100-0",
          .target = "b",
          .source = "a",
          .schedule = "22:00",
          .comment = "c",
          .rate = 10,
          .disabled = true,
          .remove = REMOVE_FULL},
         "local: 100-0\n\tcomment c\n\tdisable\n\ttarget b\n\trate 10\n\tremove_job full\n"
         "\tschedule 22:00\n\tsource a\n\n"},
        {{.id = "100-0", .target = "b", .comment = "", .remove = REMOVE_LOCAL},
         "local: 100-0\n\ttarget b\n\tremove_job local\n\n"},
        {{.id = "100-0", .target = "b", .rate = 1.5}, "local: 100-0\n\ttarget b\n\trate 1.5\n\n"},
        {{.id = "100-0", .target = "b", .rate = 1e6}, "local: 100-0\n\ttarget b\n\trate 1000000\n\n"},
        {{.id = "100-0", .target = "b", .comment = "!\"#$%&9:;~ a\x7f\xc3\xa4\n"},
         "local: 100-0\n\tcomment !\"#$%25&9%3A;~ a%7F%C3%A4%0A\n\ttarget b\n\n"},
        {{.id = "100-0", .target = "b", .comment = " x "}, "local: 100-0\n\tcomment %20x%20\n\ttarget b\n\n"},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct jobs j, again;
        struct err e;
        parse(NULL, &j);
        assert_int_equal(jobs_add(&j, &cases[i].job, &e), 0);
        assert_int_equal(j.v[0].guest, 100);
        expect_printed(&j, "added", cases[i].expect);
        parse(cases[i].expect, &again);
        assert_int_equal(again.warnings.n, 0);
        const char *comment = cases[i].job.comment;
        if (comment && *comment)
            assert_string_equal(again.v[0].comment, comment);
        jobs_release(&j);
        jobs_release(&again);
    }
}

static void refuses_to_add(void **state)
{
    static const struct {
        struct job job;
        const char *error;
    } cases[] = {
        {{.id = "100-0", .target = "c"}, "replication job '100-0' already exists"},
        {{.id = "100-1", .target = "b"},
         "replication job for guest '100' to target 'local/b' already exists"},
        {{.id = "100-5", .target = "c"}, "replication job '100-5' already exists"}, /* a faulty one */
        {{.id = "100-01", .target = "c"}, "value does not match the regex pattern"},
        {{.id = "99-1", .target = "c"}, "invalid replication job id '99-1'"},
        {{.id = "100-1", .target = "c\n"}, "target: "},
        {{.id = "100-1"}, "target: "},
        {{.id = "100-1", .target = "c", .source = "-"}, "source: "},
        {{.id = "100-1", .target = "c", .schedule = "foo"}, "schedule: invalid calendar event"},
        {{.id = "100-1", .target = "c", .schedule = "2-30"},
         "schedule: invalid calendar event '2-30': it never comes"},
        {{.id = "100-1", .target = "c", .schedule = "2020-1-1"}, "schedule: invalid calendar event"},
        {{.id = "100-1", .target = "c", .schedule = "*/5\n\ttarget d"}, "schedule: invalid calendar event"},
        {{.id = "100-1", .target = "c", .comment = "\xff"}, "comment: "},
        {{.id = "100-1", .target = "c", .rate = 0.5}, "rate: "},
        {{.id = "100-1", .target = "c", .rate = -1}, "rate: "},
    };
    static const char text[] = "local: 100-0\n\ttarget b\n\nlocal: 100-5\n\tsource b\n\n";
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct jobs j;
        struct err e = {0};
        parse(text, &j);
        assert_int_equal(jobs_add(&j, &cases[i].job, &e), -1);
        assert_int_equal(e.kind, ERR_USAGE);
        if (strncmp(e.text, cases[i].error, strlen(cases[i].error)) != 0)
            fail_msg("%s: %s", cases[i].error, e.text);
        expect_printed(&j, "refused", text);
        jobs_release(&j);
    }
}

static void adds_in_order(void **state)
{
    struct jobs j;
    struct err e;
    static const char *const ids[] = {"200-0", "100-2", "100-10", "300-0", "100-1"};
    parse("", &j);
    for (size_t i = 0; i < ELEMENTS(ids); i++) {
        char target[8];
        snprintf(target, sizeof target, "n%zu", i);
        assert_int_equal(jobs_add(&j, &(struct job){.id = "", .target = target}, &e), -1);
        struct job job = {.target = target};
        snprintf(job.id, sizeof job.id, "%s", ids[i]);
        assert_int_equal(jobs_add(&j, &job, &e), 0);
        assert_string_equal(jobs_find(&j, ids[i])->target, target);
    }
    expect_jobs(&j, "order", "100-1>n4; 100-10>n2; 100-2>n1; 200-0>n0; 300-0>n3");
    jobs_remove(&j, "100-10");
    jobs_remove(&j, "100-10");
    jobs_remove(&j, "what");
    free(j.v[0].target);
    j.v[0].target = xstrdup("x");
    assert_int_equal(jobs_changed(&j, &j.v[0], &e), 0);
    expect_printed(&j, "order of the file",
                   "local: 200-0\n\ttarget n0\n\nlocal: 100-2\n\ttarget n1\n\nlocal: 300-0\n\ttarget n3\n\n"
                   "local: 100-1\n\ttarget x\n\n");
    jobs_release(&j);
}

/* A job that is removed stays removed, whatever else of its id is in the file. */
static void removes_every_section_of_the_id(void **state)
{
    struct jobs j;
    parse("local: 100-0\n\ttarget a\n\n#\nlocal: 0100-00\n\ttarget b\n\nlocal: 100-0\n\tx 1\n\n"
          "other: 100-0\n\ttarget c\n\nlocal: 100-1\n\ttarget c\n",
          &j);
    jobs_remove(&j, "100-0");
    expect_jobs(&j, "left", "100-1>c");
    expect_printed(&j, "left", "#\nother: 100-0\n\ttarget c\n\nlocal: 100-1\n\ttarget c\n");
    j.v[0].rate = 2;
    struct err e;
    assert_int_equal(jobs_changed(&j, &j.v[0], &e), 0);
    expect_printed(&j, "changed", "#\nother: 100-0\n\ttarget c\n\nlocal: 100-1\n\ttarget c\n\trate 2\n\n");
    jobs_release(&j);
}

/* Comments, unknown sections and properties, and values that are ignored survive a change beside them; a
 * header is written in its canonical form only when its section is written. */
static void changes_what_is_asked(void **state)
{
    struct jobs j;
    struct err e;
    parse("# top\nlocal: 0100-00\n\tsource a\n# of the target\n\ttarget b\n\tzfs-only 1\n\trate 0.5\n\n"
          "pbs: x\n\ty 1\n\nlocal: 0101-0\n  target  b\n\nlocal: 102-0\n\n",
          &j);
    struct job *job = jobs_find(&j, "100-0");
    assert_int_equal(jobs_changed(&j, job, &e), 0);
    job->comment = xstrdup("50%");
    assert_int_equal(jobs_changed(&j, job, &e), 0);
    assert_int_equal(jobs_changed(&j, job, &e), 0);
    expect_printed(
        &j, "changed",
        "# top\nlocal: 100-0\n\tcomment 50%25\n# of the target\n\ttarget b\n\trate 0.5\n"
        "\tsource a\n\tzfs-only 1\n\npbs: x\n\ty 1\n\nlocal: 0101-0\n  target  b\n\nlocal: 102-0\n\n");
    jobs_release(&j);
}

static void unsets(void **state)
{
    struct jobs j;
    struct err e;
    parse("local: 100-0\n\tcomment c\n\tdisable\n\ttarget b\n\trate 10\n\tremove_job full\n"
          "\tschedule 22:00\n\tsource a\n\n",
          &j);
    struct job *job = &j.v[0];
    free(job->comment);
    free(job->schedule);
    free(job->source);
    job->comment = job->schedule = job->source = NULL;
    job->disabled = false;
    job->rate = 0;
    job->remove = REMOVE_NOT;
    assert_int_equal(jobs_changed(&j, job, &e), 0);
    expect_printed(&j, "unset", "local: 100-0\n\ttarget b\n\n");
    jobs_release(&j);
}

static void refuses_a_change(void **state)
{
    struct jobs j;
    struct err e;
    static const char text[] = "local: 100-0\n\ttarget b\n\nlocal: 100-1\n\ttarget c\n\n";
    parse(text, &j);
    free(j.v[1].target);
    j.v[1].target = xstrdup("b");
    assert_int_equal(jobs_changed(&j, &j.v[1], &e), -1);
    assert_string_equal(e.text, "replication job for guest '100' to target 'local/b' already exists");
    j.v[0].schedule = xstrdup("foo");
    assert_int_equal(jobs_changed(&j, &j.v[0], &e), -1);
    expect_printed(&j, "refused", text);
    jobs_release(&j);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(knows_ids),
        cmocka_unit_test(reads),
        cmocka_unit_test(knows_the_digest),
        cmocka_unit_test(says_why_a_job_is_not_run),
        cmocka_unit_test(writes_in_order),
        cmocka_unit_test(refuses_to_add),
        cmocka_unit_test(adds_in_order),
        cmocka_unit_test(removes_every_section_of_the_id),
        cmocka_unit_test(changes_what_is_asked),
        cmocka_unit_test(unsets),
        cmocka_unit_test(refuses_a_change),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
