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

/* Where the storage keeps but the live volume, a restore point is that or nothing. -1, or 1: that is another.
 */
static int live_is_another(struct volume *v, const struct volume_info *info, const char *base, struct err *e)
{
    return info->exists && !info->many && *base ? volume_differs(v, base, e) : 0;
}

static int add_volume(struct volume *v, const char *volid, void *points, struct err *e)
{
    struct points *p = points;
    char owner[32], base[SNAPSHOT_ID_LEN + 1];
    struct volume_info info;
    struct snapshots all = {0};
    if (volume_info(v, &info, e) < 0 || volume_replica(v, owner, base, e) < 0)
        return -1;
    int another = live_is_another(v, &info, base, e);
    if (another < 0 || volume_snapshots(v, &all, e) < 0)
        return -1;
    struct err ignored; /* what cannot be told hides no restore point */
    volume_seals(v, &all, false, &ignored);
    for (size_t i = 0; i < all.n; i++) {
        if (info.stream && !(all.v[i].flags & SNAPSHOT_READABLE))
            continue; /* a bookmark: a base, and nothing to go back to */
        struct point *one = point_of(p, &all.v[i]);
        one->v = xgrow(one->v, one->n, sizeof *one->v);
        one->v[one->n++] = (struct point_volume){.volid = xstrdup(volid),
                                                 .snapshot = all.v[i],
                                                 .shown = info.exists && owner[0] && !another &&
                                                          strcmp(all.v[i].id, base) == 0};
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

/* What cannot be read of the configuration, or is gone, names nothing. */
static void find_disks(struct env *env, uint32_t guest, struct strv *ret)
{
    struct err ignored;
    const struct guest_entry *g = env_guest(env, guest, &ignored);
    struct guest_config *c = g ? env_guest_config(env, g, &ignored) : NULL;
    if (c)
        env_guest_volumes(env, c, VOLUMES_LENIENT, ret, &ignored);
    guest_config_free(c);
}

int points_load(struct env *env, uint32_t guest, struct points *ret, struct err *e)
{
    *ret = (struct points){0};
    find_disks(env, guest, &ret->disks);
    int unread = env_each_volume(env, guest, false, add_volume, ret, &ret->problems, e);
    if (unread < 0)
        return -1;
    ret->unread = unread || (!ret->n && ret->problems.n);
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
    strv_release(&p->disks);
    *p = (struct points){0};
}

/* ---- is it whole? ---- */

/* "vm-100-disk-0" of any storage, whose files may have a folder and an ending. */
static char *image_name(const char *volid)
{
    static const char *const endings[] = {".raw", ".subvol"};
    const char *slash = strrchr(volid, '/'), *colon = strchr(volid, ':');
    char *name = xstrdup(slash ? slash + 1 : colon ? colon + 1 : volid);
    for (size_t i = 0; i < ELEMENTS(endings); i++) {
        size_t n = strlen(name), k = strlen(endings[i]);
        if (n > k && strcmp(name + n - k, endings[i]) == 0)
            name[n - k] = 0;
    }
    return name;
}

/* Two disks on two storages may have one name. */
static void take_away(struct strv *images, const char *image)
{
    for (size_t i = 0; i < images->n; i++)
        if (strcmp(images->v[i], image) == 0) {
            strv_remove(images, i);
            return;
        }
}

static void images_of(const struct point *p, struct strv *ret)
{
    for (size_t i = 0; i < p->n; i++) {
        _cleanup_free_ char *image = image_name(p->v[i].volid);
        strv_add(ret, image);
    }
}

static void add_lacking(const struct point *p, const char *const volids[], size_t n, struct strv *ret)
{
    _cleanup_strv_ struct strv has = STRV_INIT;
    images_of(p, &has);
    for (size_t i = 0; i < n; i++) {
        _cleanup_free_ char *image = image_name(volids[i]);
        size_t before = has.n;
        take_away(&has, image);
        if (has.n == before)
            strv_add_once(ret, volids[i]);
    }
}

static const struct point *next_of_job(const struct points *all, const struct point *p)
{
    for (const struct point *next = p + 1; next < all->v + all->n; next++)
        if (strcmp(next->job, p->job) == 0)
            return next;
    return NULL;
}

void point_lacks(const struct points *all, const struct point *p, struct strv *ret)
{
    const struct point *next = *p->job ? next_of_job(all, p) : NULL;
    if (!*p->job)
        return;
    add_lacking(p, (const char *const *)all->disks.v, all->disks.n, ret);
    for (size_t i = 0; next && i < next->n; i++) {
        const char *volid = next->v[i].volid;
        if (!strv_has(&all->disks, volid))
            add_lacking(p, &volid, 1, ret);
    }
}

void point_doubts(const struct points *all, const struct point *p, struct strv *ret)
{
    _cleanup_strv_ struct strv lacks = STRV_INIT;
    point_lacks(all, p, &lacks);
    for (size_t i = 0; i < lacks.n; i++)
        strv_addf(
            ret,
            "restore point '%s' has nothing of '%s', which the guest or a later one has: it came later, "
            "or a part of the restore point was removed",
            p->name, lacks.v[i]);
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
    err_set(e, ERR_GONE, 0, "there is no restore point '%s' on this node (see 'pvesr restore-points')%s%s",
            name, p->problems.n ? "; " : "", p->problems.n ? p->problems.v[0] : "");
    return NULL;
}
