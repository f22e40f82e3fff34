/* The dir driver: data for reading, and for comparing. */
#include "volume/dir/dir.h"

#include "base/mem.h"
#include "volume/mark.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

int dir_show_snapshot(struct volume *v, const struct snapshot *s, int *fd, struct err *e)
{
    struct dir *d = v->priv;
    enum dir_kind kind;
    struct snapshot found = {0};
    int r = dir_enter(d, false, e);
    if (r == 0)
        r = dir_open_snapshot(d, s->name, &kind, fd, e);
    if (r == 0)
        r = mark_snapshot_get(*fd, &found, e);
    if (r < 0)
        return -1;
    if (r > 0 || strcmp(found.id, s->id) != 0)
        return err_set(e, ERR_DATA, 0, "snapshot '%s' is not there any more", s->name);
    if (kind != DIR_SNAPSHOT)
        return err_set(e, ERR_DATA, 0,
                       "snapshot '%s' has no data of its own, only the live volume may have it", s->name);
    return 0;
}

/* Where files cannot share blocks, all that there is of a snapshot is in the live file, if anywhere. */
int dir_read_open(struct volume *v, const struct snapshot *s, struct volume_reader *ret, int *fd,
                  uint64_t *size, struct err *e)
{
    struct dir *d = v->priv;
    struct stat st;
    int r = dir_enter(d, false, e), reflink = r == 0 ? dir_can_reflink(d, e) : 0;
    if (r < 0 || reflink < 0)
        return -1;
    if (s && reflink)
        r = dir_show_snapshot(v, s, fd, e);
    else if ((r = dir_file(d, d->file, O_RDONLY, fd, e)) > 0)
        return err_set(e, ERR_GONE, 0, "the disk's file '%s' is not there", d->file);
    if (r < 0)
        return -1;
    if (fstat(*fd, &st) < 0) {
        cleanup_closep(fd);
        return err_sys(e, "cannot stat '%s'", d->file);
    }
    *size = (uint64_t)st.st_size;
    return 0;
}

int dir_snapshot_ahead(struct volume *v, const char *name, struct err *e)
{
    struct dir *d = v->priv;
    int r = dir_enter(d, false, e);
    if (r == 0)
        r = dir_can_reflink(d, e);
    else if (r > 0)
        r = 0;
    return r > 0 ? reflink_snapshot_ahead(d, name, e) : r;
}

int dir_written(struct volume *v, char *since, struct err *e)
{
    struct dir *d = v->priv;
    int r = dir_enter(d, false, e);
    if (r != 0)
        return r < 0 ? -1 : 0;
    r = dir_can_reflink(d, e);
    return r < 0 ? -1 : r ? reflink_written(d, d->file, since, e) : plain_written(d, since, e);
}

int dir_differs(struct volume *v, const char *id, struct err *e)
{
    struct dir *d = v->priv;
    struct snapshot s;
    int r = dir_enter(d, false, e), reflink = r == 0 ? dir_can_reflink(d, e) : 0;
    if (r == 0)
        r = reflink < 0 ? -1 : dir_find(d, id, &s, e);
    if (r != 0)
        return r;
    return reflink ? reflink_differs(d, d->file, &s, e) : plain_differs(d, &s, e);
}
