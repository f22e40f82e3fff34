#include "conf/calendar.h"

#include "base/mem.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#define TEXT_MAX 4096 /* canonical text may be longer than what users may write */
#define STEPS_MAX 1001

enum { YEAR, MONTH, DAY, HOUR, MINUTE, SECOND, N_FIELDS };

static const struct field_kind {
    const char *name;
    unsigned first, end; /* "*" is first … end - 1; smaller values are accepted, but never match */
} kinds[N_FIELDS] = {
    [YEAR] = {"year", 0, 2200}, [MONTH] = {"month", 1, 13},   [DAY] = {"day", 1, 32},
    [HOUR] = {"hour", 0, 24},   [MINUTE] = {"minute", 0, 60}, [SECOND] = {"second", 0, 60},
};

#define YEAR_WORDS ((2200 + 63) / 64)
#define ALL_DAYS 0x7f

struct calendar {
    bool utc;
    uint8_t weekdays;         /* bit 0: Sunday */
    uint64_t small[N_FIELDS]; /* bit sets; that of the year is not used */
    uint64_t *years;          /* bit set of YEAR_WORDS, NULL: every year */
};

/* ---- bit sets ---- */

static uint64_t *set_of(struct calendar *c, int field)
{
    return field == YEAR ? c->years : &c->small[field];
}

static bool has(const uint64_t *set, unsigned i)
{
    return set[i / 64] >> i % 64 & 1;
}

static void put(uint64_t *set, unsigned i)
{
    set[i / 64] |= 1ull << i % 64;
}

static void put_all(uint64_t *set, const struct field_kind *k)
{
    for (unsigned i = k->first; i < k->end; i++)
        put(set, i);
}

/* ---- parsing ---- */

struct reader {
    const char *p, *text;
    struct err *e;
};

static int refuse(const struct reader *r, const char *why)
{
    return err_set(r->e, ERR_USAGE, 0, "invalid calendar event '%s': %s at '%s'", r->text, why, r->p);
}

static bool number(struct reader *r, unsigned *ret)
{
    uint64_t n = 0;
    const char *p = r->p;
    if (!isdigit((unsigned char)*p))
        return false;
    for (; isdigit((unsigned char)*p); p++)
        if ((n = n * 10 + (unsigned)(*p - '0')) > UINT32_MAX)
            return false;
    *ret = (unsigned)n;
    r->p = p;
    return true;
}

static bool take(struct reader *r, const char *word)
{
    size_t n = strlen(word);
    if (strncmp(r->p, word, n) != 0)
        return false;
    r->p += n;
    return true;
}

/* N, N..M, N/R, N..M/R */
static int item(struct reader *r, const struct field_kind *k, uint64_t *set)
{
    unsigned from, to, step = 1;
    if (!number(r, &from))
        return refuse(r, "a number is missing");
    bool range = take(r, "..");
    to = from;
    if (range && !number(r, &to))
        return refuse(r, "the end of a range is missing");
    bool repeated = take(r, "/");
    if (repeated && !number(r, &step))
        return refuse(r, "a repetition is missing");
    if (from >= k->end || to >= k->end || step >= k->end)
        return refuse(r, "a value is too large");
    if (to < from)
        return refuse(r, "a range ends before it begins");
    if (repeated && !range)
        to = k->end - 1;
    if (step == 0)
        to = from, step = 1;
    for (unsigned i = from; i <= to; i += step)
        put(set, i);
    return 0;
}

static int field(struct reader *r, int which, struct calendar *c)
{
    const struct field_kind *k = &kinds[which];
    unsigned step = 1;
    if (which == YEAR && !c->years)
        c->years = xcalloc(YEAR_WORDS, sizeof *c->years);
    uint64_t *set = set_of(c, which);
    memset(set, 0, which == YEAR ? YEAR_WORDS * sizeof *set : sizeof *set);
    if (take(r, "*")) {
        if (take(r, "/") && !number(r, &step))
            return refuse(r, "a repetition is missing");
        if (step >= k->end)
            return refuse(r, "a repetition is too large");
        if (step == 0)
            put(set, k->first);
        for (unsigned i = k->first; step && i < k->end; i += step)
            put(set, i);
    } else {
        do
            if (item(r, k, set) < 0)
                return -1;
        while (take(r, ","));
    }
    return 0;
}

static const char *const day_names[] = {"sunday",   "monday", "tuesday", "wednesday",
                                        "thursday", "friday", "saturday"};

static int weekday(struct reader *r)
{
    size_t n = 0;
    while (isalpha((unsigned char)r->p[n]))
        n++;
    for (int d = 0; d < 7; d++)
        if ((n == 3 || n == strlen(day_names[d])) && strncasecmp(r->p, day_names[d], n) == 0) {
            r->p += n;
            return d;
        }
    return refuse(r, "not a day of the week");
}

static int weekdays(struct reader *r, struct calendar *c)
{
    c->weekdays = 0;
    do {
        int from = weekday(r);
        int to = from;
        if (from < 0 || (take(r, "..") && (to = weekday(r)) < 0))
            return -1;
        for (int d = from;; d = (d + 1) % 7) {
            c->weekdays |= (uint8_t)(1 << d);
            if (d == to)
                break;
        }
    } while (take(r, ","));
    return 0;
}

/* Is what stands here a field and then this character? */
static bool field_then(const struct reader *r, char c)
{
    size_t n = strspn(r->p, "0123456789*,./");
    return n && r->p[n] == c;
}

static int date(struct reader *r, struct calendar *c)
{
    size_t n = strspn(r->p, "0123456789*,./");
    size_t m = strspn(r->p + n + 1, "0123456789*,./");
    if (m && r->p[n + 1 + m] == '-' && (field(r, YEAR, c) < 0 || !take(r, "-")))
        return r->e->kind ? -1 : refuse(r, "'-' expected");
    if (field(r, MONTH, c) < 0)
        return -1;
    if (!take(r, "-"))
        return refuse(r, "'-' expected");
    return field(r, DAY, c);
}

/* [hour ":"] minute [":" second]; an hour out of range is read as a minute (spec 4.7). */
static int time_of_day(struct reader *r, struct calendar *c)
{
    struct err first = {0}, *e = r->e;
    struct reader before = *r;
    bool with_hour = false;
    if (field_then(r, ':')) {
        r->e = &first;
        with_hour = field(r, HOUR, c) == 0 && take(r, ":");
        r->e = e;
    }
    if (!with_hour) {
        r->p = before.p;
        c->small[HOUR] = 0;
        put_all(&c->small[HOUR], &kinds[HOUR]);
    }
    if (field(r, MINUTE, c) < 0)
        return -1;
    c->small[SECOND] = 1;
    return take(r, ":") ? field(r, SECOND, c) : 0;
}

static void blanks(struct reader *r)
{
    r->p += strspn(r->p, " \t");
}

static int parse_event(struct reader *r, struct calendar *c)
{
    if (isalpha((unsigned char)*r->p) && weekdays(r, c) < 0)
        return -1;
    blanks(r);
    if (field_then(r, '-') && date(r, c) < 0)
        return -1;
    blanks(r);
    if (*r->p && time_of_day(r, c) < 0)
        return -1;
    return *r->p ? refuse(r, "not understood") : 0;
}

static const struct {
    const char *word, *event;
} keywords[] = {
    {"minutely", "*:*"},
    {"hourly", "*:0"},
    {"daily", "0:0"},
    {"weekly", "mon 0:0"},
    {"monthly", "*-1 0:0"},
    {"quarterly", "1,4,7,10-1 0:0"},
    {"semiannually", "1,7-1 0:0"},
    {"semi-annually", "1,7-1 0:0"},
    {"yearly", "1-1 0:0"},
    {"annually", "1-1 0:0"},
};

/* Every day at midnight, until something else is said. */
static struct calendar *new_calendar(void)
{
    struct calendar *c = xcalloc(1, sizeof *c);
    c->weekdays = ALL_DAYS;
    put_all(&c->small[MONTH], &kinds[MONTH]);
    put_all(&c->small[DAY], &kinds[DAY]);
    for (int f = HOUR; f <= SECOND; f++)
        put(&c->small[f], 0);
    return c;
}

struct calendar *calendar_parse(const char *text, struct err *e)
{
    struct err failure = {0};
    struct calendar *c = new_calendar();
    const char *begin = text + strspn(text, " \t\r\n\f\v");
    size_t n = strlen(begin);
    while (n && isspace((unsigned char)begin[n - 1]))
        n--;
    if (n >= 3 && memcmp(begin + n - 3, "UTC", 3) == 0) {
        c->utc = true;
        for (n -= 3; n && isspace((unsigned char)begin[n - 1]);)
            n--;
    }
    _cleanup_free_ char *event = xstrndup(begin, n);
    struct reader r = {.p = event, .text = event, .e = &failure};
    for (size_t i = 0; i < ELEMENTS(keywords); i++)
        if (strcmp(event, keywords[i].word) == 0)
            r.p = keywords[i].event;
    int result;
    if (n == 0 || n > TEXT_MAX)
        result = err_set(&failure, ERR_USAGE, 0, "invalid calendar event: %s", n ? "too long" : "empty");
    else
        result = parse_event(&r, c);
    if (result == 0)
        return c;
    *e = failure;
    calendar_free(c);
    return NULL;
}

void calendar_free(struct calendar *c)
{
    if (c)
        free(c->years);
    free(c);
}

/* ---- printing ---- */

/* The set as one progression N..M/R, when it is one. */
static bool progression(const uint64_t *set, const struct field_kind *k, unsigned *from, unsigned *to,
                        unsigned *step)
{
    unsigned n = 0, last = 0;
    *step = 0;
    for (unsigned i = 0; i < k->end; i++) {
        if (!has(set, i))
            continue;
        if (n == 0)
            *from = i;
        else if (n == 1)
            *step = i - last;
        else if (i - last != *step)
            return false;
        last = i;
        n++;
    }
    *to = last;
    return n >= 3;
}

static void print_list(const uint64_t *set, const struct field_kind *k, struct buf *out)
{
    const char *between = "";
    for (unsigned i = 0; i < k->end; i++) {
        unsigned end = i;
        if (!has(set, i))
            continue;
        while (end + 1 < k->end && has(set, end + 1))
            end++;
        if (end > i + 1)
            buf_addf(out, "%s%u..%u", between, i, end);
        else
            buf_addf(out, end > i ? "%s%u,%u" : "%s%u", between, i, end);
        between = ",";
        i = end;
    }
}

static void print_field(const uint64_t *set, const struct field_kind *k, struct buf *out)
{
    unsigned from, to, step;
    if (!progression(set, k, &from, &to, &step)) {
        print_list(set, k, out);
        return;
    }
    bool open = to + step >= k->end;
    if (from == k->first && open)
        buf_adds(out, "*");
    else
        buf_addf(out, open ? "%u" : "%u..%u", from, to);
    if (step > 1)
        buf_addf(out, "/%u", step);
    else if (open && from != k->first)
        buf_addf(out, "..%u", to);
}

static bool is_all(const struct calendar *c, int f)
{
    uint64_t all = 0;
    put_all(&all, &kinds[f]);
    return c->small[f] == all;
}

static void print_weekdays(uint8_t days, struct buf *out)
{
    const char *between = "";
    for (int i = 1; i <= 7; i++) {
        if (!(days >> i % 7 & 1))
            continue;
        buf_addf(out, "%s%.3s", between, day_names[i % 7]);
        int end = i;
        while (end < 7 && days >> (end + 1) % 7 & 1)
            end++;
        if (end > i + 1) {
            buf_addf(out, "..%.3s", day_names[end % 7]);
            i = end;
        }
        between = ",";
    }
    buf_addc(out, ' ');
}

void calendar_print(const struct calendar *c, struct buf *out)
{
    if (c->weekdays != ALL_DAYS)
        print_weekdays(c->weekdays, out);
    if (c->years || !is_all(c, MONTH) || !is_all(c, DAY)) {
        if (c->years) {
            print_field(c->years, &kinds[YEAR], out);
            buf_addc(out, '-');
        }
        print_field(&c->small[MONTH], &kinds[MONTH], out);
        buf_addc(out, '-');
        print_field(&c->small[DAY], &kinds[DAY], out);
        buf_addc(out, ' ');
    }
    print_field(&c->small[HOUR], &kinds[HOUR], out);
    buf_addc(out, ':');
    print_field(&c->small[MINUTE], &kinds[MINUTE], out);
    if (c->small[SECOND] != 1) {
        buf_addc(out, ':');
        print_field(&c->small[SECOND], &kinds[SECOND], out);
    }
    if (c->utc)
        buf_adds(out, " UTC");
}

bool calendar_equal(const struct calendar *a, const struct calendar *b)
{
    if (a->utc != b->utc || a->weekdays != b->weekdays || !a->years != !b->years)
        return false;
    if (a->years && memcmp(a->years, b->years, YEAR_WORDS * sizeof *a->years) != 0)
        return false;
    return memcmp(a->small, b->small, sizeof a->small) == 0;
}

/* ---- the next event ---- */

static unsigned value_of(const struct tm *tm, int f)
{
    switch (f) {
    case YEAR:
        return (unsigned)tm->tm_year + 1900;
    case MONTH:
        return (unsigned)tm->tm_mon + 1;
    case DAY:
        return (unsigned)tm->tm_mday;
    case HOUR:
        return (unsigned)tm->tm_hour;
    case MINUTE:
        return (unsigned)tm->tm_min;
    default:
        return (unsigned)tm->tm_sec;
    }
}

/* Set field f and everything below it to its minimum. */
static void set_value(struct tm *tm, int f, int value)
{
    int *slots[] = {&tm->tm_year, &tm->tm_mon, &tm->tm_mday, &tm->tm_hour, &tm->tm_min, &tm->tm_sec};
    static const int bias[] = {1900, 1, 0, 0, 0, 0}, minimum[] = {0, 0, 1, 0, 0, 0};
    *slots[f] = value - bias[f];
    for (int i = f + 1; i < N_FIELDS; i++)
        *slots[i] = minimum[i];
}

static int64_t normalize(const struct calendar *c, struct tm *tm)
{
    tm->tm_isdst = -1;
    return c->utc ? timegm(tm) : mktime(tm);
}

/* The first set value >= from, or -1. */
static int next_in(const struct calendar *c, int f, unsigned from)
{
    if (f == YEAR && !c->years)
        return from < kinds[YEAR].end ? (int)from : -1;
    const uint64_t *set = f == YEAR ? c->years : &c->small[f];
    for (unsigned i = from; i < kinds[f].end; i++)
        if (has(set, i))
            return (int)i;
    return -1;
}

/* Move tm to the next candidate in the first field that does not match: 1 moved, 0 everything matches, -1 no
 * more years. */
static int advance(const struct calendar *c, struct tm *tm)
{
    for (int f = YEAR; f <= SECOND; f++) {
        unsigned value = value_of(tm, f);
        int next = next_in(c, f, value);
        if (f == HOUR && !(c->weekdays >> tm->tm_wday & 1)) {
            set_value(tm, DAY, tm->tm_mday + 1);
            return 1;
        }
        if (next == (int)value)
            continue;
        if (next >= 0)
            set_value(tm, f, next);
        else if (f == YEAR)
            return -1;
        else
            set_value(tm, f - 1, (int)value_of(tm, f - 1) + 1);
        return 1;
    }
    return 0;
}

bool calendar_next(const struct calendar *c, int64_t last, int64_t *ret)
{
    time_t t = last + 1;
    struct tm tm;
    if (!(c->utc ? gmtime_r(&t, &tm) : localtime_r(&t, &tm)))
        return false;
    for (int step = 0; step < STEPS_MAX; step++) {
        int moved = advance(c, &tm);
        if (moved < 0)
            return false;
        if (moved == 0) {
            *ret = t;
            return true;
        }
        int64_t at = normalize(c, &tm);
        if (at <=
            t) { /* the repeated hour of autumn: of the two instants take the one that is still to come */
            tm.tm_isdst = 0;
            at = mktime(&tm);
        }
        t = at;
        if (t <= last)
            return false;
    }
    return false;
}
