/* Inside of a calendar event; private to calendar*.c. */
#pragma once

#include "conf/calendar.h"

enum calendar_unit {
    UNIT_YEAR,
    UNIT_MONTH,
    UNIT_DAY,
    UNIT_HOUR,
    UNIT_MINUTE,
    UNIT_SECOND,
    UNITS,
};

/* first, first + step, … last; a single value has first == last and step 1. */
struct calendar_item {
    uint16_t first, last, step;
};

struct calendar_field {
    uint64_t mask; /* the values as bits; unused for years, which have too many */
    uint16_t begin, n;
};

#define WEEKDAYS_ALL 0x7f

struct calendar {
    bool utc;
    uint8_t weekdays; /* bit 0: Monday */
    struct calendar_field field[UNITS];
    struct calendar_item items[]; /* of all fields: field u has n from begin on */
};

/* Values of a unit: min … end - 1. Month and day 0 may be written but never match. */
struct calendar_limits {
    uint16_t min, end;
};
extern const struct calendar_limits calendar_limits[UNITS];

/* A canonical text may be this much longer than what it was made of: a blank between its parts. */
#define CALENDAR_PARSE_MAX (CALENDAR_TEXT_MAX + 3)
#define CALENDAR_ITEMS_MAX CALENDAR_PARSE_MAX

/* The values of one unit, as they are written. */
struct calendar_items {
    struct calendar_item v[CALENDAR_ITEMS_MAX];
    size_t n;
};

/* Does it go on to the unit's end; does it hold every value? */
bool calendar_item_is_open(const struct calendar_item *i, enum calendar_unit u);
bool calendar_item_is_any(const struct calendar_item *i, enum calendar_unit u);
void calendar_items_one(struct calendar_items *l, unsigned value);
void calendar_items_any(struct calendar_items *l, enum calendar_unit u);
/* Sorted, no item within another, "every value" alone. Doing it twice changes nothing. */
void calendar_items_normalise(struct calendar_items *l, enum calendar_unit u);
