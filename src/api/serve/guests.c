/* /nodes/{node}/qemu/{vmid} and /lxc/{vmid}: a guest as clients look it up before they come to its jobs. */
#include "api/serve/serve.h"

#include "base/num.h"
#include "base/proc.h"
#include "conf/comment.h"
#include "conf/digest.h"
#include "conf/lines.h"
#include "conf/propstring.h"
#include "guest/runtime.h"
#include "view/json.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define MEMORY_DEFAULT 512 /* MiB, where the configuration says nothing */
#define CIPASSWORD "cipassword"

/* What is a number in clients' eyes: no more than a number is written there. */
static json_t *value_json(const char *key, const char *text)
{
    uint64_t n;
    struct err ignored;
    if (strcmp(key, CIPASSWORD) == 0)
        return json_string("**********");
    bool plain =
        (*text != '0' || !text[1]) && strlen(text) <= 15 && strspn(text, "0123456789") == strlen(text);
    if (plain && num_parse_u64(key, text, 0, INT64_MAX, &n, &ignored) == 0)
        return json_integer((json_int_t)n);
    return json_text(text);
}

/* "KEY: VALUE" */
static void put_line(const char *text, size_t len, json_t *o)
{
    const char *colon = memchr(text, ':', len);
    if (!colon || colon == text)
        return;
    _cleanup_free_ char *key = xstrndup(text, (size_t)(colon - text));
    size_t rest = len - (size_t)(colon + 1 - text), lead = line_lead(colon + 1, rest);
    _cleanup_free_ char *value = xstrndup(colon + 1 + lead, line_trim(colon + 1 + lead, rest - lead));
    if (strspn(key, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") == strlen(key))
        json_object_set_new(o, key, value_json(key, value));
}

static void put_note(const char *text, size_t len, struct buf *note)
{
    struct err ignored;
    _cleanup_free_ char *line = xstrndup(text, len);
    _cleanup_free_ char *decoded = comment_decode(line, &ignored);
    buf_addf(note, "%s\n", decoded ? decoded : line);
}

json_t *config_json(const struct buf *text)
{
    char digest[41];
    json_t *o = json_object();
    _cleanup_buf_ struct buf note = BUF_INIT;
    struct lines l = LINES_INIT(buf_str(text), text->len);
    while (lines_next(&l) && !(l.len && *l.text == '['))
        if (l.len && *l.text == '#')
            put_note(l.text + 1, l.len - 1, &note);
        else
            put_line(l.text, l.len, o);
    if (note.len)
        json_object_set_new(o, "description", json_text(buf_str(&note)));
    digest_sha1(buf_str(text), text->len, digest);
    json_object_set_new(o, "digest", json_string(digest));
    return o;
}

/* Of the guest that the request names, if its file is where the path says. */
static int read_config(struct call *c, enum guest_type type, struct guest_entry *g, struct buf *text,
                       struct err *e)
{
    *g = (struct guest_entry){.id = (uint32_t)c->request.value[P_VMID].integer, .type = type};
    snprintf(g->node, sizeof g->node, "%s", call_text(c, P_NODE));
    _cleanup_free_ char *path = guest_config_path(g);
    int r = tree_read(c->tree, path, text, e);
    return r > 0 ? call_refuse(c, 500, "Configuration file '%s' does not exist", path) : r;
}

static int serve_config(struct call *c, enum guest_type type, struct err *e)
{
    struct guest_entry g;
    _cleanup_buf_ struct buf text = BUF_INIT;
    if (read_config(c, type, &g, &text, e) < 0)
        return -1;
    c->data = config_json(&text);
    return 0;
}

int serve_qemu_config(struct call *c, struct err *e)
{
    return serve_config(c, GUEST_QEMU, e);
}

int serve_lxc_config(struct call *c, struct err *e)
{
    return serve_config(c, GUEST_LXC, e);
}

/* ---- now ---- */

const char *guest_status(const struct call *c, const struct guest_entry *g, bool running)
{
    if (strcmp(g->node, c->api->settings->node) != 0)
        return "unknown";
    return running ? "running" : "stopped";
}

/* A number of the main section, also as `current=N` of several properties. */
static uint64_t number_of(const struct buf *config, const char *key, uint64_t otherwise)
{
    uint64_t n;
    struct err ignored;
    char text[32];
    _cleanup_free_ char *value = config_value(buf_str(config), config->len, key);
    if (!value || (!propstring_get(value, NULL, text, sizeof text) &&
                   !propstring_get(value, "current", text, sizeof text)))
        return otherwise;
    return num_parse_u64(key, text, 0, UINT32_MAX, &n, &ignored) < 0 ? otherwise : n;
}

static void put_number(json_t *o, const char *key, uint64_t n)
{
    json_object_set_new(o, key, json_integer((json_int_t)n));
}

/* What both kinds have; new. */
static json_t *now_json(const struct call *c, const struct guest_entry *g, const struct buf *config,
                        bool running)
{
    static const char *const texts[] = {"lock", "tags"};
    json_t *o = json_object();
    _cleanup_free_ char *name = name_of(g, buf_str(config), config->len);
    put_number(o, "vmid", g->id);
    json_object_set_new(o, "name", json_text(name));
    json_object_set_new(o, "status", json_string(guest_status(c, g, running)));
    put_number(o, "maxmem", number_of(config, "memory", MEMORY_DEFAULT) << 20);
    for (size_t i = 0; i < ELEMENTS(texts); i++) {
        _cleanup_free_ char *value = config_value(buf_str(config), config->len, texts[i]);
        if (value && *value)
            json_object_set_new(o, texts[i], json_text(value));
    }
    if (number_of(config, "template", 0))
        put_number(o, "template", 1);
    return o;
}

static void put_process(json_t *o, pid_t pid)
{
    struct timespec now;
    double ticks = (double)proc_start_time(pid), hz = (double)sysconf(_SC_CLK_TCK);
    clock_gettime(CLOCK_BOOTTIME, &now);
    double up = (double)now.tv_sec + (double)now.tv_nsec / 1e9 - ticks / hz;
    if (ticks <= 0) /* it has ended since */
        return;
    put_number(o, "pid", (uint64_t)pid);
    put_number(o, "uptime", up > 0 ? (uint64_t)up : 0);
}

int serve_qemu_now(struct call *c, struct err *e)
{
    struct guest_entry g;
    _cleanup_buf_ struct buf config = BUF_INIT;
    if (read_config(c, GUEST_QEMU, &g, &config, e) < 0)
        return -1;
    pid_t pid = guest_running(GUEST_QEMU, g.id);
    c->data = now_json(c, &g, &config, pid);
    put_number(c->data, "cpus", number_of(&config, "cores", 1) * number_of(&config, "sockets", 1));
    if (pid)
        put_process(c->data, pid);
    return 0;
}

int serve_lxc_now(struct call *c, struct err *e)
{
    struct guest_entry g;
    _cleanup_buf_ struct buf config = BUF_INIT;
    if (read_config(c, GUEST_LXC, &g, &config, e) < 0)
        return -1;
    uint64_t cores = number_of(&config, "cores", 0);
    c->data = now_json(c, &g, &config, guest_running(GUEST_LXC, g.id));
    json_object_set_new(c->data, "type", json_string("lxc"));
    put_number(c->data, "maxswap", number_of(&config, "swap", MEMORY_DEFAULT) << 20);
    if (cores)
        put_number(c->data, "cpus", cores);
    return 0;
}
