#include "volume/lvm/lvm.h"

#include "base/clock.h"
#include "volume/mark.h"
#include "volume/name.h"

#include <stdio.h>
#include <string.h>

/* Numbers are this far apart, so that a snapshot made by hand finds a place between two of ours. */
#define SEQ_STEP (1u << 20)

struct finds {
    struct lv *v;
    size_t n;
};

static void finds_release(struct finds *f)
{
    free(f->v);
}

/* The snapshots of the volume, oldest LV first. */
static int find_all(const struct lvm *l, bool old, struct finds *f, struct err *e)
{
    const struct vg *g = lvm_group(l, old, e);
    if (!g)
        return -1;
    for (size_t i = 0; i < g->n; i++) {
        enum lvm_kind kind;
        const char *volume, *tag;
        if (strcmp(g->lvs[i].pool, l->pool) != 0 || lvm_owner(g, &g->lvs[i], &kind, &volume, &tag) != 0 ||
            kind != LVM_SNAPSHOT || strcmp(volume, l->volume) != 0)
            continue;
        f->v = xgrow(f->v, f->n, sizeof *f->v);
        f->v[f->n] = g->lvs[i];
        f->v[f->n].snapshot_flags = lvm_flags(l, &g->lvs[i], tag);
        snprintf(f->v[f->n++].mark.m.snapshot, SNAPSHOT_NAME_MAX + 1, "%s", tag);
    }
    return 0;
}

static bool earlier(const struct lv *a, const struct lv *b)
{
    return a->created != b->created ? a->created < b->created : a->thin_id < b->thin_id;
}

static int by_birth(const void *a, const void *b)
{
    return earlier(a, b) ? -1 : earlier(b, a);
}

/* Right behind the newest of ours that is not younger. */
static uint64_t place_between(const struct finds *f, const struct lv *x)
{
    uint64_t below = 0, above = UINT64_MAX;
    for (size_t i = 0; i < f->n; i++)
        if (f->v[i].marked && !earlier(x, &f->v[i]) && f->v[i].mark.seq > below)
            below = f->v[i].mark.seq;
    for (size_t i = 0; i < f->n; i++)
        if (f->v[i].marked && f->v[i].mark.seq > below && f->v[i].mark.seq < above)
            above = f->v[i].mark.seq;
    return above == UINT64_MAX ? below + SEQ_STEP : below + (above - below) / 2;
}

/* A snapshot somebody else made gets an id, the same from whoever sees it first. */
static int adopt(const struct lvm *l, const struct finds *f, struct lv *x, struct err *e)
{
    struct lvm_mark mark = {.seq = place_between(f, x)};
    memcpy(mark.m.snapshot, x->mark.m.snapshot, sizeof mark.m.snapshot);
    mark_id_of(x->uuid, mark.m.id);
    mark.m.created = x->created;
    mark.m.size = mark.m.offset = x->size;
    if (lvm_retag(l, x, &mark, NULL, LVM_RETAG, e) < 0)
        return -1;
    x->mark = mark;
    x->marked = true;
    return 0;
}

unsigned lvm_flags(const struct lvm *l, const struct lv *lv, const char *tag)
{
    enum bond bond = lv->marked ? lvm_mark_bond(&lv->mark, l->volume, tag) : BOND_NONE;
    if (bond == BOND_RENAMED)
        return SNAPSHOT_STRANGE | (lv->read_only ? SNAPSHOT_READABLE : SNAPSHOT_CHANGED);
    if (!lv->marked || (bond == BOND_NONE && lv->mark.volume[0])) /* the volume has another name now */
        return SNAPSHOT_READABLE;
    if (bond != BOND_OURS)
        return lv->mark.flags | SNAPSHOT_READABLE;
    return lv->mark.flags | SNAPSHOT_OURS | (lv->read_only ? SNAPSHOT_READABLE : SNAPSHOT_CHANGED);
}

/* One taken here is as large as its LV; only a received one knows better. */
static uint64_t size_of(const struct lv *lv)
{
    bool exact = (lv->mark.flags & SNAPSHOT_RECEIVED) && lv->mark.m.size < lv->size;
    return exact ? lv->mark.m.size : lv->size;
}

int lvm_snapshots(const struct lvm *l, struct snapshots *ret, struct err *e)
{
    _cleanup_(finds_release) struct finds f = {0};
    if (find_all(l, false, &f, e) < 0)
        return -1;
    if (f.n)
        qsort(f.v, f.n, sizeof *f.v, by_birth);
    struct err ignored; /* one that cannot be given an id is left out */
    for (size_t i = 0; i < f.n; i++)
        if (!f.v[i].marked)
            adopt(l, &f, &f.v[i], &ignored);
    for (size_t i = 0; i < f.n; i++) {
        const struct lvm_mark *m = &f.v[i].mark;
        if (!f.v[i].marked)
            continue;
        struct snapshot s = {.created = m->m.created, .seq = m->seq, .flags = f.v[i].snapshot_flags};
        s.size = size_of(&f.v[i]);
        s.state = f.v[i].read_only ? 1 : 2;
        s.damaged = f.v[i].damaged;
        memcpy(s.name, m->m.snapshot, sizeof s.name);
        memcpy(s.id, m->m.id, sizeof s.id);
        snapshots_add(ret, &s);
    }
    return 0;
}

int lvm_find_id(const struct lvm *l, const char *id, struct lv *ret, struct err *e)
{
    _cleanup_(finds_release) struct finds f = {0};
    if (find_all(l, false, &f, e) < 0)
        return -1;
    for (size_t i = 0; i < f.n; i++) {
        if (!f.v[i].marked || strcmp(f.v[i].mark.m.id, id) != 0)
            continue;
        *ret = f.v[i];
        return 0;
    }
    return 1;
}

int lvm_strays(const struct lvm *l, bool live, struct strv *ret, struct err *e)
{
    _cleanup_(finds_release) struct finds f = {0};
    struct lv lv = {0};
    int r = live ? lvm_live(l, &lv, e) : 1;
    if (r < 0 || find_all(l, false, &f, e) < 0)
        return -1;
    for (size_t i = 0; i < f.n; i++)
        if (f.v[i].snapshot_flags & SNAPSHOT_STRANGE)
            strv_addf(ret, "'%s' is a restore point that somebody gave this name", f.v[i].name);
    if (r == 0 && lv.marked && lvm_mark_bond(&lv.mark, l->volume, NULL) == BOND_RENAMED)
        strv_addf(ret, "'%s' is a replica, or a restore point, that somebody gave this name", lv.name);
    return 0;
}

int lvm_check_free(const struct lvm *l, const char *snapshot, struct err *e)
{
    struct lv lv;
    if (lvm_check_name(l, snapshot, e) < 0)
        return -1;
    int r = lvm_find(l, lvm_name(l, LVM_SNAPSHOT, snapshot).s, &lv, e);
    return r == 0 ? err_set(e, ERR_USAGE, 0, "it has a snapshot '%s' already", snapshot) : r < 0 ? -1 : 0;
}

int lvm_next_seq(const struct lvm *l, bool old, uint64_t *ret, struct err *e)
{
    _cleanup_(finds_release) struct finds f = {0};
    if (find_all(l, old, &f, e) < 0)
        return -1;
    *ret = SEQ_STEP;
    for (size_t i = 0; i < f.n; i++)
        if (f.v[i].marked && f.v[i].mark.seq + SEQ_STEP > *ret)
            *ret = f.v[i].mark.seq + SEQ_STEP;
    return 0;
}

/* ---- taking them ---- */

/* Of a pool that is far from full nothing needs to be asked while a guest is frozen. */
static int check_room(const struct lvm *l, const struct vg *g, struct err *e)
{
    uint64_t budget;
    const struct thin_pool *pool = lvm_thin_pool(g, l, e);
    if (!pool)
        return -1;
    bool far = pool->used >= 0 && pool->used < 90 && pool->meta_used >= 0 && pool->meta_used < 80;
    return far ? 0 : pool_check(l, pool->chunk, &budget, e);
}

/* What it is made from, at however many removes, and what is not in the pool: what is not mapped reads as
 * that. NULL: none. */
static const char *origin_outside(const struct vg *g, const struct lvm *l, const struct lv *lv)
{
    for (size_t steps = 0; lv->origin[0] && steps <= g->n; steps++) {
        const struct lv *next = lvm_lv(g, l, lv->origin);
        if (!next)
            return lv->origin;
        lv = next;
    }
    return NULL;
}

int lvm_take(const struct lvm *l, const char *name, enum lvm_kind kind, struct err *e)
{
    const struct vg *g = lvm_group(l, true, e);
    if (g && !lvm_lv(g, l, l->volume)) /* new, perhaps */
        g = lvm_group_anew(l, e);
    const struct lv *live = g ? lvm_lv(g, l, l->volume) : NULL;
    struct lvm_name to = lvm_name(l, kind, name), snapshot = lvm_name(l, LVM_SNAPSHOT, name);
    struct lvm_mark mark = {0};
    char tag[LVM_TAG_MAX];
    if (!g || lvm_check_name(l, name, e) < 0)
        return -1;
    if (!live) {
        struct lv ignored; /* says why */
        int r = lvm_live(l, &ignored, e);
        return r < 0 ? -1 : err_set(e, ERR_GONE, 0, "there is no logical volume '%s/%s'", l->vg, l->volume);
    }
    if (lvm_lv(g, l, snapshot.s))
        return err_set(e, ERR_USAGE, 0, "it has a snapshot '%s' already", name);
    const char *outside = origin_outside(g, l, live);
    if (outside)
        return err_set(
            e, ERR_CONFIG, 0,
            "'%s' is based on '%s', which does not lie in thin pool '%s': copy it into the pool first",
            l->volume, outside, l->pool);
    mark.m.created = clock_epoch();
    mark.m.size = mark.m.offset = live->size;
    snprintf(mark.m.snapshot, sizeof mark.m.snapshot, "%s", name);
    snprintf(mark.volume, sizeof mark.volume, "%s", l->volume);
    mark_new_id(mark.m.id);
    bool leftover = lvm_lv(g, l, to.s);
    if (check_room(l, g, e) < 0 || lvm_next_seq(l, true, &mark.seq, e) < 0 ||
        (leftover && lvm_remove(l, to.s, e) < 0))
        return -1;
    lvm_mark_print(&mark, tag);
    _cleanup_free_ char *origin = xasprintf("%s/%s", l->vg, l->volume);
    return lvm_change(l, e, "lvcreate", "-s", "-pr", "-ky", "--addtag", tag, "-n", to.s, origin, NULL);
}

int lvm_keep(const struct lvm *l, const char *name, struct snapshot *ret, struct err *e)
{
    struct lv lv;
    struct lvm_name temp = lvm_name(l, LVM_TEMP, name);
    int r = lvm_find(l, temp.s, &lv, e);
    if (r > 0 || (r == 0 && !lv.marked))
        return err_set(e, ERR_GONE, 0,
                       "snapshot '%s' vanished before it was kept: the next run takes another", name);
    if (r < 0 || lvm_rename(l, temp.s, lvm_name(l, LVM_SNAPSHOT, name).s, e) < 0)
        return -1;
    snprintf(lv.name, sizeof lv.name, "%s", lvm_name(l, LVM_SNAPSHOT, name).s);
    lvm_seal_taken(l, &lv);
    const struct lvm_mark *m = &lv.mark;
    *ret = (struct snapshot){
        .created = m->m.created, .seq = m->seq, .size = lv.size, .flags = SNAPSHOT_READABLE};
    snprintf(ret->name, sizeof ret->name, "%s", name);
    memcpy(ret->id, m->m.id, sizeof ret->id);
    return 0;
}

int lvm_reference(const struct lvm *l, const struct lv *live, struct lv *ret, struct err *e)
{
    _cleanup_(finds_release) struct finds f = {0};
    if (find_all(l, false, &f, e) < 0)
        return -1;
    const struct lv *best = NULL;
    bool best_shown = false;
    for (size_t i = 0; i < f.n; i++) {
        const struct lv *s = &f.v[i];
        if (!s->marked)
            continue;
        bool taken = !(s->mark.flags & SNAPSHOT_RECEIVED) && !(s->snapshot_flags & SNAPSHOT_STRANGE) &&
                     !snapshot_is_late(s->mark.m.snapshot);
        bool shown = taken || (live->marked && strcmp(s->mark.m.id, live->mark.m.id) == 0);
        if (!best || (shown && !best_shown) || (shown == best_shown && s->mark.seq > best->mark.seq)) {
            best = s;
            best_shown = shown;
        }
    }
    if (!best)
        return 1;
    *ret = *best;
    return 0;
}
