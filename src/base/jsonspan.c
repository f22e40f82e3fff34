#include "base/jsonspan.h"

#include "base/num.h"
#include "base/text.h"

#include <string.h>

enum { DEPTH_MAX = 64 };

struct scan {
    const char *p, *end;
    const char *wanted; /* a key of the outermost object, or NULL */
    struct json_pair *found;
};

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static void skip_blanks(struct scan *s)
{
    while (s->p < s->end && is_blank(*s->p))
        s->p++;
}

static bool take(struct scan *s, char c)
{
    if (s->p == s->end || *s->p != c)
        return false;
    s->p++;
    return true;
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool scan_escape(struct scan *s)
{
    if (s->p == s->end)
        return false;
    if (*s->p != 'u')
        return *s->p && strchr("\"\\/bfnrt", *s->p) && s->p++;
    s->p++;
    for (int i = 0; i < 4; i++, s->p++)
        if (s->p == s->end || hex_value(*s->p) < 0)
            return false;
    return true;
}

/* After the opening quote; leaves p behind the closing one. */
static bool scan_string(struct scan *s)
{
    while (s->p < s->end) {
        unsigned char c = (unsigned char)*s->p;
        if (c < 0x20)
            return false;
        if (c >= 0x80) {
            size_t n = text_utf8_len(s->p, s->end);
            if (!n)
                return false;
            s->p += n;
            continue;
        }
        s->p++;
        if (c == '"')
            return true;
        if (c == '\\' && !scan_escape(s))
            return false;
    }
    return false;
}

static bool scan_digits(struct scan *s)
{
    const char *from = s->p;
    while (s->p < s->end && *s->p >= '0' && *s->p <= '9')
        s->p++;
    return s->p > from;
}

static bool scan_number(struct scan *s)
{
    take(s, '-');
    if (!take(s, '0') && !scan_digits(s))
        return false;
    if (take(s, '.') && !scan_digits(s))
        return false;
    if (take(s, 'e') || take(s, 'E')) {
        if (!take(s, '-'))
            take(s, '+');
        return scan_digits(s);
    }
    return true;
}

static bool scan_word(struct scan *s, const char *word)
{
    size_t n = strlen(word);
    if ((size_t)(s->end - s->p) < n || memcmp(s->p, word, n) != 0)
        return false;
    s->p += n;
    return true;
}

static bool scan_value(struct scan *s, unsigned depth);

static bool scan_pair(struct scan *s, unsigned depth)
{
    const char *from = s->p;
    if (!take(s, '"') || !scan_string(s))
        return false;
    struct json_span key = {from + 1, (size_t)(s->p - from) - 2};
    skip_blanks(s);
    if (!take(s, ':'))
        return false;
    skip_blanks(s);
    const char *value = s->p;
    if (!scan_value(s, depth + 1))
        return false;
    if (depth == 0 && s->wanted && json_key_is(key, s->wanted)) {
        s->found->whole = (struct json_span){from, (size_t)(s->p - from)};
        s->found->value = (struct json_span){value, (size_t)(s->p - value)};
        s->found->times++;
    }
    return true;
}

/* After the opening bracket. */
static bool scan_container(struct scan *s, char close, unsigned depth)
{
    skip_blanks(s);
    if (take(s, close))
        return true;
    do {
        skip_blanks(s);
        if (!(close == '}' ? scan_pair(s, depth) : scan_value(s, depth + 1)))
            return false;
        skip_blanks(s);
    } while (take(s, ','));
    return take(s, close);
}

static bool scan_value(struct scan *s, unsigned depth)
{
    skip_blanks(s);
    if (s->p == s->end || depth > DEPTH_MAX)
        return false;
    switch (*s->p) {
    case '{':
        s->p++;
        return scan_container(s, '}', depth);
    case '[':
        s->p++;
        return scan_container(s, ']', depth);
    case '"':
        s->p++;
        return scan_string(s);
    case 't':
        return scan_word(s, "true");
    case 'f':
        return scan_word(s, "false");
    case 'n':
        return scan_word(s, "null");
    default:
        return scan_number(s);
    }
}

int json_check(const char *text, size_t len, struct json_span *ret, size_t *bad)
{
    struct json_pair ignored;
    return json_check_for(text, len, NULL, ret, &ignored, bad);
}

int json_check_for(const char *text, size_t len, const char *key, struct json_span *ret,
                   struct json_pair *pair, size_t *bad)
{
    struct scan s = {text, text + len, key, pair};
    *pair = (struct json_pair){0};
    skip_blanks(&s);
    const char *from = s.p;
    bool ok = scan_value(&s, 0);
    *ret = (struct json_span){from, (size_t)(s.p - from)};
    if (ok)
        skip_blanks(&s);
    *bad = (size_t)(s.p - text);
    return ok && s.p == s.end ? 0 : -1;
}

bool json_is_object(struct json_span s)
{
    return s.p && *s.p == '{';
}

bool json_is_array(struct json_span s)
{
    return s.p && *s.p == '[';
}

struct json_iter json_iter(struct json_span container)
{
    if (!json_is_object(container) && !json_is_array(container))
        return (struct json_iter){NULL, NULL};
    return (struct json_iter){container.p, container.p + container.len};
}

/* The end of a value in checked text: brackets are counted, strings stepped over. */
static const char *value_end(const char *p, const char *end)
{
    unsigned depth = 0;
    for (; p < end; p++) {
        switch (*p) {
        case '"':
            for (p++; *p != '"'; p++)
                p += *p == '\\';
            if (!depth)
                return p + 1;
            break;
        case '{':
        case '[':
            depth++;
            break;
        case '}':
        case ']':
            if (!depth)
                return p;
            if (!--depth)
                return p + 1;
            break;
        case ',':
        case ' ':
        case '\t':
        case '\n':
        case '\r':
            if (!depth)
                return p;
        }
    }
    return end;
}

static const char *past_blanks(const char *p)
{
    while (is_blank(*p))
        p++;
    return p;
}

bool json_next(struct json_iter *it, struct json_span *key, struct json_span *value)
{
    if (!it->p)
        return false;
    /* p is at the opening bracket, or behind a value: at blanks, a comma or the closing bracket */
    bool first = *it->p == '{' || *it->p == '[';
    const char *p = past_blanks(it->p + first);
    if (*p == ',')
        p = past_blanks(p + 1);
    if (p >= it->end - 1 || (first && (*p == '}' || *p == ']')))
        return false;
    struct json_span k = {NULL, 0};
    if (it->end[-1] == '}') {
        const char *close = value_end(p, it->end) - 1;
        k = (struct json_span){p + 1, (size_t)(close - p - 1)};
        p = past_blanks(past_blanks(close + 1) + 1);
    }
    const char *end = value_end(p, it->end);
    if (key)
        *key = k;
    *value = (struct json_span){p, (size_t)(end - p)};
    it->p = end;
    return true;
}

bool json_key_is(struct json_span key, const char *text)
{
    return key.p && strlen(text) == key.len && memcmp(key.p, text, key.len) == 0;
}

struct json_span json_get(struct json_span object, const char *key)
{
    struct json_span found = {NULL, 0}, k, value;
    struct json_iter it = json_iter(object);
    while (json_next(&it, &k, &value))
        if (json_key_is(k, key))
            found = value;
    return found;
}

/* The text of a number, without the quotes it may stand in; false when it cannot be one. */
static bool number_text(struct json_span s, char out[40])
{
    if (s.p && *s.p == '"') {
        s.p++;
        s.len -= 2;
    }
    if (!s.p || !s.len || s.len >= 40)
        return false;
    memcpy(out, s.p, s.len);
    out[s.len] = 0;
    return true;
}

bool json_to_i64(struct json_span s, int64_t *ret)
{
    char text[40];
    struct err e;
    double value;
    if (!number_text(s, text))
        return false;
    if (num_parse_i64("number", text, INT64_MIN, INT64_MAX, ret, &e) == 0)
        return true;
    if (num_parse_double("number", text, -9e18, 9e18, &value, &e) < 0)
        return false;
    *ret = (int64_t)value;
    return true;
}

bool json_to_double(struct json_span s, double *ret)
{
    char text[40];
    struct err e;
    return number_text(s, text) && num_parse_double("number", text, -1e300, 1e300, ret, &e) == 0;
}

static unsigned hex4(const char *p)
{
    unsigned value = 0;
    for (int i = 0; i < 4; i++)
        value = value << 4 | (unsigned)hex_value(p[i]);
    return value;
}

static void add_utf8(struct buf *b, unsigned c)
{
    if (c < 0x80) {
        buf_addc(b, (char)c);
    } else if (c < 0x800) {
        buf_addc(b, (char)(0xc0 | c >> 6));
        buf_addc(b, (char)(0x80 | (c & 0x3f)));
    } else if (c < 0x10000) {
        buf_addc(b, (char)(0xe0 | c >> 12));
        buf_addc(b, (char)(0x80 | (c >> 6 & 0x3f)));
        buf_addc(b, (char)(0x80 | (c & 0x3f)));
    } else {
        buf_addc(b, (char)(0xf0 | c >> 18));
        buf_addc(b, (char)(0x80 | (c >> 12 & 0x3f)));
        buf_addc(b, (char)(0x80 | (c >> 6 & 0x3f)));
        buf_addc(b, (char)(0x80 | (c & 0x3f)));
    }
}

/* p at the backslash; returns the last byte of the escape. Half a surrogate pair becomes U+FFFD. */
static const char *decode_escape(const char *p, struct buf *b)
{
    static const char letters[] = "bfnrt", values[] = "\b\f\n\r\t";
    p++;
    if (*p != 'u') {
        const char *letter = strchr(letters, *p);
        buf_addc(b, letter ? values[letter - letters] : *p);
        return p;
    }
    unsigned c = hex4(p + 1);
    p += 4;
    if (c >= 0xd800 && c < 0xe000) {
        bool pair = c < 0xdc00 && p[1] == '\\' && p[2] == 'u';
        unsigned low = pair ? hex4(p + 3) : 0;
        if (low >= 0xdc00 && low < 0xe000) {
            c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
            p += 6;
        } else {
            c = 0xfffd;
        }
    }
    add_utf8(b, c);
    return p;
}

char *json_to_string(struct json_span s)
{
    if (!s.p || *s.p != '"')
        return NULL;
    _cleanup_buf_ struct buf b = BUF_INIT;
    for (const char *p = s.p + 1; p < s.p + s.len - 1; p++) {
        if (*p == '\\')
            p = decode_escape(p, &b);
        else
            buf_addc(&b, *p);
    }
    if (b.len && memchr(b.data, 0, b.len))
        return NULL;
    return buf_take(&b);
}

void json_add(struct buf *out, struct json_span s)
{
    const char *end = s.p + s.len, *from = s.p;
    for (const char *p = s.p; p < end; p++) {
        if (*p == '"') {
            for (p++; *p != '"'; p++)
                p += *p == '\\';
        } else if (is_blank(*p)) {
            buf_add(out, from, (size_t)(p - from));
            from = p + 1;
        }
    }
    buf_add(out, from, (size_t)(end - from));
}

void json_add_string(struct buf *out, const char *text)
{
    const char *end = text + strlen(text);
    buf_addc(out, '"');
    for (const char *p = text; p < end;) {
        size_t n = text_utf8_len(p, end);
        if (!n) {
            buf_adds(out, "\xef\xbf\xbd");
            p++;
            continue;
        }
        if (*p == '"' || *p == '\\')
            buf_addf(out, "\\%c", *p);
        else if (*p == '\n')
            buf_adds(out, "\\n");
        else if ((unsigned char)*p < 0x20 || *p == 0x7f)
            buf_addf(out, "\\u%04x", (unsigned)*p);
        else
            buf_add(out, p, n);
        p += n;
    }
    buf_addc(out, '"');
}
