#include "run/recover/instant.h"

#include "base/clock.h"
#include "base/mem.h"
#include "run/intent.h"
#include "run/snapshot.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

void instants_release(struct instants *i)
{
    for (size_t k = 0; k < i->n; k++) {
        snapshots_release(&i->v[k].snapshots);
        strv_release(&i->v[k].newer);
        strv_release(&i->v[k].newer_as);
        env_volume_close(&i->v[k].v);
    }
    free(i->v);
    *i = (struct instants){0};
}

static bool is_changed(const struct snapshot *s)
{
    return s && s->flags & SNAPSHOT_CHANGED;
}

static int look(struct env *env, const char *volid, uint32_t guest, struct instant_volume *ret, struct err *e)
{
    char owner[32], base[SNAPSHOT_ID_LEN + 1], since[SNAPSHOT_NAME_MAX + 1];
    struct volume_info info;
    if (env_volume_open(env, volid, guest, &ret->v, e) < 0)
        return -1;
    volume_idle(ret->v.volume);
    /* before the snapshots: a plain file whose times changed, but not its bytes, is recognised again */
    int written = volume_replica(ret->v.volume, owner, base, e) < 0 ? -1
                  : *base                                           ? volume_differs(ret->v.volume, base, e)
                                                                    : volume_written(ret->v.volume, since, e);
    if (written < 0 || volume_snapshots(ret->v.volume, &ret->snapshots, e) < 0 ||
        volume_seals(ret->v.volume, &ret->snapshots, true, e) < 0 || volume_info(ret->v.volume, &info, e) < 0)
        return -1;
    ret->one_line = info.one_line;
    ret->shown = *base ? snapshots_find_id(&ret->snapshots, base) : NULL;
    ret->written = written;
    return 0;
}

int instants_look(struct env *env, const struct strv *volids, size_t needed, uint32_t guest,
                  struct instants *ret, struct err *e)
{
    ret->v = xcalloc(volids->n + 1, sizeof *ret->v);
    for (size_t k = 0; k < volids->n; k++) {
        ret->n++; /* the half-opened one is released, too */
        ret->v[k].spare = needed && k >= needed;
        if (look(env, volids->v[k], guest, &ret->v[k], e) < 0)
            return -1;
    }
    return 0;
}

/* With its data, or as what it shows. */
static bool has(const struct instant_volume *v, const char *name)
{
    const struct snapshot *s = snapshots_find(&v->snapshots, name);
    bool has_data = s && s->flags & SNAPSHOT_READABLE && !is_changed(s);
    return s && (has_data || (s == v->shown && !v->written));
}

/* It came later, or is gone, and stays as it is. */
static bool is_left_out(const struct instant_volume *v, const char *name)
{
    return v->spare && !has(v, name);
}

static bool have_all(const struct instants *i, const char *name)
{
    for (size_t k = 0; k < i->n; k++)
        if (!has(&i->v[k], name) && !i->v[k].spare)
            return false;
    return true;
}

static bool shows(const struct instant_volume *v, const char *name)
{
    return !v->written && v->shown && strcmp(v->shown->name, name) == 0;
}

static bool show_all(const struct instants *i, const char *name)
{
    for (size_t k = 0; k < i->n; k++)
        if (!shows(&i->v[k], name) && !is_left_out(&i->v[k], name))
            return false;
    return true;
}

/* Of a name that all of them have, the volume whose snapshot is known to be damaged; NULL: none is. */
static const struct instant_volume *damaged_one(const struct instants *i, const char *name)
{
    const struct instant_volume *found = NULL;
    for (size_t k = 0; k < i->n; k++) {
        const struct snapshot *s = snapshots_find(&i->v[k].snapshots, name);
        if (!s && !i->v[k].spare)
            return NULL;
        if (s && s->damaged && !found)
            found = &i->v[k];
    }
    return found;
}

bool instants_are_one(const struct instants *i)
{
    return !i->n ||
           (i->v[0].shown && show_all(i, i->v[0].shown->name) && !damaged_one(i, i->v[0].shown->name));
}

/* Do all show one restore point, but for what was written to some of them since? */
static bool shown_but_written(const struct instants *i)
{
    for (size_t k = 0; k < i->n; k++)
        if (i->v[k].spare)
            continue;
        else if (!i->v[k].shown || strcmp(i->v[k].shown->name, i->v[0].shown->name) != 0)
            return false;
    return i->n > 0;
}

/* A plain file that was written to is the only one there was. */
static int lost_by_writing(const struct instants *i, uint32_t guest, struct err *e)
{
    _cleanup_buf_ struct buf list = BUF_INIT;
    for (size_t k = 0; k < i->n; k++)
        if (i->v[k].written)
            buf_addf(&list, "%s'%s'", list.len ? ", " : "", i->v[k].v.volid);
    return err_set(
        e, ERR_DATA, 0,
        "guest %" PRIu32 " has no restore point here any more: %s was written to on this node since "
        "restore point '%s' (a test boot, a mount), and this storage keeps no other copy of that. A run "
        "from the guest's node, while that is alive, makes it anew; --as-is starts the guest with "
        "what was written",
        guest, buf_str(&list), i->v[0].shown->name);
}

static int none_in_common(const struct instants *i, uint32_t guest, struct err *e)
{
    _cleanup_buf_ struct buf list = BUF_INIT;
    if (shown_but_written(i))
        return lost_by_writing(i, guest, e);
    for (size_t k = 0; k < i->n; k++)
        buf_addf(&list, "%s'%s' shows %s%s", k ? ", " : "", i->v[k].v.volid,
                 i->v[k].shown ? i->v[k].shown->name : "no restore point",
                 i->v[k].written ? ", written to since" : "");
    return err_set(e, ERR_DATA, 0,
                   "the disks of guest %" PRIu32
                   " are of different instants here, and have no restore point in common "
                   "(%s): see 'pvesr restore-points %" PRIu32 "'; --as-is takes them as they are",
                   guest, buf_str(&list), guest);
}

/* What a run left is the replica, or the restore point that it was made from; if that was changed, and they
 * differ, nobody knows which. */
static int check_known(const struct instants *i, struct err *e)
{
    for (size_t k = 0; k < i->n; k++)
        if (i->v[k].written && is_changed(i->v[k].shown))
            return err_set(e, ERR_DATA, 0,
                           "restore point '%s' of '%s' was changed since it was made, and the replica is "
                           "another: nothing tells which of them is what the last run left. --as-is takes "
                           "the replica as it is",
                           i->v[k].shown->name, i->v[k].v.volid);
    return 0;
}

/* The newest that could be chosen, damaged or not; sound: of which nothing is known. NULL: there is none. */
static const char *newest(const struct instants *i, uint32_t guest, bool sound)
{
    const struct snapshots *first = i->n ? &i->v[0].snapshots : NULL;
    for (size_t k = first ? first->n : 0; k-- > 0;) {
        const char *name = first->v[k].name;
        bool damaged = damaged_one(i, name);
        /* what all show is one, also where an earlier version has begun to keep it aside */
        bool counts = snapshot_is_of_guest(name, guest) || show_all(i, name);
        if (counts && (damaged ? !sound : have_all(i, name)))
            return name;
    }
    return NULL;
}

const char *instants_newest(const struct instants *i, uint32_t guest)
{
    return newest(i, guest, false);
}

static int refuse_damaged(const struct instants *i, const char *name, uint32_t guest, struct err *e)
{
    const struct instant_volume *v = damaged_one(i, name);
    const char *sound = newest(i, guest, true);
    _cleanup_free_ char *what = snapshot_damaged_text(snapshots_find(&v->snapshots, name), v->v.volid);
    _cleanup_free_ char *older = sound
                                     ? xasprintf("--point %s takes the newest one that all disks have and of "
                                                 "which no such thing is known",
                                                 sound)
                                     : xstrdup("the disks have no other one in common");
    return err_set(e, ERR_DATA, 0,
                   "%s. If the guest's node is alive, a run of its job sends it anew; %s; --as-is takes the "
                   "replicas as they are",
                   what, older);
}

static int check_point(const struct instants *i, uint32_t guest, const char *point, struct err *e)
{
    if (snapshot_is_of_guest(point, guest) && have_all(i, point))
        return 0;
    return err_set(e, ERR_GONE, 0,
                   "not every disk of guest %" PRIu32
                   " has a restore point '%s' of a run with its data here: "
                   "see 'pvesr restore-points %" PRIu32 "'",
                   guest, point, guest);
}

static void keep_newer(struct instant_volume *v, const char *from)
{
    char name[SNAPSHOT_NAME_MAX + 1];
    unsigned n = 1;
    do
        aside_name(from, n++, name);
    while (snapshots_find(&v->snapshots, name) || strv_has(&v->newer_as, name));
    strv_add(&v->newer, from);
    strv_add(&v->newer_as, name);
}

/* A person's snapshot stays by itself, by its name; what runs took, here or elsewhere, are restore points. */
static void choose_newer(struct instant_volume *v, uint32_t guest, const char *chosen)
{
    bool goes_back = v->one_line && !is_left_out(v, chosen);
    const struct snapshot *to = goes_back ? snapshots_find(&v->snapshots, chosen) : NULL;
    for (size_t k = 0; to && k < v->snapshots.n; k++) {
        const struct snapshot *s = &v->snapshots.v[k];
        bool is_point = s->flags & SNAPSHOT_RECEIVED || snapshot_is_of_guest(s->name, guest);
        bool goes = s->seq > to->seq && is_point && s->flags & SNAPSHOT_READABLE &&
                    !(s->flags & (SNAPSHOT_STRANGE | SNAPSHOT_APART)) && !snapshot_is_aside(s->name);
        if (goes)
            keep_newer(v, s->name);
    }
}

int instants_choose(struct instants *i, uint32_t guest, const char *point, struct err *e)
{
    const char *name = point ? point : newest(i, guest, false);
    if (name && damaged_one(i, name))
        return refuse_damaged(i, name, guest, e);
    if ((point ? check_point(i, guest, point, e) : check_known(i, e)) < 0)
        return -1;
    if (!name)
        return i->n ? none_in_common(i, guest, e) : 0;
    strcpy(i->chosen, name);
    i->named = point;
    if (show_all(i, i->chosen))
        return 0;
    for (size_t k = 0; k < i->n; k++)
        choose_newer(&i->v[k], guest, i->chosen);
    return 1;
}

static void tell_newer(const struct instant_volume *v, uint32_t guest, struct buf *out)
{
    for (size_t k = 0; k < v->newer.n; k++)
        buf_addf(out,
                 "note: %s: restore point %s is newer, and is kept aside as %s: 'pvesr clone %" PRIu32
                 " %s NEWID' makes a guest of it\n",
                 v->v.volid, v->newer.v[k], v->newer_as.v[k], guest, v->newer_as.v[k]);
}

static void tell(const struct instants *i, const struct instant_volume *v, struct buf *out)
{
    const struct snapshot *to = snapshots_find(&v->snapshots, i->chosen);
    const char *from = v->shown ? v->shown->name : "what it is";
    if (is_left_out(v, i->chosen))
        buf_addf(out, "note: %s has no restore point %s, and stays as it is: the guest starts without it\n",
                 v->v.volid, i->chosen);
    else if (v->written)
        buf_addf(out,
                 "%s: was written to here since %s; what no snapshot has of that is kept aside, and it shows "
                 "%s\n",
                 v->v.volid, from, i->chosen);
    else if (v->shown != to)
        buf_addf(out, "%s: goes %s from %s to %s, %s\n", v->v.volid,
                 v->shown && v->shown->seq > to->seq ? "back" : "on", from, i->chosen,
                 i->named ? "as --point says" : "the newest that all disks have");
}

void instants_tell(const struct instants *i, uint32_t guest, struct buf *out)
{
    for (size_t k = 0; k < i->n; k++) {
        tell(i, &i->v[k], out);
        tell_newer(&i->v[k], guest, out);
    }
}

void instants_tell_written(const struct instants *i, struct buf *out)
{
    for (size_t k = 0; k < i->n; k++)
        if (i->v[k].written)
            buf_addf(
                out,
                "note: %s was written to on this node since %s, by the guest or by who tested it, and stays "
                "as it is\n",
                i->v[k].v.volid, i->v[k].shown ? i->v[k].shown->name : "it came here");
}

int instants_show(struct env *env, struct instants *i, uint32_t guest, struct err *e)
{
    _cleanup_intent_ struct intent intent = {.guest = guest, .v = xcalloc(i->n + 1, sizeof *intent.v)};
    _cleanup_free_ struct volume **volumes = xcalloc(i->n + 1, sizeof(struct volume *));
    for (size_t k = 0; k < i->n; k++) {
        if (is_left_out(&i->v[k], i->chosen))
            continue;
        struct intent_volume *v = &intent.v[intent.n];
        v->volid = xstrdup(i->v[k].v.volid);
        strcpy(v->id, snapshots_find(&i->v[k].snapshots, i->chosen)->id);
        snprintf(v->aside, sizeof v->aside, ASIDE_PREFIX "failover_%" PRIu32 "_%" PRId64, guest,
                 clock_epoch());
        v->anew = true;
        v->points = i->v[k].newer;
        v->points_as = i->v[k].newer_as;
        i->v[k].newer = i->v[k].newer_as = (struct strv)STRV_INIT;
        volumes[intent.n++] = i->v[k].v.volume;
    }
    return intent_carry_out(env, &intent, volumes, NULL, e);
}
