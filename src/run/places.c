#include "run/places.h"

#include "base/mem.h"

void places_release(struct places *p)
{
    for (size_t i = 0; i < p->n; i++)
        free(p->v[i].volid);
    free(p->v);
    *p = (struct places){0};
}

int places_find(const struct places *p, struct volume *v, const char **volid, struct err *e)
{
    struct volume_place place;
    if (volume_place(v, &place, e) < 0)
        return -1;
    for (size_t i = 0; i < p->n; i++)
        if (volume_place_same(&p->v[i].place, &place)) {
            *volid = p->v[i].volid;
            return 1;
        }
    return 0;
}

int places_add(struct places *p, struct volume *v, const char *volid, struct err *e)
{
    const char *known;
    int r = places_find(p, v, &known, e);
    if (r != 0)
        return r;
    p->v = xreallocarray(p->v, p->n + 1, sizeof *p->v);
    p->v[p->n].volid = xstrdup(volid);
    return volume_place(v, &p->v[p->n++].place, e);
}
