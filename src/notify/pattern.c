#include "notify/pattern.h"

#include "base/buf.h"
#include "base/mem.h"

#include <ctype.h>
#include <regex.h>
#include <string.h>

struct scan {
    const char *at;
    unsigned depth, groups, pluses;
    char before; /* 'x': something that may be repeated; otherwise the operator */
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

static const char *scan_operator(struct scan *s, char c)
{
    if (c == '{')
        return "'{' is not known in regular expressions here";
    if (strchr("*+?", c) && s->before != 'x')
        return "a regular expression repeats nothing, or a repetition";
    if (strchr("^$", c) && s->depth)
        return "a regular expression with '^' or '$' within '('";
    if (c == '(' && s->at[1] == '?')
        return "'(?' is not known in regular expressions here";
    s->groups += c == '(';
    s->pluses += c == '+';
    if (s->groups > PATTERN_GROUPS || s->pluses > PATTERN_PLUSES)
        return "a regular expression with more than 16 '(', or 8 '+'";
    if (c == ')' && !s->depth)
        return "a regular expression with a ')' too many";
    s->depth += (c == '(') - (c == ')');
    s->before = c == ')' ? 'x' : c;
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
    if (strchr("{*+?^$()|", c))
        return scan_operator(s, c);
    buf_addc(&s->out, *s->at++);
    s->before = 'x';
    return NULL;
}

/* ---- the whole ---- */

static const char *translate(const char *pattern, struct buf *out)
{
    struct scan s = {.at = pattern, .before = '|', .out = BUF_INIT};
    const char *wrong = strlen(pattern) > PATTERN_MAX ? "a regular expression of more than 256 bytes" : NULL;
    while (*s.at && !wrong)
        wrong = scan_next(&s);
    *out = s.out;
    return wrong;
}

int pattern_matches(const char *pattern, const char *value, const char **wrong)
{
    regex_t re;
    _cleanup_buf_ struct buf text = BUF_INIT;
    *wrong = translate(pattern, &text);
    if (*wrong)
        return -1;
    *wrong = "no regular expression";
    if (regcomp(&re, buf_str(&text), REG_EXTENDED | REG_NOSUB) != 0)
        return -1;
    int r = value && regexec(&re, value, 0, NULL, 0) == 0;
    regfree(&re);
    return r;
}
