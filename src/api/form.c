#include "api/form.h"

#include "base/buf.h"
#include "base/num.h"
#include "base/text.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define PATH_DEPTH_MAX 16

void form_release(struct form *f)
{
    strv_release(&f->name);
    strv_release(&f->value);
    strv_release(&f->again);
}

static char **find(const struct form *f, const char *name)
{
    for (size_t i = 0; i < f->name.n; i++)
        if (strcmp(f->name.v[i], name) == 0)
            return &f->value.v[i];
    return NULL;
}

/* ---- text ---- */

static int hex(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
}

/* What may be in a name or a value. */
static bool is_text(const char *p, size_t n)
{
    const char *end = p + n;
    while (p < end) {
        size_t k = text_utf8_len(p, end);
        unsigned char c = (unsigned char)*p;
        if (k == 0 || c == 0x7f || (c < 0x20 && c != '\t' && c != '\n' && c != '\r'))
            return false;
        p += k;
    }
    return true;
}

static int check_text(const char *text, size_t n, struct err *e)
{
    return is_text(text, n) ? 0
                            : err_set(e, ERR_USAGE, 0, "what was sent is no text, or has control characters");
}

/* Malloc'ed, or NULL. */
static char *decode(const char *text, size_t n, bool plus, struct err *e)
{
    _cleanup_buf_ struct buf out = BUF_INIT;
    for (size_t i = 0; i < n; i++) {
        if (text[i] == '%') {
            int high = i + 2 < n ? hex(text[i + 1]) : -1, low = i + 2 < n ? hex(text[i + 2]) : -1;
            if (high < 0 || low < 0) {
                err_set(e, ERR_USAGE, 0, "an escape beginning with '%%' is not whole");
                return NULL;
            }
            buf_addc(&out, (char)(high << 4 | low));
            i += 2;
        } else {
            buf_addc(&out, plus && text[i] == '+' ? ' ' : text[i]);
        }
    }
    return check_text(buf_str(&out), out.len, e) < 0 ? NULL : buf_take(&out);
}

/* ---- fields ---- */

static int add(struct form *f, const char *name, const char *value, struct err *e)
{
    if (f->name.n + f->again.n >= FORM_FIELDS_MAX)
        return err_set(e, ERR_USAGE, 0, "more than %d parameters", FORM_FIELDS_MAX);
    if (!*name || strlen(name) > FORM_NAME_MAX)
        return err_set(e, ERR_USAGE, 0, "a parameter's name has 1 to %d characters", FORM_NAME_MAX);
    char **before = find(f, name);
    if (!before) {
        strv_add(&f->name, name);
        strv_add(&f->value, value);
    } else if (strcmp(*before, value) != 0) {
        char *all = xasprintf("%s\n%s", *before, value);
        free(*before);
        *before = all;
        strv_add(&f->again, name);
    }
    return 0;
}

static int add_field(struct form *f, const char *text, size_t n, struct err *e)
{
    const char *equals = memchr(text, '=', n);
    size_t k = equals ? (size_t)(equals - text) : n;
    _cleanup_free_ char *name = decode(text, k, true, e);
    _cleanup_free_ char *value = !name ? NULL : equals ? decode(equals + 1, n - k - 1, true, e) : xstrdup("");
    return value ? add(f, name, value, e) : -1;
}

int form_parse(struct form *f, const char *text, size_t len, struct err *e)
{
    for (const char *p = text, *end = text + len; p < end;) {
        const char *amp = memchr(p, '&', (size_t)(end - p));
        size_t n = (size_t)((amp ? amp : end) - p);
        if (n && add_field(f, p, n, e) < 0)
            return -1;
        p += n + 1;
    }
    return 0;
}

/* ---- JSON ---- */

static int put_scalar(const json_t *v, struct buf *out, struct err *e)
{
    if (json_is_string(v)) {
        buf_add(out, json_string_value(v), json_string_length(v));
        return check_text(json_string_value(v), json_string_length(v), e);
    }
    if (json_is_integer(v))
        buf_addf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(v));
    else if (json_is_real(v)) {
        char text[32];
        num_print_double(json_real_value(v), text);
        buf_adds(out, text);
    } else if (json_is_boolean(v))
        buf_addc(out, json_is_true(v) ? '1' : '0');
    else
        return err_set(e, ERR_USAGE, 0, "the body has values within values");
    return 0;
}

static int put_value(const json_t *v, struct buf *out, struct err *e)
{
    if (!json_is_array(v))
        return put_scalar(v, out, e);
    for (size_t i = 0; i < json_array_size(v); i++) {
        if (i)
            buf_addc(out, ',');
        if (put_scalar(json_array_get(v, i), out, e) < 0)
            return -1;
    }
    return 0;
}

static int add_members(struct form *f, json_t *o, struct err *e)
{
    const char *key;
    json_t *member;
    if (!json_is_object(o))
        return err_set(e, ERR_USAGE, 0, "the body is not a JSON object");
    json_object_foreach(o, key, member)
    {
        _cleanup_buf_ struct buf value = BUF_INIT;
        if (json_is_null(member))
            continue;
        if (check_text(key, strlen(key), e) < 0 || put_value(member, &value, e) < 0 ||
            add(f, key, buf_str(&value), e) < 0)
            return -1;
    }
    return 0;
}

int form_parse_json(struct form *f, const char *text, size_t len, struct err *e)
{
    json_t *o = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
    int r = add_members(f, o, e);
    json_decref(o);
    return r;
}

int form_parse_body(struct form *f, const char *content_type, const char *text, size_t len, struct err *e)
{
    size_t n = content_type ? strcspn(content_type, "; \t") : 0;
    if (len == 0)
        return 0;
    if (n == strlen("application/json") && strncasecmp(content_type, "application/json", n) == 0)
        return form_parse_json(f, text, len, e);
    const char *form = "application/x-www-form-urlencoded";
    if (n == 0 || (n == strlen(form) && strncasecmp(content_type, form, n) == 0))
        return form_parse(f, text, len, e);
    return err_set(e, ERR_USAGE, 0,
                   "a body is sent as application/x-www-form-urlencoded or application/json");
}

/* ---- paths ---- */

static int add_component(struct strv *ret, const char *text, size_t n, struct err *e)
{
    _cleanup_free_ char *name = decode(text, n, false, e);
    if (!name)
        return -1;
    if (!*name || strchr(name, '/') || strcmp(name, ".") == 0 || strcmp(name, "..") == 0 ||
        ret->n >= PATH_DEPTH_MAX)
        return err_set(e, ERR_USAGE, 0, "the path of the request is none");
    strv_add(ret, name);
    return 0;
}

int path_split(const char *text, size_t len, struct strv *ret, struct err *e)
{
    const char *end = text + len;
    if (len == 0 || *text != '/')
        return err_set(e, ERR_USAGE, 0, "the path of the request is none");
    for (const char *p = text + 1; p < end;) {
        const char *slash = memchr(p, '/', (size_t)(end - p));
        size_t n = (size_t)((slash ? slash : end) - p);
        if (add_component(ret, p, n, e) < 0)
            return -1;
        p += n + 1;
    }
    return 0;
}
