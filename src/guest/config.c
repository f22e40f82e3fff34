#include "guest/config.h"

#include "base/mem.h"
#include "conf/lines.h"
#include "conf/warn.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

static struct guest_section *add_section(struct guest_config *g, enum section_kind kind, const char *name,
                                         size_t n)
{
    g->sections = xgrow(g->sections, g->n, sizeof *g->sections);
    struct guest_section *s = &g->sections[g->n++];
    *s = (struct guest_section){.kind = kind, .name = xstrndup(name, n)};
    return s;
}

/* What is not understood is not to be taken for what is not there. */
static void may_hide(struct guest_config *g, unsigned line, const char *why)
{
    if (!g->hides)
        g->hides = xasprintf("%s, line %u, %s", g->file, line, why);
}

static bool is_snapshot_name(const char *s, size_t n)
{
    if (n < 2 || n > 40 || !isalpha((unsigned char)*s))
        return false;
    for (size_t i = 0; i < n; i++)
        if (!isalnum((unsigned char)s[i]) && s[i] != '_' && s[i] != '-')
            return false;
    return true;
}

/* "[name]" begins a section; the name of a snapshot is checked, because it becomes a name on disk. */
static void header_line(struct guest_config *g, const struct lines *l, const char *name, size_t n)
{
    if (n == 7 && strncasecmp(name, "PENDING", 7) == 0) {
        add_section(g, SECTION_PENDING, name, n);
    } else if (is_snapshot_name(name, n)) {
        add_section(g, SECTION_SNAPSHOT, name, n);
        strv_add(&g->snapshots, g->sections[g->n - 1].name);
    } else if (n == 11 && strncasecmp(name, "pve:pending", 11) == 0) { /* of a container */
        add_section(g, SECTION_PENDING, name, n);
    } else {
        if (n < 8 || strncasecmp(name, "special:", 8) != 0) {
            warn_at(&g->warnings, g->file, l->number, "section ignored, not a snapshot's name: '%.*s'",
                    WARN_QUOTE(name, n));
            if (!memchr(name, ':', n)) /* that is a section of another kind */
                may_hide(g, l->number, "is no snapshot's name");
        }
        add_section(g, SECTION_OTHER, name, n);
    }
}

/* The end of the key that s begins with; 0 when there is none. Raw LXC keys ("lxc.cgroup2.…") may be followed
 * by '=' instead of ':'. */
static size_t key_length(const char *s, size_t n, size_t *value)
{
    size_t k = 0;
    while (k < n && (isalnum((unsigned char)s[k]) || strchr("_-.", s[k])) && s[k])
        k++;
    size_t end = k;
    if (k > 4 && strncmp(s, "lxc.", 4) == 0)
        end += line_lead(s + k, n - k);
    if (k == 0 || end == n || !(s[end] == ':' || (s[end] == '=' && strncmp(s, "lxc.", 4) == 0)))
        return 0;
    *value = end + 1;
    return k;
}

static void key_line(struct guest_config *g, const struct lines *l, size_t n)
{
    struct guest_section *s = &g->sections[g->n - 1];
    size_t v, k = key_length(l->text, n, &v);
    if (k == 0 || memchr(l->text, 0, n)) {
        bool cut = l->raw[l->raw_len - 1] != '\n'; /* more may be gone than the rest of this line */
        if (s->kind == SECTION_OTHER && !cut)
            return;
        warn_at(&g->warnings, g->file, l->number, "line ignored, not 'key: value': '%.*s'",
                WARN_QUOTE(l->text, n));
        if (cut || guest_line_hides(g->type, g->id, l->text, n))
            may_hide(g, l->number, "is not 'key: value'");
        return;
    }
    v += line_lead(l->text + v, n - v);
    s->keys = xgrow(s->keys, s->n, sizeof *s->keys);
    s->keys[s->n++] = (struct guest_key){
        .key = xstrndup(l->text, k), .value = xstrndup(l->text + v, n - v), .line = l->number};
}

static int by_key(const void *a, const void *b)
{
    const struct guest_key *x = a, *y = b;
    int r = strcmp(x->key, y->key);
    return r ? r : (x->line > y->line) - (x->line < y->line);
}

static void key_release(struct guest_key *k)
{
    free(k->key);
    free(k->value);
}

/* The last one counts. What the earlier one says of a volume may be what was meant. */
static void settle_twice(struct guest_config *g, const struct guest_section *s, const struct guest_key *k)
{
    if (strncmp(k->key, "lxc.", 4) == 0) /* those may repeat */
        return;
    warn_at(&g->warnings, g->file, k->line, "line ignored, '%s' is there again further down", k->key);
    if (s->kind == SECTION_OTHER || !guest_key_is_volume(g->type, k->key) ||
        strcmp(k->value, k[1].value) == 0)
        return;
    _cleanup_free_ char *why = xasprintf("says something else of '%s' than line %u", k->key, k[1].line);
    may_hide(g, k->line, why);
}

static void check_key(struct guest_config *g, const struct guest_section *s, const struct guest_key *k)
{
    if (strcasecmp(s->name, "special:cloudinit") == 0 || strcasecmp(s->name, "special:fleecing") == 0)
        return; /* of images that are no disks */
    _cleanup_free_ char *why = guest_key_hides(g->type, g->id, s->kind, k);
    if (why)
        may_hide(g, k->line, why);
}

/* Sort, and keep the last line of each key. */
static void settle_section(struct guest_config *g, struct guest_section *s)
{
    size_t n = 0;
    if (s->n)
        qsort(s->keys, s->n, sizeof *s->keys, by_key);
    for (size_t i = 0; i < s->n; i++) {
        struct guest_key *k = &s->keys[i];
        check_key(g, s, k);
        if (i + 1 == s->n || strcmp(k->key, k[1].key) != 0) {
            s->keys[n++] = *k;
            continue;
        }
        settle_twice(g, s, k);
        key_release(k);
    }
    s->n = n;
}

static void settle_snapshots(struct strv *s)
{
    size_t n = 0;
    strv_sort(s);
    for (size_t i = 0; i < s->n; i++)
        if (n && strcmp(s->v[n - 1], s->v[i]) == 0)
            free(s->v[i]);
        else
            s->v[n++] = s->v[i];
    if (s->v)
        s->v[n] = NULL;
    s->n = n;
}

/* Proxmox VE writes a section's description above its keys: what is cut off in the midst of one has lost all
 * of them. Whoever adds a note at the end of the file by hand has not. */
static void comment_line(struct guest_config *g, const struct lines *l)
{
    if (l->raw[l->raw_len - 1] != '\n' && !g->sections[g->n - 1].n)
        may_hide(g, l->number, "a comment, is cut off");
}

struct guest_config *guest_config_parse(const char *name, enum guest_type type, uint32_t id, const char *text,
                                        size_t len)
{
    struct guest_config *g = xcalloc(1, sizeof *g);
    g->file = xstrdup(name);
    g->type = type;
    g->id = id;
    add_section(g, SECTION_MAIN, "", 0);
    struct lines l = LINES_INIT(text, len);
    while (lines_next(&l)) {
        size_t n = line_trim(l.text, l.len);
        if (n == 0)
            continue;
        if (*l.text == '#')
            comment_line(g, &l);
        else if (*l.text == '[' && l.text[n - 1] == ']' && n > 2)
            header_line(g, &l, l.text + 1, n - 2);
        else
            key_line(g, &l, n);
    }
    for (size_t i = 0; i < g->n; i++)
        settle_section(g, &g->sections[i]);
    settle_snapshots(&g->snapshots);
    return g;
}

void guest_config_free(struct guest_config *g)
{
    if (!g)
        return;
    for (size_t i = 0; i < g->n; i++) {
        for (size_t k = 0; k < g->sections[i].n; k++)
            key_release(&g->sections[i].keys[k]);
        free(g->sections[i].keys);
        free(g->sections[i].name);
    }
    free(g->sections);
    free(g->file);
    strv_release(&g->snapshots);
    strv_release(&g->warnings);
    free(g->hides);
    free(g);
}

enum guest_type guest_config_type(const struct guest_config *g)
{
    return g->type;
}

const struct strv *guest_config_warnings(const struct guest_config *g)
{
    return &g->warnings;
}

const struct strv *guest_config_snapshots(const struct guest_config *g)
{
    return &g->snapshots;
}

bool guest_config_is_empty(const struct guest_config *g)
{
    return g->n == 1 && g->sections[0].n == 0;
}

const char *guest_config_get(const struct guest_config *g, const char *key)
{
    const struct guest_section *s = &g->sections[0];
    for (size_t i = 0; i < s->n; i++)
        if (strcmp(s->keys[i].key, key) == 0)
            return s->keys[i].value;
    return NULL;
}

const char *guest_config_parent(const struct guest_config *g)
{
    return guest_config_get(g, "parent");
}
