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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = xmalloc(size + 1); /* of exactly this size, so that a read beyond is seen */
    memcpy(text, data, size);
    text = xrealloc(text, size ? size : 1);
    struct json_span root, again;
    size_t bad;
    if (json_check(text, size, &root, &bad) == 0) {
        walk(root);
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
