/* The target side of the btrfs driver: stage, seal, commit.
 *
 * What a crash leaves after each step, and what the next stage_open, commit or tidy makes of it:
 *
 *   stage_open
 *    1. subvolume .pvesr-stage.IMAGE made       → no info, or one of another uuid: discarded
 *    2. info written and flushed                → a stage at offset 0: discarded, begun anew
 *   write
 *    3. data, checkpoints (mark of disk.raw)    → resumed at the durable offset; a container's: discarded
 *   seal
 *    4. files flushed, mark of disk.raw removed → offset 0: discarded, begun anew
 *    5. received uuid set, not yet read-only    → as 4
 *    6. read-only, transaction committed        → sealed: waits for its commit
 *   commit
 *    7. stage renamed to IMAGE@SNAP, committed  → commit again: finds the snapshot by its id, goes on
 *    8. .pvesr-tmp.IMAGE: writable copy, owner  → commit again: removed, made again
 *    9. exchanged with the live subvolume       → commit again: live is a child of the snapshot: done
 *   10. the old live (.pvesr-tmp) asked once more whether it was written to,
 *       and removed                             → the same; so does a tidy
 *   11. info removed                            → the same
 *
 * 6 and 7 are transactions of the file system, so the order on the disk is the order here. Until 9 the live
 * volume shows the previous restore point, from then on the new one, never anything between.
 */
#include "volume/btrfs/btrfs.h"

#include "base/fs.h"
#include "base/modes.h"
#include "volume/btrfs/receive.h"
#include "volume/file/stage.h"
#include "volume/mark.h"
#include "volume/users.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

struct btrfs_stage {
    int subvol, base;
    struct filestage *file; /* extents family, not sealed */
    struct receiver *rx;    /* stream family, not sealed */
    struct filestage_mark mark;
};

/* ---- what a stage is: the info file ---- */

static int info_read(struct btrfs_volume *b, struct filestage_mark *mark, char uuid[SUBVOL_UUID_LEN + 1],
                     struct err *e)
{
    _cleanup_close_ int fd = openat(b->dir, b->stage_info, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? 1 : err_sys(e, "cannot open '%s/%s'", b->dir_path, b->stage_info);
    int r = filestage_mark_get(fd, mark, e);
    return r == 0 ? mark_get(fd, "uuid", uuid, SUBVOL_UUID_LEN + 1, e) : r;
}

static int info_remove(struct btrfs_volume *b, struct err *e)
{
    if (unlinkat(b->dir, b->stage_info, 0) < 0 && errno != ENOENT)
        return err_sys(e, "cannot remove '%s/%s'", b->dir_path, b->stage_info);
    return 0;
}

/* The uuid ties it to one subvolume: an old subvolume that a crash brings back is not taken for this one. */
static int info_write(struct btrfs_volume *b, const struct filestage_mark *mark, const char *uuid,
                      struct err *e)
{
    if (info_remove(b, e) < 0)
        return -1;
    _cleanup_close_ int fd = openat(b->dir, b->stage_info, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, MODE_NOTE);
    if (fd < 0)
        return err_sys(e, "cannot create '%s/%s'", b->dir_path, b->stage_info);
    if (filestage_mark_set(fd, mark, e) < 0 || mark_set(fd, "uuid", uuid, e) < 0)
        return -1;
    if (fsync(fd) < 0)
        return err_sys(e, "cannot flush '%s/%s'", b->dir_path, b->stage_info);
    return subvol_commit(b->dir, e);
}

/* The stage that is there, with its offset and whether it is sealed; 1 when there is none worth anything. */
static int stage_find(struct btrfs_volume *b, struct filestage_mark *mark, int *subvol, struct err *e)
{
    char uuid[SUBVOL_UUID_LEN + 1];
    struct subvol found;
    _cleanup_close_ int fd = -1;
    if (b->dir < 0)
        return 1;
    int r = info_read(b, mark, uuid, e);
    if (r == 0)
        r = subvol_open(b->dir, b->stage, &fd, e);
    if (r != 0)
        return r;
    if (subvol_read(fd, &found, e) < 0)
        return -1;
    if (strcmp(found.uuid, uuid) != 0)
        return 1;
    mark->offset = 0;
    mark->sealed = found.readonly && strcmp(found.received_uuid, mark->id) == 0;
    if (mark->sealed) {
        mark->offset = mark->size;
    } else if (!b->stream) {
        struct filestage_mark durable;
        _cleanup_close_ int disk = btrfs_open_disk(fd, O_RDONLY, e);
        if (disk < 0)
            return e->code == ENOENT ? 1 : -1;
        r = filestage_mark_get(disk, &durable, e);
        if (r < 0)
            return -1;
        if (r == 0 && strcmp(durable.id, mark->id) == 0 && strcmp(durable.base_id, mark->base_id) == 0)
            mark->offset = durable.offset;
    }
    *subvol = take_fd(&fd);
    return 0;
}

int btrfs_stage_info(struct volume *v, struct stage_info *ret, struct err *e)
{
    struct btrfs_volume *b = btrfs_of(v);
    struct filestage_mark mark;
    _cleanup_close_ int fd = -1;
    *ret = (struct stage_info){0};
    int r = stage_find(b, &mark, &fd, e);
    if (r < 0)
        return -1;
    if (r == 0 && (mark.sealed || mark.offset > 0)) {
        filestage_mark_info(&mark, ret);
        return 0;
    }
    r = b->dir >= 0 ? fs_look_at(b->dir, b->stage, e) : 0;
    if (r == 0 && b->dir >= 0)
        r = fs_look_at(b->dir, b->stage_info, e);
    ret->scrap = r > 0;
    return r < 0 ? -1 : 0;
}

int btrfs_stage_discard(struct volume *v, struct err *e)
{
    struct btrfs_volume *b = btrfs_of(v);
    if (b->dir < 0)
        return 0;
    if (subvol_destroy(b->dir, b->stage, e) < 0 || info_remove(b, e) < 0)
        return -1;
    return subvol_commit(b->dir, e);
}

/* ---- opening ---- */

/* What somebody barred (chattr +i, +a) when it was the guest's own volume is so in its snapshots, too, and in
 * what is made of them. */
static int open_own_disk(int subvol, struct err *e)
{
    int fd = btrfs_open_disk(subvol, O_RDWR, e), flags;
    if (fd >= 0 || e->code != EPERM)
        return fd;
    _cleanup_close_ int reader = btrfs_open_disk(subvol, O_RDONLY, e);
    if (reader < 0 || ioctl(reader, FS_IOC_GETFLAGS, &flags) < 0)
        return -1;
    flags &= ~(FS_IMMUTABLE_FL | FS_APPEND_FL);
    return ioctl(reader, FS_IOC_SETFLAGS, &flags) < 0
               ? err_sys(e, "cannot take the flags of '%s'", BTRFS_DISK_FILE)
               : btrfs_open_disk(subvol, O_RDWR, e);
}

static int make_subvolume(struct btrfs_volume *b, struct btrfs_stage *x, struct err *e)
{
    struct subvol made;
    int r = x->base >= 0 ? subvol_snapshot(x->base, b->dir, b->stage, false, e)
                         : subvol_create(b->dir, b->stage, e);
    if (r < 0 || subvol_open(b->dir, b->stage, &x->subvol, e) != 0 || subvol_read(x->subvol, &made, e) < 0)
        return -1;
    if (!b->stream) {
        _cleanup_close_ int disk = x->base >= 0 ? open_own_disk(x->subvol, e)
                                                : btrfs_open_disk(x->subvol, O_RDWR | O_CREAT | O_EXCL, e);
        if (disk < 0)
            return -1;
        if (btrfs_owner_set(x->subvol, "", e) < 0) /* of the live volume */
            return -1;
        if (ftruncate(disk, (off_t)x->mark.size) < 0)
            return err_sys(e, "cannot set the size of '%s/%s/%s'", b->dir_path, b->stage, BTRFS_DISK_FILE);
        if (fsync(disk) < 0)
            return err_sys(e, "cannot flush '%s/%s/%s'", b->dir_path, b->stage, BTRFS_DISK_FILE);
    }
    return info_write(b, &x->mark, made.uuid, e);
}

static int open_writer(struct btrfs_volume *b, struct btrfs_stage *x, struct err *e)
{
    if (b->stream) {
        x->rx = receiver_new(x->subvol, x->mark.id, x->base, x->mark.base_id);
        return 0;
    }
    int disk = open_own_disk(x->subvol, e);
    if (disk < 0)
        return -1;
    /* what it stands on may be of an earlier version, which left it open to all */
    fs_restrict(disk, MODE_DISK);
    fs_restrict(x->subvol, MODE_GUEST_FOLDER);
    _cleanup_free_ char *what = xasprintf("%s/%s/%s", b->dir_path, b->stage, BTRFS_DISK_FILE);
    x->file = filestage_new(disk, what, &x->mark, btrfs_tick(b), e);
    return x->file ? 0 : -1;
}

static int open_base(struct btrfs_volume *b, const char *id, int *ret, struct err *e)
{
    if (!b->stream && strcmp(id, STAGE_OF_LIVE) == 0)
        return btrfs_need_live(b, ret, e);
    _cleanup_btrfs_snapshots_ struct btrfs_snapshots all = {0};
    if (btrfs_scan(b, &all, e) < 0)
        return -1;
    const struct btrfs_snapshot *base = btrfs_find_id(&all, id);
    if (!base)
        return err_set(e, ERR_DATA, 0, "the base snapshot %s of '%s/%s' is not here", id, b->dir_path,
                       b->image);
    return btrfs_open_snapshot(b, &base->s, ret, e);
}

/* An unsealed container stage cannot be gone on with: the stream has no place to go on at. */
static bool resumable(const struct btrfs_volume *b, const struct filestage_mark *found,
                      const struct stage_want *want)
{
    if (b->stream)
        return filestage_mark_fits(found, want) && found->sealed && want->resume;
    return filestage_mark_fits(found, want) && (found->sealed || found->offset > 0);
}

int btrfs_stage_open(struct stage *s, const struct stage_want *want, uint64_t *offset, struct err *e)
{
    struct btrfs_volume *b = btrfs_of(s->volume);
    struct filestage_mark found;
    if (btrfs_dir(b, s->volume->vmid, true, e) < 0)
        return -1;
    struct btrfs_stage *x = xcalloc(1, sizeof *x);
    s->priv = x;
    x->subvol = x->base = -1;
    filestage_mark_init(&x->mark, want);
    int r = 0;
    if (x->mark.base_id[0])
        r = open_base(b, x->mark.base_id, &x->base, e);
    if (r == 0)
        r = stage_find(b, &found, &x->subvol, e);
    if (r == 0 && resumable(b, &found, want)) {
        x->mark = found;
    } else if (r >= 0) {
        if (x->subvol >= 0)
            close(take_fd(&x->subvol));
        if (faccessat(b->dir, b->stage, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
            volume_removed(s->volume, "an unfinished copy that the next one cannot go on from");
        r = btrfs_stage_discard(s->volume, e);
        if (r == 0)
            r = make_subvolume(b, x, e);
    }
    if (r == 0 && !x->mark.sealed)
        r = open_writer(b, x, e);
    if (r < 0) {
        btrfs_stage_close(s);
        return -1;
    }
    s->stream = b->stream;
    s->sealed = x->mark.sealed;
    *offset = x->mark.offset;
    return 0;
}

void btrfs_stage_close(struct stage *s)
{
    struct btrfs_stage *x = s->priv;
    if (!x)
        return;
    filestage_free(x->file);
    receiver_free(x->rx);
    if (x->subvol >= 0)
        close(x->subvol);
    if (x->base >= 0)
        close(x->base);
    free(x);
    s->priv = NULL;
}

/* ---- writing ---- */

static int need_open(const struct stage *s, const void *writer, struct err *e)
{
    if (writer)
        return 0;
    return err_set(e, ERR_USAGE, 0,
                   "the unfinished copy of '%s' is whole already, or of another kind than what was sent",
                   s->volume->name);
}

int btrfs_stage_write(struct stage *s, uint64_t offset, const void *data, size_t n, struct err *e)
{
    struct btrfs_stage *x = s->priv;
    return need_open(s, x->file, e) < 0 ? -1 : filestage_write(x->file, offset, data, n, e);
}

int btrfs_stage_zero(struct stage *s, uint64_t offset, uint64_t n, struct err *e)
{
    struct btrfs_stage *x = s->priv;
    return need_open(s, x->file, e) < 0 ? -1 : filestage_zero(x->file, offset, n, e);
}

int btrfs_stage_fd(const struct stage *s)
{
    const struct btrfs_stage *x = s->priv;
    return x->file ? filestage_fd(x->file) : -1;
}

int btrfs_stage_checkpoint(struct stage *s, uint64_t offset, struct err *e)
{
    struct btrfs_stage *x = s->priv;
    if (btrfs_of(s->volume)->stream || x->mark.sealed)
        return 0;
    return filestage_checkpoint(x->file, offset, e);
}

int btrfs_stage_feed(struct stage *s, const void *data, size_t n, struct err *e)
{
    struct btrfs_stage *x = s->priv;
    return need_open(s, x->rx, e) < 0 ? -1 : receiver_feed(x->rx, data, n, e);
}

/* ---- sealing ---- */

static int seal_disk(struct btrfs_volume *b, struct btrfs_stage *x, struct err *e)
{
    if (filestage_seal(x->file, e) < 0)
        return -1;
    filestage_free(take_ptr(x->file));
    /* What we noted there is not the source's: the snapshot is to equal it. */
    _cleanup_close_ int disk = btrfs_open_disk(x->subvol, O_RDWR, e);
    if (disk < 0 || mark_clear(disk, "stage", e) < 0)
        return -1;
    if (fsync(disk) < 0)
        return err_sys(e, "cannot flush '%s/%s/%s'", b->dir_path, b->stage, BTRFS_DISK_FILE);
    return subvol_seal(x->subvol, x->mark.id, 0, x->mark.created, e);
}

static int seal_container(struct btrfs_volume *b, struct btrfs_stage *x, struct err *e)
{
    if (!receiver_whole(x->rx))
        return err_set(e, ERR_DATA, 0, "the stream for '%s/%s' ended too early", b->dir_path, b->image);
    uint64_t transid = receiver_transid(x->rx);
    receiver_free(take_ptr(x->rx));
    tick_now(btrfs_tick(b));
    if (syncfs(x->subvol) < 0)
        return err_sys(e, "cannot flush '%s/%s'", b->dir_path, b->stage);
    return subvol_seal(x->subvol, x->mark.id, transid, x->mark.created, e);
}

int btrfs_stage_seal(struct stage *s, struct err *e)
{
    struct btrfs_volume *b = btrfs_of(s->volume);
    struct btrfs_stage *x = s->priv;
    if (x->mark.sealed)
        return 0;
    if (need_open(s, b->stream ? (const void *)x->rx : (const void *)x->file, e) < 0)
        return -1;
    if ((b->stream ? seal_container(b, x, e) : seal_disk(b, x, e)) < 0)
        return -1;
    x->mark.sealed = s->sealed = true;
    return 0;
}

/* ---- commit ---- */

/* The sealed stage becomes the snapshot. */
static int publish(struct btrfs_volume *b, const struct filestage_mark *mark, int stage, struct err *e)
{
    char full[BTRFS_NAME_MAX];
    struct subvol info;
    btrfs_snapshot_name(b, mark->snapshot, full);
    if (subvol_read(stage, &info, e) < 0 || btrfs_bond_set(b, info.uuid, full, NULL, e) < 0 ||
        subvol_rename(b->dir, b->stage, full, 0, e) < 0)
        return -1;
    return subvol_commit(b->dir, e);
}

/* 1 when the live volume shows this snapshot already, as made by `owner`. */
static int shows(struct btrfs_volume *b, const struct btrfs_snapshot *snapshot, char owner[32], struct err *e)
{
    _cleanup_close_ int live = -1;
    struct subvol info;
    char maker[32];
    int r = btrfs_open_live(b, &live, e);
    if (r != 0)
        return r < 0 ? -1 : 0;
    if (subvol_read(live, &info, e) < 0 || btrfs_live_owner(b, live, maker, e) < 0)
        return -1;
    if (!owner[0])
        strcpy(owner, maker); /* a repeated commit whose info is gone: the maker is who it was */
    return !info.readonly && strcmp(info.parent_uuid, snapshot->uuid) == 0 && strcmp(maker, owner) == 0;
}

static int replace_live(struct volume *v, const struct btrfs_snapshot *snapshot, const char *owner,
                        struct err *e)
{
    struct btrfs_volume *b = btrfs_of(v);
    _cleanup_close_ int from = -1, to = -1;
    char by[VOLUME_USER_MAX + 1];
    struct subvol made;
    int exists = fs_look_at(b->dir, b->image, e);
    if (exists >= 0 && btrfs_former_settle(v, e) != 0) /* of a commit that was cut, or found no room for it */
        return err_wrap(e, "what was written to '%s/%s' while it was being replaced is to be kept first",
                        b->dir_path, b->image);
    if (exists < 0 || btrfs_open_snapshot(b, &snapshot->s, &from, e) < 0 ||
        subvol_snapshot(from, b->dir, b->tmp, false, e) < 0 || subvol_open(b->dir, b->tmp, &to, e) != 0 ||
        btrfs_owner_set(to, owner, e) < 0 || subvol_read(to, &made, e) < 0 ||
        btrfs_bond_set(b, made.uuid, b->image, NULL, e) < 0)
        return -1;
    int used = btrfs_in_use(b, false, by, e);
    if (used != 0)
        return used < 0 ? -1 : users_refuse(by, e);
    if (subvol_rename(b->dir, b->tmp, b->image, exists ? RENAME_EXCHANGE : 0, e) < 0)
        return -1;
    return subvol_commit(b->dir, e);
}

static int bring_live(struct volume *v, const struct btrfs_snapshot *snapshot, char owner[32],
                      enum commit_how how, struct err *e)
{
    struct btrfs_volume *b = btrfs_of(v);
    _cleanup_close_ int live = -1;
    if (btrfs_alone(v, e) < 0) /* before anything is seen to change */
        return -1;
    int r = shows(b, snapshot, owner, e);
    if (r > 0 && how == COMMIT_ANEW) {
        int differs = btrfs_need_live(b, &live, e) < 0 ? -1 : btrfs_differs(b, live, &snapshot->s, e);
        r = differs < 0 ? -1 : !differs;
    }
    return r < 0 || (r == 0 && replace_live(v, snapshot, owner, e) < 0) ? -1 : 0;
}

int btrfs_commit(struct volume *v, const char *id, enum commit_how how, struct err *e)
{
    struct btrfs_volume *b = btrfs_of(v);
    _cleanup_btrfs_snapshots_ struct btrfs_snapshots all = {0};
    struct filestage_mark mark = {0};
    char uuid[SUBVOL_UUID_LEN + 1];
    _cleanup_close_ int stage = -1;
    if (b->dir < 0)
        return err_set(e, ERR_GONE, 0, "nothing was received for '%s/%s' that it could show", b->dir_path,
                       b->image);
    fs_restrict(b->dir, MODE_GUEST_FOLDER); /* of a replica that has not changed since an earlier version */
    int r = info_read(b, &mark, uuid, e);
    if (r < 0 || btrfs_scan(b, &all, e) < 0)
        return -1;
    bool ours = r == 0 && strcmp(mark.id, id) == 0;
    if (!ours)
        mark = (struct filestage_mark){0};
    if (!btrfs_find_id(&all, id)) {
        r = stage_find(b, &mark, &stage, e);
        if (r != 0 || !mark.sealed || strcmp(mark.id, id) != 0)
            return r < 0 ? -1
                         : err_set(e, ERR_GONE, 0,
                                   "what was received of restore point %s of '%s/%s' is not here, or not "
                                   "whole: the "
                                   "next run sends it again",
                                   id, b->dir_path, b->image);
        ours = true;
        if (publish(b, &mark, stage, e) < 0)
            return -1;
        btrfs_snapshots_release(&all);
        if (btrfs_scan(b, &all, e) < 0)
            return -1;
    }
    const struct btrfs_snapshot *snapshot = btrfs_find_id(&all, id);
    if (!snapshot)
        return err_set(e, ERR_GONE, 0, "the snapshot with id %s of '%s/%s' was removed meanwhile", id,
                       b->dir_path, b->image);
    if (how != COMMIT_POINT && bring_live(v, snapshot, mark.owner, how, e) < 0)
        return -1;
    if (btrfs_former_settle(v, e) < 0 || (ours && info_remove(b, e) < 0))
        return -1;
    return subvol_commit(b->dir, e);
}
