#include "run/target/prune.h"

#include "base/mem.h"
#include "run/message.h"
#include "run/target/policy.h"
#include "volume/name.h"

#include <string.h>

#define WHY_MAX 200

static void add_problem(json_t *problems, const struct err *e)
{
    if (json_array_size(problems) < PEER_PROBLEMS_MAX)
        json_array_append_new(problems, json_string(e->text));
    else if (json_array_size(problems) == PEER_PROBLEMS_MAX)
        json_array_append_new(problems, json_string("(and more like these)"));
}

/* Do something to each of a list of [name, id]; what fails is a problem, not a failure. */
static int each_snapshot(struct env_volume *v, const json_t *o, const char *key,
                         int (*act)(struct env_volume *v, const char *name, const char *id, void *arg,
                                    struct err *e),
                         void *arg, json_t *problems, struct err *e)
{
    const json_t *array;
    if (message_array(o, key, MESSAGE_SNAPSHOTS_MAX, &array, e) < 0)
        return -1;
    for (size_t i = 0; i < json_array_size(array); i++) {
        const char *name = json_string_value(json_array_get(json_array_get(array, i), 0));
        const char *id = json_string_value(json_array_get(json_array_get(array, i), 1));
        if (!name || !id || !snapshot_name_portable(name) || !snapshot_id_valid(id))
            return err_set(e, ERR_DATA, 0, "damaged message: '%s' is not a list of names and ids", key);
        struct err problem = {0};
        if (act(v, name, id, arg, &problem) < 0)
            add_problem(problems, &problem);
    }
    return 0;
}

static int prune_one(struct env_volume *v, const char *name, const char *id, void *arg, struct err *e)
{
    const struct pruning *p = arg;
    int r = replica_prune(v->volume, name, id, v->guest, e);
    if (r == 0)
        strv_addf(p->removed, "%s: snapshot '%s': %s", v->volid, name, p->why);
    return r;
}

/* Only what the guest's configuration lists: another snapshot of that name and id is a person's. */
static int adopt_one(struct env_volume *v, const char *name, const char *id, void *arg, struct err *e)
{
    const struct pruning *p = arg;
    const struct guest_entry *g = env_guest(p->env, p->guest, e);
    struct guest_config *c = g ? env_guest_config(p->env, g, e) : NULL;
    if (!c)
        return -1;
    int r = strv_has(guest_config_snapshots(c), name)
                ? volume_snapshot_adopt(v->volume, name, id, e)
                : err_set(e, ERR_DATA, 0, "snapshot '%s' is not in the guest's configuration", name);
    guest_config_free(c);
    return r;
}

static int prune_volume(struct pruning *p, const json_t *o, json_t *problems, struct err *e)
{
    const char *volid;
    struct env_volume *v = message_string(o, "volume", MESSAGE_NAME_MAX, &volid, e) < 0
                               ? NULL
                               : replicas_find(p->replicas, volid, e);
    return v && each_snapshot(v, o, "snapshots", prune_one, p, problems, e) == 0 &&
                   each_snapshot(v, o, "adopt", adopt_one, p, problems, e) == 0
               ? 0
               : -1;
}

/* What is kept of a dropped image is told like what is removed of it: it has no answer of its own. */
static int drop_image(struct pruning *p, const char *volid, struct err *e)
{
    if (replica_drop(p->env, volid, p->job, p->guest, p->replicas, p->removed, e) < 0)
        return -1;
    strv_addf(p->removed, "%s: the whole replica: %s", volid, p->why);
    return 0;
}

static int drop_all(struct pruning *p, const struct strv *drop, json_t *problems, struct err *e)
{
    for (size_t i = 0; i < drop->n; i++) {
        struct err problem = {0};
        if (policy_drop(&(struct policy_drop){drop->v[i], strv_has(p->stale, drop->v[i]), NULL}, e) < 0)
            return -1;
        if (drop_image(p, drop->v[i], &problem) < 0)
            add_problem(problems, &problem);
    }
    return 0;
}

int prune_serve(struct pruning *p, const json_t *o, json_t **reply, struct err *e)
{
    const json_t *array;
    _cleanup_strv_ struct strv drop = STRV_INIT;
    p->why = "the source does not keep it"; /* one of an older version does not say why */
    if (message_array(o, "volumes", MESSAGE_VOLUMES_MAX, &array, e) < 0 ||
        (json_object_get(o, "why") && message_string(o, "why", WHY_MAX, &p->why, e) < 0) ||
        message_volids(o, "drop", &drop, e) < 0)
        return -1;
    if (drop.n && tree_check_quorum(p->env->tree, e) < 0)
        return -1;
    json_t *problems = json_array();
    int r = 0;
    for (size_t i = 0; r == 0 && i < json_array_size(array); i++)
        r = prune_volume(p, json_array_get(array, i), problems, e);
    if (r == 0)
        r = drop_all(p, &drop, problems, e);
    if (r == 0)
        *reply = json_pack("{s:o}", "problems", problems);
    else
        json_decref(problems);
    return r;
}
