/* The dir driver where files cannot share blocks. The live file is the only one with data; a snapshot is a
 * digest map of it, and can be read as long as the live file is not written to.
 *
 * A digest map counts only while it tells the truth about a state that the data is or was in here:
 *   - one of our own (made by volume_snapshot) always: it says what the guest's disk was;
 *   - a received one while the live file's attribute `base` names it.
 * So renaming the stage to the live file switches both, data and restore point, at one instant. A crash
 * leaves:
 *
 *   snapshot    digests in a temporary                                 → it goes with volume_tidy
 *   keep        attributes, flush, rename                              → temporary, or the whole snapshot
 *   commit
 *     1. digests of the sealed stage in a temporary, flushed           → sealed stage; commit starts over
 *     2. renamed to the snapshot's digest file                         → not counted: live is another base
 *     3. the stage gets `base` and `owner`, flushed                    → still a sealed stage
 *     4. it is renamed to the live file, directory flushed             → live and restore point are new
 *     5. identity noted in the map                                     → a repeated commit does 6
 *     6. what was live is asked once more (former.c), older maps removed → old maps: the same
 *
 * Before 4 the former live file is linked to a temporary, and its map stays: until the next volume_tidy, a
 * commit of what it shows goes back to it.
 *
 * keep_aside is a hard link: the live file is going to be replaced by rename, which leaves the other name
 * alone, and until then both names are there.
 */
#include "volume/dir/dir.h"

#include "base/clock.h"
#include "base/mem.h"
#include "volume/dir/bond.h"
#include "volume/dir/ident.h"
#include "volume/file/blockmap.h"
#include "volume/mark.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

/* ---- snapshots ---- */

static int open_live(struct dir *d, int *fd, uint64_t *size, struct err *e)
{
    struct stat st;
    int r = dir_file(d, d->file, O_RDONLY, fd, e);
    if (r != 0)
        return r > 0 ? err_set(e, ERR_GONE, 0, "the disk's file '%s' is not there", d->file) : -1;
    if (fstat(*fd, &st) < 0)
        return err_sys(e, "cannot stat '%s'", d->file);
    *size = (uint64_t)st.st_size;
    return 0;
}

static bool is_of_live(struct dir *d, const char *snapshot)
{
    _cleanup_close_ int fd = -1;
    struct err ignored;
    return dir_file(d, dir_name(d, DIR_DIGEST, snapshot).s, O_RDONLY, &fd, &ignored) == 0 &&
           ident_unchanged(d, fd);
}

/* The newest map whose identity the live file still has: its digests need not be made again. 1: none. */
static int find_unchanged(struct dir *d, struct snapshot *ret, struct err *e)
{
    _cleanup_snapshots_ struct snapshots all = {0};
    if (dir_snapshots(d, &all, e) < 0)
        return -1;
    for (size_t i = 0; i < all.n; i++) {
        if (all.v[i].flags & SNAPSHOT_CHANGED || !is_of_live(d, all.v[i].name))
            continue;
        *ret = all.v[i];
        return 0;
    }
    return 1;
}

static int make_digests(struct dir *d, int live, uint64_t size, int to, struct err *e)
{
    struct snapshot same;
    int r = find_unchanged(d, &same, e);
    if (r != 0)
        return r < 0 ? -1 : blockmap_make(live, size, d->file, to, store_tick(d->store), e);
    _cleanup_close_ int from = -1;
    struct dir_name name = dir_name(d, DIR_DIGEST, same.name);
    r = dir_file(d, name.s, O_RDONLY, &from, e);
    return r == 0  ? blockmap_duplicate(from, to, name.s, e)
           : r > 0 ? err_set(e, ERR_GONE, 0,
                             "snapshot '%s' was removed meanwhile: the next run takes another", same.name)
                   : -1;
}

int plain_snapshot(struct dir *d, const char *name, bool busy, struct err *e)
{
    if (busy)
        return err_set(
            e, ERR_CONFIG, 0,
            "the guest is running and the file system of storage '%s' ('%s') has no reflinks: put the "
            "storage on XFS (made with reflink=1) or on btrfs, or stop the guest while it replicates",
            d->store->id, d->store->path);
    _cleanup_close_ int live = -1, fd = -1;
    struct dir_name temp = dir_name(d, DIR_TEMP, name);
    uint64_t size;
    char ident[IDENT_MAX];
    /* Flushed first: who has it mapped changes a page that is dirty already without another time. */
    if (dir_check_free(d, name, e) < 0 || open_live(d, &live, &size, e) < 0 ||
        dir_flush(live, d->file, e) < 0 || ident_take(live, ident, e) < 0 ||
        dir_create(d, temp.s, &fd, e) < 0)
        return -1;
    struct err ignored;
    if (make_digests(d, live, size, fd, e) < 0 || mark_set(fd, "ident", ident, e) < 0) {
        dir_remove(d, temp.s, &ignored);
        return -1;
    }
    if (!ident[0] || ident_holds(live, ident))
        return 0;
    dir_remove(d, temp.s, &ignored);
    return err_set(e, ERR_DATA, 0, "'%s' was changed while it was being read: keep the guest stopped",
                   d->file);
}

int plain_keep(struct dir *d, const char *name, struct snapshot *ret, struct err *e)
{
    _cleanup_close_ int fd = -1;
    struct dir_name temp = dir_name(d, DIR_TEMP, name);
    int r = dir_file(d, temp.s, O_RDWR, &fd, e);
    if (r != 0)
        return r > 0 ? err_set(e, ERR_GONE, 0,
                               "snapshot '%s' vanished before it was kept: the next run takes another", name)
                     : -1;
    _cleanup_(blockmap_freep) struct blockmap *map = blockmap_open(fd, temp.s, e);
    if (!map)
        return -1;
    struct snapshot s = {.created = clock_epoch(), .size = blockmap_size(map)};
    strcpy(s.name, name);
    mark_new_id(s.id);
    if (dir_publish(d, fd, temp.s, DIR_DIGEST, &s, "", e) < 0)
        return -1;
    if (ident_unchanged(d, fd))
        s.flags |= SNAPSHOT_READABLE;
    *ret = s;
    return 0;
}

/* Is it the live file itself, kept aside under this name? */
static int is_kept_as(struct dir *d, int live, const char *name, struct err *e)
{
    struct stat st, other;
    struct dir_name aside = dir_name(d, DIR_SNAPSHOT, name);
    if (fstat(live, &st) < 0)
        return err_sys(e, "cannot stat '%s'", d->file);
    if (fstatat(d->fd, aside.s, &other, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : err_sys(e, "cannot stat '%s'", aside.s);
    return other.st_ino == st.st_ino;
}

/* Has the live file been kept under some name already? */
static int is_kept(struct dir *d, int live, struct err *e)
{
    _cleanup_strv_ struct strv tags = STRV_INIT;
    int r = dir_tags(d, DIR_SNAPSHOT, &tags, e);
    for (size_t i = 0; r == 0 && i < tags.n; i++)
        r = is_kept_as(d, live, tags.v[i], e);
    return r;
}

int plain_keep_aside(struct dir *d, const char *name, struct err *e)
{
    _cleanup_close_ int live = -1;
    struct snapshot s = {.created = clock_epoch()};
    if (open_live(d, &live, &s.size, e) < 0)
        return -1;
    int kept = is_kept(d, live, e);
    if (kept != 0)
        return kept < 0 ? -1 : dir_sync(d, e);
    struct dir_name to = dir_name(d, DIR_SNAPSHOT, name);
    mark_new_id(s.id);
    if (dir_check_free(d, name, e) < 0 || dir_next_seq(d, &s.seq, e) < 0 ||
        bond_set(live, BOND_SNAPSHOT, to.s, NULL, e) < 0 || mark_snapshot_set(live, &s, "", e) < 0 ||
        dir_flush(live, d->file, e) < 0)
        return -1;
    if (linkat(d->fd, d->file, d->fd, to.s, 0) < 0)
        return err_sys(e, "cannot link '%s' to '%s'", d->file, to.s);
    return dir_sync(d, e);
}

/* ---- was it written to? ---- */

/* 1 also where it was changed behind the reader's back. Flushed first: who has it mapped changes a page that
 * is dirty already without another time. */
static int compare(struct dir *d, int live, int map_fd, const char *name, struct err *e)
{
    char ident[IDENT_MAX];
    struct err ignored; /* only a hint for the next time */
    _cleanup_(blockmap_freep) struct blockmap *map = blockmap_open(map_fd, name, e);
    if (!map || dir_flush(live, d->file, e) < 0 || ident_take(live, ident, e) < 0)
        return -1;
    int r = blockmap_differs(map, live, d->file, store_tick(d->store), e);
    if (r > 0) /* its times may not show it */
        mark_set(map_fd, "ident", "", &ignored);
    if (r != 0 || !ident[0])
        return r;
    if (!ident_holds(live, ident))
        return 1;
    mark_set(map_fd, "ident", ident, &ignored);
    return 0;
}

int plain_differs(struct dir *d, const struct snapshot *s, struct err *e)
{
    _cleanup_close_ int live = -1, fd = -1;
    struct dir_name name = dir_name(d, DIR_DIGEST, s->name);
    int r = dir_file(d, d->file, O_RDONLY, &live, e);
    int kept = r == 0 ? is_kept_as(d, live, s->name, e) : 0;
    if (kept != 0)
        return kept < 0 ? -1 : 0;
    if (r == 0)
        r = dir_file(d, name.s, O_RDONLY, &fd, e);
    if (r != 0)
        return r;
    return ident_unchanged(d, fd) ? 0 : compare(d, live, fd, name.s, e);
}

int plain_written(struct dir *d, char *since, struct err *e)
{
    struct snapshot s;
    int r = dir_has(d, d->file, e);
    if (r <= 0)
        return r;
    r = dir_reference(d, d->file, true, &s, e);
    if (r != 0)
        return r;
    strcpy(since, s.name);
    return plain_differs(d, &s, e);
}

/* ---- receiving ---- */

static int check_room(struct dir *d, int live, struct err *e)
{
    struct stat st;
    struct statvfs fs;
    if (fstat(live, &st) < 0 || fstatvfs(live, &fs) < 0)
        return err_sys(e, "cannot stat '%s'", d->file);
    uint64_t needed = (uint64_t)st.st_blocks * 512, room = (uint64_t)fs.f_bavail * fs.f_frsize;
    if (needed > room)
        return err_set(e, ERR_FULL, ENOSPC, "a second copy of '%s' needs %" PRIu64 " bytes", d->file, needed);
    return 0;
}

static int copy_base(struct dir *d, const char *base_id, int fd, struct err *e)
{
    _cleanup_close_ int live = -1, map_fd = -1;
    struct snapshot s;
    uint64_t size;
    int r = dir_find(d, base_id, &s, e);
    if (r == 0)
        r = dir_file(d, dir_name(d, DIR_DIGEST, s.name).s, O_RDONLY, &map_fd, e);
    if (r != 0)
        return r < 0 ? -1
                     : err_set(e, ERR_DATA, 0,
                               "the base snapshot with id %s is not there: the next run looks for another",
                               base_id);
    if (open_live(d, &live, &size, e) < 0 || check_room(d, live, e) < 0)
        return -1;
    _cleanup_(blockmap_freep) struct blockmap *map = blockmap_open(map_fd, s.name, e);
    if (!map)
        return -1;
    struct err why = {0};
    r = blockmap_copy(map, live, d->file, fd, store_tick(d->store), &why);
    if (r < 0)
        *e = why;
    /* Its times may not show it, as of a disk that rots: what has no identity counts as written to, so that
     * the next run sends everything. */
    struct err ignored;
    if (r > 0)
        mark_set(map_fd, "ident", "", &ignored);
    if (r > 0)
        return err_set(
            e, ERR_DATA, 0,
            "the replica %s since its restore point '%s', and its file system keeps no other copy of it: "
            "only a full copy can go on from here%s%s",
            why.code == EIO ? "became unreadable" : "was written to", s.name, why.code == EIO ? ": " : "",
            why.code == EIO ? why.text : "");
    return r;
}

/* Whatever it holds. What the disk does not give is a hole in the copy: whoever compares that finds it. */
static int copy_live(struct dir *d, int fd, struct err *e)
{
    _cleanup_close_ int live = -1;
    uint64_t size;
    if (open_live(d, &live, &size, e) < 0 || check_room(d, live, e) < 0)
        return -1;
    if (ftruncate(fd, (off_t)size) < 0)
        return err_sys(e, "cannot set the size of the unfinished copy to %" PRIu64, size);
    return blocks_copy(live, size, d->file, fd, store_tick(d->store), e);
}

int plain_prepare(struct dir *d, const struct filestage_mark *mark, int fd, struct err *e)
{
    int r = filestage_mark_of_live(mark) ? copy_live(d, fd, e)
            : mark->base_id[0]           ? copy_base(d, mark->base_id, fd, e)
                                         : 0;
    if (r < 0)
        return -1;
    if (ftruncate(fd, (off_t)mark->size) < 0)
        return err_sys(e, "cannot set the size of the unfinished copy to %" PRIu64, mark->size);
    return 0;
}

/* Steps 1 and 2. */
static int publish_digests(struct dir *d, int stage, const struct filestage_mark *mark, struct err *e)
{
    _cleanup_close_ int fd = -1;
    struct dir_name temp = dir_name(d, DIR_TEMP, DIR_TAG_MAP);
    struct dir_name to = dir_name(d, DIR_DIGEST, mark->snapshot);
    struct snapshot s = {.created = mark->created, .size = mark->size, .flags = SNAPSHOT_RECEIVED};
    strcpy(s.name, mark->snapshot);
    strcpy(s.id, mark->id);
    _cleanup_snapshots_ struct snapshots all = {0};
    if (dir_snapshots(d, &all, e) < 0)
        return -1;
    if (snapshots_find(&all, s.name))
        return err_set(e, ERR_DATA, 0, "it has another snapshot '%s' already", s.name);
    /* a map of this name that does not count is from a commit that was cut here, or of a state long gone */
    if (dir_remove(d, to.s, e) < 0 || dir_create(d, temp.s, &fd, e) < 0 ||
        blockmap_make(stage, mark->size, "the stage", fd, store_tick(d->store), e) < 0)
        return -1;
    return dir_publish(d, fd, temp.s, DIR_DIGEST, &s, mark->owner, e);
}

/* What the former live file shows; "" when there is none. */
static int former_base(struct dir *d, char base[SNAPSHOT_ID_LEN + 1], struct err *e)
{
    _cleanup_close_ int fd = -1;
    base[0] = 0;
    int r = dir_file(d, dir_name(d, DIR_TEMP, DIR_TAG_FORMER).s, O_RDONLY, &fd, e);
    return r < 0 || (r == 0 && mark_get(fd, "base", base, SNAPSHOT_ID_LEN + 1, e) < 0) ? -1 : 0;
}

/* Steps 3 and 4. Without hard links there is no way back. */
static int switch_live(struct volume *v, int stage, const struct filestage_mark *mark, struct err *e)
{
    struct dir *d = v->priv;
    struct dir_name name = dir_name(d, DIR_STAGE, NULL);
    if (mark_set(stage, "base", mark->id, e) < 0 || mark_set(stage, "owner", mark->owner, e) < 0 ||
        bond_set(stage, BOND_LIVE, d->file, NULL, e) < 0 || dir_copy_mode(d, stage, e) < 0 ||
        dir_flush(stage, name.s, e) < 0 || former_link(v, DIR_TAG_FORMER, e) < 0)
        return -1;
    return dir_replace_live(d, name.s, e);
}

static int map_id(struct dir *d, const char *tag, struct snapshot *ret, struct err *e)
{
    _cleanup_close_ int fd = -1;
    *ret = (struct snapshot){0};
    int r = dir_file(d, dir_name(d, DIR_DIGEST, tag).s, O_RDONLY, &fd, e);
    return r == 0 && mark_snapshot_get(fd, ret, e) < 0 ? -1 : r < 0 ? -1 : 0;
}

/* Step 6. */
static int forget_older(struct dir *d, const char *name, struct err *e)
{
    char base[SNAPSHOT_ID_LEN + 1];
    _cleanup_strv_ struct strv tags = STRV_INIT;
    if (former_base(d, base, e) < 0 || dir_tags(d, DIR_DIGEST, &tags, e) < 0)
        return -1;
    for (size_t i = 0; i < tags.n; i++) {
        struct snapshot s;
        if (strcmp(tags.v[i], name) == 0)
            continue;
        if (map_id(d, tags.v[i], &s, e) < 0)
            return -1;
        if ((!base[0] || strcmp(s.id, base) != 0) &&
            dir_remove(d, dir_name(d, DIR_DIGEST, tags.v[i]).s, e) < 0)
            return -1;
    }
    return dir_sync(d, e);
}

/* 1: this map says nothing of the file. */
static int map_differs(struct dir *d, int fd, const char *file, const char *tag, const char *base, bool times,
                       struct err *e)
{
    _cleanup_close_ int map_fd = -1;
    struct dir_name name = dir_name(d, DIR_DIGEST, tag);
    struct snapshot s = {0};
    char ident[IDENT_MAX];
    int r = dir_file(d, name.s, O_RDONLY, &map_fd, e);
    if (r != 0)
        return r;
    if (mark_snapshot_get(map_fd, &s, e) < 0 || mark_get(map_fd, "ident", ident, sizeof ident, e) < 0)
        return -1;
    if (s.flags & SNAPSHOT_RECEIVED && strcmp(s.id, base) != 0)
        return 1;
    if (times)
        return !ident_holds_linked(fd, ident);
    _cleanup_(blockmap_freep) struct blockmap *map = blockmap_open(map_fd, name.s, e);
    return map ? blockmap_differs(map, fd, file, store_tick(d->store), e) : -1;
}

/* Its times first: what was compared a while ago is not read again. */
int plain_former_written(struct dir *d, int fd, const char *file, struct err *e)
{
    char base[SNAPSHOT_ID_LEN + 1];
    _cleanup_strv_ struct strv tags = STRV_INIT;
    if (mark_get(fd, "base", base, sizeof base, e) < 0 || dir_tags(d, DIR_DIGEST, &tags, e) < 0)
        return -1;
    for (size_t i = 0; i < 2 * tags.n; i++) {
        int r = map_differs(d, fd, file, tags.v[i % tags.n], base, i < tags.n, e);
        if (r <= 0)
            return r;
    }
    return 1;
}

int plain_tidy(struct dir *d, struct err *e)
{
    _cleanup_strv_ struct strv tags = STRV_INIT;
    _cleanup_snapshots_ struct snapshots all = {0};
    int r = dir_has(d, d->file, e);
    if (r <= 0)
        return r;
    if (dir_snapshots(d, &all, e) < 0 || dir_tags(d, DIR_DIGEST, &tags, e) < 0)
        return -1;
    for (size_t i = 0; i < tags.n; i++) {
        struct snapshot s;
        if (map_id(d, tags.v[i], &s, e) < 0)
            return -1;
        if (s.flags & SNAPSHOT_RECEIVED && !snapshots_find(&all, tags.v[i]) &&
            dir_remove(d, dir_name(d, DIR_DIGEST, tags.v[i]).s, e) < 0)
            return -1;
    }
    return 0;
}

static int go_back(struct volume *v, const char *id, struct err *e)
{
    struct dir *d = v->priv;
    struct snapshot s;
    if (former_link(v, DIR_TAG_UNDONE, e) < 0 ||
        dir_replace_live(d, dir_name(d, DIR_TEMP, DIR_TAG_FORMER).s, e) < 0 || former_settle(v, true, e) < 0)
        return -1;
    int r = dir_find(d, id, &s, e);
    if (r != 0)
        return r < 0 ? -1
                     : err_set(e, ERR_DATA, 0, "the digests of restore point %s are not there any more", id);
    return forget_older(d, s.name, e);
}

int plain_commit(struct volume *v, const char *id, enum commit_how how, struct err *e)
{
    struct dir *d = v->priv;
    if (how == COMMIT_POINT)
        return err_set(
            e, ERR_CONFIG, 0,
            "the file system of storage '%s' has no reflinks: it holds the newest restore point only",
            d->store->id);
    struct snapshot s;
    int r = dir_find(d, id, &s, e);
    if (r < 0)
        return -1;
    if (r == 0) /* counted already: the live file is this restore point, or was before someone wrote to it */
        return forget_older(d, s.name, e);

    char former[SNAPSHOT_ID_LEN + 1];
    if (former_base(d, former, e) < 0)
        return -1;
    if (strcmp(former, id) == 0)
        return go_back(v, id, e);

    _cleanup_close_ int stage = -1;
    struct filestage_mark mark;
    r = dir_file(d, dir_name(d, DIR_STAGE, NULL).s, O_RDWR, &stage, e);
    if (r == 0)
        r = filestage_mark_get(stage, &mark, e);
    if (r < 0)
        return -1;
    if (r > 0 || !mark.sealed || strcmp(mark.id, id) != 0)
        return err_set(
            e, ERR_GONE, 0,
            "what was received of restore point %s is not here, or not whole: the next run sends it again",
            id);
    if (publish_digests(d, stage, &mark, e) < 0 || switch_live(v, stage, &mark, e) < 0)
        return -1;
    struct err ignored; /* it is shown: without its times in the note it is compared the next time */
    ident_note(d, stage, dir_name(d, DIR_DIGEST, mark.snapshot).s, &ignored);
    if (former_settle(v, false, e) < 0)
        return -1;
    return forget_older(d, mark.snapshot, e);
}
