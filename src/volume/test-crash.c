/* A process that dies at any instruction of any step: each step runs in a child that is killed at its first
 * system call, then (in a new world) at its second, and so on until it comes to its end. After each death the
 * earlier restore point must still be there, and doing the step again must end as if nothing had happened.
 *
 * To stay quick, a random choice of the calls is tried each time; PVESR_TEST_EXHAUSTIVE=1 tries all of them.
 */
#include "volume/test-world.h"

#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

static struct world w;
static struct snapshot first, second;
static struct image first_image, second_image;

static int close_world(void **state)
{
    world_close(&w);
    return 0;
}

/* 1: it came to its end before the n-th system call; 0: it was killed there; -1: it failed by itself. */
static int run_until(void (*step)(void), unsigned n)
{
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        ptrace(PTRACE_TRACEME, 0, NULL, NULL);
        raise(SIGSTOP);
        step();
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSTOPPED(status));
    ptrace(PTRACE_SETOPTIONS, pid, NULL, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL);
    /* each call stops twice; odd stops are before the kernel did anything */
    for (unsigned stops = 0; stops < n * 2 - 1;) {
        ptrace(PTRACE_SYSCALL, pid, NULL, WIFSTOPPED(status) && WSTOPSIG(status) == SIGABRT ? SIGABRT : 0);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        if (WIFEXITED(status) || WIFSIGNALED(status))
            return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 1 : -1;
        if (WSTOPSIG(status) == (SIGTRAP | 0x80))
            stops++;
    }
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    while (wait(NULL) > 0 || errno == EINTR)
        ; /* what it had started comes to its end */
    return 0;
}

/* In the child an error is a failure of the step. */
#define must(call)                                                                                           \
    do {                                                                                                     \
        if ((call) < 0) {                                                                                    \
            fprintf(stderr, "%s: %s\n", #call, err.text);                                                    \
            _exit(1);                                                                                        \
        }                                                                                                    \
    } while (0)

/* ---- the steps ---- */

static void step_snapshot(void)
{
    must(volume_snapshot(w.src, "third", false, &err));
}

static void step_keep(void)
{
    struct snapshot s;
    must(volume_snapshot_keep(w.src, "third", &s, &err));
}

static void step_stage(void)
{
    uint64_t from;
    struct stage_want want = {.snapshot = "second",
                              .id = second.id,
                              .base_id = first.id,
                              .size = second.size,
                              .resume = true,
                              .owner = "100-0"};
    struct stage *s = stage_open(w.dst, &want, &from, &err);
    must(s ? 0 : -1);
    must(stage_write(s, 0, second_image.data, 100000, &err));
    must(stage_checkpoint(s, 100000, &err));
    stage_free(s);
}

static void step_commit(void)
{
    must(volume_commit(w.dst, second.id, COMMIT_LIVE, &err));
}

static void step_aside(void)
{
    must(volume_keep_aside(w.dst, "diverged_1", &err));
}

static void step_rename(void)
{
    must(volume_snapshot_rename(w.src, "second", "renamed", &err));
}

static void step_drop(void)
{
    must(volume_snapshot_destroy(w.src, "first", first.id, &err));
}

static void step_destroy(void)
{
    must(volume_destroy(w.dst, &err));
}

/* ---- what must hold ---- */

/* The target shows one of the two restore points, whole. */
static void expect_one_of_two(void)
{
    if (!live_is(&w, &w.dst_store, &first_image))
        expect_live(&w, &w.dst_store, &second_image);
    else if (w.many)
        expect_snapshot(w.dst, first.id, &first_image);
}

static void expect_first(void)
{
    char since[SNAPSHOT_NAME_MAX + 1];
    expect_live(&w, &w.dst_store, &first_image);
    assert_int_equal(volume_written(w.dst, since, &err), 0);
    assert_string_equal(since, "first");
}

static void expect_live_first(void)
{
    expect_live(&w, &w.dst_store, &first_image);
}

static void expect_source(void)
{
    struct snapshots all;
    expect_live(&w, &w.src_store, &second_image);
    expect_snapshot(w.src, second.id, &second_image);
    ok(volume_snapshots(w.src, &all, &err));
    for (size_t i = 0; i < all.n; i++)
        assert_int_equal(strlen(all.v[i].id), SNAPSHOT_ID_LEN);
    snapshots_release(&all);
}

static void again_snapshot(void)
{
    struct snapshot s;
    struct snapshots all;
    ok(volume_tidy(w.src, &err));
    ok(volume_snapshots(w.src, &all, &err));
    if (!snapshots_find(&all, "third"))
        world_snapshot(&w, "third", &s);
    snapshots_release(&all);
    ok(volume_snapshots(w.src, &all, &err));
    assert_int_equal(all.n, 3);
    assert_string_equal(snapshots_find(&all, "third")->id, all.v[all.n - 1].id);
    expect_snapshot(w.src, all.v[2].id, &second_image);
    snapshots_release(&all);
}

static void again_stage(void)
{
    ok(volume_tidy(w.dst, &err));
    world_replicate(&w, &first, &second, 0);
    expect_live(&w, &w.dst_store, &second_image);
}

static void again_commit(void)
{
    char since[SNAPSHOT_NAME_MAX + 1], owner[32], base[SNAPSHOT_ID_LEN + 1];
    struct stage_info info;
    ok(volume_tidy(w.dst, &err));
    ok(volume_commit(w.dst, second.id, COMMIT_LIVE, &err));
    expect_live(&w, &w.dst_store, &second_image);
    assert_int_equal(volume_written(w.dst, since, &err), 0);
    assert_string_equal(since, "second");
    expect_snapshot(w.dst, second.id, &second_image);
    ok(volume_replica(w.dst, owner, base, &err));
    assert_string_equal(owner, "100-0");
    assert_string_equal(base, second.id);
    ok(stage_info(w.dst, &info, &err));
    assert_false(info.exists);
}

static void again_aside(void)
{
    ok(volume_tidy(w.dst, &err));
    ok(volume_keep_aside(w.dst, "diverged_1", &err));
    struct snapshots all;
    ok(volume_snapshots(w.dst, &all, &err));
    assert_non_null(snapshots_find(&all, "diverged_1"));
    expect_snapshot(w.dst, snapshots_find(&all, "diverged_1")->id, &first_image);
    snapshots_release(&all);
    expect_live(&w, &w.dst_store, &first_image);
}

static void again_rename(void)
{
    struct snapshots all;
    ok(volume_snapshots(w.src, &all, &err));
    const struct snapshot *s = snapshots_find_id(&all, second.id);
    assert_non_null(s);
    if (strcmp(s->name, "second") == 0)
        ok(volume_snapshot_rename(w.src, "second", "renamed", &err));
    snapshots_release(&all);
    expect_snapshot(w.src, second.id, &second_image);
}

static void again_drop(void)
{
    ok(volume_snapshot_destroy(w.src, "first", first.id, &err));
    expect_snapshot(w.src, second.id, &second_image);
}

static void again_destroy(void)
{
    struct strv names = STRV_INIT;
    ok(volume_destroy(w.dst, &err));
    ok(volume_list(&w.dst_store, 100, &names, &err));
    assert_int_equal(names.n, 0);
}

static void nothing(void)
{
}

static void take_third(void)
{
    ok(volume_snapshot(w.src, "third", false, &err));
}

static void stage_second(void)
{
    world_stage(&w, &first, &second, 0);
}

static const struct {
    const char *name;
    void (*before)(void); /* on top of: source at `second`, target at `first` */
    void (*step)(void);
    void (*expect)(void);
    void (*again)(void);
} steps[] = {
    {"snapshot", nothing, step_snapshot, expect_source, again_snapshot},
    {"keep", take_third, step_keep, expect_source, again_snapshot},
    {"stage", nothing, step_stage, expect_first, again_stage},
    {"commit", stage_second, step_commit, expect_one_of_two, again_commit},
    {"keep aside", nothing, step_aside, expect_live_first, again_aside},
    {"rename", nothing, step_rename, nothing, again_rename},
    {"remove a snapshot", nothing, step_drop, nothing, again_drop},
    {"destroy", stage_second, step_destroy, nothing, again_destroy},
};

static void prepare(void)
{
    world_reset(&w);
    world_create(&w, 400001);
    world_snapshot(&w, "first", &first);
    image_copy(&first_image, &w.image);
    world_replicate(&w, NULL, &first, 0);
    do /* enough that step_stage lies within */
        world_change(&w, 3);
    while (w.image.size < 100000);
    world_snapshot(&w, "second", &second);
    image_copy(&second_image, &w.image);
}

/* Where a process dies is no matter of a sanitizer, and there a fork takes long. */
#if defined(__SANITIZE_ADDRESS__)
#define CALLS_BETWEEN 100
#else
#define CALLS_BETWEEN 25
#endif

static unsigned die_everywhere(size_t i)
{
    unsigned most = getenv("PVESR_TEST_EXHAUSTIVE") ? 1 : w.lvm.vg[0][0] ? 150 : CALLS_BETWEEN;
    for (unsigned n = 1 + rnd(most), tried = 1;; n += 1 + rnd(most), tried++) {
        prepare();
        steps[i].before();
        world_reopen(&w);
        int r = run_until(steps[i].step, n);
        if (r < 0)
            fail_msg("%s, %s: failed by itself at call %u", w.place->name, steps[i].name, n);
        world_reopen(&w);
        steps[i].expect();
        steps[i].again();
        ok(volume_tidy(w.src, &err));
        ok(volume_tidy(w.dst, &err));
        expect_tidy(&w, &w.src_store);
        expect_tidy(&w, &w.dst_store);
        if (r > 0)
            return tried;
    }
}

static void test_crashes(void **state)
{
    world_seed("test_crashes");
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    for (unsigned p = 0; p < n_places; p++) {
        if (!places[p].mkfs && !places[p].mount && strcmp(places[p].type, "lvmthin") != 0)
            continue; /* flushing to a real disk takes too long here */
        const char *why = world_open(&w, &places[p]);
        if (why)
            print_message("SKIPPED test_crashes, %s: %s\n", places[p].name, why);
        for (size_t i = 0; !why && i < ELEMENTS(steps); i++)
            print_message("  %s, %s: died at %u calls\n", places[p].name, steps[i].name, die_everywhere(i));
        world_close(&w);
    }
    image_release(&first_image);
    image_release(&second_image);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_crashes, close_world),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
