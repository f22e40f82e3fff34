#include "run/target/agent-parts.h"

#include "base/mem.h"
#include "run/intent.h"
#include "run/message.h"
#include "run/snapshot.h"
#include "run/target/guard.h"
#include "run/target/policy.h"
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

/* Rename acknowledged restore points that the source no longer has out of the way of the pruning. */
static int rename_aside(struct agent *a, struct env_volume *v, const json_t *o, struct strv *asides,
                        struct err *e)
{
    const json_t *array;
    if (message_array(o, "aside", MESSAGE_SNAPSHOTS_MAX, &array, e) < 0)
        return -1;
    for (size_t i = 0; i < json_array_size(array); i++) {
        const char *from = json_string_value(json_array_get(json_array_get(array, i), 0));
        const char *to = json_string_value(json_array_get(json_array_get(array, i), 1));
        if (!from || !to || !snapshot_name_portable(from))
            return err_set(e, ERR_DATA, 0, "damaged message: 'aside' is not a list of names");
        if (policy_aside_as(to, e) < 0 || volume_snapshot_rename(v->volume, from, to, e) < 0)
            return -1;
        strv_addf(asides, "'%s' of %s is kept as '%s' on the target", from, v->volid, to);
        agent_note_kept(a, v->volid, to);
    }
    return 0;
}

int agent_call_aside(struct agent *a, const json_t *o, json_t **reply, struct err *e)
{
    _cleanup_strv_ struct strv asides = STRV_INIT;
    struct env_volume *v = agent_volume(a, o, e);
    if (!v)
        return -1;
    if (rename_aside(a, v, o, &asides, e) < 0)
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
    struct strv asides;
};

static void commit_release(struct commit *c)
{
    intent_release(&c->intent);
    free(c->v);
    free(c->volumes);
    strv_release(&c->asides);
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
    for (size_t i = 0; i < n; i++) {
        const json_t *one = json_array_get(array, i);
        struct env_volume *v = agent_volume(c->a, one, e);
        if (!v)
            return -1;
        for (size_t k = 0; k < i; k++)
            if (c->v[k] == v)
                return err_set(e, ERR_DATA, 0, "damaged message: 'volumes' names '%s' twice", v->volid);
        if (take_intent(c->a, v, one, &c->intent.v[i], e) < 0)
            return err_wrap(e, "volume '%s'", v->volid);
        c->v[i] = v;
        c->volumes[i] = v->volume;
        c->intent.n++;
    }
    return 0;
}

static void on_kept(const struct intent_volume *v, const char *since, void *arg)
{
    struct commit *c = arg;
    agent_note_kept(c->a, v->volid, v->aside);
    strv_addf(&c->asides, "%s was written to on the target since '%s': that state is kept as '%s' there",
              v->volid, since, v->aside);
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

/* Also where nothing changed: a commit repeated ends in the same state, and clears what a killed one left. */
static int carry_out(struct commit *c, const json_t *array, struct err *e)
{
    struct intent_watch watch = {still_allowed, on_kept, on_noted, c};
    if (take_commit(c, array, e) < 0)
        return -1;
    for (size_t i = 0; i < c->intent.n; i++)
        if (rename_aside(c->a, c->v[i], json_array_get(array, i), &c->asides, e) < 0)
            return err_wrap(e, "volume '%s'", c->v[i]->volid);
    struct guard guard;
    if (guard_begin(&guard, c->a->env, c->a->guest, c->a->in, c->a->out, e) < 0)
        return -1;
    int r = intent_carry_out(c->a->env, &c->intent, c->volumes, &watch, e);
    guard_end(&guard);
    return r;
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
    int r = carry_out(&c, array, e);
    if (r == 0)
        *reply = json_pack("{s:o, s:o}", "asides", message_strings(&c.asides), "kept", agent_tell_kept(a));
    commit_release(&c);
    return r;
}
