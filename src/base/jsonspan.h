/* JSON read in place: a value is a span of the text, nothing is built in memory.
 *
 * For files of many small objects of which few are wanted, or of which one is changed while all others must
 * stay byte for byte as they are. Check the whole text once with json_check; spans of a checked text are
 * valid JSON, so the functions that walk them cannot fail.
 *
 *     if (json_check(text, len, &root, &bad) < 0)
 *         … damaged at byte `bad` …
 *     struct json_iter it = json_iter(root);
 *     struct json_span key, value;
 *     while (json_next(&it, &key, &value))
 *         …
 *
 * Keys are compared as they are written: a key written with escapes matches nothing.
 */
#pragma once

#include "base/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Without surrounding blanks; a string includes its quotes. p NULL: none. Points into the text. */
struct json_span {
    const char *p;
    size_t len;
};

/* One JSON value, blanks around it, nested at most 64 deep, strings in valid UTF-8. 0 and the value in *ret,
 * or -1 and the offset of the first byte that cannot be right in *bad. */
int json_check(const char *text, size_t len, struct json_span *ret, size_t *bad);

/* A key of an object, and its value. */
struct json_pair {
    struct json_span whole, value; /* whole: from the key's quote to the value's end */
    unsigned times;                /* that the key is there; of several the last is meant */
};
/* json_check, which finds a key of the outermost object on its way: in large texts nothing is looked at
 * twice. */
int json_check_for(const char *text, size_t len, const char *key, struct json_span *ret,
                   struct json_pair *pair, size_t *bad);

bool json_is_object(struct json_span s);
bool json_is_array(struct json_span s);

struct json_iter {
    const char *p, *end;
};
/* Over the pairs of an object or the items of an array; over nothing for any other value. */
struct json_iter json_iter(struct json_span container);
/* False at the end. key may be NULL; it comes without quotes, {NULL, 0} for array items. */
bool json_next(struct json_iter *it, struct json_span *key, struct json_span *value);

/* The value of a key, the last one if there are several; p NULL when there is none. */
struct json_span json_get(struct json_span object, const char *key);
bool json_key_is(struct json_span key, const char *text);

/* A whole number, also as a string of digits ("17"); a fraction is cut. False: not a number or out of range.
 */
bool json_to_i64(struct json_span s, int64_t *ret);
bool json_to_double(struct json_span s, double *ret);
/* Decoded, malloc'ed; NULL when it is no string or holds a zero byte. */
char *json_to_string(struct json_span s);

/* Append the value without blanks between its tokens, all else byte for byte. */
void json_add(struct buf *out, struct json_span s);
/* Append text as a JSON string; bytes that are not UTF-8 become U+FFFD. */
void json_add_string(struct buf *out, const char *text);
