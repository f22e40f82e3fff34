/* What json_check accepts must be walkable to its ends, and must read back the same after json_add. */
#include "base/jsonspan.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void walk(struct json_span s)
{
    struct json_iter it = json_iter(s);
    struct json_span key, value;
    while (json_next(&it, &key, &value))
        walk(value);
    int64_t number;
    double real;
    json_to_i64(s, &number);
    json_to_double(s, &real);
    free(json_to_string(s));
}

/* What is found while the text is checked is what a walk finds. */
static void find(const char *text, size_t size, struct json_span root)
{
    struct json_pair pair;
    struct json_span again, key, value;
    size_t bad;
    struct json_iter it = json_iter(root);
    if (!json_is_object(root) || !json_next(&it, &key, &value) || memchr(key.p, 0, key.len))
        return;
    _cleanup_free_ char *wanted = xstrndup(key.p, key.len);
    if (json_check_for(text, size, wanted, &again, &pair, &bad) < 0 || !pair.times)
        abort();
    value = json_get(root, wanted);
    if (value.p != pair.value.p || value.len != pair.value.len ||
        pair.whole.p + pair.whole.len != pair.value.p + pair.value.len)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = xmalloc(size + 1); /* of exactly this size, so that a read beyond is seen */
    memcpy(text, data, size);
    text = xrealloc(text, size ? size : 1);
    struct json_span root, again;
    size_t bad;
    if (json_check(text, size, &root, &bad) == 0) {
        walk(root);
        find(text, size, root);
        struct buf compact = BUF_INIT, twice = BUF_INIT;
        json_add(&compact, root);
        if (json_check(compact.data, compact.len, &again, &bad) < 0)
            abort();
        json_add(&twice, again);
        if (compact.len != twice.len || memcmp(compact.data, twice.data, twice.len) != 0)
            abort();
        buf_release(&compact);
        buf_release(&twice);
    }
    free(text);
    return 0;
}
