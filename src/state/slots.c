#include "state/slots.h"

#include "base/mem.h"
#include "base/proc.h"

#include <string.h>

#define NAMED_MOST 8

enum share { SHARE_ALL, SHARE_TARGET, SHARE_STORAGE };

void slots_add(struct slots *s, struct slot slot)
{
    s->v = xgrow(s->v, s->n, sizeof *s->v);
    s->v[s->n++] = slot;
}

void slots_release(struct slots *s)
{
    free(s->v);
    *s = (struct slots){0};
}

static bool holds(const struct slot *x, enum share share, const char *what)
{
    return share == SHARE_STORAGE  ? x->sources && strv_has(x->sources, what)
           : share == SHARE_TARGET ? !x->still && strcmp(x->target, what) == 0
                                   : !x->still;
}

static size_t count(const struct slots *s, enum share share, const char *what)
{
    size_t n = 0;
    for (size_t i = 0; i < s->n; i++)
        n += holds(&s->v[i], share, what);
    return n;
}

static unsigned limit(const struct slots *s, enum share share)
{
    return share == SHARE_TARGET                                ? s->per_target
           : share == SHARE_STORAGE && s->several && s->max > 1 ? s->max - 1
                                                                : s->max;
}

static bool is_full(const struct slots *s, enum share share, const char *what)
{
    return count(s, share, what) >= limit(s, share);
}

/* The storage that has no place left, or NULL. */
static const char *full_storage(const struct slots *s, const struct strv *sources)
{
    for (size_t i = 0; sources && i < sources->n; i++)
        if (is_full(s, SHARE_STORAGE, sources->v[i]))
            return sources->v[i];
    return NULL;
}

size_t slots_taken(const struct slots *s)
{
    return count(s, SHARE_ALL, NULL);
}

bool slots_free(const struct slots *s, const char *target, const struct strv *sources)
{
    return !is_full(s, SHARE_ALL, NULL) && !is_full(s, SHARE_TARGET, target) && !full_storage(s, sources);
}

static void name(const struct slot *x, struct strv *to)
{
    char state = proc_state(x->pid);
    if (state == 'D' || state == 'T' || state == 't')
        strv_addf(to, "%s (process %d, state %c)", x->job, (int)x->pid, state);
    else if (x->pid)
        strv_addf(to, "%s (process %d)", x->job, (int)x->pid);
    else
        strv_add(to, x->job);
}

static char *holders(const struct slots *s, enum share share, const char *what)
{
    _cleanup_strv_ struct strv names = STRV_INIT;
    size_t n = count(s, share, what);
    for (size_t i = 0; i < s->n && names.n < NAMED_MOST; i++)
        if (holds(&s->v[i], share, what))
            name(&s->v[i], &names);
    if (n > names.n)
        strv_addf(&names, "%zu more", n - names.n);
    return strv_join(&names, ", ");
}

char *slots_why(const struct slots *s, const char *target, const struct strv *sources)
{
    const char *storage = full_storage(s, sources);
    enum share share = is_full(s, SHARE_TARGET, target) ? SHARE_TARGET : storage ? SHARE_STORAGE : SHARE_ALL;
    const char *what = share == SHARE_TARGET ? target : storage;
    if (slots_free(s, target, sources))
        return NULL;
    _cleanup_free_ char *who = holders(s, share, what);
    return share == SHARE_TARGET
               ? xasprintf("it waits for a place: 'max-workers-per-target' allows %u runs to node '%s', and "
                           "they are held by %s",
                           limit(s, share), what, who)
           : share == SHARE_STORAGE
               ? xasprintf("it waits for a place: of storage '%s' %u runs may be under way at once, and they "
                           "are held by %s",
                           what, limit(s, share), who)
               : xasprintf("it waits for a place: 'max-workers' allows %u runs, and they are held by %s",
                           limit(s, share), who);
}
