/* restore-points, mount, clone: what this node can give back of a guest. */
#include "cli/commands.h"

#include "base/buf.h"
#include "base/clock.h"
#include "view/json.h"
#include "cli/lines.h"
#include "cli/size.h"
#include "run/recover/points.h"

#include <stdio.h>
#include <string.h>

_Static_assert(POINT_NAME_MAX == SNAPSHOT_NAME_MAX, "a restore point is called as its snapshots are");

static json_t *volume_json(const struct point_volume *v)
{
    json_t *o = json_object();
    json_object_set_new(o, "volid", json_text(v->volid));
    json_object_set_new(o, "id", json_text(v->snapshot.id));
    json_object_set_new(o, "size", json_integer((json_int_t)v->snapshot.size));
    json_object_set_new(o, "readable", json_boolean(v->snapshot.flags & SNAPSHOT_READABLE));
    json_object_set_new(o, "changed", json_boolean(v->snapshot.flags & SNAPSHOT_CHANGED));
    json_object_set_new(o, "shown", json_boolean(v->shown));
    if (v->snapshot.damaged)
        json_object_set_new(o, "damaged", json_integer((json_int_t)v->snapshot.damaged));
    return o;
}

static json_t *point_json(const struct points *all, const struct point *p)
{
    _cleanup_strv_ struct strv lacks = STRV_INIT;
    json_t *o = json_object(), *volumes = json_array();
    for (size_t i = 0; i < p->n; i++)
        json_array_append_new(volumes, volume_json(&p->v[i]));
    json_object_set_new(o, "name", json_text(p->name));
    if (*p->job)
        json_object_set_new(o, "job", json_text(p->job));
    json_object_set_new(o, "time", json_integer(p->time));
    json_object_set_new(o, "aside", json_boolean(p->aside));
    json_object_set_new(o, "volumes", volumes);
    point_lacks(all, p, &lacks);
    json_t *missing = lacks.n ? json_array() : NULL;
    for (size_t i = 0; i < lacks.n; i++)
        json_array_append_new(missing, json_text(lacks.v[i]));
    if (missing)
        json_object_set_new(o, "lacks", missing);
    return o;
}

static void print_point(const struct points *all, const struct point *p)
{
    _cleanup_strv_ struct strv lacks = STRV_INIT;
    char when[32], size[32];
    uint64_t bytes = 0;
    bool shown = false, readable = true, changed = false, damaged = false;
    for (size_t i = 0; i < p->n; i++) {
        bytes += p->v[i].snapshot.size;
        damaged = damaged || p->v[i].snapshot.damaged;
        changed = changed || p->v[i].snapshot.flags & SNAPSHOT_CHANGED;
        shown = shown || p->v[i].shown;
        readable = readable && p->v[i].snapshot.flags & SNAPSHOT_READABLE;
    }
    point_lacks(all, p, &lacks);
    clock_print_status(p->time, when);
    print_size(bytes, size);
    _cleanup_buf_ struct buf volids = BUF_INIT;
    for (size_t i = 0; i < p->n; i++)
        buf_addf(&volids, "%s%s", i ? "," : "", p->v[i].volid);
    put_line(stdout, "%20s %-10s %-8s %10s %-36s %s", when, *p->job ? p->job : "-",
             damaged     ? "damaged"
             : p->aside  ? "aside"
             : changed   ? "changed"
             : lacks.n   ? "part"
             : shown     ? "shown"
             : !readable ? "no-data"
                         : "-",
             size, p->name, buf_str(&volids));
}

int cmd_restore_points(struct env *env, const struct args *a, struct err *e)
{
    struct points points;
    if (points_load(env, (uint32_t)a->value[P_VMID].integer, &points, e) < 0)
        return -1;
    for (size_t i = 0; i < points.problems.n; i++)
        put_line(stderr, "warning: %s", points.problems.v[i]);
    if (args_want_json(a)) {
        json_t *list = json_array();
        for (size_t i = 0; i < points.n; i++)
            json_array_append_new(list, point_json(&points, &points.v[i]));
        json_put(list, false);
    } else {
        printf("%20s %-10s %-8s %10s %-36s %s\n", "Time", "JobID", "State", "Size", "Name", "Volumes");
        for (size_t i = 0; i < points.n; i++)
            print_point(&points, &points.v[i]);
    }
    bool unread = points.unread;
    points_release(&points);
    return unread ? err_set(e, ERR_SYSTEM, 0,
                            "there may be more restore points: not all that this node has could be read")
                  : 0;
}

static void warn(const struct strv *doubts)
{
    for (size_t i = 0; i < doubts->n; i++)
        put_line(stderr, "warning: %s", doubts->v[i]);
}

int cmd_mount(struct env *env, const struct args *a, struct err *e)
{
    _cleanup_strv_ struct strv paths = STRV_INIT;
    _cleanup_strv_ struct strv doubts = STRV_INIT;
    int r = point_mount(env, (uint32_t)a->value[P_VMID].integer, args_text(a, P_POINT),
                        args_text(a, P_DIRECTORY), &paths, &doubts, e);
    warn(&doubts);
    if (r < 0)
        return -1;
    for (size_t i = 0; i < paths.n; i++)
        printf("%s\n", paths.v[i]);
    return 0;
}

int cmd_clone(struct env *env, const struct args *a, struct err *e)
{
    _cleanup_strv_ struct strv volids = STRV_INIT;
    _cleanup_strv_ struct strv doubts = STRV_INIT;
    int r = point_clone(env, (uint32_t)a->value[P_VMID].integer, args_text(a, P_POINT),
                        (uint32_t)a->value[P_NEW_VMID].integer, &volids, &doubts, e);
    warn(&doubts);
    if (r < 0)
        return -1;
    for (size_t i = 0; i < volids.n; i++)
        printf("%s\n", volids.v[i]);
    return 0;
}
