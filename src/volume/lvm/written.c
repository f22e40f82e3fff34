/* What the live volume has that no snapshot has: was it written to, and keeping that aside; and could it be
 * written to? */
#include "volume/lvm/lvm.h"

#include <fcntl.h>
#include <linux/fs.h>
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
