/* What clients ask of a cluster before they come to the jobs. */
#include "api/serve/serve.h"

#include "base/clock.h"
#include "conf/calendar.h"
#include "view/json.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

/* Clients compare it with what they need of Proxmox VE: VM.Replicate came with 9.0. */
#define API_VERSION "9.0.0"
#define API_RELEASE "9.0"

int serve_version(struct call *c, struct err *e)
{
    c->data = json_pack("{s:s, s:s, s:s}", "version", API_VERSION, "release", API_RELEASE, "repoid",
                        "pvesr-" PVESR_VERSION);
    return 0;
}

/* ---- nodes ---- */

static bool is_self(const struct call *c, const struct member *m)
{
    return strcmp(m->node.name, c->api->settings->node) == 0;
}

static json_t *node_json(const struct member *m)
{
    json_t *o = json_object();
    _cleanup_free_ char *id = xasprintf("node/%s", m->node.name);
    json_object_set_new(o, "node", json_string(m->node.name));
    json_object_set_new(o, "id", json_string(id));
    json_object_set_new(o, "type", json_string("node"));
    json_object_set_new(o, "status", json_string(m->online ? "online" : "offline"));
    return o;
}

int serve_nodes(struct call *c, struct err *e)
{
    struct members members = {0};
    if (members_load(c->tree, &members, e) < 0)
        return -1;
    c->data = json_array();
    for (size_t i = 0; i < members.n; i++)
        json_array_append_new(c->data, node_json(&members.v[i]));
    members_release(&members);
    return 0;
}

static json_t *status_json(const struct call *c, const struct member *m, size_t number)
{
    json_t *o = json_object();
    _cleanup_free_ char *id = xasprintf("node/%s", m->node.name);
    json_object_set_new(o, "type", json_string("node"));
    json_object_set_new(o, "id", json_string(id));
    json_object_set_new(o, "name", json_string(m->node.name));
    json_object_set_new(o, "ip", json_string(m->node.address));
    json_object_set_new(o, "nodeid", json_integer((json_int_t)number));
    json_object_set_new(o, "level", json_string(""));
    json_object_set_new(o, "online", json_integer(m->online || is_self(c, m)));
    json_object_set_new(o, "local", json_integer(is_self(c, m)));
    return o;
}

/* A cluster without a name has ours; new. */
static json_t *cluster_name(const struct members *m)
{
    return json_text(m->cluster && *m->cluster ? m->cluster : "pvesr");
}

json_t *cluster_name_json(struct call *c)
{
    struct err ignored;
    struct members members = {0};
    (void)members_load(c->tree, &members, &ignored);
    json_t *name = cluster_name(&members);
    members_release(&members);
    return name;
}

int serve_cluster_status(struct call *c, struct err *e)
{
    struct members members = {0};
    if (members_load(c->tree, &members, e) < 0)
        return -1;
    c->data = json_array();
    if (members.n > 1)
        json_array_append_new(c->data, json_pack("{s:s, s:s, s:o, s:i, s:i}", "type", "cluster", "id",
                                                 "cluster", "name", cluster_name(&members), "nodes",
                                                 (int)members.n, "quorate", (int)members.quorate));
    for (size_t i = 0; i < members.n; i++)
        json_array_append_new(c->data, status_json(c, &members.v[i], i + 1));
    members_release(&members);
    return 0;
}

/* ---- guests ---- */

static json_t *resource_json(const struct call *c, const struct guest_entry *g, const struct fact *fact)
{
    json_t *o = json_object();
    _cleanup_free_ char *id = xasprintf("%s/%" PRIu32, guest_type_name(g->type), g->id);
    json_object_set_new(o, "id", json_string(id));
    json_object_set_new(o, "type", json_string(guest_type_name(g->type)));
    json_object_set_new(o, "node", json_string(g->node));
    json_object_set_new(o, "vmid", json_integer(g->id));
    json_object_set_new(o, "name", json_text(fact->name));
    json_object_set_new(o, "template", json_integer(fact->is_template));
    json_object_set_new(o, "status", json_string(guest_status(c, g, fact->running)));
    return o;
}

/* Those that `wanted` takes (NULL: all) and the caller may see. */
static int add_guests(struct call *c, bool (*wanted)(const struct call *c, const struct guest_entry *g),
                      struct err *e)
{
    struct guest_list guests = {0};
    if (guests_load(c->tree, &guests, e) < 0)
        return -1;
    facts_look(&c->api->facts, c->tree, &guests, c->api->settings->node, clock_mono());
    for (size_t i = 0; i < guests.n; i++)
        if ((!wanted || wanted(c, &guests.v[i])) && (call_may_guest(c, guests.v[i].id) & PRIV(VM_Audit)))
            json_array_append_new(c->data, resource_json(c, &guests.v[i], &c->api->facts.v[i]));
    guests_release(&guests);
    return 0;
}

int serve_resources(struct call *c, struct err *e)
{
    const char *only = call_text(c, P_RESOURCE);
    if (only && strcmp(only, "node") != 0)
        c->data = json_array();
    else if (serve_nodes(c, e) < 0)
        return -1;
    return only && strcmp(only, "vm") != 0 ? 0 : add_guests(c, NULL, e);
}

static bool is_there(const struct call *c, const struct guest_entry *g)
{
    return strcmp(g->node, call_text(c, P_NODE)) == 0;
}

static bool is_machine(const struct call *c, const struct guest_entry *g)
{
    return g->type == GUEST_QEMU && is_there(c, g);
}

static bool is_container(const struct call *c, const struct guest_entry *g)
{
    return g->type == GUEST_LXC && is_there(c, g);
}

int serve_qemu(struct call *c, struct err *e)
{
    c->data = json_array();
    return add_guests(c, is_machine, e);
}

int serve_lxc(struct call *c, struct err *e)
{
    c->data = json_array();
    return add_guests(c, is_container, e);
}

/* ---- schedules ---- */

static json_t *event_json(int64_t at)
{
    struct tm tm;
    char text[64] = "", here[64] = "";
    time_t t = at;
    if (gmtime_r(&t, &tm))
        strftime(text, sizeof text, "%a %b %e %H:%M:%S %Y", &tm);
    if (localtime_r(&t, &tm))
        strftime(here, sizeof here, "%Y-%m-%d %H:%M:%S %Z", &tm);
    return json_pack("{s:I, s:s, s:s}", "timestamp", (json_int_t)at, "utc", text, "local", here);
}

int serve_analyze(struct call *c, struct err *e)
{
    _cleanup_(calendar_freep) struct calendar *event = calendar_parse(call_text(c, P_SCHEDULE), e);
    if (!event)
        return -1;
    int64_t last = call_given(c, P_STARTTIME) ? c->request.value[P_STARTTIME].integer : c->now;
    c->data = json_array();
    for (int64_t i = 0; i < c->request.value[P_EVENTS].integer && calendar_next(event, last, &last); i++)
        json_array_append_new(c->data, event_json(last));
    return 0;
}
