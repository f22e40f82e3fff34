#include "conf/job.h"
#include "base/testbrief.h"
#include "conf/testjobs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

/* ---- the owner changed ---- */

static const struct {
    const char *what, *text;
    const char *node, *to; /* to: a migration from node to there; NULL: repair on node */
    const char *jobs;
} moves[] = {
    {"nothing to repair", "local: 100-0\n\ttarget b\n\tsource a\n\n", "a", NULL, "100-0>b source=a"},
    {"no source yet", "local: 100-0\n\ttarget b\n\n", "a", NULL, "100-0>b source=a"},
    {"stolen by a target", "local: 100-0\n\ttarget b\n\tsource a\n\nlocal: 100-1\n\ttarget c\n\tsource a\n\n",
     "b", NULL, "100-0>a source=b; 100-1>c source=b"},
    {"stolen by a third", "local: 100-0\n\ttarget b\n\tsource a\n\nlocal: 100-1\n\ttarget c\n\tsource a\n\n",
     "d", NULL, "100-0>b source=d; 100-1>c source=d"},
    {"disabled and removed ones too",
     "local: 100-0\n\tdisable\n\ttarget b\n\tremove_job full\n\tsource a\n\n", "b", NULL,
     "100-0>a source=b disable remove=full"},
    {"targets stay unique",
     "local: 100-0\n\ttarget b\n\tsource a\n\nlocal: 100-1\n\ttarget a\n\tsource c\n\n", "b", NULL,
     "100-0>b source=b; 100-1>a source=b"},
    {"other guests stay", "local: 10-0\n\nlocal: 1000-0\n\ttarget b\n\tsource a\n\n", "b", NULL,
     "1000-0>b source=a"},
    {"migration to a target",
     "local: 100-0\n\ttarget b\n\tsource a\n\nlocal: 100-1\n\ttarget c\n\tsource a\n\n", "a", "b",
     "100-0>a source=b; 100-1>c source=b"},
    {"migration to a third", "local: 100-0\n\ttarget b\n\tsource a\n\n", "a", "d", "100-0>b source=d"},
};

/* ---- jobs that cannot be read ---- */

static const struct {
    const char *what, *text, *extras;
    const char *unread; /* "ID SOURCE", each */
    const char *why;    /* a part of the first one's reason */
} hidden[] = {
    {"none", "local: 100-0\n\ttarget b\n\n# local: 101-0\nb: 102-0\nlocal 103-0\n", "", "", ""},
    {"no target", "local: 0100-0\n\tsource a\n\n", "", "100-0 a; ", "cfg, line 1, has no target"},
    {"no node's name", "local: 100-0\n\ttarget b c\n\tremove_job full\n\n", "", "100-0 -; ", "has no target"},
    {"no empty line before it", "local: 100-0\n\ttarget b\nlocal: 101-0\n\ttarget b\n\n", "", "101-0 -; ",
     "cfg, line 3, is taken for a part"},
    {"a line of blanks before it", "local: 100-0\n\ttarget b\n \nlocal: 101-0\n\ttarget b\n\n", "",
     "101-0 -; ", "line 4"},
    {"indented", "local: 100-0\n\ttarget b\n\n  local: 101-0\n\ttarget b\n\n", "", "101-0 -; ", "line 4"},
    {"indented, within another", "local: 100-0\n\ttarget b\n\tlocal: 101-0\n", "", "101-0 -; ", "line 3"},
    {"read elsewhere", "local: 100-0\n\n local: 100-0\n\nlocal: 100-0\n\ttarget b\n\n", "", "", ""},
    {"twice", "local: 100-0\n\nlocal: 100-0\n\n local: 100-0\n", "", "100-0 -; ", "line 1"},
    {"no guest's id", "local: 99-0\n\n local: 99-0\n local: x\n", "", "", ""},
    {"its other settings stay", "local: 100-0\n\ttarget b\n \nlocal: 101-0\n\ttarget b\n\n",
     "local: 101-0\n\tkeep 5\n\nlocal: 102-0\n\tkeep 5\n\n", "101-0 -; ", "line 4"},
};

static void tells_what_it_cannot_read(void **state)
{
    for (size_t i = 0; i < ELEMENTS(hidden); i++) {
        struct jobs j;
        struct err e = {0};
        _cleanup_buf_ struct buf ids = BUF_INIT, extras = BUF_INIT;
        parse(hidden[i].text, &j);
        jobs_parse_extras(&j, "ext", hidden[i].extras, strlen(hidden[i].extras));
        for (size_t k = 0; k < j.n_unread; k++) {
            const struct job *job = &j.unread[k];
            buf_addf(&ids, "%s %s; ", job->id, job->source ? job->source : "-");
            assert_null(jobs_find(&j, job->id));
            assert_int_equal(job->remove, REMOVE_NOT);
            assert_int_equal(jobs_add(&j, &(struct job){.id = "101-0", .target = (char *)"z"}, &e),
                             strcmp(job->id, "101-0") == 0 ? -1 : 0);
            assert_int_equal(jobs_no_such(&j, "job", job->id, &e), -1);
            assert_int_equal(e.kind, ERR_CONFIG);
        }
        if (strcmp(buf_str(&ids), hidden[i].unread) != 0 ||
            (j.n_unread && !strstr(j.unread[0].fault, hidden[i].why)))
            fail_msg("%s: '%s' (%s)", hidden[i].what, buf_str(&ids), j.n_unread ? j.unread[0].fault : "");
        jobs_drop_extras(&j);
        jobs_print_extras(&j, &extras);
        if (*hidden[i].extras)
            assert_string_equal(buf_str(&extras), "local: 101-0\n\tkeep 5\n\n");
        jobs_no_such(&j, "job", "999-9", &e);
        assert_string_equal(e.text, "no such job '999-9'");
        jobs_release(&j);
    }
}

/* Wherever the files are cut: a job with other settings than before is not one of which nothing is said. */
static void says_what_was_cut(void **state)
{
    static const char text[] = "local: 100-0\n\ttarget b\n\tschedule */15\n\n"
                               "local: 101-0\n\ttarget b\n\trate 100\n\tschedule */15\n\tsource a\n\n",
                      extras[] = "local: 100-0\n\tkeep last=30\n\nlocal: 101-0\n\tkeep last=30\n\n";
    for (size_t n = 1; n < sizeof text; n++) {
        struct jobs j;
        jobs_parse("replication.cfg", text, n, &j);
        if (text[n - 1] != '\n' && !j.warnings.n)
            fail_msg("nothing is said of '%.*s'", (int)n, text);
        jobs_release(&j);
    }
    for (size_t n = 1; n < sizeof extras; n++) {
        struct jobs j;
        parse(text, &j);
        jobs_parse_extras(&j, "ext", extras, n);
        for (size_t i = 0; i < j.n; i++)
            if (j.v[i].keep && !j.v[i].fault && strcmp(j.v[i].keep, "last=30") != 0)
                fail_msg("'%s' would keep '%s' by '%.*s'", j.v[i].id, j.v[i].keep, (int)n, extras);
        jobs_release(&j);
    }
}

static void follows_the_owner(void **state)
{
    for (size_t i = 0; i < ELEMENTS(moves); i++) {
        struct jobs j, again;
        _cleanup_buf_ struct buf before = BUF_INIT, after = BUF_INIT;
        parse(moves[i].text, &j);
        dump_jobs(&j, &before);
        if (moves[i].to) {
            jobs_switch_direction(&j, 100, moves[i].node, moves[i].to);
        } else {
            bool changed = jobs_repair_source(&j, 100, moves[i].node);
            assert_int_equal(changed, strcmp(buf_str(&before), moves[i].jobs) != 0);
            assert_false(jobs_repair_source(&j, 100, moves[i].node)); /* once is enough */
        }
        expect_jobs(&j, moves[i].what, moves[i].jobs);
        jobs_print(&j, &after);
        parse(buf_str(&after), &again);
        expect_jobs(&again, moves[i].what, moves[i].jobs);
        jobs_release(&j);
        jobs_release(&again);
    }
}

/* Writing twice encodes once. */
static void keeps_comments(void **state)
{
    static const char *const comments[] = {
        "%", "%25", ":", "%3A", "a: b % c", "ä ö ü € 𝄞", "\t\n\r\x01\x7f", " ", "  x  ", "#", "-", "100%"};
    for (size_t i = 0; i < ELEMENTS(comments); i++) {
        struct jobs j;
        struct err e;
        parse("", &j);
        struct job job = {.id = "100-0", .target = "b", .comment = (char *)comments[i]};
        assert_int_equal(jobs_add(&j, &job, &e), 0);
        for (int round = 0; round < 3; round++) {
            _cleanup_buf_ struct buf once = BUF_INIT;
            jobs_print(&j, &once);
            j.v[0].rate = round + 1;
            assert_int_equal(jobs_changed(&j, &j.v[0], &e), 0);
            buf_clear(&once);
            jobs_print(&j, &once);
            jobs_release(&j);
            parse(buf_str(&once), &j);
            assert_int_equal(j.n, 1);
            assert_string_equal(j.v[0].comment, comments[i]);
        }
        jobs_release(&j);
    }
}

static void bounds_comments(void **state)
{
    _cleanup_buf_ struct buf text = BUF_INIT;
    struct err e;
    for (int i = 0; i < 4096; i++)
        buf_adds(&text, "ä");
    assert_int_equal(job_check_comment(buf_str(&text), &e), 0);
    buf_addc(&text, 'x');
    assert_int_equal(job_check_comment(buf_str(&text), &e), -1);
    assert_string_equal(e.text, "value may only be 4096 characters long");
}

/* ---- many, and random ---- */

/* Each loop here is over all jobs: anything quadratic would take minutes under the sanitizers. */
static void copes_with_many(void **state)
{
    const int many = test_rounds(10000);
    _cleanup_buf_ struct buf text = BUF_INIT, printed = BUF_INIT;
    struct jobs j;
    struct err e;
    for (int i = 0; i < many; i++)
        buf_addf(&text, "local: %d-%d\n\ttarget n%d\n\tsource old\n\tschedule */%d\n\n",
                 i % 2 ? 100 : 100 + i, i, i, i % 59 + 1);
    struct timespec from, to;
    clock_gettime(CLOCK_MONOTONIC, &from);
    parse(text.data, &j);
    clock_gettime(CLOCK_MONOTONIC, &to);
    print_message("%d jobs read in %.1f ms\n", many,
                  (double)(to.tv_sec - from.tv_sec) * 1e3 + (double)(to.tv_nsec - from.tv_nsec) / 1e6);
    assert_int_equal(j.n, many);
    for (size_t i = 0; i < j.n; i++) {
        assert_ptr_equal(jobs_find(&j, j.v[i].id), &j.v[i]);
        if (j.v[i].guest == 100)
            continue;
        j.v[i].rate = 5;
        assert_int_equal(jobs_changed(&j, &j.v[i], &e), 0);
        assert_true(jobs_repair_source(&j, j.v[i].guest, "new"));
    }
    jobs_print(&j, &printed);
    jobs_release(&j);
    parse(buf_str(&printed), &j);
    assert_int_equal(j.n, many);
    assert_string_equal(jobs_find(&j, "102-2")->source, "new");
    assert_true(jobs_find(&j, "102-2")->rate == 5);
    jobs_release(&j);
}

static char *random_comment(void)
{
    static const char *const parts[] = {"%", ":", "ä", "x", " ", "%2", "\n", "€"};
    struct buf b = BUF_INIT;
    for (int i = rand() % 6; i > 0; i--)
        buf_adds(&b, parts[rand() % 8]);
    return buf_take(&b);
}

static void set(char **slot, char *value)
{
    free(*slot);
    *slot = value && *value ? value : NULL;
    if (value && !*slot)
        free(value);
}

static void random_change(struct jobs *j)
{
    struct err e;
    struct job add = {.target = (char[8]){0}};
    snprintf(add.id, sizeof add.id, "%d-%d", 100 + rand() % 3, rand() % 4);
    snprintf(add.target, 8, "n%d", rand() % 4);
    struct job *job = j->n ? &j->v[(size_t)rand() % j->n] : NULL;
    switch (rand() % 8) {
    case 0:
        jobs_add(j, &add, &e);
        return;
    case 1:
        jobs_remove(j, add.id);
        return;
    case 2:
        jobs_repair_source(j, 100 + (uint32_t)rand() % 3, add.target);
        return;
    case 3:
        jobs_switch_direction(j, 100 + (uint32_t)rand() % 3, "n0", add.target);
        return;
    }
    if (!job)
        return;
    set(&job->comment, random_comment());
    set(&job->schedule, xstrdup(rand() % 2 ? "*/5" : ""));
    job->disabled = rand() % 2;
    job->rate = rand() % 3;
    job->remove = (enum remove_mode)(rand() % 3);
    assert_int_equal(jobs_changed(j, job, &e), 0);
}

/* After any changes, what is in memory is what is read back, and the rest of the file is still there. */
static void loses_nothing(void **state)
{
    static const char text[] =
        "# <1>\nlocal: 100-0\n# <2>\n\tcomment %25\n\ttarget n0\n\n<3>\nother: <4>\n\tx 1\n\n"
        "local: 101-1\n\ttarget n1\n\t# <5>\n\n  # <6>\nlocal: 102-2\n\ttarget n2\n\tfoo <7>\n";
    static const char *const kept[] = {"# <1>\n", "<3>\nother: <4>\n\tx 1\n\n", "  # <6>\n"};
    const char *given = getenv("PVESR_TEST_SEED");
    unsigned seed = given ? (unsigned)strtoul(given, NULL, 10) : (unsigned)time(NULL);
    print_message("PVESR_TEST_SEED=%u\n", seed);
    srand(seed);
    for (int round = 0; round < test_rounds(300); round++) {
        struct jobs j;
        parse(text, &j);
        for (int i = 0; i < 20; i++) {
            _cleanup_buf_ struct buf printed = BUF_INIT, wanted = BUF_INIT;
            struct jobs again;
            random_change(&j);
            jobs_print(&j, &printed);
            dump_jobs(&j, &wanted);
            parse(buf_str(&printed), &again);
            expect_jobs(&again, buf_str(&printed), buf_str(&wanted));
            for (size_t k = 0; k < ELEMENTS(kept); k++)
                assert_non_null(strstr(buf_str(&printed), kept[k]));
            if (jobs_find(&j, "102-2") && j.file.sections[jobs_find(&j, "102-2")->section].line)
                assert_non_null(strstr(buf_str(&printed), "\tfoo <7>\n"));
            expect_printed(&again, "again", buf_str(&printed));
            jobs_release(&again);
        }
        jobs_release(&j);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(says_what_was_cut),
        cmocka_unit_test(follows_the_owner),
        cmocka_unit_test(keeps_comments),
        cmocka_unit_test(bounds_comments),
        cmocka_unit_test(copes_with_many),
        cmocka_unit_test(loses_nothing),
        cmocka_unit_test(tells_what_it_cannot_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
