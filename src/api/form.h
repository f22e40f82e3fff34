/* What a client sends as names and values: the path and query of a request line, bodies as forms and as JSON.
 * Everything here comes from strangers: sizes are bounded, escapes must be whole, and names and values are
 * UTF-8 without control characters but tab and line ends. Sentences are for the client: ERR_USAGE. */
#pragma once

#include "base/err.h"
#include "base/strv.h"

#include <stddef.h>

#define FORM_FIELDS_MAX 64
#define FORM_NAME_MAX 64

/* name.v[i] has the value value.v[i]. One that was sent more than once has all that was, a line each, and
 * where that is not the same, is also in `again`, as often as it was sent anew: only a list may be sent so.
 */
struct form {
    struct strv name, value, again;
};
void form_release(struct form *f);

/* "a=1&b=two%20words&flag": added to f. plus: '+' is a blank. */
int form_parse(struct form *f, const char *text, size_t len, struct err *e);
/* {"a": 1, "b": "two words", "c": ["x", "y"]}: added to f. Booleans become 1 and 0, arrays lists with commas;
 * null is as if it were not there. */
int form_parse_json(struct form *f, const char *text, size_t len, struct err *e);
/* By the value of a Content-Type header; NULL: a form. */
int form_parse_body(struct form *f, const char *content_type, const char *text, size_t len, struct err *e);

/* The components of a path, decoded. No empty, "." or ".." component, none with a '/' in it; one '/' at the
 * end is as good as none. */
int path_split(const char *text, size_t len, struct strv *ret, struct err *e);
