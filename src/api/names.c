#include "api/names.h"

#include "conf/lines.h"

#include <string.h>
#include <sys/stat.h>

struct name {
    uint32_t guest;
    double looked;
    struct stat file; /* as it was read: which one, and of when */
    char *text;
    bool is_template;
};

void names_release(struct names *n)
{
    for (size_t i = 0; i < n->n; i++)
        free(n->v[i].text);
    free(n->v);
    *n = (struct names){0};
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
static void look(struct name *n, struct tree *t, const struct guest_entry *g)
{
    struct stat now = {0};
    struct err ignored;
    _cleanup_buf_ struct buf config = BUF_INIT;
    _cleanup_free_ char *path = guest_config_path(g);
    _cleanup_free_ char *full = xasprintf("%s/%s", tree_root(t), path);
    if (stat(full, &now) < 0)
        now = (struct stat){0};
    if (n->text && is_same(&now, &n->file))
        return;
    tree_read(t, path, &config, &ignored);
    free(n->text);
    _cleanup_free_ char *template = config_value(buf_str(&config), config.len, "template");
    n->text = name_of(g, buf_str(&config), config.len);
    n->is_template = template && strcmp(template, "1") == 0;
    n->file = now;
}

void names_look(struct names *n, struct tree *t, const struct guest_list *guests, double now)
{
    struct names is = {.v = xcalloc(guests->n + 1, sizeof *is.v)};
    size_t was = 0;
    for (; is.n < guests->n; is.n++) {
        const struct guest_entry *g = &guests->v[is.n];
        struct name *one = &is.v[is.n];
        *one = (struct name){.guest = g->id};
        while (was < n->n && n->v[was].guest < g->id)
            was++;
        if (was < n->n && n->v[was].guest == g->id) {
            *one = n->v[was];
            n->v[was].text = NULL;
        }
        if (one->text && now - one->looked < NAMES_SECONDS)
            continue;
        look(one, t, g);
        one->looked = now;
    }
    names_release(n);
    *n = is;
}

const char *names_get(const struct names *n, uint32_t guest, bool *is_template)
{
    size_t low = 0, high = n->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (n->v[middle].guest < guest)
            low = middle + 1;
        else
            high = middle;
    }
    bool known = low < n->n && n->v[low].guest == guest;
    *is_template = known && n->v[low].is_template;
    return known ? n->v[low].text : "";
}
