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
