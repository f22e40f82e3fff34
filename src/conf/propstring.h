/* Property strings: "volid,size=4G,replicate=0": parts between commas, the first may lack a key. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* The value of `key` in `text` into out (cut to room): true when there. key NULL: the part without '='. */
bool propstring_get(const char *text, const char *key, char *out, size_t room);
/* Walk: *cursor starts as text; key/value point into text with lengths. False at the end. A part without '='
 * has key_len 0. */
bool propstring_next(const char **cursor, const char **key, size_t *key_len, const char **value,
                     size_t *value_len);
