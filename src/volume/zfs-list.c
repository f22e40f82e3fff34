/* The zfspool driver: what there is. */
#include "volume/zfs.h"

#include "base/debug.h"
#include "base/num.h"
#include "base/proc.h"
#include "volume/name.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define COMMAND_SECONDS 600
#define BUSY_TRIES 6
#define LIST_MAX (64u << 20)
#define STAGE "pvesr-stage-"
#define OLD "pvesr-old-"
#define KEPT "pvesr-kept-"

/* ---- commands ---- */

static int run(const struct strv *argv, struct buf *out, struct err *e)
{
    struct proc_options o = {.cap = LIST_MAX, .seconds = COMMAND_SECONDS};
    if (proc_check(argv->v, &o, out, e) == 0)
        return 0;
    if (strstr(e->text, "out of space"))
        e->kind = ERR_FULL;
    return -1;
}

int zfs_change(struct err *e, const char *first, ...)
{
    _cleanup_strv_ struct strv argv = STRV_INIT;
    va_list ap;
    va_start(ap, first);
    strv_adds(&argv, "zfs", first, NULL);
    for (const char *a; (a = va_arg(ap, const char *));)
        strv_add(&argv, a);
    va_end(ap);
    return zfs_change_v(&argv, e);
}

int zfs_change_v(const struct strv *argv, struct err *e)
{
    debug_command(argv->v);
    return run(argv, NULL, e);
}

int zfs_destroy(const char *name, struct err *e)
{
    for (int i = 0; zfs_change(e, "destroy", "-r", "--", name, NULL) < 0; i++) {
        if (!strstr(e->text, "busy") || i == BUSY_TRIES)
            return -1;
        sleep(1);
    }
    return 0;
}

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

/* ---- datasets ---- */

#define DATASET_FIELDS 15
#define DATASET_COLUMNS                                                                                      \
    "name,type,guid,origin,volsize,available,written,encryption,"                                            \
    "pvesr:owner,pvesr:base,pvesr:stage,pvesr:point,refquota,receive_resume_token,keystatus"

static bool take_dataset(char *line, struct zfs_dataset *ret)
{
    char *f[DATASET_FIELDS];
    struct zfs_dataset d = {0};
    if (split(line, f, DATASET_FIELDS) != DATASET_FIELDS || !copy(d.name, sizeof d.name, f[0]))
        return false;
    d.volume = strcmp(f[1], "volume") == 0;
    print_id(f[2], d.guid);
    copy_mark(d.origin, sizeof d.origin, f[3]);
    d.size = number(f[4]);
    d.available = number(f[5]);
    d.written = number(f[6]);
    d.encrypted = strcmp(f[7], "off") != 0 && strcmp(f[7], "-") != 0;
    copy_mark(d.owner, sizeof d.owner, f[8]);
    copy_mark(d.base, sizeof d.base, f[9]);
    copy_mark(d.stage, sizeof d.stage, f[10]);
    copy_mark(d.point, sizeof d.point, f[11]);
    d.refquota = number(f[12]);
    copy_mark(d.token, sizeof d.token, f[13]);
    d.key = strcmp(f[14], "available") == 0;
    d.partial = strcmp(f[13], "-") != 0;
    *ret = d;
    return true;
}

/* Properties of a parent are inherited by user properties too: POOL itself has none of ours, nor has a volume
 * children that matter. */
static int list_datasets(const char *pool, int (*each)(const struct zfs_dataset *d, void *arg), void *arg,
                         struct err *e)
{
    _cleanup_strv_ struct strv argv = STRV_INIT;
    _cleanup_buf_ struct buf out = BUF_INIT;
    strv_adds(&argv, "zfs", "list", "-Hp", "-d", "1", "-t", "filesystem,volume", "-o", DATASET_COLUMNS, "--",
              pool, NULL);
    if (run(&argv, &out, e) < 0)
        return -1;
    char *rest = out.data;
    for (char *line; rest && (line = strsep(&rest, "\n"));) {
        struct zfs_dataset d;
        if (*line && take_dataset(line, &d))
            each(&d, arg);
    }
    return 0;
}

static const char *below(const char *pool, const char *dataset)
{
    size_t n = strlen(pool);
    return strncmp(dataset, pool, n) == 0 && dataset[n] == '/' ? dataset + n + 1 : NULL;
}

struct look {
    const struct zfs *z;
    struct zfs_view *w;
};

static int look_at(const struct zfs_dataset *d, void *arg)
{
    struct look *l = arg;
    const char *name = below(l->z->pool, d->name);
    size_t n = strlen(l->z->name);
    if (strcmp(d->name, l->z->pool) == 0)
        l->w->pool = *d;
    else if (strcmp(d->name, l->z->live) == 0)
        l->w->live = *d;
    else if (strcmp(d->name, l->z->stage) == 0)
        l->w->stage = *d;
    else if (strcmp(d->name, l->z->old) == 0)
        l->w->old = *d;
    else if (name && strncmp(name, KEPT, strlen(KEPT)) == 0 &&
             strncmp(name + strlen(KEPT), l->z->name, n) == 0 && name[strlen(KEPT) + n] == '-' &&
             strlen(name + strlen(KEPT) + n + 1) == SNAPSHOT_ID_LEN)
        strv_add(&l->w->kept, d->name);
    return 0;
}

struct names {
    const char *pool;
    uint32_t vmid;
    struct strv *ret;
};

static int name_of(const struct zfs_dataset *d, void *arg)
{
    struct names *x = arg;
    static const char *const prefixes[] = {STAGE, OLD, ""};
    const char *name = below(x->pool, d->name);
    uint32_t owner;
    for (size_t i = 0; name && i < ELEMENTS(prefixes); i++) {
        if (strncmp(name, prefixes[i], strlen(prefixes[i])) != 0)
            continue;
        name += strlen(prefixes[i]);
        bool linked = strstr(d->origin, "@__base__");
        if (!linked && volume_name_valid(name, &owner, NULL) && owner == x->vmid)
            strv_add_once(x->ret, name);
        break;
    }
    return 0;
}

int zfs_names(const char *pool, uint32_t vmid, struct strv *ret, struct err *e)
{
    struct names x = {pool, vmid, ret};
    return list_datasets(pool, name_of, &x, e);
}

/* ---- snapshots ---- */

#define SNAPSHOT_FIELDS 5

static void take_snapshot(struct zfs_view *w, char *line)
{
    char *f[SNAPSHOT_FIELDS];
    struct zfs_snapshot x = {0};
    if (split(line, f, SNAPSHOT_FIELDS) != SNAPSHOT_FIELDS)
        return;
    char *name = strpbrk(f[0], "@#");
    if (!name)
        return;
    x.is_bookmark = *name == '#';
    *name++ = 0;
    if (!snapshot_name_valid(name) || strncmp(name, ZFS_BASE, strlen(ZFS_BASE)) == 0 ||
        !copy(x.dataset, sizeof x.dataset, f[0]))
        return;
    copy(x.s.name, sizeof x.s.name, name);
    print_id(f[1], x.s.id);
    x.s.seq = number(f[2]);
    x.s.created = (int64_t)number(f[3]);
    x.s.flags = (x.is_bookmark ? 0u : SNAPSHOT_READABLE) | (strcmp(f[4], "1") == 0 ? SNAPSHOT_RECEIVED : 0u);
    w->snapshots = xreallocarray(w->snapshots, w->n + 1, sizeof *w->snapshots);
    w->snapshots[w->n++] = x;
}

/* A bookmark of a snapshot that is there is a part of that. */
static void join_bookmarks(struct zfs_view *w)
{
    size_t n = 0;
    for (size_t i = 0; i < w->n; i++)
        for (size_t k = 0; k < w->n; k++)
            w->snapshots[i].has_bookmark |= !w->snapshots[i].is_bookmark && w->snapshots[k].is_bookmark &&
                                            strcmp(w->snapshots[i].s.id, w->snapshots[k].s.id) == 0 &&
                                            strcmp(w->snapshots[i].s.name, w->snapshots[k].s.name) == 0 &&
                                            strcmp(w->snapshots[i].dataset, w->snapshots[k].dataset) == 0;
    for (size_t i = 0; i < w->n; i++) {
        const struct zfs_snapshot *x = &w->snapshots[i];
        const struct zfs_snapshot *other = zfs_find_id(w, x->s.id);
        if (!x->is_bookmark || !other || other->is_bookmark)
            w->snapshots[n++] = *x;
    }
    w->n = n;
}

static int list_snapshots(struct zfs_view *w, struct err *e)
{
    _cleanup_strv_ struct strv argv = STRV_INIT;
    _cleanup_buf_ struct buf out = BUF_INIT;
    const struct zfs_dataset *const d[] = {&w->live, &w->stage, &w->old};
    strv_adds(&argv, "zfs", "list", "-Hp", "-d", "1", "-t", "snapshot,bookmark", "-s", "createtxg", "-o",
              "name,guid,createtxg,creation,pvesr:received", "--", NULL);
    size_t options = argv.n;
    for (size_t i = 0; i < ELEMENTS(d); i++)
        if (d[i]->name[0])
            strv_add(&argv, d[i]->name);
    for (size_t i = 0; i < w->kept.n; i++)
        strv_add(&argv, w->kept.v[i]);
    if (argv.n == options)
        return 0;
    if (run(&argv, &out, e) < 0)
        return -1;
    char *rest = out.data;
    for (char *line; rest && (line = strsep(&rest, "\n"));)
        if (*line)
            take_snapshot(w, line);
    join_bookmarks(w);
    return 0;
}

int zfs_view(const struct zfs *z, struct zfs_view *ret, struct err *e)
{
    struct zfs_view w = {0};
    struct look l = {z, &w};
    if (list_datasets(z->pool, look_at, &l, e) < 0 || list_snapshots(&w, e) < 0) {
        zfs_view_release(&w);
        return -1;
    }
    *ret = w;
    return 0;
}

void zfs_view_release(struct zfs_view *w)
{
    free(w->snapshots);
    strv_release(&w->kept);
    *w = (struct zfs_view){0};
}

const struct zfs_snapshot *zfs_newest(const struct zfs_view *w, const char *dataset)
{
    const struct zfs_snapshot *newest = NULL;
    for (size_t i = 0; i < w->n; i++)
        if (*dataset && !w->snapshots[i].is_bookmark && strcmp(w->snapshots[i].dataset, dataset) == 0)
            newest = &w->snapshots[i];
    return newest;
}

const struct zfs_snapshot *zfs_find_id(const struct zfs_view *w, const char *id)
{
    const struct zfs_snapshot *found = NULL;
    for (size_t i = 0; i < w->n; i++)
        if (strcmp(w->snapshots[i].s.id, id) == 0 && (!found || found->is_bookmark))
            found = &w->snapshots[i];
    return found;
}

char *zfs_kept_name(const struct zfs *z, const struct zfs_dataset *d)
{
    return xasprintf("%s/" KEPT "%s-%s", z->pool, z->name, d->guid);
}
