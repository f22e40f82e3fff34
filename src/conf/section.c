#include "conf/section.h"

#include "base/mem.h"

#include <ctype.h>
#include <string.h>

struct parser {
    struct section_file *file;
    struct section *section; /* NULL: between sections */
    struct buf text;         /* raw text of the section, or what stands before the next one */
    unsigned line;
};

static void warn(struct parser *p, const char *why, const char *what, size_t len)
{
    strv_addf(&p->file->warnings, "%s:%u: %s: '%.*s'", p->file->name, p->line, why,
              (int)(len > 80 ? 80 : len), what);
}

static bool blank(char c)
{
    return c == ' ' || c == '\t';
}

/* "type: id" at the start of a line: both parts into type/id. */
static bool parse_header(const char *s, size_t n, char **type, char **id)
{
    size_t t = 0;
    while (t < n && (isalnum((unsigned char)s[t]) || s[t] == '-' || s[t] == '_'))
        t++;
    if (t == 0 || t == n || s[t] != ':')
        return false;
    size_t i = t + 1;
    while (i < n && blank(s[i]))
        i++;
    size_t end = i;
    while (end < n && !blank(s[end]))
        end++;
    size_t rest = end;
    while (rest < n && blank(s[rest]))
        rest++;
    if (end == i || rest != n)
        return false;
    *type = xstrndup(s, t);
    for (char *c = *type; *c; c++)
        *c = (char)tolower((unsigned char)*c);
    *id = xstrndup(s + i, end - i);
    return true;
}

static void finish_text(struct parser *p)
{
    struct section_file *f = p->file;
    if (p->section) {
        p->section->raw = buf_take(&p->text);
        p->section = NULL;
        return;
    }
    f->before[f->n] = buf_take(&p->text);
}

/* Room for the section to come and for the text behind it; doubling, since there may be ten thousand. */
static void grow(struct section_file *f)
{
    if ((f->n & (f->n + 1)) == 0) {
        f->sections = xreallocarray(f->sections, (f->n + 1) * 2, sizeof *f->sections);
        f->before = xreallocarray(f->before, (f->n + 1) * 2, sizeof *f->before);
    }
}

static void begin_section(struct parser *p, char *type, char *id)
{
    struct section_file *f = p->file;
    finish_text(p);
    grow(f);
    p->section = &f->sections[f->n];
    *p->section = (struct section){.type = type, .id = id, .line = p->line};
    f->n++;
    f->before[f->n] = NULL;
}

static void add_property(struct section *s, char *key, char *value, bool bare, unsigned line)
{
    s->props = xreallocarray(s->props, s->n_props + 1, sizeof *s->props);
    s->props[s->n_props++] = (struct property){.key = key, .value = value, .bare = bare, .line = line};
}

static void property_line(struct parser *p, const char *s, size_t n)
{
    size_t k = 0;
    while (k < n && !blank(s[k]))
        k++;
    size_t v = k;
    while (v < n && blank(s[v]))
        v++;
    _cleanup_free_ char *key = xstrndup(s, k);
    if (section_get(p->section, key)) {
        warn(p, "property is set twice, the second is ignored", s, n);
        return;
    }
    add_property(p->section, take_ptr(key), xstrndup(s + v, n - v), v == n, p->line);
}

static void section_line(struct parser *p, const char *s, size_t n)
{
    size_t lead = 0;
    char *type = NULL, *id = NULL;
    while (lead < n && blank(s[lead]))
        lead++;
    if (lead == n) {
        warn(p, "a line of blanks does not end a section", s, n);
    } else if (s[lead] == '#') {
        return;
    } else if (lead > 0) {
        property_line(p, s + lead, n - lead);
    } else if (parse_header(s, n, &type, &id)) {
        warn(p, "a header without an empty line before it is ignored", s, n);
        free(type);
        free(id);
    } else {
        warn(p, "not understood", s, n);
    }
}

static void outside_line(struct parser *p, const char *s, size_t n)
{
    char *type, *id;
    if (parse_header(s, n, &type, &id)) {
        begin_section(p, type, id);
        return;
    }
    size_t lead = strspn(s, " \t");
    if (n && lead < n && s[lead] != '#')
        warn(p, "not understood", s, n);
}

void section_parse(const char *name, const char *text, size_t len, struct section_file *ret)
{
    *ret = (struct section_file){.name = xstrdup(name)};
    struct parser p = {.file = ret};
    grow(ret);
    ret->before[0] = NULL;
    const char *end = text ? text + len : NULL;
    for (const char *s = text; s && s < end;) {
        const char *eol = memchr(s, '\n', (size_t)(end - s));
        const char *next = eol ? eol + 1 : end;
        size_t n = (size_t)((eol ? eol : end) - s);
        p.line++;
        while (n && s[n - 1] == '\r')
            n--;
        size_t trimmed = n;
        while (trimmed && blank(s[trimmed - 1]))
            trimmed--;
        if (p.section && n == 0) {
            buf_add(&p.text, s, (size_t)(next - s));
            finish_text(&p);
        } else {
            if (p.section)
                section_line(&p, s, trimmed ? trimmed : n);
            else
                outside_line(&p, s, trimmed);
            buf_add(&p.text, s, (size_t)(next - s));
        }
        s = next;
    }
    if (p.section)
        finish_text(&p);
    else
        ret->before[ret->n] = buf_take(&p.text);
    buf_release(&p.text);
}

/* Lines of raw that are comments, to be kept when the section is written anew. */
static void print_comments(const char *raw, struct buf *out)
{
    while (raw && *raw) {
        size_t n = strcspn(raw, "\n");
        if (raw[strspn(raw, " \t")] == '#')
            buf_addf(out, "%.*s\n", (int)n, raw);
        raw += n + (raw[n] == '\n');
    }
}

static void print_section(const struct section *s, struct buf *out)
{
    if (!s->changed && s->raw) {
        buf_adds(out, s->raw);
        return;
    }
    buf_addf(out, "%s: %s\n", s->type, s->id);
    print_comments(s->raw, out);
    for (size_t i = 0; i < s->n_props; i++)
        if (s->props[i].bare)
            buf_addf(out, "\t%s\n", s->props[i].key);
        else
            buf_addf(out, "\t%s %s\n", s->props[i].key, s->props[i].value);
    buf_addc(out, '\n');
}

/* A section begins at a line's start, and never directly behind the properties of another one. */
static void separate(struct buf *out, bool behind_section)
{
    if (out->len && out->data[out->len - 1] != '\n')
        buf_addc(out, '\n');
    if (behind_section && out->len > 1 && out->data[out->len - 2] != '\n' &&
        !(out->len > 2 && out->data[out->len - 2] == '\r' && out->data[out->len - 3] == '\n'))
        buf_addc(out, '\n');
}

void section_print(const struct section_file *f, struct buf *out)
{
    for (size_t i = 0; i <= f->n; i++) {
        const char *text = f->before[i] ? f->before[i] : "";
        if (i && *text)
            separate(out, true);
        buf_adds(out, text);
        if (i == f->n)
            break;
        separate(out, i > 0 && !*text);
        print_section(&f->sections[i], out);
    }
}

static void section_release(struct section *s)
{
    for (size_t i = 0; i < s->n_props; i++) {
        free(s->props[i].key);
        free(s->props[i].value);
    }
    free(s->props);
    free(s->type);
    free(s->id);
    free(s->raw);
}

void section_file_release(struct section_file *f)
{
    for (size_t i = 0; i < f->n; i++)
        section_release(&f->sections[i]);
    for (size_t i = 0; f->before && i <= f->n; i++)
        free(f->before[i]);
    free(f->sections);
    free(f->before);
    free(f->name);
    strv_release(&f->warnings);
    *f = (struct section_file){0};
}

struct section *section_find(struct section_file *f, const char *type, const char *id)
{
    for (size_t i = 0; i < f->n; i++)
        if (strcmp(f->sections[i].type, type) == 0 && strcmp(f->sections[i].id, id) == 0)
            return &f->sections[i];
    return NULL;
}

const char *section_get(const struct section *s, const char *key)
{
    for (size_t i = 0; i < s->n_props; i++)
        if (strcmp(s->props[i].key, key) == 0)
            return s->props[i].value;
    return NULL;
}

void section_set(struct section *s, const char *key, const char *value)
{
    s->changed = true;
    for (size_t i = 0; i < s->n_props; i++)
        if (strcmp(s->props[i].key, key) == 0) {
            free(s->props[i].value);
            s->props[i].value = xstrdup(value ? value : "");
            s->props[i].bare = !value;
            return;
        }
    add_property(s, xstrdup(key), xstrdup(value ? value : ""), !value, 0);
}

void section_unset(struct section *s, const char *key)
{
    for (size_t i = 0; i < s->n_props; i++)
        if (strcmp(s->props[i].key, key) == 0) {
            free(s->props[i].key);
            free(s->props[i].value);
            memmove(s->props + i, s->props + i + 1, (s->n_props - i - 1) * sizeof *s->props);
            s->n_props--;
            s->changed = true;
            return;
        }
}

struct section *section_add(struct section_file *f, const char *type, const char *id)
{
    grow(f);
    struct section *s = &f->sections[f->n++];
    *s = (struct section){.type = xstrdup(type), .id = xstrdup(id), .changed = true};
    f->before[f->n] = xstrdup("");
    return s;
}

void section_remove(struct section_file *f, size_t i)
{
    char *joined =
        xasprintf("%s%s", f->before[i] ? f->before[i] : "", f->before[i + 1] ? f->before[i + 1] : "");
    section_release(&f->sections[i]);
    free(f->before[i]);
    free(f->before[i + 1]);
    memmove(f->sections + i, f->sections + i + 1, (f->n - i - 1) * sizeof *f->sections);
    memmove(f->before + i, f->before + i + 1, (f->n - i) * sizeof *f->before);
    f->before[i] = joined;
    f->n--;
}
