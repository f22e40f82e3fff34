/* Settings of a job that are lost: what the file says, what notes say of the last run, and what follows. */
#include "run/lost.h"

#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define JOBS "local: 100-0\n\ttarget b\n\tsource a\n\nlocal: 101-0\n\ttarget b\n\tsource a\n\n"
#define OTHER "local: 101-0\n\tkeep last=7\n\n"
#define KEPT "between a b;keep last=5"
#define MAPPED "between b a;target-storage s=t"

static const struct row {
    const char *what, *extras;
    const char *here, *there, *state; /* the state's keep */
    int64_t epochs[3];
    const char *refused; /* a part of the sentence, NULL: it is not */
    const char *told;
} rows[] = {
    {"nobody knows of a setting", OTHER, NULL, NULL, NULL, {0, 0, 7}, NULL, NULL},
    {"the state knows", OTHER, NULL, NULL, "last=5", {0, 0, 7}, "no section of it any more", NULL},
    {"this node", OTHER, KEPT, NULL, NULL, {7, 0, 7}, "keep 'last=5'", NULL},
    {"the target", NULL, NULL, KEPT, NULL, {0, 7, 0}, "missing or empty", NULL},
    {"the newest counts: here", OTHER, "between a b", KEPT, NULL, {9, 7, 9}, NULL, NULL},
    {"there", OTHER, KEPT, "between a b", NULL, {7, 9, 7}, NULL, NULL},
    {"in the state", OTHER, "between a b", "between a b", "last=2", {7, 7, 9}, "keep 'last=2'", NULL},
    {"one of another job counts for nothing",
     OTHER,
     "between a c;keep last=5",
     KEPT,
     NULL,
     {9, 7, 0},
     "'last=5'",
     NULL},
    {"nor does it alone", OTHER, "between a c;keep last=5", NULL, NULL, {9, 0, 0}, NULL, NULL},
    {"nor one of an earlier version, but the state does",
     OTHER,
     "",
     NULL,
     "last=5",
     {9, 0, 9},
     "\'last=5\'",
     NULL},
    {"a setting that is there", "local: 100-0\n\tkeep last=2\n\n", KEPT, NULL, NULL, {7, 0, 7}, NULL, NULL},
    {"one that was taken back",
     "local: 100-0\n\tunset max-age,keep\n\n",
     KEPT,
     NULL,
     NULL,
     {7, 0, 7},
     NULL,
     NULL},
    {"another one was",
     "local: 100-0\n\tunset max-age\n\n",
     KEPT,
     NULL,
     NULL,
     {7, 0, 7},
     "has no 'keep' any more",
     NULL},
    {"no job has any", "# no settings\n", KEPT, NULL, NULL, {7, 0, 7}, NULL, NULL},
    {"one is what it would be without", OTHER, "between a b;keep last=1", NULL, NULL, {7, 0, 7}, NULL, NULL},
    {"mistyped",
     "local: 100-0\n\tkeeps last=5\n\n",
     KEPT,
     NULL,
     NULL,
     {7, 0, 7},
     "but 'keeps', which",
     "'keeps'"},
    {"not known",
     "local: 100-0\n\tkeep last=5\n\tcolour red\n\n",
     KEPT,
     NULL,
     NULL,
     {7, 0, 7},
     NULL,
     "'colour'"},
    {"cut", "local: 100-0\n\tkeep last=3", KEPT, NULL, NULL, {7, 0, 7}, "cut off", NULL},
    {"without an end", "local: 100-0\n\tkeep last=5", KEPT, NULL, NULL, {7, 0, 7}, NULL, NULL},
    {"a map", OTHER, MAPPED, NULL, NULL, {7, 0, 7}, "--target-storage s=t", NULL},
    {"half of one", "local: 100-0\n\ttarget-storage s=tt", MAPPED, NULL, NULL, {7, 0, 7}, "cut off", NULL},
    {"what costs nothing",
     OTHER,
     "between a b;max-age 2h",
     NULL,
     NULL,
     {7, 0, 7},
     NULL,
     "'max-age' was '2h'"},
};

static void split(const char *text, struct strv *ret)
{
    strv_split(ret, text ? text : "", ";");
}

static void play(const struct row *row)
{
    struct jobs j;
    struct err e = {0};
    _cleanup_strv_ struct strv here = STRV_INIT, there = STRV_INIT, told = STRV_INIT;
    struct job_state state = {.keep = (char *)row->state, .last_sync = row->epochs[2]};
    jobs_parse("replication.cfg", JOBS, strlen(JOBS), &j);
    jobs_parse_extras(&j, "replication-ext.cfg", row->extras, row->extras ? strlen(row->extras) : 0);
    split(row->here, &here);
    split(row->there, &there);
    struct lost l = {.jobs = &j,
                     .job = jobs_find(&j, "100-0"),
                     .state = &state,
                     .here = {row->epochs[0], &here},
                     .there = {row->epochs[1], &there}};
    int r = lost_check(&l, &e);
    if ((r < 0) != (row->refused != NULL) || (row->refused && !strstr(e.text, row->refused)))
        fail_msg("%s: '%s'", row->what, e.text);
    lost_tell(&l, &told);
    if (told.n != (row->told != NULL) || (row->told && !strstr(told.v[0], row->told)))
        fail_msg("%s: told '%s'", row->what, told.n ? told.v[0] : "");
    jobs_release(&j);
}

static void test_lost(void **state)
{
    (void)state;
    for (size_t i = 0; i < ELEMENTS(rows); i++)
        play(&rows[i]);
}

static void test_note(void **state)
{
    (void)state;
    _cleanup_strv_ struct strv note = STRV_INIT;
    const struct job job = {.target = (char[]){"b"}, .keep = (char[]){"last=5"}, .max_age = (char[]){"2h"}};
    lost_note_make("a", &job, &note);
    _cleanup_free_ char *text = strv_join(&note, ";");
    assert_string_equal(text, KEPT ";max-age 2h");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_lost), cmocka_unit_test(test_note)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
