#include "run/source/ranges.h"

#include "base/num.h"

#include <inttypes.h>
#include <string.h>

void ranges_release(struct ranges *r)
{
    free(r->v);
    *r = (struct ranges){0};
}

void ranges_add(struct ranges *r, uint64_t offset, uint64_t length)
{
    struct range *last = r->n ? &r->v[r->n - 1] : NULL;
    if (!last || (last->offset + last->length < offset && r->n < RANGES_MAX)) {
        r->v = xgrow(r->v, r->n, sizeof *r->v);
        r->v[r->n++] = (struct range){offset, length};
    } else if (offset + length > last->offset + last->length) {
        last->length = offset + length - last->offset;
    }
}

void ranges_join(struct ranges *r, const struct ranges *other)
{
    struct ranges both = {0};
    for (size_t a = 0, b = 0; a < r->n || b < other->n;) {
        bool mine = b == other->n || (a < r->n && r->v[a].offset <= other->v[b].offset);
        const struct range *next = mine ? &r->v[a++] : &other->v[b++];
        ranges_add(&both, next->offset, next->length);
    }
    ranges_release(r);
    *r = both;
}

uint64_t ranges_bytes(const struct ranges *r)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < r->n; i++)
        bytes += r->v[i].length;
    return bytes;
}

void ranges_print(const struct ranges *r, struct buf *out)
{
    for (size_t i = 0; i < r->n; i++)
        buf_addf(out, "%s%" PRIu64 "+%" PRIu64, i ? "," : "", r->v[i].offset, r->v[i].length);
}

static bool parse_one(char *text, struct ranges *ret)
{
    struct err ignored;
    uint64_t offset, length;
    char *plus = strchr(text, '+');
    if (!plus)
        return false;
    *plus = 0;
    if (num_parse_u64("offset", text, 0, INT64_MAX, &offset, &ignored) < 0 ||
        num_parse_u64("length", plus + 1, 1, INT64_MAX, &length, &ignored) < 0 ||
        (ret->n && offset < ret->v[ret->n - 1].offset))
        return false;
    ranges_add(ret, offset, length);
    return true;
}

bool ranges_parse(const char *text, size_t n, struct ranges *ret)
{
    _cleanup_free_ char *copy = xstrndup(text, n);
    char *save = NULL;
    *ret = (struct ranges){0};
    for (char *one = strtok_r(copy, ",", &save); one; one = strtok_r(NULL, ",", &save))
        if (!parse_one(one, ret)) {
            ranges_release(ret);
            return false;
        }
    return ret->n > 0;
}
