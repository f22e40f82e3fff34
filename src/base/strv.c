#include "base/strv.h"

#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void strv_release(struct strv *s)
{
    for (size_t i = 0; i < s->n; i++)
        free(s->v[i]);
    free(s->v);
    *s = (struct strv)STRV_INIT;
}

static void push(struct strv *s, char *item)
{
    if ((s->n & (s->n + 1)) == 0) /* all slots, the one of the NULL included, are taken: double */
        s->v = xreallocarray(s->v, (s->n + 1) * 2, sizeof *s->v);
    s->v[s->n++] = item;
    s->v[s->n] = NULL;
}

void strv_add(struct strv *s, const char *item)
{
    push(s, xstrdup(item));
}

void strv_addf(struct strv *s, const char *fmt, ...)
{
    char *item = NULL;
    va_list ap;
    va_start(ap, fmt);
    if (vasprintf(&item, fmt, ap) < 0)
        abort();
    va_end(ap);
    push(s, item);
}

void strv_adds(struct strv *s, ...)
{
    va_list ap;
    va_start(ap, s);
    for (const char *item; (item = va_arg(ap, const char *));)
        strv_add(s, item);
    va_end(ap);
}

bool strv_has(const struct strv *s, const char *item)
{
    for (size_t i = 0; i < s->n; i++)
        if (strcmp(s->v[i], item) == 0)
            return true;
    return false;
}

bool strv_add_once(struct strv *s, const char *item)
{
    if (strv_has(s, item))
        return false;
    strv_add(s, item);
    return true;
}

void strv_remove(struct strv *s, size_t i)
{
    free(s->v[i]);
    memmove(s->v + i, s->v + i + 1, (s->n - i) * sizeof *s->v);
    s->n--;
}

static int compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

void strv_sort(struct strv *s)
{
    if (s->n)
        qsort(s->v, s->n, sizeof *s->v, compare);
}

void strv_split(struct strv *s, const char *text, const char *separators)
{
    for (;;) {
        text += strspn(text, separators);
        size_t n = strcspn(text, separators);
        if (n == 0)
            return;
        push(s, xstrndup(text, n));
        text += n;
    }
}

char *strv_join(const struct strv *s, const char *between)
{
    struct buf b = BUF_INIT;
    for (size_t i = 0; i < s->n; i++) {
        if (i)
            buf_adds(&b, between);
        buf_adds(&b, s->v[i]);
    }
    return buf_take(&b);
}

bool strv_equal(const struct strv *a, const struct strv *b)
{
    for (size_t i = 0; a->n == b->n && i < a->n; i++)
        if (strcmp(a->v[i], b->v[i]) != 0)
            return false;
    return a->n == b->n;
}
