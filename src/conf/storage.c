#include "conf/storage.h"

#include "base/mem.h"

#include <ctype.h>
#include <string.h>

static const char *const types[] = {"dir",  "btrfs", "zfspool",     "lvmthin",   "lvm",  "nfs",
                                    "cifs", "iscsi", "iscsidirect", "cephfs",    "rbd",  "zfs",
                                    "drbd", "esxi",  "pbs",         "glusterfs", "fault"};
static const char *const shared_types[] = {"iscsi",       "nfs", "cifs", "rbd", "cephfs",
                                           "iscsidirect", "zfs", "drbd", "pbs", "glusterfs"};

static bool in(const char *const *list, size_t n, const char *what)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(list[i], what) == 0)
            return true;
    return false;
}

static char *copy_of(const struct section *s, const char *key)
{
    const char *v = section_get(s, key);
    return v && *v ? xstrdup(v) : NULL;
}

static bool flag(const struct section *s, const char *key)
{
    const char *v = section_get(s, key);
    return v && strcmp(v, "0") != 0 && strcmp(v, "no") != 0 && strcmp(v, "off") != 0;
}

static bool id_ok(const char *id)
{
    size_t n = strlen(id);
    if (n < 2 || n > 64 || !isalpha((unsigned char)id[0]) || !isalnum((unsigned char)id[n - 1]))
        return false;
    for (; *id; id++)
        if (!isalnum((unsigned char)*id) && !strchr("-_.", *id))
            return false;
    return true;
}

static struct storage *add(struct storages *all, const char *id, const char *type)
{
    all->v = xreallocarray(all->v, all->n + 1, sizeof *all->v);
    struct storage *s = &all->v[all->n++];
    *s = (struct storage){.id = xstrdup(id), .type = xstrdup(type)};
    return s;
}

/* What is missing from a storage that a driver needs, or NULL. */
static const char *missing(const struct storage *s)
{
    if ((strcmp(s->type, "dir") == 0 || strcmp(s->type, "btrfs") == 0) && (!s->path || *s->path != '/'))
        return "an absolute path";
    if (strcmp(s->type, "zfspool") == 0 && !s->pool)
        return "a pool";
    if (strcmp(s->type, "lvmthin") == 0 && (!s->vgname || !s->thinpool))
        return "vgname and thinpool";
    return NULL;
}

static void storage_release(struct storage *s)
{
    free(s->id);
    free(s->type);
    free(s->path);
    free(s->pool);
    free(s->vgname);
    free(s->thinpool);
    strv_release(&s->nodes);
}

static void take_section(struct storages *all, const struct section *x)
{
    if (!in(types, ELEMENTS(types), x->type) || !id_ok(x->id)) {
        strv_addf(&all->warnings, "%s:%u: skipped: unknown storage type or bad name '%s: %s'", all->file.name,
                  x->line, x->type, x->id);
        return;
    }
    if (storages_find(all, x->id)) {
        strv_addf(&all->warnings, "%s:%u: skipped: storage '%s' is defined twice", all->file.name, x->line,
                  x->id);
        return;
    }
    struct storage *s = add(all, x->id, x->type);
    s->path = copy_of(x, "path");
    s->pool = copy_of(x, "pool");
    s->vgname = copy_of(x, "vgname");
    s->thinpool = copy_of(x, "thinpool");
    s->disabled = flag(x, "disable");
    s->shared = flag(x, "shared") || in(shared_types, ELEMENTS(shared_types), x->type);
    if (section_get(x, "nodes"))
        strv_split(&s->nodes, section_get(x, "nodes"), ",; \t");
    if (missing(s)) {
        strv_addf(&all->warnings, "%s:%u: skipped: storage '%s' of type '%s' needs %s", all->file.name,
                  x->line, s->id, s->type, missing(s));
        storage_release(s);
        all->n--;
    }
}

void storages_parse(const char *name, const char *text, size_t len, struct storages *ret)
{
    *ret = (struct storages){0};
    section_parse(name, text, len, &ret->file);
    for (size_t i = 0; i < ret->file.warnings.n; i++)
        strv_add(&ret->warnings, ret->file.warnings.v[i]);
    for (size_t i = 0; i < ret->file.n; i++)
        take_section(ret, &ret->file.sections[i]);
    if (!storages_find(ret, "local"))
        add(ret, "local", "dir")->path = xstrdup("/var/lib/vz");
}

void storages_release(struct storages *all)
{
    for (size_t i = 0; i < all->n; i++)
        storage_release(&all->v[i]);
    free(all->v);
    strv_release(&all->warnings);
    section_file_release(&all->file);
    *all = (struct storages){0};
}

const struct storage *storages_find(const struct storages *all, const char *id)
{
    for (size_t i = 0; i < all->n; i++)
        if (strcmp(all->v[i].id, id) == 0)
            return &all->v[i];
    return NULL;
}

bool storage_enabled_on(const struct storage *s, const char *node)
{
    return !s->disabled && (s->nodes.n == 0 || strv_has(&s->nodes, node));
}

int volid_split(const char *volid, char **store, char **name, struct err *e)
{
    const char *colon = strchr(volid, ':');
    _cleanup_free_ char *id = colon ? xstrndup(volid, (size_t)(colon - volid)) : NULL;
    if (!id || !id_ok(id) || !colon[1] || strlen(colon) > 512)
        return err_set(e, ERR_USAGE, 0, "'%s' is not a volume id STORAGE:NAME", volid);
    *store = take_ptr(id);
    *name = xstrdup(colon + 1);
    return 0;
}
