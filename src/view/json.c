#include "view/json.h"

#include "base/num.h"
#include "base/mem.h"
#include "base/text.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void put(const json_t *value, bool pretty, unsigned depth, struct buf *out);

static void start_line(bool pretty, unsigned depth, struct buf *out)
{
    if (pretty)
        buf_addf(out, "\n%*s", (int)(3 * depth), "");
}

/* So much of it is ASCII of which nothing is escaped. */
static size_t plain(const char *text)
{
    size_t n = 0;
    while (text[n] >= ' ' && text[n] < 0x7f && text[n] != '"' && text[n] != '\\')
        n++;
    return n;
}

/* By far the most are plain, and lists have tens of thousands of them: json_dumps takes a microsecond each.
 */
static void put_text(const char *text, struct buf *out)
{
    size_t n = plain(text);
    if (text[n]) {
        /* escaped, what would turn the direction of writing or move a cursor does not */
        json_t *value = json_string(text);
        size_t flags = JSON_ENCODE_ANY | (text_is_clean(text) ? 0 : JSON_ENSURE_ASCII);
        _cleanup_free_ char *escaped = json_dumps(value, flags);
        buf_adds(out, escaped ? escaped : "null");
        json_decref(value);
        return;
    }
    buf_addc(out, '"');
    buf_add(out, text, n);
    buf_addc(out, '"');
}

static void put_scalar(const json_t *value, struct buf *out)
{
    char number[32];
    if (json_is_string(value)) {
        put_text(json_string_value(value), out);
    } else if (json_is_integer(value)) {
        buf_addf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    } else if (json_is_real(value)) {
        num_print_double(json_real_value(value), number);
        buf_adds(out, number);
    } else {
        buf_adds(out, json_is_true(value) ? "true" : json_is_false(value) ? "false" : "null");
    }
}

struct member {
    const char *key;
    json_t *value;
};

static int by_key(const void *a, const void *b)
{
    const struct member *x = a, *y = b;
    return strcmp(x->key, y->key);
}

static void put_object(const json_t *object, bool pretty, unsigned depth, struct buf *out)
{
    size_t n = 0;
    const char *key;
    json_t *value;
    _cleanup_free_ struct member *members = xcalloc(json_object_size(object) + 1, sizeof *members);
    json_object_foreach((json_t *)object, key, value) members[n++] = (struct member){key, value};
    qsort(members, n, sizeof *members, by_key);
    buf_addc(out, '{');
    for (size_t i = 0; i < n; i++) {
        if (i)
            buf_addc(out, ',');
        start_line(pretty, depth + 1, out);
        put_text(members[i].key, out);
        buf_adds(out, pretty ? " : " : ":");
        put(members[i].value, pretty, depth + 1, out);
    }
    if (n)
        start_line(pretty, depth, out);
    buf_addc(out, '}');
}

static void put_array(const json_t *array, bool pretty, unsigned depth, struct buf *out)
{
    buf_addc(out, '[');
    for (size_t i = 0; i < json_array_size(array); i++) {
        if (i)
            buf_addc(out, ',');
        start_line(pretty, depth + 1, out);
        put(json_array_get(array, i), pretty, depth + 1, out);
    }
    if (json_array_size(array))
        start_line(pretty, depth, out);
    buf_addc(out, ']');
}

static void put(const json_t *value, bool pretty, unsigned depth, struct buf *out)
{
    if (json_is_object(value))
        put_object(value, pretty, depth, out);
    else if (json_is_array(value))
        put_array(value, pretty, depth, out);
    else
        put_scalar(value, out);
}

void json_print(const json_t *value, bool pretty, struct buf *out)
{
    put(value, pretty, 0, out);
    buf_addc(out, '\n');
}

json_t *json_text(const char *text)
{
    json_t *s = json_string(text);
    if (s)
        return s;
    _cleanup_buf_ struct buf utf8 = BUF_INIT;
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (c < 0x80) {
            buf_addc(&utf8, *text);
        } else {
            buf_addc(&utf8, (char)(0xc0 | c >> 6));
            buf_addc(&utf8, (char)(0x80 | (c & 0x3f)));
        }
    }
    return json_string(buf_str(&utf8));
}

double whole_microseconds(double seconds)
{
    if (!(seconds >= 0 && seconds < 1e9))
        return seconds;
    return (double)(int64_t)(seconds * 1e6 + 0.5) / 1e6;
}

void json_put(json_t *value, bool pretty)
{
    _cleanup_buf_ struct buf out = BUF_INIT;
    json_print(value, pretty, &out);
    fwrite(out.data, 1, out.len, stdout);
    json_decref(value);
}
