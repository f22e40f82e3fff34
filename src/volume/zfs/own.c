/* The zfspool driver: what is ours, and destroying that and nothing else. See zfs.h. */
#include "volume/zfs/zfs.h"

#include "base/buf.h"
#include "base/debug.h"
#include "base/mem.h"
#include "base/proc.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define BUSY_TRIES 6
#define AT_ONCE 100    /* names in an argument */
#define NAMES_MAX 7000 /* bytes of a property */

char *zfs_name_text(const char *volume, const char *snapshot, const char *also)
{
    return xasprintf("pvesr:name=@%s%s%s %s", snapshot, also ? " @" : "", also ? also : "", volume);
}

char *zfs_names_text(const struct strv *volumes, const char *snapshot)
{
    struct buf b = BUF_INIT;
    buf_addf(&b, "pvesr:name=@%s", snapshot);
    for (size_t i = 0; i < volumes->n; i++)
        buf_addf(&b, " %s", volumes->v[i]);
    char *text = buf_take(&b);
    if (strlen(text) > NAMES_MAX) /* as one of an earlier version */
        strcpy(text, "pvesr:name=-");
    return text;
}

/* Of a stage that is complete, the newest snapshot, where it has this name and nothing says yet that it was
 * received. */
static struct zfs_snapshot *unmarked(struct zfs_view *w, const char *name)
{
    struct zfs_snapshot *x = NULL;
    for (size_t i = 0; i < w->n; i++)
        if (!w->snapshots[i].is_bookmark && strcmp(w->snapshots[i].dataset, w->stage.name) == 0)
            x = &w->snapshots[i];
    bool is = x && !w->stage.partial && strcmp(x->s.name, name) == 0;
    return is && !(x->s.flags & (SNAPSHOT_RECEIVED | SNAPSHOT_STRANGE)) ? x : NULL;
}

static int mark(struct zfs *z, const struct strv *volumes, const struct strv *full, const char *name,
                struct err *e)
{
    _cleanup_strv_ struct strv argv = STRV_INIT;
    _cleanup_free_ char *text = zfs_names_text(volumes, name);
    strv_adds(&argv, "zfs", "set", "pvesr:received=1", text, NULL);
    for (size_t i = 0; i < full->n; i++)
        strv_add(&argv, full->v[i]);
    return zfs_change_all(z, &argv, e);
}

int zfs_mark_received(struct zfs *z, const struct zfs_snapshot *x, struct err *e)
{
    _cleanup_free_ struct zfs **all = NULL;
    _cleanup_strv_ struct strv volumes = STRV_INIT, full = STRV_INIT;
    size_t n = zfs_beside_open(z, &all), k = 1;
    strv_add(&volumes, z->name);
    strv_addf(&full, "%s@%s", x->dataset, x->s.name);
    for (size_t i = 1; i < n; i++) {
        if (!unmarked(&all[i]->seen, x->s.name))
            continue;
        strv_add(&volumes, all[i]->name);
        strv_addf(&full, "%s@%s", all[i]->stage, x->s.name);
        all[k++] = all[i];
    }
    zfs_forget(z);
    if (k > 1 && mark(z, &volumes, &full, x->s.name, e) == 0) {
        for (size_t i = 1; i < k; i++)
            unmarked(&all[i]->seen, x->s.name)->s.flags |= SNAPSHOT_RECEIVED | SNAPSHOT_OURS;
        return 0;
    }
    while (full.n > 1) { /* one of the others may have vanished meanwhile */
        strv_remove(&full, full.n - 1);
        strv_remove(&volumes, volumes.n - 1);
    }
    return mark(z, &volumes, &full, x->s.name, e);
}

static void add_below(const struct strv *all, const char *dataset, char separator, struct strv *ret)
{
    size_t n = strlen(dataset);
    for (size_t i = 0; n && i < all->n; i++)
        if (strncmp(all->v[i], dataset, n) == 0 && all->v[i][n] == separator)
            strv_add(ret, all->v[i]);
}

int zfs_check_below(const struct zfs_view *w, const char *dataset, struct err *e)
{
    _cleanup_strv_ struct strv found = STRV_INIT;
    add_below(&w->below, dataset, '/', &found);
    if (!found.n)
        return 0;
    _cleanup_free_ char *list = strv_join(&found, "', '");
    return err_set(
        e, ERR_CONFIG, 0,
        "below '%s' there %s '%.600s', which no replica of it carries, and which would go with it: "
        "move %s elsewhere (zfs rename)",
        dataset, found.n > 1 ? "are" : "is", list, found.n > 1 ? "them" : "it");
}

bool zfs_has_marks(const struct zfs_view *w, const char *dataset)
{
    _cleanup_strv_ struct strv found = STRV_INIT;
    add_below(&w->marks, dataset, '#', &found);
    return found.n;
}

int zfs_check_marks(const struct zfs_view *w, const char *dataset, struct err *e)
{
    _cleanup_strv_ struct strv found = STRV_INIT;
    add_below(&w->marks, dataset, '#', &found);
    if (!found.n)
        return 0;
    _cleanup_free_ char *list = strv_join(&found, "', '");
    return err_set(e, ERR_CONFIG, 0,
                   "'%s' has bookmarks that no run made: '%.600s'. It is removed once they are (zfs destroy)",
                   dataset, list);
}

/* ---- destroying ---- */

int zfs_destroy_one(struct zfs *z, const char *name, struct err *e)
{
    for (int i = 0; zfs_change_known(z, e, "destroy", "--", name, NULL) < 0; i++) {
        if (!strstr(e->text, "busy") || i == BUSY_TRIES)
            return -1;
        sleep(1);
    }
    return 0;
}

static bool is_somebodys(const struct zfs_snapshot *x)
{
    return x->s.flags & SNAPSHOT_STRANGE || snapshot_is_aside(x->s.name);
}

/* The datasets are named where they are known. dispose_old looks for the words of zfs(8). */
static int has_clones(const struct zfs_view *w, const char *dataset, struct err *e)
{
    _cleanup_strv_ struct strv found = STRV_INIT, names = STRV_INIT;
    add_below(&w->clones, dataset, '@', &found);
    for (size_t i = 0; i < found.n; i++)
        strv_add(&names, strchr(found.v[i], ' ') + 1);
    _cleanup_free_ char *list = strv_join(&names, "', '");
    return err_set(
        e, ERR_CONFIG, 0,
        "the snapshots of '%s' have dependent clones%s%.600s%s: it goes when these are destroyed, or "
        "stand on their own (zfs promote)",
        dataset, names.n ? " '" : "", list, names.n ? "'" : "");
}

static int check_snapshots(const struct zfs_view *w, const char *dataset, struct err *e)
{
    if (strv_has(&w->bases, dataset))
        return has_clones(w, dataset, e);
    if (strv_has(&w->others, dataset))
        return err_set(e, ERR_CONFIG, 0, "'%s' has snapshots that no run made: it is not destroyed", dataset);
    for (size_t i = 0; i < w->n; i++)
        if (strcmp(w->snapshots[i].dataset, dataset) == 0 && is_somebodys(&w->snapshots[i]))
            return err_set(e, ERR_CONFIG, 0,
                           "'%s' has the snapshot '%s', which is no run's any more: it is not destroyed",
                           dataset, w->snapshots[i].s.name);
    return 0;
}

static int destroy_snapshots(struct zfs *z, const struct zfs_view *w, const char *dataset, struct err *e)
{
    for (size_t i = 0; i < w->n;) {
        struct buf list = BUF_INIT;
        for (size_t k = 0; k < AT_ONCE && i < w->n; i++)
            if (!w->snapshots[i].is_bookmark && strcmp(w->snapshots[i].dataset, dataset) == 0) {
                buf_addf(&list, "%s%s%s", k ? "," : dataset, k ? "" : "@", w->snapshots[i].s.name);
                k++;
            }
        int r = list.len ? zfs_destroy_one(z, buf_str(&list), e) : 0;
        if (list.len)
            zfs_forget(z);
        buf_release(&list);
        if (r < 0)
            return strstr(e->text, "dependent clones") ? has_clones(w, dataset, e) : -1;
    }
    return 0;
}

static bool is_mounted(const struct zfs_view *w, const char *dataset)
{
    const struct zfs_dataset *const own[] = {&w->live, &w->stage, &w->old};
    for (size_t i = 0; i < ELEMENTS(own); i++)
        if (strcmp(own[i]->name, dataset) == 0)
            return own[i]->mounted;
    return false;
}

/* zfs-program(8): all of it happens at one moment, or nothing of what a snapshot in use forbids. */
static const char all_at_once[] = "local names = (...)[\"argv\"]\n"
                                  "for i = 1, #names - 1 do\n"
                                  "    local problem = zfs.check.destroy(names[i])\n"
                                  "    if problem ~= 0 then return problem end\n"
                                  "end\n"
                                  "for i = 1, #names do\n"
                                  "    local problem = zfs.sync.destroy(names[i])\n"
                                  "    if problem ~= 0 then return problem end\n"
                                  "end\n"
                                  "return 0\n";

/* Who dies between the last snapshot and the dataset leaves one of which nobody can tell what was written to
 * it: all of it counts so. */
static bool destroy_at_once(struct zfs *z, const struct zfs_view *w, const char *dataset, bool *busy)
{
    _cleanup_strv_ struct strv argv = STRV_INIT;
    _cleanup_buf_ struct buf out = BUF_INIT;
    struct err ignored; /* whoever comes next meets it, too, and has words for it */
    strv_adds(&argv, "zfs", "program", NULL);
    strv_addf(&argv, "%.*s", (int)strcspn(dataset, "/"), dataset);
    strv_add(&argv, "-");
    for (size_t i = 0; i < w->n; i++)
        if (!w->snapshots[i].is_bookmark && strcmp(w->snapshots[i].dataset, dataset) == 0)
            strv_addf(&argv, "%s@%s", dataset, w->snapshots[i].s.name);
    strv_add(&argv, dataset);
    struct proc_options o = {.input = all_at_once,
                             .input_len = strlen(all_at_once),
                             .seconds = 600,
                             .tick = zfs_tick(z),
                             .held_fd = store_lock(&z->volume->store)};
    debug_command(argv.v);
    zfs_names_forget();
    bool done = proc_check(argv.v, &o, &out, &ignored) == 0 && strstr(buf_str(&out), "return: 0\n");
    *busy = !done && strstr(buf_str(&out), "return: 16\n");
    if (done) {
        _cleanup_strv_ struct strv as = STRV_INIT;
        strv_adds(&as, "zfs", "destroy", dataset, NULL);
        zfs_expect(z, &as);
    } else {
        zfs_forget(z);
    }
    return done;
}

/* The folder that was made for mounting a filesystem, which zfs(8) removes with it; "": none, or a person's.
 */
static char *mountpoint_of(struct zfs *z, const struct zfs_view *w, const char *dataset)
{
    _cleanup_strv_ struct strv argv = STRV_INIT;
    _cleanup_buf_ struct buf out = BUF_INIT;
    struct err ignored;
    strv_adds(&argv, "zfs", "get", "-H", "-o", "value,source", "mountpoint", dataset, NULL);
    if (strcmp(w->live.name, dataset) != 0 || w->live.volume ||
        zfs_command(zfs_tick(z), &argv, &out, &ignored) < 0 || *buf_str(&out) != '/' ||
        strstr(buf_str(&out), "\tlocal\n"))
        return xstrdup("");
    return xstrndup(buf_str(&out), strcspn(buf_str(&out), "\t"));
}

static int look_at_ours(struct zfs *z, struct zfs_view *w, const char *dataset, struct err *e)
{
    return zfs_view(z, w, e) < 0 || zfs_check_below(w, dataset, e) < 0 || check_snapshots(w, dataset, e) < 0
               ? -1
               : 0;
}

static bool is_there(const struct zfs_view *w, const char *dataset)
{
    return strcmp(w->live.name, dataset) == 0 || strcmp(w->stage.name, dataset) == 0 ||
           strcmp(w->old.name, dataset) == 0 || strv_has(&w->kept, dataset);
}

/* Whoever was to do it at once may have failed behind that. */
static int destroy_stepwise(struct zfs *z, const char *dataset, struct err *e)
{
    _cleanup_view_ struct zfs_view w = {0};
    if (look_at_ours(z, &w, dataset, e) < 0)
        return -1;
    if (!is_there(&w, dataset))
        return 0;
    return destroy_snapshots(z, &w, dataset, e) < 0 ? -1 : zfs_destroy_one(z, dataset, e);
}

int zfs_destroy(struct zfs *z, const char *dataset, struct err *e)
{
    _cleanup_view_ struct zfs_view w = {0};
    struct err ignored;
    bool busy, done;
    if (look_at_ours(z, &w, dataset, e) < 0)
        return -1;
    _cleanup_free_ char *mountpoint = mountpoint_of(z, &w, dataset);
    if (is_mounted(&w, dataset))
        zfs_change_known(z, &ignored, "unmount", dataset, NULL);
    for (int i = 0; !(done = destroy_at_once(z, &w, dataset, &busy)) && busy && i < BUSY_TRIES; i++)
        sleep(1);
    if (!done && destroy_stepwise(z, dataset, e) < 0)
        return -1;
    if (*mountpoint)
        rmdir(mountpoint); /* others may have put something there */
    zfs_seen_gone(z, dataset);
    return 0;
}

bool zfs_has_aside(const struct zfs_view *w, const char *dataset)
{
    for (size_t i = 0; i < w->n; i++)
        if (strcmp(w->snapshots[i].dataset, dataset) == 0 && snapshot_is_aside(w->snapshots[i].s.name))
            return true;
    return false;
}

int zfs_destroy_but_kept(struct zfs *z, const struct zfs_view *w, const struct zfs_dataset *d, struct err *e)
{
    bool kept = strv_has(&w->others, d->name);
    for (size_t i = 0; i < w->n; i++)
        kept |= strcmp(w->snapshots[i].dataset, d->name) == 0 && !w->snapshots[i].is_bookmark &&
                !snapshot_goes_along(&w->snapshots[i].s);
    if (!kept)
        return zfs_destroy(z, d->name, e);
    for (size_t i = 0; i < w->n; i++) {
        const struct zfs_snapshot *x = &w->snapshots[i];
        _cleanup_free_ char *full = xasprintf("%s@%s", x->dataset, x->s.name);
        if (strcmp(x->dataset, d->name) == 0 && !x->is_bookmark && snapshot_goes_along(&x->s) &&
            zfs_change(z, e, "destroy", "--", full, NULL) < 0)
            return -1;
    }
    _cleanup_free_ char *name = zfs_kept_name(z, d);
    if (zfs_reserve_nothing(z, d->name, e) < 0)
        return -1;
    return zfs_change(z, e, "rename", "--", d->name, name, NULL);
}

int zfs_clear_stage(struct zfs *z, const struct zfs_view *w, struct err *e)
{
    if (!w->stage.name[0])
        return 0;
    if (!zfs_has_aside(w, w->stage.name))
        return zfs_destroy(z, z->stage, e);
    if (w->stage.partial && zfs_change(z, e, "receive", "-A", "--", z->stage, NULL) < 0)
        return -1;
    return zfs_destroy_but_kept(z, w, &w->stage, e);
}

/* ---- for doctor ---- */

int zfs_strays(struct volume *v, bool live, struct strv *ret, struct err *e)
{
    _cleanup_view_ struct zfs_view w = {0};
    if (zfs_view(zfs_of(v), &w, e) < 0)
        return -1;
    for (size_t i = 0; i < w.n; i++)
        if (w.snapshots[i].s.flags & SNAPSHOT_STRANGE && !w.snapshots[i].of_origin)
            strv_addf(ret, "'%s@%s' is a restore point that somebody gave this name", w.snapshots[i].dataset,
                      w.snapshots[i].s.name);
    for (size_t i = 0; i < w.marks.n; i++)
        strv_addf(ret, "'%s' is a bookmark that no run made", w.marks.v[i]);
    for (size_t i = 0; i < w.below.n; i++)
        strv_addf(ret, "'%s' lies below the volume, and no replica carries it", w.below.v[i]);
    for (size_t i = 0; i < w.kept.n; i++)
        if (!zfs_has_aside(&w, w.kept.v[i]))
            strv_addf(ret, "'%s' is what a replica was before, with what only that has", w.kept.v[i]);
    bool went = false;
    for (size_t i = 0; i < w.n; i++)
        went |= w.snapshots[i].of_origin && w.snapshots[i].s.flags & SNAPSHOT_STRANGE;
    if (went)
        strv_addf(ret,
                  "'%s' stands on '%s', to which its restore points went: 'zfs promote %s' takes them back",
                  w.live.name, w.live.origin, w.live.name);
    if (live && w.live.stray)
        strv_addf(ret, "'%s' is a replica that somebody copied to this name, or gave this name", w.live.name);
    return 0;
}
