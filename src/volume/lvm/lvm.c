#include "volume/lvm/lvm.h"

#include "base/fs.h"
#include "volume/name.h"
#include "volume/users.h"

#include "base/mem.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static bool supports(const char *name)
{
    return strncmp(name, "vm-", 3) == 0 || strncmp(name, "base-", 5) == 0;
}

static bool argument_ok(const char *name)
{
    return name && *name && *name != '-' && *name != '.' && strlen(name) <= 100 &&
           !name[strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+.-")];
}

int lvm_check_store(const struct volume_store *store, struct err *e)
{
    if (argument_ok(store->vgname) && argument_ok(store->thinpool))
        return 0;
    return err_set(e, ERR_CONFIG, 0, "vgname '%.100s' and thinpool '%.100s' are no names of LVM",
                   store->vgname ? store->vgname : "", store->thinpool ? store->thinpool : "");
}

/* A commit that died between renaming the live volume and putting its successor there. */
static int heal(const struct lvm *l, struct err *e)
{
    struct lv live, next;
    struct err ignored;
    struct lvm_name name = lvm_name(l, LVM_NEW, NULL);
    int r = lvm_find(l, name.s, &next, e);
    if (r != 0)
        return r < 0 ? -1 : 0;
    r = lvm_live(l, &live, e);
    if (r != 1)
        return r < 0 ? -1 : 0;
    if (!next.marked)
        return 0;
    if (lvm_rename(l, name.s, l->volume, e) == 0)
        return 0;
    /* or somebody else was quicker */
    return lvm_live(l, &live, &ignored) == 0 ? 0 : -1;
}

static int driver_open(struct volume *v, struct err *e)
{
    struct lvm l = {.vg = v->store.vgname,
                    .pool = v->store.thinpool,
                    .volume = v->name,
                    .tick = volume_tick(v),
                    .store = &v->store};
    if (lvm_check_store(&v->store, e) < 0)
        return -1;
    const struct vg *g = lvm_group(&l, false, e);
    if (!g || !lvm_thin_pool(g, &l, e) || heal(&l, e) < 0)
        return -1;
    v->priv = xmalloc(sizeof l);
    memcpy(v->priv, &l, sizeof l);
    return 0;
}

static void driver_close(struct volume *v)
{
    free(v->priv);
}

static int each_name(const struct volume_store *store, bool asides, volume_name_fn *each, void *arg,
                     struct err *e)
{
    struct lvm l = {.vg = store->vgname, .pool = store->thinpool, .tick = store_tick(store), .store = store};
    if (lvm_check_store(store, e) < 0)
        return -1;
    const struct vg *g = lvm_group(&l, false, e);
    if (!g || !lvm_thin_pool(g, &l, e))
        return -1;
    for (size_t i = 0; i < g->n; i++) {
        enum lvm_kind kind;
        const char *name = g->lvs[i].name, *volume, *tag;
        uint32_t vmid;
        if (strcmp(g->lvs[i].pool, l.pool) != 0)
            continue;
        if (lvm_owner(g, &g->lvs[i], &kind, &volume, &tag) == 0)
            name = asides || kind != LVM_SNAPSHOT || !snapshot_is_aside(tag) ? volume : "";
        if (supports(name) && volume_name_valid(name, &vmid, NULL))
            each(name, vmid, arg);
    }
    return 0;
}

static int list(const struct volume_store *store, uint32_t vmid, bool asides, struct strv *ret, struct err *e)
{
    return each_name(store, asides, volume_name_add, &(struct volume_names){vmid, ret}, e);
}

static int list_guests(const struct volume_store *store, volume_guest_fn *tell, void *arg, struct err *e)
{
    return each_name(store, true, volume_name_tell, &(struct volume_telling){tell, arg}, e);
}

static int info(struct volume *v, struct volume_info *ret, struct err *e)
{
    const struct lvm *l = v->priv;
    struct lv live;
    int r = lvm_live(l, &live, e);
    const struct vg *g = r < 0 ? NULL : lvm_group(l, false, e);
    const struct thin_pool *pool = g ? lvm_thin_pool(g, l, e) : NULL;
    if (!pool)
        return -1;
    ret->exists = r == 0;
    ret->many = ret->compares = ret->proves = true;
    ret->size = r == 0 ? live.size : 0;
    /* how much of a pool that is not active is used, nobody can say */
    ret->available = pool->used < 0 ? pool->size : (uint64_t)((double)pool->size * (100 - pool->used) / 100);
    return 0;
}

/* A group has one name on a node, and an LV one name in its group. */
static int place(struct volume *v, struct volume_place *ret, struct err *e)
{
    const struct lvm *l = v->priv;
    snprintf(ret->spot, sizeof ret->spot, "%s/%s", l->vg, l->volume);
    return 0;
}

static int sign(struct volume *v, char *ret, struct err *e)
{
    struct lv live;
    int r = lvm_live(v->priv, &live, e);
    if (r == 0)
        snprintf(ret, VOLUME_SIGN_MAX + 1, "lvm:%s", live.uuid);
    return r < 0 ? -1 : 0;
}

static int sign_seen(struct volume *v, const char *sign_there, struct err *e)
{
    char here[VOLUME_SIGN_MAX + 1] = "";
    return sign(v, here, e) < 0 ? -1 : strcmp(here, sign_there) == 0;
}

static int seals(struct volume *v, struct snapshots *all, bool wait, struct err *e)
{
    return lvm_seals(v->priv, all, wait, e);
}

static int strays(struct volume *v, bool live, struct strv *ret, struct err *e)
{
    return lvm_strays(v->priv, live, ret, e);
}

/* LVM hides that snapshot, and the volume will be what it holds. */
static int complete(struct volume *v, struct err *e)
{
    const struct lvm *l = v->priv;
    struct lv live;
    int r = lvm_live(l, &live, e);
    if (r != 0 || !live.merging)
        return r < 0 ? -1 : 0;
    return err_set(
        e, ERR_CONFIG, 0,
        "a snapshot is to be merged into '%s/%s' when that is activated next (lvconvert --merge): stop "
        "what uses it, then lvchange -an %s/%s and lvchange -ay %s/%s",
        l->vg, l->volume, l->vg, l->volume, l->vg, l->volume);
}

static int alone(struct volume *v, struct err *e)
{
    const struct lvm *l = v->priv;
    return complete(v, e) < 0 ? -1 : lvm_check_dependents(l, l->volume, e);
}

static int snapshots(struct volume *v, struct snapshots *ret, struct err *e)
{
    return lvm_snapshots(v->priv, ret, e);
}

/* Also asks for the group, so that it is known once the guest is frozen. */
static void flush(struct volume *v)
{
    const struct lvm *l = v->priv;
    struct lv live;
    struct err ignored;
    if (lvm_live(l, &live, &ignored) != 0 || !live.active)
        return;
    _cleanup_free_ char *device = lvm_device(l->vg, l->volume, "");
    _cleanup_close_ int fd = open(device, O_RDONLY | O_CLOEXEC);
    if (fd >= 0)
        fs_write_back(fd, volume_tick(v));
}

static int snapshot(struct volume *v, const char *name, bool busy, struct err *e)
{
    (void)busy;
    return lvm_take(v->priv, name, LVM_TEMP, e);
}

static int snapshot_keep(struct volume *v, const char *name, struct snapshot *ret, struct err *e)
{
    return lvm_keep(v->priv, name, ret, e);
}

/* 1: not there. */
static int find_checked(const struct lvm *l, const char *name, const char *id, struct lv *ret, struct err *e)
{
    int r = lvm_find(l, lvm_name(l, LVM_SNAPSHOT, name).s, ret, e);
    if (r == 0 && (!ret->marked || strcmp(ret->mark.m.id, id) != 0))
        return err_set(e, ERR_DATA, 0, "snapshot '%s' has the id %s instead of %s: it is not the same one",
                       name, ret->marked ? ret->mark.m.id : "(none)", id);
    return r;
}

static int snapshot_destroy(struct volume *v, const char *name, const char *id, struct err *e)
{
    struct lv lv;
    int r = find_checked(v->priv, name, id, &lv, e);
    return r != 0 ? r : lvm_remove(v->priv, lv.name, e);
}

static int snapshot_adopt(struct volume *v, const char *name, const char *id, struct err *e)
{
    struct lv lv;
    int r = find_checked(v->priv, name, id, &lv, e);
    if (r != 0 || (lv.mark.flags & SNAPSHOT_RECEIVED))
        return r;
    struct lvm_mark mark = lv.mark;
    mark.flags |= SNAPSHOT_RECEIVED;
    mark.m.size = mark.m.offset = lv.size;
    return lvm_retag(v->priv, &lv, &mark, NULL, LVM_RETAG, e);
}

static int snapshot_mark(struct volume *v, const char *name, const char *id, int64_t since, struct err *e)
{
    struct lv lv;
    int r = find_checked(v->priv, name, id, &lv, e);
    if (r != 0 || lv.damaged == since)
        return r;
    const struct lvm *l = v->priv;
    _cleanup_free_ char *path = xasprintf("%s/%s", l->vg, lv.name);
    _cleanup_free_ char *old = xasprintf(LVM_TAG_DAMAGED "%" PRId64, lv.damaged);
    _cleanup_free_ char *new = xasprintf(LVM_TAG_DAMAGED "%" PRId64, since);
    if (lv.damaged && lvm_change(l, e, "lvchange", "--deltag", old, path, NULL) < 0)
        return -1;
    return since ? lvm_change(l, e, "lvchange", "--addtag", new, path, NULL) : 0;
}

static int snapshot_rename(struct volume *v, const char *from, const char *to, struct err *e)
{
    const struct lvm *l = v->priv;
    struct lv lv;
    struct lvm_name snap = lvm_name(l, LVM_SNAPSHOT, from);
    int r = lvm_find(l, snap.s, &lv, e);
    if (r != 0)
        return r < 0 ? -1 : err_set(e, ERR_GONE, 0, "it has no snapshot '%s'", from);
    if (lvm_check_free(l, to, e) < 0)
        return -1;
    if (lv.marked && lvm_mark_bond(&lv.mark, l->volume, from) == BOND_OURS) {
        struct lvm_mark mark = lv.mark;
        snprintf(mark.m.snapshot, sizeof mark.m.snapshot, "%s", to);
        snprintf(mark.was, sizeof mark.was, "%s", from);
        if (lvm_retag(l, &lv, &mark, NULL, LVM_RETAG, e) < 0)
            return -1;
    }
    return lvm_rename(l, snap.s, lvm_name(l, LVM_SNAPSHOT, to).s, e);
}

/* ---- removing ---- */

typedef bool lv_goes(const struct lvm *l, const struct lv *lv, enum lvm_kind kind, const char *tag);

static bool goes_with_tidy(const struct lvm *l, const struct lv *lv, enum lvm_kind kind, const char *tag)
{
    return kind == LVM_TEMP || kind == LVM_NEW;
}

static bool goes_with_volume(const struct lvm *l, const struct lv *lv, enum lvm_kind kind, const char *tag)
{
    struct snapshot s = {.flags = lvm_flags(l, lv, tag)};
    snprintf(s.name, sizeof s.name, "%s", tag);
    return kind != LVM_SNAPSHOT || snapshot_goes_along(&s);
}

static bool goes_before_live(const struct lvm *l, const struct lv *lv, enum lvm_kind kind, const char *tag)
{
    return goes_with_volume(l, lv, kind, tag) && !(kind == LVM_SNAPSHOT && snapshot_is_point(tag));
}

static int remove_those(struct volume *v, lv_goes *goes, struct err *e)
{
    const struct lvm *l = v->priv;
    _cleanup_strv_ struct strv names = STRV_INIT;
    const struct vg *g = lvm_group(l, false, e);
    if (!g)
        return -1;
    for (size_t i = 0; i < g->n; i++) {
        enum lvm_kind kind;
        const char *volume, *tag;
        if (strcmp(g->lvs[i].pool, l->pool) == 0 && lvm_owner(g, &g->lvs[i], &kind, &volume, &tag) == 0 &&
            strcmp(volume, l->volume) == 0 && goes(l, &g->lvs[i], kind, tag))
            strv_add(&names, g->lvs[i].name);
    }
    for (size_t i = 0; i < names.n; i++)
        if (lvm_remove(l, names.v[i], e) < 0)
            return -1;
    for (size_t i = 0; goes == goes_with_tidy && i < names.n; i++)
        volume_removed(v, "'%s', which a run that was cut left", names.v[i]);
    return 0;
}

static int tidy(struct volume *v, struct err *e)
{
    return heal(v->priv, e) < 0 || lvm_former_settle(v, e) < 0 ? -1 : remove_those(v, goes_with_tidy, e);
}

/* What is not active has no device, and no user. */
static int live_in_use(const struct lvm *l, char by[VOLUME_USER_MAX + 1], struct err *e)
{
    _cleanup_free_ char *device = lvm_device(l->vg, l->volume, "");
    return users_of_device(device, l->tick, by, e);
}

static int in_use(struct volume *v, char *by, struct err *e)
{
    return live_in_use(v->priv, by, e);
}

static int check_unused(const struct lvm *l, struct err *e)
{
    char by[VOLUME_USER_MAX + 1];
    int r = live_in_use(l, by, e);
    return r > 0 ? users_refuse(by, e) : r;
}

/* As long as anything is left, the volume is listed and the removal can be done again. */
static int destroy(struct volume *v, struct err *e)
{
    const struct lvm *l = v->priv;
    struct lv live;
    int r = lvm_live(l, &live, e);
    if (r < 0 || lvm_former_settle(v, e) < 0 || remove_those(v, goes_before_live, e) < 0 ||
        (r == 0 && lvm_remove(l, l->volume, e) < 0))
        return -1;
    return remove_those(v, goes_with_volume, e);
}

/* ---- becoming the replica ---- */

/* The sealed stage becomes the snapshot. */
static int publish(const struct lvm *l, const char *id, struct lv *ret, struct err *e)
{
    struct lvm_name stage = lvm_name(l, LVM_STAGE, NULL);
    int r = lvm_find(l, stage.s, ret, e);
    if (r < 0)
        return -1;
    if (r > 0 || !ret->marked || !ret->mark.m.sealed || strcmp(ret->mark.m.id, id) != 0)
        return err_set(
            e, ERR_GONE, 0,
            "what was received of restore point %s is not here, or not whole: the next run sends it again",
            id);
    struct lvm_name snap = lvm_name(l, LVM_SNAPSHOT, ret->mark.m.snapshot);
    if (lvm_check_free(l, ret->mark.m.snapshot, e) < 0 || lvm_rename(l, stage.s, snap.s, e) < 0)
        return -1;
    r = lvm_find_id(l, id, ret, e);
    return r > 0 ? err_set(e, ERR_GONE, 0, "snapshot id %s vanished", id) : r;
}

static int drop_stage_of(struct volume *v, const char *id, struct err *e)
{
    struct stage_info stage = {0};
    if (lvm_stage_info(v, &stage, e) < 0)
        return -1;
    return stage.exists && strcmp(stage.id, id) == 0 ? lvm_stage_discard(v, e) : 0;
}

/* The live volume becomes a copy of the snapshot. */
static int show(struct volume *v, const struct lv *live, const struct lv *s, struct err *e)
{
    const struct lvm *l = v->priv;
    struct lvm_name old = lvm_name(l, LVM_OLD, NULL), next = lvm_name(l, LVM_NEW, NULL);
    struct lv left;
    _cleanup_free_ char *origin = xasprintf("%s/%s", l->vg, s->name);
    if (live && live->marked && strcmp(live->mark.m.id, s->mark.m.id) == 0) {
        int r = lvm_same(l, s, live, e);
        if (r <= 0)
            return r;
    }
    if (lvm_former_settle(v, e) < 0 || (live && check_unused(l, e) < 0))
        return -1;
    int r = lvm_find(l, next.s, &left, e);
    if (r < 0 || (r == 0 && lvm_remove(l, next.s, e) < 0) ||
        lvm_change(l, e, "lvcreate", "-s", "-an", "-kn", "-prw", "--addtag", s->tag, "-n", next.s, origin,
                   NULL) < 0 ||
        (live && lvm_rename(l, l->volume, old.s, e) < 0))
        return -1;
    return heal(l, e) < 0 ? -1 : lvm_former_settle(v, e);
}

static int commit(struct volume *v, const char *id, enum commit_how how, struct err *e)
{
    const struct lvm *l = v->priv;
    struct lv now, s;
    int there = how != COMMIT_POINT ? lvm_live(l, &now, e) : 1;
    if (there < 0)
        return -1;
    if (there == 0 && lvm_check_dependents(l, l->volume, e) < 0)
        return -1;
    int r = lvm_find_id(l, id, &s, e);
    if (r > 0 && there == 0 && check_unused(l, e) < 0)
        return -1;
    if (r > 0 ? publish(l, id, &s, e) < 0 : r < 0)
        return -1;
    if (how != COMMIT_POINT && show(v, there == 0 ? &now : NULL, &s, e) < 0)
        return -1;
    return drop_stage_of(v, id, e);
}

static int replica(struct volume *v, char *owner, char *base_id, struct err *e)
{
    const struct lvm *l = v->priv;
    struct lv lv;
    int r = lvm_live(l, &lv, e);
    bool live = r == 0;
    if (r > 0) /* not shown yet: who is making it? */
        r = lvm_find(l, lvm_name(l, LVM_STAGE, NULL).s, &lv, e);
    if (r != 0 || !lv.marked)
        return r < 0 ? -1 : 0;
    if (lvm_mark_bond(&lv.mark, l->volume, NULL) != BOND_RENAMED)
        memcpy(owner, lv.mark.m.owner, sizeof lv.mark.m.owner);
    if (live)
        memcpy(base_id, lv.mark.m.id, sizeof lv.mark.m.id);
    return 0;
}

static int snapshot_open(struct volume *v, const struct snapshot *s, int *fd, struct err *e)
{
    const struct lvm *l = v->priv;
    struct lv lv;
    int r = lvm_find_id(l, s->id, &lv, e);
    if (r > 0)
        return err_set(e, ERR_DATA, 0, "snapshot '%s' is not there any more", s->name);
    return r < 0 ? -1 : lvm_show(l, &lv, fd, e);
}

static int read_open(struct volume *v, const struct snapshot *s, struct volume_reader *ret, int *fd,
                     uint64_t *size, struct err *e)
{
    const struct lvm *l = v->priv;
    struct lv lv;
    int r = s ? lvm_find_id(l, s->id, &lv, e) : lvm_live(l, &lv, e);
    if (r > 0)
        return err_set(e, ERR_DATA, 0, "%s%s%s is not there any more",
                       s ? "snapshot '" : "the logical volume", s ? s->name : "", s ? "'" : "");
    struct lvm_open *o = xcalloc(1, sizeof *o);
    *o = (struct lvm_open)LVM_OPEN_INIT;
    if (r < 0 || lvm_open(l, &lv, O_RDONLY, o, e) < 0) {
        lvm_close(l, o);
        free(o);
        return -1;
    }
    ret->priv = o;
    *fd = o->fd;
    *size = lv.size;
    return 0;
}

static void read_close(struct volume *v, struct volume_reader *r)
{
    lvm_close(v->priv, r->priv);
    free(r->priv);
}

static int written(struct volume *v, char *since, struct err *e)
{
    return lvm_written(v->priv, since, e);
}

static int differs(struct volume *v, const char *id, struct err *e)
{
    const struct lvm *l = v->priv;
    struct lv live, s;
    int r = lvm_live(l, &live, e);
    if (r == 0)
        r = lvm_find_id(l, id, &s, e);
    return r != 0 ? r : lvm_same(l, &s, &live, e);
}

static int keep_aside(struct volume *v, const char *name, struct err *e)
{
    return lvm_keep_aside(v->priv, name, e);
}

static int writable(struct volume *v, struct err *e)
{
    return lvm_writable(v->priv, e);
}

const struct volume_driver driver_lvmthin = {
    .type = "lvmthin",
    .supports = supports,
    .open = driver_open,
    .close = driver_close,
    .forget = lvm_forget,
    .list = list,
    .guests = list_guests,
    .info = info,
    .place = place,
    .sign = sign,
    .made = sign,
    .sign_seen = sign_seen,
    .snapshots = snapshots,
    .seals = seals,
    .strays = strays,
    .complete = complete,
    .alone = alone,
    .flush = flush,
    .snapshot = snapshot,
    .snapshot_keep = snapshot_keep,
    .snapshot_destroy = snapshot_destroy,
    .snapshot_rename = snapshot_rename,
    .snapshot_adopt = snapshot_adopt,
    .snapshot_mark = snapshot_mark,
    .snapshot_open = snapshot_open,
    .read_open = read_open,
    .read_close = read_close,
    .tidy = tidy,
    .written = written,
    .differs = differs,
    .keep_aside = keep_aside,
    .in_use = in_use,
    .destroy = destroy,
    .replica = replica,
    .writable = writable,
    .delta_open = lvm_delta_open,
    .delta_next = lvm_delta_next,
    .delta_data = lvm_delta_data,
    .delta_close = lvm_delta_close,
    .stage_info = lvm_stage_info,
    .stage_open = lvm_stage_open,
    .stage_write = lvm_stage_write,
    .stage_zero = lvm_stage_zero,
    .stage_fd = lvm_stage_fd,
    .stage_checkpoint = lvm_stage_checkpoint,
    .stage_seal = lvm_stage_seal,
    .stage_close = lvm_stage_close,
    .stage_discard = lvm_stage_discard,
    .commit = commit,
};
