#include "run/places.h"

#include "base/mem.h"

void places_release(struct places *p)
{
    for (size_t i = 0; i < p->n; i++)
        free(p->v[i].volid);
    free(p->v);
    *p = (struct places){0};
}

static const struct placed *at(const struct places *p, const struct volume_place *place)
{
    for (size_t i = 0; i < p->n; i++)
        if (volume_place_same(&p->v[i].place, place))
            return &p->v[i];
    return NULL;
}

int places_find(const struct places *p, struct volume *v, const char **volid, struct err *e)
{
    struct volume_place place;
    if (volume_place(v, &place, e) < 0)
        return -1;
    const struct placed *found = at(p, &place);
    if (found)
        *volid = found->volid;
    return found != NULL;
}

int places_add(struct places *p, struct volume *v, const char *volid, struct err *e)
{
    struct volume_place place;
    if (volume_place(v, &place, e) < 0)
        return -1;
    if (at(p, &place))
        return 1;
    p->v = xgrow(p->v, p->n, sizeof *p->v);
    p->v[p->n++] = (struct placed){.volid = xstrdup(volid), .place = place};
    return 0;
}
