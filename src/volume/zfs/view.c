/* The zfspool driver: commands, and what is remembered of a look. See zfs.h. */
#include "volume/zfs/zfs.h"

#include "base/clock.h"
#include "base/debug.h"
#include "base/mem.h"
#include "base/proc.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define COMMAND_SECONDS 600
#define LIST_MAX (64u << 20)

/* ---- commands ---- */

void zfs_explain(const char *dataset, struct err *e)
{
    int n = (int)strcspn(dataset, "/@#");
    struct err why = *e;
    if (strstr(e->text, "pool is read-only") || e->code == EROFS)
        err_set(
            e, ERR_CONFIG, 0,
            "%.600s: the pool was imported read-only; 'zpool export %.*s' and 'zpool import %.*s' make it "
            "writable",
            why.text, n, dataset, n, dataset);
}

static int command(const struct tick *tick, int held_fd, const struct strv *argv, struct buf *out,
                   struct err *e)
{
    struct proc_options o = {.cap = LIST_MAX, .seconds = COMMAND_SECONDS, .tick = tick, .held_fd = held_fd};
    if (proc_check(argv->v, &o, out, e) == 0)
        return 0;
    if (strstr(e->text, "out of space"))
        e->kind = ERR_FULL;
    zfs_explain(argv->v[argv->n - 1], e);
    return -1;
}

int zfs_command(const struct tick *tick, const struct strv *argv, struct buf *out, struct err *e)
{
    return command(tick, 0, argv, out, e);
}

static void words(struct strv *argv, const char *first, va_list ap)
{
    strv_adds(argv, "zfs", first, NULL);
    for (const char *a; (a = va_arg(ap, const char *));)
        strv_add(argv, a);
}

int zfs_change(struct zfs *z, struct err *e, const char *first, ...)
{
    _cleanup_strv_ struct strv argv = STRV_INIT;
    va_list ap;
    va_start(ap, first);
    words(&argv, first, ap);
    va_end(ap);
    zfs_forget(z);
    return zfs_change_all(z, &argv, e);
}

int zfs_change_known(struct zfs *z, struct err *e, const char *first, ...)
{
    _cleanup_strv_ struct strv argv = STRV_INIT;
    va_list ap;
    va_start(ap, first);
    words(&argv, first, ap);
    va_end(ap);
    int r = zfs_change_all(z, &argv, e);
    if (r < 0)
        zfs_forget(z);
    return r;
}

int zfs_change_all(struct zfs *z, const struct strv *argv, struct err *e)
{
    debug_command(argv->v);
    if (!strpbrk(argv->v[argv->n - 1], "@#"))
        zfs_names_forget();
    int r = command(zfs_tick(z), store_lock(&z->volume->store), argv, NULL, e);
    if (r == 0)
        zfs_expect(z, argv);
    return r;
}

/* ---- what is there to be named, as far as can be guessed ---- */

static void expect_gone(struct zfs *z, const char *dataset)
{
    for (size_t i = z->expected.n; i-- > 0;)
        if (strcmp(z->expected.v[i], dataset) == 0)
            strv_remove(&z->expected, i);
}

void zfs_expect(struct zfs *z, const struct strv *argv)
{
    const char *verb = argv->v[1], *last = argv->v[argv->n - 1];
    bool renamed = strcmp(verb, "rename") == 0;
    if (strpbrk(last, "@#"))
        return;
    if (renamed)
        expect_gone(z, argv->v[argv->n - 2]);
    if (strcmp(verb, "destroy") == 0)
        expect_gone(z, last);
    else if (renamed || strcmp(verb, "clone") == 0 || strcmp(verb, "receive") == 0)
        strv_add_once(&z->expected, last);
}

/* ---- what was seen ---- */

static int flush_pool(const struct zfs *z, struct err *e)
{
    _cleanup_free_ char *pool = xstrndup(z->pool, strcspn(z->pool, "/"));
    char *argv[] = {(char *)"zpool", (char *)"sync", (char *)"--", pool, NULL};
    struct proc_options o = {.seconds = COMMAND_SECONDS, .tick = zfs_tick(z)};
    debug_command(argv);
    int r = proc_check(argv, &o, NULL, e);
    return r < 0 && strstr(e->text, "pool is read-only") ? 0 : r; /* nothing waits to be written */
}

void zfs_forget(struct zfs *z)
{
    z->known = z->exact = z->has_local = false;
    z->flushed = 0;
    zfs_view_release(&z->seen);
    strv_release(&z->local);
}

static void copy_strings(const struct strv *from, struct strv *to)
{
    for (size_t i = 0; i < from->n; i++)
        strv_add(to, from->v[i]);
}

static void copy_view(const struct zfs_view *from, struct zfs_view *to)
{
    *to = *from;
    to->snapshots = NULL;
    to->kept = (struct strv)STRV_INIT;
    to->others = to->below = to->marks = to->clones = to->bases = (struct strv)STRV_INIT;
    if (from->n) {
        to->snapshots = xreallocarray(NULL, from->n, sizeof *to->snapshots);
        memcpy(to->snapshots, from->snapshots, from->n * sizeof *to->snapshots);
    }
    copy_strings(&from->kept, &to->kept);
    copy_strings(&from->others, &to->others);
    copy_strings(&from->below, &to->below);
    copy_strings(&from->marks, &to->marks);
    copy_strings(&from->clones, &to->clones);
    copy_strings(&from->bases, &to->bases);
}

static bool believed(const struct zfs *z)
{
    return z->known && clock_mono() - z->asked < ZFS_BELIEVED_SECONDS;
}

/* ---- the volumes that are open, of whatever pool ---- */

static struct {
    struct zfs **v;
    size_t n;
} opened;

void zfs_opened(struct zfs *z)
{
    opened.v = xgrow(opened.v, opened.n, sizeof(struct zfs *));
    opened.v[opened.n++] = z;
}

void zfs_closed(const struct zfs *z)
{
    size_t n = 0;
    for (size_t i = 0; i < opened.n; i++)
        if (opened.v[i] != z)
            opened.v[n++] = opened.v[i];
    opened.n = n;
    if (!n) {
        free(opened.v);
        opened.v = NULL;
    }
}

/* They stay their opener's: no look is to take them along. */
void zfs_forget_all(void)
{
    for (size_t i = 0; i < opened.n; i++)
        zfs_forget(opened.v[i]);
    free(take_ptr(opened.v));
    opened.n = 0;
    zfs_names_forget();
}

void zfs_received(struct zfs *z)
{
    z->flushed = clock_mono();
    for (size_t i = 0; i < opened.n; i++)
        if (opened.v[i]->flushed > 0 && strcmp(opened.v[i]->pool, z->pool) == 0)
            opened.v[i]->flushed = z->flushed;
}

static bool is_flushed(const struct zfs *z)
{
    return z->flushed > 0 && clock_mono() - z->flushed < ZFS_BELIEVED_SECONDS;
}

/* What was seen is forgotten. Will the next look do for a question of what was written? The first one alone,
 * where the pool was flushed for it, and the first behind a receive, and no guest writes: who asks again
 * wants to know what happened since. */
static void begin_look(struct zfs *z, bool flush)
{
    bool does = z->volume->idle && (is_flushed(z) || (flush && !z->looked));
    zfs_forget(z);
    z->exact = does;
    z->asked = clock_mono();
}

/* One command for this volume and all of its pool that are to be looked at, too: they are those of one
 * guest. */
static int look_around(struct zfs *z, bool exact, struct err *e)
{
    _cleanup_free_ struct zfs **all = xcalloc(opened.n + 1, sizeof(struct zfs *));
    size_t n = 0;
    bool flush = exact && !is_flushed(z);
    if (flush && flush_pool(z, e) < 0) {
        zfs_forget(z);
        return -1;
    }
    all[n++] = z;
    for (size_t i = 0; i < opened.n; i++)
        if (opened.v[i] != z && strcmp(opened.v[i]->pool, z->pool) == 0 && !believed(opened.v[i]))
            all[n++] = opened.v[i];
    for (size_t i = 0; i < n; i++)
        begin_look(all[i], flush);
    int r = zfs_look(all, n, e);
    for (size_t i = 0; i < n; i++) {
        all[i]->exact = all[i]->exact && all[i]->known;
        all[i]->looked |= all[i]->known;
    }
    return r;
}

size_t zfs_beside_open(struct zfs *z, struct zfs ***ret)
{
    size_t n = 0;
    *ret = xcalloc(opened.n + 1, sizeof(struct zfs *));
    (*ret)[n++] = z;
    for (size_t i = 0; i < opened.n; i++)
        if (opened.v[i] != z && strcmp(opened.v[i]->pool, z->pool) == 0 && believed(opened.v[i]))
            (*ret)[n++] = opened.v[i];
    return n;
}

int zfs_view(struct zfs *z, struct zfs_view *ret, struct err *e)
{
    if (!believed(z) && look_around(z, !z->looked && z->volume->idle, e) < 0)
        return -1;
    copy_view(&z->seen, ret);
    return 0;
}

int zfs_view_exact(struct zfs *z, struct zfs_view *ret, struct err *e)
{
    if (!(z->exact && believed(z)) && look_around(z, true, e) < 0)
        return -1;
    z->exact = false;
    copy_view(&z->seen, ret);
    return 0;
}

void zfs_seen_bookmark(struct zfs *z, const char *snapshot)
{
    for (size_t i = 0; i < z->seen.n; i++) {
        struct zfs_snapshot *x = &z->seen.snapshots[i];
        if (!x->is_bookmark && strcmp(x->dataset, z->live) == 0 && strcmp(x->s.name, snapshot) == 0)
            memcpy(x->bookmark, x->s.name, sizeof x->bookmark);
    }
}

static void remove_clone(struct strv *clones, const char *dataset)
{
    for (size_t i = clones->n; i-- > 0;)
        if (strcmp(strchr(clones->v[i], ' ') + 1, dataset) == 0)
            strv_remove(clones, i);
}

void zfs_seen_gone(struct zfs *z, const char *dataset)
{
    struct zfs_view *w = &z->seen;
    struct zfs_dataset *const own[] = {&w->live, &w->stage, &w->old};
    size_t n = 0;
    if (w->bases.n || w->marks.n || w->kept.n) { /* what waited for it, or went with it */
        zfs_forget(z);
        return;
    }
    for (size_t i = 0; i < ELEMENTS(own); i++)
        if (strcmp(own[i]->name, dataset) == 0)
            *own[i] = (struct zfs_dataset){0};
    for (size_t i = 0; i < w->n; i++)
        if (strcmp(w->snapshots[i].dataset, dataset) != 0)
            w->snapshots[n++] = w->snapshots[i];
    w->n = n;
    remove_clone(&w->clones, dataset);
    z->exact = false;
}

void zfs_view_release(struct zfs_view *w)
{
    free(w->snapshots);
    strv_release(&w->kept);
    strv_release(&w->others);
    strv_release(&w->below);
    strv_release(&w->marks);
    strv_release(&w->clones);
    strv_release(&w->bases);
    *w = (struct zfs_view){0};
}
