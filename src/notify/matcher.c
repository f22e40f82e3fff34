#include "notify/matcher.h"

#include "base/mem.h"
#include "base/num.h"
#include "notify/event.h"
#include "notify/pattern.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

void matcher_release(struct matcher *m)
{
    free(m->name);
    strv_release(&m->targets);
    strv_release(&m->rules);
}

/* ---- fields ---- */

/* NULL: our events have none of that name. */
static const char *field(const json_t *event, const char *name)
{
    if (strcmp(name, "type") == 0)
        return "replication";
    const char *value = strcmp(name, "hostname") == 0 ? event_text(event, "source")
                        : strcmp(name, "job-id") == 0 ? event_text(event, "job")
                                                      : "";
    return *value ? value : NULL;
}

/* "exact:NAME=VALUE,…" or "regex:NAME=PATTERN". */
static int matches_field(const char *rule, const json_t *event, const char **wrong)
{
    const char *colon = strchr(rule, ':'), *equals = colon ? strchr(colon, '=') : NULL;
    bool regex = strncmp(rule, "regex:", 6) == 0;
    *wrong = "neither 'exact:FIELD=VALUE' nor 'regex:FIELD=PATTERN'";
    if (!equals || (!regex && strncmp(rule, "exact:", 6) != 0))
        return -1;
    _cleanup_free_ char *name = xstrndup(colon + 1, (size_t)(equals - colon) - 1);
    const char *value = field(event, name);
    if (regex)
        return pattern_matches(equals + 1, value, wrong);
    _cleanup_strv_ struct strv values = STRV_INIT;
    strv_split(&values, equals + 1, ",");
    return value && strv_has(&values, value);
}

/* ---- severities ---- */

static int matches_severity(const char *rule, const json_t *event, const char **wrong)
{
    static const char *const known[] = {"info", "notice", "warning", "error", "unknown"};
    _cleanup_strv_ struct strv names = STRV_INIT;
    strv_split(&names, rule, ", \t");
    for (size_t i = 0; i < names.n; i++) {
        size_t k = 0;
        while (k < ELEMENTS(known) && strcmp(names.v[i], known[k]) != 0)
            k++;
        *wrong = "none of info, notice, warning, error, unknown";
        if (k == ELEMENTS(known))
            return -1;
    }
    return strv_has(&names, event_text(event, "severity"));
}

/* ---- times ---- */

/* 0 for Sunday, as struct tm has it; -1. */
static int weekday(const char *name, size_t len)
{
    static const char *const days[] = {"sunday",   "monday", "tuesday", "wednesday",
                                       "thursday", "friday", "saturday"};
    for (int i = 0; i < 7 && len >= 3; i++)
        if (len <= strlen(days[i]) && strncasecmp(name, days[i], len) == 0)
            return i;
    return -1;
}

/* "mon", "mon-fri" or "mon..fri": a bit for each day; 0: it is none. */
static unsigned days_of(const char *range)
{
    size_t n = strcspn(range, "-.");
    const char *rest = range + n + strspn(range + n, "-.");
    int first = weekday(range, n), last = range[n] ? weekday(rest, strlen(rest)) : first;
    unsigned days = 0;
    if (first < 0 || last < 0)
        return 0;
    for (int i = first;; i = (i + 1) % 7) {
        days |= 1u << i;
        if (i == last)
            return days;
    }
}

/* "9", "9:30": minutes since midnight; -1. */
static int minute_of(const char *text, size_t len)
{
    struct err e;
    uint64_t hour, minute = 0;
    _cleanup_free_ char *copy = xstrndup(text, len);
    char *colon = strchr(copy, ':');
    if (colon)
        *colon = 0;
    if (num_parse_u64("hour", copy, 0, 24, &hour, &e) < 0 ||
        (colon && num_parse_u64("minute", colon + 1, 0, 59, &minute, &e) < 0) || hour * 60 + minute > 1440)
        return -1;
    return (int)(hour * 60 + minute);
}

struct span {
    unsigned days; /* 0: all */
    int from, to;  /* minutes; the last one is not within it */
};

/* "[DAYS] FROM-TO", as in "mon-fri 9:00-17:30". */
static bool parse_span(const char *rule, struct span *ret)
{
    _cleanup_strv_ struct strv words = STRV_INIT;
    strv_split(&words, rule, ", \t");
    *ret = (struct span){0};
    for (size_t i = 0; i + 1 < words.n; i++) {
        unsigned days = days_of(words.v[i]);
        if (!days)
            return false;
        ret->days |= days;
    }
    const char *times = words.n ? words.v[words.n - 1] : "", *dash = strchr(times, '-');
    if (!dash)
        return false;
    ret->from = minute_of(times, (size_t)(dash - times));
    ret->to = minute_of(dash + 1, strlen(dash + 1));
    return ret->from >= 0 && ret->from < ret->to;
}

static int matches_time(const char *rule, int64_t at, const char **wrong)
{
    time_t when = (time_t)at;
    struct span span;
    struct tm now;
    *wrong = "no time as in 'mon-fri 9:00-17:30'";
    if (!parse_span(rule, &span) || !localtime_r(&when, &now))
        return -1;
    int minute = now.tm_hour * 60 + now.tm_min;
    return (!span.days || span.days >> now.tm_wday & 1) && minute >= span.from && minute < span.to;
}

/* ---- matchers ---- */

/* 1, 0; -1: *wrong with it. */
static int judge(const char *rule, const json_t *event, int64_t at, const char **wrong)
{
    const char *value = strchr(rule, ' ') + 1;
    return strncmp(rule, "match-field ", 12) == 0      ? matches_field(value, event, wrong)
           : strncmp(rule, "match-severity ", 15) == 0 ? matches_severity(value, event, wrong)
                                                       : matches_time(value, at, wrong);
}

static const char *add_rule(struct matcher *m, const char *key, const char *value)
{
    const char *wrong;
    json_t *none = json_object();
    strv_addf(&m->rules, "%s %s", key, value);
    bool good = judge(m->rules.v[m->rules.n - 1], none, 0, &wrong) >= 0;
    json_decref(none);
    if (good)
        return NULL;
    strv_remove(&m->rules, m->rules.n - 1);
    return wrong;
}

static const char *set(struct matcher *m, const char *key, const char *value)
{
    struct err e;
    if (strncmp(key, "match-", 6) == 0 &&
        (strcmp(key + 6, "field") == 0 || strcmp(key + 6, "severity") == 0 ||
         strcmp(key + 6, "calendar") == 0))
        return add_rule(m, key, value);
    if (strcmp(key, "target") == 0) {
        strv_add_once(&m->targets, value);
        return NULL;
    }
    if (strcmp(key, "mode") == 0) {
        m->any = strcmp(value, "any") == 0;
        return m->any || strcmp(value, "all") == 0 ? NULL : "neither all nor any";
    }
    if (strcmp(key, "comment") == 0 || strcmp(key, "origin") == 0)
        return NULL;
    if (strcmp(key, "disable") != 0 && strcmp(key, "invert-match") != 0)
        return "unknown property";
    return num_parse_bool(key, value, *key == 'd' ? &m->disabled : &m->inverted, &e) < 0 ? "neither 0 nor 1"
                                                                                         : NULL;
}

const char *matcher_set(struct matcher *m, const char *key, const char *value)
{
    const char *wrong = set(m, key, value);
    m->in_doubt = m->in_doubt || wrong;
    return wrong;
}

bool matcher_takes(const struct matcher *m, const char *target, const json_t *event, int64_t at)
{
    const char *wrong;
    if (m->disabled || !strv_has(&m->targets, target))
        return false;
    if (m->in_doubt)
        return true;
    bool matches = !m->any || !m->rules.n;
    for (size_t i = 0; i < m->rules.n; i++) {
        bool one = judge(m->rules.v[i], event, at, &wrong) > 0;
        matches = m->any ? matches || one : matches && one;
    }
    return matches != m->inverted;
}
