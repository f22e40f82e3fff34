/* The zfspool driver: whether a container's filesystem that no container uses was written to. Reading in it
 * sets access times, and those that wait in memory reach the disk when it is unmounted: after a failover the
 * former live volume would be kept aside each time, for nothing. */
#include "volume/zfs/zfs.h"

#include "base/debug.h"
#include "base/mem.h"
#include "base/proc.h"

#include <string.h>

bool zfs_written(const struct zfs *z, const struct zfs_dataset *d)
{
    return d->written != 0 && !(d->written == z->times && strcmp(d->guid, z->times_of) == 0);
}

/* `zfs diff` goes by the time of the last change of status, which reading leaves as it is. Anything said, or
 * a failure: yes. */
static bool differs(const struct zfs *z, const char *snapshot, const char *dataset)
{
    struct proc_options o = {.cap = 4096, .seconds = 600, .tick = zfs_tick(z)};
    struct err ignored;
    _cleanup_buf_ struct buf out = BUF_INIT;
    char *argv[] = {(char *)"zfs", (char *)"diff", (char *)"-H", (char *)snapshot, (char *)dataset, NULL};
    debug_command(argv); /* it makes a snapshot for itself for the time being */
    return proc_check(argv, &o, &out, &ignored) < 0 || out.len;
}

/* It compares only what is mounted. */
int zfs_times_alone(struct zfs *z, const char *dataset, const char *snapshot, struct err *e)
{
    struct err ignored;
    if (zfs_change(z, &ignored, "mount", "-o", "ro,nosuid,nodev,noexec", dataset, NULL) < 0)
        return 0;
    bool alone = !differs(z, snapshot, dataset);
    return zfs_change(z, e, "unmount", dataset, NULL) < 0 ? -1 : alone;
}

int zfs_settle(struct zfs *z, struct err *e)
{
    _cleanup_view_ struct zfs_view first = {0};
    _cleanup_view_ struct zfs_view w = {0};
    char by[VOLUME_USER_MAX + 1];
    z->times_of[0] = 0; /* it may have been written to since */
    if (zfs_view(z, &first, e) < 0)
        return -1;
    if (!first.live.name[0] || first.live.volume)
        return 0;
    int used = zfs_in_use(z, by, e);
    if (used != 0)
        return used < 0 ? -1 : 0; /* what is written counts, whatever it is */
    if ((first.live.mounted && zfs_change(z, e, "unmount", z->live, NULL) < 0) ||
        zfs_view_exact(z, &w, e) < 0)
        return -1;
    z->exact = true; /* for the question before which this is called, unless something is changed below */
    const struct zfs_snapshot *newest = zfs_newest_of_live(&w);
    if (!newest || !zfs_written(z, &w.live))
        return 0;
    _cleanup_free_ char *snapshot = xasprintf("%s@%s", newest->dataset, newest->s.name);
    int alone = zfs_times_alone(z, z->live, snapshot, e);
    if (alone <= 0)
        return alone;
    z->times = w.live.written;
    memcpy(z->times_of, w.live.guid, sizeof z->times_of);
    return 0;
}

/* ZFS counts what was written since any snapshot. */
static int written_since(const struct zfs *z, const char *snapshot, struct err *e)
{
    _cleanup_strv_ struct strv argv = STRV_INIT;
    _cleanup_buf_ struct buf out = BUF_INIT;
    strv_adds(&argv, "zfs", "get", "-Hpo", "value", NULL);
    strv_addf(&argv, "written@%s", snapshot);
    strv_add(&argv, z->live);
    return zfs_command(zfs_tick(z), &argv, &out, e) < 0 ? -1 : strcmp(buf_str(&out), "0\n") != 0;
}

int zfs_differs(struct volume *v, const char *id, struct err *e)
{
    struct zfs *z = zfs_of(v);
    _cleanup_view_ struct zfs_view w = {0};
    if ((v->idle && zfs_settle(z, e) < 0) || zfs_view_exact(z, &w, e) < 0)
        return -1;
    const struct zfs_snapshot *newest = w.live.name[0] ? zfs_newest_of_live(&w) : NULL;
    bool is_newest = newest && strcmp(newest->s.id, id) == 0;
    const struct zfs_snapshot *x = is_newest ? newest : newest ? zfs_find_on(&w, w.live.name, id) : NULL;
    if (!x || x->is_bookmark)
        return 1;
    return is_newest ? zfs_written(z, &w.live) : written_since(z, x->s.name, e);
}
