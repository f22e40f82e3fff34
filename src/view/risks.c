#include "view/risks.h"

#include "base/mem.h"

#include <float.h>
#include <stdlib.h>

#define ANY_AGE (3 * 604800.0) /* seconds, where a job says of no age that it is too old */

struct risks_row {
    json_t *row;
    json_int_t guest;
    double least;  /* of the guest's targets: the age of the newest point there by what is allowed */
    size_t number; /* in the order of the nodes */
};

void risks_release(struct risks *r)
{
    for (size_t i = 0; i < r->n; i++)
        json_decref(r->v[i].row);
    free(r->v);
    *r = (struct risks){0};
}

static double pain_of(const json_t *row)
{
    double allowed = json_number_value(json_object_get(row, "allowed"));
    const json_t *age = json_object_get(row, "age");
    return age ? json_number_value(age) / (allowed > 0 ? allowed : ANY_AGE) : DBL_MAX;
}

/* The last n rows are of one guest. */
static void set_least(struct risks *r, size_t n)
{
    double least = DBL_MAX;
    for (size_t i = r->n - n; i < r->n; i++)
        least = pain_of(r->v[i].row) < least ? pain_of(r->v[i].row) : least;
    for (size_t i = r->n - n; i < r->n; i++)
        r->v[i].least = least;
}

void risks_add(struct risks *r, const json_t *rows)
{
    size_t same = 0;
    for (size_t i = 0; i < json_array_size(rows); i++) {
        json_t *row = json_array_get(rows, i);
        json_int_t guest = json_integer_value(json_object_get(row, "guest"));
        if (same && r->v[r->n - 1].guest != guest) {
            set_least(r, same);
            same = 0;
        }
        r->v = xgrow(r->v, r->n, sizeof *r->v);
        r->v[r->n] = (struct risks_row){.row = json_incref(row), .guest = guest, .number = r->n};
        r->n++;
        same++;
    }
    set_least(r, same);
}

static int by_pain(const void *a, const void *b)
{
    const struct risks_row *x = a, *y = b;
    if (x->least != y->least)
        return x->least > y->least ? -1 : 1;
    if (x->guest != y->guest)
        return x->guest < y->guest ? -1 : 1;
    return x->number < y->number ? -1 : 1;
}

json_t *risks_by_pain(struct risks *r)
{
    json_t *all = json_array();
    if (r->n)
        qsort(r->v, r->n, sizeof *r->v, by_pain);
    for (size_t i = 0; i < r->n; i++)
        json_array_append(all, r->v[i].row);
    return all;
}
