#include "conf/calendar_fields.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static const char *const unit_names[UNITS] = {
    [UNIT_YEAR] = "year", [UNIT_MONTH] = "month",   [UNIT_DAY] = "day",
    [UNIT_HOUR] = "hour", [UNIT_MINUTE] = "minute", [UNIT_SECOND] = "second",
};

static const char *const day_names[] = {"monday", "tuesday",  "wednesday", "thursday",
                                        "friday", "saturday", "sunday"};

/* What is being built, before its size is known. */
struct event {
    bool utc;
    uint8_t weekdays;
    struct calendar_items unit[UNITS];
};

static struct calendar *build(struct event *ev)
{
    size_t total = 0;
    for (int u = 0; u < UNITS; u++) {
        calendar_items_normalise(&ev->unit[u], (enum calendar_unit)u);
        total += ev->unit[u].n;
    }
    struct calendar *c = xcalloc(1, sizeof *c + total * sizeof c->items[0]);
    c->utc = ev->utc;
    c->weekdays = ev->weekdays;
    size_t at = 0;
    for (int u = 0; u < UNITS; u++) {
        const struct calendar_items *l = &ev->unit[u];
        struct calendar_field *f = &c->field[u];
        f->begin = (uint16_t)at;
        f->n = (uint16_t)l->n;
        memcpy(c->items + at, l->v, l->n * sizeof l->v[0]);
        at += l->n;
        for (size_t i = 0; u != UNIT_YEAR && i < l->n; i++)
            for (unsigned v = l->v[i].first; v <= l->v[i].last; v += l->v[i].step)
                f->mask |= UINT64_C(1) << v;
    }
    return c;
}

/* ---- parsing: one function per rule of the grammar ---- */

/* A rule either moves p behind what it read and returns true, or notes why not; the reason that lies furthest
 * in the text is the one that is told. */
struct parser {
    const char *p, *end;
    const char *furthest;
    char why[96];
};

static bool fail(struct parser *s, const char *at, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
static bool fail(struct parser *s, const char *at, const char *fmt, ...)
{
    if (s->furthest && at < s->furthest)
        return false;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(s->why, sizeof s->why, fmt, ap);
    va_end(ap);
    s->furthest = at;
    return false;
}

static bool eat(struct parser *s, const char *what)
{
    size_t n = strlen(what);
    if ((size_t)(s->end - s->p) < n || memcmp(s->p, what, n) != 0)
        return false;
    s->p += n;
    return true;
}

static void eat_blanks(struct parser *s)
{
    while (s->p < s->end && (*s->p == ' ' || *s->p == '\t'))
        s->p++;
}

/* Digits with a value below the unit's end. */
static bool number(struct parser *s, enum calendar_unit u, unsigned *ret)
{
    const char *start = s->p;
    uint64_t value = 0;
    while (s->p < s->end && isdigit((unsigned char)*s->p)) {
        value = value * 10 + (uint64_t)(*s->p++ - '0');
        if (value > UINT32_MAX)
            return fail(s, start, "the %s is out of range", unit_names[u]);
    }
    if (s->p == start)
        return fail(s, start, "expected a number for the %s", unit_names[u]);
    if (value >= calendar_limits[u].end)
        return fail(s, start, "the %s is out of range", unit_names[u]);
    *ret = (unsigned)value;
    return true;
}

/* item := N | N ".." M | N "/" R | N ".." M "/" R */
static bool item(struct parser *s, enum calendar_unit u, struct calendar_item *ret)
{
    unsigned first, last, step;
    const char *start = s->p;
    if (!number(s, u, &first))
        return false;
    bool ranged = eat(s, "..");
    last = first;
    if (ranged && !number(s, u, &last))
        return false;
    if (last < first)
        return fail(s, start, "the range of the %s ends before it begins", unit_names[u]);
    step = 1;
    if (eat(s, "/")) {
        if (!number(s, u, &step))
            return false;
        if (!ranged)
            last = calendar_limits[u].end - 1u;
        if (step == 0)
            last = first;
    }
    step = step ? step : 1;
    last -= (last - first) % step;
    if (first == last)
        step = 1;
    *ret = (struct calendar_item){(uint16_t)first, (uint16_t)last, (uint16_t)step};
    return true;
}

/* field := "*" | "*" "/" N | item ("," item)*; with N 0: the first value only */
static bool field(struct parser *s, enum calendar_unit u, struct calendar_items *ret)
{
    struct calendar_limits lim = calendar_limits[u];
    unsigned step = 1;
    ret->n = 0;
    if (eat(s, "*")) {
        if (eat(s, "/") && !number(s, u, &step))
            return false;
        unsigned last = step ? lim.end - 1u : lim.min;
        last -= step ? (last - lim.min) % step : 0;
        if (last == lim.min)
            step = 1;
        ret->v[ret->n++] = (struct calendar_item){lim.min, (uint16_t)last, (uint16_t)step};
        return true;
    }
    do
        if (ret->n == CALENDAR_ITEMS_MAX || !item(s, u, &ret->v[ret->n++]))
            return false;
    while (eat(s, ","));
    return true;
}

/* day := mon | monday | …, in any letter case */
static bool day(struct parser *s, unsigned *ret)
{
    size_t left = (size_t)(s->end - s->p);
    for (unsigned d = 0; d < 7; d++)
        if (left >= 3 && strncasecmp(s->p, day_names[d], 3) == 0) {
            size_t whole = strlen(day_names[d]);
            s->p += left >= whole && strncasecmp(s->p, day_names[d], whole) == 0 ? whole : 3;
            *ret = d;
            return true;
        }
    return fail(s, s->p, "expected a day of the week");
}

/* weekdays := range ("," range)*, range := day [".." day]; a range may wrap. True without a part when no day
 * stands here. */
static bool weekdays(struct parser *s, struct event *ev, bool *found)
{
    unsigned first, last;
    *found = s->p < s->end && isalpha((unsigned char)*s->p);
    if (!*found)
        return true;
    ev->weekdays = 0;
    do {
        if (!day(s, &first))
            return false;
        last = first;
        if (eat(s, "..") && !day(s, &last))
            return false;
        for (unsigned d = first;; d = (d + 1) % 7) {
            ev->weekdays |= (uint8_t)(1u << d);
            if (d == last)
                break;
        }
    } while (eat(s, ","));
    return true;
}

/* date := [year "-"] month "-" day-of-month. Only a date has a '-'. */
static bool date(struct parser *s, struct event *ev, bool *found)
{
    *found = memchr(s->p, '-', (size_t)(s->end - s->p)) != NULL;
    if (!*found)
        return true;
    const char *first = memchr(s->p, '-', (size_t)(s->end - s->p));
    if (memchr(first + 1, '-', (size_t)(s->end - first - 1))) {
        if (!field(s, UNIT_YEAR, &ev->unit[UNIT_YEAR]))
            return false;
        if (!eat(s, "-"))
            return fail(s, s->p, "expected '-' after the %s", unit_names[UNIT_YEAR]);
    }
    if (!field(s, UNIT_MONTH, &ev->unit[UNIT_MONTH]))
        return false;
    if (!eat(s, "-"))
        return fail(s, s->p, "expected '-' after the %s", unit_names[UNIT_MONTH]);
    return field(s, UNIT_DAY, &ev->unit[UNIT_DAY]);
}

/* time := [hour ":"] minute [":" second]. What cannot be an hour is tried as a minute: "25:00" is minute 25,
 * second 0. */
static bool time_of_day(struct parser *s, struct event *ev)
{
    const char *start = s->p;
    if (!field(s, UNIT_HOUR, &ev->unit[UNIT_HOUR]) || !eat(s, ":")) {
        s->p = start;
        calendar_items_any(&ev->unit[UNIT_HOUR], UNIT_HOUR);
    }
    return field(s, UNIT_MINUTE, &ev->unit[UNIT_MINUTE]) &&
           (!eat(s, ":") || field(s, UNIT_SECOND, &ev->unit[UNIT_SECOND]));
}

/* The keywords are events of the grammar themselves. */
static const struct {
    const char *word, *event;
} keywords[] = {
    {"minutely", "*"},          {"hourly", "0"},           {"daily", "0:0"},
    {"weekly", "mon"},          {"monthly", "*-1"},        {"quarterly", "1,4,7,10-1"},
    {"yearly", "1-1"},          {"semiannually", "1,7-1"}, {"annually", "1-1"},
    {"semi-annually", "1,7-1"},
};

static void replace_keyword(struct parser *s)
{
    for (size_t i = 0; i < ELEMENTS(keywords); i++)
        if (strlen(keywords[i].word) == (size_t)(s->end - s->p) &&
            memcmp(s->p, keywords[i].word, strlen(keywords[i].word)) == 0) {
            s->p = keywords[i].event;
            s->end = s->p + strlen(s->p);
            return;
        }
}

static bool event(struct parser *s, struct event *ev)
{
    bool has_days, has_date;
    ev->weekdays = WEEKDAYS_ALL;
    for (int u = 0; u <= UNIT_DAY; u++)
        calendar_items_any(&ev->unit[u], (enum calendar_unit)u);
    for (int u = UNIT_HOUR; u < UNITS; u++)
        calendar_items_one(&ev->unit[u], 0);
    if (s->p == s->end)
        return fail(s, s->p, "it is empty");
    if (!weekdays(s, ev, &has_days))
        return false;
    eat_blanks(s);
    if (!date(s, ev, &has_date))
        return false;
    eat_blanks(s);
    if (s->p < s->end && !time_of_day(s, ev))
        return false;
    return s->p == s->end || fail(s, s->p, "nothing may follow here");
}

static void trim(struct parser *s)
{
    while (s->p < s->end && isspace((unsigned char)*s->p))
        s->p++;
    while (s->end > s->p && isspace((unsigned char)s->end[-1]))
        s->end--;
}

struct calendar *calendar_parse(const char *text, struct err *e)
{
    size_t len = strlen(text);
    struct parser s = {.p = text, .end = text + len};
    struct event ev = {0};
    if (len > CALENDAR_PARSE_MAX) {
        err_set(e, ERR_USAGE, 0, "invalid calendar event '%.40s…': it is longer than %d characters", text,
                CALENDAR_TEXT_MAX);
        return NULL;
    }
    trim(&s);
    if (s.end - s.p >= 3 && memcmp(s.end - 3, "UTC", 3) == 0) {
        ev.utc = true;
        s.end -= 3;
        trim(&s);
    }
    replace_keyword(&s);
    if (!event(&s, &ev)) {
        err_set(e, ERR_USAGE, 0, "invalid calendar event '%s': %s, at character %zu", text, s.why,
                (size_t)(s.furthest - text) + 1);
        return NULL;
    }
    return build(&ev);
}

void calendar_free(struct calendar *c)
{
    free(c);
}

/* ---- printing ---- */

static const struct calendar_item *items_of(const struct calendar *c, enum calendar_unit u)
{
    return c->items + c->field[u].begin;
}

static bool field_is_any(const struct calendar *c, enum calendar_unit u)
{
    return c->field[u].n == 1 && calendar_item_is_any(items_of(c, u), u);
}

static void print_item(const struct calendar_item *i, enum calendar_unit u, struct buf *out)
{
    if (i->first == i->last)
        buf_addf(out, "%u", i->first);
    else if (calendar_item_is_any(i, u))
        buf_addc(out, '*');
    else if (calendar_item_is_open(i, u))
        buf_addf(out, "%u/%u", i->first, i->step);
    else if (i->step == 1)
        buf_addf(out, "%u..%u", i->first, i->last);
    else
        buf_addf(out, "%u..%u/%u", i->first, i->last, i->step);
}

static void print_field(const struct calendar *c, enum calendar_unit u, struct buf *out)
{
    const struct calendar_item *v = items_of(c, u);
    unsigned n = c->field[u].n;
    if (n == 1 && v->first == calendar_limits[u].min && v->step > 1 && calendar_item_is_open(v, u)) {
        buf_addf(out, "*/%u", v->step);
        return;
    }
    for (unsigned i = 0; i < n; i++) {
        if (i)
            buf_addc(out, ',');
        print_item(&v[i], u, out);
    }
}

/* Runs of days, the week taken as a ring; the day before which a run cannot start comes first. */
static void print_weekdays(uint8_t days, struct buf *out)
{
    unsigned start = 0;
    bool first = true;
    if (days == 0 || days == WEEKDAYS_ALL)
        return;
    while ((days >> start & 1) && (days >> (start + 6) % 7 & 1))
        start++;
    for (unsigned k = 0; k < 7; k++) {
        unsigned d = (start + k) % 7, run = 1;
        if (!(days >> d & 1))
            continue;
        while (k + run < 7 && (days >> (d + run) % 7 & 1))
            run++;
        buf_addf(out, "%s%.3s", first ? "" : ",", day_names[d]);
        if (run > 1)
            buf_addf(out, "%s%.3s", run > 2 ? ".." : ",", day_names[(d + run - 1) % 7]);
        first = false;
        k += run - 1;
    }
}

/* Would "MINUTE:SECOND" be read as "HOUR:MINUTE"? */
static bool reads_as_hour(const struct calendar *c)
{
    for (unsigned i = 0; i < c->field[UNIT_MINUTE].n; i++) {
        const struct calendar_item *v = items_of(c, UNIT_MINUTE) + i;
        bool open = calendar_item_is_open(v, UNIT_MINUTE);
        if (v->first >= 24 || v->step >= 24 || (!open && v->last >= 24))
            return false;
    }
    return true;
}

static void print_time(const struct calendar *c, struct buf *out)
{
    bool seconds = c->field[UNIT_SECOND].mask != 1;
    if (!field_is_any(c, UNIT_HOUR) || (seconds && reads_as_hour(c))) {
        print_field(c, UNIT_HOUR, out);
        buf_addc(out, ':');
    }
    print_field(c, UNIT_MINUTE, out);
    if (seconds) {
        buf_addc(out, ':');
        print_field(c, UNIT_SECOND, out);
    }
}

void calendar_print(const struct calendar *c, struct buf *out)
{
    const struct calendar_field *f = c->field;
    size_t begin = out->len;
    print_weekdays(c->weekdays, out);
    if (!field_is_any(c, UNIT_YEAR) || !field_is_any(c, UNIT_MONTH) || !field_is_any(c, UNIT_DAY)) {
        if (out->len > begin)
            buf_addc(out, ' ');
        if (!field_is_any(c, UNIT_YEAR)) {
            print_field(c, UNIT_YEAR, out);
            buf_addc(out, '-');
        }
        print_field(c, UNIT_MONTH, out);
        buf_addc(out, '-');
        print_field(c, UNIT_DAY, out);
    }
    bool midnight = f[UNIT_HOUR].mask == 1 && f[UNIT_MINUTE].mask == 1 && f[UNIT_SECOND].mask == 1;
    if (!midnight || out->len == begin) {
        if (out->len > begin)
            buf_addc(out, ' ');
        print_time(c, out);
    }
    if (c->utc)
        buf_adds(out, " UTC");
}

/* ---- in words of the described tool ---- */

/* "*" "/0" at p, and no digit but zeroes: where it ends; else NULL. */
static const char *first_value_only(const char *p)
{
    size_t zeroes = strncmp(p, "*/", 2) == 0 ? strspn(p + 2, "0") : 0;
    return zeroes && !isdigit((unsigned char)p[2 + zeroes]) ? p + 2 + zeroes : NULL;
}

/* A date may be followed by its time without a blank: then what begins with "*" begins it. */
static void add_first_value(struct buf *out, const char *text, const char *from, const char *end)
{
    char before = from > text ? from[-1] : 0;
    if ((isdigit((unsigned char)before) || before == '*') && (*end == '-' || *end == ':'))
        buf_addc(out, ' ');
    if (*end == '-' || before == '-') { /* of a date; the year is what two of them follow */
        buf_adds(out, *end == '-' && strchr(end + 1, '-') ? "0" : "1");
        return;
    }
    if (*end != ':' && before != ':')
        buf_adds(out, "*:");
    buf_add(out, from + 2, (size_t)(end - from - 2));
}

char *calendar_portable(const char *text)
{
    struct err ignored;
    _cleanup_buf_ struct buf out = BUF_INIT;
    for (const char *p = text, *end; *p; p = end ? end : p + 1) {
        end = first_value_only(p);
        if (end)
            add_first_value(&out, text, p, end);
        else
            buf_addc(&out, *p);
    }
    _cleanup_(calendar_freep) struct calendar *was = calendar_parse(text, &ignored);
    _cleanup_(calendar_freep) struct calendar *is = calendar_parse(buf_str(&out), &ignored);
    return was && is && calendar_equal(was, is) ? xstrdup(buf_str(&out)) : xstrdup(text);
}

static bool has_year(const struct calendar *c, unsigned year)
{
    for (unsigned i = 0; i < c->field[UNIT_YEAR].n; i++) {
        const struct calendar_item *v = items_of(c, UNIT_YEAR) + i;
        if (year >= v->first && year <= v->last && (year - v->first) % v->step == 0)
            return true;
    }
    return false;
}

bool calendar_equal(const struct calendar *a, const struct calendar *b)
{
    if (a->utc != b->utc || a->weekdays != b->weekdays)
        return false;
    for (int u = UNIT_MONTH; u < UNITS; u++)
        if (a->field[u].mask != b->field[u].mask)
            return false;
    for (unsigned y = 0; y < calendar_limits[UNIT_YEAR].end; y++)
        if (has_year(a, y) != has_year(b, y))
            return false;
    return true;
}
