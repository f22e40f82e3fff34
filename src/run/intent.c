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
    return err_set(e, ERR_GONE, 0, "volume '%s' has neither restore point %s nor a sealed stage of it",
                   v->volid, v->id);
}

/* ---- the steps ---- */

static int keep_written(const struct intent_volume *v, struct volume *volume,
                        const struct intent_watch *watch, struct err *e)
{
    struct volume_info info;
    char shown[SNAPSHOT_ID_LEN + 1], since[SNAPSHOT_NAME_MAX + 1] = "";
    if (volume_info(volume, &info, e) < 0 || look_shown(volume, shown, e) < 0)
        return -1;
    bool ask = info.exists && !(info.strict && !v->anew && strcmp(shown, v->id) == 0);
    int written = ask ? volume_written(volume, since, e) : 0;
    bool keep = written || (v->keep_live && info.exists);
    if (written < 0 || (keep && volume_keep_aside(volume, v->aside, e) < 0))
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
        return err_set(e, ERR_GONE, 0, "restore point %s of volume '%s' vanished", v->id, v->volid);
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

static int go_back(const struct intent_volume *v, struct volume *volume, struct err *e)
{
    char shown[SNAPSHOT_ID_LEN + 1], since[SNAPSHOT_NAME_MAX + 1];
    if (look_shown(volume, shown, e) < 0)
        return -1;
    if (!v->was[0])
        return 0;
    if (strcmp(shown, v->was) == 0) /* it may have come back to it just before a kill */
        return set_traits(v, volume, NULL, e);
    int written = volume_written(volume, since, e);
    if (written != 0)
        return written < 0 ? -1 : err_set(e, ERR_BUSY, 0, "volume '%s' was written to meanwhile", v->volid);
    return volume_commit(volume, v->was, COMMIT_LIVE, e) < 0 ? -1 : set_traits(v, volume, NULL, e);
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

/* -1 in any case. */
static int end_backwards(struct env *env, const struct intent *i, struct volume *const volumes[],
                         struct err *e)
{
    struct err back = {0};
    if (each(i, volumes, go_back, &back) == 0 && each(i, volumes, tidy, &back) == 0 &&
        intent_forget(env, i->guest, &back) >= 0)
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
    if (each_watched(i, volumes, watch, show, e) < 0)
        return end_backwards(env, i, volumes, e);
    return each(i, volumes, name_point, e) < 0 || each(i, volumes, tidy, e) < 0 ||
                   intent_forget(env, i->guest, e) < 0
               ? -1
               : 0;
}

int intent_carry_out(struct env *env, struct intent *i, struct volume *const volumes[],
                     const struct intent_watch *watch, struct err *e)
{
    if (look_before(i, volumes, e) < 0 || each(i, volumes, check_complete, e) < 0 ||
        each(i, volumes, check_unused, e) < 0 || each_watched(i, volumes, watch, keep_written, e) < 0 ||
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
    if (each_watched(&c->intent, c->volumes, NULL, keep_written, e) < 0)
        return -1;
    return end(env, &c->intent, c->volumes, NULL, e);
}

static int about(uint32_t guest, struct err *e)
{
    return err_wrap(e, "a commit of the replicas of guest %" PRIu32 " was cut and could not be ended", guest);
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

static int look_at_all(const struct cut *c, struct shows *ret, struct err *e)
{
    *ret = (struct shows){true, true, false};
    for (size_t k = 0; k < c->intent.n; k++) {
        char shown[SNAPSHOT_ID_LEN + 1], since[SNAPSHOT_NAME_MAX + 1];
        int written = look_shown(c->volumes[k], shown, e) < 0 ? -1 : volume_written(c->volumes[k], since, e);
        if (written < 0)
            return -1;
        ret->all_new = ret->all_new && strcmp(shown, c->intent.v[k].id) == 0;
        ret->all_old = ret->all_old && strcmp(shown, c->intent.v[k].was) == 0;
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
