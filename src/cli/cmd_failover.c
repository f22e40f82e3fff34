/* failover: a guest comes to live on its replicas. */
#include "cli/commands.h"

#include "run/recover/failover.h"

#include <stdio.h>

int cmd_failover(struct env *env, const struct args *a, struct err *e)
{
    struct failover_options o = {.dry_run = a->value[P_DRY_RUN].flag,
                                 .force = a->value[P_FORCE_FAILOVER].flag};
    _cleanup_buf_ struct buf out = BUF_INIT;
    int r = run_failover(env, (uint32_t)a->value[P_VMID].integer, &o, &out, e);
    fputs(buf_str(&out), stdout);
    return r;
}
