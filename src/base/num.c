#include "base/num.h"

#include "base/mem.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static bool all_digits(const char *s)
{
    if (!*s)
        return false;
    for (; *s; s++)
        if (*s < '0' || *s > '9')
            return false;
    return true;
}

int num_parse_u64(const char *what, const char *text, uint64_t min, uint64_t max, uint64_t *ret,
                  struct err *e)
{
    if (!all_digits(text))
        return err_set(e, ERR_USAGE, 0, "%s: '%s' is not a whole number", what, text);
    errno = 0;
    uint64_t value = strtoull(text, NULL, 10);
    if (errno || value < min || value > max)
        return err_set(e, ERR_USAGE, 0, "%s: '%s' is not within %" PRIu64 "..%" PRIu64, what, text, min, max);
    *ret = value;
    return 0;
}

int num_parse_i64(const char *what, const char *text, int64_t min, int64_t max, int64_t *ret, struct err *e)
{
    if (!all_digits(text + (*text == '-' || *text == '+')))
        return err_set(e, ERR_USAGE, 0, "%s: '%s' is not a whole number", what, text);
    errno = 0;
    int64_t value = strtoll(text, NULL, 10);
    if (errno || value < min || value > max)
        return err_set(e, ERR_USAGE, 0, "%s: '%s' is not within %" PRId64 "..%" PRId64, what, text, min, max);
    *ret = value;
    return 0;
}

int num_parse_double(const char *what, const char *text, double min, double max, double *ret, struct err *e)
{
    const char *p = text + (*text == '-' || *text == '+');
    bool digits = false;
    for (; isdigit((unsigned char)*p); p++)
        digits = true;
    if (*p == '.')
        for (p++; isdigit((unsigned char)*p); p++)
            digits = true;
    if (digits && (*p == 'e' || *p == 'E')) {
        const char *exponent = p + 1 + (p[1] == '-' || p[1] == '+');
        if (!all_digits(exponent))
            digits = false;
        else
            p = exponent + strlen(exponent);
    }
    if (!digits || *p)
        return err_set(e, ERR_USAGE, 0, "%s: '%s' is not a number", what, text);
    double value = strtod(text, NULL); /* no program here calls setlocale, so the C locale is in force */
    if (!(value >= min && value <= max))
        return err_set(e, ERR_USAGE, 0, "%s: '%s' is not within %g..%g", what, text, min, max);
    *ret = value;
    return 0;
}

int num_parse_bool(const char *what, const char *text, bool *ret, struct err *e)
{
    static const char *const words[] = {"0", "1", "off", "on", "no", "yes", "false", "true"};
    for (size_t i = 0; i < ELEMENTS(words); i++)
        if (strcasecmp(text, words[i]) == 0) {
            *ret = i & 1;
            return 0;
        }
    return err_set(e, ERR_USAGE, 0, "%s: unable to parse boolean '%s'", what, text);
}

void num_print_double(double value, char out[32])
{
    /* Fewer than 15 digits would turn 10 into 1e+01; %g drops trailing zeros by itself. */
    for (int precision = 15; precision <= 17; precision++) {
        snprintf(out, 32, "%.*g", precision, value);
        bool plain = !strstr(out, "e+") || !(value > -1e15 && value < 1e15); /* 10, not 1e+01 */
        if (plain && strtod(out, NULL) == value)
            return;
    }
}
