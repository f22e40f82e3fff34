/* The dir driver where files can share blocks. A crash leaves:
 *
 *   snapshot    FICLONE to a temporary, perhaps ahead (ahead.h)  → the temporary goes with volume_tidy
 *   keep        attributes, flush, rename to the snapshot        → temporary, or the whole snapshot
 *   commit
 *     1. the sealed stage gets the snapshot's attributes         → still a sealed stage: commit starts over
 *     2. it is renamed to the snapshot, directory flushed        → snapshot there, live untouched
 *     3. FICLONE of the snapshot to a temporary, its attributes  → the same, and a temporary
 *     4. flushed, renamed to the live file, directory flushed    → live is the old one or the new one
 *     5. what was live is asked once more (former.c)             → a temporary, which volume_tidy asks
 *
 *   A repeated commit finds the snapshot by its id and goes on at 3. Until 4 the live file shows the restore
 *   point before, and its attribute `base` says so.
 */
#include "volume/dir/dir.h"

#include "base/clock.h"
#include "base/mem.h"
#include "volume/dir/bond.h"
#include "volume/file/ahead.h"
#include "volume/file/delta.h"
#include "volume/file/share.h"
#include "volume/mark.h"

#include <fcntl.h>
#include <string.h>

static int clone_file(const struct dir *d, int to, int from, const char *name, struct err *e)
{
    _cleanup_free_ char *path = dir_path(d, name);
    return share_file(to, from, path, e);
}

static int open_live(struct dir *d, int *fd, struct err *e)
{
    int r = dir_file(d, d->file, O_RDONLY, fd, e);
    return r > 0 ? err_set(e, ERR_GONE, 0, "the disk's file '%s' is not there", d->file) : r;
}

int reflink_snapshot_ahead(struct dir *d, const char *name, struct err *e)
{
    _cleanup_close_ int live = -1, fd = -1;
    if (open_live(d, &live, e) < 0)
        return -1;
    bool worth = ahead_worth(live);
    if (!worth || !name)
        return worth;
    struct dir_name temp = dir_name(d, DIR_TEMP, name);
    if (dir_check_free(d, name, e) < 0 || dir_create(d, temp.s, &fd, e) < 0)
        return -1;
    if (ahead_clone(fd, live, store_tick(d->store), e) == 0) {
        free(d->ahead);
        d->ahead = xstrdup(name);
        return 1;
    }
    struct err ignored;
    dir_remove(d, temp.s, &ignored);
    return -1;
}

/* Was it made ahead, and is it the live file now? What fails is made anew. */
static bool finish(struct dir *d, int live, const char *name)
{
    _cleanup_close_ int fd = -1;
    struct err ignored;
    bool ahead = d->ahead && strcmp(d->ahead, name) == 0;
    free(take_ptr(d->ahead));
    return ahead && dir_file(d, dir_name(d, DIR_TEMP, name).s, O_RDWR, &fd, &ignored) == 0 &&
           ahead_finish(fd, live, NULL, &ignored) == 0;
}

int reflink_snapshot(struct dir *d, const char *name, struct err *e)
{
    _cleanup_close_ int live = -1, fd = -1;
    struct dir_name temp = dir_name(d, DIR_TEMP, name);
    if (dir_check_free(d, name, e) < 0 || open_live(d, &live, e) < 0)
        return -1;
    if (finish(d, live, name))
        return 0;
    if (dir_create(d, temp.s, &fd, e) < 0)
        return -1;
    if (clone_file(d, fd, live, d->file, e) == 0)
        return 0;
    struct err ignored;
    dir_remove(d, temp.s, &ignored);
    return -1;
}

int reflink_keep(struct dir *d, const char *name, struct snapshot *ret, struct err *e)
{
    _cleanup_close_ int fd = -1;
    struct dir_name temp = dir_name(d, DIR_TEMP, name);
    int r = dir_file(d, temp.s, O_RDWR, &fd, e);
    if (r != 0)
        return r > 0 ? err_set(e, ERR_GONE, 0,
                               "snapshot '%s' vanished before it was kept: the next run takes another", name)
                     : -1;
    struct snapshot s = {.created = clock_epoch(), .flags = SNAPSHOT_READABLE};
    strcpy(s.name, name);
    mark_new_id(s.id);
    off_t size = lseek(fd, 0, SEEK_END);
    if (size < 0)
        return err_sys(e, "cannot get the size of '%s'", temp.s);
    s.size = (uint64_t)size;
    if (dir_publish(d, fd, temp.s, DIR_SNAPSHOT, &s, "", e) < 0)
        return -1;
    *ret = s;
    return 0;
}

int reflink_keep_aside(struct dir *d, const char *name, struct err *e)
{
    _cleanup_close_ int live = -1, there = -1;
    struct snapshot s;
    /* repeated after a crash: it is kept already when it is what the live file is */
    int r = dir_file(d, dir_name(d, DIR_SNAPSHOT, name).s, O_RDONLY, &there, e);
    if (r < 0 || open_live(d, &live, e) < 0)
        return -1;
    if (r == 0 && (r = filedelta_same(there, live, store_tick(d->store), e)) <= 0)
        return r;
    return reflink_snapshot(d, name, e) < 0 ? -1 : reflink_keep(d, name, &s, e);
}

int reflink_differs(struct dir *d, const char *file, const struct snapshot *s, struct err *e)
{
    _cleanup_close_ int live = -1, fd = -1;
    enum dir_kind kind;
    int r = dir_file(d, file, O_RDONLY, &live, e);
    if (r == 0)
        r = dir_open_snapshot(d, s->name, &kind, &fd, e);
    if (r != 0 || kind != DIR_SNAPSHOT)
        return r < 0 ? -1 : 1;
    return filedelta_same(fd, live, store_tick(d->store), e);
}

int reflink_written(struct dir *d, const char *file, char *since, struct err *e)
{
    struct snapshot s;
    int r = dir_has(d, file, e);
    if (r <= 0)
        return r;
    r = dir_reference(d, file, false, &s, e);
    if (r == 0 && (r = reflink_differs(d, file, &s, e)) >= 0)
        strcpy(since, s.name);
    return r;
}

/* *ret: what it is called. */
static int open_base(struct dir *d, const char *id, struct dir_name *ret, int *fd, struct err *e)
{
    struct snapshot s;
    enum dir_kind kind;
    int r = dir_find(d, id, &s, e);
    if (r == 0)
        r = dir_open_snapshot(d, s.name, &kind, fd, e);
    if (r < 0)
        return -1;
    if (r > 0 || kind != DIR_SNAPSHOT)
        return err_set(e, ERR_DATA, 0, "the base snapshot with id %s is not there with its data", id);
    *ret = dir_name(d, DIR_SNAPSHOT, s.name);
    return 0;
}

int reflink_prepare(struct dir *d, const struct filestage_mark *mark, int fd, struct err *e)
{
    _cleanup_close_ int base = -1;
    struct dir_name from = {0};
    int r = filestage_mark_of_live(mark) ? open_live(d, &base, e)
            : mark->base_id[0]           ? open_base(d, mark->base_id, &from, &base, e)
                                         : 0;
    if (r < 0 || (base >= 0 && clone_file(d, fd, base, from.s[0] ? from.s : d->file, e) < 0))
        return -1;
    if (ftruncate(fd, (off_t)mark->size) < 0)
        return err_sys(e, "cannot set the size of the unfinished copy to %llu",
                       (unsigned long long)mark->size);
    return 0;
}

/* Steps 1 and 2. */
static int publish_stage(struct dir *d, const char *id, struct snapshot *ret, struct err *e)
{
    _cleanup_close_ int fd = -1;
    struct dir_name stage = dir_name(d, DIR_STAGE, NULL);
    struct filestage_mark mark;
    int r = dir_file(d, stage.s, O_RDONLY, &fd, e);
    if (r == 0)
        r = filestage_mark_get(fd, &mark, e);
    if (r < 0)
        return -1;
    if (r > 0 || !mark.sealed || strcmp(mark.id, id) != 0)
        return err_set(
            e, ERR_GONE, 0,
            "what was received of restore point %s is not here, or not whole: the next run sends it again",
            id);
    *ret = (struct snapshot){
        .created = mark.created, .size = mark.size, .flags = SNAPSHOT_RECEIVED | SNAPSHOT_READABLE};
    strcpy(ret->name, mark.snapshot);
    strcpy(ret->id, mark.id);
    if (dir_check_free(d, ret->name, e) < 0)
        return -1;
    return dir_publish(d, fd, stage.s, DIR_SNAPSHOT, ret, mark.owner, e);
}

/* Steps 3 and 4. */
static int show(struct volume *v, const struct snapshot *s, struct err *e)
{
    struct dir *d = v->priv;
    _cleanup_close_ int from = -1, fd = -1, live = -1;
    struct dir_name temp = dir_name(d, DIR_TEMP, DIR_TAG_LIVE);
    char base[SNAPSHOT_ID_LEN + 1] = "", owner[32];
    enum dir_kind kind;
    int r = dir_open_snapshot(d, s->name, &kind, &from, e);
    if (r != 0)
        return r > 0 ? err_set(e, ERR_GONE, 0, "snapshot '%s' was removed meanwhile", s->name) : -1;
    if (dir_file(d, d->file, O_RDONLY, &live, e) < 0 ||
        (live >= 0 && mark_get(live, "base", base, sizeof base, e) < 0) ||
        mark_get(from, "owner", owner, sizeof owner, e) < 0)
        return -1;
    if (live >= 0 && strcmp(base, s->id) == 0) {
        r = filedelta_same(from, live, store_tick(d->store), e);
        if (r <= 0)
            return r < 0 ? -1 : dir_sync(d, e);
    }
    if (dir_create(d, temp.s, &fd, e) < 0 ||
        clone_file(d, fd, from, dir_name(d, DIR_SNAPSHOT, s->name).s, e) < 0 ||
        mark_set(fd, "base", s->id, e) < 0 || mark_set(fd, "owner", owner, e) < 0 ||
        bond_set(fd, BOND_LIVE, d->file, NULL, e) < 0 || dir_copy_mode(d, fd, e) < 0 ||
        dir_flush(fd, temp.s, e) < 0 || former_link(v, DIR_TAG_FORMER, e) < 0)
        return -1;
    return dir_replace_live(d, temp.s, e) < 0 || former_settle(v, true, e) < 0 ? -1 : 0;
}

int reflink_commit(struct volume *v, const char *id, enum commit_how how, struct err *e)
{
    struct dir *d = v->priv;
    struct snapshot s;
    int r = dir_find(d, id, &s, e);
    if (r > 0 ? publish_stage(d, id, &s, e) < 0 : r < 0)
        return -1;
    return how != COMMIT_POINT ? show(v, &s, e) : 0;
}
