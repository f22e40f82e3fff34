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

static bool is_one_of(const char *const *words, size_t count, const char *s, size_t n)
{
    for (size_t i = 0; i < count; i++)
        if (strlen(words[i]) == n && memcmp(words[i], s, n) == 0)
            return true;
    return false;
}

/* Letters and a number, as of a bus or a slot that there is not ("scsi31", "nvme0", "scsi-1"), or a bus
 * alone. Other keys may have anything in them, such as a description, or a hook's arguments. */
static bool resembles_volume_key(enum guest_type type, const char *key)
{
    static const char *const others[] = {"audio",    "dev", "hostpci", "ipconfig", "net", "numa",
                                         "parallel", "rng", "serial",  "smbios",   "usb", "virtiofs"};
    size_t n = strcspn(key, "0123456789"), digits = strspn(key + n, "0123456789");
    if (!digits) {
        _cleanup_free_ char *first = xasprintf("%s0", key);
        return is_key_in_capitals(type, first, n + 1);
    }
    return isalpha((unsigned char)*key) && !memchr(key, '.', n) && !key[n + digits] &&
           !is_one_of(others, ELEMENTS(others), key, n);
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

/* Words of any kind: what the guest is to see of a disk, where it was copied from, where it is mounted. */
static bool is_free_option(const char *key, size_t n)
{
    static const char *const names[] = {"import-from",  "model",  "mp",     "product",
                                        "mountoptions", "serial", "vendor", "wwn"};
    return is_one_of(names, ELEMENTS(names), key, n);
}

/* Beside the one volume: no image under a key that nobody knows, and not two answers to whether it counts. */
static char *options_hide(uint32_t id, const struct guest_key *line, const char *volid)
{
    size_t media = 0, replicate = 0, k, n;
    const char *key, *v, *value = line->value;
    while (propstring_next(&value, &key, &k, &v, &n)) {
        media += k == 5 && memcmp(key, "media", k) == 0;
        replicate += k == 9 && memcmp(key, "replicate", k) == 0;
        if (v != volid && !is_free_option(key, k) && names_image(id, v, n))
            return xasprintf("names an image of the guest in '%s' where none is expected", line->key);
    }
    if (media > 1 || replicate > 1)
        return xasprintf("says '%s' of '%s' twice", media > 1 ? "media" : "replicate", line->key);
    return NULL;
}

char *guest_key_hides(enum guest_type type, uint32_t id, enum section_kind section,
                      const struct guest_key *line)
{
    bool key = guest_key_is_volume(type, line->key);
    bool image =
        (key || resembles_volume_key(type, line->key)) && names_image(id, line->value, strlen(line->value));
    if (section == SECTION_OTHER)
        return image ? xstrdup("names a volume in a section that nobody knows") : NULL;
    if (!key)
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
