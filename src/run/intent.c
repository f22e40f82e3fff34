#include "run/intent.h"

#include "base/mem.h"

#include <inttypes.h>
#include <string.h>

/* ---- looking ---- */

/* What a volume shows: the id of its restore point, "" when it shows none. */
static int look_shown(struct volume *v, char shown[SNAPSHOT_ID_LEN + 1], struct err *e)
{
    char owner[32];
    return volume_replica(v, owner, shown, e);
}

static int look_before(struct intent *i, struct volume *const volumes[], struct err *e)
{
    for (size_t k = 0; k < i->n; k++) {
        char traits[VOLUME_TRAITS_MAX + 1];
        if (look_shown(volumes[k], i->v[k].was, e) < 0 ||
            (!i->v[k].traits && volume_traits(volumes[k], traits, e) < 0))
            return -1;
        if (!i->v[k].traits)
            i->v[k].traits = xstrdup(traits);
    }
    return 0;
}

static int check_complete(const struct intent_volume *v, struct volume *volume, struct err *e)
{
    struct stage_info stage;
    _cleanup_snapshots_ struct snapshots all = {0};
    if (stage_info(volume, &stage, e) < 0 || volume_snapshots(volume, &all, e) < 0)
        return -1;
    if ((stage.sealed && strcmp(stage.id, v->id) == 0) || snapshots_find_id(&all, v->id))
        return 0;
    return err_set(e, ERR_GONE, 0, "volume '%s' has not restore point %s, nor all that was sent of it",
                   v->volid, v->id);
}

static int check_points(const struct intent_volume *v, struct volume *volume, struct err *e)
{
    _cleanup_snapshots_ struct snapshots all = {0};
    if (v->points.n && volume_snapshots(volume, &all, e) < 0)
        return -1;
    for (size_t i = 0; i < v->points.n; i++) {
        if (!snapshots_find(&all, v->points.v[i]))
            return err_set(e, ERR_GONE, 0, "volume '%s' has no snapshot '%s'", v->volid, v->points.v[i]);
        if (snapshots_find(&all, v->points_as.v[i]))
            return err_set(e, ERR_USAGE, 0, "volume '%s' has a snapshot '%s' already", v->volid,
                           v->points_as.v[i]);
    }
    return 0;
}

/* ---- the steps ---- */

/* Those that have the name still; of a bookmark that is kept aside nothing is left. One that is no part of
 * the volume any more keeps the name by which it is found. */
static int rename_points(const struct intent_volume *v, struct volume *volume, const struct strv *from,
                         const struct strv *to, struct err *e)
{
    _cleanup_snapshots_ struct snapshots all = {0};
    if (from->n && volume_snapshots(volume, &all, e) < 0)
        return err_wrap(e, "volume '%s'", v->volid);
    for (size_t i = 0; i < from->n; i++) {
        const struct snapshot *s = snapshots_find(&all, from->v[i]);
        if (s && !(s->flags & SNAPSHOT_APART) && !snapshots_find(&all, to->v[i]) &&
            volume_snapshot_rename(volume, from->v[i], to->v[i], e) < 0)
            return -1;
    }
    return 0;
}

static int keep_points(const struct intent_volume *v, struct volume *volume, struct err *e)
{
    return rename_points(v, volume, &v->points, &v->points_as, e);
}

static int take_points_back(const struct intent_volume *v, struct volume *volume, struct err *e)
{
    return rename_points(v, volume, &v->points_as, &v->points, e);
}

/* It may have a name for that already, of a commit that was cut before anybody was told, and a plain file
 * gets no second one: v->aside becomes the name that there is. */
static int find_aside(struct intent_volume *v, struct volume *volume, struct err *e)
{
    _cleanup_snapshots_ struct snapshots all = {0};
    int r = volume_snapshots(volume, &all, e) < 0 ? -1 : snapshots_find(&all, v->aside) ? 0 : 1;
    for (size_t i = 0; r > 0 && i < all.n; i++)
        if (snapshot_is_aside(all.v[i].name) && (r = volume_differs(volume, all.v[i].id, e)) == 0)
            strcpy(v->aside, all.v[i].name);
    return r < 0 ? -1 : 0;
}

static int keep_written(struct intent_volume *v, struct volume *volume, const struct intent_watch *watch,
                        struct err *e)
{
    struct volume_info info;
    char shown[SNAPSHOT_ID_LEN + 1], since[SNAPSHOT_NAME_MAX + 1] = "";
    if (volume_info(volume, &info, e) < 0 || look_shown(volume, shown, e) < 0)
        return -1;
    bool ask = info.exists && !(info.strict && !v->anew && strcmp(shown, v->id) == 0);
    int written = ask ? volume_written(volume, since, e) : 0;
    bool keep = written || (v->keep_live && info.exists);
    if (written < 0 || (keep && (volume_keep_aside(volume, v->aside, e) < 0 || find_aside(v, volume, e) < 0)))
        return -1;
    if (keep && watch && watch->kept)
        watch->kept(v, since, watch->arg);
    return 0;
}

/* A volume that did not change has its old restore point under a new name. */
static int name_point(const struct intent_volume *v, struct volume *volume, struct err *e)
{
    _cleanup_snapshots_ struct snapshots all = {0};
    if (volume_snapshots(volume, &all, e) < 0)
        return -1;
    const struct snapshot *s = snapshots_find_id(&all, v->id);
    if (!s)
        return err_set(e, ERR_GONE, 0,
                       "restore point %s of volume '%s' was removed meanwhile: the next run sends a new one",
                       v->id, v->volid);
    return v->as[0] && strcmp(s->name, v->as) != 0 ? volume_snapshot_rename(volume, s->name, v->as, e) : 0;
}

/* A live volume that came in another's place has nothing of what was set on that. */
static int set_traits(const struct intent_volume *v, struct volume *volume, const struct intent_watch *watch,
                      struct err *e)
{
    _cleanup_strv_ struct strv notes = STRV_INIT;
    if (v->traits && volume_traits_set(volume, v->traits, &notes, e) < 0)
        return -1;
    for (size_t i = 0; i < notes.n && watch && watch->noted; i++)
        watch->noted(notes.v[i], watch->arg);
    return 0;
}

static int show(const struct intent_volume *v, struct volume *volume, const struct intent_watch *watch,
                struct err *e)
{
    struct volume_info info;
    if (watch && watch->allowed && watch->allowed(watch->arg, e) < 0)
        return -1;
    /* of a strict one that shows it already, nobody asked whether it was written to */
    if (volume_info(volume, &info, e) < 0)
        return -1;
    return volume_commit(volume, v->id, info.strict && !v->anew ? COMMIT_LIVE : COMMIT_ANEW, e) < 0
               ? -1
               : set_traits(v, volume, watch, e);
}

/* Of one that says that it shows `was`: it may have come back to it just before a kill, or have been written
 * to long before, which is kept; the others show `was`, so it does. 1: it stays as it is. */
static int stays_behind(struct volume *volume, const char *was, struct err *e)
{
    char since[SNAPSHOT_NAME_MAX + 1], by[VOLUME_USER_MAX + 1];
    int r = volume_differs(volume, was, e);
    if (r <= 0)
        return r < 0 ? -1 : 1;
    r = volume_written(volume, since, e);
    return r != 0 ? r : volume_in_use(volume, by, e);
}

static int go_back(const struct intent_volume *v, struct volume *volume, struct err *e)
{
    char shown[SNAPSHOT_ID_LEN + 1], since[SNAPSHOT_NAME_MAX + 1];
    if (look_shown(volume, shown, e) < 0)
        return -1;
    if (!v->was[0])
        return 0;
    bool here = strcmp(shown, v->was) == 0;
    int r = here ? stays_behind(volume, v->was, e) : volume_written(volume, since, e);
    if (r < 0 || (r > 0 && !here))
        return r < 0 ? -1 : err_set(e, ERR_BUSY, 0, "volume '%s' was written to meanwhile", v->volid);
    if (r == 0 && volume_commit(volume, v->was, COMMIT_ANEW, e) < 0)
        return -1;
    return set_traits(v, volume, NULL, e);
}

/* It may hold what going back needs, so it comes last. */
static int tidy(const struct intent_volume *v, struct volume *volume, struct err *e)
{
    return volume_tidy(volume, e);
}

static int check_unused(const struct intent_volume *v, struct volume *volume, struct err *e)
{
    return volume_check_unused(volume, e);
}

/* ---- all volumes ---- */

static int each(const struct intent *i, struct volume *const volumes[],
                int (*step)(const struct intent_volume *, struct volume *, struct err *), struct err *e)
{
    for (size_t k = 0; k < i->n; k++)
        if (step(&i->v[k], volumes[k], e) < 0)
            return -1;
    return 0;
}

static int each_watched(const struct intent *i, struct volume *const volumes[],
                        const struct intent_watch *watch,
                        int (*step)(const struct intent_volume *, struct volume *,
                                    const struct intent_watch *, struct err *),
                        struct err *e)
{
    for (size_t k = 0; k < i->n; k++)
        if (step(&i->v[k], volumes[k], watch, e) < 0)
            return -1;
    return 0;
}

static int keep_all_written(struct intent *i, struct volume *const volumes[],
                            const struct intent_watch *watch, struct err *e)
{
    for (size_t k = 0; k < i->n; k++)
        if (keep_written(&i->v[k], volumes[k], watch, e) < 0)
            return -1;
    return 0;
}

/* -1 in any case. */
static int end_backwards(struct env *env, const struct intent *i, struct volume *const volumes[],
                         struct err *e)
{
    struct err back = {0};
    if (each(i, volumes, go_back, &back) == 0 && each(i, volumes, take_points_back, &back) == 0 &&
        each(i, volumes, tidy, &back) == 0 && intent_forget(env, i->guest, &back) >= 0)
        return -1;
    struct err why = *e;
    return err_set(
        e, why.kind, why.code,
        "%s; and the volumes before it do not go back to what they showed: %s. Until a run succeeds or "
        "'pvesr settle' does, the disks of guest %" PRIu32 " may be of two instants",
        why.text, back.text, i->guest);
}

static int end(struct env *env, const struct intent *i, struct volume *const volumes[],
               const struct intent_watch *watch, struct err *e)
{
    if (each(i, volumes, keep_points, e) < 0 || each_watched(i, volumes, watch, show, e) < 0)
        return end_backwards(env, i, volumes, e);
    return each(i, volumes, name_point, e) < 0 || each(i, volumes, tidy, e) < 0 ||
                   intent_forget(env, i->guest, e) < 0
               ? -1
               : 0;
}

int intent_carry_out(struct env *env, struct intent *i, struct volume *const volumes[],
                     const struct intent_watch *watch, struct err *e)
{
    if (tree_check_quorum(env->tree, e) < 0 || look_before(i, volumes, e) < 0 ||
        each(i, volumes, check_complete, e) < 0 || each(i, volumes, check_points, e) < 0 ||
        each(i, volumes, check_unused, e) < 0 || keep_all_written(i, volumes, watch, e) < 0 ||
        intent_remember(env, i, e) < 0)
        return -1;
    return end(env, i, volumes, watch, e);
}

/* ---- what was cut ---- */

/* An intent of before, with its volumes. */
struct cut {
    struct intent intent;
    struct env_volume *opened;
    struct volume **volumes;
};

static void cut_release(struct cut *c)
{
    for (size_t k = 0; c->opened && k < c->intent.n; k++)
        env_volume_close(&c->opened[k]);
    free(c->opened);
    free(c->volumes);
    intent_release(&c->intent);
}

/* 1: there is none. */
static int cut_open(struct env *env, uint32_t guest, struct cut *c, struct err *e)
{
    int r = intent_load(env, guest, &c->intent, e);
    if (r != 0)
        return r;
    size_t n = c->intent.n;
    c->opened = xcalloc(n + 1, sizeof *c->opened);
    c->volumes = xcalloc(n + 1, sizeof(struct volume *));
    for (size_t k = 0; k < n; k++) {
        if (env_volume_open(env, c->intent.v[k].volid, guest, &c->opened[k], e) < 0)
            return -1;
        c->volumes[k] = c->opened[k].volume;
    }
    return 0;
}

/* What the commit kept already is not kept again. */
static int finish(struct env *env, struct cut *c, struct err *e)
{
    char shown[SNAPSHOT_ID_LEN + 1];
    for (size_t k = 0; k < c->intent.n; k++) {
        struct intent_volume *v = &c->intent.v[k];
        volume_idle(c->volumes[k]);
        if (look_shown(c->volumes[k], shown, e) < 0)
            return -1;
        v->keep_live = v->keep_live && strcmp(shown, v->id) != 0;
    }
    if (keep_all_written(&c->intent, c->volumes, NULL, e) < 0)
        return -1;
    return end(env, &c->intent, c->volumes, NULL, e);
}

static int about(uint32_t guest, struct err *e)
{
    return err_wrap(e,
                    "a crash left the replicas of guest %" PRIu32
                    " half replaced, and that could not be ended ('pvesr settle' tries it again)",
                    guest);
}

int intent_settle(struct env *env, uint32_t guest, struct err *e)
{
    struct cut c = {0};
    int r = cut_open(env, guest, &c, e);
    if (r == 0)
        r = finish(env, &c, e);
    cut_release(&c);
    return r < 0 ? about(guest, e) : r;
}

struct shows {
    bool all_new, all_old, written;
};

/* Is it what this commit kept aside, as it was before, and not what it says that it shows? */
static int is_kept(const struct intent_volume *v, struct volume *volume, const char *shown, struct err *e)
{
    _cleanup_snapshots_ struct snapshots all = {0};
    if (volume_snapshots(volume, &all, e) < 0)
        return -1;
    const struct snapshot *aside = snapshots_find(&all, v->aside);
    int r = aside && *shown ? volume_differs(volume, aside->id, e) : 1;
    return r != 0 ? (r < 0 ? -1 : 0) : volume_differs(volume, shown, e);
}

static int look_at_all(const struct cut *c, struct shows *ret, struct err *e)
{
    *ret = (struct shows){true, true, false};
    for (size_t k = 0; k < c->intent.n; k++) {
        char shown[SNAPSHOT_ID_LEN + 1], since[SNAPSHOT_NAME_MAX + 1];
        const struct intent_volume *v = &c->intent.v[k];
        int written = look_shown(c->volumes[k], shown, e) < 0 ? -1 : volume_written(c->volumes[k], since, e);
        int kept = written < 0 ? -1 : is_kept(v, c->volumes[k], shown, e);
        if (kept < 0)
            return -1;
        ret->all_new = ret->all_new && !kept && strcmp(shown, v->id) == 0;
        ret->all_old = ret->all_old && !kept && strcmp(shown, v->was) == 0;
        ret->written = ret->written || written;
    }
    return 0;
}

int intent_settle_own(struct env *env, uint32_t guest, bool running, struct err *e)
{
    struct cut c = {0};
    struct shows shows;
    int r = cut_open(env, guest, &c, e);
    if (r == 0)
        r = look_at_all(&c, &shows, e);
    if (r == 0 && shows.all_old && !shows.all_new)
        r = each(&c.intent, c.volumes, take_points_back, e);
    if (r == 0 && (shows.all_new || shows.all_old))
        r = each_watched(&c.intent, c.volumes, NULL, set_traits, e) < 0 || intent_forget(env, guest, e) < 0
                ? -1
                : 0;
    else if (r == 0 && (running || shows.written))
        r = err_set(e, ERR_CONFIG, 0,
                    "guest %" PRIu32
                    " was started in the middle of it, with disks of two instants: stop it and fail it "
                    "over again with 'pvesr failover %" PRIu32
                    "', or keep the disks as they are with 'pvesr settle "
                    "%" PRIu32 " --as-is'",
                    guest, guest, guest);
    else if (r == 0)
        r = finish(env, &c, e);
    cut_release(&c);
    return r < 0 ? about(guest, e) : r;
}
