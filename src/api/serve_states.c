/* /nodes/{node}/replication: how the jobs of this node's guests are doing. */
#include "api/serve.h"

#include "api/logfile.h"
#include "view/world.h"

#include <string.h>

static int load(struct call *c, struct world *w, struct err *e)
{
    const struct jobs *jobs = call_jobs(c, e);
    if (!jobs || world_load(w, c->tree, c->api->settings->node, jobs, e) < 0)
        return -1;
    return world_load_states(w, c->api->settings->state_dir, e);
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
    if (load(c, &w, e) < 0)
        return -1;
    size_t all = world_jobs(&w), n = 0;
    _cleanup_free_ json_t **found = xcalloc(all + 1, sizeof(json_t *));
    for (size_t i = 0; i < all; i++) {
        const struct job *job = world_job(&w, i);
        if (is_wanted(c, job) && (found[n] = world_state(&w, job, c->now)))
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
    if (load(c, &w, e) < 0)
        return -1;
    const struct job *job = jobs_find(&c->api->jobs.jobs, call_text(c, P_ID));
    c->data = job ? world_state(&w, job, c->now) : NULL;
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
