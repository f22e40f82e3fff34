#include "view/json.h"

#include "base/num.h"
#include "base/strv.h"
#include "base/text.h"

#include <stdint.h>
#include <stdio.h>

static void put(const json_t *value, bool pretty, unsigned depth, struct buf *out);

static void start_line(bool pretty, unsigned depth, struct buf *out)
{
    if (pretty)
        buf_addf(out, "\n%*s", (int)(3 * depth), "");
}

static void put_scalar(const json_t *value, struct buf *out)
{
    if (json_is_real(value)) {
        char text[32];
        num_print_double(json_real_value(value), text);
        buf_adds(out, text);
        return;
    }
    /* escaped, what would turn the direction of writing or move a cursor does not */
    bool clean = !json_is_string(value) || text_is_clean(json_string_value(value));
    _cleanup_free_ char *text = json_dumps(value, JSON_ENCODE_ANY | (clean ? 0 : JSON_ENSURE_ASCII));
    buf_adds(out, text ? text : "null");
}

static void put_object(const json_t *object, bool pretty, unsigned depth, struct buf *out)
{
    _cleanup_strv_ struct strv keys = STRV_INIT;
    const char *key;
    json_t *member;
    json_object_foreach((json_t *)object, key, member) strv_add(&keys, key);
    strv_sort(&keys);
    buf_addc(out, '{');
    for (size_t i = 0; i < keys.n; i++) {
        json_t *name = json_string(keys.v[i]);
        if (i)
            buf_addc(out, ',');
        start_line(pretty, depth + 1, out);
        put_scalar(name, out);
        buf_adds(out, pretty ? " : " : ":");
        put(json_object_get(object, keys.v[i]), pretty, depth + 1, out);
        json_decref(name);
    }
    if (keys.n)
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
