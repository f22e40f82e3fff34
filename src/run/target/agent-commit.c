#include "run/target/agent-parts.h"

#include "base/mem.h"
#include "run/intent.h"
#include "run/known.h"
#include "run/message.h"
#include "run/snapshot.h"
#include "run/target/guard.h"
#include "run/target/policy.h"
#include "run/target/replica.h"
#include "volume/name.h"

#include <inttypes.h>
#include <string.h>

/* ---- what is kept aside ---- */

void agent_note_kept(struct agent *a, const char *volid, const char *snapshot)
{
    if (a->kept.n == PEER_KEPT_MAX)
        strv_remove(&a->kept, 0);
    strv_addf(&a->kept, "%s of %s", snapshot, volid);
}

json_t *agent_tell_kept(struct agent *a)
{
    json_t *list = message_strings(&a->kept);
    strv_release(&a->kept);
    return list;
}

/* Has the restore point nothing that the base has not? In doubt it has. */
static bool is_empty(struct env_volume *v, const char *name, const char *base_id, struct snapshots *empty)
{
    struct err ignored;
    _cleanup_snapshots_ struct snapshots all = {0};
    if (!base_id || !*base_id || volume_snapshots(v->volume, &all, &ignored) < 0)
        return false;
    const struct snapshot *s = snapshots_find(&all, name), *base = snapshots_find_id(&all, base_id);
    bool is = s && base && s->seq > base->seq && volume_snapshot_differs(v->volume, base, s, &ignored) == 0;
    if (is)
        snapshots_add(empty, s);
    return is;
}

/* Acknowledged restore points that the source no longer has go out of the way of the pruning, but for those
 * that are `empty`: they go after the commit, or with the pruning of a later run. */
static int take_asides(struct env_volume *v, const json_t *o, struct snapshots *empty, struct strv *points,
                       struct strv *points_as, struct err *e)
{
    const json_t *array;
    if (message_array(o, "aside", MESSAGE_SNAPSHOTS_MAX, &array, e) < 0)
        return -1;
    for (size_t i = 0; i < json_array_size(array); i++) {
        const json_t *one = json_array_get(array, i);
        const char *from = json_string_value(json_array_get(one, 0));
        const char *to = json_string_value(json_array_get(one, 1));
        if (!from || !to || !snapshot_name_portable(from))
            return err_set(e, ERR_DATA, 0, "damaged message: 'aside' is not a list of names");
        if (empty && is_empty(v, from, json_string_value(json_array_get(one, 2)), empty))
            continue;
        if (policy_aside_as(to, e) < 0)
            return -1;
        strv_add(points, from);
        strv_add(points_as, to);
    }
    return 0;
}

static void note_aside(struct agent *a, const char *volid, const char *from, const char *to,
                       struct strv *asides)
{
    strv_addf(asides, "'%s' of %s is kept as '%s' on the target", from, volid, to);
    agent_note_kept(a, volid, to);
}

static int rename_aside(struct agent *a, struct env_volume *v, const json_t *o, struct strv *asides,
                        struct err *e)
{
    _cleanup_strv_ struct strv from = STRV_INIT, to = STRV_INIT;
    if (take_asides(v, o, NULL, &from, &to, e) < 0)
        return -1;
    for (size_t i = 0; i < from.n; i++) {
        if (volume_snapshot_rename(v->volume, from.v[i], to.v[i], e) < 0)
            return -1;
        note_aside(a, v->volid, from.v[i], to.v[i], asides);
    }
    return 0;
}

/* A name changes the times of a file that may be the base; whoever wrote to it meanwhile broke its seal, too.
 */
static int see_again(struct agent *a, const struct env_volume *v, struct err *e)
{
    _cleanup_snapshots_ struct snapshots now = {0};
    struct replica *before = &a->seen[v - a->replicas.v];
    struct snapshots *seen = &before->snapshots;
    int r = replica_look_again(v->volume, before, &now, e);
    if (r != 0) /* where that is so, names change nothing */
        return r < 0 ? -1 : 0;
    for (size_t i = 0; i < seen->n; i++) {
        const struct snapshot *s = snapshots_find_id(&now, seen->v[i].id);
        bool other_name = s && strcmp(s->name, seen->v[i].name) != 0;
        if (other_name && (s->flags & SNAPSHOT_CHANGED) == (seen->v[i].flags & SNAPSHOT_CHANGED))
            seen->v[i].state = s->state;
    }
    return 0;
}

int agent_call_aside(struct agent *a, const json_t *o, json_t **reply, struct err *e)
{
    _cleanup_strv_ struct strv asides = STRV_INIT;
    struct env_volume *v = agent_volume(a, o, e);
    if (!v)
        return -1;
    if (rename_aside(a, v, o, &asides, e) < 0 || see_again(a, v, e) < 0)
        return err_wrap(e, "volume '%s'", v->volid);
    *reply = json_pack("{s:o, s:o}", "asides", message_strings(&asides), "kept", agent_tell_kept(a));
    return 0;
}

/* ---- commit ---- */

struct commit {
    struct agent *a;
    struct intent intent;
    struct env_volume **v; /* of each of the intent's */
    struct volume **volumes;
    struct snapshots *empty; /* of each: kept aside they would be of no use */
    struct strv asides;
    struct strv settings; /* of the run */
};

static void commit_release(struct commit *c)
{
    for (size_t i = 0; i < c->intent.n; i++)
        snapshots_release(&c->empty[i]);
    free(c->empty);
    intent_release(&c->intent);
    free(c->v);
    free(c->volumes);
    strv_release(&c->asides);
    strv_release(&c->settings);
}

static int take_intent(const struct agent *a, const struct env_volume *v, const json_t *o,
                       struct intent_volume *ret, struct err *e)
{
    const char *id, *as, *aside;
    if (message_string(o, "id", SNAPSHOT_ID_LEN, &id, e) < 0 ||
        message_string(o, "as", SNAPSHOT_NAME_MAX, &as, e) < 0 ||
        message_string(o, "live-aside", SNAPSHOT_NAME_MAX, &aside, e) < 0 ||
        message_bool(o, "keep-live", &ret->keep_live, e) < 0 || message_traits(o, &ret->traits, e) < 0)
        return -1;
    if (!snapshot_id_valid(id))
        return err_set(e, ERR_DATA, 0, "damaged message: '%s' is not a snapshot id", id);
    if (policy_shown_as(a->job, as, e) < 0 || policy_aside_as(aside, e) < 0)
        return -1;
    ret->volid = xstrdup(v->volid);
    strcpy(ret->id, id);
    strcpy(ret->as, as);
    strcpy(ret->aside, aside);
    return 0;
}

static int take_commit(struct commit *c, const json_t *array, struct err *e)
{
    size_t n = json_array_size(array);
    c->intent.guest = c->a->guest;
    c->intent.v = xcalloc(n + 1, sizeof *c->intent.v);
    c->v = xcalloc(n + 1, sizeof(struct env_volume *));
    c->volumes = xcalloc(n + 1, sizeof(struct volume *));
    c->empty = xcalloc(n + 1, sizeof *c->empty);
    for (size_t i = 0; i < n; i++) {
        const json_t *one = json_array_get(array, i);
        struct env_volume *v = agent_volume(c->a, one, e);
        if (!v)
            return -1;
        for (size_t k = 0; k < i; k++)
            if (c->v[k] == v)
                return err_set(e, ERR_DATA, 0, "damaged message: 'volumes' names '%s' twice", v->volid);
        c->intent.n++; /* first: what it takes before it fails is released, too */
        if (take_intent(c->a, v, one, &c->intent.v[i], e) < 0)
            return err_wrap(e, "volume '%s'", v->volid);
        c->v[i] = v;
        c->volumes[i] = v->volume;
    }
    return 0;
}

static void on_kept(const struct intent_volume *v, const char *since, void *arg)
{
    struct commit *c = arg;
    agent_note_kept(c->a, v->volid, v->aside);
    strv_addf(&c->asides, "%s was written to on the target%s%s%s: that state is kept as '%s' there", v->volid,
              *since ? " since '" : "", since, *since ? "'" : "", v->aside);
}

static void on_noted(const char *note, void *arg)
{
    strv_add(&((struct commit *)arg)->asides, note);
}

/* What came before may have taken minutes, and a guest that was started here must keep its disks. */
static int still_allowed(void *arg, struct err *e)
{
    return agent_check_owner(((struct commit *)arg)->a, e);
}

struct dropped {
    struct agent *agent;
    const char *volid;
};

static void tell_dropped(const struct snapshot *s, int result, const struct err *e, void *arg)
{
    const struct dropped *d = arg;
    if (result == 0)
        strv_addf(&d->agent->removed, "%s: snapshot '%s': the base holds what it held", d->volid, s->name);
}

static void drop_empty(struct commit *c)
{
    for (size_t i = 0; i < c->intent.n; i++) {
        struct dropped d = {c->a, c->v[i]->volid};
        struct err ignored; /* a later run does it */
        replica_prune(c->v[i]->volume, &c->empty[i], c->a->guest, tell_dropped, &d, &ignored);
    }
}

static bool is_empty_on_all(const struct commit *c, const char *name)
{
    for (size_t i = 0; i < c->intent.n; i++)
        if (strv_has(&c->intent.v[i].points, name))
            return false;
    return true;
}

/* The points of a guest's disks are one instant: if it is kept of one of them, it is kept of all. */
static int take_all_asides(struct commit *c, const json_t *array, struct err *e)
{
    for (size_t i = 0; i < c->intent.n; i++) {
        struct intent_volume *v = &c->intent.v[i];
        if (take_asides(c->v[i], json_array_get(array, i), &c->empty[i], &v->points, &v->points_as, e) < 0)
            return err_wrap(e, "volume '%s'", v->volid);
    }
    for (size_t i = 0; i < c->intent.n; i++) {
        struct intent_volume *v = &c->intent.v[i];
        bool empty = true;
        for (size_t k = 0; k < c->empty[i].n; k++)
            empty = empty && is_empty_on_all(c, c->empty[i].v[k].name);
        if (empty)
            continue;
        snapshots_release(&c->empty[i]);
        strv_release(&v->points);
        strv_release(&v->points_as);
        if (take_asides(c->v[i], json_array_get(array, i), NULL, &v->points, &v->points_as, e) < 0)
            return err_wrap(e, "volume '%s'", v->volid);
    }
    return 0;
}

/* Where it cannot be noted, nobody can know: that is no reason to have no replica. */
static void note_keeper(struct commit *c)
{
    char is[VOLUME_KEEPER_MAX + 1];
    struct err ignored;
    const char *self = c->a->env->settings.node;
    for (size_t i = 0; i < c->intent.n; i++)
        if (volume_keeper(c->volumes[i], is, &ignored) == 0 && strcmp(is, self) != 0)
            volume_keeper_set(c->volumes[i], self, &ignored);
}

/* Should the guest come here, a run knows by it whose points these are. */
static int note_known(const struct commit *c, struct known *k, struct err *e)
{
    struct env *env = c->a->env;
    const struct guest_entry *g = env_guest(env, c->a->guest, e);
    _cleanup_(guest_config_freep) struct guest_config *config = g ? env_guest_config(env, g, e) : NULL;
    _cleanup_free_ char *path = known_path(env->settings.state_dir, c->a->job);
    for (size_t i = 0; i < c->settings.n; i++)
        strv_add(&k->settings, c->settings.v[i]);
    k->epoch = c->intent.n ? snapshot_epoch(c->intent.v[0].as) : 0;
    if (!config || known_look(config, c->volumes, c->intent.n, k, e) < 0)
        return -1;
    return k->epoch ? known_store(path, k, e) : 0;
}

/* Nobody is told of a hint that could not be noted: it would be at each run. */
static void note_guest(const struct commit *c)
{
    struct err ignored;
    _cleanup_(known_release) struct known known = {0};
    note_known(c, &known, &ignored);
}

/* Also where nothing changed: a commit repeated ends in the same state, and clears what a killed one left. */
static int carry_out(struct commit *c, const json_t *array, struct err *e)
{
    struct intent_watch watch = {still_allowed, on_kept, on_noted, c};
    if (take_commit(c, array, e) < 0 || take_all_asides(c, array, e) < 0)
        return -1;
    note_keeper(c);
    struct guard guard;
    if (guard_begin(&guard, c->a->env, c->a->guest, c->a->lock, c->a->in, c->a->out, e) < 0)
        return -1;
    int r = intent_carry_out(c->a->env, &c->intent, c->volumes, &watch, e);
    guard_end(&guard);
    if (r == 0)
        drop_empty(c);
    if (r == 0)
        note_guest(c);
    for (size_t i = 0; r == 0 && i < c->intent.n; i++)
        for (size_t k = 0; k < c->intent.v[i].points.n; k++)
            note_aside(c->a, c->intent.v[i].volid, c->intent.v[i].points.v[k], c->intent.v[i].points_as.v[k],
                       &c->asides);
    return r;
}

static int take_settings(const json_t *o, struct strv *ret, struct err *e)
{
    if (json_object_get(o, "settings") && message_texts(o, "settings", ret, e) < 0)
        return -1;
    while (ret->n > KNOWN_SETTINGS_MAX)
        strv_remove(ret, ret->n - 1);
    return 0;
}

int agent_call_commit(struct agent *a, const json_t *o, json_t **reply, struct err *e)
{
    const json_t *array;
    struct commit c = {.a = a};
    if (message_array(o, "volumes", MESSAGE_VOLUMES_MAX, &array, e) < 0)
        return -1;
    for (size_t i = 0; i < a->replicas.n; i++) /* somebody may have put something there since `open` */
        if (volume_alone(a->replicas.v[i].volume, e) < 0)
            return -1;
    int r = take_settings(o, &c.settings, e) < 0 ? -1 : carry_out(&c, array, e);
    if (r == 0)
        *reply = json_pack("{s:o, s:o}", "asides", message_strings(&c.asides), "kept", agent_tell_kept(a));
    commit_release(&c);
    return r;
}
