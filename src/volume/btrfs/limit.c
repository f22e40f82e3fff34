/* How large a volume may become: the limits of its subvolume's quota group, which no snapshot and no stream
 * has. Proxmox VE sets one when a container is made on a storage with `quotas`. What cannot be set is
 * remembered as an attribute of the directory, since one of the volume would be a change of it. And whether a
 * guest could write to the volume. */
#include "volume/btrfs/btrfs.h"

#include "base/num.h"
#include "volume/file/room.h"
#include "volume/mark.h"
#include "volume/traits.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/btrfs.h>
#include <linux/btrfs_tree.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/statvfs.h>

#define CLEAR UINT64_MAX /* as the value of a limit: none */

static const struct {
    const char *key;
    uint64_t flag;
} limits[] = {{"limit", BTRFS_QGROUP_LIMIT_MAX_RFER}, {"limit_exclusive", BTRFS_QGROUP_LIMIT_MAX_EXCL}};

/* Without quotas there is no tree of them. Only as long as that is so ENOENT comes. */
static int limits_read(int live, uint64_t treeid, uint64_t ret[ELEMENTS(limits)], struct err *e)
{
    struct btrfs_ioctl_search_args a = {.key = {.tree_id = BTRFS_QUOTA_TREE_OBJECTID,
                                                .min_type = BTRFS_QGROUP_LIMIT_KEY,
                                                .max_type = BTRFS_QGROUP_LIMIT_KEY,
                                                .min_offset = treeid,
                                                .max_offset = treeid,
                                                .max_transid = UINT64_MAX,
                                                .nr_items = 1}};
    struct btrfs_ioctl_search_header h;
    struct btrfs_qgroup_limit_item item;
    memset(ret, 0, ELEMENTS(limits) * sizeof *ret);
    if (ioctl(live, BTRFS_IOC_TREE_SEARCH, &a) < 0)
        return errno == ENOENT ? 0 : err_sys(e, "cannot read the limits of the btrfs subvolume");
    if (!a.key.nr_items)
        return 0;
    memcpy(&h, a.buf, sizeof h);
    if (h.len < sizeof item)
        return 0;
    memcpy(&item, a.buf + sizeof h, sizeof item);
    const uint64_t found[ELEMENTS(limits)] = {le64toh(item.max_rfer), le64toh(item.max_excl)};
    for (size_t i = 0; i < ELEMENTS(limits); i++)
        ret[i] = le64toh(item.flags) & limits[i].flag ? found[i] : 0;
    return 0;
}

static int limit_set(int live, size_t i, uint64_t bytes, struct err *e)
{
    uint64_t value = bytes ? bytes : CLEAR;
    struct btrfs_ioctl_qgroup_limit_args a = {
        .lim = {.flags = limits[i].flag, .max_rfer = i == 0 ? value : 0, .max_excl = i == 1 ? value : 0}};
    if (ioctl(live, BTRFS_IOC_QGROUP_LIMIT, &a) == 0)
        return 0;
    return errno == ENOTCONN ? err_set(e, ERR_CONFIG, 0,
                                       "quotas are off on this file system: btrfs quota enable MOUNTPOINT")
                             : err_sys(e, "cannot limit the btrfs subvolume");
}

/* What was to be set and could not. */
static int lacking_read(const struct btrfs_volume *b, struct strv *ret, struct err *e)
{
    char text[256];
    int r = mark_get(b->dir, mark_key_of("lacking.", b->image).s, text, sizeof text, e);
    if (r == 0)
        strv_split(ret, text, " ");
    return r < 0 ? -1 : 0;
}

/* 1: that was remembered already. */
static int lacking_write(const struct btrfs_volume *b, const struct strv *traits, struct err *e)
{
    struct mark_key key = mark_key_of("lacking.", b->image);
    _cleanup_strv_ struct strv had = STRV_INIT;
    if (lacking_read(b, &had, e) < 0)
        return -1;
    _cleanup_free_ char *before = strv_join(&had, " ");
    _cleanup_free_ char *text = strv_join(traits, " ");
    if (strcmp(before, text) == 0)
        return 1;
    return (*text ? mark_set(b->dir, key.s, text, e) : mark_clear(b->dir, key.s, e)) < 0 ? -1 : 0;
}

int btrfs_traits_forget(const struct btrfs_volume *b, struct err *e)
{
    const struct strv none = STRV_INIT;
    return lacking_write(b, &none, e) < 0 ? -1 : 0;
}

static int open_limits(struct btrfs_volume *b, int *live, uint64_t ret[ELEMENTS(limits)], struct err *e)
{
    struct subvol info;
    int r = btrfs_open_live(b, live, e);
    if (r != 0)
        return r;
    return subvol_read(*live, &info, e) < 0 ? -1 : limits_read(*live, info.treeid, ret, e);
}

/* A disk that is allocated whole becomes so again by failover (volume/dir/room.c says why). */
#define ALLOCATION "allocation"
#define ALLOCATED ALLOCATION "=full"

static bool is_allocated(const struct btrfs_volume *b, int live)
{
    struct err ignored;
    _cleanup_close_ int disk = b->stream ? -1 : btrfs_open_disk(live, O_RDONLY, &ignored);
    return disk >= 0 && room_is_full(disk);
}

static int allocate(const struct btrfs_volume *b, int live, bool again, struct err *e)
{
    _cleanup_close_ int disk = btrfs_open_disk(live, again ? O_RDWR : O_RDONLY, e);
    _cleanup_free_ char *path = xasprintf("%s/%s/disk.raw", b->dir_path, b->image);
    return disk < 0 ? -1 : (again ? room_fill : room_check)(disk, path, e);
}

int btrfs_traits(struct volume *v, struct strv *ret, struct err *e)
{
    struct btrfs_volume *b = btrfs_of(v);
    uint64_t bytes[ELEMENTS(limits)];
    _cleanup_close_ int live = -1;
    _cleanup_strv_ struct strv lacking = STRV_INIT;
    int r = open_limits(b, &live, bytes, e);
    if (r != 0)
        return r < 0 ? -1 : 0;
    if (lacking_read(b, &lacking, e) < 0)
        return -1;
    for (size_t i = 0; i < ELEMENTS(limits); i++) {
        const char *wanted = trait_value(&lacking, limits[i].key);
        if (bytes[i])
            strv_addf(ret, "%s=%" PRIu64, limits[i].key, bytes[i]);
        else if (wanted && trait_valid(wanted - strlen(limits[i].key) - 1))
            strv_addf(ret, "%s=%s", limits[i].key, wanted);
    }
    if (strv_has(&lacking, ALLOCATED) || is_allocated(b, live))
        strv_add(ret, ALLOCATED);
    return 0;
}

int btrfs_traits_set(struct volume *v, const struct strv *traits, struct strv *notes, struct err *e)
{
    struct btrfs_volume *b = btrfs_of(v);
    uint64_t bytes[ELEMENTS(limits)];
    _cleanup_close_ int live = -1;
    _cleanup_strv_ struct strv lacking = STRV_INIT;
    int r = open_limits(b, &live, bytes, e);
    if (r != 0)
        return r < 0 ? -1 : 0;
    bool changed = false;
    for (size_t i = 0; i < ELEMENTS(limits); i++) {
        const char *value = trait_value(traits, limits[i].key);
        uint64_t want = 0;
        struct err problem;
        if (value && num_parse_u64(limits[i].key, value, 0, INT64_MAX, &want, e) < 0)
            return -1;
        if (want == bytes[i])
            continue;
        if (limit_set(live, i, want, &problem) == 0) {
            changed = true;
            continue;
        }
        _cleanup_free_ char *trait = xasprintf("%s=%" PRIu64, limits[i].key, want);
        trait_note(notes, trait, b->image, problem.text);
        strv_add(&lacking, trait);
    }
    if (strv_has(traits, ALLOCATED) && !b->stream && !is_allocated(b, live))
        strv_add(&lacking, ALLOCATED);
    struct err unsaid = {0}; /* that it cannot be remembered costs no more than the traits */
    r = lacking_write(b, &lacking, &unsaid);
    if (r < 0)
        strv_addf(notes, "what '%s' lacks is not remembered: %s", b->image, unsaid.text);
    return changed || r == 0 ? subvol_commit(b->dir, e) : 0;
}

static int lacking_allocate(struct btrfs_volume *b, bool again, struct strv *notes, struct err *e)
{
    _cleanup_close_ int live = -1;
    struct err problem = {0};
    int r = btrfs_open_live(b, &live, e);
    if (r != 0)
        return r < 0 ? -1 : 0;
    if (allocate(b, live, again, &problem) < 0)
        trait_note(notes, ALLOCATED, b->image, problem.text);
    return 0;
}

int btrfs_traits_lacking(struct volume *v, bool again, struct strv *notes, struct err *e)
{
    struct btrfs_volume *b = btrfs_of(v);
    _cleanup_strv_ struct strv lacking = STRV_INIT;
    _cleanup_strv_ struct strv all = STRV_INIT;
    if (b->dir < 0)
        return 0;
    if (lacking_read(b, &lacking, e) < 0)
        return -1;
    if (strv_has(&lacking, ALLOCATED) && lacking_allocate(b, again, notes, e) < 0)
        return -1;
    for (size_t i = 0; i < lacking.n && !again; i++)
        if (!trait_is(lacking.v[i], ALLOCATION))
            trait_note(notes, lacking.v[i], b->image, "the last run could not");
    if (!lacking.n || !again)
        return 0;
    return btrfs_traits(v, &all, e) < 0 ? -1 : btrfs_traits_set(v, &all, notes, e);
}

/* ---- writable? ---- */

int btrfs_writable(struct volume *v, struct err *e)
{
    struct btrfs_volume *b = btrfs_of(v);
    struct subvol info;
    struct statvfs fs;
    _cleanup_close_ int live = -1, disk = -1;
    if (btrfs_need_live(b, &live, e) < 0 || subvol_read(live, &info, e) < 0)
        return -1;
    if (fstatvfs(live, &fs) < 0)
        return err_sys(e, "cannot ask '%s/%s'", b->dir_path, b->image);
    if (info.readonly)
        return err_set(e, ERR_CONFIG, 0, "a guest could not write to it: btrfs property set %s/%s ro false",
                       b->dir_path, b->image);
    if (fs.f_flag & ST_RDONLY)
        return err_set(e, ERR_CONFIG, EROFS, "a guest could not write to it");
    if (!b->stream && (disk = btrfs_open_disk(live, O_RDWR, e)) < 0)
        return err_wrap(e, "a guest could not write to it");
    return 0;
}
