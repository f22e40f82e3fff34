#include "run/recover/points.h"

#include "base/clock.h"
#include "base/lock.h"
#include "base/mem.h"
#include "run/snapshot.h"
#include "volume/mark.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define LOCK_SECONDS 10

/* ---- what there is ---- */

static struct point *point_of(struct points *p, const struct snapshot *s)
{
    for (size_t i = 0; i < p->n; i++)
        if (strcmp(p->v[i].name, s->name) == 0)
            return &p->v[i];
    p->v = xreallocarray(p->v, p->n + 1, sizeof *p->v);
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
        one->v = xreallocarray(one->v, one->n + 1, sizeof *one->v);
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

const struct point *points_find(const struct points *p, const char *name, struct err *e)
{
    for (size_t i = 0; i < p->n; i++)
        if (strcmp(p->v[i].name, name) == 0)
            return &p->v[i];
    err_set(e, ERR_GONE, 0, "there is no restore point '%s' on this node%s%s", name,
            p->problems.n ? "; " : "", p->problems.n ? p->problems.v[0] : "");
    return NULL;
}

/* ---- clone ---- */

static int copy_extents(struct delta *d, struct stage *s, struct err *e)
{
    for (;;) {
        struct extent x;
        int r = delta_next(d, &x, e);
        if (r <= 0)
            return r;
        if (r == 1)
            r = x.kind == EXTENT_ZERO ? stage_zero(s, x.offset, x.length, e)
                                      : stage_write(s, x.offset, delta_data(d), x.length, e);
        if (r < 0)
            return -1;
    }
}

static int copy_stream(struct delta *d, struct stage *s, struct err *e)
{
    static uint8_t piece[256 << 10];
    for (;;) {
        ssize_t n = delta_stream(d, piece, sizeof piece, e);
        if (n <= 0)
            return (int)n;
        if (stage_feed(s, piece, (size_t)n, e) < 0)
            return -1;
    }
}

/* The way a replica is made, but here. */
static int copy_snapshot(struct volume *from, const struct snapshot *what, bool stream, struct volume *to,
                         const struct stage_want *want, struct err *e)
{
    uint64_t offset = 0;
    _cleanup_(delta_freep) struct delta *d = delta_open(from, NULL, what, 0, e);
    _cleanup_(stage_freep) struct stage *s = d ? stage_open(to, want, &offset, e) : NULL;
    if (!s || (stream ? copy_stream(d, s, e) : copy_extents(d, s, e)) < 0)
        return -1;
    return stage_seal(s, e);
}

static int clone_volume(struct volume *from, const struct snapshot *what, struct volume *to, struct err *e)
{
    char id[SNAPSHOT_ID_LEN + 1];
    struct stage_want want = {
        .snapshot = "pvesr-clone", .id = id, .created = what->created, .size = what->size, .owner = ""};
    struct volume_info info, there;
    if (volume_info(from, &info, e) < 0 || volume_info(to, &there, e) < 0)
        return -1;
    mark_new_id(id);
    if (info.stream) { /* a stream says whose it is */
        want.snapshot = what->name;
        memcpy(id, what->id, sizeof id);
    }
    if (info.encrypted && !there.encrypts)
        volume_send_as(from, VOLUME_RAW);
    if (copy_snapshot(from, what, info.stream, to, &want, e) < 0 || volume_commit(to, id, true, e) < 0)
        return -1;
    return volume_snapshot_destroy(to, want.snapshot, id, e) < 0 ? -1 : 0;
}

/* "100/vm-100-disk-0.raw" → "900/vm-900-disk-0.raw" in a volid; NULL when the name has another form. */
static char *renumbered(const char *volid, uint32_t from, uint32_t to)
{
    const char *name = strchr(volid, ':') + 1, *slash = strchr(name, '/');
    char own[16];
    const char *image = slash ? slash + 1 : name;
    snprintf(own, sizeof own, "-%" PRIu32 "-", from);
    const char *at = strstr(image, own);
    if (!at)
        return NULL;
    _cleanup_free_ char *folder = slash ? xasprintf("%" PRIu32 "/", to) : xstrdup("");
    return xasprintf("%.*s%s%.*s-%" PRIu32 "-%s", (int)(name - volid), volid, folder, (int)(at - image),
                     image, to, at + strlen(own));
}

/* Nothing may be there of what is to be made: what fails is removed again. */
static int check_free(struct volume *v, const char *volid, struct err *e)
{
    struct volume_info info;
    struct stage_info stage;
    struct snapshots all = {0};
    if (volume_info(v, &info, e) < 0 || stage_info(v, &stage, e) < 0 || volume_snapshots(v, &all, e) < 0)
        return -1;
    bool empty = !info.exists && !stage.exists && all.n == 0;
    snapshots_release(&all);
    return empty ? 0 : err_set(e, ERR_USAGE, 0, "volume '%s' exists: choose another guest id", volid);
}

static int clone_one(struct env *env, uint32_t guest, const struct point_volume *p, uint32_t to,
                     struct strv *ret, struct err *e)
{
    _cleanup_free_ char *volid = renumbered(p->volid, guest, to);
    struct env_volume from = {0}, made = {0};
    if (!volid)
        return err_set(e, ERR_CONFIG, 0, "'%s' is not an image of guest %" PRIu32, p->volid, guest);
    if (!(p->snapshot.flags & SNAPSHOT_READABLE))
        return err_set(e, ERR_DATA, 0,
                       "restore point '%s' of '%s' has no data of its own: its storage keeps only the live "
                       "volume, and that is another state",
                       p->snapshot.name, p->volid);
    int r = env_volume_open(env, p->volid, guest, &from, e);
    if (r == 0)
        r = env_volume_open(env, volid, to, &made, e);
    if (r == 0)
        r = check_free(made.volume, volid, e);
    if (r == 0) {
        strv_add(ret, volid);
        r = clone_volume(from.volume, &p->snapshot, made.volume, e);
    }
    env_volume_close(&from);
    env_volume_close(&made);
    return r < 0 ? err_wrap(e, "cannot copy '%s' to '%s'", p->volid, volid) : 0;
}

static void remove_clones(struct env *env, uint32_t to, struct strv *volids)
{
    for (size_t i = 0; i < volids->n; i++) {
        struct env_volume v = {0};
        struct err ignored = {0};
        if (env_volume_open(env, volids->v[i], to, &v, &ignored) == 0)
            volume_destroy(v.volume, &ignored);
        env_volume_close(&v);
    }
    strv_release(volids);
}

static struct lock *lock_guest(char *path, struct err *e)
{
    struct lock *l = lock_take(path, true, LOCK_SECONDS, false, e);
    free(path);
    return l;
}

int point_clone(struct env *env, uint32_t guest, const char *name, uint32_t to, struct strv *ret,
                struct err *e)
{
    if (env_guests(env, e) < 0)
        return -1;
    if (to == guest || guests_find(&env->guests, to))
        return err_set(e, ERR_USAGE, 0, "guest '%" PRIu32 "' exists: choose another id", to);
    _cleanup_(lock_freep) struct lock *runs = lock_guest(env_guest_lock_path(env, guest), e);
    _cleanup_(lock_freep) struct lock *agents = runs ? lock_guest(env_agent_lock_path(env, guest), e) : NULL;
    struct points points = {0};
    if (!agents || points_load(env, guest, &points, e) < 0)
        return -1;
    const struct point *p = points_find(&points, name, e);
    int r = p ? 0 : -1;
    for (size_t i = 0; r == 0 && i < p->n; i++)
        r = clone_one(env, guest, &p->v[i], to, ret, e);
    if (r < 0)
        remove_clones(env, to, ret);
    points_release(&points);
    return r;
}
