#include "run/recover/points.h"

#include "base/clock.h"
#include "base/mem.h"
#include "run/snapshot.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ---- what there is ---- */

static struct point *point_of(struct points *p, const struct snapshot *s)
{
    for (size_t i = 0; i < p->n; i++)
        if (strcmp(p->v[i].name, s->name) == 0)
            return &p->v[i];
    p->v = xgrow(p->v, p->n, sizeof *p->v);
    struct point *one = &p->v[p->n++];
    *one = (struct point){.aside = snapshot_is_aside(s->name), .time = snapshot_epoch(s->name)};
    snprintf(one->name, sizeof one->name, "%s", s->name);
    snapshot_job(s->name, one->job);
    if (!one->time)
        one->time = s->created;
    return one;
}

static int add_volume(struct volume *v, const char *volid, void *points, struct err *e)
{
    struct points *p = points;
    char owner[32], base[SNAPSHOT_ID_LEN + 1];
    struct volume_info info;
    struct snapshots all = {0};
    if (volume_info(v, &info, e) < 0 || volume_replica(v, owner, base, e) < 0 ||
        volume_snapshots(v, &all, e) < 0)
        return -1;
    for (size_t i = 0; i < all.n; i++) {
        struct point *one = point_of(p, &all.v[i]);
        one->v = xgrow(one->v, one->n, sizeof *one->v);
        one->v[one->n++] =
            (struct point_volume){.volid = xstrdup(volid),
                                  .snapshot = all.v[i],
                                  .shown = info.exists && owner[0] && strcmp(all.v[i].id, base) == 0};
    }
    snapshots_release(&all);
    return 0;
}

static int by_time(const void *a, const void *b)
{
    const struct point *x = a, *y = b;
    return x->time != y->time ? (x->time > y->time) - (x->time < y->time) : strcmp(x->name, y->name);
}

static int by_volid(const void *a, const void *b)
{
    return strcmp(((const struct point_volume *)a)->volid, ((const struct point_volume *)b)->volid);
}

int points_load(struct env *env, uint32_t guest, struct points *ret, struct err *e)
{
    *ret = (struct points){0};
    if (env_each_volume(env, guest, add_volume, ret, &ret->problems, e) < 0)
        return -1;
    for (size_t i = 0; i < ret->n; i++)
        qsort(ret->v[i].v, ret->v[i].n, sizeof *ret->v[i].v, by_volid);
    if (ret->n)
        qsort(ret->v, ret->n, sizeof *ret->v, by_time);
    return 0;
}

void points_release(struct points *p)
{
    for (size_t i = 0; i < p->n; i++) {
        for (size_t k = 0; k < p->v[i].n; k++)
            free(p->v[i].v[k].volid);
        free(p->v[i].v);
    }
    free(p->v);
    strv_release(&p->problems);
    *p = (struct points){0};
}

void point_doubts(const struct point *p, struct strv *ret)
{
    for (size_t i = 0; i < p->n; i++) {
        const struct snapshot *s = &p->v[i].snapshot;
        _cleanup_free_ char *damaged = s->damaged ? snapshot_damaged_text(s, p->v[i].volid) : NULL;
        if (damaged)
            strv_add(ret, damaged);
        else if (s->flags & SNAPSHOT_CHANGED)
            strv_addf(ret, "restore point '%s' of '%s' was written to since it was made", s->name,
                      p->v[i].volid);
    }
}

const struct point *points_find(const struct points *p, const char *name, struct err *e)
{
    for (size_t i = 0; i < p->n; i++)
        if (strcmp(p->v[i].name, name) == 0)
            return &p->v[i];
    err_set(e, ERR_GONE, 0, "there is no restore point '%s' on this node%s%s", name,
            p->problems.n ? "; " : "", p->problems.n ? p->problems.v[0] : "");
    return NULL;
}
