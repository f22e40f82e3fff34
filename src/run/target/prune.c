#include "run/target/prune.h"

#include "base/mem.h"
#include "run/message.h"
#include "run/target/policy.h"
#include "volume/name.h"

#include <stdio.h>
#include <string.h>

#define WHY_MAX 200

static void add_problem(json_t *problems, const struct err *e)
{
    if (json_array_size(problems) < PEER_PROBLEMS_MAX)
        json_array_append_new(problems, json_string(e->text));
    else if (json_array_size(problems) == PEER_PROBLEMS_MAX)
        json_array_append_new(problems, json_string("(and more like these)"));
}

/* A list of [name, id]. */
static int read_snapshots(const json_t *o, const char *key, struct snapshots *ret, struct err *e)
{
    const json_t *array;
    if (message_array(o, key, MESSAGE_SNAPSHOTS_MAX, &array, e) < 0)
        return -1;
    for (size_t i = 0; i < json_array_size(array); i++) {
        struct snapshot s = {0};
        const char *name = json_string_value(json_array_get(json_array_get(array, i), 0));
        const char *id = json_string_value(json_array_get(json_array_get(array, i), 1));
        if (!name || !id || !snapshot_name_portable(name) || !snapshot_id_valid(id))
            return err_set(e, ERR_DATA, 0, "damaged message: '%s' is not a list of names and ids", key);
        snprintf(s.name, sizeof s.name, "%s", name);
        snprintf(s.id, sizeof s.id, "%s", id);
        snapshots_add(ret, &s);
    }
    return 0;
}

struct pruned {
    struct pruning *p;
    const char *volid;
    json_t *problems;
};

/* What fails is a problem, not a failure. */
static void tell_pruned(const struct snapshot *s, int result, const struct err *e, void *arg)
{
    const struct pruned *x = arg;
    if (result < 0)
        add_problem(x->problems, e);
    else if (result == 0)
        strv_addf(x->p->removed, "%s: snapshot '%s': %s", x->volid, s->name, x->p->why);
}

/* Only what the guest's configuration lists: another snapshot of that name and id is a person's. */
static int adopt_one(struct env_volume *v, const struct guest_config *c, const struct snapshot *s,
                     struct err *e)
{
    return strv_has(guest_config_snapshots(c), s->name)
               ? volume_snapshot_adopt(v->volume, s->name, s->id, e)
               : err_set(e, ERR_DATA, 0, "snapshot '%s' is not in the guest's configuration", s->name);
}

static int adopt_all(struct pruning *p, struct env_volume *v, const struct snapshots *adopt, json_t *problems,
                     struct err *e)
{
    const struct guest_entry *g = adopt->n ? env_guest(p->env, p->guest, e) : NULL;
    struct guest_config *c = g ? env_guest_config(p->env, g, e) : NULL;
    for (size_t i = 0; c && i < adopt->n; i++) {
        struct err problem = {0};
        if (adopt_one(v, c, &adopt->v[i], &problem) < 0)
            add_problem(problems, &problem);
    }
    guest_config_free(c);
    return adopt->n && !c ? -1 : 0;
}

static int prune_volume(struct pruning *p, const json_t *o, json_t *problems, struct err *e)
{
    const char *volid;
    struct env_volume *v = message_string(o, "volume", MESSAGE_NAME_MAX, &volid, e) < 0
                               ? NULL
                               : replicas_find(p->replicas, volid, e);
    _cleanup_snapshots_ struct snapshots go = {0}, adopt = {0};
    if (!v || read_snapshots(o, "snapshots", &go, e) < 0 || read_snapshots(o, "adopt", &adopt, e) < 0)
        return -1;
    struct pruned told = {p, v->volid, problems};
    struct err problem = {0};
    if (replica_prune(v->volume, &go, v->guest, tell_pruned, &told, &problem) < 0)
        add_problem(problems, &problem);
    if (adopt_all(p, v, &adopt, problems, &problem) < 0)
        add_problem(problems, &problem);
    return 0;
}

/* What is kept of a dropped image is told like what is removed of it: it has no answer of its own. */
static int drop_image(struct pruning *p, const char *volid, const struct strv *named, struct err *e)
{
    struct replicas now = {0};
    int r = replicas_open(p->env, named, p->guest, &now, e);
    if (r == 0)
        r = replica_drop(p->env, volid, p->job, p->guest,
                         (const struct replicas *[]){p->replicas, &now, NULL}, p->removed, e);
    replicas_close(&now);
    if (r < 0)
        return -1;
    strv_addf(p->removed, "%s: the whole replica: %s", volid, p->why);
    return 0;
}

static int drop_all(struct pruning *p, const struct strv *drop, const struct strv *named, json_t *problems,
                    struct err *e)
{
    for (size_t i = 0; i < drop->n; i++) {
        struct err problem = {0};
        if (policy_drop(&(struct policy_drop){drop->v[i], strv_has(p->stale, drop->v[i]), NULL}, e) < 0)
            return -1;
        if (drop_image(p, drop->v[i], named, &problem) < 0)
            add_problem(problems, &problem);
    }
    return 0;
}

int prune_serve(struct pruning *p, const json_t *o, json_t **reply, struct err *e)
{
    const json_t *array;
    _cleanup_strv_ struct strv drop = STRV_INIT, named = STRV_INIT;
    p->why = "the source does not keep it"; /* one of an older version does not say why */
    if (message_array(o, "volumes", MESSAGE_VOLUMES_MAX, &array, e) < 0 ||
        (json_object_get(o, "why") && message_string(o, "why", WHY_MAX, &p->why, e) < 0) ||
        message_volids(o, "drop", &drop, e) < 0 ||
        (json_object_get(o, "named") && message_volids(o, "named", &named, e) < 0))
        return -1;
    json_t *problems = json_array();
    int r = 0;
    for (size_t i = 0; r == 0 && i < json_array_size(array); i++)
        r = prune_volume(p, json_array_get(array, i), problems, e);
    if (r == 0)
        r = drop_all(p, &drop, &named, problems, e);
    if (r == 0)
        *reply = json_pack("{s:o}", "problems", problems);
    else
        json_decref(problems);
    return r;
}
