#include "guest/config.h"

#include "base/mem.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

static struct guest_section *add_section(struct guest_config *g, enum section_kind kind, const char *name,
                                         size_t n)
{
    g->sections = xreallocarray(g->sections, g->n + 1, sizeof *g->sections);
    struct guest_section *s = &g->sections[g->n++];
    *s = (struct guest_section){.kind = kind, .name = xstrndup(name, n)};
    return s;
}

static void warn(struct guest_config *g, unsigned number, const char *why, const char *line, size_t n)
{
    strv_addf(&g->warnings, "%s:%u: %s: '%.*s'", g->file, number, why, (int)(n > 80 ? 80 : n), line);
}

/* "[name]" begins a section; the name of a snapshot is checked, because it becomes a name on disk. */
static void header_line(struct guest_config *g, unsigned number, const char *line, size_t n)
{
    const char *name = line + 1;
    size_t len = n - 2;
    bool ok = len >= 2 && len <= 40 && isalpha((unsigned char)*name);
    if (len == 7 && strncasecmp(name, "PENDING", 7) == 0) {
        add_section(g, SECTION_PENDING, name, len);
        return;
    }
    for (size_t i = 0; ok && i < len; i++)
        ok = isalnum((unsigned char)name[i]) || name[i] == '_' || name[i] == '-';
    if (!ok) {
        if (len < 8 || strncmp(name, "special:", 8) != 0)
            warn(g, number, "section ignored, not a snapshot's name", line, n);
        add_section(g, SECTION_OTHER, name, len);
        return;
    }
    add_section(g, SECTION_SNAPSHOT, name, len);
    _cleanup_free_ char *copy = xstrndup(name, len);
    strv_add_once(&g->snapshots, copy);
}

static void take_line(struct guest_config *g, unsigned number, const char *line, size_t n)
{
    while (n && isspace((unsigned char)line[n - 1]))
        n--;
    if (n == 0 || *line == '#')
        return;
    if (*line == '[' && line[n - 1] == ']' && n > 2) {
        header_line(g, number, line, n);
        return;
    }
    struct guest_section *s = &g->sections[g->n - 1];
    const char *colon = memchr(line, ':', n);
    if (!colon || colon == line) {
        if (s->kind != SECTION_OTHER)
            warn(g, number, "not 'key: value'", line, n);
        return;
    }
    const char *value = colon + 1;
    while (value < line + n && isspace((unsigned char)*value))
        value++;
    s->keys = xreallocarray(s->keys, s->n + 1, sizeof *s->keys);
    s->keys[s->n++] = (struct guest_key){.key = xstrndup(line, (size_t)(colon - line)),
                                         .value = xstrndup(value, (size_t)(line + n - value))};
}

struct guest_config *guest_config_parse(const char *name, enum guest_type type, uint32_t id, const char *text,
                                        size_t len)
{
    struct guest_config *g = xcalloc(1, sizeof *g);
    g->file = xstrdup(name);
    g->type = type;
    g->id = id;
    add_section(g, SECTION_MAIN, "", 0);
    unsigned number = 0;
    for (const char *end = text + len; text < end;) {
        const char *eol = memchr(text, '\n', (size_t)(end - text));
        size_t n = (size_t)((eol ? eol : end) - text);
        if (memchr(text, 0, n))
            warn(g, ++number, "a line with a zero byte is ignored", text, 0);
        else
            take_line(g, ++number, text, n);
        text = eol ? eol + 1 : end;
    }
    return g;
}

void guest_config_free(struct guest_config *g)
{
    if (!g)
        return;
    for (size_t i = 0; i < g->n; i++) {
        for (size_t k = 0; k < g->sections[i].n; k++) {
            free(g->sections[i].keys[k].key);
            free(g->sections[i].keys[k].value);
        }
        free(g->sections[i].keys);
        free(g->sections[i].name);
    }
    free(g->sections);
    free(g->file);
    strv_release(&g->snapshots);
    strv_release(&g->warnings);
    free(g);
}

const struct strv *guest_config_warnings(const struct guest_config *g)
{
    return &g->warnings;
}

const struct strv *guest_config_snapshots(const struct guest_config *g)
{
    return &g->snapshots;
}

const char *guest_config_get(const struct guest_config *g, const char *key)
{
    const struct guest_section *s = &g->sections[0];
    for (size_t i = s->n; i > 0; i--) /* the last one counts */
        if (strcmp(s->keys[i - 1].key, key) == 0)
            return s->keys[i - 1].value;
    return NULL;
}

const char *guest_config_parent(const struct guest_config *g)
{
    return guest_config_get(g, "parent");
}
