/* What the live volume has that no snapshot has: was it written to, and keeping that aside. */
#include "volume/lvm/lvm.h"

#include <string.h>

static int live_must(const struct lvm *l, struct lv *ret, struct err *e)
{
    int r = lvm_live(l, ret, e);
    return r > 0 ? err_set(e, ERR_GONE, 0, "there is no logical volume '%s/%s'", l->vg, l->volume) : r;
}

int lvm_keep_aside(const struct lvm *l, const char *name, struct err *e)
{
    struct lv live, there;
    int r = lvm_find(l, lvm_name(l, LVM_SNAPSHOT, name).s, &there, e);
    if (r < 0 || live_must(l, &live, e) < 0)
        return -1;
    /* repeated after a crash: it is kept already when it is what the live volume is */
    if (r == 0 && (r = lvm_same(l, &there, &live, e)) <= 0)
        return r;
    return lvm_take(l, name, LVM_SNAPSHOT, e);
}

int lvm_written(const struct lvm *l, char *since, struct err *e)
{
    struct lv live, s;
    int r = lvm_live(l, &live, e);
    if (r != 0)
        return r < 0 ? -1 : 0;
    r = lvm_reference(l, &live, &s, e);
    if (r == 0 && (r = lvm_same(l, &s, &live, e)) >= 0)
        memcpy(since, s.mark.m.snapshot, sizeof s.mark.m.snapshot);
    return r;
}
