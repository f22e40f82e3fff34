#include "cluster/guests.h"

#include "base/jsonspan.h"
#include "base/mem.h"
#include "base/num.h"
#include "conf/job.h"

#include <stdio.h>
#include <string.h>

enum { GUEST_MIN = 100, GUEST_MAX = 999999999 };

static const struct {
    const char *name, *dir;
} types[] = {
    [GUEST_QEMU] = {"qemu", "qemu-server"},
    [GUEST_LXC] = {"lxc", "lxc"},
};

const char *guest_type_name(enum guest_type t)
{
    return types[t].name;
}

char *guest_config_path(const struct guest_entry *g)
{
    return xasprintf("nodes/%s/%s/%u.conf", g->node, types[g->type].dir, (unsigned)g->id);
}

struct builder {
    struct guest_list list;
    size_t room;
};

static void add_guest(struct builder *b, uint32_t id, enum guest_type type, const char *node)
{
    if (b->list.n == b->room) {
        b->room = b->room ? b->room * 2 : 64;
        b->list.v = xreallocarray(b->list.v, b->room, sizeof *b->list.v);
    }
    struct guest_entry *g = &b->list.v[b->list.n++];
    *g = (struct guest_entry){.id = id, .type = type};
    snprintf(g->node, sizeof g->node, "%s", node);
}

static bool parse_id(const char *text, uint32_t *ret)
{
    struct err e;
    uint64_t id;
    if (*text == '0' || num_parse_u64("guest", text, GUEST_MIN, GUEST_MAX, &id, &e) < 0)
        return false;
    *ret = (uint32_t)id;
    return true;
}

static bool is_node_name(const char *name)
{
    struct err e;
    return strlen(name) < sizeof((struct guest_entry *)0)->node && node_name_check(name, &e) == 0;
}

static int by_id(const void *a, const void *b)
{
    const struct guest_entry *x = a, *y = b;
    if (x->id != y->id)
        return x->id < y->id ? -1 : 1;
    int by_node = strcmp(x->node, y->node);
    return by_node ? by_node : (int)x->type - (int)y->type;
}

/* The first and the last of them. */
static void note_two_owners(struct guest_list *l, const struct guest_entry *a, const struct guest_entry *b)
{
    for (const struct guest_entry *x = a; x <= b; x++) {
        l->twice = xgrow(l->twice, l->n_twice, sizeof *l->twice);
        l->twice[l->n_twice++] = *x;
    }
    _cleanup_free_ char *first = guest_config_path(a);
    _cleanup_free_ char *second = guest_config_path(b);
    strv_addf(&l->warnings,
              "guest %u has two config files, '%s' and '%s': it is left alone until one is removed",
              (unsigned)a->id, first, second);
}

/* Sort, and leave out the guests that occur more than once. False when there were such. */
static bool finish(struct guest_list *l)
{
    if (l->n)
        qsort(l->v, l->n, sizeof *l->v, by_id);
    size_t kept = 0;
    for (size_t i = 0, next; i < l->n; i = next) {
        for (next = i + 1; next < l->n && l->v[next].id == l->v[i].id; next++)
            ;
        if (next == i + 1)
            l->v[kept++] = l->v[i];
        else
            note_two_owners(l, &l->v[i], &l->v[next - 1]);
    }
    bool unique = kept == l->n;
    l->n = kept;
    return unique;
}

static int add_dir(struct tree *t, struct builder *b, const char *node, enum guest_type type, struct err *e)
{
    _cleanup_free_ char *path = xasprintf("nodes/%s/%s", node, types[type].dir);
    _cleanup_strv_ struct strv files = STRV_INIT;
    if (tree_list(t, path, &files, e) < 0)
        return -1;
    for (size_t i = 0; i < files.n; i++) {
        char *dot = strchr(files.v[i], '.');
        uint32_t id;
        if (!dot || strcmp(dot, ".conf") != 0)
            continue;
        *dot = 0;
        if (parse_id(files.v[i], &id))
            add_guest(b, id, type, node);
    }
    return 0;
}

static int list_files(struct tree *t, struct builder *b, struct err *e)
{
    _cleanup_strv_ struct strv nodes = STRV_INIT;
    if (tree_list(t, "nodes", &nodes, e) < 0)
        return -1;
    for (size_t i = 0; i < nodes.n; i++) {
        if (!is_node_name(nodes.v[i]))
            continue;
        if (add_dir(t, b, nodes.v[i], GUEST_QEMU, e) < 0 || add_dir(t, b, nodes.v[i], GUEST_LXC, e) < 0)
            return -1;
    }
    return 0;
}

static void add_vmlist_guest(struct builder *b, const char *key, struct json_span info)
{
    _cleanup_free_ char *node = json_to_string(json_get(info, "node"));
    _cleanup_free_ char *type = json_to_string(json_get(info, "type"));
    uint32_t id;
    if (!parse_id(key, &id) || !node || !is_node_name(node) || !type)
        return;
    if (strcmp(type, "qemu") == 0)
        add_guest(b, id, GUEST_QEMU, node);
    else if (strcmp(type, "lxc") == 0)
        add_guest(b, id, GUEST_LXC, node);
}

/* *ids is the object of all guests, in the text. */
static int open_vmlist(struct tree *t, struct buf *text, struct json_span *ids, struct err *e)
{
    int rc = tree_read(t, ".vmlist", text, e);
    if (rc < 0)
        return -1;
    struct json_span root;
    size_t bad;
    if (rc == 1 || json_check(buf_str(text), text->len, &root, &bad) < 0 || !json_is_object(root))
        return err_set(
            e, ERR_DATA, 0,
            "'%s/.vmlist' is missing or damaged: does pmxcfs run? See systemctl status pve-cluster",
            tree_root(t));
    *ids = json_get(root, "ids"); /* absent: no guest */
    return 0;
}

static int read_vmlist(struct tree *t, struct builder *b, struct err *e)
{
    _cleanup_buf_ struct buf text = BUF_INIT;
    struct json_span ids, key, info;
    if (open_vmlist(t, &text, &ids, e) < 0)
        return -1;
    struct json_iter it = json_iter(ids);
    while (json_next(&it, &key, &info)) {
        char name[16];
        if (key.len < sizeof name) {
            memcpy(name, key.p, key.len);
            name[key.len] = 0;
            add_vmlist_guest(b, name, info);
        }
    }
    return 0;
}

int guests_load(struct tree *t, struct guest_list *ret, struct err *e)
{
    /* A guest that moves while the directories are read one after the other may be seen twice: look again. */
    for (int attempt = 0;; attempt++) {
        struct builder b = {0};
        int rc = tree_is_pmxcfs(t) ? read_vmlist(t, &b, e) : list_files(t, &b, e);
        if (rc < 0) {
            guests_release(&b.list);
            return err_wrap(e, "cannot list the guests");
        }
        if (finish(&b.list) || attempt == 2) {
            *ret = b.list;
            return 0;
        }
        guests_release(&b.list);
    }
}

/* ---- one guest ---- */

static int look_in_vmlist(struct tree *t, uint32_t id, struct builder *b, struct err *e)
{
    _cleanup_buf_ struct buf text = BUF_INIT;
    struct json_span ids;
    char key[16];
    if (open_vmlist(t, &text, &ids, e) < 0)
        return -1;
    snprintf(key, sizeof key, "%u", (unsigned)id);
    struct json_span info = json_get(ids, key);
    if (info.p)
        add_vmlist_guest(b, key, info);
    return 0;
}

static int look_for_files(struct tree *t, uint32_t id, struct builder *b, struct err *e)
{
    _cleanup_strv_ struct strv nodes = STRV_INIT;
    if (tree_list(t, "nodes", &nodes, e) < 0)
        return -1;
    for (size_t i = 0; i < nodes.n * ELEMENTS(types); i++) {
        const char *node = nodes.v[i / ELEMENTS(types)];
        enum guest_type type = i % ELEMENTS(types);
        if (!is_node_name(node))
            continue;
        _cleanup_free_ char *path = xasprintf("nodes/%s/%s/%u.conf", node, types[type].dir, (unsigned)id);
        int r = tree_has(t, path, e);
        if (r < 0)
            return -1;
        if (r > 0)
            add_guest(b, id, type, node);
    }
    return 0;
}

int guests_still(struct tree *t, const struct guest_list *g, uint32_t id, struct err *e)
{
    struct builder b = {0};
    int r = tree_is_pmxcfs(t) ? look_in_vmlist(t, id, &b, e) : look_for_files(t, id, &b, e);
    if (r == 0) {
        const struct guest_entry *was = guests_find(g, id);
        r = b.list.n == (was ? 1 : 0) && !guests_has_two(g, id) && (!was || by_id(was, b.list.v) == 0);
    }
    guests_release(&b.list);
    return r < 0 ? err_wrap(e, "cannot look for guest %u", (unsigned)id) : r;
}

bool guests_has_two(const struct guest_list *g, uint32_t id)
{
    for (size_t i = 0; i < g->n_twice; i++)
        if (g->twice[i].id == id)
            return true;
    return false;
}

bool guests_is_on(uint32_t id, const void *arg)
{
    const struct guests_on *on = arg;
    const struct guest_entry *g = guests_find(on->guests, id);
    return g && strcmp(g->node, on->node) == 0;
}

void guests_release(struct guest_list *g)
{
    free(g->v);
    free(g->twice);
    strv_release(&g->warnings);
    *g = (struct guest_list){0};
}

const struct guest_entry *guests_find(const struct guest_list *g, uint32_t id)
{
    size_t low = 0, high = g->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (g->v[middle].id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low < g->n && g->v[low].id == id ? &g->v[low] : NULL;
}
