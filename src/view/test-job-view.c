#include "view/job.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static char busy[] = "its runs were postponed, 4 in a row: in use", failed[] = "no route",
            lost[] = "the run left no word";

/* What happened last is told: a postponement is reset by each run that ends. */
static void test_trouble(void **state)
{
    static const struct {
        const char *error, *postponed, *hindered;
        pid_t lost;
        const char *trouble, *json;
    } cases[] = {
        {NULL, NULL, NULL, 0, NULL, NULL},           {failed, NULL, NULL, 0, failed, failed},
        {NULL, "in use", NULL, 0, NULL, NULL},       {NULL, "in use", busy, 0, busy, NULL},
        {failed, "in use", NULL, 0, failed, failed}, {failed, "in use", busy, 0, busy, failed},
        {NULL, NULL, lost, 7, lost, lost},           {failed, NULL, lost, 7, failed, failed},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct job job = {.id = "100-0", .guest = 100, .target = (char *)"pve2", .schedule = (char *)"*/15"};
        struct job_view v = {.job = &job, .hindered = (char *)cases[i].hindered};
        v.state = (struct job_state){.error = (char *)cases[i].error,
                                     .postponed = (char *)cases[i].postponed,
                                     .lost = cases[i].lost,
                                     .duration = -1};
        assert_ptr_equal(job_view_trouble(&v), cases[i].trouble);
        json_t *o = job_view_json(&v);
        const char *said = json_string_value(json_object_get(o, "error"));
        if (!cases[i].json)
            assert_null(said);
        else
            assert_string_equal(said, cases[i].json);
        json_decref(o);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_trouble)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
