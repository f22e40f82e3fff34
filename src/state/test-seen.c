/* What outlives the processes that watch the jobs. */
#include "state/testdir.h"

#include "state/seen.h"

#include <string.h>

static struct seen_job job(const char *id, const char *target, int64_t since)
{
    struct seen_job j = {.since = since};
    snprintf(j.id, sizeof j.id, "%s", id);
    snprintf(j.target, sizeof j.target, "%s", target);
    return j;
}

static void note(const char *dir, const char *id, const char *target, int64_t now)
{
    struct err e;
    struct seen s;
    struct seen_job v[] = {job(id, target, now), job("99-0", "pve9", now)};
    seen_load(dir, &s);
    assert_int_equal(seen_set(dir, &s, v, 2, now, &e), 0);
    seen_release(&s);
}

static int64_t since(const char *dir, const char *id, const char *target)
{
    struct seen s;
    seen_load(dir, &s);
    const struct seen_job *j = seen_find(&s, id, target);
    int64_t ret = j ? j->since : 0;
    seen_release(&s);
    return ret;
}

/* The first look counts; another target is another job; a time that is to come is none. */
static void test_first_look(void **state)
{
    const char *dir = *state;
    assert_int_equal(since(dir, "100-0", "pve2"), 0);
    note(dir, "100-0", "pve2", 500);
    note(dir, "100-0", "pve2", 600);
    assert_int_equal(since(dir, "100-0", "pve2"), 500);
    note(dir, "100-0", "pve3", 700);
    assert_int_equal(since(dir, "100-0", "pve2"), 0);
    assert_int_equal(since(dir, "100-0", "pve3"), 700);
    note(dir, "100-0", "pve3", 650);
    assert_int_equal(since(dir, "100-0", "pve3"), 650);
    note(dir, "100-1", "pve3", 700);
    assert_int_equal(since(dir, "100-0", "pve3"), 0);
    assert_int_equal(since(dir, "99-0", "pve9"), 500);
}

static int64_t told(const char *dir)
{
    struct seen s;
    seen_load(dir, &s);
    int64_t ret = seen_find(&s, "100-0", "pve2")->told;
    seen_release(&s);
    return ret;
}

/* One that follows another soon, which did not end by itself, goes on with what that had. */
static void test_daemons(void **state)
{
    const char *dir = *state;
    struct seen_job it = job("100-0", "pve2", 0);
    it.told = 1005;
    assert_int_equal(seen_begin(dir, 1000), 1000);
    note(dir, "100-0", "pve2", 1000);
    seen_tell(dir, &it, 1);
    assert_int_equal(seen_begin(dir, 1500), 1000);
    assert_int_equal(seen_begin(dir, 2100), 1000);
    assert_int_equal(told(dir), 1005);
    assert_int_equal(seen_begin(dir, 2701), 2701); /* the one before lived long enough */
    assert_int_equal(told(dir), 0);
    assert_int_equal(seen_begin(dir, 2000), 2000); /* the clock was put back */
    seen_end(dir);
    assert_int_equal(seen_begin(dir, 2001), 2001);
    assert_int_equal(since(dir, "100-0", "pve2"), 1000);
}

/* What is no such file says nothing, and is replaced. */
static void test_damage(void **state)
{
    const char *dir = *state;
    put(dir, "pvesr-seen", "watched 5\njob 100-0 pve2 x 0 0\njob 1\n\n\1\2watched 1 2 3");
    assert_int_equal(since(dir, "100-0", "pve2"), 0);
    assert_int_equal(seen_begin(dir, 1000), 1000);
    note(dir, "100-0", "pve2", 1000);
    assert_int_equal(since(dir, "100-0", "pve2"), 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        DIR_TEST(test_first_look),
        DIR_TEST(test_daemons),
        DIR_TEST(test_damage),
    };
    return cmocka_run_group_tests_name("seen", tests, NULL, NULL);
}
