/* Table: which received points are data, and whose. */
#include "run/received.h"

#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* Jobs: "ID" keeps one point, "ID=KEEP", "ID-" is being removed, "ID--" and leaves its points, "ID?" is
 * unread, of "ID%" the settings are cut. Points: of job ID at EPOCH, "!": made here, "%": somebody's. */
static const struct {
    int line;
    const char *jobs, *points, *asked;
    enum received_is want;
} cases[] = {
    /* the job is there */
    {__LINE__, "100-0", "100-0_1 100-0_2", "100-0_1", RECEIVED_BASE},
    {__LINE__, "100-0=last=1", "100-0_1 100-0_2", "100-0_1", RECEIVED_BASE},
    {__LINE__, "100-0=last=2", "100-0_1", "100-0_1", RECEIVED_RULED},
    {__LINE__, "100-0=daily=1", "100-0_1 100-0_2", "100-0_2", RECEIVED_RULED},
    {__LINE__, "100-0 100-1=last=5", "100-0_1 100-0_2 100-1_3", "100-0_1", RECEIVED_BASE},
    {__LINE__, "100-0 100-1=last=5", "100-0_1 100-0_2 100-1_3", "100-1_3", RECEIVED_RULED},
    /* …and its rules are not known */
    {__LINE__, "100-0=often", "100-0_1 100-0_2", "100-0_1", RECEIVED_FREE},
    {__LINE__, "100-0%", "100-0_1 100-0_2", "100-0_1", RECEIVED_FREE},
    {__LINE__, "100-0%", "100-0_1", "100-0_1", RECEIVED_BASE},
    {__LINE__, "100-0?", "100-0_1", "100-0_1", RECEIVED_FREE},
    /* it is no more: one alone was its base */
    {__LINE__, "", "100-0_1 100-0_2", "100-0_1", RECEIVED_FREE},
    {__LINE__, "", "100-0_1 100-0_2", "100-0_2", RECEIVED_FREE},
    {__LINE__, "", "100-0_1", "100-0_1", RECEIVED_BASE},
    {__LINE__, "100-1=last=5", "100-0_1 100-1_1 100-1_2", "100-0_1", RECEIVED_BASE},
    {__LINE__, "100-1", "100-0_1 100-0_2 100-1_2", "100-0_1", RECEIVED_FREE},
    {__LINE__, "100-1", "100-0_1 100-00_2 100-10_3", "100-0_1", RECEIVED_BASE},
    /* only what was received counts, each name once */
    {__LINE__, "", "100-0_1 100-0_2! 100-0_3%", "100-0_1", RECEIVED_BASE},
    {__LINE__, "", "100-0_1 100-0_1", "100-0_1", RECEIVED_BASE},
    /* it is being removed */
    {__LINE__, "100-0=last=5--", "100-0_1", "100-0_1", RECEIVED_FREE},
    {__LINE__, "100-0--", "100-0_1 100-0_2", "100-0_1", RECEIVED_FREE},
    {__LINE__, "100-0--", "100-0_1", "100-0_1", RECEIVED_BASE},
    {__LINE__, "100-0=last=5-", "100-0_1 100-0_2", "100-0_1", RECEIVED_FREE},
};

static void add_point(const char *word, struct received *ret)
{
    struct snapshots s = {0};
    struct snapshot one = {.flags = strchr(word, '!') ? 0 : SNAPSHOT_RECEIVED};
    if (strchr(word, '%'))
        one.flags |= SNAPSHOT_STRANGE;
    snprintf(one.name, sizeof one.name, "__replicate_%.*s__", (int)strcspn(word, "!%"), word);
    snapshots_add(&s, &one);
    received_add(ret, &s);
    snapshots_release(&s);
}

/* "ID", and what else the word says. */
static void split_job(const char *word, char id[24], bool *unread, enum remove_mode *remove, char **keep)
{
    size_t len = strlen(word), n = strcspn(word, "=?%-");
    n = n == 3 ? n + 1 + strcspn(word + n + 1, "=?%-") : n; /* the one that is part of the id */
    snprintf(id, 24, "%.*s", (int)n, word);
    *unread = word[n] == '?';
    *remove = word[len - 1] != '-' ? REMOVE_NOT : word[len - 2] == '-' ? REMOVE_LOCAL : REMOVE_FULL;
    *keep = word[n] == '=' ? xasprintf("%.*s", (int)strcspn(word + n + 1, "-"), word + n + 1) : NULL;
}

static void parse_jobs(const char *text, struct jobs *ret)
{
    _cleanup_strv_ struct strv words = STRV_INIT;
    _cleanup_buf_ struct buf file = BUF_INIT;
    strv_split(&words, text, " ");
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < words.n; i++) {
            char id[24], *keep;
            bool unread;
            enum remove_mode remove;
            split_job(words.v[i], id, &unread, &remove, &keep);
            struct job *job = pass ? jobs_find(ret, id) : NULL;
            if (!pass)
                buf_addf(&file, "local: %s\n\t%s\n\n", id,
                         unread ? "rate 1"
                         : i    ? "target pve3"
                                : "target pve2");
            assert_true(!pass || unread == !job);
            if (job) {
                job->keep = keep;
                job->cut = strchr(words.v[i], '%') != NULL;
                job->remove = remove;
            } else {
                free(keep);
            }
        }
        if (!pass)
            jobs_parse("replication.cfg", buf_str(&file), file.len, ret);
    }
}

static void test_cases(void **state)
{
    (void)state;
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct jobs jobs;
        _cleanup_(received_release) struct received all = {0};
        _cleanup_strv_ struct strv points = STRV_INIT;
        strv_split(&points, cases[i].points, " ");
        for (size_t k = 0; k < points.n; k++)
            add_point(points.v[k], &all);
        parse_jobs(cases[i].jobs, &jobs);
        _cleanup_free_ char *name = xasprintf("__replicate_%s__", cases[i].asked);
        enum received_is got = received_is(&all, &jobs, name);
        if (got != cases[i].want)
            fail_msg("line %d: want %d, got %d", cases[i].line, cases[i].want, got);
        jobs_release(&jobs);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_cases)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
