/* The plan as a table: what both sides hold, in short (testside.h), and what the plan must be, in short. */
#include "run/source/plan.h"

#include "base/mem.h"
#include "run/source/testside.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void print_aside(const char *what, const struct aside *a, struct buf *out)
{
    buf_adds(out, what);
    short_name(a->from, out);
    buf_addf(out, "=>%s", a->to + strlen(ASIDE_PREFIX));
}

static void print_short(const struct plan_volume *p, struct buf *out)
{
    if (p->full)
        buf_adds(out, p->replace ? "replace" : "full");
    else
        short_name(p->base.name, out);
    for (size_t i = 0; i < p->n_steps; i++) {
        buf_adds(out, p->steps[i].resume ? " >>" : " >");
        short_name(p->steps[i].snapshot.name, out);
    }
    if (p->keep_live_aside)
        buf_adds(out, " aside:live");
    for (size_t i = 0; i < p->keep_aside.n; i++)
        print_aside(" aside:", &p->keep_aside.v[i], out);
    for (size_t i = 0; i < p->move_aside.n; i++)
        print_aside(" first-aside:", &p->move_aside.v[i], out);
    print_all(" clear:", &p->clear_target, out);
    print_all(" there:", &p->drop_target, out);
    print_all(" drop:", &p->drop_source, out);
    print_all(" adopt:", &p->adopt, out);
}

struct target_facts {
    bool exists, written, single, foreign, forgetful; /* forgetful: no first copy is remembered */
    bool history;
    bool linked;
    const char *shown;   /* id of the restore point that live shows; NULL: the newest */
    const char *sibling; /* epoch of the other job's last sync */
    const char *stage;   /* "S5=a/b": a stage of the snapshot with id a upon base b, or "S5=a/" */
};

static const struct plan_case {
    int line;
    const char *what;
    int last_sync;
    const char *source, *target, *parent;
    struct target_facts facts;
    const char *want; /* NULL: "No common base snapshot" */
} plan_cases[] = {
    {__LINE__, "first run", 0, "", "", NULL, {0}, "full >S9"},
    {__LINE__, "first run with guest snapshots", 0, "g1=a g2=b", "", NULL, {0}, "full >g1 >g2 >S9"},
    {__LINE__, "a foreign snapshot never travels", 0, "g1=a sanoid=x", "", NULL, {0}, "full >g1 >S9"},
    {__LINE__, "a template", 0, "__base__=a", "", NULL, {0}, "full >__base__ >S9"},
    {__LINE__, "a linked clone", 0, "__base__=a", "__base__=a", NULL, {.linked = true}, "__base__ >S9"},
    {__LINE__,
     "its increment",
     5,
     "__base__=a S5=b",
     "__base__=a S5=b",
     NULL,
     {.exists = true, .linked = true},
     "S5 >S9"},
    {__LINE__, "its template is not there", 0, "__base__=a g1=b", "", NULL, {.linked = true}, "no template"},
    {__LINE__,
     "its template is another one there",
     0,
     "__base__=a",
     "__base__=b",
     NULL,
     {.linked = true},
     "no template"},
    {__LINE__, "normal increment", 5, "S5=a", "S5=a", NULL, {.exists = true}, "S5 >S9"},
    {__LINE__,
     "increment over a guest snapshot",
     5,
     "S5=a g1=b",
     "S5=a",
     NULL,
     {.exists = true},
     "S5 >g1 >S9"},
    {__LINE__,
     "snapshots of other jobs travel too",
     5,
     "S5=a T6=b",
     "S5=a",
     NULL,
     {.exists = true},
     "S5 >T6 >S9"},
    {__LINE__,
     "state lost: newest common",
     0,
     "S3=a S5=b",
     "S3=a S5=b",
     NULL,
     {.exists = true},
     "S5 >S9 there:S3 drop:S3"},
    {__LINE__, "same name, other id is not common", 5, "S5=a", "S5=b!", NULL, {.exists = true}, NULL},
    {__LINE__, "a guest snapshot is a base", 5, "g1=a", "g1=a", NULL, {.exists = true}, "g1 >S9"},
    {__LINE__, "a foreign snapshot is none", 5, "sanoid=a", "sanoid=a", NULL, {.exists = true}, NULL},
    {__LINE__, "the parent is a base, though not listed", 5, "p=a", "p=a", "p", {.exists = true}, "p >S9"},
    {__LINE__,
     "after a rollback the acknowledged tail is kept",
     5,
     "g1=a",
     "g1=a S5=b",
     NULL,
     {.exists = true},
     "g1 >S9 aside:S5=>100-0_5"},
    {__LINE__,
     "so is one that the state cannot know",
     5,
     "S5=a",
     "S5=a S7=b",
     NULL,
     {.exists = true},
     "S5 >S9 aside:S7=>100-0_7"},
    {__LINE__,
     "a node that was the owner comes back with a tail of its own",
     5,
     "S5=a",
     "S5=a S7=b!",
     NULL,
     {.exists = true},
     "S5 >S9 aside:S7=>100-0_7"},
    {__LINE__,
     "…of another job",
     5,
     "S5=a",
     "S5=a T7=b!",
     NULL,
     {.exists = true, .shown = "a"},
     "S5 >S9 aside:T7=>100-1_7"},
    {__LINE__,
     "…and of two, with the same epoch as one kept already",
     5,
     "S5=a",
     "S5=a diverged_100-0_7=x! S7=b! T7=c!",
     NULL,
     {.exists = true},
     "S5 >S9 aside:S7=>100-0_7_2 aside:T7=>100-1_7"},
    {__LINE__,
     "what another job only sent through here is not kept",
     5,
     "S5=a",
     "S5=a T7=b",
     NULL,
     {.exists = true, .shown = "a"},
     "S5 >S9"},
    {__LINE__,
     "unless the replica shows it",
     5,
     "S5=a",
     "S5=a T7=b",
     NULL,
     {.exists = true},
     "S5 >S9 aside:T7=>100-1_7"},
    {__LINE__, "older than the base: no tail", 5, "S5=a", "T3=b! S5=a", NULL, {.exists = true}, "S5 >S9"},
    {__LINE__,
     "a guest snapshot made there has the name of one to be sent",
     5,
     "S5=a g1=c",
     "S5=a g1=b!",
     NULL,
     {.exists = true},
     "S5 >g1 >S9 first-aside:g1=>g1"},
    {__LINE__,
     "a guest snapshot from the time when the guest was there",
     5,
     "g1=a g2=c S5=b x=d",
     "g1=a! g2=c S5=b x=d!",
     NULL,
     {.exists = true},
     "S5 >S9 adopt:g1"},
    {__LINE__, "what is kept aside counts as nothing", 5, "S5=a", "diverged_x=b!", NULL, {0}, "full >S9"},
    {__LINE__,
     "…also beside a half-made copy",
     0,
     "",
     "diverged_x=b! S7=c",
     NULL,
     {.exists = true},
     "replace >S9"},
    {__LINE__,
     "points of failed runs: only the newest, the acknowledged and the shown one stay",
     4,
     "S3=y S4=z S5=a S6=b S7=c S8=d",
     "S3=y S4=z S5=a S6=b S7=c",
     NULL,
     {.exists = true, .shown = "a"},
     "S7 >S9 there:S3 there:S6 drop:S3 drop:S6 drop:S8"},
    {__LINE__,
     "a plain replica that was written to is copied anew",
     5,
     "S5=a",
     "S5=a~",
     NULL,
     {.exists = true, .single = true, .written = true},
     "full >S9 aside:live"},
    {__LINE__,
     "…also where a guest ran on it and left a point of its own",
     5,
     "S5=a",
     "S5=a~ S7=b!",
     NULL,
     {.exists = true, .single = true},
     "full >S9 aside:live"},
    {__LINE__,
     "…not if its restore point is not ours",
     5,
     "S6=a",
     "S5=b~",
     NULL,
     {.exists = true, .single = true, .written = true},
     NULL},
    {__LINE__,
     "a plain target gets the new one upon the interrupted one",
     5,
     "S5=a S7=b",
     "S5=a",
     NULL,
     {.exists = true, .single = true, .stage = "S7=b/a"},
     "S5 >>S7 >S9"},
    {__LINE__,
     "…which may be upon another that only the source has",
     5,
     "S5=a S7=b S8=c",
     "S5=a",
     NULL,
     {.exists = true, .single = true, .stage = "S8=c/b"},
     "S7 >>S8 >S9"},
    {__LINE__,
     "…also in a first copy",
     0,
     "S7=b S8=c",
     "",
     NULL,
     {.single = true, .stage = "S8=c/b"},
     "S7 >>S8 >S9"},
    {__LINE__,
     "…not if its snapshot is gone",
     5,
     "S5=a S7=b",
     "S5=a",
     NULL,
     {.exists = true, .single = true, .stage = "S8=c/b"},
     "S5 >S9 drop:S7"},
    {__LINE__,
     "a first copy is not replaced where none is remembered",
     5,
     "",
     "S7=b",
     NULL,
     {.exists = true, .forgetful = true},
     NULL},
    {__LINE__,
     "with the state lost, a tail is kept",
     0,
     "S5=a",
     "S5=a S7=b",
     NULL,
     {.exists = true},
     "S5 >S9 aside:S7=>100-0_7"},
    {__LINE__,
     "the replica was written to",
     5,
     "S5=a",
     "S5=a",
     NULL,
     {.exists = true, .written = true},
     "S5 >S9 aside:live"},
    {__LINE__,
     "committed, not recorded: go on from it",
     5,
     "S5=a S7=b",
     "S5=a S7=b",
     NULL,
     {.exists = true},
     "S7 >S9"},
    {__LINE__, "half-made first copy is replaced", 0, "", "S7=b", NULL, {.exists = true}, "replace >S9"},
    {__LINE__,
     "half-made but the snapshot is still here: goes on",
     0,
     "S7=b",
     "S7=b",
     NULL,
     {.exists = true},
     "S7 >S9"},
    {__LINE__, "not if it was written to", 0, "", "S7=b", NULL, {.exists = true, .written = true}, NULL},
    {__LINE__, "not if another made it", 0, "", "S7=b", NULL, {.exists = true, .foreign = true}, NULL},
    {__LINE__, "not if a snapshot was made there", 0, "", "S7=b g1=c!", NULL, {.exists = true}, NULL},
    {__LINE__, "not if it was acknowledged", 6, "", "S6=b", NULL, {.exists = true}, NULL},
    {__LINE__, "an added disk, half-made, is replaced", 5, "", "S7=b", NULL, {.exists = true}, "replace >S9"},
    {__LINE__,
     "a volume that only has the target's name",
     0,
     "",
     "",
     NULL,
     {.exists = true, .foreign = true},
     NULL},
    {__LINE__, "an interrupted first copy resumes", 0, "S7=a", "", NULL, {.stage = "S7=a/"}, "full >>S7 >S9"},
    {__LINE__,
     "an interrupted increment resumes",
     5,
     "S5=a S7=b",
     "S5=a",
     NULL,
     {.exists = true, .stage = "S7=b/a"},
     "S5 >>S7 >S9"},
    {__LINE__,
     "not upon another base",
     5,
     "S5=a S7=b",
     "S5=a",
     NULL,
     {.exists = true, .stage = "S7=b/c"},
     "S5 >S9 drop:S7"},
    {__LINE__,
     "a stage whose snapshot is gone is forgotten",
     0,
     "",
     "",
     NULL,
     {.stage = "S7=a/"},
     "full >S9"},
    {__LINE__,
     "stale snapshots of failed runs go, the last sync stays",
     5,
     "S5=a S6=b S7=c",
     "S5=a",
     NULL,
     {.exists = true},
     "S5 >S9 drop:S6 drop:S7"},
    {__LINE__,
     "jobs made anew with exchanged targets: what the other one's target has stays",
     0,
     "S5=a S7=b T6=c",
     "T6=c",
     NULL,
     {.exists = true, .sibling = "0"},
     "T6 >S9 drop:S7"},
    {__LINE__,
     "…until that was acknowledged from here",
     0,
     "S5=a S7=b T6=c",
     "T6=c",
     NULL,
     {.exists = true, .sibling = "6"},
     "T6 >S9 drop:S5 drop:S7"},
    {__LINE__,
     "the last sync stays even if the target lost it",
     5,
     "S4=a S5=b",
     "S4=a",
     NULL,
     {.exists = true},
     "S4 >S9"},
    {__LINE__,
     "a target without snapshots gets the newest only",
     5,
     "S5=a g1=b",
     "S5=a",
     NULL,
     {.exists = true, .single = true},
     "S5 >S9"},
    {__LINE__,
     "a guest snapshot made anew replaces its namesake",
     5,
     "S5=a g1=b",
     "g1=x S5=a",
     NULL,
     {.exists = true},
     "S5 >g1 >S9 clear:g1"},
    {__LINE__, "a base must have its data on the target", 5, "S5=a", "S5=a~", NULL, {.exists = true}, NULL},
    {__LINE__,
     "on the source a map is enough for a base",
     5,
     "S5=a~",
     "S5=a",
     NULL,
     {.exists = true},
     "S5 >S9"},
    {__LINE__, "but not to be sent", 5, "S5=a g1=b~", "S5=a", NULL, {.exists = true}, "S5 >S9"},
    {__LINE__,
     "history stays",
     5,
     "S3=a S5=b",
     "S2=c S3=a S5=b",
     NULL,
     {.exists = true, .history = true},
     "S5 >S9 drop:S3"},
    {__LINE__,
     "history stays without a state",
     0,
     "S3=a S5=b",
     "S3=a S5=b",
     NULL,
     {.exists = true, .history = true},
     "S5 >S9 drop:S3"},
    {__LINE__,
     "what failed runs left is no history",
     2,
     "S2=c S3=a S5=b",
     "S2=c S3=a S5=b",
     NULL,
     {.exists = true, .history = true},
     "S5 >S9 there:S3 drop:S3"},
    {__LINE__,
     "another job's history does not travel",
     5,
     "T2=c? T3=d? S5=a T6=e? T7=f?",
     "S5=a",
     NULL,
     {.exists = true},
     "S5 >T7 >S9"},
};

static void stage_parse(const char *text, struct stage_info *ret)
{
    char id = text[3], base = text[5];
    *ret = (struct stage_info){.exists = true, .offset = 4096};
    memset(ret->id, id, SNAPSHOT_ID_LEN);
    if (base)
        memset(ret->base_id, base, SNAPSHOT_ID_LEN);
}

static void check_case(const struct plan_case *c)
{
    struct snapshots source = {0};
    struct replica replica = {.info = {.exists = c->facts.exists, .many = !c->facts.single},
                              .written = c->facts.written};
    _cleanup_strv_ struct strv guest_snapshots = STRV_INIT;
    _cleanup_strv_ struct strv first_copies = STRV_INIT;
    _cleanup_strv_ struct strv siblings = STRV_INIT;
    if (c->facts.sibling)
        strv_addf(&siblings, "__replicate_100-1_%s__", c->facts.sibling);
    strv_adds(&guest_snapshots, "g1", "g2", NULL);
    strv_adds(&first_copies, "__replicate_100-0_7__", "__replicate_100-0_8__", NULL);
    side_parse(c->source, false, &source);
    side_parse(c->target, true, &replica.snapshots);
    if (c->facts.exists && !c->facts.foreign) {
        strcpy(replica.owner, "100-0");
        if (replica.snapshots.n)
            strcpy(replica.base_id, replica.snapshots.v[replica.snapshots.n - 1].id);
        if (c->facts.shown)
            memset(replica.base_id, c->facts.shown[0], SNAPSHOT_ID_LEN);
    }
    if (c->facts.stage)
        stage_parse(c->facts.stage, &replica.stage);
    struct plan_input_volume volume = {.volid = "s:vm-100-disk-0",
                                       .info.linked = c->facts.linked,
                                       .snapshots = &source,
                                       .replica = &replica};
    struct plan_input in = {.job_id = "100-0",
                            .guest = 100,
                            .last_sync = c->last_sync,
                            .first_copies = c->facts.forgetful ? NULL : &first_copies,
                            .siblings = c->facts.sibling ? &siblings : NULL,
                            .new_snapshot = "__replicate_100-0_9__",
                            .parent = c->parent,
                            .guest_snapshots = &guest_snapshots,
                            .history = c->facts.history,
                            .volumes = &volume,
                            .n = 1};
    struct plan plan = {0};
    struct err e = {0};
    _cleanup_buf_ struct buf got = BUF_INIT;
    if (plan_make(&in, &plan, &e) == 0)
        print_short(&plan.v[0], &got);
    else if (!strncmp(e.text, "No common base snapshot on volume(s) s:vm-100-disk-0\n", 52) &&
             e.kind == ERR_DATA)
        buf_adds(&got, "no common base");
    else if (strstr(e.text, "replicate the template there first") && e.kind == ERR_CONFIG)
        buf_adds(&got, "no template");
    if (strcmp(buf_str(&got), c->want ? c->want : "no common base") != 0)
        fail_msg("line %d, %s: want '%s', got '%s'", c->line, c->what, c->want ? c->want : "no common base",
                 buf_str(&got));
    plan_release(&plan);
    snapshots_release(&source);
    replica_release(&replica);
}

static void test_plan(void **state)
{
    (void)state;
    for (size_t i = 0; i < ELEMENTS(plan_cases); i++)
        check_case(&plan_cases[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plan),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
