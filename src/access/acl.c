#include "access/acl.h"

#include <string.h>

void acl_release(struct acl *a)
{
    lookup_release(&a->paths);
    strv_release(&a->names);
    free(a->grants);
    free(a->entries);
    free(a->first);
    *a = (struct acl){0};
}

bool acl_add(struct acl *a, const char *path, uint32_t who, uint32_t role, privileges may, bool propagates)
{
    if (a->n_grants >= ACL_GRANTS_MAX)
        return false;
    if (lookup_add(&a->paths, path, a->names.n))
        strv_add(&a->names, path);
    a->grants = xgrow(a->grants, a->n_grants, sizeof *a->grants);
    a->grants[a->n_grants] = (struct acl_grant){
        .path = (uint32_t)lookup_get(&a->paths, path),
        .who = who,
        .role = role,
        .order = (uint32_t)a->n_grants,
        .may = may | ACL_GIVEN,
        .propagates = propagates,
    };
    a->n_grants++;
    return true;
}

static int by_number(uint32_t a, uint32_t b)
{
    return (a > b) - (a < b);
}

static int by_place(const void *va, const void *vb)
{
    const struct acl_grant *a = va, *b = vb;
    int c = by_number(a->path, b->path);
    c = c ? c : by_number(a->who, b->who);
    c = c ? c : by_number(a->role, b->role);
    return c ? c : by_number(a->order, b->order);
}

static bool is_superseded(const struct acl *a, size_t i)
{
    const struct acl_grant *g = &a->grants[i], *next = g + 1;
    return i + 1 < a->n_grants && next->path == g->path && next->who == g->who && next->role == g->role;
}

static size_t merge(struct acl *a)
{
    size_t n = 0;
    for (size_t i = 0; i < a->n_grants; i++) {
        const struct acl_grant *g = &a->grants[i];
        if (is_superseded(a, i))
            continue;
        struct acl_entry *last = n > 0 ? &a->entries[n - 1] : NULL;
        if (!last || last->path != g->path || last->who != g->who) {
            last = &a->entries[n++];
            *last = (struct acl_entry){.path = g->path, .who = g->who};
        }
        *(g->propagates ? &last->below : &last->here) |= g->may;
    }
    return n;
}

void acl_pack(struct acl *a)
{
    if (a->n_grants > 0)
        qsort(a->grants, a->n_grants, sizeof *a->grants, by_place);
    a->entries = xcalloc(a->n_grants + 1, sizeof *a->entries);
    a->first = xcalloc(a->names.n + 1, sizeof *a->first);
    size_t n = merge(a), at = 0;
    for (size_t path = 0; path <= a->names.n; path++) {
        while (at < n && a->entries[at].path < path)
            at++;
        a->first[path] = at;
    }
    free(a->grants);
    a->grants = NULL;
    a->n_grants = 0;
}

static int by_who(const void *key, const void *entry)
{
    return by_number(*(const uint32_t *)key, ((const struct acl_entry *)entry)->who);
}

privileges acl_at(const struct acl *a, const char *path, const uint32_t *who, size_t n, bool last)
{
    size_t number = lookup_get(&a->paths, path);
    if (number == LOOKUP_NONE)
        return 0;
    const struct acl_entry *entries = a->entries + a->first[number];
    size_t n_entries = a->first[number + 1] - a->first[number];
    privileges given = 0;
    for (size_t i = 0; i < n; i++) {
        const struct acl_entry *e = bsearch(&who[i], entries, n_entries, sizeof *entries, by_who);
        if (e)
            given |= e->below | (last ? e->here : 0);
    }
    return given;
}
