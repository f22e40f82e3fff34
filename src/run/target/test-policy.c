/* What a peer may, case by case: all of the policy, without a volume or a peer. */
#include "run/target/policy.h"

#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define ID_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define ID_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

/* want NULL: it is allowed; else a part of the refusal, whose kind is `kind`. */
static void judge(int line, int r, const struct err *e, enum err_kind kind, const char *want)
{
    if (want ? r == 0 || !strstr(e->text, want) || e->kind != kind : r < 0)
        fail_msg("line %d: want '%s', got '%s'", line, want ? want : "allowed", r < 0 ? e->text : "allowed");
}

static void test_peer(void **state)
{
    (void)state;
    static const struct {
        int line;
        struct policy_peer p;
        const char *want;
    } cases[] = {
        {__LINE__, {.says = "pve1"}, NULL},
        {__LINE__, {.says = "pve1", .is = "pve1"}, NULL},
        {__LINE__,
         {.says = "pve1", .is = "pve3"},
         "the key of node 'pve3' was used by one that says it is node 'pve1'"},
        {__LINE__, {.says = "", .is = "pve3"}, "key of node 'pve3'"},
        {__LINE__, {.says = "pve3x", .is = "pve3"}, "says it is node 'pve3x'"},
        {__LINE__, {.says = "PVE3", .is = "pve3"}, "says it is node 'PVE3'"},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct err e = {0};
        judge(cases[i].line, policy_peer(&cases[i].p, &e), &e, ERR_CONFIG, cases[i].want);
    }
}

static void test_guest(void **state)
{
    (void)state;
    static const struct {
        int line;
        const char *peer, *owner;
        bool twice;
        const char *want;
        bool may_come;
    } cases[] = {
        {__LINE__, "pve1", "pve1", false, NULL, false},
        {__LINE__, "pve1", "pve2", false, "is on local node 'pve2'", false},
        {__LINE__, "pve2", "pve2", false, "is on local node 'pve2'", false},
        {__LINE__, "pve1", "pve3", false, "on node 'pve3': node 'pve1' has nothing to replicate", false},
        {__LINE__, "pve1", NULL, false, "not known on node 'pve2', also not 7 s later", true},
        {__LINE__, "pve1", NULL, true, "two configuration files", false},
        {__LINE__, "", "pve1", false, "node '' has nothing", false},
        {__LINE__, NULL, NULL, false, NULL, true}, /* the stock tool's calls, as ever */
        {__LINE__, NULL, NULL, true, NULL, false},
        {__LINE__, NULL, "pve1", false, NULL, false},
        {__LINE__, NULL, "pve2", false, "guest '100' is on local node", false},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct err e = {0};
        struct policy_guest g = {.guest = 100,
                                 .self = "pve2",
                                 .peer = cases[i].peer,
                                 .owner = cases[i].owner,
                                 .twice = cases[i].twice,
                                 .waited = 7};
        judge(cases[i].line, policy_guest(&g, &e), &e, ERR_CONFIG, cases[i].want);
        assert_int_equal(policy_guest_may_come(&g), cases[i].may_come);
    }
}

static void test_replace(void **state)
{
    (void)state;
    static const struct {
        int line;
        struct policy_replace r;
        const char *want;
    } cases[] = {
        {__LINE__,
         {.owner = "", .shows = "", .received = true},
         NULL}, /* stages and points, no live volume */
        {__LINE__, {.exists = true, .owner = "100-0", .shows = "", .received = true}, NULL},
        {__LINE__,
         {.exists = true, .owner = "100-0", .shows = "g1", .received = true},
         NULL}, /* ZFS: a point */
        {__LINE__,
         {.exists = true, .owner = "100-0", .shows = "__replicate_100-1_5__", .received = true},
         NULL},
        {__LINE__,
         {.exists = true, .owner = "100-0", .shows = "__replicate_100-0_5__", .received = true},
         "shows restore point '__replicate_100-0_5__', which may have been acknowledged"},
        {__LINE__,
         {.exists = true, .owner = "100-1", .shows = "", .received = true},
         "not an unfinished copy"},
        {__LINE__, {.exists = true, .owner = "", .shows = "", .received = true}, "not an unfinished copy"},
        {__LINE__,
         {.exists = true, .owner = "100-00", .shows = "", .received = true},
         "not an unfinished copy"},
        {__LINE__,
         {.exists = true, .written = true, .owner = "100-0", .shows = "", .received = true},
         "not an unfinished copy"},
        {__LINE__, {.exists = true, .owner = "100-0", .shows = ""}, "not an unfinished copy"}, /* made here */
        {__LINE__, {.owner = "", .shows = ""}, "not an unfinished copy"},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct err e = {0};
        struct policy_replace r = cases[i].r;
        r.volid = "st:100/vm-100-disk-0.raw";
        r.job = "100-0";
        judge(cases[i].line, policy_replace(&r, &e), &e, ERR_DATA, cases[i].want);
    }
}

static void test_prune(void **state)
{
    (void)state;
    static const struct {
        int line;
        const char *name, *id;
        unsigned flags;
        const char *want;
    } cases[] = {
        {__LINE__, "__replicate_100-0_5__", ID_A, 0, NULL},
        {__LINE__, "__replicate_100-1_5__", ID_A, 0, NULL},
        {__LINE__, "__replicate_100-0_5__", ID_B, SNAPSHOT_RECEIVED, "the replica shows"},
        {__LINE__, "__replicate_101-0_5__", ID_A, 0, "not made by replication"},
        {__LINE__, "g1", ID_A, SNAPSHOT_RECEIVED, NULL},
        {__LINE__, "g1", ID_A, 0, "not made by replication"},
        {__LINE__, "g1", ID_B, SNAPSHOT_RECEIVED, "the replica shows"},
        {__LINE__, "diverged_100-0_5", ID_A, SNAPSHOT_RECEIVED, "kept aside"},
        {__LINE__, "diverged_g1", ID_A, 0, "kept aside"},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct err e = {0};
        struct snapshot s = {.flags = cases[i].flags};
        strcpy(s.name, cases[i].name);
        strcpy(s.id, cases[i].id);
        struct policy_prune p = {.guest = 100, .snapshot = &s, .base_id = ID_B};
        judge(cases[i].line, policy_prune(&p, &e), &e, ERR_DATA, cases[i].want);
    }
}

static void test_mark(void **state)
{
    (void)state;
    static const struct {
        int line;
        const char *name;
        unsigned flags;
        const char *want;
    } cases[] = {
        {__LINE__, "__replicate_100-0_5__", SNAPSHOT_RECEIVED, NULL},
        {__LINE__, "__replicate_100-1_5__", 0, NULL},
        {__LINE__, "__replicate_101-0_5__", 0, "not made by replication"},
        {__LINE__, "g1", SNAPSHOT_RECEIVED, NULL},
        {__LINE__, "g1", 0, "not made by replication"},
        {__LINE__, "diverged_100-0_5", SNAPSHOT_RECEIVED, NULL}, /* wrong, and kept aside for that */
        {__LINE__, "diverged_g1", 0, "not made by replication"},
        {__LINE__, "__replicate_100-0_5__", SNAPSHOT_STRANGE,
         "somebody gave snapshot '__replicate_100-0_5__'"},
        {__LINE__, "mine", SNAPSHOT_STRANGE | SNAPSHOT_RECEIVED, "somebody gave"},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct err e = {0};
        struct snapshot s = {.flags = cases[i].flags};
        strcpy(s.name, cases[i].name);
        judge(cases[i].line, policy_mark(&(struct policy_mark){100, &s}, &e), &e, ERR_DATA, cases[i].want);
    }
}

static void test_drop(void **state)
{
    (void)state;
    struct err e = {0};
    const char *volid = "st:100/vm-100-disk-0.raw";
    judge(__LINE__, policy_drop(&(struct policy_drop){volid, true, NULL}, &e), &e, ERR_DATA, NULL);
    judge(__LINE__, policy_drop(&(struct policy_drop){volid, false, NULL}, &e), &e, ERR_DATA,
          "is not removed");
    judge(__LINE__, policy_drop(&(struct policy_drop){volid, true, "o:x"}, &e), &e, ERR_CONFIG,
          "it is the same as 'o:x'");
}

static void test_names(void **state)
{
    (void)state;
    static const struct {
        int line;
        const char *name;
        bool shown, aside;
    } cases[] = {
        {__LINE__, "__replicate_100-0_5__", true, false},
        {__LINE__, "__replicate_100-1_5__", false, false},
        {__LINE__, "__replicate_100-00_5__", false, false},
        {__LINE__, "diverged_100-0_5", false, true},
        {__LINE__, "diverged_g1", false, true},
        {__LINE__, "g1", false, false},
        {__LINE__, "", false, false},
        {__LINE__, "diverged_/../x", false, false},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct err e = {0};
        if ((policy_shown_as("100-0", cases[i].name, &e) == 0) != cases[i].shown ||
            (policy_aside_as(cases[i].name, &e) == 0) != cases[i].aside)
            fail_msg("line %d: '%s'", cases[i].line, cases[i].name);
    }
}

static void test_unmarked(void **state)
{
    static const struct {
        struct policy_unmarked facts;
        bool want;
    } cases[] = {
        {{.same_id = 1, .same_name = 3}, true}, /* of a disk that was removed since the last run */
        {{.same_id = 1, .same_name = 2, .newer = 2}, true},  /* a run that failed left later points */
        {{.same_id = 1, .same_name = 1}, true},              /* the only disk, of a job that is removed */
        {{.same_id = 2, .same_name = 2}, false},             /* a copy that was just made */
        {{.same_id = 1, .same_name = 1, .newer = 1}, false}, /* a copy made before the last run */
    };
    (void)state;
    for (size_t i = 0; i < ELEMENTS(cases); i++)
        assert_int_equal(policy_is_replica(&cases[i].facts), cases[i].want);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_peer),     cmocka_unit_test(test_guest), cmocka_unit_test(test_replace),
        cmocka_unit_test(test_prune),    cmocka_unit_test(test_mark),  cmocka_unit_test(test_drop),
        cmocka_unit_test(test_unmarked), cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
