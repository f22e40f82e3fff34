#include "api/facts.h"

#include "conf/lines.h"
#include "guest/runtime.h"

#include <string.h>
#include <sys/stat.h>

#define APART 7 /* seconds within which guests of one age are looked at again: not all for the same list */

static void release(struct fact *f)
{
    free(f->name);
    free(f->file);
}

void facts_release(struct facts *f)
{
    for (size_t i = 0; i < f->n; i++)
        release(&f->v[i]);
    free(f->v);
    *f = (struct facts){0};
}

char *config_value(const char *config, size_t len, const char *key)
{
    size_t n = strlen(key);
    struct lines l = LINES_INIT(config, len);
    char *found = NULL;
    while (lines_next(&l) && !(l.len && *l.text == '[')) {
        if (l.len <= n || memcmp(l.text, key, n) != 0 || l.text[n] != ':')
            continue;
        const char *value = l.text + n + 1;
        size_t rest = l.len - n - 1, lead = line_lead(value, rest);
        free(found);
        found = xstrndup(value + lead, line_trim(value + lead, rest - lead));
    }
    return found;
}

char *name_of(const struct guest_entry *g, const char *config, size_t len)
{
    bool machine = g->type == GUEST_QEMU;
    char *said = config_value(config, len, machine ? "name" : "hostname");
    if (said && *said)
        return said;
    free(said);
    return xasprintf(machine ? "VM %u" : "CT%u", (unsigned)g->id);
}

static bool is_same(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
           a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

/* A file that cannot be read says nothing. */
static void look_at_file(struct fact *f, struct tree *t, const struct guest_entry *g)
{
    struct stat now = {0};
    struct err ignored;
    _cleanup_buf_ struct buf config = BUF_INIT;
    _cleanup_free_ char *path = guest_config_path(g);
    _cleanup_free_ char *full = xasprintf("%s/%s", tree_root(t), path);
    if (stat(full, &now) < 0)
        now = (struct stat){0};
    if (f->name && is_same(&now, f->file))
        return;
    tree_read(t, path, &config, &ignored);
    _cleanup_free_ char *template = config_value(buf_str(&config), config.len, "template");
    release(f);
    f->name = name_of(g, buf_str(&config), config.len);
    f->is_template = template && strcmp(template, "1") == 0;
    f->file = xmalloc(sizeof now);
    *f->file = now;
}

static void look(struct fact *f, struct tree *t, const struct guest_entry *g, double now)
{
    look_at_file(f, t, g);
    f->running = f->here && guest_running(g->type, g->id);
    f->until = now + FACTS_SECONDS - g->id % APART;
}

/* A guest that came here, or another one of that number, is looked at anew. */
static bool is_of(const struct fact *was, const struct fact *is)
{
    return was->guest == is->guest && was->type == is->type && was->here == is->here;
}

void facts_look(struct facts *f, struct tree *t, const struct guest_list *guests, const char *node,
                double now)
{
    struct facts is = {.v = xcalloc(guests->n + 1, sizeof *is.v)};
    size_t was = 0;
    for (; is.n < guests->n; is.n++) {
        const struct guest_entry *g = &guests->v[is.n];
        struct fact *one = &is.v[is.n];
        *one = (struct fact){.guest = g->id, .type = g->type, .here = strcmp(g->node, node) == 0};
        while (was < f->n && f->v[was].guest < g->id)
            was++;
        if (was < f->n && is_of(&f->v[was], one)) {
            *one = f->v[was];
            f->v[was] = (struct fact){.guest = g->id};
        }
        if (!one->name || now >= one->until)
            look(one, t, g, now);
    }
    facts_release(f);
    *f = is;
}
