/* A disk that is allocated whole on the guest's node is so on the node that takes the guest over: by
 * failover, since until then each commit makes the live file anew, and there would have to be room for it
 * twice. Until then it is an attribute of the directory: one of the file would be a change of it. */
#include "volume/dir/dir.h"
#include "volume/file/room.h"
#include "volume/mark.h"
#include "volume/traits.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#define KEY "allocation"
#define FULL "full"
#define TRAIT KEY "=" FULL

/* 1 or 0. */
static int is_lacking(const struct dir *d, struct err *e)
{
    char text[64];
    int r = mark_get(d->fd, mark_key_of("lacking.", d->file).s, text, sizeof text, e);
    return r < 0 ? -1 : r == 0 && strcmp(text, TRAIT) == 0;
}

static int set_lacking(struct dir *d, bool lacking, struct err *e)
{
    struct mark_key key = mark_key_of("lacking.", d->file);
    int before = is_lacking(d, e);
    if (before < 0 || before == lacking)
        return before < 0 ? -1 : 0;
    if ((lacking ? mark_set(d->fd, key.s, TRAIT, e) : mark_clear(d->fd, key.s, e)) < 0)
        return -1;
    return dir_sync(d, e);
}

/* That it cannot be remembered costs no more than the trait. */
static void remember(struct dir *d, bool lacking, struct strv *notes)
{
    struct err problem = {0};
    if (set_lacking(d, lacking, &problem) < 0)
        trait_note(notes, TRAIT, d->file, problem.text);
}

/* 1: there is none. */
static int open_live(struct dir *d, int flags, int *fd, struct err *e)
{
    int r = dir_enter(d, false, e);
    return r == 0 ? dir_file(d, d->file, flags, fd, e) : r;
}

int dir_traits(struct volume *v, struct strv *ret, struct err *e)
{
    struct dir *d = v->priv;
    _cleanup_close_ int fd = -1;
    int r = open_live(d, O_RDONLY, &fd, e);
    if (r != 0)
        return r < 0 ? -1 : 0;
    int lacking = is_lacking(d, e);
    if (lacking > 0 || (lacking == 0 && room_is_full(fd)))
        strv_add(ret, TRAIT);
    return lacking < 0 ? -1 : 0;
}

int dir_traits_set(struct volume *v, const struct strv *traits, struct strv *notes, struct err *e)
{
    struct dir *d = v->priv;
    _cleanup_close_ int fd = -1;
    const char *wanted = trait_value(traits, KEY);
    int r = open_live(d, O_RDONLY, &fd, e);
    if (r != 0)
        return r < 0 ? -1 : 0;
    remember(d, wanted && strcmp(wanted, FULL) == 0 && !room_is_full(fd), notes);
    return 0;
}

int dir_traits_lacking(struct volume *v, bool again, struct strv *notes, struct err *e)
{
    struct dir *d = v->priv;
    _cleanup_close_ int fd = -1;
    struct err problem = {0};
    int r = open_live(d, again ? O_RDWR : O_RDONLY, &fd, e);
    if (r != 0)
        return r < 0 ? -1 : 0;
    int lacking = is_lacking(d, e);
    if (lacking <= 0)
        return lacking;
    _cleanup_free_ char *path = dir_path(d, d->file);
    if ((again ? room_fill : room_check)(fd, path, &problem) < 0)
        trait_note(notes, TRAIT, d->file, problem.text);
    else if (again)
        remember(d, false, notes);
    return 0;
}

int dir_traits_forget(struct dir *d, struct err *e)
{
    return set_lacking(d, false, e);
}
