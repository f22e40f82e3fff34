#include "cluster/members.h"

#include "base/jsonspan.h"
#include "conf/job.h"

#include <arpa/inet.h>
#include <string.h>

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

/* A node alone has neither `cluster` nor `nodelist`: it is online and always quorate. */
static void add_single_node(struct nodes *nodes, struct members *m, const char *name)
{
    nodes_add(nodes, name, "local");
    m->v = xcalloc(1, sizeof *m->v);
    m->v[0].online = true;
    m->quorate = true;
}

static int parse_members(const struct buf *text, struct nodes *nodes, struct members *m, struct err *e)
{
    struct json_span root;
    size_t bad;
    if (json_check(buf_str(text), text->len, &root, &bad) < 0)
        return err_set(e, ERR_DATA, 0, "'.members' is damaged at byte %zu", bad);
    _cleanup_free_ char *me = json_to_string(json_get(root, "nodename"));
    if (!me || node_name_check(me, e) < 0)
        return err_set(e, ERR_DATA, 0, "'.members' does not name this node");
    struct json_span list = json_get(root, "nodelist"), key, info;
    if (!json_is_object(list)) {
        add_single_node(nodes, m, me);
        return 0;
    }
    m->quorate = is_true(json_get(json_get(root, "cluster"), "quorate"));
    struct json_iter it = json_iter(list);
    while (json_next(&it, &key, &info)) {
        _cleanup_free_ char *name = xstrndup(key.p, key.len);
        add_pmxcfs_node(nodes, m, name, info);
    }
    return 0;
}

static int load_pmxcfs(struct tree *t, struct nodes *nodes, struct members *m, struct err *e)
{
    _cleanup_buf_ struct buf text = BUF_INIT;
    int rc = tree_read(t, ".members", &text, e);
    if (rc == 1)
        return err_set(e, ERR_BUSY, 0, "'%s/.members' is missing: is pmxcfs running?", tree_root(t));
    return rc < 0 ? -1 : parse_members(&text, nodes, m, e);
}

static int load_nodes_cfg(struct tree *t, struct nodes *nodes, struct members *m, struct err *e)
{
    _cleanup_buf_ struct buf text = BUF_INIT;
    if (tree_read(t, "nodes.cfg", &text, e) < 0)
        return -1;
    nodes_parse("nodes.cfg", buf_str(&text), text.len, nodes);
    m->v = xcalloc(nodes->n + 1, sizeof *m->v);
    for (size_t i = 0; i < nodes->n; i++)
        m->v[i].online = true;
    m->quorate = true;
    return 0;
}

int members_load(struct tree *t, struct members *ret, struct err *e)
{
    struct nodes nodes = {0};
    struct members m = {0};
    int rc = tree_is_pmxcfs(t) ? load_pmxcfs(t, &nodes, &m, e) : load_nodes_cfg(t, &nodes, &m, e);
    if (rc == 0) {
        /* the nodes move over; what stays in `nodes` is the empty array and the warnings */
        for (m.n = 0; m.n < nodes.n; m.n++)
            m.v[m.n].node = nodes.v[m.n];
        nodes.n = 0;
        for (size_t i = 0; i < nodes.warnings.n; i++)
            strv_add(&m.warnings, nodes.warnings.v[i]);
        *ret = m;
    } else {
        members_release(&m);
    }
    nodes_release(&nodes);
    return rc;
}

void members_release(struct members *m)
{
    /* a struct nodes knows how to free what a node owns */
    struct nodes nodes = {0};
    nodes.v = xcalloc(m->n + 1, sizeof *nodes.v);
    for (; nodes.n < m->n; nodes.n++)
        nodes.v[nodes.n] = m->v[nodes.n].node;
    nodes_release(&nodes);
    strv_release(&m->warnings);
    free(m->v);
    *m = (struct members){0};
}

const struct member *members_find(const struct members *m, const char *name)
{
    for (size_t i = 0; i < m->n; i++)
        if (strcmp(m->v[i].node.name, name) == 0)
            return &m->v[i];
    return NULL;
}
