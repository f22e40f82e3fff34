/* The dir driver: what changed between two snapshots. */
#include "volume/dir/dir.h"

#include "base/mem.h"
#include "base/modes.h"
#include "volume/file/blockmap.h"
#include "volume/file/delta.h"
#include "volume/file/mapdelta.h"

#include <fcntl.h>

struct dir_delta {
    int base, map_or_data, live;
    struct filedelta *files;
    struct mapdelta *maps;
};

static void dir_delta_free(struct dir_delta *x)
{
    filedelta_free(x->files);
    mapdelta_free(x->maps);
    cleanup_closep(&x->base);
    cleanup_closep(&x->map_or_data);
    cleanup_closep(&x->live);
    free(x);
}
CLEANUP_FUNC(dir_delta_free, struct dir_delta)

static int open_by_id(struct dir *d, const struct snapshot *s, enum dir_kind *kind, int *fd, struct err *e)
{
    struct snapshot found;
    int r = dir_find(d, s->id, &found, e);
    if (r == 0)
        r = dir_open_snapshot(d, found.name, kind, fd, e);
    return r > 0 ? err_set(e, ERR_GONE, 0, "snapshot '%s' (id %s) is not there", s->name, s->id) : r;
}

/* The digests of a snapshot with data, in a file that nobody sees. */
static int make_map(struct dir *d, const struct snapshot *s, int data, int *map, struct err *e)
{
    *map = openat(d->fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, MODE_NOTE);
    if (*map < 0)
        return err_sys(e, "cannot make a file for digests of snapshot '%s'", s->name);
    return blockmap_make(data, s->size, s->name, *map, store_tick(d->store), e);
}

/* One has data and the other has not: the storage was moved to another file system meanwhile. */
static int make_alike(struct dir *d, struct dir_delta *x, const struct snapshot *base,
                      const struct snapshot *snapshot, enum dir_kind kind, struct err *e)
{
    int map;
    if (make_map(d, kind == DIR_SNAPSHOT ? snapshot : base, kind == DIR_SNAPSHOT ? x->map_or_data : x->base,
                 &map, e) < 0) {
        cleanup_closep(&map);
        return -1;
    }
    if (kind == DIR_SNAPSHOT) {
        x->live = x->map_or_data;
        x->map_or_data = map;
    } else {
        cleanup_closep(&x->base);
        x->base = map;
    }
    return 0;
}

static int open_live(struct dir *d, int *fd, struct err *e)
{
    int r = dir_file(d, d->file, O_RDONLY, fd, e);
    return r > 0 ? err_set(e, ERR_GONE, 0, "the disk's file '%s' is not there", d->file) : r;
}

int dir_delta_open(struct delta *delta, const struct snapshot *base, const struct snapshot *snapshot,
                   uint64_t from, struct err *e)
{
    struct dir *d = delta->volume->priv;
    _cleanup_(dir_delta_freep) struct dir_delta *x = xcalloc(1, sizeof *x);
    x->base = x->map_or_data = x->live = -1;
    enum dir_kind kind, base_kind;
    if (open_by_id(d, snapshot, &kind, &x->map_or_data, e) < 0 ||
        (base && open_by_id(d, base, &base_kind, &x->base, e) < 0))
        return -1;
    bool alike = !base || base_kind == kind;
    if (!alike && make_alike(d, x, base, snapshot, kind, e) < 0)
        return -1;
    if (alike && kind == DIR_SNAPSHOT)
        x->files = filedelta_new(x->base, x->map_or_data, snapshot->size, from, e);
    else if (x->live >= 0 || open_live(d, &x->live, e) == 0)
        x->maps = mapdelta_new(x->base, x->map_or_data, x->live, from, e);
    if (!x->files && !x->maps)
        return -1;
    delta->priv = take_ptr(x);
    return 0;
}

int dir_delta_next(struct delta *delta, struct extent *ret, struct err *e)
{
    struct dir_delta *x = delta->priv;
    return x->files ? filedelta_next(x->files, ret, e) : mapdelta_next(x->maps, ret, e);
}

const void *dir_delta_data(const struct delta *delta)
{
    const struct dir_delta *x = delta->priv;
    return x->files ? filedelta_data(x->files) : mapdelta_data(x->maps);
}

void dir_delta_close(struct delta *delta)
{
    dir_delta_free(delta->priv);
}
