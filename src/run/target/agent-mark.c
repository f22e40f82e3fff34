/* The call `mark`: what the source found of a restore point is noted at it, so that it is known here, too: to
 * whoever starts the guest, and when the source and its state are gone. */
#include "run/target/agent-parts.h"

#include "base/clock.h"
#include "base/lock.h"
#include "run/message.h"
#include "run/target/policy.h"
#include "volume/name.h"

static int note(const struct agent *a, struct env_volume *v, const char *id, bool damaged, struct err *e)
{
    _cleanup_snapshots_ struct snapshots all = {0};
    const struct snapshot *s = agent_find_point(v, id, &all, e);
    if (!s || policy_mark(&(struct policy_mark){a->guest, s}, e) < 0)
        return -1;
    if (damaged == (s->damaged != 0))
        return 0; /* since when it is known stays as it was */
    return volume_snapshot_mark(v->volume, s->name, id, damaged ? clock_epoch() : 0, e) < 0 ? -1 : 0;
}

/* Whoever only looks has no lock, and gets it for the moment. NULL: somebody else has it, or (problem)
 * nobody can. */
static struct lock *lock_agents(const struct agent *a, bool *wanted, struct err *problem)
{
    _cleanup_free_ char *path = env_agent_lock_path(a->env, a->guest);
    struct lock *lock = lock_take(path, true, 0, false, problem);
    *wanted = !lock && problem->kind == ERR_BUSY;
    return lock;
}

/* That it cannot be noted (the storage is full, or read-only) is no reason to end what the source does. */
int agent_call_mark(struct agent *a, const json_t *o, json_t **reply, struct err *e)
{
    const char *id;
    bool damaged, wanted = false;
    struct err problem = {0};
    struct env_volume *v = agent_volume(a, o, e);
    if (!v || message_string(o, "id", SNAPSHOT_ID_LEN, &id, e) < 0 ||
        message_bool(o, "damaged", &damaged, e) < 0)
        return -1;
    if (!snapshot_id_valid(id))
        return err_set(e, ERR_DATA, 0, "damaged message: '%s' is not a snapshot id", id);
    _cleanup_(lock_freep) struct lock *lock = a->lock ? NULL : lock_agents(a, &wanted, &problem);
    if (lock && agent_check_owner(a, e) < 0) /* it may have moved right before */
        return -1;
    if (lock)
        env_hold(a->env, lock);
    if ((lock || a->lock) && note(a, v, id, damaged, &problem) < 0)
        err_wrap(&problem, "volume '%s'", v->volid);
    if (lock)
        env_hold(a->env, NULL);
    *reply = json_pack("{s:b, s:s}", "wanted", (int)wanted, "problem", wanted ? "" : problem.text);
    return 0;
}
