/* For tests: a plan from what both sides hold, in short (testside.h), and the plan in short. */
#pragma once

#include "run/source/plan.h"

#include "base/mem.h"
#include "run/source/testside.h"

static inline void print_aside(const char *what, const struct aside *a, struct buf *out)
{
    buf_adds(out, what);
    short_name(a->from, out);
    buf_addf(out, "=>%s", a->to + strlen(ASIDE_PREFIX));
}

static inline void print_short(const struct plan_volume *p, struct buf *out)
{
    if (p->full)
        buf_adds(out, p->replace ? "replace" : p->anew ? "anew" : p->resync ? "resync" : "full");
    else
        short_name(p->base.name, out);
    if (p->anew && !p->full)
        buf_adds(out, " (anew)");
    for (size_t i = 0; i < p->n_steps; i++) {
        buf_adds(out, p->steps[i].resume ? " >>" : " >");
        short_name(p->steps[i].snapshot.name, out);
    }
    if (p->large)
        buf_adds(out, " large");
    if (p->prove)
        buf_adds(out, " prove");
    if (p->patch.n)
        buf_adds(out, " patched");
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
    for (size_t i = 0; i < p->reasons.n; i++)
        if (strstr(p->reasons.v[i], "install this version") || strstr(p->reasons.v[i], "destroy both") ||
            strstr(p->reasons.v[i], "were both received") || strstr(p->reasons.v[i], "refuses a whole copy"))
            buf_adds(out, " says so");
    for (size_t i = 0; i < p->reasons.n; i++)
        if (strncmp(p->reasons.v[i], PLAN_WARNING, strlen(PLAN_WARNING)) == 0)
            buf_adds(out, " WARNING");
    for (size_t i = 0; i < p->missing.n; i++)
        buf_adds(out, " MISSING");
}

struct target_facts {
    bool exists, written, single, foreign, forgetful; /* forgetful: no first copy is remembered */
    bool history;
    int former; /* the run of this epoch was of another guest */
    bool linked;
    bool lossy;
    bool stream;          /* both sides' storages are of the stream family */
    bool tree;            /* …of which a full copy can be made beside what is there */
    bool large;           /* a new replica is to have large blocks as they are */
    bool resyncs;         /* the target can compare what it has */
    bool asked;           /* `run --resync` */
    bool blind;           /* the target's storage tells no change of a restore point */
    const char *compared; /* ids of those that the run has compared */
    const char *wrong;    /* ids of restore points that a verification found wrong; "a-": dealt with */
    const char *shown;    /* id of the restore point that live shows; NULL: the newest */
    const char *sibling;  /* epoch of the other job's last sync */
    const char *stage; /* "S5=a/b": a stage of the snapshot with id a upon base b, or "S5=a/"; D at the end:
                        * doubtful, L, N: as a snapshot */
};

struct plan_case {
    int line;
    const char *what;
    int last_sync;
    const char *source, *target, *parent;
    struct target_facts facts;
    const char *want; /* NULL: "No common base snapshot" */
};

static inline void stage_parse(const char *text, struct stage_info *ret)
{
    char id = text[3], base = text[5];
    *ret = (struct stage_info){.exists = true, .offset = 4096, .doubtful = strchr(text, 'D')};
    memset(ret->id, id, SNAPSHOT_ID_LEN);
    ret->large = strchr(text, 'L') ? SNAPSHOT_LARGE : strchr(text, 'N') ? SNAPSHOT_SMALL : 0;
    if (base && !strchr("DLN", base))
        memset(ret->base_id, base, SNAPSHOT_ID_LEN);
}

/* What the target tells. */
static inline void replica_parse(const struct plan_case *c, struct replica *ret)
{
    *ret = (struct replica){.info = {.exists = c->facts.exists,
                                     .many = !c->facts.single,
                                     .stream = c->facts.stream,
                                     .proves = !c->facts.blind},
                            .written = c->facts.written};
    side_parse(c->target, true, &ret->snapshots);
    if (c->facts.exists && !c->facts.foreign) {
        strcpy(ret->owner, "100-0");
        if (ret->snapshots.n)
            strcpy(ret->base_id, ret->snapshots.v[ret->snapshots.n - 1].id);
        if (c->facts.shown)
            memset(ret->base_id, c->facts.shown[0], SNAPSHOT_ID_LEN);
    }
    if (c->facts.stage)
        stage_parse(c->facts.stage, &ret->stage);
}

static inline void wrong_parse(const char *text, struct strv *ret)
{
    struct ranges r = {0};
    ranges_add(&r, 65536, 65536);
    for (; text && *text; text++) {
        char id[SNAPSHOT_ID_LEN + 1] = {0};
        memset(id, *text, SNAPSHOT_ID_LEN);
        bool known = text[1] == '-';
        damage_set(ret, "s:vm-100-disk-0", id, known ? NULL : &r);
        text += known;
    }
    ranges_release(&r);
}

static inline void compared_parse(const char *ids, struct strv *ret)
{
    for (; ids && *ids; ids++) {
        char all[SNAPSHOT_ID_LEN + 1] = {0};
        memset(all, *ids, SNAPSHOT_ID_LEN);
        strv_add(ret, all);
    }
}

static inline void compare(const struct plan_case *c, const struct plan_input *in)
{
    struct plan plan = {0};
    struct err e = {0};
    _cleanup_buf_ struct buf got = BUF_INIT;
    const char *want = c->want ? c->want : "no common base";
    if (plan_make(in, &plan, &e) == 0)
        print_short(&plan.v[0], &got);
    else if (!strncmp(e.text, "No common base snapshot on volume(s) s:vm-100-disk-0\n", 52) &&
             e.kind == ERR_DATA)
        buf_adds(&got, "no common base");
    else if (strstr(e.text, "replicate the template there first") && e.kind == ERR_CONFIG)
        buf_adds(&got, "no template");
    else if (strstr(e.text, "in parts here") && e.kind == ERR_CONFIG)
        buf_adds(&got, "template in parts");
    if (strcmp(buf_str(&got), want) != 0)
        fail_msg("line %d, %s: want '%s', got '%s'", c->line, c->what, want, buf_str(&got));
    plan_release(&plan);
}

static inline void check_case(const struct plan_case *c)
{
    struct snapshots source = {0};
    struct replica replica;
    _cleanup_strv_ struct strv guest_snapshots = STRV_INIT;
    _cleanup_strv_ struct strv first_copies = STRV_INIT;
    _cleanup_strv_ struct strv siblings = STRV_INIT;
    _cleanup_strv_ struct strv damaged = STRV_INIT, compared = STRV_INIT;
    wrong_parse(c->facts.wrong, &damaged);
    compared_parse(c->facts.compared, &compared);
    if (c->facts.sibling)
        strv_addf(&siblings, "__replicate_100-1_%s__", c->facts.sibling);
    strv_adds(&guest_snapshots, "g1", "g2", NULL);
    strv_adds(&first_copies, "__replicate_100-0_7__", "__replicate_100-0_8__", NULL);
    side_parse(c->source, false, &source);
    replica_parse(c, &replica);
    struct plan_input_volume volume = {.volid = "s:vm-100-disk-0",
                                       .info.many = !c->facts.single,
                                       .info.linked = c->facts.linked,
                                       .info.lossy = c->facts.lossy,
                                       .info.stream = c->facts.stream,
                                       .info.one_line = c->facts.stream && !c->facts.tree,
                                       .snapshots = &source,
                                       .replica = &replica};
    struct plan_input in = {.job_id = "100-0",
                            .guest = 100,
                            .former = c->facts.former,
                            .last_sync = c->last_sync,
                            .first_copies = c->facts.forgetful ? NULL : &first_copies,
                            .siblings = c->facts.sibling ? &siblings : NULL,
                            .damaged = &damaged,
                            .compared = &compared,
                            .large = c->facts.large,
                            .new_snapshot = "__replicate_100-0_9__",
                            .parent = c->parent,
                            .guest_snapshots = &guest_snapshots,
                            .resyncs = c->facts.resyncs,
                            .resync = c->facts.asked,
                            .history = c->facts.history,
                            .volumes = &volume,
                            .n = 1};
    compare(c, &in);
    snapshots_release(&source);
    replica_release(&replica);
}
