#include "access/userlines.h"

#include "conf/lines.h"
#include "conf/warn.h"

#include <string.h>

static const char *const kinds[] = {
    [USER_LINE_USER] = "user", [USER_LINE_TOKEN] = "token", [USER_LINE_GROUP] = "group",
    [USER_LINE_POOL] = "pool", [USER_LINE_ROLE] = "role",   [USER_LINE_ACL] = "acl",
};

void user_lines_release(struct user_lines *l)
{
    free(l->text);
    free(l->lines);
    *l = (struct user_lines){0};
}

static char *trimmed(const char *s, size_t n)
{
    size_t lead = line_lead(s, n);
    return xstrndup(s + lead, line_trim(s + lead, n - lead));
}

char *user_line_field(const struct user_line *l, size_t i)
{
    const char *at = l->text;
    for (; i > 0; i--) {
        at = strchrnul(at, ':');
        at += *at != '\0';
    }
    return trimmed(at, strcspn(at, ":"));
}

void user_line_list(const struct user_line *l, size_t i, struct strv *ret)
{
    _cleanup_free_ char *field = user_line_field(l, i);
    strv_split(ret, field, ",; \t\r\f\v");
}

/* The kind that the line names, and what is behind its ':'. False: no such kind. */
static bool read_kind(char *line, struct user_line *ret)
{
    char *colon = strchr(line, ':');
    if (!colon)
        return false;
    _cleanup_free_ char *kind = trimmed(line, (size_t)(colon - line));
    for (size_t i = 0; i < ELEMENTS(kinds); i++)
        if (strcmp(kinds[i], kind) == 0) {
            *ret = (struct user_line){.kind = (enum user_line_kind)i, .text = colon + 1};
            return true;
        }
    return false;
}

/* The line ends with a zero byte in place of its newline. */
static void read_line(char *line, size_t len, unsigned number, struct user_lines *ret, struct strv *warnings)
{
    struct user_line l;
    if (line_lead(line, len) == len || line[line_lead(line, len)] == '#')
        return;
    if (strlen(line) < len || !read_kind(line, &l)) {
        warn_at(warnings, USER_CFG, number, "'%.*s' is ignored: no line that is known",
                WARN_QUOTE(line, len));
        return;
    }
    l.number = number;
    ret->lines = xgrow(ret->lines, ret->n, sizeof *ret->lines);
    ret->lines[ret->n++] = l;
}

static bool is_superseded(const struct user_line *l, struct lookup *seen, size_t at, struct strv *warnings)
{
    if (l->kind == USER_LINE_ACL)
        return false;
    _cleanup_free_ char *name = user_line_field(l, 0);
    _cleanup_free_ char *key = xasprintf("%s:%s", kinds[l->kind], name);
    if (lookup_add(seen, key, at))
        return false;
    warn_at(warnings, USER_CFG, l->number, "%s '%.80s' is ignored: a later line says it anew", kinds[l->kind],
            name);
    return true;
}

/* From the end to the beginning, so that the first one seen is the last one. */
static void drop_superseded(struct user_lines *l, struct strv *warnings)
{
    _cleanup_lookup_ struct lookup seen = {0};
    size_t kept = l->n;
    for (size_t i = l->n; i > 0; i--)
        if (!is_superseded(&l->lines[i - 1], &seen, i, warnings))
            l->lines[--kept] = l->lines[i - 1];
    memmove(l->lines, l->lines + kept, (l->n - kept) * sizeof *l->lines);
    l->n -= kept;
}

void user_lines_read(const char *text, size_t len, struct user_lines *ret, struct strv *warnings)
{
    *ret = (struct user_lines){.text = xmalloc(len + 1)};
    memcpy(ret->text, text ? text : "", len);
    ret->text[len] = '\0';
    struct lines l = LINES_INIT(ret->text, len);
    while (lines_next(&l)) {
        char *line = ret->text + (l.text - ret->text);
        line[l.len] = '\0';
        read_line(line, l.len, l.number, ret, warnings);
    }
    if (ret->n > 0)
        drop_superseded(ret, warnings);
}
