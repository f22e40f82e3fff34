/* What of a guest's configuration may hide a volume: whatever has to do with one, and does not say which in a
 * way that volumes.c reads (BEHAVIOUR.md#guest-configuration). */
#include "guest/config.h"

#include "base/mem.h"
#include "conf/propstring.h"
#include "volume/name.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

static bool is_key_in_capitals(enum guest_type type, const char *s, size_t n)
{
    _cleanup_free_ char *word = xstrndup(s, n);
    for (char *c = word; *c; c++)
        *c = (char)tolower((unsigned char)*c);
    return guest_key_is_volume(type, word);
}

/* Is there a STORAGE:NAME with the name of an image of this guest? */
static bool names_image(uint32_t id, const char *s, size_t n)
{
    for (size_t i = 0, k; i < n; i += k + 1) {
        for (k = 0; i + k < n && !strchr(" \t,;=\"'", s[i + k]);)
            k++;
        _cleanup_free_ char *word = xstrndup(s + i, k);
        const char *name = strrchr(word, ':');
        if (name && volume_name_owner(name + 1) == id)
            return true;
    }
    return false;
}

bool guest_line_hides(enum guest_type type, uint32_t id, const char *s, size_t n)
{
    if (*s == '[' || memchr(s, 0, n) || names_image(id, s, n))
        return true;
    for (size_t i = 0, k; i < n; i += k + 1) {
        for (k = 0; i + k < n && isalnum((unsigned char)s[i + k]);)
            k++;
        if (is_key_in_capitals(type, s + i, k))
            return true;
    }
    return false;
}

/* Beside the one volume: no image under a key that nobody knows, and not two answers to whether it counts. */
static char *options_hide(uint32_t id, const struct guest_key *line, const char *volid)
{
    size_t media = 0, replicate = 0, k, n;
    const char *key, *v, *value = line->value;
    while (propstring_next(&value, &key, &k, &v, &n)) {
        media += k == 5 && memcmp(key, "media", k) == 0;
        replicate += k == 9 && memcmp(key, "replicate", k) == 0;
        bool source = k == 11 && memcmp(key, "import-from", k) == 0;
        if (v != volid && !source && names_image(id, v, n))
            return xasprintf("names an image of the guest in '%s' where none is expected", line->key);
    }
    if (media > 1 || replicate > 1)
        return xasprintf("says '%s' of '%s' twice", media > 1 ? "media" : "replicate", line->key);
    return NULL;
}

char *guest_key_hides(enum guest_type type, uint32_t id, enum section_kind section,
                      const struct guest_key *line)
{
    bool image = names_image(id, line->value, strlen(line->value));
    if (section == SECTION_OTHER)
        return image ? xstrdup("names a volume in a section that nobody knows") : NULL;
    if (!guest_key_is_volume(type, line->key))
        return image || is_key_in_capitals(type, line->key, strlen(line->key))
                   ? xasprintf("names a volume, but '%s' is not a key of volumes", line->key)
                   : NULL;
    const char *volid;
    size_t n, volumes = guest_value_volumes(type, line->value, &volid, &n);
    if (volumes == 1)
        return options_hide(id, line, volid);
    return !*line->value ? xstrdup("has no value")
           : volumes     ? xasprintf("names more than one volume in '%s'", line->key)
                         : xasprintf("names no volume in '%s'", line->key);
}

int guest_config_whole(const struct guest_config *g, struct err *e)
{
    if (!g->hides)
        return 0;
    return err_set(e, ERR_CONFIG, 0,
                   "the configuration of guest %u is not understood: %s: correct that, or a volume that it "
                   "hides would be taken for one that was removed",
                   (unsigned)g->id, g->hides);
}
