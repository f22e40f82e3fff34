#include "volume/lvm/lvm.h"

#include "volume/file/delta.h"
#include "volume/lvm/thinmap.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>

struct lvm_delta {
    const struct lvm *lvm;
    struct lvm_open base, lv;
    struct thinmap *map;
    struct filedelta *files; /* NULL: nothing differs */
    uint64_t base_size;      /* 0: full */
    bool exact;
};

static void release(struct lvm_delta *x)
{
    filedelta_free(x->files);
    thinmap_free(x->map);
    lvm_close_both(x->lvm, &x->lv, &x->base);
}

static enum filedelta_change change_at(void *arg, uint64_t pos, uint64_t *end)
{
    const struct lvm_delta *x = arg;
    enum thin_kind kind = thinmap_at(x->map, pos, end);
    if (pos >= x->base_size) /* of what an LV held before it was cut there, the base knows nothing */
        return kind == THIN_NONE || kind == THIN_LEFT ? CHANGE_NONE : CHANGE_FRESH;
    if (*end > x->base_size)
        *end = x->base_size;
    switch (kind) {
    case THIN_LEFT:
        return x->exact ? CHANGE_COMPARE : CHANGE_ZERO;
    case THIN_RIGHT:
        return CHANGE_FRESH;
    case THIN_DIFFERENT:
        return CHANGE_COMPARE;
    default:
        return CHANGE_NONE;
    }
}

static int open_both(struct lvm_delta *x, const struct lv *base, const struct lv *lv, struct err *e)
{
    return x->lv.fd >= 0 ? 0 : lvm_open_both(x->lvm, lv, base, O_RDONLY, &x->lv, &x->base, e);
}

/* thin_delta first: where nothing differs nothing needs to be activated, unless the pool itself is not. */
static int open_delta(struct lvm_delta *x, const struct lv *base, const struct lv *lv, uint64_t size,
                      uint64_t from, struct err *e)
{
    struct pool_room ignored;
    int inactive = pool_room(x->lvm, &ignored, e);
    x->base_size = base ? base->size : 0;
    if (inactive < 0 || (inactive && open_both(x, base, lv, e) < 0) ||
        !(x->map = pool_compare(x->lvm, base, lv, e)))
        return -1;
    if (thinmap_empty(x->map))
        return 0;
    if (open_both(x, base, lv, e) < 0)
        return -1;
    x->files = filedelta_new_planned(x->base.fd, x->lv.fd, size, from, change_at, x);
    return 0;
}

int lvm_delta_open(struct delta *d, const struct snapshot *base, const struct snapshot *snapshot,
                   uint64_t from, struct err *e)
{
    const struct lvm *l = d->volume->priv;
    struct lv lv, base_lv;
    int r = lvm_find_id(l, snapshot->id, &lv, e);
    if (r > 0)
        return err_set(e, ERR_GONE, 0, "snapshot '%s' (id %s) is not there", snapshot->name, snapshot->id);
    if (r == 0 && base && (r = lvm_find_id(l, base->id, &base_lv, e)) > 0)
        return err_set(e, ERR_GONE, 0, "snapshot '%s' (id %s) is not there", base->name, base->id);
    if (r < 0)
        return -1;
    if (lv.size < snapshot->size)
        return err_set(e, ERR_DATA, 0, "snapshot '%s' has %llu bytes instead of %llu", snapshot->name,
                       (unsigned long long)lv.size, (unsigned long long)snapshot->size);
    struct lvm_delta *x = xcalloc(1, sizeof *x);
    x->lvm = l;
    x->base.fd = x->lv.fd = -1;
    if (open_delta(x, base ? &base_lv : NULL, &lv, snapshot->size, from, e) < 0) {
        release(x);
        free(x);
        return -1;
    }
    d->priv = x;
    return 0;
}

int lvm_delta_next(struct delta *d, struct extent *ret, struct err *e)
{
    struct lvm_delta *x = d->priv;
    return x->files ? filedelta_next(x->files, ret, e) : 0;
}

const void *lvm_delta_data(const struct delta *d)
{
    const struct lvm_delta *x = d->priv;
    return x->files ? filedelta_data(x->files) : NULL;
}

void lvm_delta_close(struct delta *d)
{
    release(d->priv);
    free(d->priv);
}

int lvm_flush(const struct lvm *l, const struct lv *lv, struct err *e)
{
    _cleanup_free_ char *device = lvm_device(l->vg, lv->name, "");
    _cleanup_close_ int fd = lv->active ? open(device, O_RDONLY | O_CLOEXEC) : -1;
    return fd >= 0 && fsync(fd) < 0 ? err_sys(e, "cannot flush '%s'", device) : 0;
}

int lvm_same(const struct lvm *l, const struct lv *a, const struct lv *b, struct err *e)
{
    _cleanup_(release) struct lvm_delta x = {.lvm = l, .exact = true, .base.fd = -1, .lv.fd = -1};
    if (a->size != b->size)
        return 1;
    if (lvm_flush(l, b, e) < 0 || open_delta(&x, a, b, b->size, 0, e) < 0)
        return -1;
    return x.files ? filedelta_any(x.files, l->tick, e) : 0;
}
