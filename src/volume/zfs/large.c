/* The zfspool driver: blocks above 128 KiB. A stream has them as they are (`zfs send -L`) or in parts; in
 * parts a file or zvol has other blocks on the other side. Upon such, blocks as they are have damaged zvols
 * (tried with 2.4), and what comes from where it is in parts damages what is not, or is refused. No property
 * tells which it is: recordsize says what is to be written. A snapshot's own stream does, in the first
 * record; and one that has such blocks, or whose dataset once had, is followed by none that has not. */
#include "volume/zfs/zfs.h"

#include "base/mem.h"
#include "volume/stream/streamproc.h"

#include <stdio.h>
#include <string.h>

/* 1, 0; -1: it cannot be sent in plain (it is sent as it is stored then, whatever it has), or is gone. */
static int is_large(const struct zfs *z, const struct zfs_snapshot *s)
{
    struct streamproc p = STREAMPROC_INIT;
    struct err ignored;
    unsigned char first[ZFSRECORD_SIZE];
    size_t got = 0;
    _cleanup_free_ char *full = xasprintf("%s@%s", s->dataset, s->s.name);
    char *argv[] = {(char *)"zfs", (char *)"send", (char *)"-L", (char *)"--", full, NULL};
    ssize_t n = streamproc_start(&p, argv, true, z->volume->store.context, &ignored) < 0 ? -1 : 1;
    while (n > 0 && got < sizeof first)
        if ((n = streamproc_read(&p, first + got, sizeof first - got, &ignored)) > 0)
            got += (size_t)n;
    streamproc_stop(&p);
    return got == sizeof first ? zfs_begin_large(first) : -1;
}

/* Snapshots of one line, in its order. */
struct line {
    const struct zfs_snapshot **v;
    size_t n, first; /* from which on they are large */
};

static bool is_of_line(const struct zfs_view *w, const struct zfs_snapshot *x)
{
    return x->of_origin || strcmp(x->dataset, w->live.name) == 0 ||
           (strcmp(x->dataset, w->stage.name) == 0 && !zfs_beside(w));
}

static bool is_of_stage(const struct zfs_view *w, const struct zfs_snapshot *x)
{
    return strcmp(x->dataset, w->stage.name) == 0;
}

/* A bookmark cannot be asked. */
static void take_line(const struct zfs_view *w, bool of(const struct zfs_view *, const struct zfs_snapshot *),
                      struct line *l)
{
    l->v = xcalloc(w->n + 1, sizeof *l->v);
    for (size_t i = 0; i < w->n; i++) {
        const struct zfs_snapshot *x = &w->snapshots[i];
        if (x->is_bookmark || !of(w, x))
            continue;
        size_t at = l->n++;
        for (; at > 0 && l->v[at - 1]->s.seq > x->s.seq; at--)
            l->v[at] = l->v[at - 1];
        l->v[at] = x;
    }
}

/* The newest first: most often all are alike. Those that cannot be asked are left out. */
static void search_line(const struct zfs *z, struct line *l)
{
    size_t low = 0, high = l->n;
    while (low < high) {
        size_t at = high == l->n ? high - 1 : low + (high - low) / 2;
        int large = is_large(z, l->v[at]);
        if (large > 0)
            high = at;
        else if (large == 0)
            low = at + 1;
        else
            memmove(l->v + at, l->v + at + 1, (--l->n - at) * sizeof(l->v[0]));
        high -= large < 0;
    }
    l->first = low;
}

/* By those that could be asked: what has large blocks is followed by none that has not. */
static unsigned by_line(const struct line *l, uint64_t seq)
{
    if (l->first > 0 && seq <= l->v[l->first - 1]->s.seq)
        return SNAPSHOT_SMALL;
    return l->first < l->n && seq >= l->v[l->first]->s.seq ? SNAPSHOT_LARGE : 0;
}

static unsigned of_stage(const struct zfs *z, const struct zfs_view *w)
{
    struct line l = {0};
    take_line(w, is_of_stage, &l);
    search_line(z, &l);
    unsigned r = l.n ? by_line(&l, l.v[l.n - 1]->s.seq) : 0;
    free(l.v);
    return r;
}

int zfs_large(struct volume *v, struct snapshots *all, unsigned *stage, struct err *e)
{
    struct zfs *z = v->priv;
    struct line l = {0};
    _cleanup_view_ struct zfs_view w = {0};
    bool none;
    if (zfs_view(z, &w, e) < 0 || zfs_pool_has_none(z, &none, e) < 0)
        return -1;
    *stage = none ? SNAPSHOT_SMALL : of_stage(z, &w);
    if (!none) {
        take_line(&w, is_of_line, &l);
        search_line(z, &l);
    }
    for (size_t i = 0; i < all->n; i++) {
        const struct zfs_snapshot *x = zfs_find_id(&w, all->v[i].id);
        if (x && is_of_line(&w, x))
            all->v[i].flags |= none ? SNAPSHOT_SMALL : by_line(&l, x->s.seq);
    }
    free(l.v);
    return 0;
}
