#include "run/recover/settle.h"

#include "base/lock.h"
#include "base/mem.h"
#include "guest/runtime.h"
#include "run/intent.h"

#include <inttypes.h>
#include <string.h>

#define LOCK_SECONDS 2

int settle_guest(struct env *env, uint32_t guest, struct err *e)
{
    const struct guest_entry *g = guests_find(&env->guests, guest);
    bool here = g && strcmp(g->node, env->settings.node) == 0;
    return here ? intent_settle_own(env, guest, guest_running(g->type, guest), e)
                : intent_settle(env, guest, e);
}

static int one(struct env *env, uint32_t guest, bool as_is, struct buf *out, struct err *e)
{
    _cleanup_free_ char *guest_path = env_guest_lock_path(env, guest);
    _cleanup_free_ char *agent_path = env_agent_lock_path(env, guest);
    _cleanup_(lock_freep) struct lock *guest_lock = lock_take(guest_path, true, LOCK_SECONDS, false, e);
    if (!guest_lock)
        return -1;
    _cleanup_(lock_freep) struct lock *agent_lock = lock_take(agent_path, true, LOCK_SECONDS, false, e);
    if (!agent_lock || env_guest_again(env, guest, e) < 0)
        return -1;
    env_hold(env, agent_lock);
    int r = as_is ? intent_forget(env, guest, e) : settle_guest(env, guest, e);
    env_hold(env, NULL);
    if (r == 0)
        buf_addf(out, "guest %" PRIu32 ": %s\n", guest,
                 as_is ? "its disks stay as they are" : "its disks are of one instant again");
    return r < 0 ? -1 : 0;
}

int run_settle(struct env *env, uint32_t guest, bool as_is, struct buf *out, struct err *e)
{
    _cleanup_free_ uint32_t *all = NULL;
    size_t n, left = 0;
    if (intent_guests(env, &all, &n, e) < 0)
        return -1;
    for (size_t i = 0; i < n; i++) {
        struct err problem = {0};
        if ((guest && all[i] != guest) || one(env, all[i], as_is, out, &problem) == 0)
            continue;
        buf_addf(out, "guest %" PRIu32 ": %s\n", all[i], problem.text);
        left += problem.kind != ERR_BUSY;
    }
    return left ? err_set(e, ERR_SYSTEM, 0, "the replicas of %zu guests are still half replaced, see above",
                          left)
                : 0;
}
