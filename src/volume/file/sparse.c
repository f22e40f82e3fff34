#include "volume/file/sparse.h"

#include <string.h>

static bool is_zero(const unsigned char *page)
{
    static const unsigned char zeros[SPARSE_PAGE];
    return page[0] == 0 && memcmp(page, zeros, SPARSE_PAGE) == 0;
}

size_t sparse_run(const void *data, size_t n, uint64_t offset, bool *zero)
{
    const unsigned char *p = data;
    size_t at = offset % SPARSE_PAGE ? SPARSE_PAGE - (size_t)(offset % SPARSE_PAGE) : 0;
    *zero = at == 0 && n >= SPARSE_PAGE && is_zero(p);
    for (; at < n; at += SPARSE_PAGE)
        if ((n - at >= SPARSE_PAGE && is_zero(p + at)) != *zero)
            break;
    return at < n ? at : n;
}
