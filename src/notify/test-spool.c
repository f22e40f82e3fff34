/* What waits to be sent: kept in order, bounded, tried again later and later. */
#include "notify/spool.h"

#include "base/fs.h"
#include "base/mem.h"
#include "state/testdir.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static json_t *an_event(void)
{
    return event_json(&(struct event){.kind = EVENT_FAILURE, .job = "100-0", .source = "a", .target = "b"});
}

static void add(const char *dir, const char *target, int64_t now)
{
    struct err e = {0};
    _cleanup_free_ char *lost = NULL;
    json_t *o = an_event();
    if (spool_add(dir, target, o, now, &lost, &e) < 0)
        fail_msg("%s", e.text);
    json_decref(o);
}

static void load(const char *dir, struct spool *s)
{
    struct err e = {0};
    if (spool_load(dir, s, &e) < 0)
        fail_msg("%s", e.text);
}

static void test_life(void **state)
{
    const char *dir = *state;
    struct spool s;
    struct err e = {0};
    load(dir, &s);
    assert_int_equal(s.n, 0);
    add(dir, "x", 1000);
    add(dir, "y", 1000);
    add(dir, "z", 999);
    load(dir, &s);
    assert_int_equal(s.n, 3);
    assert_string_equal(s.v[0].target, "z");
    assert_string_equal(s.v[1].target, "x");
    assert_int_equal(spool_failed(dir, s.v[1].name, "no\nway", true, NULL, 2000, &e), 0);
    assert_int_equal(spool_failed(dir, s.v[1].name, "no\nway", false, NULL, 2030, &e), 0);
    assert_true(spool_has(dir, s.v[0].name));
    assert_int_equal(spool_remove(dir, s.v[0].name, &e), 0);
    assert_false(spool_has(dir, s.v[0].name));
    assert_null(spool_read(dir, s.v[0].name, &e));
    assert_int_equal(e.kind, ERR_GONE);
    assert_null(spool_read(dir, "../told.json", &e));
    spool_release(&s);
    load(dir, &s);
    assert_int_equal(s.n, 2);
    assert_true(s.v[0].tries == 2 && s.v[0].next == 2090 && s.v[0].made == 1000);
    assert_false(s.v[0].refused);
    assert_int_equal(spool_failed(dir, s.v[0].name, "never", true, NULL, 2090, &e), 0);
    spool_release(&s);
    load(dir, &s);
    assert_true(s.v[0].refused && s.v[0].tries == 3);
    assert_int_equal(spool_failed(dir, s.v[0].name, "no way", false, NULL, 2030, &e), 0);
    spool_release(&s);
    load(dir, &s);
    assert_string_equal(s.v[0].error, "no way");
    assert_string_equal(s.v[0].title, "Replication Job: '100-0' failed");
    json_t *o = spool_read(dir, s.v[0].name, &e);
    assert_string_equal(event_text(json_object_get(o, "event"), "job"), "100-0");
    json_decref(o);
    spool_release(&s);
}

static void test_damaged(void **state)
{
    const char *dir = *state;
    struct spool s;
    struct err e = {0};
    add(dir, "x", 1000);
    load(dir, &s);
    _cleanup_free_ char *path = xasprintf("%s/pvesr-notify/%s", dir, s.v[0].name);
    spool_release(&s);
    assert_int_equal(fs_write_atomic(path, "{\"target\":", 10, 0600, &e), 0);
    add(dir, "y", 1001);
    load(dir, &s);
    assert_int_equal(s.n, 1);
    assert_string_equal(s.v[0].target, "y");
    spool_release(&s);
}

static void test_bounded(void **state)
{
    const char *dir = *state;
    struct spool s;
    struct err e = {0};
    _cleanup_free_ char *lost = NULL;
    json_t *o = an_event();
    add(dir, "oldest", 1000);
    add(dir, "x", 1001);
    load(dir, &s);
    _cleanup_free_ char *one = xasprintf("%s/pvesr-notify/%s", dir, s.v[1].name);
    spool_release(&s);
    for (int i = 2; i < SPOOL_MAX; i++) {
        _cleanup_free_ char *other = xasprintf("%s/pvesr-notify/%012d-0-0.json", dir, 1000 + i);
        assert_int_equal(link(one, other), 0);
    }
    assert_int_equal(spool_add(dir, "newest", o, 9000, &lost, &e), 0);
    assert_non_null(strstr(lost, "'oldest', is given up"));
    load(dir, &s);
    assert_int_equal(s.n, SPOOL_MAX);
    assert_string_equal(s.v[s.n - 1].target, "newest");
    assert_string_equal(s.v[0].target, "x");
    spool_release(&s);
    json_decref(o);
}

/* One that nobody understands makes room like any other. */
static void test_bounded_damaged(void **state)
{
    const char *dir = *state;
    struct err e = {0};
    _cleanup_free_ char *lost = NULL, *first = xasprintf("%s/pvesr-notify/000000000001-0-0.json", dir);
    json_t *o = an_event();
    add(dir, "x", 1000);
    for (int i = 1; i < SPOOL_MAX; i++) {
        _cleanup_free_ char *name = xasprintf("pvesr-notify/%012d-0-0.json", i);
        put(dir, name, "{");
    }
    assert_int_equal(spool_add(dir, "newest", o, 9000, &lost, &e), 0);
    assert_non_null(strstr(lost, "given up"));
    assert_false(fs_exists(first));
    json_decref(o);
}

/* What is written can be read, also with the longest error of a try. */
static void test_long(void **state)
{
    const char *dir = *state;
    struct spool s;
    struct err e = {0};
    _cleanup_free_ char *lost = NULL, *text = xstrdup(""), *error = xcalloc(1, ERR_TEXT_MAX);
    memset(error, '"', ERR_TEXT_MAX - 1);
    json_t *o = an_event();
    for (size_t n = 1000; n <= 2 * EVENT_MAX; n += 1000) {
        free(text);
        text = xcalloc(1, n + 1);
        memset(text, 'x', n);
        json_object_set_new(o, "error", json_string(text));
        if (spool_add(dir, "x", o, (int64_t)n, &lost, &e) < 0)
            break;
    }
    assert_non_null(strstr(e.text, "too long"));
    load(dir, &s);
    assert_true(s.n > 40);
    for (int i = 0; i < 2; i++)
        assert_int_equal(spool_failed(dir, s.v[s.n - 1].name, error, true, NULL, 5, &e), 0);
    json_t *back = spool_read(dir, s.v[s.n - 1].name, &e);
    assert_non_null(back);
    json_decref(back);
    spool_release(&s);
    json_decref(o);
}

static void test_sweep(void **state)
{
    const char *dir = *state;
    struct spool s;
    spool_sweep(dir);
    add(dir, "x", 1000);
    put(dir, "pvesr-notify/000000001000-1-0.json.tmp.2147483647", "half");
    spool_sweep(dir);
    _cleanup_free_ char *left = get(dir, "pvesr-notify/000000001000-1-0.json.tmp.2147483647");
    assert_string_equal(left, "");
    load(dir, &s);
    assert_int_equal(s.n, 1);
    spool_release(&s);
}

static void test_delays(void **state)
{
    (void)state;
    static const int64_t delays[] = {30, 30, 60, 120, 240, 480, 960, 1800, 1800};
    for (unsigned i = 0; i < ELEMENTS(delays); i++)
        assert_int_equal(spool_retry_delay(i), delays[i]);
    assert_int_equal(spool_retry_delay(UINT32_MAX), 1800);
}

int main(void)
{
    const struct CMUnitTest tests[] = {DIR_TEST(test_life),          DIR_TEST(test_damaged),
                                       DIR_TEST(test_bounded),       DIR_TEST(test_bounded_damaged),
                                       DIR_TEST(test_long),          DIR_TEST(test_sweep),
                                       cmocka_unit_test(test_delays)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
