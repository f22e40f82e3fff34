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

bool snapshot_is_point(const char *name)
{
    return strncmp(name, "__replicate_", strlen("__replicate_")) == 0;
}

bool snapshot_goes_along(const struct snapshot *s)
{
    return !snapshot_is_aside(s->name) && !(s->flags & SNAPSHOT_STRANGE) &&
           (snapshot_is_point(s->name) || s->flags & (SNAPSHOT_OURS | SNAPSHOT_RECEIVED));
}

void snapshots_release(struct snapshots *s)
{
    free(s->v);
    lookup_release(&s->names);
    lookup_release(&s->ids);
    *s = (struct snapshots){0};
}

static void note(struct snapshots *s, size_t i)
{
    lookup_add(&s->names, s->v[i].name, i);
    lookup_add(&s->ids, s->v[i].id, i);
}

void snapshots_add(struct snapshots *s, const struct snapshot *one)
{
    s->v = xgrow(s->v, s->n, sizeof *s->v);
    s->v[s->n] = *one;
    note(s, s->n++);
}

static int by_seq(const void *a, const void *b)
{
    const struct snapshot *x = a, *y = b;
    return x->seq != y->seq ? (x->seq > y->seq) - (x->seq < y->seq) : strcmp(x->name, y->name);
}

void snapshots_sort(struct snapshots *s)
{
    if (!s->n)
        return;
    qsort(s->v, s->n, sizeof *s->v, by_seq);
    lookup_release(&s->names);
    lookup_release(&s->ids);
    for (size_t i = 0; i < s->n; i++)
        note(s, i);
}

static const struct snapshot *at(const struct snapshots *s, const struct lookup *l, const char *key)
{
    size_t i = lookup_get(l, key);
    return i == LOOKUP_NONE ? NULL : &s->v[i];
}

const struct snapshot *snapshots_find(const struct snapshots *s, const char *name)
{
    return at(s, &s->names, name);
}

const struct snapshot *snapshots_find_id(const struct snapshots *s, const char *id)
{
    return at(s, &s->ids, id);
}
