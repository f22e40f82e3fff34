/* The dir driver: the file whose place a commit has taken. It has another name, a temporary, from before that
 * until it was asked what the commit had asked much earlier: is there anything in it that no snapshot has?
 * Somebody may have written to it since. A kill in between leaves the name to volume_tidy, which asks, too.
 *
 * What is to be kept is that very file, under the name of a snapshot: who has it open may be writing still.
 * Where there is no room for that name, it stays a temporary: the commit, which is over, does not fail for
 * it, and the pruning that follows may make room. The next one waits for that (former_link), lest it be lost.
 */
#include "volume/dir/dir.h"

#include "base/clock.h"
#include "volume/dir/bond.h"
#include "volume/dir/ident.h"
#include "volume/mark.h"
#include "volume/users.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int is_same_file(const struct dir *d, const struct stat *st, const char *name, struct err *e)
{
    struct stat other;
    if (fstatat(d->fd, name, &other, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : err_sys(e, "cannot stat '%s'", name);
    return other.st_ino == st->st_ino;
}

/* Is it the live file still, or again, or has it the name of a snapshot already? */
static int has_other_name(const struct dir *d, int fd, struct err *e)
{
    struct stat st;
    _cleanup_strv_ struct strv all = STRV_INIT;
    if (fstat(fd, &st) < 0)
        return err_sys(e, "cannot stat what '%s' was", d->file);
    int r = is_same_file(d, &st, d->file, e);
    if (r == 0)
        r = dir_tags(d, DIR_SNAPSHOT, &all, e);
    for (size_t i = 0; r == 0 && i < all.n; i++)
        r = is_same_file(d, &st, dir_name(d, DIR_SNAPSHOT, all.v[i]).s, e);
    return r;
}

/* The digests of what was taken of it here go before its name does: the answer is noted with it. */
static int is_written(struct dir *d, int fd, const char *name, struct err *e)
{
    char by[VOLUME_USER_MAX + 1], since[SNAPSHOT_NAME_MAX + 1], asked[IDENT_MAX];
    struct err ignored; /* without the note it is asked again */
    int reflink = dir_can_reflink(d, e),
        r = reflink < 0 ? -1 : users_writing(fd, store_tick(d->store), by, e);
    if (r != 0)
        return r;
    if (reflink)
        return reflink_written(d, name, since, e);
    if (mark_get(fd, "asked", asked, sizeof asked, e) < 0)
        return -1;
    if (ident_holds_linked(fd, asked))
        return 0;
    r = plain_former_written(d, fd, name, e);
    if (r == 0 && ident_take(fd, asked, e) < 0)
        return -1;
    if (r == 0)
        mark_set(fd, "asked", asked, &ignored);
    return r;
}

static int keep(struct volume *v, int fd, const char *name, struct err *e)
{
    struct dir *d = v->priv;
    struct stat st;
    struct snapshot s = {.created = clock_epoch()};
    if (fstat(fd, &st) < 0)
        return err_sys(e, "cannot stat what '%s' was", d->file);
    s.size = (uint64_t)st.st_size;
    mark_new_id(s.id);
    snprintf(s.name, sizeof s.name, ASIDE_LATE "%.16s", s.id);
    struct dir_name to = dir_name(d, DIR_SNAPSHOT, s.name);
    if (dir_next_seq(d, &s.seq, e) < 0 || bond_set(fd, BOND_SNAPSHOT, to.s, NULL, e) < 0 ||
        mark_snapshot_set(fd, &s, "", e) < 0 || dir_flush(fd, name, e) < 0)
        return -1;
    if (linkat(d->fd, name, d->fd, to.s, 0) < 0)
        return err_sys(e, "cannot link '%s' to '%s'", name, to.s);
    volume_removed(v, ASIDE_LATE_TEXT, s.name);
    return dir_sync(d, e);
}

/* As former_settle. */
static int settle(struct volume *v, const char *tag, bool remove, struct err *e)
{
    struct dir *d = v->priv;
    _cleanup_close_ int fd = -1;
    struct dir_name name = dir_name(d, DIR_TEMP, tag);
    int r = dir_file(d, name.s, O_RDONLY, &fd, e);
    if (r > 0)
        return 0;
    if (r == 0)
        r = has_other_name(d, fd, e);
    if (r == 0 && (r = is_written(d, fd, name.s, e)) > 0)
        r = keep(v, fd, name.s, e);
    if (r < 0 && e->kind == ERR_FULL)
        return 1;
    return r < 0 || (remove && dir_remove(d, name.s, e) < 0) ? -1 : 0;
}

int former_settle(struct volume *v, bool remove, struct err *e)
{
    int former = settle(v, DIR_TAG_FORMER, remove, e);
    int undone = former < 0 ? -1 : settle(v, DIR_TAG_UNDONE, remove, e);
    return undone != 0 ? undone : former;
}

int former_link(struct volume *v, const char *tag, struct err *e)
{
    const struct dir *d = v->priv;
    struct dir_name former = dir_name(d, DIR_TEMP, tag);
    if (settle(v, tag, true, e) != 0) /* of a commit that was cut, or found no room for it */
        return err_wrap(e, "what was written to '%s' while it was being replaced is to be kept first",
                        d->file);
    if (linkat(d->fd, d->file, d->fd, former.s, 0) < 0 && errno != ENOENT && errno != EPERM &&
        errno != EOPNOTSUPP)
        return err_sys(e, "cannot link '%s' to '%s'", d->file, former.s);
    return 0;
}
