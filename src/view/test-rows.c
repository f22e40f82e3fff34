/* Which rows are kept between two looks, and which are made anew. */
#include "view/rows.h"

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

static char dir[] = "/tmp/pvesr-rows-XXXXXX";
static struct guest_entry guests[] = {
    {100, GUEST_QEMU, "pve1"}, {101, GUEST_LXC, "pve1"}, {200, GUEST_QEMU, "pve2"}};

#define A "local: 100-0\n\ttarget pve2\n\tsource pve1\n\tmax-age 1d\n\n"
#define B "local: 101-0\n\ttarget pve2\n\tcomment b\n\tsource pve1\n\n"
#define FAR "local: 200-0\n\ttarget pve1\n\tsource pve2\n\n"
#define STATE(guest, sync, more)                                                                             \
    "\"" guest "\":{\"local/pve2\":{\"last_sync\":" sync ",\"last_try\":" sync more "}}"
#define LATELY "1799999999"

static void look(struct rows *r, const char *jobs_text, uint64_t version, const char *states, int64_t now)
{
    struct err e;
    struct jobs jobs;
    struct world w = {.node = "pve1", .jobs = &jobs, .guests = {.v = guests, .n = ELEMENTS(guests)}};
    _cleanup_free_ char *path = xasprintf("%s/pve-replication-state.json", dir);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(states, f);
    assert_int_equal(fclose(f), 0);
    jobs_parse("replication.cfg", jobs_text, strlen(jobs_text), &jobs);
    assert_int_equal(world_load_states(&w, dir, &e), 0);
    rows_look(r, &w, version, now);
    job_states_free(w.states);
    jobs_release(&jobs);
}

/* Marks the text of each, which is seen while it is kept. */
static void mark(struct rows *r)
{
    for (size_t i = 0; i < r->n; i++)
        if (r->v[i].text.len)
            *r->v[i].text.data = '!';
}

static char *kept(const struct rows *r)
{
    struct buf out = BUF_INIT;
    for (size_t i = 0; i < r->n; i++)
        buf_addc(&out, r->v[i].text.len == 0 ? '-' : *r->v[i].text.data);
    return buf_take(&out);
}

static void expect(struct rows *r, const char *jobs, uint64_t version, const char *states, int64_t now,
                   const char *want)
{
    mark(r);
    look(r, jobs, version, states, now);
    _cleanup_free_ char *is = kept(r);
    assert_string_equal(is, want);
}

static void test_kept(void **state)
{
    static const char states[] = "{" STATE("100", LATELY, "") "," STATE("101", LATELY, "") "}";
    static const char other[] = "{" STATE("100", LATELY, "") "," STATE("101", "1799999998", "") "}";
    static const char trouble[] =
        "{" STATE("100", LATELY, ",\"error\":\"x\",\"fail_count\":1") "," STATE("101", LATELY, "") "}";
    struct rows r = {0};
    expect(&r, A B FAR, 1, states, NOW, "{{-");
    assert_non_null(strstr(r.v[1].text.data, "\"comment\":\"b\""));
    assert_null(strchr(r.v[1].text.data, '\n'));
    expect(&r, A B FAR, 1, states, NOW, "!!-");
    expect(&r, A B FAR, 1, other, NOW, "!{-"); /* its state */
    expect(&r, A B FAR, 1, other, NOW, "!!-");
    expect(&r, A B FAR, 1, trouble, NOW, "{{-");
    expect(&r, A B FAR, 1, trouble, NOW, "{!-"); /* trouble is looked at each time */
    expect(&r, A B FAR, 1, states, NOW, "{!-");
    expect(&r, A B FAR, 2, states, NOW, "{{-"); /* the jobs */
    expect(&r, A B FAR, 2, states, NOW + 2, "!!-");
    expect(&r, A B FAR, 2, states, NOW + ROWS_SECONDS, "{{-"); /* time */
    expect(&r, A B FAR, 2, states, NOW, "{{-");                /* the clock was put back */
    expect(&r, B FAR, 3, states, NOW, "{-");
    expect(&r, "", 4, states, NOW, "");
    expect(&r, A B FAR, 5, states, NOW, "{{-");
    guests[1].type = GUEST_QEMU;
    expect(&r, A B FAR, 5, states, NOW, "{{-"); /* a guest */
    guests[1].type = GUEST_LXC;
    rows_release(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_kept)};
    assert_non_null(mkdtemp(dir));
    int r = cmocka_run_group_tests(tests, NULL, NULL);
    _cleanup_free_ char *path = xasprintf("%s/pve-replication-state.json", dir);
    unlink(path);
    rmdir(dir);
    return r;
}
