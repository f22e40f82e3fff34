#include "volume/btrfs/btrfs.h"

#include "base/fs.h"

#include "base/refusal.h"
#include "volume/place.h"
#include "volume/root.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>

static bool btrfs_supports(const char *name)
{
    struct btrfs_image n;
    return btrfs_image_parse(name, &n);
}

/* ---- opening ---- */

static int open_root(const struct volume_store *store, struct err *e)
{
    _cleanup_close_ int fd = root_open(store, e);
    struct statfs fs;
    if (fd < 0)
        return -1;
    if (fstatfs(fd, &fs) < 0)
        return err_sys(e, "cannot open '%s' of storage '%s'", store->path, store->id);
    if (fs.f_type != BTRFS_SUPER_MAGIC)
        return err_set(e, ERR_CONFIG, 0,
                       "'%s' of storage '%s' is not on a btrfs: is it mounted? Use type 'dir' for other file "
                       "systems",
                       store->path, store->id);
    return take_fd(&fd);
}

static void btrfs_close(struct volume *v)
{
    struct btrfs_volume *b = v->priv;
    if (!b)
        return;
    if (b->root >= 0)
        close(b->root);
    if (b->dir >= 0)
        close(b->dir);
    free(b->dir_path);
    free(b);
    v->priv = NULL;
}

static int btrfs_open(struct volume *v, struct err *e)
{
    struct btrfs_image n;
    if (!btrfs_image_parse(v->name, &n))
        return err_set(e, ERR_USAGE, 0,
                       "'%s' is no volume of a btrfs storage: vm-VMID-NAME.raw or subvol-VMID-NAME.subvol",
                       v->name);
    int root = open_root(&v->store, e);
    if (root < 0)
        return -1;
    struct btrfs_volume *b = xcalloc(1, sizeof *b);
    b->store = &v->store;
    v->priv = b;
    v->vmid = n.vmid;
    b->root = root;
    b->dir = -1;
    b->stream = n.stream;
    strcpy(b->image, n.image);
    b->dir_path = xasprintf("%s/%s/%u", v->store.path, root_images(&v->store), n.vmid);
    snprintf(b->stage, sizeof b->stage, BTRFS_STAGE "%s", b->image);
    snprintf(b->stage_info, sizeof b->stage_info, BTRFS_STAGE "%s.info", b->image);
    snprintf(b->tmp, sizeof b->tmp, BTRFS_TMP "%s", b->image);
    if (btrfs_dir(b, n.vmid, false, e) < 0) {
        btrfs_close(v);
        return -1;
    }
    return 0;
}

static int btrfs_replica(struct volume *v, char *owner, char *base_id, struct err *e)
{
    struct btrfs_volume *b = btrfs_of(v);
    _cleanup_close_ int live = -1;
    _cleanup_btrfs_snapshots_ struct btrfs_snapshots all = {0};
    const struct btrfs_snapshot *base = NULL;
    owner[0] = base_id[0] = 0;
    int r = btrfs_open_live(b, &live, e);
    if (r != 0)
        return r < 0 ? -1 : 0;
    if (btrfs_live_owner(b, live, owner, e) < 0)
        return -1;
    if (!owner[0])
        return 0;
    if (btrfs_scan(b, &all, e) < 0 || btrfs_shown(b, live, &all, &base, e) < 0)
        return -1;
    if (base)
        strcpy(base_id, base->s.id);
    return 0;
}

static int btrfs_info(struct volume *v, struct volume_info *ret, struct err *e)
{
    struct btrfs_volume *b = btrfs_of(v);
    struct statvfs fs;
    _cleanup_close_ int live = -1;
    *ret = (struct volume_info){.stream = b->stream, .flags = b->stream, .many = true, .proves = true};
    if (fstatvfs(b->root, &fs) < 0)
        return err_sys(e, "cannot ask '%s' for its free space", v->store.path);
    ret->available = (uint64_t)fs.f_bavail * fs.f_frsize;
    int r = btrfs_open_live(b, &live, e);
    if (r != 0)
        return r < 0 ? -1 : 0;
    ret->exists = true;
    r = btrfs_disk_size(b, live, &ret->size, e);
    if (r < 0 && e->code == ENOENT)
        return err_set(e, ERR_DATA, ENOENT,
                       "'%s/%s' has no file '" BTRFS_DISK_FILE
                       "' any more: restore it if it is the guest's own; if "
                       "it is a replica, 'btrfs subvolume delete %s/%s' lets the next run make it anew",
                       b->dir_path, b->image, b->dir_path, b->image);
    return r;
}

static int slot_place(struct volume *v, struct volume_place *ret, struct err *e)
{
    struct btrfs_volume *b = btrfs_of(v);
    _cleanup_free_ char *below = xasprintf("%s/%u", root_images(&v->store), v->vmid);
    return btrfs_dir(b, v->vmid, false, e) < 0 ? -1 : place_of_file(b->dir, b->root, below, b->image, ret, e);
}

static int slot_sign(struct volume *v, char *ret, struct err *e)
{
    struct btrfs_volume *b = btrfs_of(v);
    return btrfs_dir(b, v->vmid, false, e) < 0 ? -1 : sign_put(b->dir, b->tmp, ret, e);
}

static int slot_sign_seen(struct volume *v, const char *sign, struct err *e)
{
    struct btrfs_volume *b = btrfs_of(v);
    return btrfs_dir(b, v->vmid, false, e) < 0 ? -1 : sign_seen(b->dir, sign, e);
}

static void slot_sign_end(struct volume *v, const char *sign)
{
    sign_end(btrfs_of(v)->dir, sign);
}

static int slot_made(struct volume *v, char *ret, struct err *e)
{
    struct subvol live;
    _cleanup_close_ int fd = -1;
    int r = btrfs_open_live(btrfs_of(v), &fd, e);
    if (r != 0)
        return r < 0 ? -1 : 0;
    if (subvol_read(fd, &live, e) < 0)
        return -1;
    snprintf(ret, VOLUME_SIGN_MAX + 1, "btrfs:%s", live.uuid);
    return 0;
}

static int slot_keeper(struct volume *v, char *ret, struct err *e)
{
    struct btrfs_volume *b = btrfs_of(v);
    return btrfs_dir(b, v->vmid, false, e) < 0 ? -1 : keeper_get(b->dir, b->image, ret, e);
}

static int slot_keeper_set(struct volume *v, const char *node, struct err *e)
{
    struct btrfs_volume *b = btrfs_of(v);
    return btrfs_dir(b, v->vmid, false, e) < 0 ? -1 : keeper_set(b->dir, b->image, node, e);
}

static char *slot_keeper_remedy(struct volume *v)
{
    return keeper_remedy(btrfs_of(v)->dir_path, btrfs_of(v)->image);
}

static int slot_open_snapshot(struct volume *v, const struct snapshot *s, int *fd, struct err *e)
{
    struct btrfs_volume *b = btrfs_of(v);
    _cleanup_close_ int subvol = -1;
    if (btrfs_dir(b, v->vmid, false, e) < 0 || btrfs_open_snapshot(b, s, &subvol, e) < 0)
        return -1;
    if (!b->stream) {
        *fd = btrfs_open_disk(subvol, O_RDONLY, e);
        return *fd < 0 ? -1 : 0;
    }
    *fd = subvol;
    subvol = -1;
    return 0;
}

static int slot_read_open(struct volume *v, const struct snapshot *s, struct volume_reader *ret, int *fd,
                          uint64_t *size, struct err *e)
{
    struct btrfs_volume *b = btrfs_of(v);
    _cleanup_close_ int subvol = -1;
    if (b->stream)
        return err_set(e, ERR_CONFIG, 0, "a directory tree cannot be read block by block");
    if (btrfs_dir(b, v->vmid, false, e) < 0 ||
        (s ? btrfs_open_snapshot(b, s, &subvol, e) : btrfs_need_live(b, &subvol, e)) < 0 ||
        btrfs_disk_size(b, subvol, size, e) < 0)
        return -1;
    *fd = btrfs_open_disk(subvol, O_RDONLY, e);
    return *fd < 0 ? -1 : 0;
}

static int add_name(const char *name, void *names, struct err *e)
{
    (void)e;
    if (strcmp(name, ".") != 0 && strcmp(name, "..") != 0 && strcmp(name, BTRFS_DISK_FILE) != 0)
        strv_add(names, name);
    return 0;
}

/* A disk's subvolume has a file of its own name in it, and nothing else goes along. */
static int only_disk(const struct btrfs_volume *b, int live, struct err *e)
{
    _cleanup_strv_ struct strv names = STRV_INIT;
    if (btrfs_each_name(live, "", add_name, &names, e) < 0)
        return -1;
    if (!names.n)
        return 0;
    _cleanup_free_ char *list = strv_join(&names, "', '");
    return err_set(e, ERR_CONFIG, 0,
                   "beside '%s', '%s/%s' holds '%.400s', which is no part of the disk: move it elsewhere",
                   BTRFS_DISK_FILE, b->dir_path, b->image, list);
}

int btrfs_alone(struct volume *v, struct err *e)
{
    struct btrfs_volume *b = btrfs_of(v);
    _cleanup_close_ int live = -1;
    int r = btrfs_open_live(b, &live, e);
    if (r != 0)
        return r < 0 ? -1 : 0;
    if (subvol_destroyable(b->dir, b->image, e) < 0)
        return err_wrap(e, "'%s'", b->dir_path);
    _cleanup_free_ char *path = xasprintf("%s/%s", b->dir_path, b->image);
    if (refusal_barred(path, e) < 0) /* its snapshots would be so, too */
        return -1;
    return b->stream ? 0 : only_disk(b, live, e);
}

struct listing {
    int dir;
    uint32_t vmid;
    bool asides;
    struct strv *names;
};

/* "vm-100-disk-0" of "vm-100-disk-0@s", ".pvesr-stage.vm-100-disk-0.info" …; malloc'ed, NULL when the entry
 * says of no volume that anything of it is here. */
static char *image_of(const char *entry, bool asides)
{
    static const char *const prefixes[] = {BTRFS_STAGE, BTRFS_TMP};
    const char *at = strchr(entry, '@');
    for (size_t i = 0; i < ELEMENTS(prefixes); i++)
        if (strncmp(entry, prefixes[i], strlen(prefixes[i])) == 0)
            return xstrndup(entry + strlen(prefixes[i]), strcspn(entry + strlen(prefixes[i]), "@."));
    return at && !asides && snapshot_is_aside(at + 1) ? NULL : xstrndup(entry, strcspn(entry, "@"));
}

static int list_one(const char *entry, void *arg, struct err *e)
{
    struct listing *l = arg;
    struct btrfs_image n;
    _cleanup_close_ int fd = -1;
    _cleanup_free_ char *name = image_of(entry, l->asides);
    if (!name || !btrfs_image_parse(name, &n) || n.vmid != l->vmid || strcmp(n.image, name) != 0)
        return 0;
    int r = strcmp(entry, name) == 0 ? subvol_open(l->dir, name, &fd, e) : 0;
    if (r != 0)
        return r > 0 || e->kind == ERR_DATA ? 0 : -1;
    r = fd >= 0 && !n.stream ? fs_look_at(fd, BTRFS_DISK_FILE, e) : 1;
    if (r <= 0)
        return r;
    _cleanup_free_ char *found = xasprintf("%u/%s%s", n.vmid, name, n.stream ? ".subvol" : ".raw");
    strv_add_once(l->names, found);
    return 0;
}

static int btrfs_list(const struct volume_store *store, uint32_t vmid, bool asides, struct strv *ret,
                      struct err *e)
{
    _cleanup_close_ int root = open_root(store, e), dir = -1;
    if (root < 0)
        return -1;
    int r = root_enter(root, store, vmid, false, &dir, e);
    if (r != 0)
        return r < 0 ? -1 : 0;
    struct listing l = {dir, vmid, asides, ret};
    if (btrfs_each_name(dir, "", list_one, &l, e) < 0)
        return -1;
    strv_sort(ret);
    return 0;
}

/* ---- removing ---- */

static int tidy_one(const char *rest, void *volume, struct err *e)
{
    struct btrfs_volume *b = btrfs_of(volume);
    char name[BTRFS_NAME_MAX + NAME_MAX];
    if (*rest != '@') /* of another image whose name begins with ours, or for which there was no room */
        return 0;
    snprintf(name, sizeof name, "%s%s", b->tmp, rest);
    if (strncmp(rest, SIGN_TAG, strlen(SIGN_TAG)) == 0) /* a file */
        return unlinkat(b->dir, name, 0) < 0 && errno != ENOENT ? err_sys(e, "cannot remove '%s'", name) : 0;
    if (subvol_destroy(b->dir, name, e) < 0)
        return -1;
    volume_removed(volume, "'%s', which a run that was cut left", name);
    return 0;
}

static int btrfs_tidy(struct volume *v, struct err *e)
{
    struct btrfs_volume *b = btrfs_of(v);
    return btrfs_former_settle(v, e) < 0 || btrfs_each_name(b->dir, b->tmp, tidy_one, v, e) < 0 ||
                   btrfs_bonds_tidy(b, e) < 0
               ? err_wrap(e, "cannot tidy up '%s'", b->dir_path)
               : 0;
}

static int slot_in_use(struct volume *v, char *by, struct err *e)
{
    return btrfs_in_use(btrfs_of(v), true, by, e);
}

static int destroy_snapshots(struct btrfs_volume *b, bool points, struct err *e)
{
    _cleanup_btrfs_snapshots_ struct btrfs_snapshots all = {0};
    char full[BTRFS_NAME_MAX];
    if (btrfs_scan(b, &all, e) < 0)
        return -1;
    for (size_t i = 0; i < all.n; i++) {
        if (!snapshot_goes_along(&all.v[i].s) || snapshot_is_point(all.v[i].s.name) != points)
            continue;
        btrfs_snapshot_name(b, all.v[i].s.name, full);
        if (subvol_destroy(b->dir, full, e) < 0)
            return -1;
        btrfs_bond_end(b, all.v[i].uuid);
    }
    return 0;
}

static int destroy_live(struct btrfs_volume *b, struct err *e)
{
    _cleanup_close_ int live = -1;
    struct subvol info;
    int r = btrfs_open_live(b, &live, e);
    if (r != 0)
        return r < 0 ? -1 : 0;
    if (subvol_read(live, &info, e) < 0 || subvol_destroy(b->dir, b->image, e) < 0)
        return -1;
    btrfs_bond_end(b, info.uuid);
    return 0;
}

/* What was kept aside (diverged_*) stays, and what is somebody's: only a person removes that. As long as
 * anything is left it is still seen as a volume, and repeated. */
static int btrfs_destroy(struct volume *v, struct err *e)
{
    struct btrfs_volume *b = btrfs_of(v);
    if (b->dir < 0)
        return 0;
    if (btrfs_tidy(v, e) < 0 || btrfs_stage_discard(v, e) < 0 || destroy_snapshots(b, false, e) < 0 ||
        destroy_live(b, e) < 0 || destroy_snapshots(b, true, e) < 0 || btrfs_traits_forget(b, e) < 0)
        return -1;
    keeper_end(b->dir, b->image);
    return subvol_commit(b->dir, e);
}

const struct volume_driver driver_btrfs = {
    .type = "btrfs",
    .supports = btrfs_supports,
    .open = btrfs_open,
    .close = btrfs_close,
    .list = btrfs_list,
    .guests = root_guests,
    .info = btrfs_info,
    .place = slot_place,
    .sign = slot_sign,
    .sign_seen = slot_sign_seen,
    .sign_end = slot_sign_end,
    .made = slot_made,
    .keeper = slot_keeper,
    .keeper_set = slot_keeper_set,
    .keeper_remedy = slot_keeper_remedy,
    .snapshots = btrfs_list_snapshots,
    .strays = btrfs_strays,
    .complete = btrfs_alone,
    .alone = btrfs_alone,
    .flush = btrfs_flush,
    .snapshot = btrfs_snapshot,
    .snapshot_keep = btrfs_snapshot_keep,
    .snapshot_destroy = btrfs_snapshot_destroy,
    .snapshot_rename = btrfs_snapshot_rename,
    .snapshot_adopt = btrfs_snapshot_adopt,
    .snapshot_mark = btrfs_snapshot_mark,
    .snapshot_differs = btrfs_snapshot_differs,
    .snapshot_open = slot_open_snapshot,
    .read_open = slot_read_open,
    .tidy = btrfs_tidy,
    .written = btrfs_written,
    .differs = btrfs_differs_from,
    .keep_aside = btrfs_keep_aside,
    .in_use = slot_in_use,
    .destroy = btrfs_destroy,
    .replica = btrfs_replica,
    .writable = btrfs_writable,
    .traits = btrfs_traits,
    .traits_set = btrfs_traits_set,
    .traits_lacking = btrfs_traits_lacking,
    .delta_open = btrfs_delta_open,
    .delta_next = btrfs_delta_next,
    .delta_data = btrfs_delta_data,
    .delta_stream = btrfs_delta_stream,
    .delta_close = btrfs_delta_close,
    .stage_info = btrfs_stage_info,
    .stage_open = btrfs_stage_open,
    .stage_write = btrfs_stage_write,
    .stage_zero = btrfs_stage_zero,
    .stage_feed = btrfs_stage_feed,
    .stage_fd = btrfs_stage_fd,
    .stage_checkpoint = btrfs_stage_checkpoint,
    .stage_seal = btrfs_stage_seal,
    .stage_close = btrfs_stage_close,
    .stage_discard = btrfs_stage_discard,
    .commit = btrfs_commit,
};
