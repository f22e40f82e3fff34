/* failover: a guest comes to live on its replicas. settle: what a crash left of showing them. */
#include "cli/commands.h"

#include "cli/lines.h"
#include "run/recover/failover.h"
#include "run/recover/settle.h"

int cmd_failover(struct env *env, const struct args *a, struct err *e)
{
    struct failover_options o = {.dry_run = a->value[P_DRY_RUN].flag,
                                 .force = a->value[P_FORCE_FAILOVER].flag,
                                 .as_is = a->value[P_AS_IS].flag,
                                 .point = args_text(a, P_POINT)};
    _cleanup_buf_ struct buf out = BUF_INIT;
    int r = run_failover(env, (uint32_t)a->value[P_VMID].integer, &o, &out, e);
    put_lines(stdout, 0, buf_str(&out));
    return r;
}

int cmd_settle(struct env *env, const struct args *a, struct err *e)
{
    _cleanup_buf_ struct buf out = BUF_INIT;
    int r = run_settle(env, (uint32_t)a->value[P_GUEST].integer, a->value[P_AS_IS].flag, &out, e);
    put_lines(stdout, 0, buf_str(&out));
    return r;
}
