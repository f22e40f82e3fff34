/* A restore point is sealed by what it maps: the digest of that is in a tag of its own (mark.h). */
#include "volume/lvm/lvm.h"

#include "base/hash.h"
#include "volume/lvm/thinmeta.h"
#include "volume/mark.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Without a seal nothing is lost that was not lost before there were any. */
#define MOMENT_SECONDS 2.0

struct reader {
    struct pool_hold hold;
    struct lvm_open active; /* of an LV that we activated, so that the pool is */
    int fd;
    struct thinmeta *meta;
};

static void reader_close(struct reader *r)
{
    thinmeta_free(r->meta);
    cleanup_closep(&r->fd);
    pool_hold_end(&r->hold);
    lvm_close(r->hold.lvm, &r->active);
}

static int open_metadata(struct reader *r, struct err *e)
{
    const struct lvm *l = r->hold.lvm;
    _cleanup_free_ char *device = lvm_device(l->vg, l->pool, "_tmeta");
    r->fd = open(device, O_RDONLY | O_DIRECT | O_CLOEXEC);
    if (r->fd < 0)
        return err_sys(e, "cannot open '%s'", device);
    r->meta = thinmeta_open(r->fd, l->tick, e);
    return r->meta ? 0 : -1;
}

/* `any` LV of the pool. 1: the metadata cannot be read, by us at least. */
static int reader_open(const struct lvm *l, const struct lv *any, bool wait, struct reader *ret,
                       struct err *e)
{
    struct pool_room ignored;
    *ret = (struct reader){
        .hold = {.lvm = l, .fd = -1, .foreign = MOMENT_SECONDS}, .active = LVM_OPEN_INIT, .fd = -1};
    ret->hold.others = wait ? POOL_HOLD_SECONDS : MOMENT_SECONDS;
    int r = pool_room(l, &ignored, e);
    if (r < 0 || (r > 0 && lvm_open(l, any, O_RDONLY, &ret->active, e) < 0))
        return 1;
    return pool_hold(&ret->hold, e) < 0 || open_metadata(ret, e) < 0;
}

static void print(const struct lv *lv, const struct thin_device *d, char ret[LVM_SEAL_LEN + 1])
{
    _cleanup_free_ char *is = xasprintf("%" PRIu64 " %" PRIu64 " %" PRIx64 " %" PRIx64, lv->size, d->map.n,
                                        d->map.sum[0], d->map.sum[1]);
    mark_id_of(is, ret);
}

/* Does whatever is written to it change its mappings? */
static bool is_tight(const struct thin_device *d)
{
    return !d->map.n || d->map.newest < d->snapshotted;
}

/* Of one that was made as a snapshot: was nothing written to it since? Beyond 24 bits times begin anew. */
static bool is_untouched(const struct thin_device *d)
{
    return !d->map.n || (d->map.newest < d->made && d->made < 1u << 24);
}

/* 1: it cannot be told. */
static int read_one(const struct lvm *l, const struct lv *lv, struct thin_device *ret, struct err *e)
{
    struct reader reader;
    int r = reader_open(l, lv, true, &reader, e);
    if (r == 0 && (r = thinmeta_device(reader.meta, lv->thin_id, ret, e)) > 0)
        err_set(e, ERR_GONE, 0, "thin pool '%s/%s' has no device %" PRIu64, l->vg, l->pool, lv->thin_id);
    reader_close(&reader);
    return r != 0;
}

int lvm_seal(const struct lvm *l, const struct lv *lv, char ret[LVM_SEAL_LEN + 1], struct err *e)
{
    struct thin_device d;
    int r = read_one(l, lv, &d, e);
    if (r == 0)
        print(lv, &d, ret);
    return r;
}

static void seal_untouched(const struct lvm *l, const struct lv *lv, const struct thin_device *d)
{
    char seal[LVM_SEAL_LEN + 1];
    struct err ignored;
    print(lv, d, seal);
    lvm_retag(l, lv, &lv->mark, seal, LVM_RETAG, &ignored);
}

void lvm_seal_taken(const struct lvm *l, const struct lv *lv)
{
    struct thin_device d;
    struct err ignored;
    if (read_one(l, lv, &d, &ignored) == 0 && is_untouched(&d))
        seal_untouched(l, lv, &d);
}

/* ---- those of a volume ---- */

struct look {
    struct lv lv;
    struct thin_device device;
    bool there;
};

static int find_all(const struct lvm *l, const struct snapshots *all, struct look *v, struct err *e)
{
    for (size_t i = 0; i < all->n; i++) {
        int r = lvm_find(l, lvm_name(l, LVM_SNAPSHOT, all->v[i].name).s, &v[i].lv, e);
        v[i].there = r == 0 && v[i].lv.marked && strcmp(v[i].lv.mark.m.id, all->v[i].id) == 0;
        if (r < 0 || (v[i].there && lvm_flush(l, &v[i].lv, e) < 0))
            return -1;
    }
    return 0;
}

/* 1: they cannot be read. */
static int read_all(const struct lvm *l, struct look *v, size_t n, bool wait, struct err *e)
{
    struct reader reader;
    size_t first = 0;
    while (first < n && !v[first].there)
        first++;
    if (first == n)
        return 0;
    int r = reader_open(l, &v[first].lv, wait, &reader, e);
    for (size_t i = 0; r == 0 && i < n; i++) {
        int is = v[i].there ? thinmeta_device(reader.meta, v[i].lv.thin_id, &v[i].device, e) : 1;
        v[i].there = is == 0;
        r = is < 0;
    }
    reader_close(&reader);
    return r;
}

/* One that never got a seal, because somebody else took it or a run was cut, gets it when it is first seen.
 */
static void judge(const struct lvm *l, const struct look *x, struct snapshot *s)
{
    char is[LVM_SEAL_LEN + 1];
    const char *seal = x->lv.seal;
    print(&x->lv, &x->device, is);
    if (*seal && strcmp(seal, is) != 0)
        s->flags |= SNAPSHOT_CHANGED;
    else if (!is_tight(&x->device) || (!*seal && !is_untouched(&x->device)))
        s->flags |= SNAPSHOT_UNSEALED;
    else if (!*seal)
        seal_untouched(l, &x->lv, &x->device);
    s->state = hash_bytes(is, LVM_SEAL_LEN) << 2 | s->state;
}

int lvm_seals(const struct lvm *l, struct snapshots *all, bool wait, struct err *e)
{
    _cleanup_free_ struct look *v = xcalloc(all->n + 1, sizeof *v);
    int r = find_all(l, all, v, e);
    if (r == 0)
        r = read_all(l, v, all->n, wait, e);
    for (size_t i = 0; r == 0 && i < all->n; i++)
        if (v[i].there)
            judge(l, &v[i], &all->v[i]);
    return r;
}
