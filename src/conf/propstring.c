#include "conf/propstring.h"

#include <stdio.h>
#include <string.h>

bool propstring_next(const char **cursor, const char **key, size_t *key_len, const char **value,
                     size_t *value_len)
{
    const char *s = *cursor;
    if (!s || !*s)
        return false;
    size_t n = strcspn(s, ",");
    const char *equal = memchr(s, '=', n);
    *key = s;
    *key_len = equal ? (size_t)(equal - s) : 0;
    *value = equal ? equal + 1 : s;
    *value_len = (size_t)(s + n - *value);
    *cursor = s + n + (s[n] == ',');
    return true;
}

bool propstring_get(const char *text, const char *key, char *out, size_t room)
{
    const char *k, *v;
    size_t k_len, v_len;
    while (propstring_next(&text, &k, &k_len, &v, &v_len))
        if (key ? k_len == strlen(key) && memcmp(k, key, k_len) == 0 : k_len == 0) {
            snprintf(out, room, "%.*s", (int)(v_len < room ? v_len : room), v);
            return true;
        }
    return false;
}
