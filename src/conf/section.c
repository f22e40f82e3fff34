#include "conf/section.h"

#include "base/mem.h"
#include "conf/lines.h"
#include "conf/warn.h"

#include <ctype.h>
#include <string.h>

/* ---- reading ---- */

struct parser {
    struct section_file *file;
    struct section *section; /* NULL: between sections */
    const char *start;       /* of the section, or of what stands before the next one */
    struct buf odd;          /* comments and odd lines since the last property */
    struct lines l;
};

static void warn(struct parser *p, const char *why)
{
    warn_at(&p->file->warnings, p->file->name, p->l.number, "%s: '%.*s'", why,
            WARN_QUOTE(p->l.text, p->l.len));
}

static bool type_char(char c)
{
    return isalnum((unsigned char)c) || c == '-' || c == '_';
}

/* "type: id", the blank after the colon optional. type and id point into s. */
static bool parse_header(const char *s, size_t n, size_t *type_len, const char **id, size_t *id_len)
{
    size_t t = 0;
    while (t < n && type_char(s[t]))
        t++;
    if (t == 0 || t == n || s[t] != ':')
        return false;
    const char *from = s + t + 1 + line_lead(s + t + 1, n - t - 1);
    size_t len = line_trim(from, (size_t)(s + n - from));
    if (len == 0 || memchr(from, 0, len))
        return false;
    for (size_t i = 0; i < len; i++)
        if (line_is_blank(from[i]))
            return false;
    *type_len = t;
    *id = from;
    *id_len = len;
    return true;
}

/* Room for one more section and the text behind it; doubling, since there may be ten thousand. */
static struct section *grow(struct section_file *f)
{
    if ((f->n & (f->n - 1)) == 0) {
        size_t room = f->n ? f->n * 2 : 1;
        f->sections = xreallocarray(f->sections, room, sizeof *f->sections);
        f->before = xreallocarray(f->before, room + 1, sizeof *f->before);
    }
    struct section *s = &f->sections[f->n++];
    *s = (struct section){0};
    f->before[f->n] = (struct buf)BUF_INIT;
    return s;
}

static char *lower(const char *type, size_t n)
{
    char *copy = xstrndup(type, n);
    for (char *c = copy; *c; c++)
        *c = (char)tolower((unsigned char)*c);
    return copy;
}

/* The line without the blanks around it, which begins no section: was it meant to? */
static bool lose_header(struct parser *p, const char *s, size_t n)
{
    struct section_file *f = p->file;
    size_t type_len, id_len;
    const char *id;
    if (!parse_header(s, n, &type_len, &id, &id_len))
        return false;
    f->lost = xgrow(f->lost, f->n_lost, sizeof *f->lost);
    f->lost[f->n_lost++] = (struct lost_header){lower(s, type_len), xstrndup(id, id_len), p->l.number};
    return true;
}

static void begin_section(struct parser *p, size_t type_len, const char *id, size_t id_len)
{
    struct section_file *f = p->file;
    buf_add(&f->before[f->n], p->start, (size_t)(p->l.raw - p->start));
    p->start = p->l.raw;
    p->section = grow(f);
    p->section->line = p->l.number;
    p->section->type = lower(p->l.text, type_len);
    p->section->id = xstrndup(id, id_len);
}

/* `to` is where the section's bytes end. */
static void end_section(struct parser *p, const char *to, bool closed)
{
    buf_add(&p->section->raw, p->start, (size_t)(to - p->start));
    p->section->closed = closed;
    p->section->after = p->odd;
    p->odd = (struct buf)BUF_INIT;
    p->section = NULL;
    p->start = to;
}

static struct property *find_property(const struct section *s, const char *key, size_t key_len)
{
    for (size_t i = 0; i < s->n_props; i++)
        if (strncmp(s->props[i].key, key, key_len) == 0 && !s->props[i].key[key_len])
            return &s->props[i];
    return NULL;
}

static struct property *add_property(struct section *s, const char *key, size_t key_len)
{
    s->props = xgrow(s->props, s->n_props, sizeof *s->props);
    struct property *x = &s->props[s->n_props++];
    *x = (struct property){.key = xstrndup(key, key_len)};
    return x;
}

/* s: the line without the blanks around it. A line that has no effect is not kept by a rewrite: later, with
 * the first one gone, it would get one. */
static void property_line(struct parser *p, const char *s, size_t n)
{
    size_t k = 0;
    while (k < n && !line_is_blank(s[k]))
        k++;
    if (find_property(p->section, s, k)) {
        warn(p, "the property is there already, this line is ignored");
        return;
    }
    if (p->section->n_props == SECTION_PROPERTIES_MAX) {
        warn(p, "too many properties, this line is ignored");
        return;
    }
    size_t v = k + line_lead(s + k, n - k);
    struct property *x = add_property(p->section, s, k);
    x->value = xstrndup(s + v, n - v);
    x->bare = v == n;
    x->line = p->l.number;
    x->before = p->odd;
    p->odd = (struct buf)BUF_INIT;
}

static void section_line(struct parser *p)
{
    const char *s = p->l.text;
    size_t n = line_trim(s, p->l.len), lead = line_lead(s, n);
    if (lead < n && s[lead] == '#') {
        buf_add(&p->odd, p->l.raw, p->l.raw_len);
        return;
    }
    if (lead > 0 && lead < n && !memchr(s, 0, n)) {
        lose_header(p, s + lead, n - lead);
        property_line(p, s + lead, n - lead);
        return;
    }
    buf_add(&p->odd, p->l.raw, p->l.raw_len);
    if (n == 0)
        warn(p, "a line of blanks does not end a section");
    else if (lose_header(p, s, n))
        warn(p, "the header is ignored, it needs an empty line before it");
    else
        warn(p, "the line is not understood and ignored");
}

static void outside_line(struct parser *p)
{
    const char *id;
    size_t n = line_trim(p->l.text, p->l.len), lead = line_lead(p->l.text, n), type_len, id_len;
    if (parse_header(p->l.text, n, &type_len, &id, &id_len))
        begin_section(p, type_len, id, id_len);
    else if (lead < n && p->l.text[lead] != '#') {
        lose_header(p, p->l.text + lead, n - lead);
        warn(p, "the line belongs to no section and is ignored");
    }
}

void section_parse(const char *name, const char *text, size_t len, struct section_file *ret)
{
    *ret = (struct section_file){.name = xstrdup(name)};
    ret->before = xcalloc(1, sizeof *ret->before);
    struct parser p = {.file = ret, .start = text, .l = LINES_INIT(text, len)};
    while (lines_next(&p.l)) {
        if (!p.section)
            outside_line(&p);
        else if (p.l.len == 0)
            end_section(&p, p.l.next, true);
        else
            section_line(&p);
    }
    if (p.section)
        end_section(&p, p.l.end, false);
    else if (p.l.end)
        buf_add(&ret->before[ret->n], p.start, (size_t)(p.l.end - p.start));
}

/* ---- writing ---- */

static void add_buf(struct buf *out, const struct buf *b)
{
    if (b->len)
        buf_add(out, b->data, b->len);
}

static void end_line(struct buf *out)
{
    if (out->len && out->data[out->len - 1] != '\n')
        buf_addc(out, '\n');
}

static void print_anew(const struct section *s, struct buf *out)
{
    buf_addf(out, "%s: %s\n", s->type, s->id);
    for (size_t i = 0; i < s->n_props; i++) {
        const struct property *x = &s->props[i];
        add_buf(out, &x->before);
        end_line(out); /* a comment that ended the file may stand above a property now */
        buf_addc(out, '\t');
        buf_adds(out, x->key);
        if (!x->bare) {
            buf_addc(out, ' ');
            buf_adds(out, x->value);
        }
        buf_addc(out, '\n');
    }
    add_buf(out, &s->after);
    end_line(out);
    buf_addc(out, '\n');
}

static bool prints_anew(const struct section *s)
{
    return s->changed || !s->raw.len;
}

void section_print(const struct section_file *f, struct buf *out)
{
    for (size_t i = 0; i < f->n; i++) {
        const struct section *s = &f->sections[i];
        add_buf(out, &f->before[i]);
        end_line(out);
        if (prints_anew(s)) {
            print_anew(s, out);
            continue;
        }
        add_buf(out, &s->raw);
        if (!s->closed && (i + 1 < f->n || f->before[f->n].len)) { /* it was the last and is not any more */
            end_line(out);
            buf_addc(out, '\n');
        }
    }
    if (f->before)
        add_buf(out, &f->before[f->n]);
}

/* ---- access ---- */

static void property_release(struct property *x)
{
    free(x->key);
    free(x->value);
    buf_release(&x->before);
}

static void section_release(struct section *s)
{
    for (size_t i = 0; i < s->n_props; i++)
        property_release(&s->props[i]);
    free(s->props);
    free(s->type);
    free(s->id);
    buf_release(&s->raw);
    buf_release(&s->after);
}

void section_file_release(struct section_file *f)
{
    for (size_t i = 0; i < f->n; i++)
        section_release(&f->sections[i]);
    for (size_t i = 0; f->before && i <= f->n; i++)
        buf_release(&f->before[i]);
    for (size_t i = 0; i < f->n_lost; i++) {
        free(f->lost[i].type);
        free(f->lost[i].id);
    }
    free(f->lost);
    free(f->sections);
    free(f->before);
    free(f->name);
    strv_release(&f->warnings);
    *f = (struct section_file){0};
}

struct section *section_find(struct section_file *f, const char *type, const char *id)
{
    for (size_t i = f->n; i > 0; i--)
        if (strcmp(f->sections[i - 1].id, id) == 0 && strcmp(f->sections[i - 1].type, type) == 0)
            return &f->sections[i - 1];
    return NULL;
}

const char *section_get(const struct section *s, const char *key)
{
    const struct property *x = find_property(s, key, strlen(key));
    return x ? x->value : NULL;
}

void section_set(struct section *s, const char *key, const char *value)
{
    struct property *x = find_property(s, key, strlen(key));
    if (!x)
        x = add_property(s, key, strlen(key));
    free(x->value);
    x->value = xstrdup(value ? value : "");
    x->bare = !value;
    s->changed = true;
}

void section_unset(struct section *s, const char *key)
{
    struct property *x = find_property(s, key, strlen(key));
    if (!x)
        return;
    size_t i = (size_t)(x - s->props);
    struct buf *below = i + 1 < s->n_props ? &x[1].before : &s->after;
    end_line(&x->before);
    add_buf(&x->before, below); /* its comments pass on to what follows */
    buf_release(below);
    *below = x->before;
    x->before = (struct buf)BUF_INIT;
    property_release(x);
    memmove(x, x + 1, (s->n_props - i - 1) * sizeof *x);
    s->n_props--;
    s->changed = true;
}

void section_sort(struct section *s, int (*rank)(const char *key))
{
    for (size_t i = 1; i < s->n_props; i++) {
        struct property x = s->props[i];
        size_t k = i;
        for (; k > 0; k--) {
            int above = rank(s->props[k - 1].key), own = rank(x.key);
            if (above < own || (above == own && strcmp(s->props[k - 1].key, x.key) < 0))
                break;
            s->props[k] = s->props[k - 1];
        }
        s->props[k] = x;
    }
}

struct section *section_add(struct section_file *f, const char *type, const char *id)
{
    struct section *s = grow(f);
    s->type = xstrdup(type);
    s->id = xstrdup(id);
    s->changed = true;
    return s;
}

void section_remove(struct section_file *f, size_t i)
{
    add_buf(&f->before[i], &f->before[i + 1]);
    buf_release(&f->before[i + 1]);
    section_release(&f->sections[i]);
    memmove(f->sections + i, f->sections + i + 1, (f->n - i - 1) * sizeof *f->sections);
    memmove(f->before + i + 1, f->before + i + 2, (f->n - i - 1) * sizeof *f->before);
    f->n--;
}
