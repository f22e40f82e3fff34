/* The next event.
 *
 * Which wall-clock times match is plain arithmetic on the proleptic Gregorian calendar, without a time zone:
 * a wall time is counted in seconds as if it were UTC. The zone comes in only where a wall time is turned
 * into an instant. Where the clock is put forward some wall times have no instant and are passed over; where
 * it is put back some have two, and both count, so that an event of every 15 minutes has no gap of an hour
 * there.
 */
#include "conf/calendar_fields.h"

#include <time.h>

#define DAY INT64_C(86400)
/* More than any zone's distance from UTC and any step of a zone's clock. */
#define ZONE_MARGIN (26 * 3600)
#define YEAR_1_WALL INT64_C(-62135596800)
#define NO_TIME INT64_MAX

/* ---- wall time ---- */

struct date {
    int year;
    unsigned month, day;
};

static bool is_leap(int y)
{
    return (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
}

static unsigned days_in_month(int y, unsigned m)
{
    static const uint8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    return m == 2 && is_leap(y) ? 29 : days[m - 1];
}

/* Days from 1970-01-01. Years are counted from March, so that the leap day is the last of its year. */
static int64_t days_from_date(int year, unsigned month, unsigned day)
{
    int y = month <= 2 ? year - 1 : year;
    unsigned m = (month + 9) % 12;
    int century400 = y / 400;
    unsigned in400 = (unsigned)(y - century400 * 400);
    unsigned in_year = (153 * m + 2) / 5 + day - 1;
    return (int64_t)century400 * 146097 + in400 * 365 + in400 / 4 - in400 / 100 + in_year - 719468;
}

/* Only for days from year 1 on. */
static struct date date_from_days(int64_t days)
{
    int64_t n = days + 719468;
    int century400 = (int)(n / 146097);
    unsigned in400 = (unsigned)(n % 146097);
    unsigned y = (in400 - in400 / 1460 + in400 / 36524 - in400 / 146096) / 365;
    unsigned in_year = in400 - (365 * y + y / 4 - y / 100);
    unsigned m = (5 * in_year + 2) / 153;
    struct date d = {.day = in_year - (153 * m + 2) / 5 + 1, .month = m < 10 ? m + 3 : m - 9};
    d.year = (int)y + century400 * 400 + (d.month <= 2);
    return d;
}

static uint64_t bits_from(uint64_t mask, unsigned first)
{
    return first >= 64 ? 0 : mask >> first << first;
}

/* The smallest value of the field that is at least `from`, or -1. */
static int field_from(const struct calendar *c, enum calendar_unit u, unsigned from)
{
    uint64_t m = bits_from(c->field[u].mask, from);
    return m ? __builtin_ctzll(m) : -1;
}

static int year_from(const struct calendar *c, int from)
{
    int best = -1;
    for (unsigned i = 0; i < c->field[UNIT_YEAR].n; i++) {
        const struct calendar_item *v = &c->items[c->field[UNIT_YEAR].begin + i];
        int y = v->first;
        if (y < from)
            y += (from - y + v->step - 1) / v->step * v->step;
        if (y <= v->last && (best < 0 || y < best))
            best = y;
    }
    return best;
}

/* The first matching day of a month from `from` on, or 0. */
static unsigned day_from(const struct calendar *c, int year, unsigned month, unsigned from)
{
    unsigned last = days_in_month(year, month);
    /* 1970-01-01 was a Thursday, day 3 counted from Monday. */
    unsigned weekday = (unsigned)(((days_from_date(year, month, from) + 3) % 7 + 7) % 7);
    for (unsigned d = from; d <= last; d++, weekday = weekday == 6 ? 0 : weekday + 1)
        if ((c->field[UNIT_DAY].mask >> d & 1) && (c->weekdays >> weekday & 1))
            return d;
    return 0;
}

/* The first matching date from d on, as a day number; NO_TIME when there is none. */
static int64_t date_from(const struct calendar *c, struct date d)
{
    int year;
    while ((year = year_from(c, d.year)) >= 0) {
        if (year > d.year)
            d = (struct date){year, 1, 1};
        int month = field_from(c, UNIT_MONTH, d.month);
        if (month < 0) {
            d = (struct date){year + 1, 1, 1};
            continue;
        }
        if ((unsigned)month > d.month)
            d = (struct date){year, (unsigned)month, 1};
        unsigned day = day_from(c, year, d.month, d.day);
        if (day)
            return days_from_date(year, d.month, day);
        d = d.month == 12 ? (struct date){year + 1, 1, 1} : (struct date){year, d.month + 1, 1};
    }
    return NO_TIME;
}

/* The first matching second of a day from `from` on, or -1. */
static int64_t second_from(const struct calendar *c, int64_t from)
{
    unsigned h0 = (unsigned)(from / 3600), m0 = (unsigned)(from / 60 % 60), s0 = (unsigned)(from % 60);
    int h = field_from(c, UNIT_HOUR, h0), m = -1, s = -1;
    if (h == (int)h0) {
        m = field_from(c, UNIT_MINUTE, m0);
        if (m == (int)m0 && (s = field_from(c, UNIT_SECOND, s0)) < 0)
            m = field_from(c, UNIT_MINUTE, m0 + 1);
        if (m < 0)
            h = field_from(c, UNIT_HOUR, h0 + 1);
    }
    if (h < 0)
        return -1;
    if (m < 0)
        m = field_from(c, UNIT_MINUTE, 0);
    if (s < 0)
        s = field_from(c, UNIT_SECOND, 0);
    return h * 3600 + m * 60 + s;
}

/* The first matching wall time from `from` on, or NO_TIME. */
static int64_t wall_from(const struct calendar *c, int64_t from)
{
    if (from < YEAR_1_WALL)
        from = YEAR_1_WALL;
    int64_t today = from / DAY - (from % DAY < 0);
    struct date start = date_from_days(today);
    int64_t day = date_from(c, start);
    if (day == today) {
        int64_t s = second_from(c, from - today * DAY);
        if (s >= 0)
            return today * DAY + s;
        day = date_from(c, date_from_days(today + 1));
    }
    return day == NO_TIME ? NO_TIME : day * DAY + second_from(c, 0);
}

/* ---- the time zone ---- */

static int64_t offset_at(const struct calendar *c, int64_t t)
{
    struct tm tm;
    time_t clock = (time_t)t;
    return c->utc || !localtime_r(&clock, &tm) ? 0 : tm.tm_gmtoff;
}

/* The first instant of a new offset between a and b, whose offsets differ. */
static int64_t find_change(const struct calendar *c, int64_t a, int64_t b)
{
    int64_t before = offset_at(c, a);
    while (b - a > 1) {
        int64_t middle = a + (b - a) / 2;
        if (offset_at(c, middle) == before)
            a = middle;
        else
            b = middle;
    }
    return b;
}

/* The first instant from `from` on at which clocks show `wall`, or NO_TIME and in *gap_end the wall time at
 * which the clock goes on. */
static int64_t instant_of(const struct calendar *c, int64_t wall, int64_t from, int64_t *gap_end)
{
    int64_t before = wall - offset_at(c, wall) - ZONE_MARGIN, after = before + 2 * ZONE_MARGIN;
    int64_t o1 = offset_at(c, before), o2 = offset_at(c, after);
    int64_t t1 = wall - o1, t2 = wall - o2;
    *gap_end = wall + 1;
    if (o1 == o2)
        return t1 >= from ? t1 : NO_TIME;
    int64_t change = find_change(c, before, after);
    if (t1 < change && t1 >= from)
        return t1;
    if (t2 >= change && t2 >= from)
        return t2;
    if (t1 >= change && t2 < change)
        *gap_end = change + o2;
    return NO_TIME;
}

/* The clock put back soon after `from` shows wall times again that lie behind from's own. */
static int64_t repeated_from(const struct calendar *c, int64_t from)
{
    int64_t o1 = offset_at(c, from), o2 = offset_at(c, from + ZONE_MARGIN);
    if (o2 >= o1)
        return NO_TIME;
    int64_t change = find_change(c, from, from + ZONE_MARGIN);
    int64_t wall = wall_from(c, change + o2);
    return wall < from + o1 ? wall - o2 : NO_TIME;
}

/* Each turn goes behind a gap of the zone's clock or to the next wall time; events that fall into gaps only
 * would do so each year. */
#define TURNS_MAX 1000

bool calendar_next(const struct calendar *c, int64_t last, int64_t *ret)
{
    if (last >= days_from_date(calendar_limits[UNIT_YEAR].end + 1, 1, 1) * DAY)
        return false;
    int64_t from = (last < YEAR_1_WALL ? YEAR_1_WALL : last) + 1;
    int64_t cursor = from + offset_at(c, from), found = NO_TIME;
    for (int turn = 0; turn < TURNS_MAX && found == NO_TIME; turn++) {
        int64_t wall = wall_from(c, cursor);
        if (wall == NO_TIME)
            break;
        found = instant_of(c, wall, from, &cursor);
    }
    int64_t again = repeated_from(c, from);
    if (again < found)
        found = again;
    if (found == NO_TIME)
        return false;
    *ret = found;
    return true;
}
