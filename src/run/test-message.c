/* A replica on the wire: what a target tells is what the source takes, but for what no run can name or use.
 */
#include "run/message.h"

#include "base/mem.h"
#include "run/snapshot.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static const struct {
    const char *name;
    unsigned flags;
    bool told;
} told[] = {
    {"__replicate_100-0_1700000000__", SNAPSHOT_READABLE | SNAPSHOT_RECEIVED, true},
    {"__base__", SNAPSHOT_READABLE, true},
    {"before-upgrade", SNAPSHOT_READABLE, true},
    {"diverged_100-0_1700000000", SNAPSHOT_READABLE, true},
    {"diverged_100-0_1600000000", SNAPSHOT_READABLE | SNAPSHOT_APART, false},
    {"autosnap_2026-01-01_00:00:00_daily", SNAPSHOT_READABLE, false},
    {"2026.01.01", SNAPSHOT_READABLE, false},
};

static void test_replica(void **state)
{
    (void)state;
    struct replica r = {.info = {.exists = true, .stream = true, .many = true, .size = 4096, .available = 7},
                        .written = true,
                        .owner = "100-0"},
                   got = {0};
    struct err e = {0};
    memset(r.base_id, 'a', SNAPSHOT_ID_LEN);
    for (size_t i = 0; i < ELEMENTS(told); i++) {
        struct snapshot s = {.seq = i + 1, .created = 1700000000, .flags = told[i].flags};
        strcpy(s.name, told[i].name);
        memset(s.id, 'a' + (int)i % 6, SNAPSHOT_ID_LEN);
        snapshots_add(&r.snapshots, &s);
    }
    json_t *o = message_replica(&r);
    if (message_replica_parse(o, &got, &e) < 0)
        fail_msg("%s", e.text);
    assert_true(got.info.exists && got.info.stream && got.info.many && got.written && !got.info.encrypts);
    assert_true(got.info.size == 4096 && got.info.available == 7);
    assert_string_equal(got.owner, "100-0");
    assert_string_equal(got.base_id, r.base_id);
    for (size_t i = 0, k = 0; i < ELEMENTS(told); i++) {
        const struct snapshot *s = k < got.snapshots.n ? &got.snapshots.v[k] : NULL;
        bool there = s && strcmp(s->name, told[i].name) == 0;
        if (there != told[i].told)
            fail_msg("'%s' was %stold", told[i].name, there ? "" : "not ");
        k += there;
        assert_true(!there || (s->seq == i + 1 && s->flags == told[i].flags && s->created == 1700000000));
    }
    json_decref(o);
    replica_release(&r);
    replica_release(&got);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_replica)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
