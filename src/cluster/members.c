#include "cluster/members.h"

#include "base/mem.h"
#include "cluster/dotmembers.h"

#include <string.h>

static int load_pmxcfs(struct tree *t, struct nodes *nodes, struct members *m, struct err *e)
{
    _cleanup_buf_ struct buf text = BUF_INIT;
    int rc = tree_read(t, ".members", &text, e);
    if (rc == 1)
        return err_set(e, ERR_BUSY, 0,
                       "'%s/.members' is missing: does pmxcfs run? See systemctl status pve-cluster",
                       tree_root(t));
    return rc < 0 ? -1 : dotmembers_parse(&text, nodes, m, e);
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

static void list_known(const struct members *m, struct strv *nodes)
{
    for (size_t i = 0; i < m->n; i++)
        strv_add_once(nodes, m->v[i].node.name);
    strv_sort(nodes);
}

int members_check_node(struct tree *t, const struct members *m, const char *node, bool had_jobs,
                       struct err *e)
{
    _cleanup_strv_ struct strv known = STRV_INIT;
    int jobs = tree_has(t, "replication.cfg", e);
    if (jobs < 0 || tree_list(t, "nodes", &known, e) < 0)
        return -1;
    list_known(m, &known);
    if (strv_has(&known, node) || (!known.n && !jobs && !had_jobs))
        return 0;
    if (!known.n && !jobs)
        return err_set(e, ERR_CONFIG, 0,
                       "the configuration tree '%s' is empty, and this node has had jobs: is it mounted?",
                       tree_root(t));
    bool pmxcfs = tree_is_pmxcfs(t);
    _cleanup_free_ char *names = strv_join(&known, ", ");
    _cleanup_free_ char *remedy =
        pmxcfs ? xstrdup("") : xasprintf("add a section 'node: %s' to nodes.cfg, or ", node);
    return err_set(e, ERR_CONFIG, 0,
                   "the configuration tree '%s' does not know this node, '%s', so nothing says what its jobs "
                   "are: it is in neither %s nor nodes/ (known: %s); %sput 'node' or 'cluster' in pvesr.conf "
                   "right",
                   tree_root(t), node, pmxcfs ? ".members" : "nodes.cfg", known.n ? names : "none", remedy);
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
    free(m->cluster);
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
