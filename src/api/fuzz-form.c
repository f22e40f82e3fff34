/* A method, a request line's path and query, and a body by line: nothing that a stranger sends may do more
 * than be refused. */
#include "api/request.h"

#include <stdint.h>
#include <string.h>

static void check(const struct endpoint *ep, struct strv *values, struct form *form)
{
    struct request r;
    if (request_check(&r, ep, values, form) == 0)
        for (size_t i = 0; i < r.path.n; i++)
            if (strchr(r.path.v[i], '/'))
                __builtin_trap();
    request_release(&r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    struct err e = {0};
    bool known;
    _cleanup_strv_ struct strv path = STRV_INIT, values = STRV_INIT;
    _cleanup_(form_release) struct form form = {0};
    if (size < 2)
        return 0;
    enum api_method method = data[0] % API_METHODS;
    const char *newline = memchr(text + 1, '\n', size - 1);
    const char *end = newline ? newline : text + size;
    const char *query = memchr(text + 1, '?', (size_t)(end - text) - 1);
    if (path_split(text + 1, (size_t)((query ? query : end) - text) - 1, &path, &e) < 0)
        return 0;
    const struct endpoint *ep = endpoint_find(method, &path, &known, &values);
    if (!ep || (query && form_parse(&form, query + 1, (size_t)(end - query) - 1, &e) < 0))
        return 0;
    if (newline && form_parse_body(&form, data[0] & 128 ? "application/json" : NULL, newline + 1,
                                   (size_t)(text + size - newline) - 1, &e) < 0)
        return 0;
    check(ep, &values, &form);
    return 0;
}
