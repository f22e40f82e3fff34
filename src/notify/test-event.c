/* What is told, and what templates make of it. */
#include "notify/event.h"
#include "notify/template.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static json_t *failure(const char *error)
{
    return event_json(&(struct event){.kind = EVENT_FAILURE,
                                      .job = "100-0",
                                      .source = "pve1",
                                      .target = "pve2",
                                      .guest = 100,
                                      .time = 1700000000,
                                      .since = 1700000000,
                                      .next = 1700000300,
                                      .failures = 2,
                                      .error = error});
}

static void test_texts(void **state)
{
    (void)state;
    static const char *const parts[] = {"Replication of guest 100 from node 'pve1' to node 'pve2' failed.\n",
                                        "Job:                   100-0\n",
                                        "Failures in a row:     2\n",
                                        "Since:                 2023-11-1",
                                        "Next try:              2023-11-1",
                                        "\nError:\nno room\n",
                                        "To look, on node 'pve1': pvesr log 100-0\n"};
    json_t *o = failure("no room\n");
    for (size_t i = 0; i < ELEMENTS(parts); i++)
        if (!strstr(event_text(o, "message"), parts[i]))
            fail_msg("no '%s' in:\n%s", parts[i], event_text(o, "message"));
    assert_string_equal(event_text(o, "title"), "Replication Job: '100-0' failed");
    assert_string_equal(event_text(o, "nothing"), "");
    json_decref(o);
}

/* A job that was never tried, and is due since the beginning of time. */
static void test_past(void **state)
{
    (void)state;
    json_t *o = event_json(&(struct event){
        .kind = EVENT_OVERDUE, .job = "1-0", .source = "n", .target = "m", .time = 1000, .next = 900});
    assert_string_equal(event_text(o, "next"), "");
    assert_null(strstr(event_text(o, "message"), "Next try"));
    json_decref(o);
}

/* Each kind has its texts, and a round trip of its name. */
static void test_kinds(void **state)
{
    (void)state;
    enum event_kind back;
    for (enum event_kind k = 0; k < EVENT_KINDS; k++) {
        json_t *o = event_json(&(struct event){.kind = k, .job = "1%s-0", .source = "n", .target = "m"});
        assert_true(event_kind_parse(event_kind_name(k), &back) && back == k);
        assert_true(*event_text(o, "title") && *event_text(o, "message") && *event_text(o, "command"));
        assert_int_equal(json_object_size(o), 15);
        json_decref(o);
    }
    assert_false(event_kind_parse("nothing", &back));
}

static void add_some(json_t *all, enum event_kind k, int n, const char *error)
{
    for (int i = 0; i < n; i++) {
        _cleanup_free_ char *job = xasprintf("%d-0", 100 + i);
        json_array_append_new(all, event_json(&(struct event){.kind = k,
                                                              .job = job,
                                                              .guest = 100 + (uint32_t)i,
                                                              .source = "pve1",
                                                              .target = "pve2",
                                                              .since = 1700000000,
                                                              .error = error}));
    }
}

/* Few stay what they are, in order; many of a kind become one, where the first of them was. */
static void test_groups(void **state)
{
    (void)state;
    json_t *all = json_array();
    add_some(all, EVENT_FAILURE, EVENTS_APART, "no room");
    add_some(all, EVENT_OVERDUE, EVENTS_APART + 1, "pve2 is not online");
    add_some(all, EVENT_RECOVERY, 1, NULL);
    json_object_set_new(json_array_get(all, json_array_size(all) - 1), "job", json_string("another"));
    json_t *few = events_group(all);
    assert_int_equal(json_array_size(few), EVENTS_APART + 2);
    for (size_t i = 0; i < EVENTS_APART; i++)
        assert_ptr_equal(json_array_get(few, i), json_array_get(all, i));
    const json_t *one = json_array_get(few, EVENTS_APART), *last = json_array_get(few, EVENTS_APART + 1);
    assert_string_equal(event_text(last, "title"), "Replication Job: '100-0' works again");
    assert_string_equal(event_text(one, "title"), "21 jobs: replication is overdue");
    assert_string_equal(event_text(one, "event"), "overdue");
    assert_string_equal(event_text(one, "severity"), "error");
    assert_string_equal(event_text(one, "command"), "pvesr status");
    assert_string_equal(event_text(one, "job"), "");
    assert_non_null(strstr(event_text(one, "error"), "100-0, 101-0, "));
    assert_non_null(strstr(event_text(one, "message"), "21 jobs of node 'pve1': replication is overdue.\n\n"
                                                       "100-0 (guest 100 to node 'pve2'), since 2023-11-1"));
    assert_non_null(strstr(event_text(one, "message"), ": pve2 is not online\n101-0 ("));
    assert_non_null(strstr(event_text(one, "message"), ": the same\n\nTo look, on node 'pve1': pvesr"));
    assert_non_null(strstr(event_text(one, "message"), "\n120-0 (guest"));
    assert_int_equal(json_object_size(one), 15);
    json_decref(few);
    json_decref(all);
    all = events_group(NULL);
    assert_int_equal(json_array_size(all), 0);
    json_decref(all);
}

/* What is read last of a job is how it is. */
static void test_undone(void **state)
{
    (void)state;
    json_t *all = json_array(), *few;
    add_some(all, EVENT_RECOVERY, 1, NULL);                    /* 100-0… */
    add_some(all, EVENT_FAILURE, EVENTS_APART + 3, "no room"); /* …fails again, as 22 others */
    json_t *back = json_deep_copy(json_array_get(all, 0));
    json_object_set_new(back, "job", json_string("110-0"));
    json_array_append_new(all, back); /* one of which works again */
    few = events_group(all);
    assert_int_equal(json_array_size(few), 2);
    const json_t *one = json_array_get(few, 0);
    assert_string_equal(event_text(one, "title"), "22 jobs: replication failed");
    assert_non_null(strstr(event_text(one, "message"), "\n100-0 (guest"));
    assert_null(strstr(event_text(one, "message"), "\n110-0 (guest"));
    assert_non_null(strstr(event_text(one, "message"), ": no room\n101-0 ("));
    assert_non_null(strstr(event_text(one, "message"), ": the same\n102-0 ("));
    assert_ptr_equal(json_array_get(few, 1), back);
    json_decref(few);
    json_decref(all);
}

/* However many there are and whatever is wrong with them, it fits where it is kept. */
static void test_sizes(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf error = BUF_INIT;
    for (int i = 0; i < 20000; i++)
        buf_adds(&error, i % 2 ? "ü" : "\"");
    json_t *all = json_array();
    add_some(all, EVENT_KEPT_ASIDE, 2000, buf_str(&error));
    assert_true(json_dumpb(json_array_get(all, 0), NULL, 0, JSON_COMPACT) < EVENT_MAX);
    json_t *few = events_group(all), *one = json_array_get(few, 0);
    assert_int_equal(json_array_size(few), 1);
    assert_true(json_dumpb(one, NULL, 0, JSON_COMPACT) < EVENT_MAX);
    assert_true(json_dumpb(one, NULL, 0, JSON_COMPACT) > 10000);
    assert_non_null(strstr(event_text(one, "message"), " more\n\nTo look"));
    assert_non_null(strstr(event_text(one, "error"), " more"));
    json_decref(few);
    json_decref(all);
}

static void test_templates(void **state)
{
    (void)state;
    static const struct {
        const char *text, *expected; /* NULL: refused */
    } rows[] = {
        {"plain {x} }}", "plain {x} }}"},
        {"{{ job }}/{{guest}}", "100-0/100"},
        {"\"{{ json error }}\"", "\"say \\\"hi\\\" \\\\ {{ job }}\""},
        {"?t={{ url error }}", "?t=say%20%22hi%22%20%5C%20%7B%7B%20job%20%7D%7D"},
        {"Bearer {{ secret token }}", "Bearer a=b {{ job }}"},
        {"{{ secret toke }}", NULL},
        {"{{ nothing }}", NULL},
        {"{{ shout job }}", NULL},
        {"{{ }}", NULL},
        {"{{ json job job }}", NULL},
        {"{{ job", NULL},
    };
    _cleanup_strv_ struct strv secrets = STRV_INIT;
    strv_adds(&secrets, "other=x", "token=a=b {{ job }}", NULL);
    json_t *o = failure("say \"hi\" \\ {{ job }}");
    for (size_t i = 0; i < ELEMENTS(rows); i++) {
        struct err e = {0};
        _cleanup_buf_ struct buf out = BUF_INIT;
        int r = template_fill(rows[i].text, o, &secrets, &out, &e);
        if ((r == 0) != (rows[i].expected != NULL) ||
            (r == 0 && strcmp(buf_str(&out), rows[i].expected) != 0))
            fail_msg("'%s' gives %d '%s' %s", rows[i].text, r, buf_str(&out), e.text);
    }
    json_decref(o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_texts),    cmocka_unit_test(test_kinds),
                                       cmocka_unit_test(test_past),     cmocka_unit_test(test_groups),
                                       cmocka_unit_test(test_undone),   cmocka_unit_test(test_sizes),
                                       cmocka_unit_test(test_templates)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
