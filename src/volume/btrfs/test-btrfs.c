/* The btrfs driver on a btrfs: disks and containers from one storage to another and back, cut-off transfers,
 * crashes. Both storages lie on one file system; nothing in the driver makes use of that. */
#include "volume/volume.h"

#include "volume/btrfs/subvol.h"
#include "volume/test-mount.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#define CONTAINER "100/subvol-100-disk-0.subvol"
#define DISK "100/vm-100-disk-0.raw"

static struct test_mount mnt;
static char path_a[96], path_b[96];
static struct volume_store store_a, store_b;
static struct err err;

#define ok(call)                                                                                             \
    do {                                                                                                     \
        err.text[0] = 0;                                                                                     \
        if ((call) < 0)                                                                                      \
            fail_msg("%s: %s", #call, err.text);                                                             \
    } while (0)

static char *at(const struct volume_store *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static char *at(const struct volume_store *s, const char *fmt, ...)
{
    static char paths[8][512];
    static unsigned turn;
    char *ret = paths[turn++ % 8];
    va_list ap;
    int n = snprintf(ret, 512, "%s/images/100/", s->path);
    va_start(ap, fmt);
    vsnprintf(ret + n, 512 - (size_t)n, fmt, ap);
    va_end(ap);
    return ret;
}

static void put(const char *path, off_t offset, const char *text, size_t n)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, text, n, offset), n);
    close(fd);
}

static void make_dir(const struct volume_store *s, const char *name)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", s->path, name);
    assert_true(mkdir(path, 0755) == 0 || errno == EEXIST);
}

static void make_image(const struct volume_store *s, const char *image)
{
    make_dir(s, "images");
    make_dir(s, "images/100");
    int dir = open(at(s, "."), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(dir >= 0);
    ok(subvol_create(dir, image, &err));
    close(dir);
}

/* ---- a fingerprint of a tree: the same for the same content, whatever the order of names ---- */

static uint64_t tree_sum;
static size_t tree_base;

static uint64_t mix(uint64_t h, const void *data, size_t n)
{
    for (const uint8_t *p = data; n > 0; n--, p++)
        h = (h ^ *p) * 0x100000001b3ull;
    return h ^ h >> 29;
}

static uint64_t mix_xattrs(uint64_t h, const char *path)
{
    char names[2048], value[1024];
    ssize_t n = llistxattr(path, names, sizeof names);
    for (char *x = names; n > 0 && x < names + n; x += strlen(x) + 1) {
        if (strcmp(x, "trusted.pvesr.owner") == 0)
            continue;
        ssize_t len = lgetxattr(path, x, value, sizeof value);
        assert_true(len >= 0);
        uint64_t one = mix(mix(1, x, strlen(x)), value, (size_t)len);
        h += one;
    }
    return h;
}

static int add_to_sum(const char *path, const struct stat *st, int type, struct FTW *f)
{
    uint64_t h = mix(7, path + tree_base, strlen(path + tree_base));
    uint64_t facts[] = {st->st_mode,
                        st->st_uid,
                        st->st_gid,
                        st->st_nlink,
                        (uint64_t)st->st_rdev,
                        (uint64_t)st->st_mtim.tv_sec,
                        (uint64_t)st->st_mtim.tv_nsec};
    if (S_ISDIR(st->st_mode))
        facts[3] = 0;
    h = mix_xattrs(mix(h, facts, sizeof facts), path);
    char data[65536];
    if (S_ISLNK(st->st_mode)) {
        ssize_t n = readlink(path, data, sizeof data);
        h = mix(h, data, (size_t)n);
    } else if (S_ISREG(st->st_mode)) {
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t n;
        while ((n = read(fd, data, sizeof data)) > 0)
            h = mix(h, data, (size_t)n);
        close(fd);
    }
    tree_sum += h;
    return 0;
}

static uint64_t fingerprint(const char *path)
{
    tree_sum = 0;
    tree_base = strlen(path);
    assert_int_equal(nftw(path, add_to_sum, 16, FTW_PHYS), 0);
    return tree_sum;
}

/* ---- moving snapshots ---- */

static struct snapshot take(struct volume *v, const char *name)
{
    struct snapshot s;
    ok(volume_snapshot(v, name, true, &err));
    ok(volume_snapshot_keep(v, name, &s, &err));
    assert_string_equal(s.name, name);
    return s;
}

static void send_ranges(struct delta *d, struct stage *s, uint64_t cut)
{
    struct extent x;
    int r;
    uint64_t sent = 0;
    while ((r = delta_next(d, &x, &err)) > 0 && sent < cut) {
        if (r == 2)
            continue;
        if (x.kind == EXTENT_DATA)
            ok(stage_write(s, x.offset, delta_data(d), x.length, &err));
        else
            ok(stage_zero(s, x.offset, x.length, &err));
        ok(stage_checkpoint(s, x.offset + x.length, &err));
        sent += x.length;
    }
    if (r < 0)
        fail_msg("delta: %s", err.text);
}

static int send_stream(struct delta *d, struct stage *s, uint64_t cut)
{
    char data[30000];
    ssize_t n;
    uint64_t sent = 0;
    while ((n = delta_stream(d, data, sizeof data, &err)) > 0 && sent < cut) {
        if (stage_feed(s, data, (size_t)n, &err) < 0)
            return -1;
        sent += (uint64_t)n;
    }
    return n < 0 ? -1 : 0;
}

/* Stage `snap`; stop after `cut` bytes, unsealed. Returns where it began. */
static uint64_t stage(struct volume *from, struct volume *to, const struct snapshot *base,
                      const struct snapshot *snap, uint64_t cut)
{
    struct volume_info info;
    uint64_t offset;
    struct stage_want want = {.snapshot = snap->name,
                              .id = snap->id,
                              .created = snap->created,
                              .base_id = base ? base->id : NULL,
                              .size = snap->size,
                              .resume = true,
                              .owner = "100-0"};
    ok(volume_info(from, &info, &err));
    struct stage *s = stage_open(to, &want, &offset, &err);
    if (!s)
        fail_msg("stage_open: %s", err.text);
    struct delta *d = delta_open(from, base, snap, offset, &err);
    if (!d)
        fail_msg("delta_open: %s", err.text);
    if (info.stream)
        ok(send_stream(d, s, cut));
    else
        send_ranges(d, s, cut);
    delta_free(d);
    if (cut == UINT64_MAX)
        ok(stage_seal(s, &err));
    stage_free(s);
    return offset;
}

static void replicate(struct volume *from, struct volume *to, const struct snapshot *base,
                      const struct snapshot *snap)
{
    struct stage_info info;
    stage(from, to, base, snap, UINT64_MAX);
    ok(stage_info(to, &info, &err));
    assert_true(info.exists && info.sealed);
    assert_string_equal(info.id, snap->id);
    ok(volume_commit(to, snap->id, COMMIT_LIVE, &err));
    ok(volume_commit(to, snap->id, COMMIT_LIVE, &err)); /* repeated: nothing happens */
    ok(stage_info(to, &info, &err));
    assert_false(info.exists);
    struct snapshots all;
    ok(volume_snapshots(to, &all, &err));
    const struct snapshot *there = snapshots_find_id(&all, snap->id);
    assert_non_null(there);
    assert_string_equal(there->name, snap->name);
    assert_int_equal(there->size, snap->size);
    assert_int_equal(there->flags, SNAPSHOT_READABLE | SNAPSHOT_RECEIVED | SNAPSHOT_OURS);
    assert_ptr_equal(there, &all.v[all.n - 1]);
    snapshots_release(&all);
    char owner[32], shown[SNAPSHOT_ID_LEN + 1];
    ok(volume_replica(to, owner, shown, &err));
    assert_string_equal(owner, "100-0");
    assert_string_equal(shown, snap->id);
}

static struct volume *open_volume(const struct volume_store *s, const char *name)
{
    struct volume *v = volume_open(s, name, &err);
    if (!v)
        fail_msg("volume_open: %s", err.text);
    return v;
}

/* ---- containers ---- */

static void fill_root(const char *root)
{
    char p[700], noise[200000];
    for (size_t i = 0; i < sizeof noise; i++)
        noise[i] = (char)(i * 7 + i / 255);
#define P(name) (snprintf(p, sizeof p, "%s/%s", root, name), p)
    mkdir(P("etc"), 0755);
    mkdir(P("var"), 0750);
    mkdir(P("var/a\nb c"), 01777);
    put(P("etc/passwd"), 0, "root:x:0:0\n", 11);
    put(P("big"), 0, noise, sizeof noise);
    put(P("sparse"), 10 << 20, "end", 3);
    assert_int_equal(symlink("/etc/passwd", P("var/link")), 0);
    assert_int_equal(mkfifo(P("fifo"), 0640), 0);
    assert_int_equal(mknod(P("null"), S_IFCHR | 0666, makedev(1, 3)), 0);
    assert_int_equal(mknod(P("socket"), S_IFSOCK | 0600, 0), 0);
    assert_int_equal(chown(P("etc/passwd"), 100000, 100001), 0);
    assert_int_equal(setxattr(P("big"), "user.note", "hello", 5, 0), 0);
    assert_int_equal(setxattr(P("etc/passwd"), "user.empty", "", 0, 0), 0);
    char q[700];
    snprintf(q, sizeof q, "%s/hard", root);
    assert_int_equal(link(P("big"), q), 0);
    assert_int_equal(chmod(P("big"), 04755), 0);
}

static void change_root(const char *root)
{
    char p[700], q[700];
    put(P("big"), 4096 * 3, "changed", 7);
    assert_int_equal(truncate(P("sparse"), 5 << 20), 0);
    assert_int_equal(unlink(P("fifo")), 0);
    snprintf(q, sizeof q, "%s/etc/moved", root);
    assert_int_equal(rename(P("var/a\nb c"), q), 0);
    assert_int_equal(removexattr(P("big"), "user.note"), 0);
    assert_int_equal(chmod(P("var"), 0700), 0);
    snprintf(q, sizeof q, "%s/copy", root);
    int from = open(P("big"), O_RDONLY | O_CLOEXEC), to = open(q, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(ioctl(to, FICLONE, from), 0);
    close(from);
    close(to);
}

/* Subvolumes that the guest made inside the replica: an empty one goes with it, one with data is kept. */
static void check_nested(struct volume *a, struct volume *b, const struct snapshot *base)
{
    int dir = open(at(&store_b, "subvol-100-disk-0/var"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    ok(subvol_create(dir, "machines", &err));
    close(dir);
    struct snapshot s5 = take(a, "s5"), s6 = take(a, "s6");
    replicate(a, b, base, &s5);
    assert_int_equal(access(at(&store_b, "subvol-100-disk-0/var/machines"), F_OK), -1);
    dir = open(at(&store_b, "subvol-100-disk-0/var"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    ok(subvol_create(dir, "docker", &err));
    put(at(&store_b, "subvol-100-disk-0/var/docker/image"), 0, "x", 1);
    stage(a, b, &s5, &s6, UINT64_MAX);
    assert_int_equal(volume_commit(b, s6.id, COMMIT_LIVE, &err), -1);
    assert_int_equal(err.kind, ERR_CONFIG);
    assert_non_null(strstr(err.text, "var/docker"));
    assert_int_equal(access(at(&store_b, "subvol-100-disk-0/var/docker/image"), F_OK), 0);
    assert_int_equal(unlink(at(&store_b, "subvol-100-disk-0/var/docker/image")), 0);
    ok(volume_commit(b, s6.id, COMMIT_LIVE, &err));
    close(dir);
}

static void test_container(void **state)
{
    make_image(&store_a, "subvol-100-disk-0");
    struct volume *a = open_volume(&store_a, CONTAINER), *b = open_volume(&store_b, CONTAINER);
    char since[SNAPSHOT_NAME_MAX + 1];
    const char *root_a = at(&store_a, "subvol-100-disk-0");
    fill_root(root_a);
    struct snapshot s1 = take(a, "s1");
    replicate(a, b, NULL, &s1);
    assert_true(fingerprint(at(&store_a, "subvol-100-disk-0@s1")) ==
                fingerprint(at(&store_b, "subvol-100-disk-0@s1")));
    change_root(at(&store_a, "subvol-100-disk-0"));
    struct snapshot s2 = take(a, "s2");
    stage(a, b, &s1, &s2, 1); /* cut off: the next one starts over */
    struct stage_info left;
    ok(stage_info(b, &left, &err));
    assert_int_equal(left.offset, 0);
    replicate(a, b, &s1, &s2);
    assert_true(fingerprint(at(&store_a, "subvol-100-disk-0@s2")) ==
                fingerprint(at(&store_b, "subvol-100-disk-0@s2")));
    assert_true(fingerprint(at(&store_a, "subvol-100-disk-0@s2")) ==
                fingerprint(at(&store_b, "subvol-100-disk-0")));

    /* the guest comes to run on the other side */
    assert_int_equal(volume_written(b, since, &err), 0);
    assert_string_equal(since, "s2");
    put(at(&store_b, "subvol-100-disk-0/etc/hostname"), 0, "b\n", 2);
    assert_int_equal(volume_written(b, since, &err), 1);
    ok(volume_keep_aside(b, "diverged_1", &err));
    struct snapshot s3 = take(b, "s3");
    replicate(b, a, &s2, &s3);
    assert_true(fingerprint(at(&store_a, "subvol-100-disk-0@s3")) ==
                fingerprint(at(&store_b, "subvol-100-disk-0@s3")));
    put(at(&store_a, "subvol-100-disk-0/etc/hostname"), 0, "a\n", 2);
    struct snapshot s4 = take(a, "s4");
    replicate(a, b, &s3, &s4);
    assert_true(fingerprint(at(&store_a, "subvol-100-disk-0")) ==
                fingerprint(at(&store_b, "subvol-100-disk-0")));
    assert_int_equal(volume_written(b, since, &err), 0);

    check_nested(a, b, &s4);
    ok(volume_destroy(b, &err));
    struct snapshots all;
    ok(volume_snapshots(b, &all, &err));
    assert_int_equal(all.n, 1);
    assert_string_equal(all.v[0].name, "diverged_1");
    snapshots_release(&all);
    volume_free(a);
    volume_free(b);
}

/* ---- disks ---- */

static void write_disk(const struct volume_store *s, off_t offset, char with, size_t n)
{
    char *data = xmalloc(n);
    memset(data, with, n);
    put(at(s, "vm-100-disk-0/disk.raw"), offset, data, n);
    free(data);
}

static void test_disk(void **state)
{
    char since[SNAPSHOT_NAME_MAX + 1];
    struct strv names = STRV_INIT;
    make_image(&store_a, "vm-100-disk-0");
    for (off_t i = 0; i < 96; i++)
        write_disk(&store_a, i << 20, (char)('a' + i % 26), 1 << 20);
    assert_int_equal(truncate(at(&store_a, "vm-100-disk-0/disk.raw"), 128 << 20), 0);
    struct volume *a = open_volume(&store_a, DISK), *b = open_volume(&store_b, "vm-100-disk-0");
    ok(volume_list(&store_a, 100, &names, &err));
    assert_true(strv_has(&names, DISK));
    strv_release(&names);

    struct snapshot s1 = take(a, "s1");
    assert_int_equal(s1.size, 128 << 20);
    assert_int_equal(stage(a, b, NULL, &s1, 80 << 20), 0);
    assert_true(stage(a, b, NULL, &s1, 1) >= 64 << 20); /* goes on where it was durable */
    replicate(a, b, NULL, &s1);
    write_disk(&store_a, 5 << 20, 'X', 12345);
    struct snapshot s2 = take(a, "s2");
    replicate(a, b, &s1, &s2);
    assert_int_equal(test_run((const char *const[]){"cmp", at(&store_a, "vm-100-disk-0@s2/disk.raw"),
                                                    at(&store_b, "vm-100-disk-0/disk.raw"), NULL}),
                     0);
    assert_int_equal(listxattr(at(&store_b, "vm-100-disk-0@s2/disk.raw"), NULL, 0), 0);
    assert_int_equal(listxattr(at(&store_b, "vm-100-disk-0@s2"), NULL, 0), 0);

    assert_int_equal(volume_written(b, since, &err), 0);
    write_disk(&store_b, 7 << 20, 'X', 4096);
    assert_int_equal(volume_written(b, since, &err), 1);
    assert_string_equal(since, "s2");

    /* what was written is kept aside while the next one is already staged: the replica is clean after it */
    struct snapshot next = take(a, "s2b");
    stage(a, b, &s2, &next, UINT64_MAX);
    ok(volume_keep_aside(b, "diverged_1", &err));
    ok(volume_commit(b, next.id, COMMIT_LIVE, &err));
    assert_int_equal(volume_written(b, since, &err), 0);
    assert_string_equal(since, "s2b");
    struct snapshot s3 = take(b, "s3");
    replicate(b, a, &s2, &s3);
    assert_int_equal(test_run((const char *const[]){"cmp", at(&store_b, "vm-100-disk-0@s3/disk.raw"),
                                                    at(&store_a, "vm-100-disk-0/disk.raw"), NULL}),
                     0);
    ok(volume_snapshot_rename(b, "s1", "other", &err));
    assert_int_equal(volume_snapshot_destroy(b, "other", s2.id, &err), -1);
    assert_int_equal(err.kind, ERR_DATA);
    ok(volume_snapshot_destroy(b, "other", s1.id, &err));
    assert_int_equal(volume_snapshot_destroy(b, "other", s1.id, &err), 1);
    volume_free(a);
    volume_free(b);
}

/* ---- what a crash leaves ---- */

static bool there(const struct volume_store *s, const char *name)
{
    return access(at(s, "%s", name), F_OK) == 0;
}

static void test_crashes(void **state)
{
    make_image(&store_a, "vm-100-disk-0");
    write_disk(&store_a, 0, 'a', 1 << 20);
    struct volume *a = open_volume(&store_a, DISK), *b = open_volume(&store_b, DISK);
    struct snapshot s1 = take(a, "s1");
    replicate(a, b, NULL, &s1);
    write_disk(&store_a, 0, 'b', 4096);
    struct snapshot s2 = take(a, "s2");
    stage(a, b, &s1, &s2, UINT64_MAX);

    /* renamed to the snapshot, and the new live made but not exchanged */
    int dir = open(at(&store_b, "."), O_RDONLY | O_DIRECTORY | O_CLOEXEC), live = -1;
    ok(subvol_rename(dir, ".pvesr-stage.vm-100-disk-0", "vm-100-disk-0@s2", 0, &err));
    ok(subvol_open(dir, "vm-100-disk-0", &live, &err));
    ok(subvol_snapshot(live, dir, ".pvesr-tmp.vm-100-disk-0", false, &err));
    close(live);
    char owner[32], shown[SNAPSHOT_ID_LEN + 1];
    ok(volume_replica(b, owner, shown, &err));
    assert_string_equal(shown, s1.id);
    ok(volume_commit(b, s2.id, COMMIT_LIVE, &err));
    ok(volume_replica(b, owner, shown, &err));
    assert_string_equal(owner, "100-0");
    assert_string_equal(shown, s2.id);
    assert_false(there(&store_b, ".pvesr-tmp.vm-100-disk-0"));
    assert_false(there(&store_b, ".pvesr-stage.vm-100-disk-0.info"));

    /* a stage whose info speaks of another subvolume is nothing */
    write_disk(&store_a, 0, 'c', 4096);
    struct snapshot s3 = take(a, "s3");
    stage(a, b, &s2, &s3, UINT64_MAX);
    ok(subvol_destroy(dir, ".pvesr-stage.vm-100-disk-0", &err));
    ok(subvol_create(dir, ".pvesr-stage.vm-100-disk-0", &err));
    struct stage_info info;
    ok(stage_info(b, &info, &err));
    assert_false(info.exists);
    assert_int_equal(volume_commit(b, s3.id, COMMIT_LIVE, &err), -1);
    replicate(a, b, &s2, &s3);

    /* a snapshot that was taken and not kept */
    ok(volume_snapshot(a, "s4", false, &err));
    assert_true(there(&store_a, ".pvesr-tmp.vm-100-disk-0@s4"));
    ok(volume_tidy(a, &err));
    assert_false(there(&store_a, ".pvesr-tmp.vm-100-disk-0@s4"));
    close(dir);
    volume_free(a);
    volume_free(b);
}

/* ---- names ---- */

static void test_names(void **state)
{
    static const char *const bad[] = {
        "100/vm-101-disk-0.raw", "vm-100-disk-0.qcow2",  "100/vm-100-disk-0.subvol", "vm-100-", "vm-0100-x",
        "subvol-100-disk-0@s",   "100/../vm-100-disk-0", "vm-100-disk-0.info"};
    for (size_t i = 0; i < ELEMENTS(bad); i++)
        if (volume_type_supported("btrfs", bad[i]))
            fail_msg("'%s' is taken", bad[i]);
    char images[128];
    make_dir(&store_a, "images");
    make_dir(&store_a, "images/other");
    snprintf(images, sizeof images, "%s/images/100", path_a);
    assert_int_equal(symlink("other", images), 0);
    assert_null(volume_open(&store_a, DISK, &err));
    assert_int_equal(err.kind, ERR_DATA);
    assert_int_equal(unlink(images), 0);
    make_dir(&store_a, "images/100");
    assert_int_equal(symlink("../other", at(&store_a, "vm-100-disk-0")), 0);
    struct volume *v = open_volume(&store_a, DISK);
    assert_int_equal(volume_snapshot(v, "s1", false, &err), -1);
    assert_int_equal(err.kind, ERR_DATA);
    volume_free(v);
}

/* ---- */

static const char *skip_reason;

static int setup(void **state)
{
    skip_reason = test_mount(&mnt, (const char *const[]){"mkfs.btrfs", "-q", NULL}, NULL);
    if (skip_reason)
        return 0;
    snprintf(path_a, sizeof path_a, "%s/a", mnt.path);
    snprintf(path_b, sizeof path_b, "%s/b", mnt.path);
    mkdir(path_a, 0755);
    mkdir(path_b, 0755);
    store_a = (struct volume_store){.id = "a", .type = "btrfs", .path = path_a};
    store_b = (struct volume_store){.id = "b", .type = "btrfs", .path = path_b};
    return 0;
}

static int teardown(void **state)
{
    test_unmount(&mnt);
    return 0;
}

#define CASES(X) X(test_container) X(test_disk) X(test_crashes) X(test_names)
#define WRAP(name)                                                                                           \
    static void run_##name(void **state)                                                                     \
    {                                                                                                        \
        if (skip_reason) {                                                                                   \
            print_message("SKIPPED %s: %s\n", #name, skip_reason);                                           \
            skip();                                                                                          \
        }                                                                                                    \
        name(state);                                                                                         \
    }
CASES(WRAP)

int main(void)
{
#define ROW(name) cmocka_unit_test_setup_teardown(run_##name, setup, teardown),
    const struct CMUnitTest tests[] = {CASES(ROW)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
