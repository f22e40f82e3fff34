/* /cluster/options and /nodes/{node}/status: what monitors ask of cluster and node beside the jobs. */
#include "api/serve/serve.h"

#include "base/fs.h"
#include "conf/datacenter.h"

#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <unistd.h>

/* ---- the cluster's settings ---- */

/* A text that is none of these counts as absent (BEHAVIOUR.md#datacenter). */
static void parse_transport(json_t *options, const char *key)
{
    struct transport t = {0};
    const char *text = json_string_value(json_object_get(options, key));
    json_t *o = text && transport_parse(text, &t) ? json_object() : NULL;
    if (o)
        json_object_set_new(o, "type", json_string(t.insecure ? "insecure" : "secure"));
    if (o && t.network)
        json_object_set_new(o, "network", json_string(t.network));
    json_object_del(options, key);
    if (o)
        json_object_set_new(options, key, o);
    transport_release(&t);
}

int serve_options(struct call *c, struct err *e)
{
    _cleanup_buf_ struct buf text = BUF_INIT;
    if (tree_read(c->tree, "datacenter.cfg", &text, e) < 0)
        return -1;
    c->data = config_json(&text);
    parse_transport(c->data, "replication");
    parse_transport(c->data, "migration");
    return 0;
}

static int say_set(struct call *c, const struct child_result *r, struct err *e)
{
    return r->status == 0 ? 0 : call_refuse_as_said(c, r);
}

static int refuse_both(struct call *c, const char *name)
{
    _cleanup_free_ char *why = xasprintf("cannot set and delete '%s' at the same time", name);
    return call_refuse_parameter(c, "delete", why);
}

/* By pvesrd itself, in a process of its own. */
int serve_options_set(struct call *c, struct err *e)
{
    static const enum parameter_id known[] = {P_REPLICATION, P_MIGRATION};
    const struct strv *deleted = &c->request.value[P_DELETE_OPTIONS].list;
    _cleanup_strv_ struct strv argv = STRV_INIT, changes = STRV_INIT;
    for (size_t i = 0; i < ELEMENTS(known); i++) {
        const char *name = parameters[known[i]].name;
        bool gone = strv_has(deleted, name);
        if (gone && call_given(c, known[i]))
            return refuse_both(c, name);
        if (gone)
            strv_add(&changes, name);
        else if (call_given(c, known[i]))
            strv_addf(&changes, "%s=%s", name, call_text(c, known[i]));
    }
    if (!changes.n)
        return 0;
    _cleanup_free_ char *lines = strv_join(&changes, "\n");
    strv_add(&argv, "/proc/self/exe");
    strv_addf(&argv, "--set-options=%s", lines);
    if (c->api->config)
        strv_addf(&argv, "--config=%s", c->api->config);
    return call_child(c, &argv, NULL, 0, say_set, e);
}

/* ---- the node ---- */

static json_t *room_json(uint64_t total, uint64_t free)
{
    return json_pack("{s:I, s:I, s:I}", "total", (json_int_t)total, "used", (json_int_t)(total - free),
                     "free", (json_int_t)free);
}

/* Memory that only keeps files is free to whoever asks for it. 0: the kernel does not say. */
static uint64_t memory_available(void)
{
    static const char key[] = "MemAvailable:";
    unsigned long long kib = 0;
    struct err ignored;
    _cleanup_buf_ struct buf text = BUF_INIT;
    const char *at =
        fs_read("/proc/meminfo", 1 << 16, &text, &ignored) == 0 ? strstr(buf_str(&text), key) : NULL;
    return at && sscanf(at + strlen(key), "%llu", &kib) == 1 ? (uint64_t)kib << 10 : 0;
}

static json_t *memory_json(const struct sysinfo *s)
{
    uint64_t total = (uint64_t)s->totalram * s->mem_unit, available = memory_available();
    return room_json(total, available && available <= total ? available : (uint64_t)s->freeram * s->mem_unit);
}

static json_t *load_json(void)
{
    double load[3] = {0};
    json_t *a = json_array();
    (void)getloadavg(load, ELEMENTS(load));
    for (size_t i = 0; i < ELEMENTS(load); i++) {
        _cleanup_free_ char *text = xasprintf("%.2f", load[i]);
        json_array_append_new(a, json_string(text));
    }
    return a;
}

static json_t *root_json(void)
{
    struct statvfs fs = {0};
    (void)statvfs("/", &fs);
    json_t *o = room_json((uint64_t)fs.f_blocks * fs.f_frsize, (uint64_t)fs.f_bfree * fs.f_frsize);
    json_object_set_new(o, "avail", json_integer((json_int_t)((uint64_t)fs.f_bavail * fs.f_frsize)));
    return o;
}

int serve_node_status(struct call *c, struct err *e)
{
    struct sysinfo s = {0};
    struct utsname name;
    if (sysinfo(&s) < 0 || uname(&name) < 0)
        return err_sys(e, "the kernel does not say how the node is doing");
    _cleanup_free_ char *kernel = xasprintf("%s %s %s", name.sysname, name.release, name.version);
    json_t *o = c->data = json_object();
    json_object_set_new(o, "uptime", json_integer(s.uptime));
    json_object_set_new(o, "loadavg", load_json());
    json_object_set_new(o, "memory", memory_json(&s));
    json_object_set_new(o, "swap",
                        room_json((uint64_t)s.totalswap * s.mem_unit, (uint64_t)s.freeswap * s.mem_unit));
    json_object_set_new(o, "rootfs", root_json());
    json_object_set_new(o, "cpuinfo", json_pack("{s:I}", "cpus", (json_int_t)sysconf(_SC_NPROCESSORS_ONLN)));
    json_object_set_new(o, "kversion", json_string(kernel));
    json_object_set_new(o, "pveversion", json_string("pvesr/" PVESR_VERSION));
    return 0;
}
