/* The zfspool driver: what was kept, on its own feet. A kept dataset stands on a snapshot of the live volume,
 * which costs nothing but that snapshot. Once that is to go there are three ways, and none loses what only
 * the kept dataset has:
 * - it has nothing of its own, but snapshots of a tool that takes them by the clock: they say what the
 *   snapshot says. That gets the name of one of them, where that tool finds it and removes it in its time
 * - it is copied, by a stream within the pool
 * - it would be dear to copy: the snapshot stays for it under another name (ZFS_BASE), as long as nobody
 * comes who needs it gone: the receive of Proxmox VE's own tool fails while it is there. */
#include "volume/zfs/zfs.h"

#include "base/debug.h"
#include "base/mem.h"
#include "base/num.h"
#include "volume/stream/streamproc.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define CHEAP (UINT64_C(1) << 30) /* bytes that a copy takes */
#define PIECE (1u << 18)

/* Of a snapshot, kept with it. */
#define MARKS "pvesr:name,pvesr:received,pvesr:damaged"
static const char *const marks[] = {"pvesr:name", "pvesr:received", "pvesr:damaged"};

struct kept {
    char *name;
    bool volume, encrypted;
    bool raw; /* it is copied as it is: encrypted, and its key is not there, or the pool would not encrypt it
               */
    bool own; /* it has something that its origin has not… */
    bool beyond; /* …and something that none of its snapshots has */
    uint64_t referenced;
    struct strv properties; /* "KEY=VALUE" that a copy is to have */
    struct strv snapshots;  /* names, oldest first */
    struct strv ids;        /* guid of each */
    struct strv notes;      /* "NAME KEY=VALUE" of MARKS */
};

static void kept_free(struct kept *k)
{
    if (!k)
        return;
    free(k->name);
    strv_release(&k->properties);
    strv_release(&k->snapshots);
    strv_release(&k->ids);
    strv_release(&k->notes);
    free(k);
}
CLEANUP_FUNC(kept_free, struct kept)

/* ---- look ---- */

enum {
    L_NAME,
    L_TYPE,
    L_GUID,
    L_WRITTEN,
    L_REFERENCED,
    L_ENCRYPTION,
    L_KEY,
    L_MARKS,
    L_PROPERTIES = L_MARKS + 3
};
#define ONE_MORE(key) +1
#define COLUMN(key) "," #key
#define TEXT(key) #key,
#define COLUMNS "name,type,guid,written,referenced,encryption,keystatus," MARKS ZFS_PROPERTIES(COLUMN)
static const char *const properties[] = {ZFS_PROPERTIES(TEXT)};
#define FIELDS (L_PROPERTIES ZFS_PROPERTIES(ONE_MORE))

static bool is_zero(const char *text)
{
    return strcmp(text, "0") == 0;
}

static void take_dataset(struct kept *k, char **f)
{
    struct err ignored;
    k->volume = strcmp(f[L_TYPE], "volume") == 0;
    k->encrypted = strcmp(f[L_ENCRYPTION], "off") != 0 && strcmp(f[L_ENCRYPTION], "-") != 0;
    k->raw = strcmp(f[L_KEY], "unavailable") == 0;
    k->beyond = !is_zero(f[L_WRITTEN]);
    if (num_parse_u64("referenced", f[L_REFERENCED], 0, UINT64_MAX, &k->referenced, &ignored) < 0)
        k->referenced = UINT64_MAX;
    for (size_t i = 0; !k->volume && i < ELEMENTS(properties); i++)
        if (strcmp(properties[i], "refquota") != 0 && strcmp(f[L_PROPERTIES + i], "-") != 0)
            strv_addf(&k->properties, "%s=%s", properties[i], f[L_PROPERTIES + i]);
}

static void take_snapshot(struct kept *k, char **f)
{
    const char *name = strchr(f[L_NAME], '@') + 1;
    strv_add(&k->snapshots, name);
    strv_add(&k->ids, f[L_GUID]);
    k->own |= !is_zero(f[L_WRITTEN]);
    for (size_t i = 0; i < ELEMENTS(marks); i++)
        if (strcmp(f[L_MARKS + i], "-") != 0)
            strv_addf(&k->notes, "%s %s=%s", name, marks[i], f[L_MARKS + i]);
}

/* Somebody may have looked into it: reading sets access times. */
static int judge(struct zfs *z, struct kept *k, struct err *e)
{
    int times = 0;
    if (k->beyond && !k->volume && k->snapshots.n) {
        _cleanup_free_ char *newest = xasprintf("%s@%s", k->name, k->snapshots.v[k->snapshots.n - 1]);
        times = zfs_times_alone(z, k->name, newest, e);
    }
    k->beyond = k->beyond && !times;
    k->own = k->own || k->beyond;
    return times < 0 ? -1 : 0;
}

/* NULL, and *e says so, also where it is not there. */
static struct kept *look(struct zfs *z, const char *name, struct err *e)
{
    _cleanup_(kept_freep) struct kept *k = xcalloc(1, sizeof *k);
    _cleanup_strv_ struct strv argv = STRV_INIT;
    _cleanup_buf_ struct buf out = BUF_INIT;
    k->name = xstrdup(name);
    strv_adds(&argv, "zfs", "list", "-Hp", "-d", "1", "-t", "filesystem,volume,snapshot", "-s", "createtxg",
              "-o", COLUMNS, "--", name, NULL);
    if (zfs_command(zfs_tick(z), &argv, &out, e) < 0)
        return NULL;
    char *rest = out.data;
    for (char *line; rest && (line = strsep(&rest, "\n"));) {
        char *f[FIELDS];
        size_t n = 0;
        for (char *p; n < FIELDS && (p = strsep(&line, "\t"));)
            f[n++] = p;
        if (n != FIELDS)
            continue;
        if (strchr(f[L_NAME], '@'))
            take_snapshot(k, f);
        else if (strcmp(f[L_NAME], name) == 0)
            take_dataset(k, f);
    }
    return judge(z, k, e) < 0 ? NULL : take_ptr(k);
}

/* ---- what tools take by the clock ---- */

static const char *const periods[] = {"yearly", "monthly", "weekly", "daily", "hourly", "frequent"};

/* The longer one lives, the less; of a name without a period 0. */
static size_t period(const char *name)
{
    for (size_t i = 0; i < ELEMENTS(periods); i++)
        if (strstr(name, periods[i]))
            return i + 1;
    return 0;
}

/* Up to its first digit: what its tool begins all names with. */
static size_t series(const char *name)
{
    return strcspn(name, "0123456789");
}

/* Four digits, two, two, perhaps with something between. */
static bool is_dated(const char *name)
{
    for (const char *p = name; *p; p++) {
        size_t n = 0;
        for (const char *q = p; isdigit((unsigned char)*q) || (n && (*q == '-' || *q == '.')); q++)
            if (isdigit((unsigned char)*q) && ++n == 8)
                return (p == name || !isdigit((unsigned char)p[-1])) && !isdigit((unsigned char)q[1]);
    }
    return false;
}

const char *zfs_part_lasting(const struct strv *names)
{
    const char *best = NULL;
    for (size_t i = 0; i < names->n; i++) {
        if (!is_dated(names->v[i]) || snapshot_is_aside(names->v[i]) || snapshot_is_point(names->v[i]))
            return NULL;
        if (!best || period(names->v[i]) <= period(best))
            best = names->v[i];
    }
    for (size_t i = 0; i < names->n; i++)
        if (!period(names->v[i]) &&
            (series(names->v[i]) != series(best) || strncmp(names->v[i], best, series(best)) != 0))
            return NULL;
    return best;
}

/* ---- change ---- */

static int destroy(struct zfs *z, const struct kept *k, struct err *e)
{
    for (size_t i = 0; i < k->snapshots.n; i++) {
        _cleanup_free_ char *full = xasprintf("%s@%s", k->name, k->snapshots.v[i]);
        if (zfs_destroy_one(z, full, e) < 0)
            return -1;
    }
    int r = zfs_destroy_one(z, k->name, e);
    zfs_forget(z);
    return r;
}

static int pour(struct zfs *z, const struct strv *send, const struct strv *receive, struct err *e)
{
    struct streamproc from = STREAMPROC_INIT, to = STREAMPROC_INIT;
    const struct volume_context *context = z->volume->store.context;
    char *data = xcalloc(1, PIECE);
    debug_command(receive->v);
    ssize_t n = streamproc_start(&from, send->v, true, context, e) < 0 ||
                        streamproc_start(&to, receive->v, false, context, e) < 0
                    ? -1
                    : 1;
    while (n > 0 && (n = streamproc_read(&from, data, PIECE, e)) > 0)
        if (streamproc_write(&to, data, (size_t)n, e) < 0)
            n = -1;
    if (n == 0 && streamproc_end(&to, e) < 0)
        n = -1;
    streamproc_stop(&from);
    streamproc_stop(&to);
    free(data);
    zfs_forget(z);
    return n < 0 ? -1 : 0;
}

/* From its first snapshot on: `since` NULL that one itself, else the others. */
static int send(struct zfs *z, const struct kept *k, const char *since, const char *snapshot, const char *to,
                struct err *e)
{
    _cleanup_strv_ struct strv give = STRV_INIT, take = STRV_INIT;
    strv_adds(&give, "zfs", "send", "-L", "-c", NULL); /* without -e: zfs.h, "Embedded blocks" */
    if (k->raw)
        strv_add(&give, "-w");
    if (since)
        strv_adds(&give, "-I", since, NULL);
    strv_add(&give, "--");
    strv_addf(&give, "%s@%s", k->name, snapshot);
    strv_adds(&take, "zfs", "receive", "-u", NULL);
    for (size_t i = 0; !since && i < k->properties.n; i++)
        strv_adds(&take, "-o", k->properties.v[i], NULL);
    if (!since && !k->volume)
        strv_adds(&take, "-o", "canmount=noauto", "-x", "mountpoint", NULL);
    strv_adds(&take, "--", to, NULL);
    return pour(z, &give, &take, e);
}

static int copy_marks(struct zfs *z, const struct kept *k, const char *to, struct err *e)
{
    for (size_t i = 0; i < k->notes.n; i++) {
        char *mark = strstr(k->notes.v[i], " pvesr:");
        _cleanup_free_ char *full = xasprintf("%s@%.*s", to, (int)(mark - k->notes.v[i]), k->notes.v[i]);
        if (zfs_change(z, e, "set", mark + 1, full, NULL) < 0)
            return -1;
    }
    return 0;
}

/* Is what was copied all there? */
static int check_copy(struct zfs *z, const struct kept *k, const char *to, struct err *e)
{
    _cleanup_(kept_freep) struct kept *copy = look(z, to, e);
    bool same = copy && copy->ids.n == k->ids.n;
    for (size_t i = 0; same && i < k->ids.n; i++)
        same =
            strcmp(copy->ids.v[i], k->ids.v[i]) == 0 && strcmp(copy->snapshots.v[i], k->snapshots.v[i]) == 0;
    if (copy && !same)
        err_set(e, ERR_DATA, 0, "the copy '%s' has not what '%s' has: both stay", to, k->name);
    return same ? 0 : -1;
}

static bool has_all(const struct kept *k, const struct kept *of)
{
    for (size_t i = 0; i < of->ids.n; i++)
        if (!strv_has(&k->ids, of->ids.v[i]))
            return false;
    return true;
}

/* Its guid's first digits are zeroes: a name that nothing else gets. What lies there beside the original is
 * the beginning of a copy that was cut, or a whole one, if it was the end of the original that was. */
static int copy(struct zfs *z, const struct kept *k, struct err *e)
{
    _cleanup_free_ char *to = xstrdup(k->name);
    to[strlen(to) - SNAPSHOT_ID_LEN] = '1';
    struct err none;
    _cleanup_(kept_freep) struct kept *cut = look(z, to, &none);
    if (cut && !has_all(k, cut))
        return !k->beyond && has_all(cut, k)
                   ? destroy(z, k, e)
                   : err_set(e, ERR_DATA, 0, "'%s' has what '%s' has not: both stay", to, k->name);
    if (!k->snapshots.n || k->beyond)
        return err_set(e, ERR_DATA, 0, "'%s' has what no snapshot of it has: it is not copied", k->name);
    const char *first = k->snapshots.v[0], *last = k->snapshots.v[k->snapshots.n - 1];
    if ((cut && destroy(z, cut, e) < 0) || send(z, k, NULL, first, to, e) < 0 ||
        (k->snapshots.n > 1 && send(z, k, first, last, to, e) < 0) || copy_marks(z, k, to, e) < 0 ||
        check_copy(z, k, to, e) < 0)
        return err_wrap(e, "what is kept as '%s' could not be copied to stand on its own", k->name);
    return destroy(z, k, e);
}

/* ---- which way ---- */

/* Is it a kept one of which nothing of somebody's would be lost, a bookmark or a clone? */
static bool is_free(const struct zfs_view *w, const char *dataset)
{
    bool free = strv_has(&w->kept, dataset) && !zfs_has_marks(w, dataset);
    for (size_t i = 0; i < w->clones.n; i++)
        free = free && !zfs_stands_on(w->clones.v[i], dataset);
    return free;
}

/* 1: the clones of this snapshot are all free, their names in `ret`; 0: there is another. */
static int stand_on(const struct zfs_view *w, const char *snapshot, struct strv *ret)
{
    size_t n = strlen(snapshot);
    for (size_t i = 0; i < w->clones.n; i++) {
        const char *clone = w->clones.v[i];
        if (strncmp(clone, snapshot, n) != 0 || clone[n] != ' ')
            continue;
        if (!is_free(w, clone + n + 1))
            return 0;
        strv_add(ret, clone + n + 1);
    }
    return ret->n != 0;
}

/* Of a snapshot that is somebody's now. */
static int remove_marks(struct zfs *z, const char *snapshot, struct err *e)
{
    for (size_t i = 0; i < ELEMENTS(marks); i++)
        if (zfs_change(z, e, "inherit", marks[i], snapshot, NULL) < 0)
            return -1;
    return 0;
}

static int give_name(struct zfs *z, const char *snapshot, const char *name, struct err *e)
{
    _cleanup_free_ char *now = xasprintf("%.*s@%s", (int)strcspn(snapshot, "@"), snapshot, name);
    return zfs_change(z, e, "rename", "--", snapshot, now, NULL) < 0 ? -1 : remove_marks(z, now, e);
}

/* What stands on that snapshot is but another name of it. One that could not be destroyed is the next one's
 * to sweep. */
static int replace(struct zfs *z, const struct kept *k, const char *snapshot, struct err *e)
{
    const char *name = zfs_part_lasting(&k->snapshots);
    struct err ignored;
    if (give_name(z, snapshot, name, e) < 0)
        return -1;
    if (destroy(z, k, &ignored) == 0)
        volume_removed(z->volume, "'%s', the same as what it stood on, which is called '%s' now", k->name,
                       name);
    return 0;
}

/* What a crash left of such a change. */
static int sweep(struct zfs *z, const struct zfs_view *w, struct err *e)
{
    for (size_t i = 0; i < w->clones.n; i++) {
        const char *name = strchr(w->clones.v[i], ' ') + 1;
        _cleanup_free_ char *origin = xstrndup(w->clones.v[i], (size_t)(name - w->clones.v[i]) - 1);
        if (!zfs_stands_on(origin, z->live) || !is_free(w, name) || !is_dated(strchr(origin, '@') + 1))
            continue;
        _cleanup_(kept_freep) struct kept *k = look(z, name, e);
        bool cut = k && !k->own && strv_has(&k->snapshots, strchr(origin, '@') + 1);
        if (!k || (cut && (remove_marks(z, origin, e) < 0 || destroy(z, k, e) < 0)))
            return -1;
    }
    return 0;
}

int zfs_part(struct zfs *z, const char *snapshot, struct err *e)
{
    _cleanup_view_ struct zfs_view w = {0};
    _cleanup_strv_ struct strv names = STRV_INIT;
    if (zfs_view(z, &w, e) < 0 || sweep(z, &w, e) < 0)
        return -1;
    if (!stand_on(&w, snapshot, &names))
        return 0;
    for (size_t i = 0; i < names.n; i++) {
        _cleanup_(kept_freep) struct kept *k = look(z, names.v[i], e);
        if (!k)
            return -1;
        k->raw = k->raw || (k->encrypted && !w.pool.encrypted);
        if (!k->own && names.n == 1 && zfs_part_lasting(&k->snapshots))
            return replace(z, k, snapshot, e) < 0 ? -1 : ZFS_PART_RENAMED;
        if (k->referenced > CHEAP)
            return 0;
        if (copy(z, k, e) < 0)
            return -1;
    }
    return ZFS_PART_FREE;
}

int zfs_part_all(struct volume *v, struct err *e)
{
    struct zfs *z = zfs_of(v);
    _cleanup_view_ struct zfs_view w = {0};
    if (zfs_view(z, &w, e) < 0)
        return -1;
    for (size_t i = 0; i < w.clones.n; i++) {
        const char *name = strchr(w.clones.v[i], ' ') + 1;
        if (!zfs_stands_on(w.clones.v[i], z->live) || !strv_has(&w.kept, name))
            continue;
        if (!is_free(&w, name))
            return err_set(
                e, ERR_CONFIG, 0,
                "'%s' has bookmarks or clones of somebody's and stands on '%s': remove them, or that", name,
                z->live);
        _cleanup_(kept_freep) struct kept *k = look(z, name, e);
        if (k)
            k->raw = k->raw || (k->encrypted && !w.pool.encrypted);
        const char *behind = w.clones.v[i] + strlen(z->live);
        bool goes = *behind == '@' && snapshot_is_point(behind + 1);
        if (k && !k->own && goes && zfs_part_lasting(&k->snapshots))
            continue; /* zfs_part will do with less */
        if (!k || copy(z, k, e) < 0)
            return -1;
    }
    return 0;
}
