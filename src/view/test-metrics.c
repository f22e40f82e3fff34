/* Metrics: what is printed of which state, and that no value breaks a line. */
#include "view/metrics.h"

#include "state/due.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define NOW 1000000

static struct job job_of(char *id, char *target)
{
    struct job job = {.guest = 100, .target = target};
    snprintf(job.id, sizeof job.id, "%s", id);
    return job;
}

static char *print(const struct metrics_job *j, bool counted)
{
    struct buf out = BUF_INIT;
    metrics_print_jobs(j, 1, "pve1", counted, NOW, &out);
    return buf_take(&out);
}

#define LABELS "{job=\"100-0\",guest=\"100\",source=\"pve1\",target=\"pve2\"} "

static void test_figures(void **state)
{
    (void)state;
    struct job job = job_of("100-0", "pve2");
    struct metrics_job j = {
        .view = {.job = &job, .next_sync = NOW + 60, .newest = NOW - 90, .overdue = NOW - 1},
        .runs = {.ok = 3, .failed = 2, .known = true, .bytes = 5000000000, .delta = 7}};
    j.view.state = (struct job_state){
        .last_sync = NOW - 90, .last_try = NOW - 30, .fail_count = 2, .duration = 1.5, .pid = 7};
    strv_add(&j.view.state.kept_aside, "x of y");
    static const char *const lines[] = {
        "pvesr_job_restore_point_age_seconds" LABELS "90\n",
        "pvesr_job_last_success_timestamp_seconds" LABELS "999910\n",
        "pvesr_job_last_try_timestamp_seconds" LABELS "999970\n",
        "pvesr_job_next_run_timestamp_seconds" LABELS "1000060\n",
        "pvesr_job_duration_seconds" LABELS "1.5\n",
        "pvesr_job_sent_bytes" LABELS "5000000000\n",
        "pvesr_job_delta_bytes" LABELS "7\n",
        "pvesr_job_consecutive_failures" LABELS "2\n",
        "pvesr_job_kept_aside_points" LABELS "1\n",
        "pvesr_job_overdue" LABELS "1\n",
        "pvesr_job_running" LABELS "1\n",
        "pvesr_job_enabled" LABELS "1\n",
        "pvesr_job_cannot_run" LABELS "0\n",
        "pvesr_job_differs" LABELS "0\n",
        "target=\"pve2\",result=\"failed\"} 2\n",
    };
    _cleanup_free_ char *text = print(&j, true);
    for (size_t i = 0; i < ELEMENTS(lines); i++)
        if (!strstr(text, lines[i]))
            fail_msg("no line '%s' in:\n%s", lines[i], text);
    assert_null(strstr(text, "verified_age_seconds{"));
    _cleanup_free_ char *uncounted = print(&j, false);
    assert_null(strstr(uncounted, "runs_last_day"));
    strv_release(&j.view.state.kept_aside);
}

/* Nothing has happened: no age, but a state. */
static void test_new_job(void **state)
{
    (void)state;
    struct job job = job_of("100-0", "pve2");
    job.fault = "no target";
    struct metrics_job j = {.view = {.job = &job, .state = {.duration = -1}}};
    _cleanup_free_ char *text = print(&j, true);
    assert_null(strstr(text, "age_seconds{"));
    assert_null(strstr(text, "duration_seconds{"));
    assert_null(strstr(text, "sent_bytes{"));
    assert_non_null(strstr(text, "pvesr_job_cannot_run" LABELS "1\n"));
    assert_non_null(strstr(text, "pvesr_job_last_success_timestamp_seconds" LABELS "0\n"));
}

static void test_labels(void **state)
{
    (void)state;
    char target[2000] = "a\"b\\c\nd\xff";
    struct job job = job_of("100-0", target);
    struct metrics_job j = {.view = {.job = &job}};
    _cleanup_free_ char *text = print(&j, false);
    assert_non_null(strstr(text, "target=\"a\\\"b\\\\c d?\"} "));
    memset(target, 'x', sizeof target - 1);
    _cleanup_free_ char *long_one = print(&j, false);
    assert_true(strspn(strstr(long_one, "target=\"") + 8, "x") == 256);
}

static void test_end(void **state)
{
    (void)state;
    struct buf out = BUF_INIT;
    metrics_print_daemon(&(struct metrics_daemon){.workers = 4, .running = 1, .due = 2, .paused = true},
                         &out);
    size_t n = out.len;
    metrics_print_end(&out);
    assert_int_equal(metrics_cut_end(buf_str(&out), out.len), n);
    assert_int_equal(metrics_cut_end("# EO", 4), 4);
    assert_non_null(strstr(buf_str(&out), "\npvesr_daemon_workers 4\n"));
    assert_non_null(strstr(buf_str(&out), "\npvesr_daemon_queue_length 2\n"));
    assert_non_null(strstr(buf_str(&out), "\npvesr_daemon_paused 1\n"));
    buf_release(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_figures), cmocka_unit_test(test_new_job),
                                       cmocka_unit_test(test_labels), cmocka_unit_test(test_end)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
