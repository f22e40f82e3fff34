/* What the live volume has that no snapshot has: was it written to, and keeping that aside; and could it be
 * written to? */
#include "volume/lvm/lvm.h"

#include "base/clock.h"
#include "base/mem.h"
#include "volume/mark.h"
#include "volume/users.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

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

/* Who has it open goes on with the very LV, so that is what is kept. */
static int keep_former(struct volume *v, const struct lv *old, bool used, struct err *e)
{
    const struct lvm *l = v->priv;
    struct lvm_mark mark = {0};
    mark.m.created = clock_epoch();
    mark.m.size = mark.m.offset = old->size;
    mark_new_id(mark.m.id);
    snprintf(mark.m.snapshot, sizeof mark.m.snapshot, ASIDE_LATE "%.16s", mark.m.id);
    snprintf(mark.volume, sizeof mark.volume, "%s", l->volume);
    if (lvm_next_seq(l, false, &mark.seq, e) < 0 ||
        lvm_retag(l, old, &mark, NULL, used ? LVM_RETAG : LVM_RETAG_FINAL, e) < 0 ||
        lvm_rename(l, old->name, lvm_name(l, LVM_SNAPSHOT, mark.m.snapshot).s, e) < 0)
        return -1;
    volume_removed(v, ASIDE_LATE_TEXT, mark.m.snapshot);
    return 0;
}

int lvm_former_settle(struct volume *v, struct err *e)
{
    const struct lvm *l = v->priv;
    struct lv old, s;
    char by[VOLUME_USER_MAX + 1];
    int r = lvm_find(l, lvm_name(l, LVM_OLD, NULL).s, &old, e);
    if (r != 0)
        return r < 0 ? -1 : 0;
    _cleanup_free_ char *device = lvm_device(l->vg, old.name, "");
    int used = users_of_device(device, l->tick, by, e);
    r = used != 0 ? used : lvm_reference(l, &old, &s, e);
    if (r == 0)
        r = lvm_same(l, &s, &old, e);
    if (r != 0)
        return r < 0 ? -1 : keep_former(v, &old, used, e);
    return lvm_remove(l, old.name, e);
}

static int pool_writable(const struct lvm *l, struct err *e)
{
    struct pool_room room;
    int r = pool_room(l, &room, e);
    if (r != 0)
        return r < 0 ? -1 : 0;
    if (!room.out && !room.read_only && !room.fail)
        return 0;
    return err_set(e, ERR_CONFIG, 0,
                   "a guest could not write to it: the thin pool '%s/%s' %s: see lvmthin(7), \"Data space "
                   "exhaustion\" and \"Metadata check and repair\"",
                   l->vg, l->pool,
                   room.out    ? "is full"
                   : room.fail ? "has failed"
                               : "is read-only");
}

int lvm_writable(const struct lvm *l, struct err *e)
{
    struct lv live;
    struct lvm_open open = LVM_OPEN_INIT;
    int read_only = 0;
    if (live_must(l, &live, e) < 0)
        return -1;
    if (live.read_only)
        return err_set(e, ERR_CONFIG, 0, "a guest could not write to it: lvchange -prw %s/%s", l->vg,
                       l->volume);
    if (lvm_open(l, &live, O_RDWR, &open, e) < 0 || ioctl(open.fd, BLKROGET, &read_only) < 0 || read_only) {
        if (read_only || open.fd >= 0)
            err_set(e, ERR_CONFIG, 0, "its device is read-only: lvchange -prw %s/%s", l->vg, l->volume);
        lvm_close(l, &open);
        return err_wrap(e, "a guest could not write to it");
    }
    int r = pool_writable(l, e);
    lvm_close(l, &open);
    return r;
}
