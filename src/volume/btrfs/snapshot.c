/* The snapshots of a btrfs volume: found by listing, made, renamed, removed. */
#include "volume/btrfs/btrfs.h"

#include "volume/mark.h"

#include "base/lookup.h"
#include "base/fs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void btrfs_snapshots_release(struct btrfs_snapshots *s)
{
    free(s->v);
    *s = (struct btrfs_snapshots){0};
}

const struct btrfs_snapshot *btrfs_find_id(const struct btrfs_snapshots *s, const char *id)
{
    for (size_t i = 0; i < s->n; i++)
        if (strcmp(s->v[i].s.id, id) == 0)
            return &s->v[i];
    return NULL;
}

const struct btrfs_snapshot *btrfs_find_uuid(const struct btrfs_snapshots *s, const char *uuid)
{
    for (size_t i = 0; i < s->n; i++)
        if (uuid[0] && strcmp(s->v[i].uuid, uuid) == 0)
            return &s->v[i];
    return NULL;
}

static const char *adopted_key(const char *id, char key[SNAPSHOT_ID_LEN + 9])
{
    snprintf(key, SNAPSHOT_ID_LEN + 9, "adopted.%s", id);
    return key;
}

static int is_adopted(const struct btrfs_volume *b, const char *id, struct err *e)
{
    char key[SNAPSHOT_ID_LEN + 9], value[8];
    int r = mark_get(b->dir, adopted_key(id, key), value, sizeof value, e);
    return r < 0 ? -1 : r == 0;
}

/* Flags, -1: cannot be told. What was received without a run is somebody's, or a copy of a restore point,
 * unless it has the name of one. */
static int whose(const struct btrfs_volume *b, const char *name, const struct subvol *info, enum bond bond,
                 struct err *e)
{
    bool named = snapshot_is_point(name);
    if (bond == BOND_RENAMED || (bond == BOND_NONE && info->received_uuid[0] && !named))
        return SNAPSHOT_STRANGE;
    int received = info->received_uuid[0] ? bond == BOND_OURS : is_adopted(b, info->uuid, e);
    if (received < 0)
        return -1;
    return (int)((received ? SNAPSHOT_RECEIVED : 0u) | (bond == BOND_OURS ? SNAPSHOT_OURS : 0u));
}

/* Flags. What somebody received may have been written to after it got its identity: btrfs-receive(8) does. */
static unsigned sound(const struct subvol *info, enum bond bond)
{
    if (!info->readonly)
        return SNAPSHOT_CHANGED;
    bool told = bond != BOND_NONE || !info->received_uuid[0];
    return SNAPSHOT_READABLE | (told && info->changed ? SNAPSHOT_CHANGED : 0u);
}

/* counts: it is a snapshot, if a changed one perhaps; not somebody's writable copy. */
static int describe(struct btrfs_volume *b, const char *name, int fd, struct btrfs_snapshot *ret,
                    bool *counts, struct err *e)
{
    struct subvol info;
    if (subvol_read(fd, &info, e) < 0)
        return -1;
    /* somebody removed its file: it is nobody's base, and stands in nobody's way */
    bool empty = btrfs_disk_size(b, fd, &ret->s.size, e) < 0;
    if (empty && e->code != ENOENT)
        return -1;
    snprintf(ret->s.name, sizeof ret->s.name, "%s", name);
    memcpy(ret->uuid, info.uuid, sizeof ret->uuid);
    memcpy(ret->parent, info.parent_uuid, sizeof ret->parent);
    memcpy(ret->s.id, info.received_uuid[0] ? info.received_uuid : info.uuid, sizeof ret->s.id);
    ret->s.created = info.created;
    ret->s.seq = info.treeid;
    enum bond bond;
    char full[BTRFS_NAME_MAX];
    btrfs_snapshot_name(b, name, full);
    if (btrfs_bond_get(b, info.uuid, full, &bond, e) < 0)
        return -1;
    int flags = whose(b, name, &info, bond, e);
    if (flags < 0 || mark_damaged_get(b->dir, info.uuid, &ret->s.damaged, e) < 0)
        return -1;
    ret->s.flags = (unsigned)flags | (empty ? SNAPSHOT_CHANGED : sound(&info, bond));
    ret->s.state = info.written << 1 | !info.readonly;
    *counts = info.readonly || bond == BOND_OURS;
    return 0;
}

struct scan {
    struct btrfs_volume *b;
    struct btrfs_snapshots *found;
};

static int scan_one(const char *name, void *arg, struct err *e)
{
    struct scan *s = arg;
    _cleanup_close_ int fd = -1;
    struct btrfs_snapshot one = {0};
    char full[BTRFS_NAME_MAX];
    bool counts;
    if (!*name || strlen(name) > SNAPSHOT_NAME_MAX)
        return 0;
    btrfs_snapshot_name(s->b, name, full);
    int r = subvol_open(s->b->dir, full, &fd, e);
    if (r < 0 && e->kind == ERR_DATA)
        return 0; /* not a subvolume: not a snapshot */
    if (r != 0)
        return r < 0 ? -1 : 0;
    if (describe(s->b, name, fd, &one, &counts, e) < 0)
        return err_wrap(e, "snapshot '%s/%s'", s->b->dir_path, full);
    if (!counts)
        return 0;
    s->found->v = xgrow(s->found->v, s->found->n, sizeof one);
    s->found->v[s->found->n++] = one;
    return 0;
}

static int by_seq(const void *a, const void *b)
{
    const struct btrfs_snapshot *x = a, *y = b;
    return (x->s.seq > y->s.seq) - (x->s.seq < y->s.seq);
}

/* A snapshot of a restore point has its id, too: only ours counts, or else the oldest. */
static void leave_copies(struct btrfs_snapshots *all)
{
    size_t n = 0;
    _cleanup_lookup_ struct lookup ids = {0};
    for (size_t i = 0; i < all->n; i++)
        if (all->v[i].s.flags & SNAPSHOT_OURS)
            lookup_add(&ids, all->v[i].s.id, 0);
    for (size_t i = 0; i < all->n; i++)
        all->v[i].copy = !(all->v[i].s.flags & SNAPSHOT_OURS) && !lookup_add(&ids, all->v[i].s.id, 0);
    for (size_t i = 0; i < all->n; i++)
        if (!all->v[i].copy)
            all->v[n++] = all->v[i];
    all->n = n;
}

int btrfs_scan(struct btrfs_volume *b, struct btrfs_snapshots *ret, struct err *e)
{
    struct scan s = {b, ret};
    char prefix[BTRFS_NAME_MAX];
    *ret = (struct btrfs_snapshots){0};
    btrfs_snapshot_name(b, "", prefix);
    if (btrfs_each_name(b->dir, prefix, scan_one, &s, e) < 0) {
        btrfs_snapshots_release(ret);
        return -1;
    }
    if (ret->n)
        qsort(ret->v, ret->n, sizeof *ret->v, by_seq);
    leave_copies(ret);
    return 0;
}

int btrfs_list_snapshots(struct volume *v, struct snapshots *ret, struct err *e)
{
    _cleanup_btrfs_snapshots_ struct btrfs_snapshots all = {0};
    if (btrfs_scan(btrfs_of(v), &all, e) < 0)
        return -1;
    ret->n = all.n;
    ret->v = xcalloc(all.n + 1, sizeof *ret->v);
    for (size_t i = 0; i < all.n; i++)
        ret->v[i] = all.v[i].s;
    return 0;
}

int btrfs_shown(struct btrfs_volume *b, int live, const struct btrfs_snapshots *all,
                const struct btrfs_snapshot **ret, struct err *e)
{
    struct subvol info;
    if (subvol_read(live, &info, e) < 0)
        return -1;
    *ret = btrfs_find_uuid(all, info.parent_uuid);
    return 0;
}

int btrfs_open_snapshot(struct btrfs_volume *b, const struct snapshot *s, int *ret, struct err *e)
{
    char full[BTRFS_NAME_MAX];
    _cleanup_close_ int fd = -1;
    struct btrfs_snapshot found = {0};
    bool counts;
    btrfs_snapshot_name(b, s->name, full);
    int r = b->dir < 0 ? 1 : subvol_open(b->dir, full, &fd, e);
    if (r == 1)
        return err_set(e, ERR_GONE, 0, "there is no snapshot '%s/%s'", b->dir_path, full);
    if (r < 0 || describe(b, s->name, fd, &found, &counts, e) < 0)
        return -1;
    if (strcmp(found.s.id, s->id) != 0 || !counts)
        return err_set(e, ERR_DATA, 0, "snapshot '%s/%s' has the id %s instead of %s%s", b->dir_path, full,
                       found.s.id, s->id, counts ? "" : ", and is writable");
    *ret = take_fd(&fd);
    return 0;
}

/* A snapshot first writes what is dirty in the subvolume (of a container that can be any file), and then
 * commits the transaction, which takes the longer the more is in it. */
void btrfs_flush(struct volume *v)
{
    struct btrfs_volume *b = btrfs_of(v);
    _cleanup_close_ int live = -1, disk = -1;
    struct err ignored;
    if (btrfs_open_live(b, &live, &ignored) != 0)
        return;
    if (b->stream)
        syncfs(live);
    else if ((disk = btrfs_open_disk(live, O_RDONLY, &ignored)) >= 0) {
        fs_write_back(disk, volume_tick(v));
        subvol_commit(b->dir, &ignored);
    }
}

/* At a temporary name that says what it will be. Atomic, so a running guest is no matter. */
int btrfs_snapshot(struct volume *v, const char *name, bool busy, struct err *e)
{
    struct btrfs_volume *b = btrfs_of(v);
    _cleanup_close_ int live = -1;
    char tmp[BTRFS_NAME_MAX], full[BTRFS_NAME_MAX];
    snprintf(tmp, sizeof tmp, "%.120s@%.63s", b->tmp, name);
    btrfs_snapshot_name(b, name, full);
    if (btrfs_need_live(b, &live, e) < 0)
        return -1;
    int there = fs_look_at(b->dir, full, e);
    if (there != 0)
        return there < 0 ? -1 : err_set(e, ERR_USAGE, EEXIST, "snapshot '%s/%s'", b->dir_path, full);
    if (subvol_destroy(b->dir, tmp, e) < 0)
        return -1;
    return subvol_snapshot(live, b->dir, tmp, true, e);
}

static int bind_to(struct btrfs_volume *b, int fd, const char *name, const char *also, struct err *e)
{
    struct subvol info;
    return subvol_read(fd, &info, e) < 0 ? -1 : btrfs_bond_set(b, info.uuid, name, also, e);
}

int btrfs_snapshot_keep(struct volume *v, const char *name, struct snapshot *ret, struct err *e)
{
    struct btrfs_volume *b = btrfs_of(v);
    char tmp[BTRFS_NAME_MAX], full[BTRFS_NAME_MAX];
    snprintf(tmp, sizeof tmp, "%.120s@%.63s", b->tmp, name);
    btrfs_snapshot_name(b, name, full);
    if (b->dir < 0)
        return err_set(e, ERR_GONE, 0, "there is no volume '%s/%s'", b->dir_path, b->image);
    _cleanup_close_ int fd = -1;
    int r = subvol_open(b->dir, tmp, &fd, e);
    if (r < 0 ||
        (r == 0 && (bind_to(b, fd, full, NULL, e) < 0 || subvol_rename(b->dir, tmp, full, 0, e) < 0)))
        return -1;
    if (r == 1)
        r = subvol_open(b->dir, full, &fd, e); /* there already when this is repeated */
    if (r == 1)
        return err_set(e, ERR_GONE, 0,
                       "snapshot '%s/%s' vanished before it was kept: the next run takes another",
                       b->dir_path, full);
    struct btrfs_snapshot found = {0};
    bool counts;
    if (r < 0 || subvol_commit(b->dir, e) < 0 || describe(b, name, fd, &found, &counts, e) < 0)
        return -1;
    *ret = found.s;
    return 0;
}

int btrfs_snapshot_destroy(struct volume *v, const char *name, const char *id, struct err *e)
{
    struct btrfs_volume *b = btrfs_of(v);
    struct snapshot s = {0};
    _cleanup_close_ int fd = -1;
    char full[BTRFS_NAME_MAX];
    snprintf(s.name, sizeof s.name, "%s", name);
    snprintf(s.id, sizeof s.id, "%s", id);
    if (btrfs_open_snapshot(b, &s, &fd, e) < 0)
        return e->kind == ERR_GONE ? 1 : -1;
    btrfs_snapshot_name(b, name, full);
    struct subvol info;
    int r = subvol_read(fd, &info, e) < 0 ? -1 : subvol_destroy(b->dir, full, e);
    if (r == 0)
        btrfs_bond_end(b, info.uuid);
    char key[SNAPSHOT_ID_LEN + 9];
    struct err ignored; /* the attribute of an id that is gone says nothing */
    if (r == 0)
        mark_clear(b->dir, adopted_key(id, key), &ignored);
    return r == 0 ? subvol_commit(b->dir, e) : r;
}

int btrfs_snapshot_adopt(struct volume *v, const char *name, const char *id, struct err *e)
{
    struct btrfs_volume *b = btrfs_of(v);
    struct snapshot s = {0};
    _cleanup_close_ int fd = -1;
    char key[SNAPSHOT_ID_LEN + 9];
    snprintf(s.name, sizeof s.name, "%s", name);
    snprintf(s.id, sizeof s.id, "%s", id);
    if (btrfs_open_snapshot(b, &s, &fd, e) < 0)
        return e->kind == ERR_GONE ? 1 : -1;
    struct subvol info;
    char full[BTRFS_NAME_MAX];
    btrfs_snapshot_name(b, name, full);
    if (subvol_read(fd, &info, e) < 0 ||
        (info.received_uuid[0] ? btrfs_bond_set(b, info.uuid, full, NULL, e)
                               : mark_set(b->dir, adopted_key(id, key), "1", e)) < 0)
        return -1;
    return subvol_commit(b->dir, e);
}

int btrfs_snapshot_mark(struct volume *v, const char *name, const char *id, int64_t since, struct err *e)
{
    struct btrfs_volume *b = btrfs_of(v);
    struct snapshot s = {0};
    struct subvol info;
    _cleanup_close_ int fd = -1;
    snprintf(s.name, sizeof s.name, "%s", name);
    snprintf(s.id, sizeof s.id, "%s", id);
    if (btrfs_open_snapshot(b, &s, &fd, e) < 0)
        return e->kind == ERR_GONE ? 1 : -1;
    return subvol_read(fd, &info, e) < 0 || mark_damaged_set(b->dir, info.uuid, since, e) < 0
               ? -1
               : subvol_commit(b->dir, e);
}

int btrfs_snapshot_rename(struct volume *v, const char *from, const char *to, struct err *e)
{
    struct btrfs_volume *b = btrfs_of(v);
    char old[BTRFS_NAME_MAX], new[BTRFS_NAME_MAX];
    _cleanup_close_ int fd = -1;
    btrfs_snapshot_name(b, from, old);
    btrfs_snapshot_name(b, to, new);
    int r = b->dir < 0 ? 1 : subvol_open(b->dir, old, &fd, e);
    if (r == 1)
        return err_set(e, ERR_GONE, 0, "there is no snapshot '%s/%s'", b->dir_path, old);
    if (r < 0 || bind_to(b, fd, new, old, e) < 0 || subvol_rename(b->dir, old, new, 0, e) < 0 ||
        bind_to(b, fd, new, NULL, e) < 0)
        return -1;
    return subvol_commit(b->dir, e);
}
