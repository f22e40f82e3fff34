#include "cluster/dotmembers.h"

#include "base/jsonspan.h"
#include "base/mem.h"
#include "conf/job.h"

#include <arpa/inet.h>

static bool is_ip(const char *text)
{
    struct in6_addr binary;
    return inet_pton(AF_INET, text, &binary) == 1 || inet_pton(AF_INET6, text, &binary) == 1;
}

static bool is_true(struct json_span s)
{
    int64_t value;
    return json_to_i64(s, &value) ? value != 0 : s.p && *s.p == 't';
}

/* A node that has not joined yet has no address: its name is what is left to try. */
static void add_pmxcfs_node(struct nodes *nodes, struct members *m, const char *name, struct json_span info)
{
    struct err e;
    if (node_name_check(name, &e) < 0) {
        strv_addf(&m->warnings, ".members: node '%s': %s", name, e.text);
        return;
    }
    _cleanup_free_ char *ip = json_to_string(json_get(info, "ip"));
    nodes_add(nodes, name, ip && is_ip(ip) ? ip : name);
    m->v = xreallocarray(m->v, nodes->n, sizeof *m->v);
    m->v[nodes->n - 1] = (struct member){.online = is_true(json_get(info, "online"))};
}

static void add_single_node(struct nodes *nodes, struct members *m, const char *name)
{
    nodes_add(nodes, name, "local");
    m->v = xcalloc(1, sizeof *m->v);
    m->v[0].online = true;
}

/* Is it what pmxcfs says? *me: this node, malloc'ed. */
static int check(const struct buf *text, struct json_span *root, char **me, struct err *e)
{
    size_t bad;
    if (json_check(buf_str(text), text->len, root, &bad) < 0)
        return err_set(e, ERR_DATA, 0,
                       "'.members', in which pmxcfs lists the nodes, is damaged at byte %zu: see systemctl "
                       "status pve-cluster",
                       bad);
    _cleanup_free_ char *name = json_to_string(json_get(*root, "nodename"));
    if (!name || node_name_check(name, e) < 0)
        return err_set(e, ERR_DATA, 0,
                       "'.members', in which pmxcfs lists the nodes, does not name this node: see systemctl "
                       "status pve-cluster");
    *me = take_ptr(name);
    return 0;
}

/* A node alone has neither `cluster` nor `nodelist`: it is always quorate. */
static bool is_quorate(struct json_span root)
{
    return !json_is_object(json_get(root, "nodelist")) ||
           is_true(json_get(json_get(root, "cluster"), "quorate"));
}

bool dotmembers_quorate(const struct buf *text)
{
    struct json_span root;
    struct err ignored;
    _cleanup_free_ char *me = NULL;
    return check(text, &root, &me, &ignored) == 0 && is_quorate(root);
}

int dotmembers_parse(const struct buf *text, struct nodes *nodes, struct members *m, struct err *e)
{
    struct json_span root;
    _cleanup_free_ char *me = NULL;
    if (check(text, &root, &me, e) < 0)
        return -1;
    m->quorate = is_quorate(root);
    m->cluster = json_to_string(json_get(json_get(root, "cluster"), "name"));
    struct json_span list = json_get(root, "nodelist"), key, info;
    if (!json_is_object(list)) {
        add_single_node(nodes, m, me);
        return 0;
    }
    struct json_iter it = json_iter(list);
    while (json_next(&it, &key, &info)) {
        _cleanup_free_ char *name = xstrndup(key.p, key.len);
        add_pmxcfs_node(nodes, m, name, info);
    }
    return 0;
}
