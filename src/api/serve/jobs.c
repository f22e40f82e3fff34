/* /cluster/replication: the jobs as they are configured. Changes are made by pvesr, so that they are made in
 * one way, and wait for their locks elsewhere. */
#include "api/serve/serve.h"

#include "conf/storagemap.h"
#include "view/world.h"

static int load(struct call *c, struct world *w, struct err *e)
{
    const struct jobs *jobs = call_jobs(c, e);
    return jobs ? world_load(w, c->tree, c->api->settings->node, jobs, e) : -1;
}

static bool is_seen(const struct call *c, uint32_t guest)
{
    return call_may_guest(c, guest) & PRIV(VM_Audit);
}

int serve_jobs(struct call *c, struct err *e)
{
    _cleanup_(world_release) struct world w = {0};
    if (load(c, &w, e) < 0)
        return -1;
    rows_look(&c->api->configs, &w, c->api->jobs.version, c->now);
    call_list(c, &c->api->configs, is_seen);
    return 0;
}

int serve_job(struct call *c, struct err *e)
{
    _cleanup_(world_release) struct world w = {0};
    const struct job *job = call_job(c, "replication job", e);
    if (!job || world_load(&w, c->tree, c->api->settings->node, &c->api->jobs.jobs, e) < 0)
        return -1;
    c->data = world_config(&w, job);
    json_object_set_new(c->data, "digest", json_string(c->api->jobs.jobs.digest));
    return 0;
}

/* ---- changes ---- */

/* What was given, as options. */
static void add_options(const struct call *c, struct strv *argv)
{
    const struct endpoint *ep = c->request.endpoint;
    for (size_t i = 0; i < ENDPOINT_PARAMETERS && ep->parameters[i]; i++) {
        enum parameter_id id = ep->parameters[i];
        if (call_given(c, id) && id != P_ID && id != P_TARGET && id != P_TYPE)
            strv_addf(argv, "--%s=%s", parameters[id].name, call_text(c, id));
    }
}

/* Whoever says where replicas are may fill these storages. An entry leads both ways. What is no map pvesr
 * says. */
static int check_storages(struct call *c)
{
    _cleanup_storagemap_ struct storagemap map = {0};
    struct err ignored;
    if (!call_given(c, P_TARGET_STORAGE) ||
        storagemap_parse(call_text(c, P_TARGET_STORAGE), &map, &ignored) < 0)
        return 0;
    for (size_t i = 0; i < 2 * map.from.n; i++) {
        const char *name = i % 2 ? map.to.v[i / 2] : map.from.v[i / 2];
        _cleanup_free_ char *path = xasprintf("/storage/%s", name);
        if (call_require(c, path, PRIV(Datastore_AllocateSpace)) < 0)
            return -1;
    }
    return 0;
}

int serve_job_create(struct call *c, struct err *e)
{
    _cleanup_strv_ struct strv argv = STRV_INIT;
    if (check_storages(c) < 0)
        return -1;
    strv_adds(&argv, "create-local-job", call_text(c, P_ID), call_text(c, P_TARGET), NULL);
    add_options(c, &argv);
    return call_pvesr(c, &argv, NULL, e);
}

int serve_job_update(struct call *c, struct err *e)
{
    _cleanup_strv_ struct strv argv = STRV_INIT;
    if (!call_job(c, "job", e) || check_storages(c) < 0)
        return -1;
    strv_adds(&argv, "update", call_text(c, P_ID), NULL);
    add_options(c, &argv);
    return call_pvesr(c, &argv, NULL, e);
}

/* By force, what is not there is removed, too. */
int serve_job_delete(struct call *c, struct err *e)
{
    _cleanup_strv_ struct strv argv = STRV_INIT;
    if (!c->request.value[P_FORCE].flag && !call_job(c, "job", e))
        return -1;
    strv_adds(&argv, "delete", call_text(c, P_ID), NULL);
    add_options(c, &argv);
    return call_pvesr(c, &argv, NULL, e);
}
