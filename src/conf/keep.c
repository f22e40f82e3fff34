#include "conf/keep.h"

#include "base/mem.h"
#include "base/num.h"

#include <stdint.h>
#include <string.h>

static const char *const names[KEEP_RULES] = {
    [KEEP_LAST] = "last",     [KEEP_HOURLY] = "hourly",   [KEEP_DAILY] = "daily",
    [KEEP_WEEKLY] = "weekly", [KEEP_MONTHLY] = "monthly", [KEEP_YEARLY] = "yearly",
};

static int take_part(const char *part, struct keep *ret, struct err *e)
{
    const char *equals = strchr(part, '=');
    size_t len = equals ? (size_t)(equals - part) : 0;
    for (size_t i = 0; equals && i < KEEP_RULES; i++) {
        if (strlen(names[i]) != len || memcmp(names[i], part, len) != 0)
            continue;
        uint64_t n;
        if (ret->n[i])
            return err_set(e, ERR_USAGE, 0, "'%s' is there twice", names[i]);
        if (num_parse_u64(names[i], equals + 1, 1, KEEP_MAX, &n, e) < 0)
            return -1;
        ret->n[i] = (unsigned)n;
        return 0;
    }
    return err_set(e, ERR_USAGE, 0, "'%s' is not last=N, hourly=N, daily=N, weekly=N, monthly=N or yearly=N",
                   part);
}

int keep_parse(const char *text, struct keep *ret, struct err *e)
{
    struct keep keep = {0};
    if (strlen(text) > KEEP_TEXT_MAX)
        return err_set(e, ERR_USAGE, 0, "value may only be %d characters long", KEEP_TEXT_MAX);
    for (const char *at = text;; at++) {
        size_t n = strcspn(at, ",");
        _cleanup_free_ char *part = xstrndup(at, n);
        if (take_part(part, &keep, e) < 0)
            return -1;
        at += n;
        if (!*at)
            break;
    }
    unsigned sum = 0;
    for (size_t i = 0; i < KEEP_RULES; i++)
        sum += keep.n[i];
    if (sum > KEEP_MAX)
        return err_set(e, ERR_USAGE, 0, "'%s' keeps %u restore points, at most %d are possible", text, sum,
                       KEEP_MAX);
    *ret = keep;
    return 0;
}

bool keep_history(const char *text, struct keep *ret)
{
    struct err e;
    static const struct keep one = {.n = {[KEEP_LAST] = 1}};
    return text && keep_parse(text, ret, &e) == 0 && memcmp(ret, &one, sizeof one) != 0;
}
