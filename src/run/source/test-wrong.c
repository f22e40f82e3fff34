/* The plan where restore points on the target are not what they were, or may not be, or are another guest's,
 * as a table: see test-plan.c. */
#include "run/source/testplan.h"

#define WRONG(ids, ...)                                                                                      \
    {                                                                                                        \
        .exists = true, .wrong = ids, ##__VA_ARGS__                                                          \
    }

#define THERE(...)                                                                                           \
    {                                                                                                        \
        .exists = true, ##__VA_ARGS__                                                                        \
    }

static const struct plan_case cases[] = {
    {__LINE__, "the base: what differs is sent with the rest", 5, "S5=a", "S5=a", NULL, WRONG("a"),
     "S5 >S9 patched aside:S5=>100-0_5"},
    {__LINE__, "…whose name here is another, and its name there is wanted: it makes way once", 5,
     "mine=a g1=b", "g1=a", NULL, WRONG("a"), "mine >g1 >S9 patched first-aside:g1=>g1"},
    {__LINE__, "…and what is kept aside already stays so", 5, "S5=a", "diverged_100-0_5=a", NULL,
     WRONG("a", .shown = "a"), "S5 >S9 patched"},
    {__LINE__, "…dealt with, it is nobody's base: the older one is", 5, "g1=b S5=a", "g1=b diverged_x=a",
     NULL, WRONG("a-", .shown = "a"), "g1 >S9"},
    {__LINE__, "one that a run has replaced since is nothing to it", 5, "S5=a", "S5=a", NULL, WRONG("b"),
     "S5 >S9"},
    {__LINE__, "a guest snapshot is sent again, from the one before it", 5, "g1=b g2=c S5=a",
     "g1=b g2=c S5=a", NULL, WRONG("c"), "g1 >g2 >S9 clear:g2"},
    {__LINE__, "…or whole, if there is none", 5, "g1=b S5=a", "g1=b S5=a", NULL, WRONG("b"),
     "full >g1 >S9 clear:g1"},
    {__LINE__, "…both: nothing is built upon the newest either", 5, "g1=b S5=a", "g1=b S5=a", NULL,
     WRONG("ab"), "full >g1 >S9 aside:S5=>100-0_5 clear:g1"},
    {__LINE__, "…one that was made there is a person's: kept aside", 5, "g1=b S5=a", "g1=b! S5=a", NULL,
     WRONG("b"), "S5 >S9 aside:g1=>g1 adopt:g1"},
    {__LINE__, "a guest snapshot is not there any more: that is said", 5, "g1=b S5=a", "S5=a", NULL, THERE(),
     "S5 >S9 MISSING"},
    {__LINE__, "…nor is one of its name that somebody wrote to", 5, "g1=b S5=a", "g1=x! S5=a", NULL, THERE(),
     "S5 >S9 MISSING"},
    {__LINE__, "…of a tree", 5, "g1=b S5=a", "S5=a", NULL, THERE(.stream = true), "S5 >S9 MISSING"},
    {__LINE__, "…each of several", 5, "g1=b g2=c S5=a", "S5=a", NULL, THERE(), "S5 >S9 MISSING MISSING"},
    {__LINE__, "…it has another name there", 5, "g1=b S5=a", "mine=b S5=a", NULL, THERE(), "S5 >S9 MISSING"},
    {__LINE__, "…what no configuration lists may be missing", 5, "sanoid=b S5=a", "S5=a", NULL, THERE(),
     "S5 >S9"},
    {__LINE__, "…and what its storage there cannot keep", 5, "g1=b S5=a", "S5=a", NULL, THERE(.single = true),
     "S5 >S9"},
    {__LINE__, "…what has no data here, or is damaged here", 5, "g1=b~ g2=cM S5=a", "S5=a", NULL, THERE(),
     "S5 >S9"},
    {__LINE__, "…what goes with this run", 5, "S5=a g1=b", "S5=a", NULL, THERE(), "S5 >g1 >S9"},
    {__LINE__,
     "the last run was of another guest of this id: the newest that is there of it is kept aside",
     5,
     "S5=b",
     "S4=c S5=b",
     NULL,
     {.exists = true, .former = 5},
     "S5 >S9 aside:S5=>100-0_5 WARNING"},
    {__LINE__,
     "…where nothing of it is here, and there are rules",
     5,
     "",
     "S4=c S5=b",
     NULL,
     {.exists = true, .resyncs = true, .history = true, .former = 5},
     "resync >S9 aside:S5=>100-0_5 WARNING WARNING"},
    {__LINE__,
     "…the base is older than it",
     0,
     "S4=c",
     "S4=c S5=b",
     NULL,
     {.exists = true, .former = 5},
     "S4 >S9 aside:S5=>100-0_5 WARNING"},
    {__LINE__,
     "…the base is a snapshot that is newer: it is no point that a failed run left",
     0,
     "S5=b g1=c",
     "S5=b g1=c",
     NULL,
     {.exists = true, .former = 5, .shown = "c"},
     "g1 >S9 aside:S5=>100-0_5 WARNING"},
    {__LINE__,
     "…its storage keeps one restore point",
     5,
     "S5=b",
     "S5=b",
     NULL,
     {.exists = true, .single = true, .former = 5},
     "S5 >S9 aside:live WARNING"},
    {__LINE__,
     "…a run came since, or it is not there",
     5,
     "S5=b",
     "S5=b",
     NULL,
     {.exists = true, .former = 4},
     "S5 >S9"},
    {__LINE__, "…a new disk", 5, "", "", NULL, {.former = 5}, "full >S9"},
    {__LINE__, "history stays where it is", 5, "g1=b S5=a", "g1=b S3=x S5=a", NULL,
     WRONG("b", .history = true), "full >g1 >S9 clear:g1"},
    {__LINE__, "an interrupted transfer stands upon what is wrong", 5, "S5=a S8=b", "S5=a", NULL,
     WRONG("a", .stage = "S8=b/a"), "S5 >S9 patched aside:S5=>100-0_5 drop:S8"},
    {__LINE__, "where only the live one has data: everything", 5, "S5=a", "S5=a", NULL,
     WRONG("a", .single = true), "full >S9 aside:live"},
    {__LINE__, "a native stream takes no ranges: everything, beside the replica", 5, "S5=a", "S5=a", NULL,
     WRONG("a", .stream = true), "anew >S9"},

    {__LINE__, "somebody wrote to the base: it is compared first", 5, "S5=a", "S5=aC", NULL, THERE(),
     "S5 >S9 prove"},
    {__LINE__, "…and is one, if it is right, but gets no new name", 5, "S5=a", "S5=aC", NULL,
     THERE(.compared = "a"), "S5 >S9"},
    {__LINE__, "…else what differs is sent with the rest", 5, "S5=a", "S5=aC", NULL,
     WRONG("a", .compared = "a"), "S5 >S9 patched aside:S5=>100-0_5"},
    {__LINE__, "…what was found before that may not be all", 5, "S5=a", "S5=aC", NULL, WRONG("a"),
     "S5 >S9 prove patched aside:S5=>100-0_5"},
    {__LINE__, "…a transfer that stands upon it begins anew", 5, "S5=a S8=b", "S5=aC", NULL,
     THERE(.stage = "S8=b/a"), "S5 >S9 prove drop:S8"},
    {__LINE__, "somebody wrote to an older one: nothing is built upon that", 5, "g1=b S5=a", "g1=bC S5=a",
     NULL, THERE(), "S5 >S9"},
    {__LINE__, "the older one would be the base: it is compared, too", 5, "g1=b S5=a", "g1=bC diverged_x=a",
     NULL, WRONG("a-", .shown = "a"), "g1 >S9 prove"},
    {__LINE__, "one that is writable even now is no base: the older one is", 5, "g1=b S5=a", "g1=b S5=aC~",
     NULL, THERE(), "g1 >S9 aside:S5=>100-0_5"},
    {__LINE__, "…or everything is sent", 5, "S5=a", "S5=aC~", NULL, THERE(), "full >S9 aside:S5=>100-0_5"},
    {__LINE__, "a tree cannot be compared: everything is sent beside it", 5, "S5=a", "S5=aC", NULL,
     THERE(.stream = true, .tree = true), "full >S9 aside:S5=>100-0_5"},
    {__LINE__, "…or what changed since an older one", 5, "g1=b S5=a", "g1=b S5=aC", NULL,
     THERE(.stream = true, .tree = true), "g1 >S9 aside:S5=>100-0_5"},
    {__LINE__, "a tree's stream from a base that was written to here is wrong", 5, "S5=aC", "S5=a", NULL,
     THERE(.stream = true, .tree = true), "full >S9"},
    {__LINE__, "…ranges from such a base lack what it has of the new one", 5, "S5=aC", "S5=a", NULL, THERE(),
     "S5 >S9 prove"},
    {__LINE__, "a storage of one point whose digests were lost here: everything is sent", 5, "S5=aC", "S5=a",
     NULL, THERE(.single = true), "full >S9 aside:live"},
    {__LINE__, "…or there", 5, "S5=a", "S5=aC", NULL, THERE(.single = true), "full >S9 aside:live"},
    {__LINE__, "…after a comparison no interrupted transfer goes on: it may be of before", 5, "S5=a S8=b",
     "S5=aC", NULL, THERE(.stage = "S8=b/a", .compared = "a"), "S5 >S9 drop:S8"},
    {__LINE__, "where no change is told, a replica that was written to may be its restore point", 5, "S5=a",
     "S5=a", NULL, THERE(.written = true, .blind = true), "S5 >S9 prove aside:live"},
    {__LINE__, "…where one is told, it is not", 5, "S5=a", "S5=a", NULL, THERE(.written = true),
     "S5 >S9 aside:live"},

    {__LINE__, "noted as damaged, and nothing known of what: it is compared first", 5, "S5=a", "S5=aM", NULL,
     THERE(), "S5 >S9 prove"},
    {__LINE__, "…it is known: that is sent", 5, "S5=a", "S5=aM", NULL, WRONG("a"),
     "S5 >S9 patched aside:S5=>100-0_5"},
    {__LINE__, "…it is right: but it gets no new name", 5, "S5=a", "S5=aM", NULL, THERE(.compared = "a"),
     "S5 >S9"},
    {__LINE__, "…dealt with, it is nobody's base", 5, "g1=b S5=a", "g1=b diverged_x=aM", NULL,
     WRONG("a-", .shown = "a"), "g1 >S9"},
    {__LINE__, "…no interrupted transfer that stands upon it goes on", 5, "S5=a S8=b", "S5=aM", NULL,
     THERE(.stage = "S8=b/a"), "S5 >S9 prove drop:S8"},
    {__LINE__, "noted here, where it was the target's: it is compared, too", 5, "S5=aM", "S5=a", NULL,
     THERE(), "S5 >S9 prove"},
    {__LINE__, "…what differs is this node's by now", 5, "S5=aM", "S5=a", NULL, WRONG("a", .compared = "a"),
     "S5 >S9 patched aside:S5=>100-0_5"},
    {__LINE__, "noted at an older one: nothing is built upon that", 5, "g1=b S5=a", "g1=bM S5=a", NULL,
     THERE(), "S5 >S9"},
    {__LINE__, "…nor does it matter that the target has none of it", 5, "g1=bM S5=a", "S5=a", NULL, THERE(),
     "S5 >S9"},
    {__LINE__, "a native stream cannot be compared: everything, beside the replica", 5, "S5=a", "S5=aM", NULL,
     THERE(.stream = true), "anew >S9"},
    {__LINE__, "…also where there is an older one, which may have the same blocks", 5, "g1=b S5=a",
     "g1=b S5=aM", NULL, THERE(.stream = true), "anew >g1 >S9"},
    {__LINE__, "…noted here", 5, "S5=aM", "S5=a", NULL, THERE(.stream = true), "anew >S9"},
    {__LINE__, "where only the live one has data, nothing can be built upon it", 5, "S5=a", "S5=aM", NULL,
     THERE(.single = true), "full >S9 aside:live"},
};

static void test_wrong(void **state)
{
    (void)state;
    for (size_t i = 0; i < ELEMENTS(cases); i++)
        check_case(&cases[i]);
}

static void test_ranges(void **state)
{
    (void)state;
    _cleanup_ranges_ struct ranges r = {0}, other = {0}, back = {0};
    _cleanup_buf_ struct buf text = BUF_INIT;
    ranges_add(&r, 0, 10);
    ranges_add(&r, 10, 10);
    ranges_add(&r, 100, 5);
    ranges_add(&other, 15, 20);
    ranges_add(&other, 200, 1);
    ranges_join(&r, &other);
    ranges_print(&r, &text);
    assert_string_equal(buf_str(&text), "0+35,100+5,200+1");
    assert_true(ranges_parse(buf_str(&text), text.len, &back));
    assert_int_equal(ranges_bytes(&back), 41);
    for (uint64_t i = 0; i < 3 * RANGES_MAX; i++)
        ranges_add(&r, 1000 + 2 * i, 1);
    assert_int_equal(r.n, RANGES_MAX);
    assert_int_equal(r.v[r.n - 1].offset + r.v[r.n - 1].length, 1000 + 2 * (3 * RANGES_MAX - 1) + 1);
    static const char *const bad[] = {
        "", "-", "1", "1+", "+1", "1+0", "1+x", "-1+1", "5+1,1+1", "1+1 2+2", "99999999999999999999+1"};
    for (size_t i = 0; i < ELEMENTS(bad); i++) {
        struct ranges none;
        if (ranges_parse(bad[i], strlen(bad[i]), &none))
            fail_msg("'%s' was taken", bad[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_wrong), cmocka_unit_test(test_ranges)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
