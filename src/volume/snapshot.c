#include "volume/snapshot.h"

#include <stdlib.h>
#include <string.h>

bool snapshot_is_aside(const char *name)
{
    return strncmp(name, ASIDE_PREFIX, strlen(ASIDE_PREFIX)) == 0;
}

bool snapshot_damaged_valid(int64_t since)
{
    return since > 0 && since <= SNAPSHOT_DAMAGED_MAX;
}

bool snapshot_goes_along(const struct snapshot *s)
{
    bool named = strncmp(s->name, "__replicate_", strlen("__replicate_")) == 0;
    return !snapshot_is_aside(s->name) && !(s->flags & SNAPSHOT_STRANGE) &&
           (named || s->flags & (SNAPSHOT_OURS | SNAPSHOT_RECEIVED));
}

void snapshots_release(struct snapshots *s)
{
    free(s->v);
    *s = (struct snapshots){0};
}

void snapshots_add(struct snapshots *s, const struct snapshot *one)
{
    s->v = xgrow(s->v, s->n, sizeof *s->v);
    s->v[s->n++] = *one;
}

const struct snapshot *snapshots_find(const struct snapshots *s, const char *name)
{
    for (size_t i = 0; i < s->n; i++)
        if (strcmp(s->v[i].name, name) == 0)
            return &s->v[i];
    return NULL;
}

const struct snapshot *snapshots_find_id(const struct snapshots *s, const char *id)
{
    for (size_t i = 0; i < s->n; i++)
        if (strcmp(s->v[i].id, id) == 0)
            return &s->v[i];
    return NULL;
}
