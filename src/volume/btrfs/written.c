/* What the live volume of the btrfs driver has that no snapshot has: was it written to, and keeping that
 * aside. */
#include "volume/btrfs/btrfs.h"

#include "base/fs.h"
#include "volume/file/delta.h"
#include "volume/stream/sendstream.h"
#include "volume/stream/streamproc.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>

/* Does the file have this attribute with this value in the base, too? The sender repeats a file's
 * capabilities whenever it speaks of the file, and reading a file is enough for that. */
static bool attribute_is_old(int base, const struct send_record *r)
{
    char path[PATH_MAX], name[XATTR_NAME_MAX + 1], link[64];
    uint8_t value[XATTR_SIZE_MAX];
    size_t n = r->attr[ATTR_XATTR_DATA].n;
    struct err ignored;
    if (send_text(r, ATTR_PATH, sizeof path, path, &ignored) < 0 ||
        send_text(r, ATTR_XATTR_NAME, sizeof name, name, &ignored) < 0)
        return false;
    _cleanup_close_ int file = fs_open_beneath(base, *path ? path : ".", O_PATH | O_NOFOLLOW, 0, &ignored);
    if (file < 0)
        return false;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    return getxattr(link, name, value, sizeof value) == (ssize_t)n &&
           (n == 0 || memcmp(value, r->attr[ATTR_XATTR_DATA].data, n) == 0);
}

static bool is_our_mark(const struct send_record *r)
{
    char name[256];
    struct err ignored;
    return r->attr[ATTR_PATH].n == 0 && send_text(r, ATTR_XATTR_NAME, sizeof name, name, &ignored) == 0 &&
           strcmp(name, BTRFS_OWNER_ATTR) == 0;
}

/* 1 for a command that changes something somebody would miss: times alone are no change, nor is our mark.
 * arg: the base's file descriptor. */
static int is_change(const struct send_record *r, void *arg, struct err *e)
{
    switch (r->command) {
    case SEND_SNAPSHOT:
    case SEND_UTIMES:
    case SEND_END:
        return 0;
    case SEND_SET_XATTR:
        return !is_our_mark(r) && !attribute_is_old(*(int *)arg, r);
    case SEND_REMOVE_XATTR:
        return !is_our_mark(r);
    default:
        return 1;
    }
}

static int compare_streams(struct btrfs_volume *b, const struct snapshot *base, const char *tmp,
                           struct err *e)
{
    _cleanup_(streamproc_stop) struct streamproc s = STREAMPROC_INIT;
    _cleanup_(sendreader_release) struct sendreader reader = {0};
    _cleanup_free_ char *data = xmalloc(1 << 18);
    _cleanup_close_ int old = -1;
    char full[BTRFS_NAME_MAX];
    btrfs_snapshot_name(b, base->name, full);
    if (btrfs_open_snapshot(b, base, &old, e) < 0 || btrfs_sender_start(&s, b, full, tmp, false, e) < 0)
        return -1;
    ssize_t n;
    while ((n = streamproc_read(&s, data, 1 << 18, e)) > 0) {
        int r = sendreader_feed(&reader, data, (size_t)n, is_change, &old, e);
        if (r != 0)
            return r;
    }
    if (n == 0 && !reader.ended)
        return err_set(e, ERR_DATA, 0, "btrfs send ended in the middle of its stream");
    if (n == 0 || e->code != EIO)
        return n < 0 ? -1 : 0;
    *e = (struct err){0}; /* as filedelta_same */
    return 1;
}

static int written_container(struct btrfs_volume *b, int live, const struct snapshot *base, struct err *e)
{
    struct err ignored;
    char tmp[BTRFS_NAME_MAX];
    snprintf(tmp, sizeof tmp, "%.120s@@compared", b->tmp);
    if (subvol_destroy(b->dir, tmp, e) < 0 || subvol_snapshot(live, b->dir, tmp, true, e) < 0)
        return -1;
    int r = compare_streams(b, base, tmp, e);
    subvol_destroy(b->dir, tmp, &ignored); /* else the next tidy does it */
    return r;
}

static int written_disk(struct btrfs_volume *b, int live, const struct snapshot *base, struct err *e)
{
    _cleanup_close_ int snapshot = -1, old = -1, new = -1;
    if (btrfs_open_snapshot(b, base, &snapshot, e) < 0 ||
        (old = btrfs_open_disk(snapshot, O_RDONLY, e)) < 0 || (new = btrfs_open_disk(live, O_RDONLY, e)) < 0)
        return -1;
    return filedelta_same(old, new, btrfs_tick(b), e);
}

int btrfs_differs(struct btrfs_volume *b, int live, const struct snapshot *base, struct err *e)
{
    int r = b->stream ? written_container(b, live, base, e) : written_disk(b, live, base, e);
    return r < 0 ? err_wrap(e, "cannot compare '%s/%s' with its snapshot '%s'", b->dir_path, b->image,
                            base->name)
                 : r;
}

int btrfs_snapshot_differs(struct volume *v, const struct snapshot *base, const struct snapshot *s,
                           struct err *e)
{
    struct btrfs_volume *b = btrfs_of(v);
    _cleanup_close_ int fd = -1;
    char full[BTRFS_NAME_MAX];
    if (btrfs_open_snapshot(b, s, &fd, e) < 0)
        return -1;
    btrfs_snapshot_name(b, s->name, full);
    return b->stream ? compare_streams(b, base, full, e) : written_disk(b, fd, base, e);
}

/* live: or what was it. */
static int is_written(struct btrfs_volume *b, int live, char *since, struct err *e)
{
    _cleanup_btrfs_snapshots_ struct btrfs_snapshots all = {0};
    const struct btrfs_snapshot *base = NULL;
    if (btrfs_scan(b, &all, e) < 0 || btrfs_shown(b, live, &all, &base, e) < 0)
        return -1;
    /* A snapshot taken of it here since then: it was a source meanwhile. One of an earlier live volume, kept
     * aside when that was replaced, may be the younger one, but says nothing of this one; nor does one that
     * was just received. */
    struct subvol info;
    if (subvol_read(live, &info, e) < 0)
        return -1;
    for (const struct btrfs_snapshot *s = base ? base : all.v; s < all.v + all.n; s++)
        if (strcmp(s->parent, info.uuid) == 0 && strcmp(s->s.id, s->uuid) == 0) /* no stage of it */
            base = s;
    if (!base && all.n)
        base = &all.v[all.n - 1];
    if (!base)
        return 1;
    strcpy(since, base->s.name);
    return !(base->s.flags & SNAPSHOT_READABLE) ? 1 : btrfs_differs(b, live, &base->s, e);
}

int btrfs_written(struct volume *v, char *since, struct err *e)
{
    struct btrfs_volume *b = btrfs_of(v);
    _cleanup_close_ int live = -1;
    since[0] = 0;
    int r = btrfs_open_live(b, &live, e);
    if (r != 0)
        return r < 0 ? -1 : 0; /* nothing there that could have been written */
    return is_written(b, live, since, e);
}

int btrfs_differs_from(struct volume *v, const char *id, struct err *e)
{
    struct btrfs_volume *b = btrfs_of(v);
    _cleanup_btrfs_snapshots_ struct btrfs_snapshots all = {0};
    _cleanup_close_ int live = -1;
    int r = btrfs_open_live(b, &live, e);
    if (r != 0)
        return r;
    if (btrfs_scan(b, &all, e) < 0)
        return -1;
    const struct btrfs_snapshot *s = btrfs_find_id(&all, id);
    return s && s->s.flags & SNAPSHOT_READABLE ? btrfs_differs(b, live, &s->s, e) : 1;
}

/* 1 when the snapshot is there already and holds what the live volume holds: this is a repetition. */
static int kept_already(struct btrfs_volume *b, const char *name, struct err *e)
{
    _cleanup_btrfs_snapshots_ struct btrfs_snapshots all = {0};
    _cleanup_close_ int live = -1;
    if (btrfs_scan(b, &all, e) < 0)
        return -1;
    for (size_t i = 0; i < all.n; i++) {
        if (strcmp(all.v[i].s.name, name) != 0)
            continue;
        int r = btrfs_need_live(b, &live, e) < 0 ? -1 : btrfs_differs(b, live, &all.v[i].s, e);
        return r < 0 ? -1 : !r;
    }
    return 0;
}

int btrfs_keep_aside(struct volume *v, const char *name, struct err *e)
{
    struct btrfs_volume *b = btrfs_of(v);
    struct snapshot ignored;
    int r = kept_already(b, name, e);
    if (r != 0)
        return r < 0 ? -1 : 0;
    if (btrfs_snapshot(v, name, true, e) < 0)
        return -1;
    return btrfs_snapshot_keep(v, name, &ignored, e);
}

/* ---- what was live ---- */

/* Who uses it goes on with the very subvolume, so that is what is kept; else one that cannot be changed. */
static int keep_former(struct volume *v, int former, bool used, struct err *e)
{
    struct btrfs_volume *b = btrfs_of(v);
    struct subvol info;
    char name[SNAPSHOT_NAME_MAX + 1], full[BTRFS_NAME_MAX];
    _cleanup_close_ int made = -1;
    if (subvol_read(former, &info, e) < 0)
        return -1;
    snprintf(name, sizeof name, ASIDE_LATE "%.16s", info.uuid);
    btrfs_snapshot_name(b, name, full);
    if (used
            ? btrfs_bond_set(b, info.uuid, full, NULL, e) < 0 || subvol_rename(b->dir, b->tmp, full, 0, e) < 0
            : subvol_snapshot(former, b->dir, full, true, e) < 0 ||
                  subvol_open(b->dir, full, &made, e) != 0 || subvol_read(made, &info, e) < 0 ||
                  btrfs_bond_set(b, info.uuid, full, NULL, e) < 0)
        return -1;
    volume_removed(v, ASIDE_LATE_TEXT, name);
    return subvol_commit(b->dir, e);
}

/* 1: there is no room to find out, or to keep it. */
static int settle_former(struct volume *v, int fd, const struct subvol *info, int *used, struct err *e)
{
    struct btrfs_volume *b = btrfs_of(v);
    char by[VOLUME_USER_MAX + 1], since[SNAPSHOT_NAME_MAX + 1];
    *used = info->readonly ? 0 : btrfs_used(b, fd, by, e);
    int written = *used != 0 || info->readonly ? *used : is_written(b, fd, since, e);
    if (written >= 0 && (written == 0 || keep_former(v, fd, *used, e) == 0))
        return 0;
    return e->kind == ERR_FULL ? 1 : -1;
}

int btrfs_former_settle(struct volume *v, struct err *e)
{
    struct btrfs_volume *b = btrfs_of(v);
    _cleanup_close_ int fd = -1;
    struct subvol info;
    int used, r = b->dir < 0 ? 1 : subvol_open(b->dir, b->tmp, &fd, e);
    if (r != 0)
        return r < 0 ? -1 : 0;
    if (subvol_read(fd, &info, e) < 0)
        return -1;
    r = settle_former(v, fd, &info, &used, e);
    if (r != 0 || used)
        return r;
    if (subvol_destroy(b->dir, b->tmp, e) < 0)
        return -1;
    btrfs_bond_end(b, info.uuid);
    return 0;
}
