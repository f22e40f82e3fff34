/* /nodes/{node}/replication: how the jobs of this node's guests are doing. */
#include "api/serve.h"

#include "api/logfile.h"
#include "view/job.h"

#include <string.h>

/* All that a state is made of. */
struct world {
    struct guest_list guests;
    struct members members;
    struct job_states *states;
    const struct jobs *jobs; /* borrowed */
};

static void world_release(struct world *w)
{
    guests_release(&w->guests);
    members_release(&w->members);
    job_states_free(w->states);
}

static int world_load(struct call *c, struct world *w, struct err *e)
{
    w->jobs = call_jobs(c, e);
    if (!w->jobs || guests_load(c->tree, &w->guests, e) < 0 || members_load(c->tree, &w->members, e) < 0)
        return -1;
    w->states = job_states_load(c->api->settings->state_dir, e);
    return !w->states ? -1
                      : members_check_node(c->tree, &w->members, c->api->settings->node,
                                           job_states_had_any(c->api->settings->state_dir), e);
}

/* New; NULL: none of this node's. */
static json_t *state_json(const struct call *c, const struct world *w, const struct job *job)
{
    _cleanup_(job_view_release) struct job_view v = {0};
    if (!job_view_init(&v, job, c->api->settings->node, &w->guests))
        return NULL;
    job_view_look(&v, &w->members, w->states, w->jobs->written, c->now);
    json_t *o = job_view_json(&v);
    if (!job->source)
        json_object_set_new(o, "source", json_string(c->api->settings->node));
    return o;
}

static bool is_wanted(const struct call *c, const struct job *job)
{
    int64_t only = c->request.value[P_GUEST].integer;
    return (!only || job->guest == only) && (call_may_guest(c, job->guest) & PRIV(VM_Audit));
}

static int by_id(const void *a, const void *b)
{
    const json_t *const *x = a, *const *y = b;
    return strcmp(json_string_value(json_object_get(*x, "id")), json_string_value(json_object_get(*y, "id")));
}

int serve_states(struct call *c, struct err *e)
{
    _cleanup_(world_release) struct world w = {0};
    if (world_load(c, &w, e) < 0)
        return -1;
    size_t all = w.jobs->n + w.jobs->n_unread, n = 0;
    _cleanup_free_ json_t **found = xcalloc(all + 1, sizeof(json_t *));
    for (size_t i = 0; i < all; i++) {
        const struct job *job = i < w.jobs->n ? &w.jobs->v[i] : &w.jobs->unread[i - w.jobs->n];
        if (is_wanted(c, job) && (found[n] = state_json(c, &w, job)))
            n++;
    }
    qsort(found, n, sizeof(json_t *), by_id);
    c->data = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(c->data, found[i]);
    return 0;
}

int serve_state(struct call *c, struct err *e)
{
    _cleanup_(world_release) struct world w = {0};
    if (world_load(c, &w, e) < 0)
        return -1;
    const struct job *job = jobs_find(&c->api->jobs.jobs, call_text(c, P_ID));
    c->data = job ? state_json(c, &w, job) : NULL;
    return c->data ? 0 : call_refuse(c, 404, "no such replication job '%s'", call_text(c, P_ID));
}

int serve_state_links(struct call *c, struct err *e)
{
    static const char *const names[] = {"schedule_now", "log", "status"};
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

int serve_schedule_now(struct call *c, struct err *e)
{
    _cleanup_strv_ struct strv argv = STRV_INIT;
    if (!call_job(c, "replication job", e))
        return -1;
    strv_adds(&argv, "schedule-now", call_text(c, P_ID), NULL);
    return call_pvesr(c, &argv, say_scheduled, e);
}
