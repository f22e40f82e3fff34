/* The mail about a failed job, word for word, and what hostile values make of it. */
#include "state/mail.h"

#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

static const struct failure_mail plain = {.to = "root",
                                          .node = "pve1",
                                          .job = "100-0",
                                          .target = "pve2",
                                          .error = "cannot reach node 'pve2'",
                                          .guest = 100,
                                          .fail_count = 1,
                                          .last_sync = 1700000000,
                                          .next_try = 1700001300};

static void test_text(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf text = BUF_INIT;
    mail_compose(&plain, &text);
    assert_string_equal(buf_str(&text), "From: root\n"
                                        "To: root\n"
                                        "Subject: Replication Job: '100-0' failed\n"
                                        "MIME-Version: 1.0\n"
                                        "Content-Type: text/plain; charset=UTF-8\n"
                                        "Content-Transfer-Encoding: 8bit\n"
                                        "Auto-Submitted: auto-generated\n"
                                        "\n"
                                        "Replication of guest 100 from node 'pve1' to node 'pve2' failed.\n"
                                        "\n"
                                        "Job:                   100-0\n"
                                        "Schedule:              */15\n"
                                        "Last successful sync:  2023-11-14 22:13:20\n"
                                        "Next try:              2023-11-14 22:35:00\n"
                                        "Failures in a row:     1\n"
                                        "\n"
                                        "Error:\n"
                                        "cannot reach node 'pve2'\n");
}

static void test_overdue(void **state)
{
    (void)state;
    char *one[] = {(char *)"100-0 (guest 100 to node 'pve2'), newest restore point: none; forged\nTo: x"};
    struct strv jobs = {.v = one, .n = 1}, none = STRV_INIT;
    _cleanup_buf_ struct buf text = BUF_INIT, paused = BUF_INIT;
    mail_compose_overdue(&(struct overdue_mail){NULL, "root", "pve1", &jobs, NULL}, &text);
    assert_non_null(strstr(buf_str(&text), "\nSubject: Replication: 1 job is overdue on node 'pve1'\n"));
    assert_non_null(
        strstr(buf_str(&text), "\n100-0 (guest 100 to node 'pve2'), newest restore point: none;"));
    assert_null(strstr(buf_str(&text), "\nTo: x"));
    mail_compose_overdue(&(struct overdue_mail){NULL, "root", "pve1", &none, "no quorum!"}, &paused);
    assert_non_null(
        strstr(buf_str(&paused), "\nSubject: Replication: nothing is scheduled on node 'pve1'\n"));
    assert_non_null(strstr(buf_str(&paused), "\nno quorum!\n"));
}

static void test_variants(void **state)
{
    (void)state;
    char longest[2001];
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = 0;
    struct failure_mail third = plain, fourth = plain, never = plain, offline = plain, from = plain,
                        lines = plain, header = plain, wide = plain;
    third.fail_count = 3;
    fourth.fail_count = 48;
    never.last_sync = 0;
    offline.next_try = 0;
    offline.schedule = "mon..fri 22:00";
    from.from = "backup@example.com";
    lines.error = "two\nlines\r\033[1m";
    header.to = "root\nBcc: x";
    wide.error = longest;
    const struct {
        const struct failure_mail *mail;
        const char *has, *has_not;
    } cases[] = {
        {&third, "told less often", "\n\n\n"},
        {&fourth, "row:     48\n\nError", "less often"},
        {&never, "sync:  never\n", "1970"},
        {&offline, "Next try:              when the target is online again\n", "1970"},
        {&offline, "Schedule:              mon..fri 22:00\n", "*/15"},
        {&from, "From: backup@example.com\nTo: root\n", "From: root"},
        {&lines, "Error:\ntwo lines ?[1m\n", "\r"},
        {&header, "To: root Bcc: x\n", "\nBcc"},
        {&wide, "xxx\nxxx", NULL},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        _cleanup_buf_ struct buf text = BUF_INIT;
        mail_compose(cases[i].mail, &text);
        if (!strstr(buf_str(&text), cases[i].has) ||
            (cases[i].has_not && strstr(buf_str(&text), cases[i].has_not)))
            fail_msg("case %zu: %s", i, buf_str(&text));
        for (const char *line = buf_str(&text), *end; (end = strchr(line, '\n')); line = end + 1)
            assert_true(end - line <= 998);
    }
}

/* The program gets all of it on its stdin, and its failure is ours. */
static void test_send(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf text = BUF_INIT;
    struct err e = {0};
    struct proc p = PROC_INIT;
    mail_compose(&plain, &text);
    assert_int_equal(mail_send("/bin/true", &text, &e), 0);
    assert_int_equal(mail_send("/bin/false", &text, &e), -1);
    assert_int_equal(mail_send("/nowhere/sendmail", &text, &e), -1);
    assert_non_null(strstr(e.text, "/nowhere/sendmail"));
    assert_int_equal(mail_start("/bin/true", &text, &p, &e), 0);
    assert_int_equal(proc_wait(&p, 10), 0);
    assert_int_equal(mail_start("/nowhere/sendmail", &text, &p, &e), -1);
}

int main(void)
{
    setenv("TZ", "UTC", 1);
    tzset();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_overdue),
        cmocka_unit_test(test_variants),
        cmocka_unit_test(test_send),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
