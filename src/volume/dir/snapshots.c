#include "volume/dir/dir.h"

#include "base/clock.h"
#include "base/lookup.h"
#include "base/mem.h"
#include "volume/dir/bond.h"
#include "volume/dir/ident.h"
#include "volume/dir/seal.h"
#include "volume/file/blockmap.h"
#include "volume/mark.h"
#include "volume/name.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <sys/file.h>
#include <sys/stat.h>

/* Numbers are this far apart, so that a snapshot made by hand finds a place between two of ours. */
#define SEQ_STEP (1u << 20)

struct found {
    struct snapshot s;
    struct statx_timestamp born;
    bool foreign; /* has no id of its own yet */
};

struct finds {
    struct found *v;
    size_t n;
    struct lookup names;
    struct lookup ids;  /* of those that have one of their own */
    struct lookup ours; /* the same without the renamed ones */
};

static void finds_release(struct finds *f)
{
    free(f->v);
    lookup_release(&f->names);
    lookup_release(&f->ids);
    lookup_release(&f->ours);
}

static void finds_add(struct finds *f, const struct found *x)
{
    lookup_add(&f->names, x->s.name, f->n);
    f->v = xgrow(f->v, f->n, sizeof *f->v);
    f->v[f->n++] = *x;
}

/* It has an id of its own. */
static void note_id(struct finds *f, const struct found *x)
{
    lookup_add(&f->ids, x->s.id, 0);
    if (!(x->s.flags & SNAPSHOT_STRANGE))
        lookup_add(&f->ours, x->s.id, 0);
}

/* Is it the renamed one of two names of a file, or of a file and its copy? Ours counts. */
static bool is_second(const struct finds *f, const struct found *x)
{
    return x->s.flags & SNAPSHOT_STRANGE && lookup_has(&f->ours, x->s.id);
}

static bool earlier(const struct found *a, const struct found *b)
{
    return a->born.tv_sec != b->born.tv_sec ? a->born.tv_sec < b->born.tv_sec
                                            : a->born.tv_nsec < b->born.tv_nsec;
}

static int by_birth(const void *a, const void *b)
{
    return earlier(a, b) ? -1 : earlier(b, a);
}

/* ---- snapshots with data ---- */

static int look_at_data(struct dir *d, const char *tag, struct finds *f, struct err *e)
{
    _cleanup_close_ int fd = -1;
    struct dir_name name = dir_name(d, DIR_SNAPSHOT, tag);
    int r = dir_file(d, name.s, O_RDONLY, &fd, e);
    if (r < 0 && e->kind == ERR_DATA)
        return 0; /* a symlink or a directory with such a name is no snapshot */
    if (r != 0)
        return r < 0 ? -1 : 0;
    struct statx st;
    if (statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_BTIME, &st) < 0)
        return err_sys(e, "cannot stat '%s'", name.s);
    enum bond bond;
    if (bond_get(fd, BOND_SNAPSHOT, name.s, &bond, e) < 0)
        return -1;
    if (bond == BOND_COPY)
        return 0;
    struct found x = {.born = st.stx_mask & STATX_BTIME ? st.stx_btime : st.stx_mtime};
    r = mark_snapshot_get(fd, &x.s, e);
    if (r < 0)
        return -1;
    x.foreign = r > 0;
    if (bond == BOND_OURS)
        x.s.flags |= SNAPSHOT_OURS;
    if (bond == BOND_RENAMED)
        x.s.flags = SNAPSHOT_STRANGE;
    strcpy(x.s.name, tag);
    x.s.size = st.stx_size;
    x.s.flags |= SNAPSHOT_READABLE;
    if (x.foreign)
        x.s.created = x.born.tv_sec;
    else if (seal_look(d, fd, &x.s, e) < 0)
        return -1;
    finds_add(f, &x);
    return 0;
}

/* A copy made with its attributes has its original's id: the younger of the two is the copy. The array is
 * sorted by birth. */
static void find_copies(struct finds *f)
{
    for (size_t i = 0; i < f->n; i++) {
        struct found *x = &f->v[i];
        if (!(x->s.flags & SNAPSHOT_STRANGE) && !x->foreign)
            x->foreign = lookup_has(&f->ours, x->s.id);
        if (!x->foreign)
            note_id(f, x);
    }
}

/* Where those without an id come to stand, asked for one after the other by birth. */
struct gaps {
    const struct finds *f; /* sorted by birth */
    size_t next;           /* the first one that is younger than all that was asked for */
    uint64_t below;        /* the newest of those before that, and of those adopted */
    uint64_t *seqs;        /* of those that had an id, ascending */
    size_t n_seqs, above;
};

static void gaps_release(struct gaps *g)
{
    free(g->seqs);
}

static int ascending(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void gaps_init(struct gaps *g, const struct finds *f)
{
    *g = (struct gaps){.f = f, .seqs = xreallocarray(NULL, f->n, sizeof *g->seqs)};
    for (size_t i = 0; i < f->n; i++)
        if (!f->v[i].foreign)
            g->seqs[g->n_seqs++] = f->v[i].s.seq;
    qsort(g->seqs, g->n_seqs, sizeof *g->seqs, ascending);
}

static void stand_above(struct gaps *g, uint64_t seq)
{
    if (seq > g->below)
        g->below = seq;
}

/* Right behind the newest of ours that is not younger. */
static uint64_t place_between(struct gaps *g, const struct found *x)
{
    for (; g->next < g->f->n && !earlier(x, &g->f->v[g->next]); g->next++)
        if (!g->f->v[g->next].foreign)
            stand_above(g, g->f->v[g->next].s.seq);
    while (g->above < g->n_seqs && g->seqs[g->above] <= g->below)
        g->above++;
    return g->above == g->n_seqs ? g->below + SEQ_STEP : g->below + (g->seqs[g->above] - g->below) / 2;
}

/* Who holds it may be anybody who can read the file: it is no reason to wait for ever. */
static int lock_snapshot(int fd, const char *name, struct err *e)
{
    for (int tries = 0; flock(fd, LOCK_EX | LOCK_NB) < 0; tries++) {
        if (errno != EWOULDBLOCK && errno != EINTR)
            return err_sys(e, "cannot lock '%s'", name);
        if (tries == 50)
            return err_set(e, ERR_BUSY, 0, "somebody holds a lock on '%s' (see lslocks(8))", name);
        nanosleep(&(struct timespec){0, 100000000}, NULL);
    }
    return 0;
}

/* Two commands may see it at once: the second takes what the first wrote. 1: it is as it was seen. */
static int written_meanwhile(int fd, const char *name, struct found *x, struct err *e)
{
    struct snapshot now = x->s;
    if (lock_snapshot(fd, name, e) < 0)
        return -1;
    int r = mark_snapshot_get(fd, &now, e);
    if (r != 0 || strcmp(now.id, x->s.id) == 0)
        return r < 0 ? -1 : 1;
    now.flags |= SNAPSHOT_READABLE;
    x->s = now;
    x->foreign = false;
    return 0;
}

static int adopt(struct dir *d, struct gaps *g, struct found *x, struct err *e)
{
    _cleanup_close_ int fd = -1;
    struct dir_name name = dir_name(d, DIR_SNAPSHOT, x->s.name);
    int r = dir_file(d, name.s, O_RDONLY, &fd, e);
    if (r != 0)
        return r;
    r = written_meanwhile(fd, name.s, x, e);
    if (r <= 0)
        return r;
    mark_new_id(x->s.id);
    x->s.seq = place_between(g, x);
    x->s.flags = SNAPSHOT_READABLE;
    if (mark_snapshot_set(fd, &x->s, "", e) < 0 || dir_flush(fd, name.s, e) < 0)
        return -1;
    seal_found(d, fd, x->s.id);
    x->foreign = false;
    return 0;
}

/* One that cannot be given an id (a read-only or immutable file) stays foreign and is left out. */
static void adopt_all(struct dir *d, struct finds *f)
{
    _cleanup_(gaps_release) struct gaps g;
    if (f->n)
        qsort(f->v, f->n, sizeof *f->v, by_birth);
    find_copies(f);
    gaps_init(&g, f);
    struct err ignored;
    for (size_t i = 0; i < f->n; i++) {
        struct found *x = &f->v[i];
        if (!x->foreign || x->s.flags & SNAPSHOT_STRANGE)
            continue;
        tick_now(store_tick(d->store));
        adopt(d, &g, x, &ignored);
        if (x->foreign)
            continue;
        stand_above(&g, x->s.seq);
        note_id(f, x);
    }
}

/* ---- snapshots without data ---- */

/* What cannot be read now is not therefore damaged, and it stays: the error may pass. */
static int unreadable(struct err *e)
{
    return err_wrap(e,
                    "the digests of a restore point cannot be read; if that lasts, remove the file, and the "
                    "next run compares all blocks");
}

/* The digests of a received restore point count from the moment the live file is that restore point, and no
 * longer: see plain.c. */
static int look_at_digest(struct dir *d, const char *tag, const char *live_base, struct finds *f,
                          struct err *e)
{
    _cleanup_close_ int fd = -1;
    struct dir_name name = dir_name(d, DIR_DIGEST, tag);
    struct snapshot s = {0};
    int r = lookup_has(&f->names, tag) ? 1 : dir_file(d, name.s, O_RDONLY, &fd, e);
    if (r != 0)
        return r > 0 || e->kind == ERR_DATA ? 0 : -1;
    enum bond bond;
    r = mark_snapshot_get(fd, &s, e);
    if (r < 0 || bond_get(fd, BOND_SNAPSHOT, name.s, &bond, e) < 0)
        return -1;
    if (bond == BOND_COPY || bond == BOND_RENAMED)
        return 0;
    if (bond == BOND_OURS)
        s.flags |= SNAPSHOT_OURS;
    _cleanup_(blockmap_freep) struct blockmap *map = blockmap_open(fd, name.s, e);
    if (!map && e->kind != ERR_DATA)
        return unreadable(e);
    if (r > 0 || !map || lookup_has(&f->ids, s.id))
        return 0;
    if (blockmap_prove(map, store_tick(d->store), e) < 0) {
        if (e->kind != ERR_DATA)
            return unreadable(e);
        s.flags |= SNAPSHOT_CHANGED;
    }
    if ((s.flags & SNAPSHOT_RECEIVED) && strcmp(s.id, live_base) != 0)
        return 0;
    strcpy(s.name, tag);
    s.size = blockmap_size(map);
    if (ident_not_changed(d, fd))
        s.flags |= SNAPSHOT_READABLE;
    struct found x = {.s = s};
    finds_add(f, &x);
    note_id(f, &x);
    return 0;
}

static int base_of(struct dir *d, const char *file, char base[SNAPSHOT_ID_LEN + 1], struct err *e)
{
    _cleanup_close_ int fd = -1;
    base[0] = 0;
    int r = dir_file(d, file, O_RDONLY, &fd, e);
    return r == 0 && mark_get(fd, "base", base, SNAPSHOT_ID_LEN + 1, e) < 0 ? -1 : r < 0 ? -1 : 0;
}

int dir_snapshots(struct dir *d, struct snapshots *ret, struct err *e)
{
    _cleanup_(finds_release) struct finds f = {0};
    _cleanup_strv_ struct strv tags = STRV_INIT, digests = STRV_INIT;
    char base[SNAPSHOT_ID_LEN + 1];
    if (dir_enter(d, false, e) < 0 || base_of(d, d->file, base, e) < 0 ||
        dir_tags(d, DIR_SNAPSHOT, &tags, e) < 0 || dir_tags(d, DIR_DIGEST, &digests, e) < 0)
        return -1;
    for (size_t i = 0; i < tags.n; i++)
        if (snapshot_name_valid(tags.v[i]) && look_at_data(d, tags.v[i], &f, e) < 0)
            return -1;
    adopt_all(d, &f);
    for (size_t i = 0; i < digests.n; i++)
        if (snapshot_name_valid(digests.v[i]) && look_at_digest(d, digests.v[i], base, &f, e) < 0)
            return -1;
    for (size_t i = 0; i < f.n; i++) {
        if (f.v[i].foreign || is_second(&f, &f.v[i]))
            continue;
        if (mark_damaged_get(d->fd, f.v[i].s.id, &f.v[i].s.damaged, e) < 0)
            return -1;
        snapshots_add(ret, &f.v[i].s);
    }
    return 0;
}

int dir_find(struct dir *d, const char *id, struct snapshot *ret, struct err *e)
{
    _cleanup_snapshots_ struct snapshots all = {0};
    if (dir_snapshots(d, &all, e) < 0)
        return -1;
    const struct snapshot *s = snapshots_find_id(&all, id);
    if (!s)
        return 1;
    *ret = *s;
    return 0;
}

int dir_reference(struct dir *d, const char *file, bool digests, struct snapshot *ret, struct err *e)
{
    char base[SNAPSHOT_ID_LEN + 1];
    _cleanup_snapshots_ struct snapshots all = {0};
    if (base_of(d, file, base, e) < 0 || dir_snapshots(d, &all, e) < 0)
        return -1;
    const struct snapshot *best = NULL;
    bool best_shown = false;
    for (size_t i = 0; i < all.n; i++) {
        const struct snapshot *s = &all.v[i];
        int counts = digests ? dir_has(d, dir_name(d, DIR_DIGEST, s->name).s, e) : 1;
        if (counts < 0)
            return -1;
        if (!counts)
            continue;
        bool taken = !(s->flags & (SNAPSHOT_RECEIVED | SNAPSHOT_STRANGE)) && !snapshot_is_late(s->name);
        bool shown = taken || strcmp(s->id, base) == 0;
        if (!best || (shown && !best_shown) || (shown == best_shown && s->seq > best->seq)) {
            best = s;
            best_shown = shown;
        }
    }
    if (!best)
        return 1;
    *ret = *best;
    return 0;
}

int dir_open_snapshot(struct dir *d, const char *name, enum dir_kind *kind, int *fd, struct err *e)
{
    *kind = DIR_SNAPSHOT;
    int r = dir_file(d, dir_name(d, *kind, name).s, O_RDONLY, fd, e);
    if (r <= 0)
        return r;
    *kind = DIR_DIGEST;
    return dir_file(d, dir_name(d, *kind, name).s, O_RDONLY, fd, e);
}

int dir_check_free(struct dir *d, const char *name, struct err *e)
{
    int there = dir_has(d, dir_name(d, DIR_SNAPSHOT, name).s, e);
    if (there == 0)
        there = dir_has(d, dir_name(d, DIR_DIGEST, name).s, e);
    return there > 0 ? err_set(e, ERR_USAGE, 0, "it has a snapshot '%s' already", name) : there;
}

int dir_next_seq(struct dir *d, uint64_t *ret, struct err *e)
{
    _cleanup_snapshots_ struct snapshots all = {0};
    if (dir_snapshots(d, &all, e) < 0)
        return -1;
    *ret = SEQ_STEP;
    for (size_t i = 0; i < all.n; i++)
        if (all.v[i].seq + SEQ_STEP > *ret)
            *ret = all.v[i].seq + SEQ_STEP;
    return 0;
}

int dir_publish(struct dir *d, int fd, const char *from, enum dir_kind kind, struct snapshot *s,
                const char *owner, struct err *e)
{
    struct dir_name to = dir_name(d, kind, s->name);
    if (dir_next_seq(d, &s->seq, e) < 0 || bond_set(fd, BOND_SNAPSHOT, to.s, NULL, e) < 0 ||
        mark_snapshot_set(fd, s, owner, e) < 0)
        return -1;
    if (kind == DIR_SNAPSHOT && fchmod(fd, 0400) < 0)
        return err_sys(e, "cannot make '%s' read-only", from);
    if (dir_flush(fd, from, e) < 0 || dir_move(d, from, to.s, false, e) < 0 || dir_sync(d, e) < 0)
        return -1;
    if (kind != DIR_SNAPSHOT)
        return 0;
    seal_set(d, fd, s->id);
    return dir_sync(d, e);
}

/* 1: not there. */
static int open_checked(struct dir *d, const char *name, const char *id, enum dir_kind *kind, int *fd,
                        struct err *e)
{
    char found[SNAPSHOT_ID_LEN + 1];
    if (dir_enter(d, false, e) < 0)
        return -1;
    int r = dir_open_snapshot(d, name, kind, fd, e);
    if (r != 0)
        return r;
    if (mark_get(*fd, "id", found, sizeof found, e) < 0)
        return -1;
    if (strcmp(found, id) != 0)
        return err_set(e, ERR_DATA, 0, "snapshot '%s' has the id %s instead of %s: it is not the same one",
                       name, found[0] ? found : "(none)", id);
    return 0;
}

int dir_snapshot_destroy(struct dir *d, const char *name, const char *id, struct err *e)
{
    _cleanup_close_ int fd = -1;
    enum dir_kind kind;
    int r = open_checked(d, name, id, &kind, &fd, e);
    if (r == 0)
        r = dir_remove(d, dir_name(d, kind, name).s, e);
    if (r == 0)
        seal_end(d, id);
    return r;
}

static int look_at_seal(const struct dir *d, int fd, const char *id, struct snapshot *ret, struct err *e)
{
    *ret = (struct snapshot){0};
    snprintf(ret->id, sizeof ret->id, "%s", id);
    return seal_look(d, fd, ret, e);
}

/* A digest map that counted as received would count only while the live file is that restore point. */
int dir_snapshot_adopt(struct dir *d, const char *name, const char *id, struct err *e)
{
    _cleanup_close_ int fd = -1;
    enum dir_kind kind;
    int r = open_checked(d, name, id, &kind, &fd, e);
    if (r != 0 || kind != DIR_SNAPSHOT)
        return r;
    struct snapshot before;
    if (look_at_seal(d, fd, id, &before, e) < 0 || mark_snapshot_adopt(fd, e) < 0 ||
        dir_flush(fd, name, e) < 0)
        return -1;
    seal_renew(d, fd, &before);
    return dir_sync(d, e);
}

int dir_snapshot_mark(struct dir *d, const char *name, const char *id, int64_t since, struct err *e)
{
    _cleanup_close_ int fd = -1;
    enum dir_kind kind;
    int r = open_checked(d, name, id, &kind, &fd, e);
    if (r != 0)
        return r;
    return mark_damaged_set(d->fd, id, since, e) < 0 ? -1 : dir_sync(d, e);
}

int dir_snapshot_rename(struct dir *d, const char *from, const char *to, struct err *e)
{
    _cleanup_close_ int fd = -1;
    enum dir_kind kind;
    if (dir_enter(d, false, e) < 0)
        return -1;
    int r = dir_open_snapshot(d, from, &kind, &fd, e);
    if (r > 0)
        return err_set(e, ERR_GONE, 0, "it has no snapshot '%s'", from);
    struct dir_name old = dir_name(d, kind, from), new = dir_name(d, kind, to);
    enum bond bond;
    if (r < 0 || dir_check_free(d, to, e) < 0 || bond_get(fd, BOND_SNAPSHOT, old.s, &bond, e) < 0)
        return -1;
    bool bound = bond == BOND_OURS;
    char id[SNAPSHOT_ID_LEN + 1];
    if (mark_get(fd, "id", id, sizeof id, e) < 0)
        return -1;
    struct snapshot before;
    if (look_at_seal(d, fd, id, &before, e) < 0 ||
        (bound && (bond_set(fd, BOND_SNAPSHOT, new.s, old.s, e) < 0 || dir_flush(fd, old.s, e) < 0)) ||
        dir_move(d, old.s, new.s, false, e) < 0 || dir_sync(d, e) < 0 ||
        (bound && bond_set(fd, BOND_SNAPSHOT, new.s, NULL, e) < 0))
        return -1;
    if (kind != DIR_SNAPSHOT)
        return 0;
    seal_renew(d, fd, &before);
    return dir_sync(d, e);
}

int dir_remove_all(struct dir *d, enum dir_kind kind, struct err *e)
{
    _cleanup_strv_ struct strv tags = STRV_INIT;
    if (dir_tags(d, kind, &tags, e) < 0)
        return -1;
    for (size_t i = 0; i < tags.n; i++)
        if (strcmp(tags.v[i], DIR_TAG_FORMER) != 0 && strcmp(tags.v[i], DIR_TAG_UNDONE) != 0 &&
            dir_remove(d, dir_name(d, kind, tags.v[i]).s, e) < 0)
            return -1;
    return 0;
}

int dir_remove_snapshots(struct dir *d, bool points, struct err *e)
{
    _cleanup_snapshots_ struct snapshots all = {0};
    if (dir_snapshots(d, &all, e) < 0)
        return -1;
    for (size_t i = 0; i < all.n; i++)
        if (snapshot_goes_along(&all.v[i]) && snapshot_is_point(all.v[i].name) == points) {
            if (dir_remove(d, dir_name(d, DIR_SNAPSHOT, all.v[i].name).s, e) < 0)
                return -1;
            seal_end(d, all.v[i].id);
        }
    return points ? dir_remove_all(d, DIR_DIGEST, e) : 0;
}
