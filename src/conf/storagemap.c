#include "conf/storagemap.h"

#include "base/mem.h"

#include <string.h>

/* ---- the map ---- */

static bool has(const struct storagemap *m, const char *id)
{
    return strv_has(&m->from, id) || strv_has(&m->to, id);
}

static int take_pair(const char *pair, struct storagemap *m, struct err *e)
{
    const char *equals = strchr(pair, '=');
    _cleanup_free_ char *from = equals ? xstrndup(pair, (size_t)(equals - pair)) : NULL;
    const char *to = equals ? equals + 1 : NULL;
    if (!from || !storage_id_ok(from) || !storage_id_ok(to))
        return err_set(e, ERR_USAGE, 0, "'%s' is not STORAGE=STORAGE", pair);
    if (strcmp(from, to) == 0)
        return err_set(e, ERR_USAGE, 0, "storage '%s' is mapped to itself: leave it out, that is the default",
                       from);
    const char *twice = has(m, from) ? from : has(m, to) ? to : NULL;
    if (twice)
        return err_set(e, ERR_USAGE, 0,
                       "storage '%s' is there twice: an entry leads both ways, so each storage can be in "
                       "one only",
                       twice);
    strv_add(&m->from, from);
    strv_add(&m->to, to);
    return 0;
}

int storagemap_parse(const char *text, struct storagemap *ret, struct err *e)
{
    struct storagemap m = {0};
    if (text && strlen(text) > STORAGEMAP_TEXT_MAX)
        return err_set(e, ERR_USAGE, 0, "value may only be %d characters long", STORAGEMAP_TEXT_MAX);
    for (const char *at = text; at; at++) {
        size_t n = strcspn(at, ",");
        _cleanup_free_ char *pair = xstrndup(at, n);
        if (take_pair(pair, &m, e) < 0) {
            storagemap_release(&m);
            return -1;
        }
        at += n;
        if (!*at)
            break;
    }
    *ret = m;
    return 0;
}

void storagemap_release(struct storagemap *m)
{
    strv_release(&m->from);
    strv_release(&m->to);
}

const char *storagemap_other(const struct storagemap *m, const char *storage)
{
    for (size_t i = 0; i < m->from.n; i++) {
        if (strcmp(m->from.v[i], storage) == 0)
            return m->to.v[i];
        if (strcmp(m->to.v[i], storage) == 0)
            return m->from.v[i];
    }
    return storage;
}

/* ---- names ---- */

/* Is a volume a file in a folder of its guest, or an object with a flat name? */
static bool has_folders(const char *type)
{
    return strcmp(type, "dir") == 0 || strcmp(type, "btrfs") == 0;
}

static int refuse(const char *name, const char *from_type, const char *to_type, const char *why,
                  struct err *e)
{
    return err_set(e, ERR_CONFIG, 0,
                   "'%s' of a storage of type '%s' has no counterpart on one of type '%s': %s", name,
                   from_type, to_type, why);
}

/* The image's name without folder and format: "vm-100-disk-0". malloc'ed, NULL with the reason. */
static char *image_of(const char *name, bool folders, const char **why)
{
    const char *slash = strchr(name, '/'), *image = slash && folders ? slash + 1 : name;
    size_t n = strlen(image), digits;
    *why = "only raw disks named as in 100/vm-100-disk-0.raw or vm-100-disk-0 can be mapped between types";
    if (strchr(image, '/') || strncmp(image, "base-", 5) == 0)
        *why =
            "templates and their clones can be mapped between storages of one type only; make a full clone";
    else if (strncmp(image, "subvol-", 7) == 0)
        *why = "volumes of containers can be mapped between storages of one type only";
    else if (folders && n > 6 && strcmp(image + n - 6, ".qcow2") == 0)
        *why = "a qcow2 file can be mapped between storages of type 'dir' only; convert the disk to raw";
    if (strncmp(image, "vm-", 3) != 0 || strchr(image, '/'))
        return NULL;
    digits = strspn(image + 3, "0123456789");
    if (digits == 0 || image[3 + digits] != '-')
        return NULL;
    if (!folders)
        return xstrdup(image);
    bool in_folder = slash && (size_t)(slash - name) == digits && memcmp(name, image + 3, digits) == 0;
    if (!in_folder || n < digits + 9 || strcmp(image + n - 4, ".raw") != 0)
        return NULL;
    return xstrndup(image, n - 4);
}

char *storagemap_name(const char *name, const char *from_type, const char *to_type, struct err *e)
{
    const char *why;
    if (strcmp(from_type, to_type) == 0)
        return xstrdup(name);
    _cleanup_free_ char *image = image_of(name, has_folders(from_type), &why);
    if (!image) {
        refuse(name, from_type, to_type, why, e);
        return NULL;
    }
    if (!has_folders(to_type))
        return take_ptr(image);
    int digits = (int)strspn(image + 3, "0123456789");
    return xasprintf("%.*s/%s.raw", digits, image + 3, image);
}

char *storagemap_volid(const struct storagemap *m, const struct storages *storages, const char *volid,
                       struct err *e)
{
    _cleanup_free_ char *id = NULL;
    _cleanup_free_ char *name = NULL;
    if (volid_split(volid, &id, &name, e) < 0)
        return NULL;
    const char *other = storagemap_other(m, id);
    if (other == id)
        return xstrdup(volid);
    const struct storage *from = storages_find(storages, id), *to = storages_find(storages, other);
    if (!from || !to) {
        err_set(e, ERR_CONFIG, 0,
                "storage '%s' of target-storage '%s=%s' does not exist: add it to storage.cfg, or change the "
                "job's map",
                from ? other : id, id, other);
        return NULL;
    }
    _cleanup_free_ char *there = storagemap_name(name, from->type, to->type, e);
    if (!there) {
        err_wrap(e, "volume '%s' cannot be mapped to storage '%s'", volid, other);
        return NULL;
    }
    return xasprintf("%s:%s", other, there);
}
