#include "conf/calendar_fields.h"

#include "base/testbrief.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

static void set_zone(const char *tz)
{
    setenv("TZ", tz, 1);
    tzset();
}

static struct calendar *parsed(const char *text)
{
    struct err e = {0};
    struct calendar *c = calendar_parse(text, &e);
    if (!c)
        fail_msg("%s", e.text);
    return c;
}

/* ---- the vectors ---- */

struct row {
    char *id, *expression, *tz, *last, *expected, *source;
};

/* Splits a line in place. The expression loses its quotes, and \t in it becomes a TAB. */
static bool split_row(char *line, struct row *r)
{
    char **fields[] = {&r->id, &r->expression, &r->tz, &r->last, &r->expected, NULL, &r->source};
    char *save = line;
    line[strcspn(line, "\n")] = 0;
    for (size_t i = 0; i < ELEMENTS(fields); i++) {
        char *f = strsep(&save, "\t");
        if (!f)
            return false;
        if (fields[i])
            *fields[i] = f;
    }
    char *from = r->expression + 1, *to = r->expression;
    for (; *from && !(*from == '"' && !from[1]); from++)
        if (from[0] == '\\' && from[1] == 't') {
            *to++ = '\t';
            from++;
        } else {
            *to++ = *from;
        }
    *to = 0;
    return true;
}

static bool row_holds(const struct row *r, char *got, size_t room)
{
    struct err e = {0};
    _cleanup_(calendar_freep) struct calendar *c = calendar_parse(r->expression, &e);
    int64_t next;
    if (!c)
        snprintf(got, room, "error");
    else if (!calendar_next(c, strtoll(r->last, NULL, 10), &next))
        snprintf(got, room, "never");
    else
        snprintf(got, room, "%lld", (long long)next);
    return strcmp(got, r->expected) == 0;
}

static void test_vectors(void **state)
{
    char line[1024], got[64];
    unsigned rows = 0, ambiguous = 0, wrong = 0;
    _cleanup_free_ char *path = xasprintf("%s/tests/data/calendar-vectors.tsv", getenv("PVESR_SOURCE_ROOT"));
    FILE *f = fopen(path, "re");
    assert_non_null(f);
    while (fgets(line, sizeof line, f)) {
        struct row r;
        if (line[0] == '#')
            continue;
        assert_true(split_row(line, &r));
        if (strcmp(r.source, "ambiguous") == 0) {
            ambiguous++;
            continue;
        }
        set_zone(r.tz);
        rows++;
        if (!row_holds(&r, got, sizeof got)) {
            wrong++;
            print_error("%s \"%s\" after %s in %s: got %s, expected %s\n", r.id, r.expression, r.last, r.tz,
                        got, r.expected);
        }
    }
    fclose(f);
    assert_int_equal(wrong, 0);
    assert_int_equal(ambiguous, 5);
    assert_int_equal(rows, 242);
}

/* ---- text ---- */

/* What Proxmox VE's tool drops, in words that it reads. */
static void test_portable_text(void **state)
{
    static const struct {
        const char *text, *portable;
    } cases[] = {
        {"*/00", "*:00"},
        {"*/0", "*:0"},
        {"*/000", "*:000"},
        {"mon..fri */00", "mon..fri *:00"},
        {"mon*/0 UTC", "mon*:0 UTC"},
        {"*/0:30", "0:30"},
        {"8..17:*/00", "8..17:00"},
        {"*/0:*/00:*/0", "0:00:0"},
        {"2:5:*/0", "2:5:0"},
        {"*/0-5 */0", "1-5 *:0"},
        {"5-*/0", "5-1"},
        {"*-*/0-*/0 1:00", "*-1-1 1:00"},
        {"*/0-2-3", "0-2-3"},
        {"0-*/2-*/0*/0:0", "0-*/2-1 0:0"}, /* a date and a time */
        {"*-2-3*/0:0", "*-2-3 0:0"},
        {"*-2-3*/0", "*-2-3*:0"},
        {"*/15", "*/15"},
        {"*/05", "*/05"},
        {"*/10", "*/10"},
        {"0/0", "0/0"}, /* it reads that */
        {"1..5/0", "1..5/0"},
        {"hourly", "hourly"},
        {"*/0x", "*/0x"}, /* no event */
        {"", ""},
        {"*/00 */00", "*/00 */00"},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        _cleanup_free_ char *text = calendar_portable(cases[i].text);
        assert_string_equal(text, cases[i].portable);
        _cleanup_free_ char *again = calendar_portable(text);
        assert_string_equal(again, text);
    }
}

static void test_canonical_text(void **state)
{
    static const struct {
        const char *text, *canonical;
    } cases[] = {
        {"*/15", "*/15"},
        {"*/00", "0"},
        {"*/0:30", "0:30"},
        {"0/15", "*/15"},
        {"  Monday,TUE..wednesday \t 02:05  UTC ", "mon..wed 2:5 UTC"},
        {"fri..mon", "fri..mon"},
        {"mon,sun,tue", "sun..tue"},
        {"mon,tue", "mon,tue"},
        {"sun..sat", "0:0"},
        {"mon..sun 5", "5"},
        {"daily", "0:0"},
        {"hourly", "0"},
        {"minutely", "*"},
        {"weekly", "mon"},
        {"semi-annually", "1,7-1"},
        {"yearlyUTC", "1-1 UTC"},
        {"*-*-* 5", "5"},
        {"*-*-5", "*-5"},
        {"2026-*-* 5", "2026-*-* 5"},
        {"5..5,5,7..6/0,1", NULL},
        {"5..5,5,6..7/0,1", "1,5,6"},
        {"1,2,0/1", "*"},
        {"3..9/3,6,9", "3..9/3"},
        {"0..10/7", "0..7/7"},
        {"50..59/1", "50/1"},
        {"30:30", "30:30"},
        {"*:3:30", "*:3:30"},
        {"25:0", "25"},
        {"0/5,30:7", "*:*/5:7"},
        {"5..30/30:7", "*:5:7"},
        {"*/30:7", "*/30:7"},
        {"*:*:*", "*:*:*"},
        {"00000000000000000000005", "5"},
        {"*-1/0-0..3 23:59:59", "1-0..3 23:59:59"},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct err e = {0};
        _cleanup_buf_ struct buf text = BUF_INIT, again = BUF_INIT;
        _cleanup_(calendar_freep) struct calendar *c = calendar_parse(cases[i].text, &e);
        if (!cases[i].canonical) {
            assert_null(c);
            continue;
        }
        assert_non_null(c);
        calendar_print(c, &text);
        assert_string_equal(buf_str(&text), cases[i].canonical);
        _cleanup_(calendar_freep) struct calendar *second = parsed(buf_str(&text));
        calendar_print(second, &again);
        assert_string_equal(buf_str(&again), buf_str(&text));
        assert_true(calendar_equal(c, second));
    }
}

static void test_equal(void **state)
{
    static const struct {
        const char *a, *b;
        bool equal;
    } cases[] = {
        {"*/15", "45,30,15,0", true},    {"daily", "00:00", true},
        {"mon", "mon 0:0:0", true},      {"5", "5 UTC", false},
        {"mon", "tue", false},           {"2020..2022-1-1", "2020,2021,2022-1-1", true},
        {"2020-1-1", "2021-1-1", false}, {"1:2:3", "1:2:4", false},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        _cleanup_(calendar_freep) struct calendar *a = parsed(cases[i].a), *b = parsed(cases[i].b);
        assert_true(calendar_equal(a, b) == cases[i].equal);
    }
}

static void test_errors_say_where(void **state)
{
    static const struct {
        const char *text, *sentence;
    } cases[] = {
        {"", "invalid calendar event '': it is empty, at character 1"},
        {"mon, tue", "invalid calendar event 'mon, tue': expected a day of the week, at character 5"},
        {"10:61", "invalid calendar event '10:61': the minute is out of range, at character 4"},
        {"2026-13-1", "invalid calendar event '2026-13-1': the month is out of range, at character 6"},
        {"9..3",
         "invalid calendar event '9..3': the range of the minute ends before it begins, at character 1"},
        {"daily 5", "invalid calendar event 'daily 5': expected a day of the week, at character 1"},
        {"5 5", "invalid calendar event '5 5': nothing may follow here, at character 2"},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct err e = {0};
        assert_null(calendar_parse(cases[i].text, &e));
        assert_int_equal(e.kind, ERR_USAGE);
        assert_string_equal(e.text, cases[i].sentence);
    }
}

static void test_length_is_bounded(void **state)
{
    struct err e = {0};
    char text[8192];
    memset(text, ' ', sizeof text);
    text[0] = '5';
    text[sizeof text - 1] = 0;
    assert_null(calendar_parse(text, &e));
    assert_non_null(strstr(e.text, "longer than 128"));
    /* As long as may be, and still no longer than may be when printed. */
    static const char unit[] = "3..5/4,";
    size_t n = 0;
    while (n + sizeof unit - 1 <= CALENDAR_TEXT_MAX - 4)
        n += (size_t)sprintf(text + n, "%s", unit);
    strcpy(text + n, "1UTC");
    _cleanup_(calendar_freep) struct calendar *c = parsed(text);
    assert_non_null(c);
}

/* ---- the next event ---- */

static bool has(const struct calendar *c, enum calendar_unit u, int value)
{
    return c->field[u].mask >> value & 1;
}

/* What the words say: does the clock on the wall at t match? (Years: all.) */
static bool matches(const struct calendar *c, int64_t t)
{
    struct tm tm;
    time_t clock = (time_t)t;
    localtime_r(&clock, &tm);
    return has(c, UNIT_SECOND, tm.tm_sec) && has(c, UNIT_MINUTE, tm.tm_min) &&
           has(c, UNIT_HOUR, tm.tm_hour) && has(c, UNIT_DAY, tm.tm_mday) &&
           has(c, UNIT_MONTH, tm.tm_mon + 1) && (c->weekdays >> (tm.tm_wday + 6) % 7 & 1);
}

/* Around every kind of step of a zone's clock the answer is the smallest matching second, found by trying
 * each. */
static void test_smallest_match_around_clock_changes(void **state)
{
    static const struct {
        const char *tz;
        int64_t change;
    } zones[] = {
        {"Europe/Vienna", 1711846800},       {"Europe/Vienna", 1729990800},
        {"America/New_York", 1730613600},    {"Australia/Lord_Howe", 1728142200},
        {"Australia/Lord_Howe", 1712415600}, {"America/Sao_Paulo", 1541300400},
        {"America/Sao_Paulo", 1550368800},   {"Pacific/Apia", 1325239200},
        {"Asia/Kolkata", 1768424833},        {"Africa/Casablanca", 1710036000},
    };
    static const char *const events[] = {"*/15", "*:30",  "2:30",        "1..3:0/20", "daily", "hourly",
                                         "sat",  "sun 2", "0,1,2,23:45", "*:*/7:30",  "*:*"};
    const int step = test_is_brief() ? 5770 : 577;
    for (size_t z = 0; z < ELEMENTS(zones); z++) {
        set_zone(zones[z].tz);
        for (size_t i = 0; i < ELEMENTS(events); i++) {
            _cleanup_(calendar_freep) struct calendar *c = parsed(events[i]);
            for (int64_t last = zones[z].change - 9000; last < zones[z].change + 9000; last += step) {
                int64_t next, expected = last - last % 30 + 30; /* no event lies between the half minutes */
                assert_true(calendar_next(c, last, &next));
                while (!matches(c, expected) && expected < last + 9 * 86400)
                    expected += 30;
                if (next != expected)
                    fail_msg("'%s' after %lld in %s: got %lld, expected %lld", events[i], (long long)last,
                             zones[z].tz, (long long)next, (long long)expected);
            }
        }
    }
}

static void test_extremes(void **state)
{
    static const struct {
        const char *text;
        int64_t last;
        bool found;
    } cases[] = {
        {"*", INT64_MAX, false},    {"*", INT64_MIN, true},     {"2199-12-31 23:59:59", 0, true},
        {"*", 7258118400, false},   {"*", -62135596801, true},  {"*-2-30", 0, false},
        {"2-29", 4107542400, true}, {"mon 0..1/7-0", 0, false}, {"*:*:*", 1711846799, true},
    };
    for (int z = 0; z < 2; z++) {
        set_zone(z ? "Europe/Vienna" : "UTC");
        for (size_t i = 0; i < ELEMENTS(cases); i++) {
            int64_t next = 0;
            _cleanup_(calendar_freep) struct calendar *c = parsed(cases[i].text);
            assert_true(calendar_next(c, cases[i].last, &next) == cases[i].found);
            if (cases[i].found)
                assert_true(next > cases[i].last);
        }
    }
}

/* An event in a repeated hour comes in both of its passes. */
static void test_repeated_hour(void **state)
{
    set_zone("Europe/Vienna");
    _cleanup_(calendar_freep) struct calendar *c = parsed("2:30");
    int64_t next;
    assert_true(calendar_next(c, 1729987200, &next));
    assert_int_equal(next, 1729989000);
    assert_true(calendar_next(c, next, &next));
    assert_int_equal(next, 1729992600);
    assert_true(calendar_next(c, next, &next));
    assert_int_equal(next, 1729992600 + 86400);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_portable_text),
        cmocka_unit_test(test_canonical_text),
        cmocka_unit_test(test_equal),
        cmocka_unit_test(test_errors_say_where),
        cmocka_unit_test(test_length_is_bounded),
        cmocka_unit_test(test_smallest_match_around_clock_changes),
        cmocka_unit_test(test_extremes),
        cmocka_unit_test(test_repeated_hour),
    };
    return cmocka_run_group_tests_name("calendar", tests, NULL, NULL);
}
