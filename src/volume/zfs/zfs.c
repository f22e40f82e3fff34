/* The zfspool driver: volumes and snapshots. See zfs.h. */
#include "volume/zfs/zfs.h"

#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/proc.h"
#include "volume/name.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static bool zfs_supports(const char *name)
{
    return !strchr(name, '/') || volume_name_linked(name);
}

static bool pool_ok(const char *pool)
{
    return pool && *pool && *pool != '-' && *pool != '/' && strlen(pool) < ZFS_NAME_MAX / 2 &&
           !pool[strspn(pool, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.:-/")];
}

static int check_pool(const struct volume_store *store, struct err *e)
{
    if (pool_ok(store->pool))
        return 0;
    return err_set(e, ERR_CONFIG, 0, "storage '%s': '%.100s' is no name of a ZFS pool", store->id,
                   store->pool ? store->pool : "");
}

static int zfs_open(struct volume *v, struct err *e)
{
    if (check_pool(&v->store, e) < 0)
        return -1;
    struct zfs *z = xcalloc(1, sizeof *z);
    z->volume = v;
    z->pool = xstrdup(v->store.pool);
    const char *slash = strchr(v->name, '/');
    z->name = xstrdup(slash ? slash + 1 : v->name);
    z->base = slash ? xasprintf("%s/%.*s", z->pool, (int)(slash - v->name), v->name) : NULL;
    z->live = xasprintf("%s/%s", z->pool, z->name);
    z->stage = xasprintf("%s/pvesr-stage-%s", z->pool, z->name);
    z->old = xasprintf("%s/pvesr-old-%s", z->pool, z->name);
    strv_add(&z->expected, z->live);
    v->priv = z;
    zfs_opened(z);
    return 0;
}

static void zfs_close(struct volume *v)
{
    struct zfs *z = v->priv;
    if (!z)
        return;
    zfs_closed(z);
    zfs_view_release(&z->seen);
    strv_release(&z->local);
    strv_release(&z->expected);
    free(z->pool);
    free(z->name);
    free(z->base);
    free(z->live);
    free(z->stage);
    free(z->old);
    free(z);
}

static int slot_list(const struct volume_store *store, uint32_t vmid, bool asides, struct strv *ret,
                     struct err *e)
{
    return check_pool(store, e) < 0 ? -1 : zfs_names(store, vmid, asides, ret, e);
}

static int slot_guests(const struct volume_store *store, volume_guest_fn *tell, void *arg, struct err *e)
{
    return check_pool(store, e) < 0 ? -1 : zfs_guests(store, tell, arg, e);
}

/* A dataset has one name on a node. */
static int slot_place(struct volume *v, struct volume_place *ret, struct err *e)
{
    snprintf(ret->spot, sizeof ret->spot, "%s", zfs_of(v)->live);
    return 0;
}

static int slot_sign(struct volume *v, char *ret, struct err *e)
{
    _cleanup_view_ struct zfs_view w = {0};
    if (zfs_view(zfs_of(v), &w, e) < 0)
        return -1;
    if (w.live.name[0])
        snprintf(ret, VOLUME_SIGN_MAX + 1, "zfs:%s", w.live.guid);
    return 0;
}

static int slot_sign_seen(struct volume *v, const char *sign, struct err *e)
{
    char here[VOLUME_SIGN_MAX + 1] = "";
    return slot_sign(v, here, e) < 0 ? -1 : strcmp(here, sign) == 0;
}

static bool release_lossy(void)
{
    _cleanup_buf_ struct buf release = BUF_INIT;
    struct err ignored;
    return fs_read("/sys/module/zfs/version", 4096, &release, &ignored) < 0 ||
           zfs_release_lossy(buf_str(&release));
}

static int slot_info(struct volume *v, struct volume_info *ret, struct err *e)
{
    _cleanup_view_ struct zfs_view w = {0};
    if (zfs_view(zfs_of(v), &w, e) < 0)
        return -1;
    ret->stream = ret->strict = ret->many = ret->proves = ret->one_line = true;
    ret->exists = w.live.name[0];
    ret->strange = w.live.stray;
    ret->ranges = w.live.volume;
    ret->lossy = w.live.name[0] && !w.live.volume && release_lossy();
    ret->linked = zfs_linked(zfs_of(v), &w.live);
    ret->encrypted = w.live.encrypted;
    ret->encrypts = w.pool.encrypted;
    ret->size = w.live.size;
    ret->available = w.live.available;
    return 0;
}

/* ---- snapshots ---- */

/* Of the live volume; that on which it stands as a linked clone; of the stage, those that count already; of
 * what was kept, those kept aside. */
static bool counts(const struct zfs_view *w, const struct zfs_snapshot *x)
{
    if (x->of_origin || strcmp(x->dataset, w->live.name) == 0)
        return true;
    if (strcmp(x->dataset, w->stage.name) == 0) {
        const struct zfs_snapshot *origin = zfs_promoted(w);
        if (origin && x->s.seq <= origin->s.seq)
            return true;
        const struct zfs_snapshot *point = zfs_find_on(w, w->stage.name, w->stage.point);
        return point && x->s.seq <= point->s.seq && !zfs_beside(w);
    }
    return snapshot_is_aside(x->s.name);
}

static const struct zfs_snapshot *find(const struct zfs_view *w, const char *name)
{
    for (size_t i = 0; i < w->n; i++)
        if (counts(w, &w->snapshots[i]) && strcmp(w->snapshots[i].s.name, name) == 0)
            return &w->snapshots[i];
    return NULL;
}

static int slot_snapshots(struct volume *v, struct snapshots *ret, struct err *e)
{
    _cleanup_view_ struct zfs_view w = {0};
    if (zfs_view(zfs_of(v), &w, e) < 0)
        return -1;
    ret->v = xcalloc(w.n + 1, sizeof *ret->v);
    for (size_t i = 0; i < w.n; i++)
        if (counts(&w, &w.snapshots[i]))
            ret->v[ret->n++] = w.snapshots[i].s;
    return 0;
}

static char *at(const char *dataset, const char *snapshot)
{
    return xasprintf("%s@%s", dataset, snapshot);
}

/* Atomic, so a running guest is no matter. */
static int slot_snapshot(struct volume *v, const char *name, bool busy, struct err *e)
{
    struct zfs *z = zfs_of(v);
    _cleanup_free_ char *full = at(z->live, name);
    _cleanup_free_ char *mark = zfs_name_text(z->name, name, NULL);
    return zfs_change(z, e, "snapshot", "-o", mark, "--", full, NULL);
}

static int slot_snapshot_all(struct volume *const v[], size_t n, const char *name, struct err *e)
{
    _cleanup_strv_ struct strv argv = STRV_INIT, volumes = STRV_INIT;
    for (size_t i = 0; i < n; i++)
        strv_add(&volumes, zfs_of(v[i])->name);
    _cleanup_free_ char *mark = zfs_names_text(&volumes, name);
    strv_adds(&argv, "zfs", "snapshot", "-o", mark, "--", NULL);
    for (size_t i = 0; i < n; i++) {
        strv_addf(&argv, "%s@%s", zfs_of(v[i])->live, name);
        zfs_forget(zfs_of(v[i]));
    }
    return zfs_change_all(zfs_of(v[0]), &argv, e);
}

/* A spare: a pool without the feature does without. */
static void bookmark(struct zfs *z, const char *name)
{
    struct err ignored;
    _cleanup_free_ char *snapshot = at(z->live, name);
    _cleanup_free_ char *mark = xasprintf("%s#%s", z->live, name);
    if (zfs_change_known(z, &ignored, "bookmark", "--", snapshot, mark, NULL) == 0)
        zfs_seen_bookmark(z, name);
}

static int drop_bookmark(struct zfs *z, const char *name, struct err *e)
{
    _cleanup_free_ char *mark = xasprintf("%s#%s", z->live, name);
    return zfs_change(z, e, "destroy", "--", mark, NULL);
}

/* `zfs rollback` to a snapshot refuses where a younger bookmark is, and Proxmox VE knows of none. So a
 * guest's own snapshot is the base for when others are gone, and only a volume without them needs bookmarks.
 */
static bool rolls_back(const struct zfs_view *w)
{
    bool others = strv_has(&w->others, w->live.name);
    for (size_t i = 0; i < w->n; i++)
        others |= !w->snapshots[i].is_bookmark && strcmp(w->snapshots[i].dataset, w->live.name) == 0 &&
                  !snapshot_is_point(w->snapshots[i].s.name);
    return others;
}

static int slot_keep(struct volume *v, const char *name, struct snapshot *ret, struct err *e)
{
    _cleanup_view_ struct zfs_view w = {0};
    if (zfs_view(zfs_of(v), &w, e) < 0)
        return -1;
    if (!rolls_back(&w))
        bookmark(zfs_of(v), name);
    const struct zfs_snapshot *x = find(&w, name);
    if (!x || x->is_bookmark || strcmp(x->dataset, w.live.name) != 0)
        return err_set(e, ERR_GONE, 0,
                       "snapshot '%s' vanished before it was kept: the next run takes another", name);
    *ret = x->s;
    return 0;
}

/* 1: not there. */
static int find_checked(struct volume *v, const char *name, const char *id, struct zfs_snapshot *ret,
                        struct err *e)
{
    struct zfs *z = zfs_of(v);
    _cleanup_view_ struct zfs_view w = {0};
    if (!z->holds && zfs_view(z, &w, e) < 0)
        return -1;
    const struct zfs_snapshot *x = find(z->holds ? &z->held : &w, name);
    if (!x)
        return 1;
    if (strcmp(x->s.id, id) != 0)
        return err_set(e, ERR_DATA, 0, "snapshot '%s' has the id %s instead of %s: it is not the same one",
                       name, x->s.id, id);
    *ret = *x;
    return 0;
}

static void slot_destroying(struct volume *v, bool on)
{
    struct zfs *z = zfs_of(v);
    struct err ignored; /* each then looks for itself, and says why it cannot */
    if (z->holds)
        zfs_view_release(&z->held);
    z->holds = on && zfs_view(z, &z->held, &ignored) == 0;
}

static int slot_snapshot_destroy(struct volume *v, const char *name, const char *id, struct err *e)
{
    struct zfs *z = zfs_of(v);
    struct zfs_snapshot x;
    int r = find_checked(v, name, id, &x, e);
    if (r != 0 || x.of_origin)
        return r;
    const char *mark = x.is_bookmark ? name : x.bookmark;
    if (*mark && drop_bookmark(z, mark, e) < 0)
        return -1;
    if (x.is_bookmark)
        return 0;
    _cleanup_free_ char *full = at(x.dataset, name);
    r = zfs_change(z, e, "destroy", "--", full, NULL);
    if (r == 0 || !strstr(e->text, "dependent clones"))
        return r;
    struct err ignored; /* then it stays for what stands on it */
    int free = zfs_part(z, full, &ignored);
    if (free == ZFS_PART_RENAMED)
        return 0;
    if (free == ZFS_PART_FREE)
        return zfs_change(z, e, "destroy", "--", full, NULL);
    /* out of the way of its name, it goes with the last of them */
    _cleanup_free_ char *base = xasprintf("%.*s@" ZFS_BASE "%s", (int)strcspn(full, "@"), full, id + 16);
    return zfs_change(z, e, "rename", "--", full, base, NULL) < 0
               ? -1
               : zfs_change(z, e, "destroy", "-d", "--", base, NULL);
}

/* To its bookmark. What clones stand on is destroyed as ever. */
static int slot_snapshot_reduce(struct volume *v, const char *name, const char *id, struct err *e)
{
    struct zfs_snapshot x;
    int r = find_checked(v, name, id, &x, e);
    if (r != 0 || !x.bookmark[0] || x.s.flags & SNAPSHOT_RECEIVED)
        return r < 0 ? -1 : 1;
    _cleanup_free_ char *full = at(x.dataset, name);
    r = zfs_change(zfs_of(v), e, "destroy", "--", full, NULL);
    return r < 0 && strstr(e->text, "dependent clones") ? 1 : r;
}

/* The full name of one of the volume's own, at which marks can be set; NULL with 0 where there is none. */
static int find_own(struct volume *v, const char *name, const char *id, char **full, struct err *e)
{
    struct zfs_snapshot x;
    int r = find_checked(v, name, id, &x, e);
    *full = r != 0 || x.is_bookmark || x.of_origin ? NULL : at(x.dataset, name);
    return r;
}

static int slot_snapshot_adopt(struct volume *v, const char *name, const char *id, struct err *e)
{
    _cleanup_free_ char *full = NULL;
    int r = find_own(v, name, id, &full, e);
    _cleanup_free_ char *mark = zfs_name_text(zfs_of(v)->name, name, NULL);
    return full ? zfs_change(zfs_of(v), e, "set", "pvesr:received=1", mark, full, NULL) : r;
}

static int slot_snapshot_mark(struct volume *v, const char *name, const char *id, int64_t since,
                              struct err *e)
{
    struct zfs *z = zfs_of(v);
    _cleanup_free_ char *full = NULL;
    int r = find_own(v, name, id, &full, e);
    _cleanup_free_ char *mark = xasprintf("pvesr:damaged=%" PRId64, since);
    return !full   ? r
           : since ? zfs_change(z, e, "set", mark, full, NULL)
                   : zfs_change(z, e, "inherit", "pvesr:damaged", full, NULL);
}

/* Every snapshot after the base, up to this one, has nothing of its own. What is not known here may have. */
static int slot_snapshot_differs(struct volume *v, const struct snapshot *base, const struct snapshot *s,
                                 struct err *e)
{
    _cleanup_view_ struct zfs_view w = {0};
    if (zfs_view(zfs_of(v), &w, e) < 0)
        return -1;
    const struct zfs_snapshot *from = zfs_find_on(&w, w.live.name, base->id);
    const struct zfs_snapshot *to = zfs_find_on(&w, w.live.name, s->id);
    if (!from || !to || strv_has(&w.others, w.live.name) || strv_has(&w.bases, w.live.name))
        return 1;
    for (const struct zfs_snapshot *x = w.snapshots; x < w.snapshots + w.n; x++)
        if (strcmp(x->dataset, w.live.name) == 0 && !x->is_bookmark && x->written && x->s.seq > from->s.seq &&
            x->s.seq <= to->s.seq)
            return 1;
    return 0;
}

static int slot_snapshot_rename(struct volume *v, const char *from, const char *to, struct err *e)
{
    struct zfs *z = zfs_of(v);
    _cleanup_view_ struct zfs_view w = {0};
    if (zfs_view(zfs_of(v), &w, e) < 0)
        return -1;
    const struct zfs_snapshot *x = find(&w, from);
    if (!x || x->of_origin)
        return err_set(e, ERR_GONE, 0, "there is no snapshot '%s' of the volume's own", from);
    if (find(&w, to))
        return err_set(e, ERR_USAGE, 0, "there is a snapshot '%s' already", to);
    if (x->is_bookmark && snapshot_is_aside(to))
        return drop_bookmark(z, x->s.name, e); /* it holds nothing that could be lost */
    if (x->is_bookmark)
        return err_set(e, ERR_GONE, 0, "of snapshot '%s' only a bookmark is left, which has no data", from);
    _cleanup_free_ char *old = at(x->dataset, from);
    _cleanup_free_ char *new = at(x->dataset, to);
    _cleanup_free_ char *mark = zfs_name_text(z->name, to, from);
    if (x->s.flags & SNAPSHOT_OURS && zfs_change(z, e, "set", mark, old, NULL) < 0)
        return -1;
    return zfs_change(z, e, "rename", "--", old, new, NULL);
}

/* ---- the live volume ---- */

static int slot_alone(struct volume *v, struct err *e)
{
    _cleanup_view_ struct zfs_view w = {0};
    return zfs_view(zfs_of(v), &w, e) < 0 ? -1 : zfs_check_below(&w, zfs_of(v)->live, e);
}

/* The newest of its own; where a clone took those over, the one on which it stands now. */
static const struct zfs_snapshot *newest_known(const struct zfs_view *w)
{
    const struct zfs_snapshot *own = zfs_newest_of_live(w);
    for (size_t i = 0; !own && zfs_stands_elsewhere(w) && i < w->n; i++) {
        const struct zfs_snapshot *x = &w->snapshots[i];
        _cleanup_free_ char *full = at(x->dataset, x->s.name);
        if (x->of_origin && strcmp(full, w->live.origin) == 0)
            return x;
    }
    return own;
}

/* What was seen as written since a snapshot that is still the newest has not become unwritten; that it was
 * not is true of that moment only. A replica is asked exactly all the same: what is kept aside depends on it.
 */
static bool seen_written(const struct volume *v, const struct zfs *z)
{
    return !v->idle && z->known && z->seen.live.name[0] && z->seen.live.written &&
           zfs_newest(&z->seen, z->seen.live.name);
}

static int slot_written(struct volume *v, char *since, struct err *e)
{
    _cleanup_view_ struct zfs_view w = {0};
    if (seen_written(v, zfs_of(v))) {
        strcpy(since, zfs_newest(&zfs_of(v)->seen, zfs_of(v)->live)->s.name);
        return 1;
    }
    if ((v->idle && zfs_settle(zfs_of(v), e) < 0) || zfs_view_exact(zfs_of(v), &w, e) < 0)
        return -1;
    if (!w.live.name[0])
        return 0;
    const struct zfs_snapshot *newest = newest_known(&w);
    if (!newest)
        return 1;
    strcpy(since, newest->s.name);
    return zfs_written(zfs_of(v), &w.live);
}

static int slot_keep_aside(struct volume *v, const char *name, struct err *e)
{
    struct zfs *z = zfs_of(v);
    _cleanup_view_ struct zfs_view w = {0};
    _cleanup_free_ char *full = at(zfs_of(v)->live, name);
    if (zfs_view_exact(zfs_of(v), &w, e) < 0)
        return -1;
    const struct zfs_snapshot *newest = zfs_newest(&w, w.live.name);
    if (newest && strcmp(newest->s.name, name) == 0 && w.live.written == 0)
        return 0; /* a repetition */
    return zfs_change(z, e, "snapshot", "--", full, NULL);
}

static int slot_replica(struct volume *v, char *owner, char *base_id, struct err *e)
{
    _cleanup_view_ struct zfs_view w = {0};
    if (zfs_view(zfs_of(v), &w, e) < 0)
        return -1;
    const struct zfs_dataset *d = w.live.name[0] ? &w.live : &w.stage; /* not shown yet: who is making it? */
    memcpy(owner, d->owner, sizeof d->owner);
    if (w.live.name[0])
        memcpy(base_id, w.live.base, sizeof w.live.base);
    return 0;
}

void zfs_free_kept(struct zfs *z, const struct zfs_view *w)
{
    struct err ignored; /* it stands on its own already */
    for (size_t i = 0; i < w->kept.n; i++)
        zfs_change(z, &ignored, "promote", w->kept.v[i], NULL);
}

/* One in doubt stays so (zfs.h, "Embedded blocks"). What it lacks is the guest's affair from now on. */
static int slot_own(struct volume *v, struct err *e)
{
    /* in an order that a crash leaves no doubt, and something that says to go on */
    static const char *const marks[] = {"pvesr:owner", "pvesr:at",    "pvesr:properties", "pvesr:stage",
                                        "pvesr:point", "pvesr:whole", "pvesr:base"};
    struct zfs *z = zfs_of(v);
    _cleanup_view_ struct zfs_view w = {0};
    if (zfs_view(z, &w, e) < 0)
        return -1;
    const struct zfs_dataset *d = &w.live;
    if (!d->name[0] || d->doubtful ||
        !(d->owner[0] || d->stray || d->base[0] || d->whole[0] || d->stage[0] || d->point[0]))
        return 0;
    if (!d->volume && zfs_change(z, e, "set", "canmount=on", z->live, NULL) < 0) /* it cannot be inherited */
        return -1;
    for (size_t i = 0; i < ELEMENTS(marks); i++)
        if (zfs_change(z, e, "inherit", marks[i], z->live, NULL) < 0)
            return -1;
    return 0;
}

static int slot_in_use(struct volume *v, char *by, struct err *e)
{
    return zfs_in_use(zfs_of(v), by, e);
}

static int slot_destroy(struct volume *v, struct err *e)
{
    struct zfs *z = zfs_of(v);
    _cleanup_view_ struct zfs_view before = {0};
    _cleanup_view_ struct zfs_view w = {0};
    if (zfs_tidy(v, e) < 0 || zfs_view(z, &before, e) < 0 || zfs_check_marks(&before, z->live, e) < 0 ||
        zfs_stage_discard(v, e) < 0)
        return -1;
    zfs_view_release(&before);
    if (zfs_view(z, &before, e) < 0)
        return -1;
    if (before.live.name[0])
        zfs_free_kept(z, &before);
    if (zfs_view(z, &w, e) < 0)
        return -1;
    return w.live.name[0] ? zfs_destroy_but_kept(z, &w, &w.live, e) : 0;
}

const struct volume_driver driver_zfspool = {
    .type = "zfspool",
    .supports = zfs_supports,
    .links = true,
    .open = zfs_open,
    .close = zfs_close,
    .forget = zfs_forget_all,
    .list = slot_list,
    .guests = slot_guests,
    .info = slot_info,
    .place = slot_place,
    .sign = slot_sign,
    .made = slot_sign,
    .sign_seen = slot_sign_seen,
    .snapshots = slot_snapshots,
    .strays = zfs_strays,
    .complete = slot_alone,
    .alone = slot_alone,
    .part = zfs_part_all,
    .own = slot_own,
    .large = zfs_large,
    .snapshot = slot_snapshot,
    .snapshot_all = slot_snapshot_all,
    .snapshot_keep = slot_keep,
    .snapshot_destroy = slot_snapshot_destroy,
    .snapshot_reduce = slot_snapshot_reduce,
    .destroying = slot_destroying,
    .snapshot_rename = slot_snapshot_rename,
    .snapshot_adopt = slot_snapshot_adopt,
    .snapshot_mark = slot_snapshot_mark,
    .snapshot_differs = slot_snapshot_differs,
    .snapshot_open = zfs_snapshot_open,
    .read_open = zfs_read_open,
    .tidy = zfs_tidy,
    .written = slot_written,
    .differs = zfs_differs,
    .keep_aside = slot_keep_aside,
    .in_use = slot_in_use,
    .destroy = slot_destroy,
    .replica = slot_replica,
    .writable = zfs_writable,
    .traits = zfs_traits,
    .traits_set = zfs_traits_set,
    .traits_lacking = zfs_traits_lacking,
    .delta_open = zfs_delta_open,
    .delta_resume = zfs_delta_resume,
    .delta_next = zfs_delta_next,
    .delta_data = zfs_delta_data,
    .delta_stream = zfs_delta_stream,
    .delta_close = zfs_delta_close,
    .stage_info = zfs_stage_info,
    .stage_open = zfs_stage_open,
    .stage_feed = zfs_stage_feed,
    .stage_seal = zfs_stage_seal,
    .stage_close = zfs_stage_close,
    .stage_discard = zfs_stage_discard,
    .commit = zfs_commit,
};
