/* What only the dir driver has: names on disk, its two modes, hostile directories, a full file system; and
 * the driver that fails on purpose. */
#include "volume/test-world.h"

#include "base/fs.h"
#include "base/mem.h"
#include "base/testsleep.h"
#include "volume/dir/dir.h"
#include "volume/file/stage.h"
#include "volume/mark.h"
#include "volume/name.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <fcntl.h>
#include <linux/fs.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static struct world w;
static struct snapshot first, second;

static int close_world(void **state)
{
    unsetenv("PVESR_FAULT");
    world_close(&w);
    return 0;
}

static bool at(const char *place)
{
    for (unsigned i = 0; i < n_places; i++) {
        if (strcmp(places[i].name, place) != 0)
            continue;
        const char *why = world_open(&w, &places[i]);
        if (!why)
            return true;
        print_message("SKIPPED %s: %s\n", place, why);
        world_close(&w);
    }
    return false;
}

/* A file beside the live one of a storage; a static buffer. */
static const char *beside(const struct volume_store *store, const char *name)
{
    static char path[300];
    snprintf(path, sizeof path, "%s/images/100/%s", store->path, name);
    return path;
}

static void put(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    ok(fs_pwrite_all(fd, text, strlen(text), 0, path, &err));
    close(fd);
}

#define FILE_NAME "vm-100-disk-0.raw"

/* ---- snapshots made by hand ---- */

static void reflink_by_hand(const char *name, bool with_id)
{
    int from = open(live_path(&w, &w.src_store), O_RDONLY | O_CLOEXEC);
    int to = open(beside(&w.src_store, name), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_true(from >= 0 && to >= 0);
    assert_int_equal(ioctl(to, FICLONE, from), 0);
    if (with_id)
        ok(mark_snapshot_set(to, &first, "", &err));
    close(from);
    close(to);
}

static void test_by_hand(void **state)
{
    world_seed("test_by_hand");
    if (!at("dir on XFS"))
        return;
    world_create(&w, 1000000);
    world_snapshot(&w, "first", &first);
    reflink_by_hand(".pvesr." FILE_NAME "@manual", false);
    struct image manual = {0};
    image_copy(&manual, &w.image);
    reflink_by_hand(".pvesr." FILE_NAME "@copy", true); /* made with its attributes */
    world_change(&w, 4);
    world_snapshot(&w, "second", &second);
    put(beside(&w.src_store, ".pvesr." FILE_NAME "@bad name"), "x");
    put(beside(&w.src_store, ".pvesr.vm-100-disk-1.raw@other"), "x");
    assert_int_equal(mkdir(beside(&w.src_store, ".pvesr." FILE_NAME "@dir"), 0700), 0);
    assert_int_equal(symlink("/etc/passwd", beside(&w.src_store, ".pvesr." FILE_NAME "@link")), 0);
    for (int i = 0; i < 2; i++) {
        static const char *const names[] = {"first", "manual", "copy", "second"};
        struct snapshots all;
        ok(volume_snapshots(w.src, &all, &err));
        assert_int_equal(all.n, 4);
        for (size_t k = 0; k < all.n; k++) {
            assert_string_equal(all.v[k].name, names[k]);
            assert_true(snapshot_id_valid(all.v[k].id));
            for (size_t j = 0; j < k; j++)
                assert_string_not_equal(all.v[j].id, all.v[k].id);
        }
        assert_string_equal(all.v[0].id, first.id);
        expect_snapshot(w.src, all.v[1].id, &manual);
        world_replicate(&w, i ? &all.v[1] : NULL, i ? &all.v[3] : &all.v[1], 0);
        snapshots_release(&all);
    }
    expect_live(&w, &w.dst_store, &w.image);
    struct stat st;
    assert_int_equal(stat(beside(&w.dst_store, ".pvesr." FILE_NAME "@manual"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0400);
    assert_int_equal(stat(live_path(&w, &w.dst_store), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    image_release(&manual);
}

static void mark_by_hand(const char *name, uint64_t seq)
{
    struct snapshot s = {.seq = seq, .created = 1700000000};
    mark_new_id(s.id);
    int fd = open(beside(&w.src_store, name), O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    ok(mark_snapshot_set(fd, &s, "", &err));
    close(fd);
}

/* Each comes to stand where it was made, also behind another that had no id either. */
static void test_many_by_hand(void **state)
{
    static const struct {
        const char *name;
        uint64_t seq; /* 0: it has no id */
    } made[] = {{"a", 0}, {"b", 5000}, {"c", 0}, {"d", 0}, {"e", 9000}, {"f", 0}, {"g", 2000}, {"h", 0}};
    static const char *const order[] = {"a", "g", "b", "c", "d", "e", "f", "h"};
    struct snapshots all;
    world_seed("test_many_by_hand");
    if (!at("dir on XFS"))
        return;
    world_create(&w, 100000);
    for (size_t i = 0; i < ELEMENTS(made); i++) {
        char name[80];
        snprintf(name, sizeof name, ".pvesr." FILE_NAME "@%s", made[i].name);
        reflink_by_hand(name, false);
        if (made[i].seq)
            mark_by_hand(name, made[i].seq);
        usleep(20000); /* births are as coarse as the kernel's tick */
    }
    ok(volume_snapshots(w.src, &all, &err));
    assert_int_equal(all.n, ELEMENTS(order));
    for (size_t i = 0; i < all.n; i++) {
        assert_string_equal(all.v[i].name, order[i]);
        assert_true(i == 0 || all.v[i].seq > all.v[i - 1].seq);
    }
    snapshots_release(&all);
}

/* Two commands see it for the first time: one is about to give it an id when the other does. */
static void test_seen_at_once(void **state)
{
    world_seed("test_seen_at_once");
    if (!at("dir on XFS"))
        return;
    world_create(&w, 100000);
    reflink_by_hand(".pvesr." FILE_NAME "@manual", false);
    int status, fd = open(beside(&w.src_store, ".pvesr." FILE_NAME "@manual"), O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0 && flock(fd, LOCK_EX) == 0);
    struct snapshot given = {.seq = 5, .created = 1700000000};
    mark_new_id(given.id);
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        struct snapshots all;
        _exit(volume_snapshots(w.src, &all, &err) < 0 || all.n != 1 || strcmp(all.v[0].id, given.id) != 0);
    }
    assert_true(await_sleep(pid));
    ok(mark_snapshot_set(fd, &given, "", &err));
    assert_int_equal(flock(fd, LOCK_UN), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    close(fd);
}

/* ---- without reflinks ---- */

static void test_plain(void **state)
{
    world_seed("test_plain");
    if (!at("dir on tmpfs"))
        return;
    world_create(&w, 3000000);
    refused(volume_snapshot(w.src, "s", true, &err), ERR_CONFIG, "reflink=1");
    world_snapshot(&w, "first", &first);
    assert_true(first.flags & SNAPSHOT_READABLE);

    /* the guest starts, and writes between two reads of the delta */
    struct delta *d = delta_open(w.src, NULL, &first, 0, &err);
    struct extent x;
    assert_int_equal(delta_next(d, &x, &err), 1);
    memset(w.image.data, 0xee, w.image.size);
    int fd = open(live_path(&w, &w.src_store), O_WRONLY | O_CLOEXEC);
    ok(fs_pwrite_all(fd, w.image.data, w.image.size, 0, "live", &err));
    int r;
    while ((r = delta_next(d, &x, &err)) > 0)
        ;
    assert_int_equal(r, -1);
    assert_int_equal(err.kind, ERR_DATA);
    assert_non_null(strstr(err.text, "changed while it was being read"));
    delta_free(d);
    struct snapshots all;
    ok(volume_snapshots(w.src, &all, &err));
    assert_int_equal(all.n, 1);
    assert_false(all.v[0].flags & SNAPSHOT_READABLE);
    snapshots_release(&all);

    /* a damaged digest map is no snapshot */
    assert_int_equal(truncate(beside(&w.src_store, ".pvesr-digest." FILE_NAME "@first"), 100), 0);
    ok(volume_snapshots(w.src, &all, &err));
    assert_int_equal(all.n, 0);
    snapshots_release(&all);
    close(fd);
}

/* Only one restore point has room, so what follows an interrupted one goes upon its stage, in place, and may
 * be interrupted itself. Until the commit the live file is the old one. */
static void test_chain(void **state)
{
    world_seed("test_chain");
    if (!at("dir on tmpfs"))
        return;
    struct snapshot points[6];
    struct image shown = {0};
    world_create(&w, 3000000);
    world_snapshot(&w, "s0", &points[0]);
    world_replicate(&w, NULL, &points[0], 0);
    image_copy(&shown, &w.image);
    for (unsigned i = 1; i < ELEMENTS(points); i++) {
        char name[SNAPSHOT_NAME_MAX + 1];
        snprintf(name, sizeof name, "s%u", i);
        world_change(&w, 20);
        world_snapshot(&w, name, &points[i]);
        world_stage(&w, &points[i - 1], &points[i], rnd(5));
        expect_live(&w, &w.dst_store, &shown);
        assert_int_equal(volume_written(w.dst, name, &err), 0);
    }
    ok(volume_commit(w.dst, points[ELEMENTS(points) - 1].id, COMMIT_LIVE, &err));
    expect_live(&w, &w.dst_store, &w.image);
    image_release(&shown);
}

/* ---- a hostile directory ---- */

static void test_symlinks(void **state)
{
    uint64_t from;
    char elsewhere[200], path[300];
    if (!at("dir in /var/tmp"))
        return;
    struct stage_want want = {.snapshot = "s", .id = "0123456789abcdef0123456789abcdef", .size = 4096};
    snprintf(elsewhere, sizeof elsewhere, "%s/elsewhere", w.root);
    assert_int_equal(mkdir(elsewhere, 0755), 0);
    snprintf(path, sizeof path, "%s/images", w.dst_path);
    for (int i = 0; i < 2; i++) {
        strcat(path, i ? "/100" : "");
        assert_int_equal(symlink(elsewhere, path), 0);
        refused(stage_open(w.dst, &want, &from, &err) ? 0 : -1, ERR_DATA, "symlink");
        unlink(path);
        assert_int_equal(mkdir(path, 0755), 0);
    }

    snprintf(path, sizeof path, "%s/victim", elsewhere);
    put(path, "untouched");
    world_reopen(&w);
    assert_int_equal(symlink(path, beside(&w.dst_store, ".pvesr-stage." FILE_NAME)), 0);
    refused(stage_open(w.dst, &want, &from, &err) ? 0 : -1, ERR_DATA, "symlink");
    ok(stage_discard(w.dst, &err));
    assert_int_equal(mkdir(beside(&w.dst_store, ".pvesr-stage." FILE_NAME), 0755), 0);
    refused(stage_discard(w.dst, &err), ERR_DATA, "a folder where a file of pvesr's belongs: move it");
    assert_int_equal(rmdir(beside(&w.dst_store, ".pvesr-stage." FILE_NAME)), 0);
    assert_int_equal(symlink(path, live_path(&w, &w.dst_store)), 0);
    char since[SNAPSHOT_NAME_MAX + 1];
    struct volume_info info;
    refused(volume_written(w.dst, since, &err), ERR_DATA, "symlink");
    refused(volume_info(w.dst, &info, &err), ERR_DATA, "symlink");
    refused(volume_snapshot(w.dst, "s", false, &err), ERR_DATA, "symlink");
    struct strv names = STRV_INIT;
    ok(volume_list(&w.dst_store, 100, &names, &err));
    assert_int_equal(names.n, 0);
    assert_int_equal(unlink(live_path(&w, &w.dst_store)), 0);
    assert_int_equal(mkfifo(live_path(&w, &w.dst_store), 0600), 0);
    refused(volume_written(w.dst, since, &err), ERR_DATA, "not a regular file");
    _cleanup_buf_ struct buf text = BUF_INIT;
    ok(fs_read(path, 100, &text, &err));
    assert_string_equal(buf_str(&text), "untouched");
}

/* Whether files share blocks is asked without a lock, in a file of that name. */
static void test_created_by_two(void **state)
{
    int fd, r = 0, status;
    if (!at("dir in /var/tmp"))
        return;
    struct dir d = {.fd = open(w.root, O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    pid_t pid = fork();
    for (int i = 0; i < 5000 && r == 0; i++)
        if ((r = dir_create(&d, "one", &fd, &err)) == 0)
            close(fd);
    if (pid == 0)
        _exit(r != 0);
    close(d.fd);
    assert_true(waitpid(pid, &status, 0) == pid && status == 0 && r == 0);
}

/* What is removed anyway goes first: what a former file is kept with may need its room. */
static void test_destroyed_in_order(void **state)
{
    if (!at("dir in /var/tmp"))
        return;
    world_create(&w, 4096);
    put(beside(&w.src_store, ".pvesr-stage." FILE_NAME), "x");
    assert_int_equal(symlink("x", beside(&w.src_store, ".pvesr-tmp." FILE_NAME "@@former")), 0);
    refused(volume_destroy(w.src, &err), ERR_DATA, "symlink"); /* this one cannot be kept */
    assert_false(fs_exists(beside(&w.src_store, ".pvesr-stage." FILE_NAME)));
}

/* ---- a full file system ---- */

static const struct place small = {
    "dir on a small tmpfs", "dir", NULL, "size=4M", "images/100/vm-100-disk-0.raw", "100/vm-100-disk-0.raw"};

static void test_full(void **state)
{
    world_seed("test_full");
    const char *why = world_open(&w, &small);
    if (why) {
        print_message("SKIPPED test_full: %s\n", why);
        return;
    }
    uint64_t from;
    char *data = xmalloc(1 << 20);
    memset(data, 1, 1 << 20);
    struct stage_want want = {
        .snapshot = "s", .id = "0123456789abcdef0123456789abcdef", .size = 64 << 20, .resume = true};
    struct stage *s = stage_open(w.dst, &want, &from, &err);
    int r = 0;
    for (uint64_t offset = 0; r == 0 && offset < want.size; offset += 1 << 20)
        r = stage_write(s, offset, data, 1 << 20, &err);
    assert_int_equal(r, -1);
    assert_int_equal(err.kind, ERR_FULL);
    assert_non_null(strstr(err.text, "bytes free"));
    assert_non_null(strstr(err.text, "volume 'dst:"));
    stage_free(s);
    ok(stage_discard(w.dst, &err));

    /* a replica of which there is no room for a second copy: refused before anything is sent */
    want.size = 3 << 20;
    s = stage_open(w.dst, &want, &from, &err);
    for (uint64_t offset = 0; offset < want.size; offset += 1 << 20)
        ok(stage_write(s, offset, data, 1 << 20, &err));
    ok(stage_seal(s, &err));
    stage_free(s);
    ok(volume_commit(w.dst, want.id, COMMIT_LIVE, &err));
    struct stage_want next = {.snapshot = "t", .id = "1123456789abcdef0123456789abcdef", .base_id = want.id};
    next.size = want.size;
    refused(stage_open(w.dst, &next, &from, &err) ? 0 : -1, ERR_FULL, "('pvesr doctor' there");
    struct stage_info info;
    ok(stage_info(w.dst, &info, &err));
    assert_false(info.exists);
    char since[SNAPSHOT_NAME_MAX + 1];
    assert_int_equal(volume_written(w.dst, since, &err), 0);
    free(data);
}

/* ---- memory does not grow with the volume ---- */

#ifdef __SANITIZE_ADDRESS__
#define MEMORY_KIB (512 << 10) /* the sanitizer has needs of its own */
#else
#define MEMORY_KIB (32 << 10)
#endif

static void deal_with_a_large_one(void)
{
    int fd = open(live_path(&w, &w.src_store), O_WRONLY | O_CLOEXEC);
    if (ftruncate(fd, 256ll << 30) < 0 || fs_pwrite_all(fd, "x", 1, 255ull << 30, "live", &err) < 0)
        _exit(2);
    if (volume_snapshot(w.src, "s", false, &err) < 0 || volume_snapshot_keep(w.src, "s", &first, &err) < 0)
        _exit(3);
    struct delta *d = delta_open(w.src, NULL, &first, 0, &err);
    struct extent x;
    int r, n = 0;
    while ((r = delta_next(d, &x, &err)) > 0)
        n += r == 1;
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    _exit(r < 0 ? 4 : n == 0 ? 5 : usage.ru_maxrss > MEMORY_KIB ? 6 : 0);
}

static void test_memory(void **state)
{
    static const char *const where[] = {"dir on XFS", "dir on tmpfs"};
    for (size_t i = 0; i < ELEMENTS(where); i++) {
        if (!at(where[i]))
            continue;
        world_create(&w, 4096);
        image_release(&w.image);
        pid_t pid = fork();
        if (pid == 0)
            deal_with_a_large_one();
        int status;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
        world_close(&w);
    }
}

/* ---- the failing driver ---- */

static const struct place faulty = {
    "fault", "fault", NULL, NULL, "images/100/vm-100-disk-0.raw", "100/vm-100-disk-0.raw"};

/* Both in a child: the driver counts per process. */
static int replicate_with(const char *fault, const char *name)
{
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        setenv("PVESR_FAULT", fault, 1);
        struct snapshot s;
        struct stage_want want = {.snapshot = name, .size = w.image.size, .owner = "100-0"};
        uint64_t from;
        if (volume_snapshot(w.src, name, false, &err) < 0 || volume_snapshot_keep(w.src, name, &s, &err) < 0)
            _exit(1);
        want.id = s.id;
        struct stage *stage = stage_open(w.dst, &want, &from, &err);
        if (!stage)
            _exit(err.kind == ERR_FULL ? 2 : 1);
        if (stage_write(stage, 0, w.image.data, w.image.size, &err) < 0 || stage_seal(stage, &err) < 0)
            _exit(3);
        _exit(volume_commit(w.dst, s.id, COMMIT_LIVE, &err) < 0 ||
                      volume_commit(w.dst, s.id, COMMIT_LIVE, &err) < 0
                  ? err.code + 100
                  : 0);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

static void test_fault(void **state)
{
    world_seed("test_fault");
    const char *why = world_open(&w, &faulty);
    assert_null(why);
    world_create(&w, 100000);
    static const struct {
        const char *fault;
        int result;
        bool shown;
    } cases[] = {
        {"snapshot:1", 1, false},
        {"stage_open:1:ENOSPC", 2, false},
        {"stage_seal:1:EIO", 3, false},
        {"commit:1:EDQUOT", 222, false},
        {"commit:1:kill", -SIGKILL, false},
        {"commit:1:kill-after", -SIGKILL, true},
        {"commit:2:EROFS", 130, true},
        {"commit:3:EIO", 0, true},
        {"nonsense", 0, true},
        {"", 0, true},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        char name[16];
        snprintf(name, sizeof name, "s%zu", i);
        if (i)
            world_change(&w, 3);
        int r = replicate_with(cases[i].fault, name);
        if (r != cases[i].result)
            fail_msg("%s: %d", cases[i].fault, r);
        struct volume_info info;
        ok(volume_info(w.dst, &info, &err));
        assert_int_equal(info.exists && live_is(&w, &w.dst_store, &w.image), cases[i].shown);
    }
}

/* A peer sends a qcow2 that names a file of this node: it never becomes a replica, be it sealed already. */
static void test_image(void **state)
{
    static const char *const where[] = {"dir on XFS", "dir on ext4"};
    for (size_t i = 0; i < ELEMENTS(where); i++) {
        if (!at(where[i]))
            continue;
        struct volume *v = volume_open(&w.dst_store, "100/vm-100-disk-7.qcow2", &err);
        assert_non_null(v);
        char head[4096] = "QFI\xfb\0\0\0\3";
        struct stage_want want = {
            .snapshot = "s", .id = "00000000000000000000000000000007", .size = sizeof head};
        uint64_t offset;
        struct stage *s = stage_open(v, &want, &offset, &err);
        assert_non_null(s);
        ok(stage_write(s, 0, head, sizeof head, &err));
        ok(stage_seal(s, &err));
        stage_free(s);
        int fd = open(beside(&w.dst_store, ".pvesr-stage.vm-100-disk-7.qcow2"), O_WRONLY | O_CLOEXEC);
        assert_true(fd >= 0);
        head[14] = 1; /* a backing file at 256 */
        head[19] = 11;
        memcpy(head + 256, "/etc/shadow", 11);
        assert_int_equal(pwrite(fd, head, sizeof head, 0), sizeof head);
        assert_int_equal(volume_commit(v, want.id, COMMIT_LIVE, &err), -1);
        assert_non_null(strstr(err.text, "/etc/shadow"));
        close(fd);
        assert_int_equal(access(beside(&w.dst_store, "vm-100-disk-7.qcow2"), F_OK), -1);
        ok(stage_discard(v, &err));
        s = stage_open(v, &want, &offset, &err);
        assert_non_null(s);
        ok(stage_write(s, 0, head, sizeof head, &err));
        assert_int_equal(stage_seal(s, &err), -1);
        assert_int_equal(err.kind, ERR_CONFIG);
        stage_free(s);
        volume_free(v);
        world_close(&w);
    }
}

static struct volume *open_long(const char *end)
{
    char name[128];
    snprintf(name, sizeof name, "100/vm-100-a-long-name-of-a-disk-as-somebody-may-choose-it-%s.raw", end);
    put(beside(&w.dst_store, strchr(name, '/') + 1), "x");
    struct volume *v = volume_open(&w.dst_store, name, &err);
    assert_non_null(v);
    return v;
}

/* What one disk is to have is not another's whose name begins as its does; and where it cannot be remembered,
 * the commit goes on. */
static void test_lacking(void **state)
{
    static const char full[] = "allocation=full";
    char got[VOLUME_TRAITS_MAX + 1];
    _cleanup_strv_ struct strv notes = STRV_INIT;
    if (!at("dir on ext4"))
        return;
    world_create(&w, 4096);
    char folder[300];
    snprintf(folder, sizeof folder, "%s/images", w.dst_store.path);
    mkdir(folder, 0700);
    mkdir(beside(&w.dst_store, ""), 0700);
    struct volume *one = open_long("one"), *other = open_long("other");
    assert_int_equal(truncate(beside(&w.dst_store, strchr(volume_name(one), '/') + 1), 1 << 20), 0);
    assert_int_equal(truncate(beside(&w.dst_store, strchr(volume_name(other), '/') + 1), 1 << 20), 0);
    ok(volume_traits_set(one, full, &notes, &err));
    assert_int_equal(notes.n, 0);
    ok(volume_traits(one, got, &err));
    assert_string_equal(got, full);
    ok(volume_traits(other, got, &err));
    assert_string_equal(got, "");
    int fd = open(beside(&w.dst_store, ""), O_RDONLY | O_DIRECTORY | O_CLOEXEC), flags;
    assert_int_equal(ioctl(fd, FS_IOC_GETFLAGS, &flags), 0);
    flags |= FS_IMMUTABLE_FL;
    assert_int_equal(ioctl(fd, FS_IOC_SETFLAGS, &flags), 0);
    int r = volume_traits_set(other, full, &notes, &err);
    flags &= ~FS_IMMUTABLE_FL;
    assert_int_equal(ioctl(fd, FS_IOC_SETFLAGS, &flags), 0);
    close(fd);
    assert_int_equal(r, 0);
    assert_int_equal(notes.n, 1);
    volume_free(one);
    volume_free(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_by_hand, close_world),
        cmocka_unit_test_teardown(test_many_by_hand, close_world),
        cmocka_unit_test_teardown(test_seen_at_once, close_world),
        cmocka_unit_test_teardown(test_plain, close_world),
        cmocka_unit_test_teardown(test_chain, close_world),
        cmocka_unit_test_teardown(test_symlinks, close_world),
        cmocka_unit_test_teardown(test_created_by_two, close_world),
        cmocka_unit_test_teardown(test_destroyed_in_order, close_world),
        cmocka_unit_test_teardown(test_image, close_world),
        cmocka_unit_test_teardown(test_full, close_world),
        cmocka_unit_test_teardown(test_memory, close_world),
        cmocka_unit_test_teardown(test_lacking, close_world),
        cmocka_unit_test_teardown(test_fault, close_world),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
