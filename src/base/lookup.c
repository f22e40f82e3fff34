#include "base/lookup.h"

#include "base/hash.h"

#include <string.h>

struct lookup_slot {
    char *key; /* NULL: free */
    size_t number;
    uint64_t hash;
};

void lookup_release(struct lookup *l)
{
    for (size_t i = 0; i < l->room; i++)
        free(l->slots[i].key);
    free(l->slots);
    *l = (struct lookup){0};
}

static uint64_t hash_of(const char *key)
{
    return hash_bytes(key, strlen(key));
}

/* The slot of the key, or the free one where it belongs. */
static struct lookup_slot *find(const struct lookup *l, const char *key, uint64_t hash)
{
    for (size_t at = hash & (l->room - 1);; at = (at + 1) & (l->room - 1)) {
        struct lookup_slot *s = &l->slots[at];
        if (!s->key || (s->hash == hash && strcmp(s->key, key) == 0))
            return s;
    }
}

static void grow(struct lookup *l)
{
    struct lookup bigger = {.room = l->room ? l->room * 2 : 16, .n = l->n};
    bigger.slots = xcalloc(bigger.room, sizeof *bigger.slots);
    for (size_t i = 0; i < l->room; i++)
        if (l->slots[i].key)
            *find(&bigger, l->slots[i].key, l->slots[i].hash) = l->slots[i];
    free(l->slots);
    *l = bigger;
}

bool lookup_add(struct lookup *l, const char *key, size_t number)
{
    if (l->n >= l->room / 2)
        grow(l);
    uint64_t hash = hash_of(key);
    struct lookup_slot *s = find(l, key, hash);
    if (s->key)
        return false;
    *s = (struct lookup_slot){xstrdup(key), number, hash};
    l->n++;
    return true;
}

void lookup_add_all(struct lookup *l, const struct strv *keys)
{
    for (size_t i = 0; i < keys->n; i++)
        lookup_add(l, keys->v[i], i);
}

size_t lookup_get(const struct lookup *l, const char *key)
{
    if (!l->room)
        return LOOKUP_NONE;
    const struct lookup_slot *s = find(l, key, hash_of(key));
    return s->key ? s->number : LOOKUP_NONE;
}

bool lookup_has(const struct lookup *l, const char *key)
{
    return lookup_get(l, key) != LOOKUP_NONE;
}
