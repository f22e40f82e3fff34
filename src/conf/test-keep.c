#include "conf/keep.h"
#include "conf/testjobs.h"

#include <stdlib.h>

/* ---- the rules ---- */

static const struct {
    const char *text;
    unsigned n[KEEP_RULES];
    const char *why; /* part of the sentence when it is refused */
} texts[] = {
    {"last=3", {3}, NULL},
    {"last=3,hourly=24,daily=7,weekly=4,monthly=6,yearly=1", {3, 24, 7, 4, 6, 1}, NULL},
    {"yearly=1000", {0, 0, 0, 0, 0, 1000}, NULL},
    {"", {0}, "'' is not last=N"},
    {"last", {0}, "'last' is not last=N"},
    {"last=3,", {0}, "'' is not last=N"},
    {"last=3, daily=1", {0}, "' daily=1' is not last=N"},
    {"lasts=3", {0}, "'lasts=3' is not last=N"},
    {"=3", {0}, "'=3' is not last=N"},
    {"last=0", {0}, "0"},
    {"last=1001", {0}, "1001"},
    {"last=501,daily=500", {0}, "keeps 1001 restore points, at most 1000"},
    {"daily=x", {0}, "daily"},
    {"daily=-1", {0}, "-1"},
    {"daily=1,last=2,daily=3", {0}, "'daily' is there twice"},
    {"last=00000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
     "00000000000000000000000000001",
     {0},
     "128 characters"},
};

static void parses_rules(void **state)
{
    for (size_t i = 0; i < ELEMENTS(texts); i++) {
        struct keep keep;
        struct err e = {0};
        int r = keep_parse(texts[i].text, &keep, &e);
        if ((r < 0) != (texts[i].why != NULL))
            fail_msg("'%s': %d %s", texts[i].text, r, e.text);
        if (r == 0)
            assert_memory_equal(keep.n, texts[i].n, sizeof keep.n);
        else if (!strstr(e.text, texts[i].why))
            fail_msg("'%s': '%s' has no '%s'", texts[i].text, e.text, texts[i].why);
    }
}

/* ---- the file ---- */

#define JOBS "local: 100-0\n\ttarget b\n\nlocal: 100-1\n\ttarget c\n\n"

enum act { NOTHING, SET, UNSET, BAD, REMOVE, ADD };

static const struct {
    const char *what, *before;
    enum act act;
    const char *after;
    bool dropped, fault;
} files[] = {
    {"no file", NULL, NOTHING, "", false, false},
    {"the first property", NULL, SET, "local: 100-0\n\tkeep daily=7\n\tmark b - 100-1\n\n", false, false},
    {"as it was", "#c\nlocal: 100-0\n\tkeep  last=2\n\tcolor red\n\n", NOTHING,
     "#c\nlocal: 100-0\n\tkeep last=2\n\tcolor red\n\tmark b - 100-1\n\n", true, false},
    {"changed, what is not known stays", "local: 100-0\n\tkeep last=2\n\tcolor red\n\n", SET,
     "local: 100-0\n\tkeep daily=7\n\tcolor red\n\tmark b - 100-1\n\n", false, false},
    {"unset", "local: 100-0\n\tkeep last=2\n\n", UNSET, "", false, false},
    {"unset, what is not known stays", "local: 100-0\n\tkeep last=2\n\tcolor red\n\n", UNSET,
     "local: 100-0\n\tcolor red\n\tunset keep\n\tmark b - 100-1\n\n", false, false},
    {"unset, where another job has settings: that it is missing is meant",
     "local: 100-0\n\tkeep last=2\n\nlocal: 100-1\n\tkeep last=3\n\n", UNSET,
     "local: 100-1\n\tkeep last=3\n\tmark c - -\n\nlocal: 100-0\n\tunset keep\n\tmark b - 100-1\n\n", true,
     false},
    {"set again", "local: 100-0\n\tunset keep,max-age,later\n\n", SET,
     "local: 100-0\n\tunset max-age,later\n\tkeep daily=7\n\tmark b - 100-1\n\n", false, false},
    {"the first one where it was said that no job has any", "# no settings\n", SET,
     "# no settings\nlocal: 100-0\n\tkeep daily=7\n\tmark b - 100-1\n\nlocal: 100-1\n\tunset "
     "keep,target-storage,scrub-days,max-age\n\tmark c - -\n\n",
     false, false},
    {"of the same id the last one counts", "local: 100-0\n\tkeep x\n\nlocal: 100-0\n\tkeep last=2\n\n", UNSET,
     "", false, false},
    {"a job that is gone", "local: 7\n\tx y\n\nlocal: 100-9\n\tkeep last=2\n\nother: 100-9\n\tx y\n\n",
     NOTHING, "local: 7\n\tx y\n\nother: 100-9\n\tx y\n\n", true, false},
    {"removed", "local: 100-0\n\tkeep last=2\n\nlocal: 100-1\n\tkeep last=3\n\n", REMOVE,
     "local: 100-1\n\tkeep last=3\n\tmark c - -\n\n", true, false},
    {"what was said of an older job", "local: 100-2\n\tkeep last=2\n\tcolor red\n\n", ADD, "", false, false},
    {"a bad value stops the job", "local: 100-0\n\tkeep last=none\n\n", NOTHING,
     "local: 100-0\n\tkeep last=none\n\tmark b - 100-1\n\n", true, true},
    {"and a good one lets it go", "local: 100-0\n\tkeep last=none\n\n", SET,
     "local: 100-0\n\tkeep daily=7\n\tmark b - 100-1\n\n", false, false},
    {"a bad one is refused", "local: 100-0\n\tkeep last=2\n\n", BAD,
     "local: 100-0\n\tkeep last=2\n\tmark b - 100-1\n\n", true, false},
};

static void act(struct jobs *j, enum act act)
{
    struct err e = {0};
    struct job *job = jobs_find(j, "100-0"), new = {.id = "100-2", .target = (char[]){"d"}};
    if (act == SET || act == BAD || act == UNSET) {
        free(job->keep);
        job->keep = act == UNSET ? NULL : xstrdup(act == SET ? "daily=7" : "daily=7\n");
        assert_int_equal(jobs_changed(j, job, &e), act == BAD ? -1 : 0);
    } else if (act == REMOVE) {
        jobs_remove(j, "100-0");
    } else if (act == ADD) {
        assert_int_equal(jobs_add(j, &new, &e), 0);
        assert_null(jobs_find(j, "100-2")->keep);
    }
}

static void keeps_the_file(void **state)
{
    for (size_t i = 0; i < ELEMENTS(files); i++) {
        struct jobs j;
        _cleanup_buf_ struct buf out = BUF_INIT;
        const char *before = files[i].before;
        parse(JOBS, &j);
        jobs_parse_extras(&j, "replication-ext.cfg", before, before ? strlen(before) : 0);
        act(&j, files[i].act);
        const struct job *job = jobs_find(&j, "100-0");
        if (job && (job->fault != NULL) != files[i].fault)
            fail_msg("%s: fault '%s'", files[i].what, job->fault);
        if (jobs_drop_extras(&j) != files[i].dropped)
            fail_msg("%s: dropped", files[i].what);
        jobs_print_extras(&j, &out);
        if (strcmp(buf_str(&out), files[i].after) != 0)
            fail_msg("%s: '%s', not '%s'", files[i].what, buf_str(&out), files[i].after);
        jobs_release(&j);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parses_rules),
        cmocka_unit_test(keeps_the_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
