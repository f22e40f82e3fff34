/* The volumes of a guest get other names in its configuration; every other byte stays. */
#include "guest/config.h"

#include "base/mem.h"
#include "conf/lines.h"
#include "conf/propstring.h"

#include <string.h>

/* The line's key as the parser kept it, NULL when it kept none that names a volume. */
static const struct guest_key *volume_key_at(const struct guest_config *g, unsigned line)
{
    for (size_t i = 0; i < g->n; i++) {
        const struct guest_section *s = &g->sections[i];
        for (size_t k = 0; s->kind != SECTION_OTHER && k < s->n; k++)
            if (s->keys[k].line == line)
                return guest_key_is_volume(g->type, s->keys[k].key) ? &s->keys[k] : NULL;
    }
    return NULL;
}

/* Which of the volids the key's value names, and where in it; false: none. */
static bool find(const struct guest_config *g, const struct guest_key *key, const struct strv *from,
                 size_t *which, size_t *at)
{
    size_t n;
    const char *volid;
    if (guest_value_volumes(g->type, key->value, &volid, &n) != 1)
        return false;
    for (size_t i = 0; i < from->n; i++) {
        if (strlen(from->v[i]) != n || memcmp(from->v[i], volid, n) != 0)
            continue;
        *which = i;
        *at = (size_t)(volid - key->value);
        return true;
    }
    return false;
}

void guest_config_rename(const struct guest_config *g, const char *text, size_t len, const struct strv *from,
                         const struct strv *to, struct buf *out)
{
    struct lines l = LINES_INIT(text, len);
    while (lines_next(&l)) {
        size_t which, at;
        const struct guest_key *key = volume_key_at(g, l.number);
        if (!key || !find(g, key, from, &which, &at)) {
            buf_add(out, l.raw, l.raw_len);
            continue;
        }
        size_t before = line_trim(l.text, l.len) - strlen(key->value) + at; /* the value ends the line */
        size_t after = before + strlen(from->v[which]);
        buf_add(out, l.raw, before);
        buf_add(out, to->v[which], strlen(to->v[which]));
        buf_add(out, l.raw + after, l.raw_len - after);
    }
}
