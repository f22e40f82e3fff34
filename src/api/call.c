#include "api/call.h"

#include "api/attempts.h"
#include "api/events.h"
#include "api/gather.h"
#include "api/relay.h"
#include "api/serve/serve.h"
#include "base/clock.h"
#include "base/text.h"
#include "view/json.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <syslog.h>

#define PREFIX_DEPTH 2 /* "api2", "json" */

void api_release(struct api *a)
{
    who_release(&a->who);
    jobs_kept_release(&a->jobs);
    facts_release(&a->facts);
    rows_release(&a->configs);
    rows_release(&a->states);
    attempts_free(a->attempts);
    a->attempts = NULL;
    forwards_free(a->forwards);
    a->forwards = NULL;
}

/* ---- the log ---- */

static void say_held(struct api *a, unsigned n)
{
    if (n)
        a->log(LOG_NOTICE,
               "API: %u more lines of refused requests are not here: there are at most %d in %d s", n,
               OFTEN_LINES, OFTEN_SECONDS);
}

void api_log_often(struct api *a, int priority, const char *format, ...)
{
    unsigned held;
    bool may = often_may(&a->refused, (int64_t)clock_mono(), &held);
    _cleanup_free_ char *line = NULL;
    va_list ap;
    say_held(a, held);
    if (!may)
        return;
    va_start(ap, format);
    if (vasprintf(&line, format, ap) < 0)
        abort();
    va_end(ap);
    a->log(priority, "%s", line);
}

void api_log_held(struct api *a)
{
    say_held(a, often_over(&a->refused, (int64_t)clock_mono()));
}

/* ---- refusing ---- */

int call_refuse(struct call *c, unsigned status, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    free(c->message);
    c->message = NULL;
    if (vasprintf(&c->message, format, ap) < 0)
        abort();
    va_end(ap);
    text_clean(c->message);
    c->status = status;
    return -1;
}

#define VERIFICATION_FAILED "Parameter verification failed."

int call_refuse_parameter(struct call *c, const char *name, const char *reason)
{
    if (!c->request.errors)
        c->request.errors = json_object();
    json_object_set_new(c->request.errors, name, json_text(reason));
    return call_refuse(c, 400, VERIFICATION_FAILED);
}

static unsigned status_of(enum err_kind kind)
{
    return kind == ERR_USAGE ? 400 : kind == ERR_BUSY ? 503 : 500;
}

/* A fault of ours always has its line; that others are away, or many, may be said by anybody. */
static void log_failure(struct call *c)
{
    const char *path = c->request.endpoint ? c->request.endpoint->path : "request";
    const char *who = *c->caller.who ? c->caller.who : "nobody";
    if (c->status == 500 && *c->caller.who)
        c->api->log(LOG_WARNING, "API: %s by %s from %s: 500 %s", path, who, c->address, c->message);
    else
        api_log_often(c->api, LOG_WARNING, "API: %s by %s from %s: %u %s", path, who, c->address, c->status,
                      c->message);
}

static int on_pause(sd_event_source *s, uint64_t usec, void *arg)
{
    struct call *c = arg;
    c->answered(c);
    return 0;
}

/* What went wrong, unless that is noted already. */
static void answer(struct call *c, int r, const struct err *e)
{
    if (r < 0 && c->status == 0)
        call_refuse(c, status_of(e->kind), "%s", e->text);
    if (r >= 0) {
        c->status = 200;
        return;
    }
    json_decref(c->data); /* what was found before it failed */
    c->data = NULL;
    if (c->status >= 500)
        log_failure(c);
}

/* True: not yet. It is answered later. */
static bool pause_answer(struct call *c)
{
    if (c->steps <= 0)
        return false;
    double steps = (clock_mono() - c->begun) / c->steps,
           left = ((double)(int64_t)steps + 1 - steps) * c->steps;
    c->steps = 0;
    return sd_event_add_time_relative(c->api->event, &c->pause, CLOCK_MONOTONIC, (uint64_t)(left * 1e6), 1,
                                      on_pause, c) >= 0;
}

/* ---- who, and may they ---- */

privileges call_may(const struct call *c, const char *path)
{
    const struct access *a = c->api->who.access;
    return a ? caller_may(a, &c->caller, path, c->now) : 0;
}

privileges call_may_guest(const struct call *c, uint32_t guest)
{
    const struct access *a = c->api->who.access;
    return a ? users_may_guest(a->users, c->caller.who, guest, c->now) : 0;
}

int call_check_who(const struct call *c, struct err *e)
{
    return c->api->who.access ? 0 : err_set(e, ERR_CONFIG, 0, "%s", c->api->who.problem);
}

static int identify(struct call *c)
{
    struct err e = {0};
    const struct access *a = c->api->who.access;
    int r = a ? caller_identify(a, &c->credentials, c->now, &c->caller, &e)
              : err_set(&e, ERR_CONFIG, 0, "%s", c->api->who.problem);
    if (r == 0)
        return 0;
    *c->caller.who = 0;
    bool tries = c->credentials.authorization || c->credentials.cookie;
    if (tries && who_is_bare(&c->api->who)) /* a panel would end its session, which is good again later */
        return call_refuse(c, 503, "nobody can be known now: the cluster's tree has neither users nor keys");
    if (tries)
        api_log_often(c->api, LOG_NOTICE, "API: a request from %s is refused: %s", c->address, e.text);
    return call_refuse(c, 401, "authentication failure");
}

static void name_all(privileges set, char *out, size_t room)
{
    *out = 0;
    for (enum privilege p = 0; p < PRIVILEGES; p++)
        if (set & ((privileges)1 << p)) {
            size_t n = strlen(out);
            snprintf(out + n, room - n, "%s%s", n ? "|" : "", privilege_name(p));
        }
}

int call_require(struct call *c, const char *path, privileges wanted)
{
    char names[256];
    if (privileges_have_any(call_may(c, path), wanted))
        return 0;
    name_all(wanted, names, sizeof names);
    return call_refuse(c, 403, "Permission check failed (%s, %s)", path, names);
}

static uint32_t guest_of(const struct call *c)
{
    struct job_id id = {0};
    struct err ignored;
    if (call_given(c, P_ID))
        return job_id_parse(call_text(c, P_ID), &id, &ignored) == 0 ? id.guest : 0;
    return (uint32_t)c->request.value[P_VMID].integer;
}

static int check_guard(struct call *c)
{
    const struct endpoint *ep = c->request.endpoint;
    _cleanup_free_ char *node = call_given(c, P_NODE) ? xasprintf("/nodes/%s", call_text(c, P_NODE)) : NULL;
    _cleanup_free_ char *guest = ep->guard == GUARD_GUEST ? xasprintf("/vms/%" PRIu32, guest_of(c)) : NULL;
    if (node && ep->or_on_node && privileges_have_any(call_may(c, node), ep->or_on_node))
        return 0;
    switch (ep->guard) {
    case GUARD_NONE:
    case GUARD_USER:
        return 0;
    case GUARD_SCRAPE:
        return scrape_is_allowed(c->api->settings, c->address) ? 0 : call_require(c, "/", ep->may);
    case GUARD_ROOT:
        return call_require(c, "/", ep->may);
    case GUARD_NODE:
        return call_require(c, node, ep->may);
    case GUARD_GUEST:
        return call_require(c, guest, ep->may);
    }
    return -1;
}

/* ---- what ---- */

/* "/api2/json/…" → the rest; of "/metrics", where everybody looks for it, all. */
static int take_prefix(struct call *c, struct strv *path)
{
    if (path->n == 1 && strcmp(path->v[0], "metrics") == 0)
        return 0;
    bool ours = path->n >= PREFIX_DEPTH && strcmp(path->v[0], "api2") == 0;
    c->extjs = ours && strcmp(path->v[1], "extjs") == 0;
    if (!ours || (!c->extjs && strcmp(path->v[1], "json") != 0))
        return call_refuse(c, 404, "there is nothing here: the API is below /api2/json");
    for (size_t i = 0; i < PREFIX_DEPTH; i++)
        strv_remove(path, 0);
    return 0;
}

static int find_endpoint(struct call *c, const struct strv *path, struct strv *values,
                         const struct endpoint **ret)
{
    bool known = false;
    bool verb = api_method_parse(c->method, &c->verb);
    *ret = endpoint_find(c->verb, path, &known, values);
    if (*ret && verb)
        return 0;
    _cleanup_free_ char *joined = strv_join(path, "/");
    return known ? call_refuse(c, 501, "Method '%s /%s' not implemented", c->method, joined)
                 : call_refuse(c, 404, "Path '/%s' not found", joined);
}

static int read_form(struct call *c, size_t path_len, struct form *form, struct err *e)
{
    const char *query = c->uri + path_len;
    if (*query == '?' && form_parse(form, query + 1, strlen(query + 1), e) < 0)
        return -1;
    return form_parse_body(form, c->content_type, buf_str(&c->body), c->body.len, e);
}

/* To whoever it is. */
static bool is_open(const struct call *c, const struct endpoint *ep)
{
    return ep->guard == GUARD_NONE ||
           (ep->guard == GUARD_SCRAPE && scrape_is_allowed(c->api->settings, c->address));
}

static int understand(struct call *c, struct err *e)
{
    _cleanup_strv_ struct strv path = STRV_INIT, values = STRV_INIT;
    _cleanup_(form_release) struct form form = {0};
    const struct endpoint *ep = NULL;
    size_t n = strcspn(c->uri, "?");
    if (path_split(c->uri, n, &path, e) < 0 || take_prefix(c, &path) < 0)
        return -1;
    int found = find_endpoint(c, &path, &values, &ep);
    /* whoever is nobody is not told what there is */
    if ((!ep || !is_open(c, ep)) && identify(c) < 0)
        return -1;
    if (found < 0 || read_form(c, n, &form, e) < 0)
        return -1;
    if (request_check(&c->request, ep, &values, &form) < 0)
        return call_refuse(c, 400, VERIFICATION_FAILED);
    return 0;
}

void api_update_who(struct api *a, struct tree *t)
{
    _cleanup_strv_ struct strv told = STRV_INIT;
    who_update(&a->who, t, &told);
    for (size_t i = 0; i < told.n; i++)
        a->log(LOG_WARNING, "%s", told.v[i]);
}

static int open_tree(struct call *c, struct err *e)
{
    c->tree = tree_open(c->api->settings->cluster, e);
    if (!c->tree)
        return -1;
    api_update_who(c->api, c->tree);
    return 0;
}

/* NULL: this one. */
static const char *other_node(const struct call *c)
{
    const char *node = call_text(c, P_NODE);
    return c->request.endpoint->on_node && strcmp(node, c->api->settings->node) != 0 ? node : NULL;
}

static int serve(struct call *c, struct err *e)
{
    const char *other = other_node(c);
    if (other)
        return relay_begin(c, other, e);
    return check_guard(c) < 0 ? -1 : c->request.endpoint->serve(c, e);
}

int call_begin(struct call *c)
{
    struct err e = {0};
    c->now = clock_epoch();
    c->begun = clock_mono();
    int r = open_tree(c, &e);
    if (r == 0)
        r = understand(c, &e);
    if (r == 0)
        r = serve(c, &e);
    if (r > 0)
        return 1;
    answer(c, r, &e);
    return pause_answer(c);
}

/* ---- children ---- */

static void on_child(const struct child_result *r, void *arg)
{
    struct call *c = arg;
    struct err e = {0};
    c->child = NULL;
    int rc = r->late      ? err_set(&e, ERR_SYSTEM, 0, "the request took too long and was ended")
             : r->too_big ? err_set(&e, ERR_SYSTEM, 0, "the answer is too large")
                          : c->finish(c, r, &e);
    if (rc > 0)
        return;
    answer(c, rc, &e);
    if (!pause_answer(c))
        c->answered(c);
}

void call_end(struct call *c, int r)
{
    struct err none = {0};
    answer(c, r, &none);
    c->answered(c);
}

static int refuse_many(struct call *c, unsigned n, const char *whose)
{
    return call_refuse(c, 503, "%u requests%s that take long are under way: try again", n, whose);
}

/* Whoever may ask without being anybody is an address. */
static const char *asker(const struct call *c)
{
    return *c->caller.who ? c->caller.who : c->address;
}

/* Those that nobody waits for any more count until their end. */
static int check_room(struct call *c, const char *what, uint32_t guest)
{
    const struct children *all = c->api->children;
    if (what && children_at(all, what))
        return call_refuse(c, 503, "the same is being done for guest %" PRIu32 ": try again", guest);
    if (c->request.endpoint->look && children_of(all, asker(c)) >= API_LOOKS_OF_ONE)
        return refuse_many(c, API_LOOKS_OF_ONE, " of yours");
    if (c->request.endpoint->look && children_of(all, NULL) >= API_LOOKS_MAX)
        return refuse_many(c, API_LOOKS_MAX, "");
    return children_count(all) >= API_CHILDREN_MAX ? refuse_many(c, API_CHILDREN_MAX, "") : 0;
}

int call_child(struct call *c, const struct strv *argv, const char *input, size_t input_len,
               int (*finish)(struct call *c, const struct child_result *r, struct err *e), struct err *e)
{
    const struct endpoint *ep = c->request.endpoint;
    uint32_t guest = call_given(c, P_GUEST) ? (uint32_t)c->request.value[P_GUEST].integer : guest_of(c);
    _cleanup_free_ char *what =
        ep->one_at_a_time && guest ? xasprintf("%s %s %" PRIu32, api_method_name(ep->method), ep->path, guest)
                                   : NULL;
    if (check_room(c, what, guest) < 0)
        return -1;
    c->finish = finish;
    c->child = child_start(c->api->children, argv, input, input_len, call_seconds(c), on_child, c, e);
    if (!c->child)
        return -1;
    child_mark(c->child, ep->look ? asker(c) : NULL, what);
    return 1;
}

/* "NAME: reason", of a parameter of this request. */
static int refuse_named(struct call *c, const char *line)
{
    const char *colon = strstr(line, ": ");
    _cleanup_free_ char *name = colon ? xstrndup(line, (size_t)(colon - line)) : NULL;
    for (size_t i = 0; name && i < ENDPOINT_PARAMETERS && c->request.endpoint->parameters[i]; i++)
        if (strcmp(parameters[c->request.endpoint->parameters[i]].name, name) == 0) {
            call_refuse_parameter(c, name, colon + 2);
            return -1;
        }
    return 0;
}

/* Behind warnings comes what it ended with; behind the fault of a parameter its usage. */
int call_refuse_as_said(struct call *c, const struct child_result *r)
{
    _cleanup_strv_ struct strv lines = STRV_INIT;
    strv_split(&lines, buf_str(&r->err), "\n");
    for (size_t i = 0; i < lines.n && r->status == 255; i++)
        if (refuse_named(c, lines.v[i]) < 0)
            return -1;
    if (lines.n)
        return call_refuse(c, r->status == EX_TEMPFAIL ? 503 : 500, "%s", lines.v[lines.n - 1]);
    return call_refuse(c, 500, "pvesr ended with status %d and said nothing", r->status);
}

static int finish_pvesr(struct call *c, const struct child_result *r, struct err *e)
{
    if (r->status != 0)
        return call_refuse_as_said(c, r);
    return c->then ? c->then(c, r, e) : 0;
}

int call_pvesr_always(struct call *c, struct strv *argv,
                      int (*finish)(struct call *c, const struct child_result *r, struct err *e),
                      struct err *e)
{
    _cleanup_strv_ struct strv all = STRV_INIT;
    strv_add(&all, c->api->program);
    for (size_t i = 0; i < argv->n; i++)
        strv_add(&all, argv->v[i]);
    if (c->api->config)
        strv_addf(&all, "--config=%s", c->api->config);
    return call_child(c, &all, NULL, 0, finish, e);
}

int call_pvesr(struct call *c, struct strv *argv,
               int (*then)(struct call *c, const struct child_result *r, struct err *e), struct err *e)
{
    c->then = then;
    return call_pvesr_always(c, argv, finish_pvesr, e);
}

/* ---- jobs ---- */

const struct jobs *call_jobs(struct call *c, struct err *e)
{
    return jobs_again(c->tree, &c->api->jobs, e) < 0 ? NULL : &c->api->jobs.jobs;
}

const struct job *call_job(struct call *c, const char *what, struct err *e)
{
    if (!call_jobs(c, e))
        return NULL;
    const struct job *job = jobs_find(&c->api->jobs.jobs, call_text(c, P_ID));
    if (!job && jobs_no_such(&c->api->jobs.jobs, what, call_text(c, P_ID), e) < 0)
        call_refuse(c, 404, "%s", e->text);
    return job;
}

void call_list(struct call *c, const struct rows *rows, bool (*wanted)(const struct call *c, uint32_t guest))
{
    for (size_t i = 0; i < rows->n; i++) {
        const struct row *row = &rows->v[i];
        if (!row->text.len || !wanted(c, row->guest))
            continue;
        buf_addc(&c->list, c->list.len ? ',' : '[');
        buf_add(&c->list, row->text.data, row->text.len);
    }
    buf_adds(&c->list, c->list.len ? "]" : "[]");
}

/* ---- the answer ---- */

/* Metrics are text of both formats that Prometheus knows: it is called as what was asked for. */
const char *call_type(const struct call *c, const char *accept)
{
    if (!c->text.len)
        return "application/json;charset=UTF-8";
    return accept && strstr(accept, "application/openmetrics-text")
               ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
               : "text/plain; version=0.0.4; charset=utf-8";
}

void call_print(const struct call *c, struct buf *body)
{
    if (c->text.len) {
        buf_add(body, c->text.data, c->text.len);
        return;
    }
    if (c->list.len && c->status == 200) {
        buf_addf(body, "{\"data\":%s%s}\n", buf_str(&c->list),
                 c->extjs ? ",\"status\":200,\"success\":1" : "");
        return;
    }
    json_t *o = json_object();
    json_object_set_new(o, "data", c->data ? json_incref(c->data) : json_null());
    if (c->total)
        json_object_set(o, "total", c->total);
    if (c->message) {
        _cleanup_free_ char *line = xasprintf("%s\n", c->message);
        json_object_set_new(o, "message", json_text(line));
    }
    if (c->request.errors)
        json_object_set(o, "errors", c->request.errors);
    if (c->extjs) {
        json_object_set_new(o, "success", json_integer(c->status == 200));
        json_object_set_new(o, "status", json_integer(c->status));
    }
    json_print(o, false, body);
    json_decref(o);
}

/* Whoever is asked for the answer. */
static void leave(struct call *c)
{
    if (c->child) {
        child_forget(c->child);
    }
    forward_cancel(c->forward);
    gather_free(c->gather);
    c->pause = sd_event_source_disable_unref(c->pause);
    c->child = NULL;
    c->forward = NULL;
    c->gather = NULL;
}

void call_cut(struct call *c)
{
    leave(c);
    call_refuse(c, 503, "pvesrd is ending");
    c->answered(c);
}

void call_release(struct call *c)
{
    leave(c);
    stream_close(c->stream);
    if (c->body.data)
        explicit_bzero(c->body.data, c->body.room);
    buf_release(&c->body);
    buf_release(&c->text);
    buf_release(&c->list);
    request_release(&c->request);
    tree_free(c->tree);
    free(c->message);
    json_decref(c->data);
    json_decref(c->total);
}
