/* Every driver and mode through the same cases. PVESR_TEST_SEED repeats a run. */
#include "volume/test-world.h"

#include "base/fs.h"
#include "base/mem.h"
#include "base/testbrief.h"
#include "volume/mark.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

static struct world w;

static int close_world(void **state)
{
    world_close(&w);
    return 0;
}

struct step {
    const char *name;
    void (*run)(void);
};

/* Run cases at every place; what cannot be here is skipped by name. */
static void everywhere(const char *type, const struct step *steps, size_t n)
{
    for (unsigned i = 0; i < n_places; i++) {
        if (type && strcmp(places[i].type, type) != 0)
            continue;
        const char *why = world_open(&w, &places[i]);
        if (why) {
            print_message("SKIPPED %s: %s\n", places[i].name, why);
            continue;
        }
        for (size_t k = 0; k < n; k++) {
            print_message("  %s, %s\n", places[i].name, steps[k].name);
            fflush(stdout);
            world_reset(&w);
            steps[k].run();
        }
        world_close(&w);
    }
}

/* ---- random histories ---- */

#define KEPT 6

struct point {
    struct snapshot s;
    struct image image;
};

static struct point points[KEPT];
static unsigned n_points;

static void forget_points(void)
{
    for (unsigned i = 0; i < KEPT; i++)
        image_release(&points[i].image);
    n_points = 0;
}

static void drop_point(unsigned i)
{
    ok(volume_snapshot_destroy(w.src, points[i].s.name, points[i].s.id, &err));
    assert_int_equal(volume_snapshot_destroy(w.src, points[i].s.name, points[i].s.id, &err), 1);
    if (w.many)
        assert_int_equal(volume_snapshot_destroy(w.dst, points[i].s.name, points[i].s.id, &err), 0);
    image_release(&points[i].image);
    memmove(&points[i], &points[i + 1], (n_points - i - 1) * sizeof *points);
    points[--n_points].image = (struct image){0};
}

static void expect_order(struct volume *v)
{
    struct snapshots all;
    ok(volume_snapshots(v, &all, &err));
    assert_int_equal(all.n, v == w.src || w.many ? n_points : 1);
    for (size_t i = 0; i < all.n; i++) {
        const struct point *p = &points[n_points - all.n + i];
        assert_string_equal(all.v[i].id, p->s.id);
        assert_string_equal(all.v[i].name, p->s.name);
        assert_true(all.v[i].size == p->image.size);
        assert_int_equal(all.v[i].created, p->s.created);
        assert_int_equal(!!(all.v[i].flags & SNAPSHOT_RECEIVED), v == w.dst);
    }
    snapshots_release(&all);
}

static void expect_replica(const struct point *p)
{
    char since[SNAPSHOT_NAME_MAX + 1], owner[32], base[SNAPSHOT_ID_LEN + 1];
    struct stage_info info;
    expect_live(&w, &w.dst_store, &p->image);
    if (volume_written(w.dst, since, &err) != 0)
        fail_msg("%s: a fresh replica counts as written: %s", w.place->name, err.text);
    assert_string_equal(since, p->s.name);
    ok(volume_replica(w.dst, owner, base, &err));
    assert_string_equal(owner, "100-0");
    assert_string_equal(base, p->s.id);
    ok(stage_info(w.dst, &info, &err));
    assert_false(info.exists);
    for (unsigned i = 0; w.many && i < n_points; i++)
        expect_snapshot(w.dst, points[i].s.id, &points[i].image);
}

static void history(void)
{
    world_create(&w, rnd(WORLD_ROOM / 2) + WORLD_ROOM / 4);
    for (int round = 0, rounds = w.lvm.vg[0][0] || test_is_brief() ? 4 : 14; round < rounds; round++) {
        if (n_points == KEPT || (n_points > 1 && rnd(4) == 0))
            drop_point(rnd(n_points - 1)); /* never the newest */
        if (round)
            world_change(&w, rnd(9));
        struct point *p = &points[n_points];
        char name[32];
        snprintf(name, sizeof name, "__replicate_100-0_%d__", round);
        world_snapshot(&w, name, &p->s);
        image_copy(&p->image, &w.image);
        bool full = n_points == 0 || rnd(6) == 0;
        unsigned base = !full && w.many ? rnd(n_points) : n_points - 1;
        world_replicate(&w, full ? NULL : &points[base].s, &p->s, rnd(3));
        n_points++;
        expect_replica(p);
        expect_order(w.src);
        expect_order(w.dst);
    }
    forget_points();
}

static void test_history(void **state)
{
    world_seed("test_history");
    everywhere(NULL, &(struct step){"history", history}, 1);
}

/* ---- both sides, one step at a time ---- */

static struct snapshot first, second;
static struct image first_image;

/* A source and its replica at `first`. */
static void replicated(void)
{
    world_create(&w, 3000001);
    world_snapshot(&w, "first", &first);
    image_copy(&first_image, &w.image);
    world_replicate(&w, NULL, &first, 0);
}

static void write_live(const struct volume_store *store, uint64_t offset, const char *text)
{
    int fd = open(live_path(&w, store), O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    ok(fs_pwrite_all(fd, text, strlen(text), offset, "live", &err));
    close(fd);
}

static void sparse(void)
{
    struct stat st, src;
    if (w.lvm.vg[0][0])
        return; /* a device has no blocks to count */
    world_create(&w, 100);
    int fd = open(live_path(&w, &w.src_store), O_WRONLY | O_CLOEXEC);
    assert_int_equal(ftruncate(fd, 300 << 20), 0);
    ok(fs_pwrite_all(fd, "x", 1, 200 << 20, "live", &err));
    world_snapshot(&w, "s1", &first);
    world_replicate(&w, NULL, &first, 0);
    assert_int_equal(stat(live_path(&w, &w.dst_store), &st), 0);
    assert_int_equal(st.st_size, 300 << 20);
    assert_int_equal(fstat(fd, &src), 0);
    assert_true(st.st_blocks <= src.st_blocks + 128);
    if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 300 << 20) == 0) {
        world_snapshot(&w, "s2", &second);
        world_replicate(&w, &first, &second, 0);
        assert_int_equal(stat(live_path(&w, &w.dst_store), &st), 0);
        assert_true(st.st_blocks < 32);
    }
    close(fd);
}

/* Cut everywhere, it goes on where it was, and not one byte before or behind. */
static void resume(void)
{
    world_create(&w, 4000001);
    for (int i = 0; i < 2; i++) {
        int fd = open(live_path(&w, &w.src_store), O_WRONLY | O_CLOEXEC);
        for (uint64_t k = 0; k < w.image.size; k++)
            w.image.data[k] = (unsigned char)rnd(256);
        ok(fs_pwrite_all(fd, w.image.data, w.image.size, 0, "live", &err));
        close(fd);
        world_snapshot(&w, i ? "second" : "first", i ? &second : &first);
        world_stage(&w, i ? &first : NULL, i ? &second : &first, 20);
        assert_true(world_resumed > 0);
        if (i)
            refused(volume_commit(w.dst, second.id, COMMIT_FIRST, &err), ERR_USAGE, "somebody else");
        ok(volume_commit(w.dst, i ? second.id : first.id, i ? COMMIT_LIVE : COMMIT_FIRST, &err));
        expect_live(&w, &w.dst_store, &w.image);
    }
}

/* Of two snapshots: the same, whoever wrote between them or not, and not the same. */
static void differing(void)
{
    struct snapshot same, other;
    world_reset(&w);
    world_create(&w, 300000);
    world_snapshot(&w, "first", &first);
    world_snapshot(&w, "same", &same);
    write_live(&w.src_store, w.image.size / 2, "guest"); /* a device ends where it ends */
    world_snapshot(&w, "other", &other);
    err.text[0] = 0;
    assert_int_equal(volume_snapshot_differs(w.src, &first, &same, &err), 0);
    assert_int_equal(volume_snapshot_differs(w.src, &first, &other, &err), 1);
    assert_int_equal(volume_snapshot_differs(w.src, &same, &other, &err), 1);
    assert_int_equal(volume_snapshot_reduce(w.src, "same", same.id, &err), 1);
}

/* What a child goes on from when its parent died is what that did. */
static void outlived(void)
{
    struct snapshots all;
    int go[2], status;
    world_create(&w, 4096);
    world_snapshot(&w, "first", &first);
    ok(volume_snapshots(w.src, &all, &err));
    snapshots_release(&all);
    assert_int_equal(pipe(go), 0);
    pid_t pid = fork();
    close(go[pid == 0]);
    if (pid == 0 && read(go[0], (char[1]){0}, 1) == 0) {
        volumes_forget();
        _exit(volume_snapshots(w.src, &all, &err) < 0 || !snapshots_find(&all, "second"));
    }
    world_snapshot(&w, "second", &second);
    close(go[1]);
    assert_true(waitpid(pid, &status, 0) == pid && status == 0);
}

static void divergence(void)
{
    char since[SNAPSHOT_NAME_MAX + 1];
    struct image diverged = {0};
    replicated();
    image_copy(&diverged, &first_image);
    memcpy(diverged.data + 5000, "guest", 5);
    write_live(&w.dst_store, 5000, "guest");
    assert_int_equal(volume_written(w.dst, since, &err), 1);
    assert_string_equal(since, "first");
    ok(volume_keep_aside(w.dst, "diverged_1", &err));
    ok(volume_keep_aside(w.dst, "diverged_1", &err)); /* repeated after a crash */

    world_change(&w, 5);
    world_snapshot(&w, "second", &second);
    if (!w.many) {
        struct stage_want want = {
            .snapshot = "second", .id = second.id, .base_id = first.id, .size = second.size};
        uint64_t from;
        refused(stage_open(w.dst, &want, &from, &err) ? 0 : -1, ERR_DATA, "written to since");
    }
    world_replicate(&w, w.many ? &first : NULL, &second, 1);
    expect_live(&w, &w.dst_store, &w.image);
    struct snapshots all;
    ok(volume_snapshots(w.dst, &all, &err));
    const struct snapshot *aside = snapshots_find(&all, "diverged_1");
    assert_non_null(aside);
    expect_snapshot(w.dst, aside->id, &diverged);
    ok(volume_snapshot_rename(w.dst, "diverged_1", "diverged_2", &err));
    refused(volume_snapshot_rename(w.dst, "diverged_2", "second", &err), ERR_USAGE, "second");
    expect_snapshot(w.dst, aside->id, &diverged);
    snapshots_release(&all);

    ok(volume_snapshots(w.dst, &all, &err));
    const struct snapshot *made_here = snapshots_find(&all, "diverged_2");
    if (w.many) {
        assert_false(made_here->flags & SNAPSHOT_RECEIVED);
        refused(volume_snapshot_adopt(w.dst, made_here->name, second.id, &err), ERR_DATA, made_here->name);
        assert_int_equal(volume_snapshot_adopt(w.dst, "nothing", second.id, &err), 1);
        ok(volume_snapshot_adopt(w.dst, made_here->name, made_here->id, &err));
        world_reopen(&w);
        struct snapshots after;
        ok(volume_snapshots(w.dst, &after, &err));
        assert_true(snapshots_find_id(&after, made_here->id)->flags & SNAPSHOT_RECEIVED);
        expect_snapshot(w.dst, made_here->id, &diverged);
        snapshots_release(&after);
    }
    snapshots_release(&all);
    image_release(&diverged);

    /* removal: everything goes but what was kept aside */
    ok(volume_destroy(w.dst, &err));
    ok(volume_destroy(w.dst, &err));
    struct strv names = STRV_INIT;
    ok(volume_list(&w.dst_store, 100, &names, &err));
    assert_int_equal(names.n, 0);
    ok(volume_snapshots(w.dst, &all, &err));
    assert_int_equal(all.n, 1);
    assert_string_equal(all.v[0].name, "diverged_2");
    snapshots_release(&all);
}

static struct snapshot point_of(const char *id)
{
    _cleanup_snapshots_ struct snapshots all = {0};
    ok(volume_snapshots(w.dst, &all, &err));
    const struct snapshot *s = snapshots_find_id(&all, id);
    assert_non_null(s);
    return *s;
}

/* Where a directory holds what was found, nothing of what is gone stays. */
static void expect_unmarked(void)
{
    _cleanup_strv_ struct strv left = STRV_INIT;
    char path[256];
    snprintf(path, sizeof path, "%s/images/100", w.dst_store.path ? w.dst_store.path : "/nowhere");
    _cleanup_close_ int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0)
        mark_list(fd, MARK_DAMAGED, &left);
    assert_int_equal(left.n, 0);
}

/* What was found of a restore point stays with it, whatever name it gets, and changes nothing else of it. */
static void damaged(void)
{
    replicated();
    struct snapshot before = point_of(first.id);
    assert_int_equal(before.damaged, 0);
    ok(volume_snapshot_mark(w.dst, "first", first.id, 1000, &err));
    ok(volume_snapshot_mark(w.dst, "first", first.id, 2000, &err));
    world_reopen(&w);
    struct snapshot after = point_of(first.id);
    assert_int_equal(after.damaged, 2000);
    assert_true(after.flags == before.flags && after.state == before.state && after.seq == before.seq);
    refused(volume_snapshot_mark(w.dst, "first", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 5, &err), ERR_DATA,
            "first");
    assert_int_equal(volume_snapshot_mark(w.dst, "nothing", first.id, 5, &err), 1);

    world_change(&w, 5);
    world_snapshot(&w, "second", &second);
    world_replicate(&w, &first, &second, 1);
    assert_int_equal(point_of(second.id).damaged, 0);
    if (w.many) {
        ok(volume_snapshot_rename(w.dst, "first", "diverged_1", &err));
        world_reopen(&w);
        assert_int_equal(point_of(first.id).damaged, 2000);
        ok(volume_snapshot_mark(w.dst, "diverged_1", first.id, 0, &err));
        ok(volume_snapshot_mark(w.dst, "diverged_1", first.id, 0, &err));
        assert_int_equal(point_of(first.id).damaged, 0);
        ok(volume_snapshot_mark(w.dst, "diverged_1", first.id, 3000, &err));
        ok(volume_snapshot_destroy(w.dst, "diverged_1", first.id, &err));
        expect_unmarked();
    }
    ok(volume_tidy(w.dst, &err));
    expect_unmarked();
    ok(volume_snapshot_mark(w.dst, "second", second.id, 4000, &err));
    ok(volume_destroy(w.dst, &err));
    ok(volume_tidy(w.dst, &err));
    expect_unmarked();
}

static void conflicts(void)
{
    uint64_t from;
    replicated();
    world_change(&w, 3);
    world_snapshot(&w, "second", &second);
    char other[SNAPSHOT_ID_LEN + 1];
    mark_new_id(other);
    struct stage_want want = {.snapshot = "first", .id = second.id, .base_id = first.id, .size = 4096};
    refused(stage_open(w.dst, &want, &from, &err) ? 0 : -1, ERR_DATA, "another snapshot 'first'");
    want.snapshot = "second";
    want.base_id = other;
    refused(stage_open(w.dst, &want, &from, &err) ? 0 : -1, ERR_DATA, "is not there");
    refused(volume_commit(w.dst, other, COMMIT_LIVE, &err), err.kind, other);
    refused(volume_snapshot_destroy(w.dst, "first", other, &err), ERR_DATA, "first");
    refused(volume_snapshot(w.src, "second", false, &err), err.kind, "second");

    want.base_id = first.id;
    struct stage *s = stage_open(w.dst, &want, &from, &err);
    assert_non_null(s);
    refused(stage_write(s, 4095, "ab", 2, &err), ERR_USAGE, "outside");
    refused(stage_zero(s, 0, UINT64_MAX, &err), ERR_USAGE, "outside");
    refused(stage_write(s, UINT64_MAX, "ab", 2, &err), ERR_USAGE, "outside");
    stage_free(s);
    refused(volume_commit(w.dst, second.id, COMMIT_LIVE, &err), err.kind, second.id); /* not sealed */
    s = stage_open(w.dst, &want, &from, &err);
    assert_non_null(s);
    ok(stage_seal(s, &err));
    refused(stage_write(s, 0, "ab", 2, &err), ERR_USAGE, "whole already");
    refused(stage_zero(s, 0, 1, &err), ERR_USAGE, "whole already");
    refused(stage_checkpoint(s, 4096, &err), ERR_USAGE, "whole already");
    stage_free(s);
    expect_live(&w, &w.dst_store, &first_image);
    /* a stage for another wish gives way */
    world_replicate(&w, &first, &second, 2);
    expect_live(&w, &w.dst_store, &w.image);
}

/* Bytes of the live volume that the host has only in memory: they have no place yet. */
static uint64_t delayed(void)
{
    union {
        char room[sizeof(struct fiemap) + 256 * sizeof(struct fiemap_extent)];
        struct fiemap map;
    } f = {.map = {.fm_length = w.image.size, .fm_extent_count = 256}};
    uint64_t bytes = 0;
    _cleanup_close_ int fd = open(live_path(&w, &w.src_store), O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    if (ioctl(fd, FS_IOC_FIEMAP, &f.map) < 0)
        return 0; /* tmpfs */
    for (unsigned i = 0; i < f.map.fm_mapped_extents; i++)
        bytes += f.map.fm_extents[i].fe_flags & FIEMAP_EXTENT_DELALLOC ? f.map.fm_extents[i].fe_length : 0;
    return bytes;
}

static void flushed(void)
{
    volume_flush(w.src); /* not there: nothing happens */
    world_create(&w, 2 << 20);
    world_change(&w, 9);
    for (int tries = 0; !tries || (delayed() && tries < 100); tries++)
        volume_flush(w.src); /* a page that is being written just then is left out */
    assert_true(delayed() == 0);
    expect_live(&w, &w.src_store, &w.image);
}

/* Whoever waits for either side hears of its work. */
static void told(void)
{
    first_image.size = 0;
    world_create(&w, 3 << 20);
    w.src_ticks = w.dst_ticks = 0;
    volume_flush(w.src);
    assert_true(w.src_ticks && !w.dst_ticks);
    world_snapshot(&w, "first", &first);
    world_stage(&w, NULL, &first, 0);
    assert_true(w.dst_ticks);
}

static void chain(void)
{
    replicated();
    world_change(&w, 5);
    world_snapshot(&w, "second", &second);
    world_stage(&w, &first, &second, 0);
    if (!w.many) {
        refused(volume_commit(w.dst, second.id, COMMIT_POINT, &err), ERR_CONFIG, "reflinks");
        return;
    }
    ok(volume_commit(w.dst, second.id, COMMIT_POINT, &err));
    expect_live(&w, &w.dst_store, &first_image);
    expect_snapshot(w.dst, second.id, &w.image);
    char since[SNAPSHOT_NAME_MAX + 1];
    assert_int_equal(volume_written(w.dst, since, &err), 0);
    assert_string_equal(since, "first");
    ok(volume_commit(w.dst, second.id, COMMIT_LIVE, &err));
    expect_live(&w, &w.dst_store, &w.image);
}

/* The replica becomes the source and back. */
static void there_and_back(void)
{
    char since[SNAPSHOT_NAME_MAX + 1];
    replicated();
    for (int i = 0; i < 4; i++) {
        struct world other = w;
        other.src = w.dst;
        other.dst = w.src;
        other.src_store = w.dst_store;
        other.dst_store = w.src_store;
        w = other;
        world_reopen(&w);
        world_change(&w, 4);
        char name[16];
        snprintf(name, sizeof name, "turn%d", i);
        world_snapshot(&w, name, &second);
        /* the old source's own state is `first`: it was not written to since */
        assert_int_equal(volume_written(w.dst, since, &err), 0);
        world_replicate(&w, &first, &second, i % 2);
        expect_live(&w, &w.dst_store, &w.image);
        first = second;
    }
}

static pid_t start_writer(const char *path)
{
    int ready[2];
    char c;
    assert_int_equal(pipe(ready), 0);
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (open(path, O_RDWR) < 0 || write(ready[1], "1", 1) != 1)
            _exit(1);
        for (;;)
            pause();
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &c, 1), 1);
    close(ready[0]);
    return pid;
}

static void end_writer(pid_t pid)
{
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void used(void)
{
    char by[VOLUME_USER_MAX + 1];
    assert_int_equal(volume_in_use(w.dst, by, &err), 0); /* not there */
    replicated();
    world_change(&w, 5);
    world_snapshot(&w, "second", &second);
    world_stage(&w, &first, &second, 0);
    assert_int_equal(volume_in_use(w.dst, by, &err), 0);
    pid_t writer = start_writer(live_path(&w, &w.dst_store));
    refused(volume_commit(w.dst, second.id, COMMIT_LIVE, &err), ERR_BUSY, "in use by process");
    refused(volume_destroy(w.dst, &err), ERR_BUSY, "in use by process");
    expect_live(&w, &w.dst_store, &first_image);
    end_writer(writer);
    ok(volume_commit(w.dst, second.id, COMMIT_LIVE, &err));
    expect_live(&w, &w.dst_store, &w.image);
    writer = start_writer(live_path(&w, &w.dst_store));
    ok(volume_commit(w.dst, second.id, COMMIT_LIVE, &err)); /* nothing has to be replaced */
    end_writer(writer);
    ok(volume_destroy(w.dst, &err));
}

static void listing(void)
{
    struct strv names = STRV_INIT;
    replicated();
    ok(volume_list(&w.dst_store, 100, &names, &err));
    assert_int_equal(names.n, 1);
    strv_release(&names);
    ok(volume_list(&w.dst_store, 101, &names, &err));
    assert_int_equal(names.n, 0);
    struct volume_info info;
    ok(volume_info(w.dst, &info, &err));
    assert_true(info.exists && !info.stream && info.size == first.size && info.available > 0);
    ok(volume_tidy(w.dst, &err));
    ok(stage_discard(w.dst, &err));
    expect_live(&w, &w.dst_store, &first_image);
}

static void test_steps(void **state)
{
    static const struct step steps[] = {
        {"sparse", sparse},     {"resume", resume},       {"divergence", divergence},
        {"damaged", damaged},   {"conflicts", conflicts}, {"chain", chain},
        {"flushed", flushed},   {"told", told},           {"there_and_back", there_and_back},
        {"used", used},         {"listing", listing},     {"differing", differing},
        {"outlived", outlived},
    };
    world_seed("test_steps");
    everywhere(NULL, steps, ELEMENTS(steps));
    image_release(&first_image);
}

/* ---- names ---- */

static void test_names(void **state)
{
    struct volume_store store = {.id = "s", .type = "nfs", .path = "/nowhere/at/all"};
    refused(volume_open(&store, "100/vm-100-disk-0.raw", &err) ? 0 : -1, ERR_CONFIG, "nfs");
    store.type = "dir";
    refused(volume_open(&store, "100/vm-100-disk-0.raw", &err) ? 0 : -1, ERR_GONE, "/nowhere/at/all");
    refused(volume_open(&store, "100/vm-101-disk-0.raw", &err) ? 0 : -1, ERR_USAGE, "100/vm-101-disk-0.raw");
    refused(volume_open(&store, "vm-100-disk-0", &err) ? 0 : -1, ERR_CONFIG, "vm-100-disk-0");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test_teardown(test_steps, close_world),
        cmocka_unit_test_teardown(test_history, close_world),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
