/* The values of one unit: single ones, ranges, and ranges with a step. */
#include "conf/calendar_fields.h"

#include <string.h>

const struct calendar_limits calendar_limits[UNITS] = {
    [UNIT_YEAR] = {0, 2200}, [UNIT_MONTH] = {1, 13},  [UNIT_DAY] = {1, 32},
    [UNIT_HOUR] = {0, 24},   [UNIT_MINUTE] = {0, 60}, [UNIT_SECOND] = {0, 60},
};

bool calendar_item_is_open(const struct calendar_item *i, enum calendar_unit u)
{
    return i->first < i->last && i->last + i->step >= calendar_limits[u].end;
}

bool calendar_item_is_any(const struct calendar_item *i, enum calendar_unit u)
{
    return i->step == 1 && i->first <= calendar_limits[u].min && calendar_item_is_open(i, u);
}

static bool is_within(const struct calendar_item *a, const struct calendar_item *b)
{
    return a->first >= b->first && a->last <= b->last && (a->first - b->first) % b->step == 0 &&
           (a->first == a->last || a->step % b->step == 0);
}

static int item_compare(const void *a, const void *b)
{
    const struct calendar_item *x = a, *y = b;
    if (x->first != y->first)
        return x->first < y->first ? -1 : 1;
    if (x->last != y->last)
        return x->last < y->last ? -1 : 1;
    return (x->step > y->step) - (x->step < y->step);
}

void calendar_items_one(struct calendar_items *l, unsigned value)
{
    l->v[0] = (struct calendar_item){(uint16_t)value, (uint16_t)value, 1};
    l->n = 1;
}

void calendar_items_any(struct calendar_items *l, enum calendar_unit u)
{
    l->v[0] = (struct calendar_item){calendar_limits[u].min, (uint16_t)(calendar_limits[u].end - 1), 1};
    l->n = 1;
}

void calendar_items_normalise(struct calendar_items *l, enum calendar_unit u)
{
    for (size_t i = 0; i < l->n; i++)
        if (calendar_item_is_any(&l->v[i], u)) {
            calendar_items_any(l, u);
            return;
        }
    qsort(l->v, l->n, sizeof *l->v, item_compare);
    for (size_t i = 0; i < l->n;) {
        bool drop = false;
        for (size_t k = 0; k < l->n && !drop; k++)
            drop = k != i && is_within(&l->v[i], &l->v[k]);
        if (drop)
            memmove(&l->v[i], &l->v[i + 1], (--l->n - i) * sizeof *l->v);
        else
            i++;
    }
}
