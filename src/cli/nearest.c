#include "cli/nearest.h"

#include "cli/command.h"

#include <string.h>

#define TEXT_MAX 32

static unsigned least(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

/* How many letters have to be put in, left out, changed or swapped with their neighbour, twice; and one more
 * where the end of the name has to be put in. */
static unsigned distance(const char *text, const char *name)
{
    unsigned d[TEXT_MAX + 1][TEXT_MAX + 1];
    size_t n = strlen(text), m = strlen(name);
    if (n > TEXT_MAX || m > TEXT_MAX)
        return 2 * TEXT_MAX;
    for (unsigned i = 0; i <= n; i++)
        for (unsigned k = 0; k <= m; k++) {
            if (i == 0 || k == 0) {
                d[i][k] = i + k;
                continue;
            }
            bool same = text[i - 1] == name[k - 1];
            d[i][k] = least(d[i - 1][k - 1] + !same, 1 + least(d[i - 1][k], d[i][k - 1]));
            if (i > 1 && k > 1 && text[i - 1] == name[k - 2] && text[i - 2] == name[k - 1])
                d[i][k] = least(d[i][k], d[i - 2][k - 2] + 1);
        }
    unsigned best = 2 * d[n][m];
    for (size_t k = 1; k < m; k++)
        best = least(best, 2 * d[n][k] + 1);
    return best;
}

static void add_abbreviated(const char *text, struct strv *ret)
{
    for (size_t i = 0; i < n_commands; i++)
        if (*text && !commands[i].hidden && strncmp(commands[i].name, text, strlen(text)) == 0)
            strv_add(ret, commands[i].name);
}

void nearest_commands(const char *text, struct strv *ret)
{
    add_abbreviated(text, ret);
    if (ret->n)
        return;
    unsigned best = 2 * (unsigned)((strlen(text) + 1) / 4) + 1; /* a letter in four */
    for (size_t i = 0; i < n_commands; i++) {
        unsigned one = distance(text, commands[i].name);
        if (one > best || commands[i].hidden)
            continue;
        if (one < best)
            strv_release(ret);
        best = one;
        strv_add(ret, commands[i].name);
    }
}

void nearest_complaint(const char *text, struct buf *out)
{
    _cleanup_strv_ struct strv names = STRV_INIT;
    nearest_commands(text, &names);
    buf_addf(out, "ERROR: unknown command 'pvesr %s'\n", text);
    for (size_t i = 0; i < names.n; i++)
        buf_addf(out, "%s'%s'", i == 0 ? "Did you mean " : i + 1 < names.n ? ", " : " or ", names.v[i]);
    buf_adds(out, names.n ? "?" : "See 'pvesr help'.");
}
