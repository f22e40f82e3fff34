#include "volume/test-world.h"

#include "base/fs.h"
#include "base/mem.h"
#include "volume/file/stage.h"
#include "volume/lvm/lvm.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>

static const char *const mkfs_xfs[] = {"mkfs.xfs", "-q", "-f", "-m", "reflink=1", NULL};
static const char *const mkfs_btrfs[] = {"mkfs.btrfs", "-q", "-f", NULL};
static const char *const mkfs_ext4[] = {"mkfs.ext4", "-q", "-F", NULL};
#define DIR_LIVE "images/100/vm-100-disk-0.raw"
#define LVM_VOLUME "vm-100-disk-0"
#define DIR_VOLUME "100/vm-100-disk-0.raw"

const struct place places[] = {
    {"dir on XFS", "dir", mkfs_xfs, NULL, DIR_LIVE, DIR_VOLUME},
    {"dir on btrfs", "dir", mkfs_btrfs, NULL, DIR_LIVE, DIR_VOLUME},
    {"dir on ext4", "dir", mkfs_ext4, NULL, DIR_LIVE, DIR_VOLUME},
    {"dir on tmpfs", "dir", NULL, "size=512M", DIR_LIVE, DIR_VOLUME},
    {"dir in /var/tmp", "dir", NULL, NULL, DIR_LIVE, DIR_VOLUME},
    {"lvmthin", "lvmthin", NULL, NULL, LVM_VOLUME, LVM_VOLUME},
    {"btrfs", "btrfs", mkfs_btrfs, NULL, "images/100/vm-100-disk-0/disk.raw", DIR_VOLUME},
};
const unsigned n_places = ELEMENTS(places);

struct err err;
static uint64_t state = 1;

unsigned rnd(unsigned below)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (unsigned)((state >> 20) % below);
}

void world_seed(const char *what)
{
    const char *wish = getenv("PVESR_TEST_SEED");
    unsigned seed = wish ? (unsigned)strtoul(wish, NULL, 10) : (unsigned)time(NULL);
    state = seed * 0x9e3779b97f4a7c15ull | 1;
    print_message("%s: PVESR_TEST_SEED=%u\n", what, seed);
}

/* ---- worlds ---- */

static bool on_lvm(const struct world *w)
{
    return strcmp(w->place->type, "lvmthin") == 0;
}

/* Sizes that a volume can have here. */
static uint64_t fitting(const struct world *w, uint64_t size)
{
    return on_lvm(w) ? (size + LVMWORLD_UNIT - 1) / LVMWORLD_UNIT * LVMWORLD_UNIT : size;
}

void world_reopen(struct world *w)
{
    volume_free(w->src);
    volume_free(w->dst);
    for (unsigned i = 0; i < ELEMENTS(w->lvm.vg); i++)
        if (w->lvm.vg[i][0] && !lvm_group_anew(&(struct lvm){.vg = w->lvm.vg[i]}, &err))
            fail_msg("%s", err.text);
    w->src = volume_open(&w->src_store, w->place->volume, &err);
    w->dst = w->src ? volume_open(&w->dst_store, w->place->volume, &err) : NULL;
    if (!w->dst)
        fail_msg("%s: %s", w->place->name, err.text);
}

const char *world_open(struct world *w, const struct place *place)
{
    const char *only = getenv("PVESR_TEST_PLACE");
    memset(w, 0, sizeof *w);
    w->place = place;
    if (only && strcmp(only, place->name) != 0)
        return "PVESR_TEST_PLACE names another";
    if (on_lvm(w)) {
        const char *why = lvmworld_open(&w->lvm);
        if (why)
            return why;
    } else if (place->mkfs || place->mount) {
        const char *why = test_mount(&w->mount, place->mkfs, place->mount);
        if (why)
            return why;
        strcpy(w->root, w->mount.path);
    } else {
        strcpy(w->root, "/var/tmp/pvesr-world-XXXXXX");
        if (!mkdtemp(w->root))
            return "no temporary directory";
    }
    w->image.data = xcalloc(1, WORLD_ROOM);
    world_reset(w);
    return NULL;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *f)
{
    return remove(path);
}

/* Read-only subvolumes do not go this way: those of the btrfs driver stay until the unmount. */
static void clear_root(const struct world *w)
{
    char path[128];
    if (strcmp(w->place->type, "btrfs") == 0)
        return;
    for (unsigned i = 0; i < 2 && w->src_path[0]; i++) {
        snprintf(path, sizeof path, "%s", i ? w->dst_path : w->src_path);
        nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    }
}

static void reset_groups(struct world *w)
{
    volume_free(w->src);
    volume_free(w->dst);
    w->src = w->dst = NULL;
    const char *why = lvmworld_reset(&w->lvm);
    if (why)
        fail_msg("%s: %s", w->place->name, why);
    for (unsigned i = 0; i < 2; i++) /* the driver did not see that */
        lvm_group_anew(&(struct lvm){.vg = w->lvm.vg[i]}, &err);
    w->src_store = (struct volume_store){
        .id = "src", .type = "lvmthin", .vgname = w->lvm.vg[0], .thinpool = LVMWORLD_POOL};
    w->dst_store = (struct volume_store){
        .id = "dst", .type = "lvmthin", .vgname = w->lvm.vg[1], .thinpool = LVMWORLD_POOL};
}

static void reset_paths(struct world *w)
{
    clear_root(w);
    snprintf(w->src_path, sizeof w->src_path, "%s/src%u", w->root, w->resets);
    snprintf(w->dst_path, sizeof w->dst_path, "%s/dst%u", w->root, w->resets++);
    assert_int_equal(mkdir(w->src_path, 0755), 0);
    assert_int_equal(mkdir(w->dst_path, 0755), 0);
    w->src_store = (struct volume_store){.id = "src", .type = w->place->type, .path = w->src_path};
    w->dst_store = (struct volume_store){.id = "dst", .type = w->place->type, .path = w->dst_path};
}

static void count(void *ticks)
{
    (*(unsigned *)ticks)++;
}

void world_reset(struct world *w)
{
    if (on_lvm(w))
        reset_groups(w);
    else
        reset_paths(w);
    w->src_context.tick = (struct tick){count, &w->src_ticks};
    w->dst_context.tick = (struct tick){count, &w->dst_ticks};
    w->src_store.context = &w->src_context;
    w->dst_store.context = &w->dst_context;
    world_reopen(w);
    struct volume_info info;
    ok(volume_info(w->dst, &info, &err));
    assert_false(info.exists);
    w->many = info.many;
}

void world_close(struct world *w)
{
    volume_free(w->src);
    volume_free(w->dst);
    image_release(&w->image);
    lvmworld_close(&w->lvm);
    if (w->mount.dir[0])
        test_unmount(&w->mount);
    else if (w->root[0])
        nftw(w->root, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    memset(w, 0, sizeof *w);
}

const char *live_path(const struct world *w, const struct volume_store *store)
{
    static char path[256];
    if (store->vgname)
        return lvmworld_live(store->vgname, w->place->live);
    snprintf(path, sizeof path, "%s/%s", store->path, w->place->live);
    return path;
}

void expect_tidy(const struct world *w, const struct volume_store *store)
{
    char path[256];
    if (on_lvm(w)) {
        if (lvmworld_find(store->vgname, "pvesr_tmp_") || lvmworld_find(store->vgname, "pvesr_new_"))
            fail_msg("a temporary is left in %s", store->vgname);
        return;
    }
    snprintf(path, sizeof path, "%s/images/100", store->path);
    DIR *dir = opendir(path);
    for (const struct dirent *entry; dir && (entry = readdir(dir));)
        if (strncmp(entry->d_name, ".pvesr-tmp", 10) == 0)
            fail_msg("%s is left in %s", entry->d_name, path);
    if (dir)
        closedir(dir);
}

/* ---- images ---- */

void image_copy(struct image *to, const struct image *from)
{
    if (!to->data)
        to->data = xmalloc(WORLD_ROOM);
    memcpy(to->data, from->data, WORLD_ROOM);
    to->size = from->size;
}

void image_release(struct image *i)
{
    free(i->data);
    *i = (struct image){0};
}

static void fill(unsigned char *p, size_t n)
{
    while (n--)
        *p++ = (unsigned char)rnd(256);
}

static int open_live(const struct world *w, const struct volume_store *store, int flags)
{
    int fd = open(live_path(w, store), flags | O_CLOEXEC, 0640);
    if (fd < 0)
        fail_msg("%s: %s", live_path(w, store), strerror(errno));
    return fd;
}

static void make_live(struct world *w)
{
    char path[256];
    if (on_lvm(w)) {
        assert_non_null(lvmworld_create(w->src_store.vgname, w->place->live, w->image.size));
        return;
    }
    snprintf(path, sizeof path, "%s", live_path(w, &w->src_store));
    if (strcmp(w->place->type, "btrfs") == 0) {
        *strrchr(path, '/') = 0;
        char parent[256];
        strcpy(parent, path);
        *strrchr(parent, '/') = 0;
        ok(fs_mkdir_p(parent, 0755, &err));
        assert_int_equal(test_run((const char *const[]){"btrfs", "subvolume", "create", path, NULL}), 0);
    } else {
        *strrchr(path, '/') = 0;
        ok(fs_mkdir_p(path, 0755, &err));
    }
    int fd = open_live(w, &w->src_store, O_RDWR | O_CREAT);
    assert_int_equal(ftruncate(fd, (off_t)w->image.size), 0);
    close(fd);
}

void world_create(struct world *w, uint64_t size)
{
    memset(w->image.data, 0, WORLD_ROOM);
    w->image.size = fitting(w, size);
    make_live(w);
    world_reopen(w);
    world_change(w, 12);
}

/* Where a thin volume grows it shows what it held there when it was once cut, and not only zeros. */
static void resize_lv(struct world *w, int fd, uint64_t size)
{
    uint64_t old = w->image.size;
    if (lvmworld_resize(w->src_store.vgname, w->place->live, size) != 0)
        fail_msg("lvresize to %llu failed", (unsigned long long)size);
    if (size > old)
        assert_int_equal(pread(fd, w->image.data + old, size - old, (off_t)old), (ssize_t)(size - old));
}

static void resize(struct world *w, int fd)
{
    uint64_t size = fitting(w, w->image.size / 2 + rnd(WORLD_ROOM / 2 - 1) + 1);
    if (size == w->image.size)
        return; /* lvresize takes that for a mistake */
    if (size < w->image.size)
        memset(w->image.data + size, 0, w->image.size - size);
    if (on_lvm(w))
        resize_lv(w, fd, size);
    else
        assert_int_equal(ftruncate(fd, (off_t)size), 0);
    w->image.size = size;
}

/* A hole, where there can be one; false where zeros must be written. An LV loses only whole chunks. */
static bool make_hole(struct world *w, int fd, uint64_t offset, uint64_t n)
{
    if (!on_lvm(w))
        return fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)n) == 0;
    uint64_t first = (offset + LVMWORLD_UNIT - 1) / LVMWORLD_UNIT * LVMWORLD_UNIT;
    uint64_t last = (offset + n) / LVMWORLD_UNIT * LVMWORLD_UNIT;
    if (first < last && ioctl(fd, BLKDISCARD, (uint64_t[]){first, last - first}) < 0)
        fail_msg("BLKDISCARD: %s", strerror(errno));
    return offset == first && offset + n == last;
}

void world_change(struct world *w, unsigned changes)
{
    int fd = open_live(w, &w->src_store, O_RDWR);
    struct image *m = &w->image;
    while (changes--) {
        unsigned what = rnd(12);
        uint64_t offset = rnd((unsigned)m->size);
        uint64_t n = 1 + rnd(what < 4 ? 300000 : 9000);
        if (rnd(2)) {
            offset &= ~4095ull;
            n = (n + 4095) & ~4095ull;
        }
        if (n > m->size - offset)
            n = m->size - offset;
        if (what == 11) {
            resize(w, fd);
        } else if (what == 10) {
            memset(m->data + offset, 0, n);
            if (!make_hole(w, fd, offset, n))
                what = 9;
        } else {
            fill(m->data + offset, what == 9 ? 0 : n);
        }
        if (what == 9)
            memset(m->data + offset, 0, n);
        if (what < 10)
            ok(fs_pwrite_all(fd, m->data + offset, n, offset, "the live file", &err));
    }
    close(fd);
}

int live_is(const struct world *w, const struct volume_store *store, const struct image *image)
{
    int fd = open_live(w, store, O_RDONLY);
    unsigned char *data = xcalloc(1, WORLD_ROOM);
    ssize_t n = pread(fd, data, WORLD_ROOM, 0);
    close(fd);
    int same = n >= 0 && (uint64_t)n == image->size && memcmp(data, image->data, image->size) == 0;
    free(data);
    return same;
}

void expect_live(const struct world *w, const struct volume_store *store, const struct image *image)
{
    if (!live_is(w, store, image))
        fail_msg("%s: the live volume of '%s' is not what it must be", w->place->name, store->id);
}

void expect_snapshot(struct volume *v, const char *id, const struct image *image)
{
    struct snapshots all;
    ok(volume_snapshots(v, &all, &err));
    const struct snapshot *s = snapshots_find_id(&all, id);
    if (!s)
        fail_msg("snapshot %s is not there", id);
    assert_true(s->size == image->size);
    assert_true(s->flags & SNAPSHOT_READABLE);
    unsigned char *data = xcalloc(1, WORLD_ROOM);
    struct delta *d = delta_open(v, NULL, s, 0, &err);
    if (!d)
        fail_msg("%s", err.text);
    struct extent x;
    int r;
    while ((r = delta_next(d, &x, &err)) > 0)
        if (r == 1)
            memcpy(data + x.offset, delta_data(d), x.length);
    ok(r);
    assert_memory_equal(data, image->data, image->size);
    delta_free(d);
    free(data);
    snapshots_release(&all);
}

/* ---- replicating ---- */

void world_snapshot(struct world *w, const char *name, struct snapshot *ret)
{
    ok(volume_snapshot(w->src, name, false, &err));
    ok(volume_snapshot_keep(w->src, name, ret, &err));
    assert_string_equal(ret->name, name);
    assert_int_equal(strlen(ret->id), SNAPSHOT_ID_LEN);
}

unsigned world_resumed;

/* 1 when it came to the end, 0 when it was cut. */
static int stage_some(struct world *w, const struct snapshot *base, const struct stage_want *want,
                      const struct snapshot *s, int extents)
{
    uint64_t from;
    struct stage *stage = stage_open(w->dst, want, &from, &err);
    struct delta *d = stage ? delta_open(w->src, base, s, from, &err) : NULL;
    if (!d)
        fail_msg("%s: %s", w->place->name, err.text);
    world_resumed += from > 0;
    assert_true(want->resume || from == 0);
    struct extent x;
    int r;
    while ((r = delta_next(d, &x, &err)) > 0 && extents--) {
        if (r == 2)
            continue;
        assert_true(x.offset >= from);
        ok(x.kind == EXTENT_DATA ? stage_write(stage, x.offset, delta_data(d), x.length, &err)
                                 : stage_zero(stage, x.offset, x.length, &err));
        ok(stage_checkpoint(stage, x.offset + x.length, &err));
    }
    ok(r);
    if (r == 0)
        ok(stage_seal(stage, &err));
    delta_free(d);
    stage_free(stage);
    return r == 0;
}

void world_stage(struct world *w, const struct snapshot *base, const struct snapshot *s, unsigned cuts)
{
    struct stage_want want = {
        .snapshot = s->name,
        .id = s->id,
        .created = s->created,
        .base_id = base ? base->id : NULL,
        .size = s->size,
        .resume = true,
        .owner = "100-0",
    };
    filestage_checkpoint_bytes = 1 + rnd(300000);
    world_resumed = 0;
    if (on_lvm(w) && cuts > 4) { /* each costs a dozen commands */
        cuts = 4;
        filestage_checkpoint_bytes = 1;
    }
    /* the last time it does not come to nothing again */
    while (cuts-- && !stage_some(w, base, &want, s, cuts ? (int)rnd(3) : 1 + (int)rnd(2)))
        world_reopen(w);
    world_reopen(w);
    stage_some(w, base, &want, s, 1 << 30);
    struct stage_info info;
    ok(stage_info(w->dst, &info, &err));
    assert_true(info.exists && info.sealed && info.offset == s->size);
    assert_string_equal(info.id, s->id);
    assert_string_equal(info.snapshot, s->name);
    assert_string_equal(info.base_id, base ? base->id : "");
}

void world_replicate(struct world *w, const struct snapshot *base, const struct snapshot *s, unsigned cuts)
{
    world_stage(w, base, s, cuts);
    ok(volume_commit(w->dst, s->id, COMMIT_LIVE, &err));
    world_reopen(w);
    ok(volume_commit(w->dst, s->id, COMMIT_LIVE, &err));
}
