/* The zfspool driver: receiving, commit. See zfs.h. */
#include "volume/zfs/zfs.h"

#include "base/debug.h"
#include "base/mem.h"
#include "volume/mark.h"
#include "volume/name.h"
#include "volume/stream/streamproc.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static bool starts(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

static bool is_filesystem(const struct zfs *z)
{
    return starts(z->name, "subvol-") || starts(z->name, "basevol-");
}

/* ---- what a stage is ---- */

struct stage_mark {
    char snapshot[SNAPSHOT_NAME_MAX + 1], id[SNAPSHOT_ID_LEN + 1], base_id[SNAPSHOT_ID_LEN + 1], owner[32];
};

static void mark_of(const struct stage_want *want, struct stage_mark *m)
{
    snprintf(m->snapshot, sizeof m->snapshot, "%s", want->snapshot);
    snprintf(m->id, sizeof m->id, "%s", want->id);
    snprintf(m->base_id, sizeof m->base_id, "%s", want->base_id ? want->base_id : "");
    snprintf(m->owner, sizeof m->owner, "%s", want->owner ? want->owner : "");
}

static char *mark_text(const struct stage_mark *m)
{
    return xasprintf("pvesr:stage=1 %s %s %s %s", m->snapshot, m->id, m->base_id[0] ? m->base_id : "-",
                     m->owner[0] ? m->owner : "-");
}

/* Who made it, and which restore point it will show. */
static char *owner_text(const struct stage_mark *m)
{
    return xasprintf("pvesr:owner=%s", m->owner[0] ? m->owner : "-");
}

static char *at_text(const struct zfs *z)
{
    return xasprintf("pvesr:at=%s", z->live);
}

static char *base_text(const char *id)
{
    return xasprintf("pvesr:base=%s", id);
}

static char *whole_text(const char *id, bool doubtful)
{
    return xasprintf("pvesr:whole=%s", doubtful ? "-" : id);
}

static bool take(char *to, size_t room, const char *from)
{
    if (strcmp(from, "-") == 0)
        from = "";
    size_t n = strlen(from);
    if (n >= room)
        return false;
    memcpy(to, from, n + 1);
    return true;
}

static bool mark_parse(const char *text, struct stage_mark *m)
{
    _cleanup_strv_ struct strv f = STRV_INIT;
    strv_split(&f, text, " ");
    return f.n == 5 && strcmp(f.v[0], "1") == 0 && take(m->snapshot, sizeof m->snapshot, f.v[1]) &&
           take(m->id, sizeof m->id, f.v[2]) && take(m->base_id, sizeof m->base_id, f.v[3]) &&
           take(m->owner, sizeof m->owner, f.v[4]) && snapshot_name_valid(m->snapshot) &&
           snapshot_id_valid(m->id) && (!m->base_id[0] || snapshot_id_valid(m->base_id)) &&
           owner_name_valid(m->owner);
}

/* The stage's snapshot with this id, NULL for none. */
static const struct zfs_snapshot *staged(const struct zfs_view *w, const char *id)
{
    return zfs_find_on(w, w->stage.name, id);
}

int zfs_stage_info(struct volume *v, struct stage_info *ret, struct err *e)
{
    _cleanup_view_ struct zfs_view w = {0};
    struct stage_mark m;
    *ret = (struct stage_info){0};
    if (zfs_view(zfs_of(v), &w, e) < 0)
        return -1;
    if (w.stage.name[0] && mark_parse(w.stage.stage, &m)) {
        ret->sealed = staged(&w, m.id);
        ret->exists = ret->sealed ? strcmp(w.stage.point, m.id) != 0 || zfs_beside(&w) : w.stage.token[0];
        ret->doubtful = w.stage.doubtful;
    }
    ret->scrap = w.stage.name[0] && !ret->exists && !ret->sealed && !w.stage.point[0];
    if (!ret->exists)
        return 0;
    if (!ret->sealed)
        memcpy(ret->token, w.stage.token, sizeof ret->token);
    memcpy(ret->snapshot, m.snapshot, sizeof ret->snapshot);
    memcpy(ret->id, m.id, sizeof ret->id);
    memcpy(ret->base_id, m.base_id, sizeof ret->base_id);
    return 0;
}

int zfs_stage_discard(struct volume *v, struct err *e)
{
    struct zfs *z = zfs_of(v);
    _cleanup_view_ struct zfs_view w = {0};
    if (zfs_tidy(v, e) < 0 || zfs_view(z, &w, e) < 0)
        return -1;
    z->bare_stage = false;
    return zfs_clear_stage(z, &w, e);
}

/* ---- receiving ---- */

/* What to receive into. */
enum stage_use {
    STAGE_NEW,
    STAGE_UPON, /* what is there: the base was received there and counts already */
    STAGE_ON,   /* what is there was partly received, and goes on */
    STAGE_WHOLE /* nothing, it is all there */
};

struct zfs_stage {
    struct streamproc proc; /* once the beginning is complete */
    struct stage_mark mark;
    enum stage_use use;
    bool anew;
    char header[ZFS_HEADER_MAX];
    size_t got; /* of the header */
    bool begun; /* the header is complete */
    unsigned char first[ZFSRECORD_SIZE];
    size_t got_first;
};

static bool same_mark(const struct stage_mark *a, const struct stage_mark *b)
{
    return strcmp(a->snapshot, b->snapshot) == 0 && strcmp(a->id, b->id) == 0 &&
           strcmp(a->base_id, b->base_id) == 0 && strcmp(a->owner, b->owner) == 0;
}

static enum stage_use stage_use(const struct zfs_view *w, const struct stage_mark *want, bool resume,
                                bool anew)
{
    struct stage_mark found;
    if (!w->stage.name[0] || !mark_parse(w->stage.stage, &found) ||
        (w->live.name[0] && zfs_beside(w) != anew))
        return STAGE_NEW;
    if (resume && same_mark(&found, want)) {
        if (staged(w, want->id))
            return STAGE_WHOLE;
        if (w->stage.token[0])
            return STAGE_ON;
    }
    const struct zfs_snapshot *newest = zfs_newest(w, w->stage.name);
    return newest && want->base_id[0] && strcmp(newest->s.id, want->base_id) == 0 ? STAGE_UPON : STAGE_NEW;
}

/* What is to be made of this stream upon something. */
static char *whole_after(const struct zfs_stage *x, bool upon_doubtful)
{
    return whole_text(x->mark.id, upon_doubtful || zfs_begin_embeds(x->first));
}

/* -o origin is what makes a new dataset of an incremental stream. What a container's filesystem must not
 * bring along is where it is mounted and shared. */
static int receive_into_new(struct strv *argv, struct zfs *z, const struct zfs_stage *x,
                            const char *properties, struct err *e)
{
    _cleanup_view_ struct zfs_view w = {0};
    _cleanup_free_ char *mark = mark_text(&x->mark);
    _cleanup_free_ char *owner = owner_text(&x->mark);
    _cleanup_free_ char *base_id = base_text(x->mark.id);
    _cleanup_free_ char *at = at_text(z);
    strv_adds(argv, "-o", mark, "-o", owner, "-o", at, "-o", base_id, "-o", properties, "-x", "pvesr:point",
              NULL);
    if (is_filesystem(z))
        strv_adds(argv, "-o", "canmount=noauto", "-x", "mountpoint", "-x", "sharenfs", "-x", "sharesmb",
                  NULL);
    if (zfs_view(z, &w, e) < 0)
        return -1;
    bool full = !x->mark.base_id[0];
    const struct zfs_snapshot *base = full ? NULL : zfs_find_id(&w, x->mark.base_id);
    if (!full && (!base || base->is_bookmark ||
                  (!base->of_origin && (x->anew || strcmp(base->dataset, w.live.name) != 0))))
        return err_set(e, ERR_DATA, 0,
                       "the base snapshot with id %s is not there: the next run looks for another",
                       x->mark.base_id);
    _cleanup_free_ char *whole = whole_after(x, base && base->s.flags & SNAPSHOT_DOUBTFUL);
    strv_adds(argv, "-o", whole, NULL);
    if (base)
        strv_add(argv, "-o");
    if (base)
        strv_addf(argv, "origin=%s@%s", base->dataset, base->s.name);
    return 0;
}

/* The mark first: a receive that is cut leaves no other. What the stage holds may have outgrown its quota. */
static int prepare_upon(struct zfs *z, const struct zfs_stage *x, const char *properties, struct err *e)
{
    _cleanup_view_ struct zfs_view w = {0};
    if (zfs_view(z, &w, e) < 0 ||
        (w.stage.partial && zfs_change(z, e, "receive", "-A", "--", z->stage, NULL) < 0))
        return -1;
    _cleanup_free_ char *mark = mark_text(&x->mark);
    _cleanup_free_ char *owner = owner_text(&x->mark);
    _cleanup_free_ char *base_id = base_text(x->mark.id);
    _cleanup_free_ char *whole = whole_after(x, w.stage.doubtful);
    _cleanup_free_ char *at = at_text(z);
    return w.stage.volume ? zfs_change(z, e, "set", mark, owner, at, base_id, whole, z->stage, NULL)
                          : zfs_change(z, e, "set", mark, owner, at, base_id, whole, properties,
                                       "refquota=none", z->stage, NULL);
}

static int prepare_on(struct zfs *z, const struct zfs_stage *x, const char *properties, struct err *e)
{
    _cleanup_view_ struct zfs_view w = {0};
    if (zfs_view(z, &w, e) < 0)
        return -1;
    _cleanup_free_ char *whole = whole_after(x, w.stage.doubtful);
    return zfs_change(z, e, "set", whole, properties, z->stage, NULL);
}

/* With the header, before the first byte of the stream. */
static int start_receive(struct zfs *z, struct zfs_stage *x, struct err *e)
{
    _cleanup_strv_ struct strv argv = STRV_INIT;
    _cleanup_free_ char *properties = xasprintf("pvesr:properties=%s", x->header + strlen(ZFS_HEADER));
    bool resumes;
    if (zfs_pool_resumes(z, &resumes, e) < 0)
        return -1;
    strv_adds(&argv, "zfs", "receive", "-u", resumes ? "-s" : NULL, NULL);
    if ((x->use == STAGE_NEW && receive_into_new(&argv, z, x, properties, e) < 0) ||
        (x->use == STAGE_UPON && prepare_upon(z, x, properties, e) < 0) ||
        (x->use == STAGE_ON && prepare_on(z, x, properties, e) < 0))
        return -1;
    strv_adds(&argv, "--", z->stage, NULL);
    debug_command(argv.v);
    zfs_forget(z);
    zfs_names_forget();
    zfs_expect(z, &argv);
    z->bare_stage = z->bare_stage || x->use == STAGE_NEW;
    return streamproc_start(&x->proc, argv.v, false, z->volume->store.context, e);
}

int zfs_stage_open(struct stage *s, const struct stage_want *want, uint64_t *offset, struct err *e)
{
    _cleanup_view_ struct zfs_view w = {0};
    struct zfs_stage *x = xcalloc(1, sizeof *x);
    s->priv = x;
    s->stream = true;
    x->proc = (struct streamproc)STREAMPROC_INIT;
    mark_of(want, &x->mark);
    *offset = 0;
    int r = zfs_tidy(s->volume, e) < 0 || zfs_view(zfs_of(s->volume), &w, e) < 0 ? -1 : 0;
    x->anew = want->anew;
    x->use = r == 0 ? stage_use(&w, &x->mark, want->resume, want->anew) : STAGE_NEW;
    s->sealed = x->use == STAGE_WHOLE;
    if (r == 0 && x->use == STAGE_NEW && w.stage.name[0])
        volume_removed(s->volume, "an unfinished copy that the next one cannot go on from");
    if (r == 0 && x->use == STAGE_NEW)
        r = zfs_stage_discard(s->volume, e);
    if (r < 0)
        zfs_stage_close(s);
    return r;
}

/* Take the header's line; returns how much of the data it was. */
static ssize_t take_header(struct zfs_stage *x, const char *data, size_t n, struct err *e)
{
    size_t used = 0;
    while (!x->begun && used < n && x->got < sizeof x->header - 1) {
        x->header[x->got++] = data[used++];
        x->begun = x->header[x->got - 1] == '\n';
    }
    if (!x->begun && used == n && x->got < sizeof x->header - 1)
        return (ssize_t)used;
    x->header[x->got - 1] = 0;
    if (x->begun && starts(x->header, ZFS_HEADER) && zfs_properties_valid(x->header + strlen(ZFS_HEADER)))
        return (ssize_t)used;
    return err_set(e, ERR_DATA, 0, "the stream is not one of a ZFS storage of ours");
}

/* What zfs did not take after a resume, it would not take the next time. */
static int refused(struct stage *s, struct err *e)
{
    zfs_forget(zfs_of(s->volume));
    zfs_explain(zfs_of(s->volume)->live, e);
    const struct zfs_stage *x = s->priv;
    struct err ignored;
    if (x->use == STAGE_ON && e->kind != ERR_FULL)
        zfs_stage_discard(s->volume, &ignored);
    return -1;
}

/* The header's line and the stream's first record say what comes, and are checked before anything is changed.
 * Returns how much of the data they were. */
static ssize_t take_beginning(struct zfs *z, struct zfs_stage *x, const char *data, size_t n, struct err *e)
{
    ssize_t header = x->begun ? 0 : take_header(x, data, n, e);
    if (header < 0 || !x->begun)
        return header;
    size_t used = (size_t)header, part = n - used, room = sizeof x->first - x->got_first;
    if (part > room)
        part = room;
    memcpy(x->first + x->got_first, data + used, part);
    x->got_first += part;
    if (x->got_first == sizeof x->first &&
        (zfs_begin_check(x->first, !is_filesystem(z), x->mark.snapshot, x->mark.id, x->mark.base_id, e) < 0 ||
         start_receive(z, x, e) < 0))
        return -1;
    return (ssize_t)(used + part);
}

int zfs_stage_feed(struct stage *s, const void *data, size_t n, struct err *e)
{
    struct zfs_stage *x = s->priv;
    bool running = x->got_first == sizeof x->first;
    ssize_t used = running ? 0 : take_beginning(zfs_of(s->volume), x, data, n, e);
    if (used < 0)
        return -1;
    if (x->got_first < sizeof x->first)
        return 0;
    if ((!running && streamproc_write(&x->proc, x->first, sizeof x->first, e) < 0) ||
        streamproc_write(&x->proc, (const char *)data + used, n - (size_t)used, e) < 0)
        return refused(s, e);
    return 0;
}

/* A commit would find out too late, when others of the guest's volumes show theirs. */
static int seal_filesystem(struct zfs *z, struct err *e)
{
    _cleanup_view_ struct zfs_view w = {0};
    return zfs_view(z, &w, e) < 0 ? -1 : zfs_properties_apply(z, &w.stage, e);
}

/* zfs receive returns when the snapshot is on the disk. Which one it is, its stream's beginning said. */
int zfs_stage_seal(struct stage *s, struct err *e)
{
    struct zfs_stage *x = s->priv;
    struct zfs *z = zfs_of(s->volume);
    if (s->sealed)
        return 0;
    if (x->got_first < sizeof x->first)
        return err_set(e, ERR_DATA, 0, "the stream ends before it has begun");
    zfs_forget(z);
    if (streamproc_end(&x->proc, e) < 0)
        return refused(s, e);
    zfs_received(z);
    return is_filesystem(z) ? seal_filesystem(z, e) : 0;
}

void zfs_stage_close(struct stage *s)
{
    struct zfs_stage *x = s->priv;
    if (!x)
        return;
    if (x->proc.proc.pid)
        zfs_forget(zfs_of(s->volume));
    streamproc_stop(&x->proc);
    free(x);
    s->priv = NULL;
}

/* ---- commit ---- */

/* Bring the live volume in line with a snapshot of its own, or of what it stands on: a clone of that is the
 * stage. 1: it is in line. */
static int stage_own(struct zfs *z, const struct zfs_view *w, const struct zfs_snapshot *x, struct err *e)
{
    const struct zfs_snapshot *newest = zfs_newest(w, w->live.name);
    _cleanup_free_ char *from = xasprintf("%s@%s", x->dataset, x->s.name);
    bool in_line = (newest ? newest == x : strcmp(w->live.origin, from) == 0) && w->live.written == 0;
    if ((!in_line || zfs_has_aside(w, w->stage.name)) && zfs_clear_stage(z, w, e) < 0)
        return -1;
    if (in_line)
        return 1;
    struct stage_mark m = {0};
    memcpy(m.snapshot, x->s.name, sizeof m.snapshot);
    memcpy(m.id, x->s.id, sizeof m.id);
    memcpy(m.base_id, x->s.id, sizeof m.base_id);
    memcpy(m.owner, w->live.owner, sizeof m.owner);
    _cleanup_free_ char *mark = mark_text(&m);
    _cleanup_free_ char *properties = xasprintf("pvesr:properties=%s", w->live.properties);
    _cleanup_free_ char *whole = whole_text(m.id, w->live.doubtful);
    return w->live.volume ? zfs_change(z, e, "clone", "-o", mark, "-o", whole, "--", from, z->stage, NULL)
                          : zfs_change(z, e, "clone", "-o", mark, "-o", whole, "-o", properties, "-o",
                                       "canmount=noauto", "--", from, z->stage, NULL);
}

static int set_marks(struct zfs *z, const struct zfs_view *w, const char *id, struct err *e)
{
    struct stage_mark m;
    if (!mark_parse(w->stage.stage, &m))
        return err_set(e, ERR_DATA, 0,
                       "'%s' has lost the property that says which volume and restore point it is of: "
                       "destroy it, and the next run begins anew",
                       z->stage);
    for (size_t i = 0; i < w->n; i++) {
        const struct zfs_snapshot *x = &w->snapshots[i];
        if (strcmp(x->dataset, w->stage.name) == 0 && !x->is_bookmark &&
            !(x->s.flags & (SNAPSHOT_RECEIVED | SNAPSHOT_STRANGE)) && zfs_mark_received(z, x, e) < 0)
            return -1;
    }
    if (zfs_properties_apply(z, &w->stage, e) < 0)
        return -1;
    if (strcmp(w->stage.owner, m.owner) == 0 && strcmp(w->stage.base, id) == 0 && w->stage.bound)
        return 0;
    _cleanup_free_ char *owner = owner_text(&m);
    _cleanup_free_ char *at = at_text(z);
    _cleanup_free_ char *base = base_text(id);
    return zfs_change(z, e, "set", owner, at, base, z->stage, NULL);
}

static int switch_live(struct volume *v, const char *id, struct err *e)
{
    struct zfs *z = zfs_of(v);
    _cleanup_view_ struct zfs_view w = {0};
    if (zfs_check_unused(z, e) < 0 || zfs_view(z, &w, e) < 0 || set_marks(z, &w, id, e) < 0)
        return -1;
    bool live = w.live.name[0], promote = live && zfs_stands_on(w.stage.origin, w.live.name);
    if ((promote && zfs_change(z, e, "promote", z->stage, NULL) < 0) ||
        (live && zfs_change(z, e, "rename", "--", z->live, z->old, NULL) < 0) ||
        zfs_change(z, e, "rename", "--", z->stage, z->live, NULL) < 0)
        return -1;
    z->bare_live = z->bare_stage;
    z->bare_stage = false;
    return live ? zfs_tidy(v, e) : 0;
}

/* The stage's newest snapshot. */
static int mark_received(struct zfs *z, const struct zfs_view *w, const struct zfs_snapshot *x, struct err *e)
{
    _cleanup_strv_ struct strv argv = STRV_INIT;
    _cleanup_free_ char *quota = w->stage.volume ? NULL : zfs_properties_of_snapshot(w->stage.wanted);
    _cleanup_free_ char *name = zfs_name_text(z->name, x->s.name, NULL);
    strv_adds(&argv, "zfs", "set", "pvesr:received=1", name, NULL);
    if (quota && zfs_properties_valid(quota))
        strv_add(&argv, quota);
    strv_addf(&argv, "%s@%s", x->dataset, x->s.name);
    zfs_forget(z);
    return zfs_change_all(z, &argv, e);
}

int zfs_commit(struct volume *v, const char *id, enum commit_how how, struct err *e)
{
    struct zfs *z = zfs_of(v);
    _cleanup_view_ struct zfs_view w = {0};
    if (zfs_tidy(v, e) < 0 || zfs_view(z, &w, e) < 0 || zfs_check_below(&w, z->live, e) < 0 ||
        zfs_check_below(&w, z->stage, e) < 0)
        return -1;
    const struct zfs_snapshot *x = staged(&w, id);
    bool on_live = !x;
    if (!x)
        x = zfs_find_id(&w, id);
    if (!x || (on_live && (x->is_bookmark || !(x->of_origin || strcmp(x->dataset, w.live.name) == 0))))
        return err_set(
            e, ERR_GONE, 0,
            "what was received of restore point %s is not here, or not whole: the next run sends it again",
            id);
    if (how == COMMIT_POINT) {
        _cleanup_free_ char *point = xasprintf("pvesr:point=%s", id);
        return on_live                          ? 0
               : mark_received(z, &w, x, e) < 0 ? -1
                                                : zfs_change(z, e, "set", point, z->stage, NULL);
    }
    if (on_live) {
        int r = stage_own(z, &w, x, e);
        if (r != 0)
            return r < 0 ? -1 : 0;
    }
    return switch_live(v, id, e);
}
