#include "run/source/damage.h"

#include <string.h>

/* The ranges of an entry about this volume, and its id; NULL: it is about another. */
static const char *entry(const char *text, const char *volid, char id[SNAPSHOT_ID_LEN + 1], size_t *n)
{
    const char *ranges = text + SNAPSHOT_ID_LEN + 1;
    if (strlen(text) <= SNAPSHOT_ID_LEN + 1 || ranges[-1] != ' ')
        return NULL;
    const char *end = strchr(ranges, ' ');
    if (!end || strcmp(end + 1, volid) != 0)
        return NULL;
    memcpy(id, text, SNAPSHOT_ID_LEN);
    id[SNAPSHOT_ID_LEN] = 0;
    *n = (size_t)(end - ranges);
    return ranges;
}

bool damage_find(const struct strv *damaged, const char *volid, const char *id, struct ranges *ret)
{
    for (size_t i = 0; damaged && i < damaged->n; i++) {
        char of[SNAPSHOT_ID_LEN + 1];
        size_t n;
        const char *ranges = entry(damaged->v[i], volid, of, &n);
        if (!ranges || strcmp(of, id) != 0)
            continue;
        if (ret)
            ranges_parse(ranges, n, ret);
        return true;
    }
    return false;
}

void damage_forget(struct strv *damaged, const char *volid, const char *id)
{
    for (size_t i = damaged->n; i-- > 0;) {
        char of[SNAPSHOT_ID_LEN + 1];
        size_t n;
        if (entry(damaged->v[i], volid, of, &n) && strcmp(of, id) == 0)
            strv_remove(damaged, i);
    }
}

void damage_set(struct strv *damaged, const char *volid, const char *id, const struct ranges *r)
{
    _cleanup_buf_ struct buf text = BUF_INIT;
    damage_forget(damaged, volid, id);
    if (r)
        ranges_print(r, &text);
    strv_addf(damaged, "%s %s %s", id, r ? buf_str(&text) : "-", volid);
}

void damage_forget_gone(struct strv *damaged, const char *volid, const struct snapshots *source)
{
    for (size_t i = damaged->n; i-- > 0;) {
        char of[SNAPSHOT_ID_LEN + 1];
        size_t n;
        if (entry(damaged->v[i], volid, of, &n) && !snapshots_find_id(source, of))
            strv_remove(damaged, i);
    }
}
