/* What is told as changed between two looks. */
#include "view/changes.h"

#include "base/buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define NOW 1800000000

static char dir[] = "/tmp/pvesr-changes-XXXXXX";
static struct changes seen;
static struct buf told;

static void on_change(const struct change *change, void *arg)
{
    json_t *row = json_loadb(change->row, change->len, 0, NULL);
    assert_ptr_equal(arg, &told);
    assert_non_null(row);
    assert_null(memchr(change->row, '\n', change->len));
    assert_int_equal(json_integer_value(json_object_get(row, "guest")), change->guest);
    const char *comment = json_string_value(json_object_get(row, "comment"));
    json_t *sync = json_object_get(row, "last_sync");
    buf_addf(&told, "%c%s", "+~-"[change->kind], json_string_value(json_object_get(row, "id")));
    if (comment)
        buf_addf(&told, "=%s", comment);
    if (sync)
        buf_addf(&told, "@%d", (int)json_integer_value(sync));
    buf_addc(&told, ' ');
    json_decref(row);
}

static void write_states(const char *text)
{
    _cleanup_free_ char *path = xasprintf("%s/pve-replication-state.json", dir);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

/* Guests below 200 are of pve1, which is looked at, the others of pve2. */
static void look(const char *jobs_text, const char *states_text, bool states_only, const char *want)
{
    struct err e;
    struct jobs jobs;
    static struct guest_entry guests[] = {
        {100, GUEST_QEMU, "pve1"}, {101, GUEST_LXC, "pve1"}, {200, GUEST_QEMU, "pve2"}};
    struct world w = {.node = "pve1", .jobs = &jobs, .guests = {.v = guests, .n = ELEMENTS(guests)}};
    jobs_parse("replication.cfg", jobs_text, strlen(jobs_text), &jobs);
    write_states(states_text);
    assert_int_equal(world_load_states(&w, dir, &e), 0);
    buf_clear(&told);
    changes_look(&seen, &w, NOW, states_only, on_change, &told);
    assert_string_equal(buf_str(&told), want);
    job_states_free(w.states);
    jobs_release(&jobs);
}

#define A "local: 100-0\n\ttarget pve2\n\tsource pve1\n\n"
#define B "local: 101-0\n\ttarget pve2\n\tcomment b\n\tsource pve1\n\n"
#define B2 "local: 101-0\n\ttarget pve2\n\tcomment c\n\tsource pve1\n\n"
#define FAR "local: 200-0\n\ttarget pve1\n\tcomment far\n\tsource pve2\n\n"
#define UNREAD "local: 101-1\n\tsource pve1\n\n"
#define STATE(guest, sync) "\"" guest "\":{\"local/pve2\":{\"last_sync\":" sync ",\"last_try\":" sync "}}"

static void test_changes(void **state)
{
    look("", "{}", false, "");
    look(A B FAR, "{}", false, "+100-0@0 +101-0=b@0 +200-0=far ");
    look(A B FAR, "{}", false, "");
    look(A B FAR, "{" STATE("101", "5") "}", true, "~101-0=b@5 ");
    look(A B FAR, "{" STATE("101", "5") "," STATE("100", "7") "}", true, "~100-0@7 ");
    look(FAR B A, "{" STATE("100", "7") "," STATE("101", "5") "}", true, "");
    /* only the states are new, it was said */
    look(A B2 FAR, "{" STATE("100", "7") "," STATE("101", "5") "}", true, "");
    look(A B2 FAR, "{" STATE("100", "7") "," STATE("101", "5") "}", false, "~101-0=c@5 ");
    look(B2 UNREAD, "{" STATE("101", "5") "}", false, "-100-0 +101-1@0 -200-0 ");
    look(A, "{}", false, "+100-0@0 -101-0 -101-1 ");
    look("", "{}", false, "-100-0 ");
}

static void test_first_look_tells_nothing(void **state)
{
    struct changes fresh = {0};
    struct jobs jobs;
    struct err e;
    struct world w = {.node = "pve1", .jobs = &jobs};
    jobs_parse("replication.cfg", A B, strlen(A B), &jobs);
    write_states("{}");
    assert_int_equal(world_load_states(&w, dir, &e), 0);
    changes_look(&fresh, &w, NOW, false, NULL, NULL);
    buf_clear(&told);
    changes_look(&fresh, &w, NOW, false, on_change, &told);
    assert_int_equal(told.len, 0);
    changes_release(&fresh);
    job_states_free(w.states);
    jobs_release(&jobs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_changes),
                                       cmocka_unit_test(test_first_look_tells_nothing)};
    assert_non_null(mkdtemp(dir));
    int r = cmocka_run_group_tests(tests, NULL, NULL);
    _cleanup_free_ char *path = xasprintf("%s/pve-replication-state.json", dir);
    unlink(path);
    rmdir(dir);
    changes_release(&seen);
    buf_release(&told);
    return r;
}
