/* Which volumes of a guest take part in replication (spec 3.3). */
#include "guest/config.h"

#include "base/mem.h"
#include "base/num.h"
#include "conf/propstring.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/* Is key PREFIX followed by a number below end? */
static bool numbered(const char *key, const char *prefix, unsigned end)
{
    size_t n = strlen(prefix);
    uint64_t i;
    struct err e;
    return strncmp(key, prefix, n) == 0 && num_parse_u64("", key + n, 0, end - 1, &i, &e) == 0;
}

static bool is_vm_volume(const char *key)
{
    return numbered(key, "scsi", 31) || numbered(key, "virtio", 16) || numbered(key, "ide", 4) ||
           numbered(key, "sata", 6) || numbered(key, "unused", 256) || !strcmp(key, "efidisk0") ||
           !strcmp(key, "tpmstate0") || !strcmp(key, "vmstate");
}

static bool is_ct_volume(const char *key, enum section_kind kind)
{
    return !strcmp(key, "rootfs") || numbered(key, "mp", 256) ||
           (kind == SECTION_MAIN && numbered(key, "unused", 256));
}

static bool is_volume(const struct guest_config *g, const struct guest_section *s, const char *key)
{
    if (s->kind == SECTION_OTHER)
        return false;
    if (g->type == GUEST_QEMU)
        return is_vm_volume(key);
    return s->kind != SECTION_PENDING && is_ct_volume(key, s->kind);
}

/* All references to one volid, merged: a medium only if every reference is one, replicated if any reference
 * is. */
struct reference {
    char *volid;
    bool cdrom, replicate;
};

struct references {
    struct reference *v;
    size_t n;
};

static bool option_off(const char *value, const char *key)
{
    char text[16];
    bool on;
    struct err e;
    return propstring_get(value, key, text, sizeof text) && num_parse_bool(key, text, &on, &e) == 0 && !on;
}

static void add_reference(struct references *all, const struct guest_config *g, const struct guest_key *k)
{
    char volid[600], media[16] = "";
    if (!propstring_get(k->value, NULL, volid, sizeof volid) &&
        !propstring_get(k->value, g->type == GUEST_QEMU ? "file" : "volume", volid, sizeof volid))
        return;
    propstring_get(k->value, "media", media, sizeof media);
    bool has_option = strcmp(k->key, "efidisk0") != 0 && strcmp(k->key, "tpmstate0") != 0; /* spec 2.5 */
    struct reference r = {.cdrom =
                              !strcmp(media, "cdrom") || !strcmp(volid, "none") || !strcmp(volid, "cdrom"),
                          .replicate = !has_option || !option_off(k->value, "replicate")};
    for (size_t i = 0; i < all->n; i++)
        if (strcmp(all->v[i].volid, volid) == 0) {
            all->v[i].cdrom &= r.cdrom;
            all->v[i].replicate |= r.replicate;
            return;
        }
    r.volid = xstrdup(volid);
    all->v = xreallocarray(all->v, all->n + 1, sizeof *all->v);
    all->v[all->n++] = r;
}

static int by_volid(const void *a, const void *b)
{
    return strcmp(((const struct reference *)a)->volid, ((const struct reference *)b)->volid);
}

static void collect(const struct guest_config *g, struct references *all)
{
    for (size_t i = 0; i < g->n; i++)
        for (size_t k = 0; k < g->sections[i].n; k++)
            if (is_volume(g, &g->sections[i], g->sections[i].keys[k].key))
                add_reference(all, g, &g->sections[i].keys[k]);
    if (all->n)
        qsort(all->v, all->n, sizeof *all->v, by_volid);
}

/* "iso/x.iso" → "iso": what a volume is that is not a guest's image. */
static char *content_type(const char *volname)
{
    size_t n = strcspn(volname, "/");
    return volname[n] && !isdigit((unsigned char)*volname) ? xstrndup(volname, n) : xstrdup("unknown");
}

static int refuse_path(const struct guest_config *g, const char *path, struct err *e)
{
    if (g->type == GUEST_QEMU)
        return err_set(e, ERR_CONFIG, 0, "unable to replicate local file/device '%s': set replicate=0 on it",
                       path);
    return err_set(e, ERR_CONFIG, 0, "unable to replicate mountpoint type '%s': set replicate=0 on '%s'",
                   strncmp(path, "/dev/", 5) == 0 ? "device" : "bind", path);
}

/* 1: takes part, 0: does not. */
static int judge(const struct guest_config *g, const struct reference *r, const struct storages *storages,
                 enum volumes_mode mode, volume_can_replicate can, void *arg, struct err *e)
{
    _cleanup_free_ char *id = NULL;
    _cleanup_free_ char *name = NULL;
    struct err problem = {0};
    bool strict = mode == VOLUMES_STRICT;
    if (r->cdrom || (!r->replicate && mode != VOLUMES_CLEANUP))
        return 0;
    if (*r->volid == '/')
        return strict ? refuse_path(g, r->volid, e) : 0;
    if (volid_split(r->volid, &id, &name, &problem) < 0) {
        *e = problem;
        e->kind = ERR_CONFIG;
        return strict ? -1 : 0;
    }
    const struct storage *s = storages_find(storages, id);
    if (!s)
        return mode == VOLUMES_LENIENT ? 0 : err_set(e, ERR_CONFIG, 0, "storage '%s' does not exist", id);
    if (s->shared)
        return 0;
    uint32_t owner = volname_owner(name);
    if (owner == 0) {
        _cleanup_free_ char *type = content_type(name);
        return strict
                   ? err_set(e, ERR_CONFIG, 0, "unable to replicate volume '%s', type '%s'", r->volid, type)
                   : 0;
    }
    if (owner != g->id)
        return 0;
    if (can(s, name, arg))
        return 1;
    return strict ? err_set(e, ERR_CONFIG, 0,
                            "missing replicate feature on volume '%s': storage type '%s' cannot replicate it",
                            r->volid, s->type)
                  : 0;
}

int guest_volumes(const struct guest_config *g, const struct storages *storages, enum volumes_mode mode,
                  volume_can_replicate can, void *arg, struct strv *ret, struct err *e)
{
    struct references all = {0};
    int result = 0;
    collect(g, &all);
    for (size_t i = 0; i < all.n && result >= 0; i++) {
        result = judge(g, &all.v[i], storages, mode, can, arg, e);
        if (result > 0)
            strv_add(ret, all.v[i].volid);
    }
    for (size_t i = 0; i < all.n; i++)
        free(all.v[i].volid);
    free(all.v);
    return result < 0 ? -1 : 0;
}

uint32_t volname_owner(const char *volname)
{
    static const char *const prefixes[] = {"vm-", "base-", "subvol-", "basevol-"};
    const char *slash = strrchr(volname, '/');
    const char *image = slash ? slash + 1 : volname;
    for (size_t i = 0; i < ELEMENTS(prefixes); i++) {
        size_t n = strlen(prefixes[i]);
        size_t digits = strspn(image + (strncmp(image, prefixes[i], n) == 0 ? n : 0), "0123456789");
        if (strncmp(image, prefixes[i], n) != 0 || digits < 1 || digits > 9 || image[n + digits] != '-' ||
            !image[n + digits + 1])
            continue;
        uint32_t owner = (uint32_t)strtoul(image + n, NULL, 10);
        /* "100/vm-101-…" lies in another guest's folder: nobody's. */
        if (isdigit((unsigned char)*volname) && (uint32_t)strtoul(volname, NULL, 10) != owner)
            return 0;
        return owner;
    }
    return 0;
}
