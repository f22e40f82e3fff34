/* The zfspool driver: what there is. */
#include "volume/zfs/zfs.h"

#include "base/debug.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/proc.h"
#include "volume/mark.h"
#include "volume/name.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* ---- fields ---- */

static bool copy(char *to, size_t room, const char *from)
{
    size_t n = strlen(from);
    if (n >= room)
        return false;
    memcpy(to, from, n + 1);
    return true;
}

/* "-" says none; a mark that somebody else wrote, too. */
static void copy_mark(char *to, size_t room, const char *from)
{
    if (strcmp(from, "-") == 0 || !copy(to, room, from))
        to[0] = 0;
}

static uint64_t number(const char *text)
{
    uint64_t n = 0;
    struct err ignored;
    return num_parse_u64("zfs", text, 0, UINT64_MAX, &n, &ignored) < 0 ? 0 : n;
}

static void print_id(const char *guid, char id[SNAPSHOT_ID_LEN + 1])
{
    snprintf(id, SNAPSHOT_ID_LEN + 1, "%032" PRIx64, number(guid));
}

static size_t split(char *line, char **f, size_t max)
{
    size_t n = 0;
    for (char *p; n < max && (p = strsep(&line, "\t"));)
        f[n++] = p;
    return line ? max + 1 : n;
}

/* ---- lines of `zfs list` ---- */

#define ONE_MORE(key) +1
#define COLUMN(key) "," #key
enum {
    F_NAME,
    F_TYPE,
    F_GUID,
    F_ORIGIN,
    F_VOLSIZE,
    F_AVAILABLE,
    F_WRITTEN,
    F_ENCRYPTION,
    F_KEYSTATUS,
    F_REFERENCED,
    F_MOUNTED,
    F_TOKEN,
    F_CREATETXG,
    F_CREATION,
    F_OWNER,
    F_BASE,
    F_WHOLE,
    F_STAGE,
    F_POINT,
    F_RECEIVED,
    F_NAMED,
    F_DAMAGED,
    F_AT,
    F_QUOTA,
    F_WANTED,
    F_PROPERTIES,
    FIELDS = F_PROPERTIES ZFS_PROPERTIES(ONE_MORE)
};
#define COLUMNS                                                                                              \
    "name,type,guid,origin,volsize,available,written,encryption,keystatus,referenced,mounted,"               \
    "receive_resume_token,createtxg,creation,pvesr:owner,pvesr:base,pvesr:whole,pvesr:stage,pvesr:point,"    \
    "pvesr:received,pvesr:name,pvesr:damaged,pvesr:at," ZFS_SNAPSHOT_QUOTA                                   \
    ",pvesr:properties" ZFS_PROPERTIES(COLUMN)

/* live: the name of the live volume that it is, is to be, or was. */
static void take_replica(char **f, const char *live, struct zfs_dataset *d)
{
    copy_mark(d->owner, sizeof d->owner, f[F_OWNER]);
    d->bound = strcmp(f[F_AT], live) == 0;
    d->stray = d->owner[0] && !d->bound && strcmp(f[F_AT], "-") != 0;
    if (d->stray)
        d->owner[0] = 0;
    copy_mark(d->base, sizeof d->base, f[F_BASE]);
    copy_mark(d->whole, sizeof d->whole, f[F_WHOLE]);
    d->doubtful = strcmp(f[F_VOLSIZE], "-") == 0 && d->owner[0] && strcmp(d->whole, d->base) != 0;
}

static bool take_dataset(char **f, const char *live, struct zfs_dataset *ret)
{
    struct zfs_dataset d = {0};
    if (!copy(d.name, sizeof d.name, f[F_NAME]))
        return false;
    d.volume = strcmp(f[F_TYPE], "volume") == 0;
    d.mounted = strcmp(f[F_MOUNTED], "yes") == 0;
    print_id(f[F_GUID], d.guid);
    copy_mark(d.origin, sizeof d.origin, f[F_ORIGIN]);
    d.size = number(f[F_VOLSIZE]);
    d.available = number(f[F_AVAILABLE]);
    d.written = number(f[F_WRITTEN]);
    d.encrypted = strcmp(f[F_ENCRYPTION], "off") != 0 && strcmp(f[F_ENCRYPTION], "-") != 0;
    d.key = strcmp(f[F_KEYSTATUS], "available") == 0;
    d.referenced = number(f[F_REFERENCED]);
    zfs_properties_join(f + F_PROPERTIES, d.properties);
    copy_mark(d.wanted, sizeof d.wanted, f[F_WANTED]);
    copy_mark(d.token, sizeof d.token, f[F_TOKEN]);
    d.partial = strcmp(f[F_TOKEN], "-") != 0;
    take_replica(f, live, &d);
    copy_mark(d.stage, sizeof d.stage, f[F_STAGE]);
    copy_mark(d.point, sizeof d.point, f[F_POINT]);
    *ret = d;
    return true;
}

struct look {
    struct zfs *z;
    struct zfs_view *w;
    const char *origin; /* "DATASET@SNAPSHOT": zfs_snapshot.of_origin are those of this dataset up to it */
    bool past;          /* it came by */
};

/* "POOL/pvesr-kept-NAME-GUID" */
static bool is_kept(const struct zfs *z, const char *dataset)
{
    const char *name = zfs_below(z->pool, dataset);
    size_t n = strlen(z->name), k = strlen(ZFS_KEPT);
    return name && strncmp(name, ZFS_KEPT, k) == 0 && strncmp(name + k, z->name, n) == 0 &&
           name[k + n] == '-' && strlen(name + k + n + 1) == SNAPSHOT_ID_LEN;
}

static bool is_own(const struct zfs *z, const char *dataset)
{
    return strcmp(dataset, z->live) == 0 || strcmp(dataset, z->stage) == 0 || strcmp(dataset, z->old) == 0 ||
           is_kept(z, dataset);
}

static bool is_below(const char *name, const char *dataset)
{
    size_t n = strlen(dataset);
    return strncmp(name, dataset, n) == 0 && name[n] == '/';
}

static void look_at(const struct zfs_dataset *d, struct look *l)
{
    if (is_below(d->name, l->z->live) || is_below(d->name, l->z->stage) || is_below(d->name, l->z->old))
        strv_add_once(&l->w->below, d->name);
    if (d->origin[0]) {
        _cleanup_free_ char *clone = xasprintf("%s %s", d->origin, d->name);
        strv_add_once(&l->w->clones, clone);
    }
    if (strcmp(d->name, l->z->pool) == 0)
        l->w->pool = *d;
    else if (strcmp(d->name, l->z->live) == 0)
        l->w->live = *d;
    else if (strcmp(d->name, l->z->stage) == 0)
        l->w->stage = *d;
    else if (strcmp(d->name, l->z->old) == 0)
        l->w->old = *d;
    else if (is_kept(l->z, d->name))
        strv_add_once(&l->w->kept, d->name);
}

/* ---- snapshots ---- */

static bool is_template(const struct zfs *z, const char *dataset)
{
    return z->base && strcmp(dataset, z->base) == 0;
}

/* What came after the origin is nothing of this volume's, nor what no run had to do with. They come in order.
 */
static bool is_of_past(struct look *l, char **f, const char *name)
{
    bool past = l->past;
    l->past |= strcmp(name, strchr(l->origin, '@') + 1) == 0;
    return !past && (is_template(l->z, f[F_NAME]) || snapshot_is_point(name) || strcmp(f[F_NAMED], "-") != 0);
}

/* Flags: whose a snapshot is, and whether it was received. One of a volume that was renamed or copied as a
 * whole is nobody's: a guest that becomes a template has such. */
static unsigned whose(const struct zfs *z, char **f, const struct zfs_snapshot *x)
{
    const char *names = f[F_NAMED];
    unsigned received = strcmp(f[F_RECEIVED], "1") == 0 ? SNAPSHOT_RECEIVED : 0u;
    if (x->of_origin && !is_template(z, x->dataset))
        return SNAPSHOT_STRANGE;
    if (x->is_bookmark || x->of_origin || strcmp(names, "-") == 0)
        return received;
    char at[SNAPSHOT_NAME_MAX + 2];
    snprintf(at, sizeof at, "@%s", x->s.name);
    if (!mark_has_name(names, at))
        return SNAPSHOT_STRANGE;
    return mark_has_name(names, z->name) ? received | SNAPSHOT_OURS : 0u;
}

/* What is none that a run could go on with: a base that waits for its clones, somebody's bookmark. */
static bool take_apart(struct zfs_view *w, const struct zfs_snapshot *x, const char *name)
{
    if (strncmp(name, ZFS_BASE, strlen(ZFS_BASE)) == 0) {
        strv_add_once(&w->bases, x->dataset);
        return true;
    }
    if (!x->is_bookmark || snapshot_is_point(name))
        return false;
    _cleanup_free_ char *mark = xasprintf("%s#%s", x->dataset, name);
    strv_add_once(&w->marks, mark);
    return true;
}

/* Of a dataset that belongs to the volume: those of POOL itself, and of other volumes, are none. F_NAME: the
 * dataset's. */
static void take_snapshot(char **f, const char *name, bool is_bookmark, struct look *l)
{
    struct zfs_view *w = l->w;
    struct zfs_snapshot x = {.is_bookmark = is_bookmark};
    x.of_origin = l->origin && zfs_stands_on(l->origin, f[F_NAME]);
    if (x.of_origin ? !is_of_past(l, f, name) : !is_own(l->z, f[F_NAME]))
        return;
    if (!copy(x.dataset, sizeof x.dataset, f[F_NAME]))
        return;
    if (take_apart(w, &x, name))
        return;
    if (!snapshot_name_valid(name)) {
        if (!x.is_bookmark)
            strv_add_once(&w->others, x.dataset);
        return;
    }
    copy(x.s.name, sizeof x.s.name, name);
    print_id(f[F_GUID], x.s.id);
    x.s.seq = number(f[F_CREATETXG]);
    x.s.size = number(f[F_VOLSIZE]);
    x.s.created = (int64_t)number(f[F_CREATION]);
    x.s.damaged = mark_damaged_parse(f[F_DAMAGED]);
    x.written = strcmp(f[F_WRITTEN], "-") == 0 ? UINT64_MAX : number(f[F_WRITTEN]);
    struct zfs_dataset of = {0}; /* a snapshot has the marks of its dataset */
    take_replica(f, l->z->live, &of);
    x.s.flags = (x.is_bookmark ? 0u : SNAPSHOT_READABLE) |
                (of.doubtful && !x.is_bookmark ? SNAPSHOT_DOUBTFUL : 0u) | whose(l->z, f, &x);
    if (!f[F_QUOTA][strspn(f[F_QUOTA], "0123456789")])
        copy(x.quota, sizeof x.quota, f[F_QUOTA]);
    const char *own = zfs_below(l->z->pool, x.dataset);
    if (own && strncmp(own, ZFS_KEPT, strlen(ZFS_KEPT)) == 0)
        x.s.flags |= SNAPSHOT_APART;
    w->snapshots = xgrow(w->snapshots, w->n, sizeof *w->snapshots);
    w->snapshots[w->n++] = x;
}

/* A bookmark of a snapshot that is there is a part of that. It keeps its name when we rename the snapshot; of
 * one that somebody renamed it is all that is ours, and a base still. */
static bool renamed_away(const struct zfs_snapshot *x)
{
    return !snapshot_is_point(x->s.name) && !snapshot_is_aside(x->s.name);
}

static void join_bookmarks(struct zfs_view *w)
{
    size_t n = 0;
    for (size_t i = 0; i < w->n; i++)
        for (size_t k = 0; k < w->n; k++)
            if (!w->snapshots[i].is_bookmark && w->snapshots[k].is_bookmark &&
                strcmp(w->snapshots[i].s.id, w->snapshots[k].s.id) == 0 &&
                strcmp(w->snapshots[i].dataset, w->snapshots[k].dataset) == 0 &&
                !renamed_away(&w->snapshots[i]))
                memcpy(w->snapshots[i].bookmark, w->snapshots[k].s.name, sizeof w->snapshots[i].bookmark);
    for (size_t i = 0; i < w->n; i++) {
        const struct zfs_snapshot *x = &w->snapshots[i];
        const struct zfs_snapshot *other = zfs_find_id(w, x->s.id);
        if (x->is_bookmark && !other->is_bookmark && !renamed_away(other))
            continue;
        w->snapshots[n] = *x;
        w->snapshots[n++].s.flags |= x->is_bookmark && w->live.doubtful ? SNAPSHOT_DOUBTFUL : 0u;
    }
    w->n = n;
}

bool zfs_linked(const struct zfs *z, const struct zfs_dataset *d)
{
    size_t n = z->base ? strlen(z->base) : 0;
    return n && strncmp(d->origin, z->base, n) == 0 && strcmp(d->origin + n, "@" TEMPLATE_SNAPSHOT) == 0;
}

bool zfs_stands_elsewhere(const struct zfs_view *w)
{
    const char *origin = w->live.origin, *at = strchr(origin, '@');
    bool own = !at || strcmp(at + 1, TEMPLATE_SNAPSHOT) == 0 || zfs_stands_on(origin, w->stage.name) ||
               zfs_stands_on(origin, w->old.name);
    for (size_t i = 0; i < w->kept.n; i++)
        own |= zfs_stands_on(origin, w->kept.v[i]);
    return !own;
}

static void take_line(char *line, struct look *all, size_t n)
{
    char *f[FIELDS];
    struct zfs_dataset d;
    if (split(line, f, FIELDS) != FIELDS)
        return;
    char *name = strpbrk(f[F_NAME], "@#");
    bool is_bookmark = name && *name == '#';
    if (name)
        *name++ = 0;
    else
        zfs_names_add(f[F_NAME]);
    for (size_t i = 0; i < n; i++)
        if (name)
            take_snapshot(f, name, is_bookmark, &all[i]);
        else if (take_dataset(f, all[i].z->live, &d))
            look_at(&d, &all[i]);
}

/* The datasets `names` and what is directly below them. */
static int list(struct look *all, size_t n, const struct strv *names, const char *types, struct err *e)
{
    _cleanup_strv_ struct strv argv = STRV_INIT;
    _cleanup_buf_ struct buf out = BUF_INIT;
    strv_adds(&argv, "zfs", "list", "-Hp", "-d", "1", "-t", types, "-s", "createtxg", "-o", COLUMNS, "--",
              NULL);
    for (size_t i = 0; i < names->n; i++)
        strv_add(&argv, names->v[i]);
    if (zfs_command(zfs_tick(all->z), &argv, &out, e) < 0)
        return -1;
    char *rest = out.data;
    for (char *line; rest && (line = strsep(&rest, "\n"));)
        take_line(line, all, n);
    return 0;
}

/* What a linked clone stands on, or would; or what somebody made the volume stand on. */
static int look_at_origin(struct look *l, struct err *e)
{
    struct zfs_view *w = l->w;
    bool elsewhere = zfs_stands_elsewhere(w);
    if (!elsewhere && (!l->z->base || (w->live.name[0] && !zfs_linked(l->z, &w->live))))
        return 0;
    _cleanup_strv_ struct strv name = STRV_INIT;
    _cleanup_free_ char *origin =
        elsewhere ? xstrdup(w->live.origin) : xasprintf("%s@" TEMPLATE_SNAPSHOT, l->z->base);
    _cleanup_free_ char *dataset = xstrndup(origin, strcspn(origin, "@"));
    strv_add(&name, elsewhere ? dataset : origin);
    struct err problem;
    l->origin = origin;
    int r = list(l, 1, &name, "snapshot", &problem);
    l->origin = NULL;
    if (r == 0 || strstr(problem.text, "does not exist"))
        return 0;
    *e = problem;
    return -1;
}

#define ALL_TYPES "filesystem,volume,snapshot,bookmark"

/* Of those that the volume has, the names that are not among these. */
static void add_unnamed(const struct zfs_view *w, const struct strv *named, struct strv *ret)
{
    const struct zfs_dataset *const own[] = {&w->live, &w->stage, &w->old};
    for (size_t i = 0; i < ELEMENTS(own); i++)
        if (own[i]->name[0] && !strv_has(named, own[i]->name))
            strv_add(ret, own[i]->name);
    for (size_t i = 0; i < w->kept.n; i++)
        if (!strv_has(named, w->kept.v[i]))
            strv_add(ret, w->kept.v[i]);
}

/* Mostly one command says it all: what is there is what was expected. */
static int look_at_all(struct look *all, size_t n, struct err *e)
{
    _cleanup_strv_ struct strv names = STRV_INIT;
    _cleanup_strv_ struct strv more = STRV_INIT;
    strv_add(&names, all->z->pool);
    zfs_names_begin(all->z->pool);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < all[i].z->expected.n; k++)
            strv_add_once(&names, all[i].z->expected.v[k]);
    if (list(all, n, &names, ALL_TYPES, e) < 0) {
        for (size_t i = 0; i < n; i++)
            zfs_view_release(all[i].w);
        strv_release(&names);
        strv_add(&names, all->z->pool);
        zfs_names_begin(all->z->pool);
        if (list(all, n, &names, "filesystem,volume", e) < 0) {
            zfs_names_forget();
            return -1;
        }
    }
    for (size_t i = 0; i < n; i++)
        add_unnamed(all[i].w, &names, &more);
    return more.n ? list(all, n, &more, ALL_TYPES, e) : 0;
}

static int end_look(struct look *l, struct err *e)
{
    _cleanup_strv_ struct strv none = STRV_INIT;
    if (look_at_origin(l, e) < 0)
        return -1;
    join_bookmarks(l->w);
    strv_release(&l->z->expected);
    add_unnamed(l->w, &none, &l->z->expected);
    l->z->known = true;
    return 0;
}

/* *n becomes 1 where the others could not be looked at with the first: one may have vanished on the way. */
static int look_at_some(struct look *all, size_t *n, struct err *e)
{
    if (look_at_all(all, *n, e) == 0)
        return 0;
    for (size_t i = 0; i < *n; i++)
        zfs_view_release(all[i].w);
    if (*n == 1)
        return -1;
    *n = 1;
    return look_at_all(all, 1, e);
}

int zfs_look(struct zfs *const z[], size_t n, struct err *e)
{
    struct err ignored;
    struct look *all = xcalloc(n, sizeof *all);
    for (size_t i = 0; i < n; i++)
        all[i] = (struct look){.z = z[i], .w = &z[i]->seen};
    int r = look_at_some(all, &n, e);
    for (size_t i = 0; i < n; i++) {
        bool done = r == 0 && end_look(&all[i], i ? &ignored : e) == 0;
        if (!done)
            zfs_view_release(all[i].w);
        if (!done && i == 0)
            r = -1;
    }
    free(all);
    return r;
}

const struct zfs_snapshot *zfs_newest(const struct zfs_view *w, const char *dataset)
{
    const struct zfs_snapshot *newest = NULL;
    for (size_t i = 0; i < w->n; i++)
        if (*dataset && !w->snapshots[i].is_bookmark && strcmp(w->snapshots[i].dataset, dataset) == 0)
            newest = &w->snapshots[i];
    return newest;
}

/* Where several datasets have a snapshot: which one is meant. */
static int rank(const struct zfs_view *w, const struct zfs_snapshot *x)
{
    return x->s.flags & SNAPSHOT_APART                            ? 4
           : x->is_bookmark                                       ? 3
           : strcmp(x->dataset, w->stage.name) == 0               ? 2
           : x->of_origin || strcmp(x->dataset, w->old.name) == 0 ? 1
                                                                  : 0;
}

const struct zfs_snapshot *zfs_find_id(const struct zfs_view *w, const char *id)
{
    const struct zfs_snapshot *found = NULL;
    for (size_t i = 0; i < w->n; i++)
        if (strcmp(w->snapshots[i].s.id, id) == 0 && (!found || rank(w, &w->snapshots[i]) < rank(w, found)))
            found = &w->snapshots[i];
    return found;
}

const struct zfs_snapshot *zfs_find_on(const struct zfs_view *w, const char *dataset, const char *id)
{
    for (size_t i = 0; i < w->n; i++)
        if (!w->snapshots[i].is_bookmark && strcmp(w->snapshots[i].dataset, dataset) == 0 &&
            strcmp(w->snapshots[i].s.id, id) == 0)
            return &w->snapshots[i];
    return NULL;
}

bool zfs_stands_on(const char *origin, const char *dataset)
{
    size_t n = strlen(dataset);
    return n && strncmp(origin, dataset, n) == 0 && origin[n] == '@';
}

bool zfs_beside(const struct zfs_view *w)
{
    bool same = w->live.origin[0] && strcmp(w->live.origin, w->stage.origin) == 0;
    return w->live.name[0] && w->stage.name[0] && !zfs_stands_on(w->stage.origin, w->live.name) &&
           !zfs_stands_on(w->live.origin, w->stage.name) && !same;
}

const struct zfs_snapshot *zfs_promoted(const struct zfs_view *w)
{
    for (size_t i = 0; i < w->n && zfs_stands_on(w->live.origin, w->stage.name); i++) {
        const struct zfs_snapshot *x = &w->snapshots[i];
        if (!x->is_bookmark && strcmp(x->dataset, w->stage.name) == 0 &&
            strcmp(strchr(w->live.origin, '@') + 1, x->s.name) == 0)
            return x;
    }
    return NULL;
}

const struct zfs_snapshot *zfs_newest_of_live(const struct zfs_view *w)
{
    const struct zfs_snapshot *own = zfs_newest(w, w->live.name);
    return own ? own : zfs_promoted(w);
}

char *zfs_kept_name(const struct zfs *z, const struct zfs_dataset *d)
{
    return xasprintf("%s/" ZFS_KEPT "%s-%s", z->pool, z->name, d->guid);
}
