/* What the command line says of loss and recovery: at-risk, restore-points, failover, each asked of the node
 * that knows, and carried out there. Each is a pvesr of its own. */
#include "api/serve/serve.h"

#include "api/gather.h"
#include "view/json.h"
#include "view/risks.h"

#include <syslog.h>

/* The panel has it in other languages. */
#define UNREAD "some storages cannot be read: who has VM.Audit on /vms is told which, and why"

static int take_json(struct call *c, const struct child_result *r, struct err *e)
{
    c->data = json_loadb(buf_str(&r->out), r->out.len, 0, NULL);
    return c->data ? 0 : err_set(e, ERR_SYSTEM, 0, "what pvesr says is no JSON");
}

/* Leaves the guests that the caller may see now, with the node that was asked. */
static void risks_seen(const struct call *c, json_t *rows)
{
    for (size_t i = json_array_size(rows); i-- > 0;) {
        json_t *row = json_array_get(rows, i);
        uint32_t guest = (uint32_t)json_integer_value(json_object_get(row, "guest"));
        if (call_may_guest(c, guest) & PRIV(VM_Audit))
            json_object_set_new(row, "node", json_string(c->api->settings->node));
        else
            json_array_remove(rows, i);
    }
}

static int take_risks(struct call *c, const struct child_result *r, struct err *e)
{
    if (call_check_who(c, e) < 0 || take_json(c, r, e) < 0)
        return -1;
    risks_seen(c, c->data);
    return 0;
}

static void risk_words(const struct call *c, struct strv *argv)
{
    strv_adds(argv, "at-risk", "--output-format=json", NULL);
    if (call_given(c, P_GUEST))
        strv_addf(argv, "--guest=%s", call_text(c, P_GUEST));
}

int serve_at_risk(struct call *c, struct err *e)
{
    _cleanup_strv_ struct strv argv = STRV_INIT;
    risk_words(c, &argv);
    return call_pvesr(c, &argv, take_risks, e);
}

/* ---- of all nodes ---- */

static void give_risks(struct call *c)
{
    json_t *silent = json_array();
    struct risks all = {0};
    for (size_t i = 0; i < c->gather->n; i++) {
        const struct gathered *g = gather_get(c->gather, i);
        risks_add(&all, g->data);
        if (g->problem)
            json_array_append_new(silent,
                                  json_pack("{s:s, s:o}", "node", g->node, "problem", json_text(g->problem)));
    }
    c->data = json_pack("{s:o, s:o}", "risks", risks_by_pain(&all), "silent", silent);
    risks_release(&all);
}

static void on_gathered(struct call *c)
{
    give_risks(c);
    call_end(c, 0);
}

static int take_own_risks(struct call *c, const struct child_result *r, struct err *e)
{
    _cleanup_strv_ struct strv said = STRV_INIT;
    strv_split(&said, buf_str(&r->err), "\n");
    if (call_check_who(c, e) < 0)
        return -1;
    json_t *rows = r->status == 0 ? json_loadb(buf_str(&r->out), r->out.len, 0, NULL) : NULL;
    risks_seen(c, rows);
    if (!gather_own(c->gather, rows, said.n ? said.v[said.n - 1] : "pvesr at-risk gives no reason"))
        return 1;
    give_risks(c);
    return 0;
}

int serve_all_at_risk(struct call *c, struct err *e)
{
    _cleanup_strv_ struct strv argv = STRV_INIT, nodes = STRV_INIT;
    struct members members = {0};
    risk_words(c, &argv);
    if (members_load(c->tree, &members, e) < 0)
        return -1;
    for (size_t i = 0; i < members.n; i++)
        strv_add(&nodes, members.v[i].node.name);
    members_release(&members);
    int r = call_pvesr_always(c, &argv, take_own_risks, e);
    if (r > 0)
        c->gather = gather_begin(c, &nodes, "at-risk", on_gathered);
    return r;
}

/* They name storages and paths of the node: whoever sees single guests is told that there may be more. */
static json_t *problems_seen(const struct call *c, const struct buf *said)
{
    json_t *seen = json_array();
    _cleanup_strv_ struct strv lines = STRV_INIT;
    strv_split(&lines, buf_str(said), "\n");
    if (!(call_may(c, "/vms") & PRIV(VM_Audit))) {
        if (lines.n)
            json_array_append_new(seen, json_string(UNREAD));
        return seen;
    }
    for (size_t i = 0; i < lines.n; i++)
        json_array_append_new(seen, json_text(lines.v[i]));
    return seen;
}

/* Where one storage cannot be read, what the others have is shown nevertheless, and which it is. */
static int take_points(struct call *c, const struct child_result *r, struct err *e)
{
    struct err ignored;
    json_t *points = take_json(c, r, &ignored) < 0 ? NULL : c->data;
    c->data = NULL;
    if (!points)
        return call_refuse_as_said(c, r);
    c->data = json_pack("{s:o, s:o}", "points", points, "problems", problems_seen(c, &r->err));
    return 0;
}

int serve_points(struct call *c, struct err *e)
{
    _cleanup_strv_ struct strv argv = STRV_INIT;
    strv_adds(&argv, "restore-points", call_text(c, P_VMID), "--output-format=json", NULL);
    return call_pvesr_always(c, &argv, take_points, e);
}

/* ---- failover ---- */

static void failover_words(const struct call *c, struct strv *argv)
{
    strv_adds(argv, "failover", call_text(c, P_VMID), "--output-format=json", NULL);
    if (call_given(c, P_POINT))
        strv_addf(argv, "--point=%s", call_text(c, P_POINT));
}

int serve_failover_plan(struct call *c, struct err *e)
{
    _cleanup_strv_ struct strv argv = STRV_INIT;
    failover_words(c, &argv);
    strv_add(&argv, "--dry-run");
    return call_pvesr(c, &argv, take_json, e);
}

/* Force says of the guest's node, and so of all that it does, that it is gone. */
static int require_force(struct call *c, struct err *e)
{
    struct guest_list guests = {0};
    if (guests_load(c->tree, &guests, e) < 0)
        return -1;
    const struct guest_entry *guest = guests_find(&guests, (uint32_t)c->request.value[P_VMID].integer);
    _cleanup_free_ char *path = guest ? xasprintf("/nodes/%s", guest->node) : xstrdup("/nodes");
    guests_release(&guests);
    return call_require(c, path, PRIV(Sys_Modify));
}

int serve_failover(struct call *c, struct err *e)
{
    _cleanup_strv_ struct strv argv = STRV_INIT;
    bool force = c->request.value[P_FORCE_FAILOVER].flag;
    if (force && require_force(c, e) < 0)
        return -1;
    failover_words(c, &argv);
    if (force)
        strv_add(&argv, "--force");
    c->api->log(LOG_NOTICE, "API: failover of guest %s to this node, asked for by %s from %s",
                call_text(c, P_VMID), c->caller.who, c->address);
    return call_pvesr(c, &argv, take_json, e);
}
