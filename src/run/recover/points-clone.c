/* A copy of a restore point as the disks of a new guest: made the way a replica is made, but on this node. */
#include "run/recover/points.h"

#include "base/lock.h"
#include "base/mem.h"
#include "volume/mark.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define LOCK_SECONDS 10

struct copy {
    char *volid; /* of the new guest; NULL: not begun */
    char snapshot[SNAPSHOT_NAME_MAX + 1], id[SNAPSHOT_ID_LEN + 1];
    bool stream, shown;
};

struct clone {
    struct env *env;
    uint32_t from, to;
    struct lock *locks[4]; /* of both guests: nobody else makes or removes anything of theirs */
    struct points points;
    const struct point *point;
    struct copy *copies; /* of the point's volumes, in their order */
    struct strv *doubts;
};

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

static int copy_volume(struct volume *from, const struct snapshot *what, struct volume *to, struct copy *ret,
                       struct err *e)
{
    struct stage_want want = {
        .snapshot = ret->snapshot, .id = ret->id, .created = what->created, .size = what->size, .owner = ""};
    struct volume_info info, there;
    if (volume_info(from, &info, e) < 0 || volume_info(to, &there, e) < 0)
        return -1;
    ret->stream = info.stream;
    if (info.stream) { /* a stream says whose it is */
        strcpy(ret->snapshot, what->name);
        strcpy(ret->id, what->id);
    } else {
        strcpy(ret->snapshot, CLONE_SNAPSHOT);
        mark_new_id(ret->id);
    }
    if (info.encrypted && !there.encrypts)
        volume_send_as(from, VOLUME_RAW);
    volume_send_large(from, true);
    return copy_snapshot(from, what, info.stream, to, &want, e);
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

static int open_pair(const struct clone *c, const struct point_volume *p, struct env_volume *from,
                     struct env_volume *to, struct err *e)
{
    _cleanup_free_ char *volid = renumbered(p->volid, c->from, c->to);
    if (!volid)
        return err_set(e, ERR_CONFIG, 0, "'%s' is not an image of guest %" PRIu32, p->volid, c->from);
    if (!(p->snapshot.flags & SNAPSHOT_READABLE) && p->snapshot.flags & SNAPSHOT_CHANGED)
        return err_set(
            e, ERR_DATA, 0,
            "restore point '%s' of '%s' is writable now, so it may be another a moment later: make "
            "it read-only first",
            p->snapshot.name, p->volid);
    if (!(p->snapshot.flags & SNAPSHOT_READABLE))
        return err_set(e, ERR_DATA, 0,
                       "restore point '%s' of '%s' has no data of its own: its storage keeps only the live "
                       "volume, and that is another state",
                       p->snapshot.name, p->volid);
    return env_volume_open(c->env, p->volid, c->from, from, e) < 0 ||
                   env_volume_open(c->env, volid, c->to, to, e) < 0
               ? -1
               : 0;
}

static int check_one(struct clone *c, const struct point_volume *p, struct err *e)
{
    struct env_volume from = {0}, to = {0};
    int r = open_pair(c, p, &from, &to, e) < 0 ? -1 : check_free(to.volume, to.volid, e);
    env_volume_close(&from);
    env_volume_close(&to);
    return r < 0 ? err_wrap(e, "cannot copy '%s'", p->volid) : 0;
}

static int copy_one(struct clone *c, size_t i, struct err *e)
{
    const struct point_volume *p = &c->point->v[i];
    struct env_volume from = {0}, to = {0};
    int r = open_pair(c, p, &from, &to, e);
    if (r == 0) {
        c->copies[i].volid = xstrdup(to.volid);
        r = copy_volume(from.volume, &p->snapshot, to.volume, &c->copies[i], e);
    }
    env_volume_close(&from);
    env_volume_close(&to);
    return r < 0 ? err_wrap(e, "cannot copy '%s'", p->volid) : 0;
}

static int show(struct volume *v, struct copy *x, struct err *e)
{
    x->shown = volume_commit(v, x->id, COMMIT_FIRST, e) >= 0;
    return x->shown ? 0 : -1;
}

static int end(struct volume *v, struct copy *x, struct err *e)
{
    return volume_snapshot_destroy(v, x->snapshot, x->id, e) < 0 ? -1 : 0;
}

/* What it did not show is a stage, or a snapshot beside it. An id of another's may be somebody's snapshot
 * there. What cannot be taken back keeps nobody from the others. */
static int take_back(struct volume *v, struct copy *x, struct err *e)
{
    if (x->shown) {
        volume_destroy(v, e);
        return 0;
    }
    if (!x->stream)
        volume_snapshot_destroy(v, x->snapshot, x->id, e);
    stage_discard(v, e);
    return 0;
}

static int with_each(struct clone *c, int (*step)(struct volume *v, struct copy *x, struct err *e),
                     struct err *e)
{
    int r = 0;
    for (size_t i = 0; i < c->point->n && r == 0 && c->copies[i].volid; i++) {
        struct env_volume v = {0};
        r = env_volume_open(c->env, c->copies[i].volid, c->to, &v, e) < 0 ? -1
                                                                          : step(v.volume, &c->copies[i], e);
        env_volume_close(&v);
        if (r < 0)
            err_wrap(e, "cannot copy '%s'", c->point->v[i].volid);
    }
    return r;
}

/* All are copied before the first is shown: who is killed meanwhile leaves nothing that looks like a disk. */
static int copy_all(struct clone *c, struct err *e)
{
    for (size_t i = 0; i < c->point->n; i++)
        if (copy_one(c, i, e) < 0)
            return -1;
    return with_each(c, show, e) < 0 || with_each(c, end, e) < 0 ? -1 : 0;
}

static int lock_both(struct clone *c, struct err *e)
{
    char *paths[] = {env_guest_lock_path(c->env, c->from), env_agent_lock_path(c->env, c->from),
                     env_guest_lock_path(c->env, c->to), env_agent_lock_path(c->env, c->to)};
    int r = 0;
    for (size_t i = 0; i < ELEMENTS(paths); i++) {
        c->locks[i] = r < 0 ? NULL : lock_take(paths[i], true, LOCK_SECONDS, false, e);
        r = c->locks[i] ? 0 : -1;
        free(paths[i]);
    }
    env_hold(c->env, c->locks[ELEMENTS(paths) - 1]);
    return r;
}

static int clone(struct clone *c, const char *name, struct err *e)
{
    if (lock_both(c, e) < 0 || env_guests_again(c->env, e) < 0)
        return -1;
    if (c->to == c->from || guests_find(&c->env->guests, c->to))
        return err_set(e, ERR_USAGE, 0, "guest '%" PRIu32 "' exists: choose another id", c->to);
    if (points_load(c->env, c->from, &c->points, e) < 0 || !(c->point = points_find(&c->points, name, e)))
        return -1;
    point_doubts(&c->points, c->point, c->doubts);
    for (size_t i = 0; i < c->point->n; i++)
        if (check_one(c, &c->point->v[i], e) < 0)
            return -1;
    c->copies = xcalloc(c->point->n + 1, sizeof *c->copies);
    return copy_all(c, e);
}

int point_clone(struct env *env, uint32_t guest, const char *name, uint32_t to, struct strv *ret,
                struct strv *doubts, struct err *e)
{
    struct clone c = {.env = env, .from = guest, .to = to, .doubts = doubts};
    struct err ignored = {0};
    int r = clone(&c, name, e);
    if (r < 0 && c.copies)
        with_each(&c, take_back, &ignored);
    for (size_t i = 0; c.copies && i < c.point->n; i++) {
        if (r == 0)
            strv_add(ret, c.copies[i].volid);
        free(c.copies[i].volid);
    }
    free(c.copies);
    points_release(&c.points);
    env_hold(env, NULL);
    for (size_t i = ELEMENTS(c.locks); i-- > 0;)
        lock_free(c.locks[i]);
    return r;
}
