#include "api/gather.h"

#include "api/relay.h"
#include "base/text.h"

#include <string.h>

struct gather_part {
    struct gather *all;
    struct forward *forward;
    struct gathered said;
};

static void fail(struct gather_part *p, const char *problem)
{
    p->said.problem = xstrndup(problem, strcspn(problem, "\n"));
    text_clean(p->said.problem);
}

static void take(struct gather_part *p, const struct forward_result *r)
{
    json_t *o = json_loadb(buf_str(&r->body), r->body.len, 0, NULL);
    const char *said = json_string_value(json_object_get(o, "message"));
    json_t *data = json_object_get(o, "data");
    if (r->status == 0)
        fail(p, r->problem);
    else if (r->status == 401)
        fail(p, "it does not know who this node knows: compare the clocks of both, and their trees");
    else if (r->status == 200 && data)
        p->said.data = json_incref(data);
    else
        fail(p, said && *said ? said : "what it says is no answer of an API");
    json_decref(o);
}

static void ask_more(struct gather *g);

static void on_answer(const struct forward_result *r, void *arg)
{
    struct gather_part *p = arg;
    struct gather *g = p->all;
    p->forward = NULL;
    take(p, r);
    g->left--;
    ask_more(g);
    if (g->left == 0)
        g->done(g->call);
}

/* False: it failed at once. */
static bool ask(struct gather_part *p)
{
    struct err e = {0};
    _cleanup_free_ char *path = xasprintf("/nodes/%s/%s", p->said.node, p->all->what);
    p->forward = relay_ask(p->all->call, p->said.node, path, on_answer, p, &e);
    if (!p->forward)
        fail(p, e.text);
    return p->forward;
}

/* Those that were begun and have not answered are what is left, but for those that were not begun. */
static void ask_more(struct gather *g)
{
    while (g->begun < g->n && g->left - (g->n - g->begun) < GATHER_AT_ONCE)
        if (!ask(&g->part[g->begun++]))
            g->left--;
}

struct gather *gather_begin(struct call *c, const struct strv *nodes, const char *what,
                            void (*done)(struct call *c))
{
    const char *own = c->api->settings->node;
    struct gather *g = xcalloc(1, sizeof *g);
    *g = (struct gather){.call = c, .what = xstrdup(what), .done = done};
    g->part = xcalloc(nodes->n + 1, sizeof *g->part);
    g->part[g->n++] = (struct gather_part){.all = g, .said.node = xstrdup(own)};
    for (size_t i = 0; i < nodes->n; i++)
        if (strcmp(nodes->v[i], own) != 0)
            g->part[g->n++] = (struct gather_part){.all = g, .said.node = xstrdup(nodes->v[i])};
    g->left = g->n;
    g->begun = 1;
    ask_more(g);
    return g;
}

bool gather_own(struct gather *g, json_t *data, const char *problem)
{
    g->part[0].said.data = data;
    if (!data)
        fail(&g->part[0], problem);
    return --g->left == 0;
}

const struct gathered *gather_get(const struct gather *g, size_t i)
{
    return &g->part[i].said;
}

void gather_free(struct gather *g)
{
    if (!g)
        return;
    for (size_t i = 0; i < g->n; i++) {
        forward_cancel(g->part[i].forward);
        free(g->part[i].said.node);
        json_decref(g->part[i].said.data);
        free(g->part[i].said.problem);
    }
    free(g->part);
    free(g->what);
    free(g);
}
