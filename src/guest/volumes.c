/* Which volumes of a guest take part in replication (BEHAVIOUR.md#volumes). */
#include "guest/config.h"

#include "base/mem.h"
#include "base/num.h"
#include "conf/propstring.h"
#include "volume/name.h"

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

bool guest_key_is_volume(enum guest_type type, const char *key)
{
    return type == GUEST_QEMU ? is_vm_volume(key) : is_ct_volume(key, SECTION_MAIN);
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
    size_t n, room;
};

static bool option_off(const char *value, const char *key)
{
    char text[16];
    bool on;
    struct err e;
    return propstring_get(value, key, text, sizeof text) && num_parse_bool(key, text, &on, &e) == 0 && !on;
}

/* The part of a property string that says which volume: the one without a key, or with one of its names. */
static bool is_volume_part(enum guest_type type, const char *key, size_t n)
{
    return n == 0 || (n == 6 && memcmp(key, "volume", n) == 0) ||
           (type == GUEST_QEMU && n == 4 && memcmp(key, "file", n) == 0);
}

size_t guest_value_volumes(enum guest_type type, const char *value, const char **volid, size_t *n)
{
    const char *key, *v;
    size_t key_len, len, count = 0;
    while (propstring_next(&value, &key, &key_len, &v, &len)) {
        if (!len || !is_volume_part(type, key, key_len))
            continue;
        *volid = v;
        *n = len;
        count++;
    }
    return count;
}

static void add_reference(struct references *all, const struct guest_config *g, const struct guest_key *k)
{
    char media[16] = "";
    size_t n;
    const char *named;
    if (guest_value_volumes(g->type, k->value, &named, &n) != 1)
        return;
    char *volid = xstrndup(named, n);
    propstring_get(k->value, "media", media, sizeof media);
    bool has_option = strcmp(k->key, "efidisk0") != 0 && strcmp(k->key, "tpmstate0") != 0;
    bool medium = !strcmp(media, "cdrom") || !strcmp(volid, "none") || !strcmp(volid, "cdrom");
    if (all->n == all->room) {
        all->room = all->room ? all->room * 2 : 8;
        all->v = xreallocarray(all->v, all->room, sizeof *all->v);
    }
    all->v[all->n++] = (struct reference){.volid = volid,
                                          .cdrom = g->type == GUEST_QEMU && medium,
                                          .replicate = !has_option || !option_off(k->value, "replicate")};
}

static int by_volid(const void *a, const void *b)
{
    return strcmp(((const struct reference *)a)->volid, ((const struct reference *)b)->volid);
}

static void merge(struct references *all)
{
    size_t n = 0;
    for (size_t i = 0; i < all->n; i++) {
        struct reference *r = &all->v[i];
        if (n && strcmp(all->v[n - 1].volid, r->volid) == 0) {
            all->v[n - 1].cdrom &= r->cdrom;
            all->v[n - 1].replicate |= r->replicate;
            free(r->volid);
        } else {
            all->v[n++] = *r;
        }
    }
    all->n = n;
}

static void collect(const struct guest_config *g, struct references *all)
{
    for (size_t i = 0; i < g->n; i++)
        for (size_t k = 0; k < g->sections[i].n; k++)
            if (is_volume(g, &g->sections[i], g->sections[i].keys[k].key))
                add_reference(all, g, &g->sections[i].keys[k]);
    if (all->n)
        qsort(all->v, all->n, sizeof *all->v, by_volid);
    merge(all);
}

static int refuse_path(const struct guest_config *g, const char *path, struct err *e)
{
    if (g->type == GUEST_QEMU)
        return err_set(e, ERR_CONFIG, 0, "unable to replicate local file/device '%s': set replicate=0 on it",
                       path);
    return err_set(e, ERR_CONFIG, 0, "unable to replicate mountpoint type '%s': set replicate=0 on '%s'",
                   strncmp(path, "/dev/", 5) == 0 ? "device" : "bind", path);
}

/* A name that is not a guest's image: "iso/x.iso" has a type; the rest, "100/mine.raw", has a form that no
 * driver can replicate. What lies in another guest's folder is skipped like that guest's images: 0. */
static int refuse_name(const struct guest_config *g, const char *volid, const char *name, struct err *e)
{
    size_t n = strcspn(name, "/");
    char *end;
    unsigned long folder = strtoul(name, &end, 10);
    bool in_folder = n && name[n] && isdigit((unsigned char)*name) && end == name + n;
    if (in_folder && folder != g->id)
        return 0;
    if (in_folder || !name[n])
        return err_set(e, ERR_CONFIG, 0,
                       "missing replicate feature on volume '%s': it has not the name of a guest's image",
                       volid);
    return err_set(e, ERR_CONFIG, 0, "unable to replicate volume '%s', type '%.*s'", volid, (int)n, name);
}

/* Why the volume cannot be replicated, -1; or 1: takes part, 0: does not. */
static int judge_volume(const struct guest_config *g, const char *volid, const struct storage *s,
                        const char *name, volume_can_replicate can, void *arg, struct err *e)
{
    if (s->shared)
        return 0;
    uint32_t owner = volume_name_owner(name);
    if (owner == 0)
        return refuse_name(g, volid, name, e);
    if (owner != g->id)
        return 0;
    return can(s, name, arg)
               ? 1
               : err_set(e, ERR_CONFIG, 0,
                         "missing replicate feature on volume '%s': storage type '%s' cannot replicate it",
                         volid, s->type);
}

static int no_storage(const struct storages *storages, const char *id, struct err *e)
{
    const char *skipped = storages_skipped(storages, id);
    return err_set(e, ERR_CONFIG, 0, "storage '%s' does not exist%s%s", id, skipped ? ": " : "",
                   skipped ? skipped : "");
}

/* 1: takes part, 0: does not. What cannot be replicated is an error in strict mode only; a storage that does
 * not exist is one when cleaning up, too. */
static int judge(const struct guest_config *g, const struct reference *r, const struct storages *storages,
                 enum volumes_mode mode, volume_can_replicate can, void *arg, struct err *e)
{
    _cleanup_free_ char *id = NULL;
    _cleanup_free_ char *name = NULL;
    struct err problem = {0};
    const struct storage *s = NULL;
    int result;
    if (r->cdrom || (!r->replicate && mode != VOLUMES_CLEANUP))
        return 0;
    if (*r->volid == '/')
        result = refuse_path(g, r->volid, &problem);
    else if (volid_split(r->volid, &id, &name, &problem) < 0)
        result = -1;
    else if ((s = storages_find(storages, id)))
        result = judge_volume(g, r->volid, s, name, can, arg, &problem);
    else
        result = no_storage(storages, id, &problem);
    bool unknown = name && !s;
    if (result < 0 && mode != VOLUMES_STRICT && !(mode == VOLUMES_CLEANUP && unknown))
        return 0;
    if (result < 0) {
        *e = problem;
        e->kind = ERR_CONFIG;
    }
    return result;
}

int guest_volumes(const struct guest_config *g, const struct storages *storages, enum volumes_mode mode,
                  volume_can_replicate can, void *arg, struct strv *ret, struct err *e)
{
    struct references all = {0};
    int result = 0;
    if (mode == VOLUMES_STRICT && guest_config_whole(g, e) < 0)
        return -1;
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

void guest_volumes_named(const struct guest_config *g, struct strv *ret)
{
    struct references all = {0};
    collect(g, &all);
    for (size_t i = 0; i < all.n; i++) {
        strv_add(ret, all.v[i].volid);
        free(all.v[i].volid);
    }
    free(all.v);
}

static bool any_can(const struct storage *s, const char *volname, void *arg)
{
    (void)s, (void)volname, (void)arg;
    return true;
}

static void sort_out(const struct guest_config *g, const struct storages *storages, const char *volid,
                     struct strv *shared, struct strv *foreign)
{
    _cleanup_free_ char *id = NULL;
    _cleanup_free_ char *name = NULL;
    struct err ignored;
    const struct storage *s =
        *volid == '/' || volid_split(volid, &id, &name, &ignored) < 0 ? NULL : storages_find(storages, id);
    if (s && judge_volume(g, volid, s, name, any_can, NULL, &ignored) == 0)
        strv_add(s->shared ? shared : foreign, volid);
}

void guest_volumes_left_out(const struct guest_config *g, const struct storages *storages, bool all,
                            struct strv *shared, struct strv *foreign)
{
    struct references found = {0};
    collect(g, &found);
    for (size_t i = 0; i < found.n; i++) {
        if (!found.v[i].cdrom && (all || found.v[i].replicate))
            sort_out(g, storages, found.v[i].volid, shared, foreign);
        free(found.v[i].volid);
    }
    free(found.v);
}

static bool names(const struct guest_config *g, const struct guest_key *k, const char *volid)
{
    size_t n;
    const char *named;
    return guest_value_volumes(g->type, k->value, &named, &n) == 1 && n == strlen(volid) &&
           memcmp(named, volid, n) == 0;
}

static bool is_unused(const char *key)
{
    return numbered(key, "unused", 256);
}

static bool names_disk(const struct guest_config *g, const struct guest_key *k, const char *volid)
{
    return names(g, k, volid) && strcmp(k->key, "vmstate") != 0 && !is_unused(k->key);
}

static bool names_kept_disk(const struct guest_config *g, const struct guest_key *k, const char *volid)
{
    return names(g, k, volid) && strcmp(k->key, "vmstate") != 0;
}

static bool section_has(const struct guest_config *g, const struct guest_section *s, const char *volid,
                        bool (*counts)(const struct guest_config *, const struct guest_key *, const char *))
{
    for (size_t k = 0; k < s->n; k++)
        if (is_volume(g, s, s->keys[k].key) && counts(g, &s->keys[k], volid))
            return true;
    return false;
}

bool guest_config_has_disk(const struct guest_config *g, const char *volid)
{
    for (size_t i = 0; i < g->n; i++)
        if (section_has(g, &g->sections[i], volid, names_kept_disk))
            return true;
    return false;
}

bool guest_config_snapshot_has(const struct guest_config *g, const char *snapshot, const char *volid)
{
    for (size_t i = 0; i < g->n; i++) {
        const struct guest_section *s = &g->sections[i];
        if (s->kind == SECTION_SNAPSHOT && strcmp(s->name, snapshot) == 0 &&
            section_has(g, s, volid, names_disk))
            return true;
    }
    return false;
}

static bool names_in_use(const struct guest_config *g, const struct guest_key *k, const char *volid)
{
    return names(g, k, volid) && !is_unused(k->key);
}

bool guest_config_starts_with(const struct guest_config *g, const char *volid)
{
    for (size_t i = 0; i < g->n; i++) {
        const struct guest_section *s = &g->sections[i];
        if (s->kind != SECTION_SNAPSHOT && section_has(g, s, volid, names_in_use))
            return true;
    }
    return false;
}

void guest_config_snapshots_with(const struct guest_config *g, const char *volid, struct strv *ret)
{
    for (size_t i = 0; i < g->n; i++) {
        const struct guest_section *s = &g->sections[i];
        if (s->kind == SECTION_SNAPSHOT && section_has(g, s, volid, names_in_use))
            strv_add(ret, s->name);
    }
}
