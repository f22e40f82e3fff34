/* The zfspool driver: the last steps of a commit, and what becomes of the former live volume. See zfs.h. */
#include "volume/zfs/zfs.h"

#include "base/mem.h"
#include "volume/name.h"

#include <stdio.h>
#include <string.h>

/* A restore point of this node's own that no commit kept aside, and that holds what the one holds on which
 * the former live volume stands: the new one has that. */
static bool adds_nothing(const struct zfs_view *w, const struct zfs_snapshot *x)
{
    if (!snapshot_is_point(x->s.name) || x->s.flags & SNAPSHOT_STRANGE ||
        !zfs_stands_on(w->old.origin, w->live.name))
        return false;
    for (size_t i = 0; i < w->n; i++) {
        const struct zfs_snapshot *other = &w->snapshots[i];
        if (strcmp(other->dataset, w->old.name) == 0 && other->s.seq <= x->s.seq && other->written)
            return false;
    }
    return true;
}

/* Of the former live volume's snapshots: is it nowhere else? What was received came from the source, which
 * has deleted it since. A copy made anew has what the source has, but for its older replication snapshots;
 * those that only the former one had were renamed. */
static bool only_here(const struct zfs_view *w, const struct zfs_snapshot *x)
{
    bool same = w->old.origin[0] && strcmp(w->old.origin, w->live.origin) == 0;
    bool anew = !same && !zfs_stands_on(w->old.origin, w->live.name);
    bool sent = anew && (snapshot_is_point(x->s.name) || zfs_find_on(w, w->live.name, x->s.id));
    return snapshot_is_aside(x->s.name) || !(x->s.flags & SNAPSHOT_RECEIVED || sent || adds_nothing(w, x));
}

static bool worth_keeping(const struct zfs *z, const struct zfs_view *w)
{
    for (size_t i = 0; i < w->n; i++)
        if (strcmp(w->snapshots[i].dataset, w->old.name) == 0 && only_here(w, &w->snapshots[i]))
            return true;
    struct err ignored;
    return strv_has(&w->others, w->old.name) || zfs_written(z, &w->old) ||
           zfs_check_below(w, w->old.name, &ignored) < 0 || zfs_has_marks(w, w->old.name);
}

/* What was kept earlier may stand on its snapshots, where the new live volume does not. */
static int destroy_old(struct zfs *z, const struct zfs_view *w, struct err *e)
{
    int r = zfs_destroy(z, z->old, e);
    if (r == 0 || !w->kept.n || !strstr(e->text, "dependent clones"))
        return r;
    zfs_free_kept(z, w);
    return zfs_destroy(z, z->old, e);
}

/* What went along with it. */
static void tell_old(const struct zfs *z, const struct zfs_view *w)
{
    for (size_t i = 0; i < w->n; i++)
        if (strcmp(w->snapshots[i].dataset, w->old.name) == 0 && !w->snapshots[i].is_bookmark)
            volume_removed(z->volume, "snapshot '%s' of the replica before, which the source has no more",
                           w->snapshots[i].s.name);
}

static int dispose_old(struct zfs *z, const struct zfs_view *w, struct err *e)
{
    if (!worth_keeping(z, w)) {
        if (destroy_old(z, w, e) == 0) {
            tell_old(z, w);
            return 0;
        }
        /* somebody cloned one of its snapshots, or uses it */
        if (!strstr(e->text, "dependent clones") && !strstr(e->text, "busy"))
            return -1;
    }
    _cleanup_free_ char *kept = zfs_kept_name(z, &w->old);
    for (size_t i = 0; i < w->n; i++) {
        const struct zfs_snapshot *x = &w->snapshots[i];
        struct err ignored; /* somebody cloned it, or uses it */
        if (strcmp(x->dataset, w->old.name) == 0 && !x->is_bookmark && !only_here(w, x)) {
            _cleanup_free_ char *full = xasprintf("%s@%s", x->dataset, x->s.name);
            if (zfs_change(z, &ignored, "destroy", "--", full, NULL) == 0)
                volume_removed(z->volume, "'%s', which the source has no more", full);
        }
    }
    if (zfs_written(z, &w->old)) {
        _cleanup_free_ char *aside = xasprintf("%s@" ASIDE_PREFIX "late_%s", z->old, w->old.guid + 16);
        if (zfs_change(z, e, "snapshot", "--", aside, NULL) < 0)
            return -1;
    }
    return zfs_reserve_nothing(z, z->old, e) < 0 ? -1 : zfs_change(z, e, "rename", "--", z->old, kept, NULL);
}

/* The next step of a commit that has begun: 1 done one, 0 there is none. */
static int next_step(struct zfs *z, struct err *e)
{
    _cleanup_view_ struct zfs_view w = {0};
    if (zfs_view(z, &w, e) < 0)
        return -1;
    bool live = w.live.name[0], stage = w.stage.name[0], old = w.old.name[0];
    int r;
    if (old && !live)
        r = zfs_change(z, e, "rename", "--", stage ? z->stage : z->old, z->live, NULL);
    else if (old && zfs_stands_on(w.live.origin, w.old.name)) /* commands of a killed process came late */
        r = zfs_change(z, e, "promote", z->live, NULL);
    else if (old)
        return dispose_old(z, &w, e);
    else if (live && zfs_promoted(&w))
        r = zfs_change(z, e, "promote", z->live, NULL);
    else
        return 0;
    return r < 0 ? -1 : 1;
}

int zfs_tidy(struct volume *v, struct err *e)
{
    int r;
    while ((r = next_step(zfs_of(v), e)) > 0)
        ;
    return r;
}
