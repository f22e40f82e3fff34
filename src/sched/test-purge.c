/* Entries of the state file whose job is gone. */
#include "sched/purge.h"
#include "state/jobstate.h"
#include "state/testdir.h"

#include <string.h>

static const char *dir;

static void record(uint32_t guest)
{
    struct err e;
    struct job_state s = {.last_sync = 1, .last_try = 1, .duration = -1};
    assert_int_equal(job_state_store(dir, guest, "pve2", &s, &e), 0);
}

static bool has_entry(uint32_t guest)
{
    struct err e;
    struct job_state s = {0};
    assert_int_equal(job_state_load(dir, guest, "pve2", &s, &e), 0);
    bool exists = s.exists;
    job_state_release(&s);
    return exists;
}

/* An entry without a job is dropped by the second round that finds it, and by none that comes too early; one
 * that has got its guest meanwhile (a migration) stays. */
static void test_purge(void **state)
{
    static const char text[] =
        "local: 100-0\n\ttarget pve2\n\tsource pve1\n\nlocal: 101-0\n\ttarget pve2\n\tsource pve1\n\n";
    struct guest_entry entries[] = {{100, GUEST_QEMU, "pve1"}, {101, GUEST_QEMU, "pve1"}};
    struct guest_list guests = {.v = entries, .n = 1};
    struct err e;
    struct purge p = {0};
    struct jobs jobs, none;
    dir = *state;
    jobs_parse("replication.cfg", text, strlen(text), &jobs);
    for (uint32_t guest = 100; guest <= 102; guest++)
        record(guest);
    assert_int_equal(purge_round(&p, dir, &jobs, &guests, "pve1", 10000, &e), 0);
    assert_int_equal(purge_round(&p, dir, &jobs, &guests, "pve1", 10000 + PURGE_INTERVAL - 1, &e), 0);
    assert_true(has_entry(101));
    guests.n = 2; /* 101 has arrived */
    assert_int_equal(purge_round(&p, dir, &jobs, &guests, "pve1", 10000 + PURGE_INTERVAL, &e), 0);
    assert_true(has_entry(100));
    assert_true(has_entry(101));
    assert_false(has_entry(102));
    /* No job file: the tree may just not be there. */
    jobs_parse("replication.cfg", NULL, 0, &none);
    for (int i = 2; i < 5; i++)
        assert_int_equal(purge_round(&p, dir, &none, &guests, "pve1", 10000 + i * PURGE_INTERVAL, &e), 0);
    assert_true(has_entry(100));
    jobs_release(&none);
    jobs_release(&jobs);
    purge_release(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(test_purge, setup_dir, remove_dir)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
