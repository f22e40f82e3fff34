/* failover: a guest comes to live on its replicas. settle: what a crash left of showing them. */
#include "cli/commands.h"

#include "base/strv.h"
#include "view/json.h"
#include "cli/lines.h"
#include "run/recover/failover.h"
#include "run/recover/settle.h"

static json_t *failover_json(uint32_t guest, const struct failover_result *r)
{
    _cleanup_strv_ struct strv lines = STRV_INIT;
    json_t *o = json_object(), *said = json_array();
    json_object_set_new(o, "guest", json_integer(guest));
    if (*r->from)
        json_object_set_new(o, "from", json_text(r->from));
    if (*r->point)
        json_object_set_new(o, "point", json_text(r->point));
    if (r->taken)
        json_object_set_new(o, "time", json_integer(r->taken));
    strv_split(&lines, buf_str(&r->said), "\n");
    for (size_t i = 0; i < lines.n; i++)
        json_array_append_new(said, json_text(lines.v[i]));
    json_object_set_new(o, "said", said);
    return o;
}

int cmd_failover(struct env *env, const struct args *a, struct err *e)
{
    struct failover_options o = {.dry_run = a->value[P_DRY_RUN].flag,
                                 .force = a->value[P_FORCE_FAILOVER].flag,
                                 .as_is = a->value[P_AS_IS].flag,
                                 .point = args_text(a, P_POINT)};
    _cleanup_(failover_result_release) struct failover_result result = {0};
    uint32_t guest = (uint32_t)a->value[P_VMID].integer;
    int r = run_failover(env, guest, &o, &result, e);
    if (args_want_json(a))
        json_put(failover_json(guest, &result), false);
    else
        put_lines(stdout, 0, buf_str(&result.said));
    return r;
}

int cmd_settle(struct env *env, const struct args *a, struct err *e)
{
    _cleanup_buf_ struct buf out = BUF_INIT;
    int r = run_settle(env, (uint32_t)a->value[P_GUEST].integer, a->value[P_AS_IS].flag, &out, e);
    put_lines(stdout, 0, buf_str(&out));
    return r;
}
