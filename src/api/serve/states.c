/* /nodes/{node}/replication: how the jobs of this node's guests are doing, what they did and will do; and
 * /nodes/{node}/doctor: what is left over here. */
#include "api/serve/serve.h"

#include "api/logfile.h"
#include "view/json.h"
#include "view/run.h"
#include "view/world.h"

#include <inttypes.h>
#include <string.h>

#define LOGS_MAX (4 << 20) /* bytes of an answer; a log may have 256 KiB */

static int load(struct call *c, struct world *w, struct err *e)
{
    const struct jobs *jobs = call_jobs(c, e);
    if (!jobs || world_load(w, c->tree, c->api->settings->node, jobs, e) < 0)
        return -1;
    const struct settings *s = c->api->settings;
    return world_load_states(w, s->state_dir, e) < 0
               ? -1
               : members_check_node(c->tree, &w->members, s->node, job_states_any(w->states), e);
}

static bool is_wanted(const struct call *c, uint32_t guest)
{
    int64_t only = c->request.value[P_GUEST].integer;
    return (!only || guest == only) && (call_may_guest(c, guest) & PRIV(VM_Audit));
}

int serve_states(struct call *c, struct err *e)
{
    _cleanup_(world_release) struct world w = {0};
    if (load(c, &w, e) < 0)
        return -1;
    rows_look(&c->api->states, &w, c->api->jobs.version, c->now);
    call_list(c, &c->api->states, is_wanted);
    return 0;
}

int serve_state(struct call *c, struct err *e)
{
    _cleanup_(world_release) struct world w = {0};
    if (load(c, &w, e) < 0)
        return -1;
    const struct job *job = jobs_find(&c->api->jobs.jobs, call_text(c, P_ID));
    c->data = job ? world_state(&w, job, c->now) : NULL;
    return c->data ? 0 : call_refuse(c, 404, "no such replication job '%s'", call_text(c, P_ID));
}

int serve_state_links(struct call *c, struct err *e)
{
    static const char *const names[] = {"schedule_now", "log", "status", "history", "plan"};
    c->data = json_array();
    for (size_t i = 0; i < ELEMENTS(names); i++)
        json_array_append_new(c->data, json_pack("{s:s}", "name", names[i]));
    return 0;
}

int serve_log(struct call *c, struct err *e)
{
    if (!call_job(c, "replication job", e))
        return -1;
    uint64_t total;
    _cleanup_free_ char *path = xasprintf("%s/%s", c->api->settings->log_dir, call_text(c, P_ID));
    c->data = logfile_json(path, (uint64_t)c->request.value[P_LOG_START].integer,
                           (uint64_t)c->request.value[P_LOG_LIMIT].integer, &total);
    c->total = json_integer((json_int_t)total);
    return 0;
}

static int say_scheduled(struct call *c, const struct child_result *r, struct err *e)
{
    c->data = json_string("");
    return 0;
}

/* pvesr does nothing elsewhere, and warns; whoever takes the guest to be here is to ask again. */
static int check_here(struct call *c, const struct job *job, struct err *e)
{
    struct guest_list guests = {0};
    if (guests_load(c->tree, &guests, e) < 0)
        return -1;
    const struct guest_entry *g = guests_find(&guests, job->guest);
    int r = !g ? call_refuse(c, 500, "guest %" PRIu32 " does not exist", job->guest)
            : strcmp(g->node, c->api->settings->node) != 0
                ? call_refuse(c, 500, "guest %" PRIu32 " is on node '%s', and its jobs run there", job->guest,
                              g->node)
                : 0;
    guests_release(&guests);
    return r;
}

int serve_schedule_now(struct call *c, struct err *e)
{
    _cleanup_strv_ struct strv argv = STRV_INIT;
    const struct job *job = call_job(c, "replication job", e);
    if (!job || check_here(c, job, e) < 0)
        return -1;
    strv_adds(&argv, "schedule-now", call_text(c, P_ID), NULL);
    return call_pvesr(c, &argv, say_scheduled, e);
}

/* ---- history ---- */

struct collected {
    json_t *runs;
    size_t logs; /* bytes */
};

static bool collect_run(const struct journal_run *run, void *arg)
{
    struct collected *all = arg;
    struct journal_run shown = *run;
    all->logs += run->log ? strlen(run->log) : 0;
    if (all->logs > LOGS_MAX)
        shown.log = NULL;
    json_array_append_new(all->runs, run_json(&shown));
    return true;
}

int serve_history(struct call *c, struct err *e)
{
    if (!call_job(c, "replication job", e))
        return -1;
    _cleanup_(journal_freep) struct journal *journal = journal_open_to_read(c->api->settings->state_dir, e);
    struct collected all = {.runs = json_array()};
    c->data = all.runs;
    if (journal && journal_list(journal, call_text(c, P_ID), (unsigned)c->request.value[P_RUNS].integer,
                                c->request.value[P_LOGS].flag, collect_run, &all, e) == 0)
        return 0;
    json_decref(c->data);
    c->data = NULL;
    return call_refuse(c, 503, "%s", e->text); /* the next run mends it */
}

/* ---- plan ---- */

static int give_lines(struct call *c, const struct child_result *r, struct err *e)
{
    _cleanup_strv_ struct strv lines = STRV_INIT;
    strv_split(&lines, buf_str(&r->out), "\n");
    c->data = json_array();
    for (size_t i = 0; i < lines.n; i++)
        json_array_append_new(c->data, json_text(lines.v[i]));
    return 0;
}

int serve_plan(struct call *c, struct err *e)
{
    _cleanup_strv_ struct strv argv = STRV_INIT;
    if (!call_job(c, "replication job", e))
        return -1;
    strv_adds(&argv, "plan", call_text(c, P_ID), NULL);
    return call_pvesr(c, &argv, give_lines, e);
}

/* ---- doctor ---- */

static bool may_see(const struct call *c, const json_t *finding)
{
    json_int_t guest = json_integer_value(json_object_get(finding, "guest"));
    return !guest || (call_may_guest(c, (uint32_t)guest) & PRIV(VM_Audit));
}

static json_t *findings_seen(const struct call *c, const json_t *all)
{
    json_t *seen = json_array();
    for (size_t i = 0; i < json_array_size(all); i++)
        if (may_see(c, json_array_get(all, i)))
            json_array_append(seen, json_array_get(all, i));
    return seen;
}

/* They name guests and volumes, and only for people. */
static json_t *warnings_seen(const struct call *c, const struct buf *said)
{
    json_t *seen = json_array();
    _cleanup_strv_ struct strv lines = STRV_INIT;
    if (call_may(c, "/vms") & PRIV(VM_Audit))
        strv_split(&lines, buf_str(said), "\n");
    for (size_t i = 0; i < lines.n; i++)
        if (strncmp(lines.v[i], "warning: ", 9) == 0)
            json_array_append_new(seen, json_text(lines.v[i] + 9));
    return seen;
}

/* It fails where not all could be looked at, and what it found is there all the same. */
static int give_findings(struct call *c, const struct child_result *r, struct err *e)
{
    if (call_check_who(c, e) < 0)
        return -1;
    json_t *all = json_loadb(buf_str(&r->out), r->out.len, 0, NULL);
    if (!json_is_array(all)) {
        json_decref(all);
        return call_refuse_as_said(c, r);
    }
    c->data =
        json_pack("{s:o, s:o}", "findings", findings_seen(c, all), "warnings", warnings_seen(c, &r->err));
    json_decref(all);
    return 0;
}

int serve_doctor(struct call *c, struct err *e)
{
    _cleanup_strv_ struct strv argv = STRV_INIT;
    strv_adds(&argv, "doctor", "--output-format=json", NULL);
    if (call_given(c, P_GUEST))
        strv_addf(&argv, "--guest=%s", call_text(c, P_GUEST));
    return call_pvesr_always(c, &argv, give_findings, e);
}
