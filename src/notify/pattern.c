#include "notify/pattern.h"

#include "base/buf.h"
#include "base/mem.h"

#include <ctype.h>
#include <regex.h>
#include <string.h>

struct scan {
    const char *begin, *at;
    unsigned depth, groups, repeated, repeats;
    char before; /* 'x': something that may be repeated; otherwise the operator, also ')' */
    bool begins, ends, alternatives; /* "^" and "$" are no part of `out`; outside of groups */
    struct buf out;
};

/* ---- one element: NULL, or what is wrong ---- */

/* A letter's class, as it stands within brackets; NULL: none. */
static const char *class_of(char letter)
{
    return letter == 'd' ? "0-9" : letter == 'w' ? "[:alnum:]_" : letter == 's' ? "[:space:]" : NULL;
}

static const char *scan_escape(struct scan *s)
{
    char c = *++s->at;
    const char *class = class_of(c);
    if (class)
        buf_addf(&s->out, "[%s]", class);
    else if (ispunct((unsigned char)c) && !strchr("<>`'", c))
        buf_addf(&s->out, "\\%c", c);
    else
        return "no escape of a regular expression but \\d, \\w, \\s and those of punctuation is known";
    s->at++;
    s->before = 'x';
    return NULL;
}

/* Within brackets: "[:NAME:]", or "\d". */
static const char *scan_class(struct scan *s)
{
    const char *class = *s->at == '\\' ? class_of(s->at[1]) : NULL;
    const char *end = strncmp(s->at, "[:", 2) == 0 ? strstr(s->at, ":]") : NULL;
    if (!class && !end)
        return "no '[' and no '\\' but \\d, \\w and \\s is known within the brackets of a regular expression";
    if (class)
        buf_adds(&s->out, class);
    else
        buf_add(&s->out, s->at, (size_t)(end - s->at) + 2);
    s->at = class ? s->at + 2 : end + 2;
    return NULL;
}

static const char *scan_brackets(struct scan *s)
{
    size_t n = s->at[1] == '^' ? 2 : 1;
    n += s->at[n] == ']'; /* the first one is itself */
    buf_add(&s->out, s->at, n);
    s->at += n;
    while (*s->at && *s->at != ']') {
        const char *wrong = NULL;
        if (*s->at == '[' || *s->at == '\\')
            wrong = scan_class(s);
        else
            buf_addc(&s->out, *s->at++);
        if (wrong)
            return wrong;
    }
    s->before = 'x';
    return NULL; /* a "]" comes next, or regcomp misses it */
}

/* The C library never comes to an end with some that have them. */
static const char *scan_anchor(struct scan *s, bool fits, bool *ret)
{
    *ret = true;
    s->before = '^';
    s->at++;
    return fits ? NULL : "a regular expression with '^' behind its beginning, or '$' before its end";
}

static const char *scan_operator(struct scan *s, char c)
{
    if (c == '{')
        return "'{' is not known in regular expressions here";
    if (strchr("*+?", c) && !strchr("x)", s->before))
        return "a regular expression repeats nothing, or a repetition";
    if (c == '(' && s->at[1] == '?')
        return "'(?' is not known in regular expressions here";
    s->groups += c == '(';
    s->repeats += strchr("*+?", c) != NULL;
    s->repeated += s->before == ')' && strchr("*+?", c);
    if (s->groups > PATTERN_GROUPS || s->repeats > PATTERN_REPEATS || s->repeated > PATTERN_REPEATED)
        return "a regular expression with more than 16 '(', 8 repetitions, or 2 of groups";
    if (c == ')' && !s->depth)
        return "a regular expression with a ')' too many";
    s->depth += (c == '(') - (c == ')');
    s->alternatives = s->alternatives || (c == '|' && !s->depth);
    s->before = c;
    buf_addc(&s->out, *s->at++);
    return NULL;
}

static const char *scan_next(struct scan *s)
{
    char c = *s->at;
    if (c == '\\')
        return scan_escape(s);
    if (c == '[')
        return scan_brackets(s);
    if (c == '^')
        return scan_anchor(s, s->at == s->begin, &s->begins);
    if (c == '$')
        return scan_anchor(s, !s->at[1], &s->ends);
    if (strchr("{*+?()|", c))
        return scan_operator(s, c);
    buf_addc(&s->out, *s->at++);
    s->before = 'x';
    return NULL;
}

/* ---- the whole ---- */

static const char *translate(struct scan *s)
{
    if (strlen(s->begin) > PATTERN_MAX)
        return "a regular expression of more than 256 bytes";
    while (*s->at) {
        const char *wrong = scan_next(s);
        if (wrong)
            return wrong;
    }
    return (s->begins || s->ends) && s->alternatives
               ? "a regular expression with '^' or '$' and '|' outside of '(': write '^(A|B)$'"
               : NULL;
}

/* What regexec finds is the first one, and the longest that begins there. */
static bool is_found(const regex_t *re, const struct scan *s, const char *value)
{
    regmatch_t m;
    for (;; value++) {
        if (regexec(re, value, 1, &m, 0) != 0 || (s->begins && m.rm_so > 0))
            return false;
        if (!s->ends || !value[m.rm_eo])
            return true;
        value += m.rm_so;
        if (s->begins || !*value)
            return false;
    }
}

int pattern_matches(const char *pattern, const char *value, const char **wrong)
{
    regex_t re;
    struct scan s = {.begin = pattern, .at = pattern, .before = '|', .out = BUF_INIT};
    *wrong = translate(&s);
    _cleanup_free_ char *text = buf_take(&s.out);
    if (*wrong)
        return -1;
    *wrong = "no regular expression";
    if (regcomp(&re, text, REG_EXTENDED) != 0)
        return -1;
    int r = value && is_found(&re, &s, value);
    regfree(&re);
    return r;
}
