#include "conf/lines.h"

#include <string.h>

/* Some editors begin a text in UTF-8 with this. */
static void skip_mark(struct lines *l)
{
    static const char mark[] = "\xef\xbb\xbf";
    if (l->len < sizeof mark - 1 || memcmp(l->text, mark, sizeof mark - 1) != 0)
        return;
    l->text += sizeof mark - 1;
    l->len -= sizeof mark - 1;
}

bool lines_next(struct lines *l)
{
    if (l->next == l->end)
        return false;
    const char *eol = memchr(l->next, '\n', (size_t)(l->end - l->next));
    l->raw = l->text = l->next;
    l->next = eol ? eol + 1 : l->end;
    l->raw_len = (size_t)(l->next - l->raw);
    l->len = l->raw_len - (eol != NULL);
    if (l->len && l->text[l->len - 1] == '\r')
        l->len--;
    if (l->number++ == 0)
        skip_mark(l);
    return true;
}

bool line_is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\f' || c == '\v';
}

size_t line_lead(const char *s, size_t n)
{
    size_t i = 0;
    while (i < n && line_is_blank(s[i]))
        i++;
    return i;
}

size_t line_trim(const char *s, size_t n)
{
    while (n && line_is_blank(s[n - 1]))
        n--;
    return n;
}
