#include "conf/storage.h"

#include "base/mem.h"
#include "base/num.h"
#include "conf/warn.h"

#include <ctype.h>
#include <string.h>

#define LOCAL_PATH "/var/lib/vz"
#define VOLUME_NAME_MAX 512
#define STORAGES_MAX 1000
#define RELATIVE_MAX 1024

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

/* Without a value it is on. One that says neither is a fault of the section (unclear_flag). */
static bool flag(const struct section *s, const char *key)
{
    const char *v = section_get(s, key);
    bool on = true;
    struct err ignored;
    return v && (!*v || num_parse_bool(key, v, &on, &ignored) == 0) && on;
}

/* Which of these says neither yes nor no, or NULL. Nothing is guessed: taken for shared, nothing that lies
 * there would be replicated, and nobody would hear of it. */
static const char *unclear_flag(const struct section *s)
{
    static const char *const flags[] = {"shared", "disable"};
    for (size_t i = 0; i < ELEMENTS(flags); i++) {
        const char *v = section_get(s, flags[i]);
        bool on;
        struct err ignored;
        if (v && *v && num_parse_bool(flags[i], v, &on, &ignored) < 0)
            return flags[i];
    }
    return NULL;
}

bool storage_id_ok(const char *id)
{
    size_t n = strlen(id);
    if (n < 2 || n > 64 || !isalpha((unsigned char)id[0]) || !isalnum((unsigned char)id[n - 1]))
        return false;
    for (; *id; id++)
        if (!isalnum((unsigned char)*id) && !strchr("-_.", *id))
            return false;
    return true;
}

/* A path below the storage's: components that are not "." and "..". */
static bool is_relative(const char *path)
{
    _cleanup_strv_ struct strv parts = STRV_INIT;
    strv_split(&parts, path, "/");
    bool fine = *path && *path != '/' && strlen(path) <= RELATIVE_MAX;
    for (size_t i = 0; i < parts.n; i++)
        fine = fine && strcmp(parts.v[i], ".") != 0 && strcmp(parts.v[i], "..") != 0;
    return fine;
}

/* "images=vms/disks,iso=isos": the folder of images, NULL for the usual one. */
static char *images_of(const struct section *s)
{
    _cleanup_strv_ struct strv all = STRV_INIT;
    static const char key[] = "images=";
    if (section_get(s, "content-dirs"))
        strv_split(&all, section_get(s, "content-dirs"), ",; \t");
    for (size_t i = 0; i < all.n; i++)
        if (strncmp(all.v[i], key, sizeof key - 1) == 0)
            return xstrdup(all.v[i] + sizeof key - 1);
    return NULL;
}

/* A boolean says whether the path is one, anything else which directory is. */
static char *mountpoint_of(const struct section *s, const char *path)
{
    const char *text = section_get(s, "is_mountpoint");
    bool on = true;
    struct err ignored;
    if (!text || !path)
        return NULL;
    if (*text && num_parse_bool("is_mountpoint", text, &on, &ignored) < 0)
        return xstrdup(text);
    return on ? xstrdup(path) : NULL;
}

/* What is missing from a storage that a driver needs, or NULL. */
static const char *missing(const struct storage *s)
{
    if (s->images && !is_relative(s->images))
        return "a relative path for images in content-dirs";
    if (s->mountpoint && *s->mountpoint != '/')
        return "yes, no, or an absolute path for is_mountpoint";
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
    free(s->mountpoint);
    free(s->images);
    free(s->pool);
    free(s->vgname);
    free(s->thinpool);
    strv_release(&s->nodes);
}

static void fill(struct storage *s, const struct section *x)
{
    bool local_pool = strcmp(x->type, "zfspool") == 0 || strcmp(x->type, "lvmthin") == 0;
    s->path = copy_of(x, "path");
    if (!s->path && strcmp(x->type, "dir") == 0 && strcmp(x->id, "local") == 0)
        s->path = xstrdup(LOCAL_PATH);
    if (strcmp(x->type, "dir") == 0 || strcmp(x->type, "btrfs") == 0) {
        s->images = images_of(x);
        s->mountpoint = mountpoint_of(x, s->path);
    }
    s->pool = copy_of(x, "pool");
    s->vgname = copy_of(x, "vgname");
    s->thinpool = copy_of(x, "thinpool");
    s->disabled = flag(x, "disable");
    s->shared = (flag(x, "shared") && !local_pool) || in(shared_types, ELEMENTS(shared_types), x->type);
    if (section_get(x, "nodes"))
        strv_split(&s->nodes, section_get(x, "nodes"), ",; \t");
}

static void put(struct storages *all, struct storage s)
{
    struct storage *other = (struct storage *)storages_find(all, s.id);
    if (other) {
        storage_release(other);
        *other = s;
        return;
    }
    all->v = xgrow(all->v, all->n, sizeof *all->v);
    all->v[all->n++] = s;
}

/* For whoever looks for a storage of its name, too. Takes `why` over. */
static void skip(struct storages *all, const struct section *x, char *why)
{
    warn_at(&all->warnings, all->file.name, x->line, "section skipped: %s", why);
    strv_add(&all->skipped, x->id);
    strv_addf(&all->skipped, "its section in %s, line %u, does not count: %s", all->file.name, x->line, why);
    free(why);
}

static void take_section(struct storages *all, const struct section *x)
{
    const char *file = all->file.name;
    if (!storage_id_ok(x->id)) {
        skip(all, x, xasprintf("'%s' is not a storage's name", x->id));
        return;
    }
    if (all->n == STORAGES_MAX) {
        skip(all, x, xasprintf("more than %d storages", STORAGES_MAX));
        return;
    }
    const char *unclear = unclear_flag(x);
    if (unclear) {
        skip(all, x,
             xasprintf("'%s' of storage '%s' is '%s': make it 1 or 0", unclear, x->id,
                       section_get(x, unclear)));
        return;
    }
    struct storage s = {.id = xstrdup(x->id), .type = xstrdup(x->type)};
    fill(&s, x);
    if (missing(&s)) {
        skip(all, x, xasprintf("storage '%s' of type '%s' needs %s", s.id, s.type, missing(&s)));
        storage_release(&s);
        return;
    }
    if (storages_find(all, s.id))
        warn_at(&all->warnings, file, x->line, "storage '%s' is there twice, the last one counts", s.id);
    put(all, s);
}

void storages_parse(const char *name, const char *text, size_t len, struct storages *ret)
{
    *ret = (struct storages){0};
    section_parse(name, text, len, &ret->file);
    ret->warnings = ret->file.warnings;
    ret->file.warnings = (struct strv)STRV_INIT;
    for (size_t i = 0; i < ret->file.n; i++)
        take_section(ret, &ret->file.sections[i]);
    if (!storages_find(ret, "local"))
        put(ret,
            (struct storage){.id = xstrdup("local"), .type = xstrdup("dir"), .path = xstrdup(LOCAL_PATH)});
}

void storages_release(struct storages *all)
{
    for (size_t i = 0; i < all->n; i++)
        storage_release(&all->v[i]);
    free(all->v);
    strv_release(&all->warnings);
    strv_release(&all->skipped);
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

const char *storages_skipped(const struct storages *all, const char *id)
{
    for (size_t i = 0; i + 1 < all->skipped.n; i += 2)
        if (strcmp(all->skipped.v[i], id) == 0)
            return all->skipped.v[i + 1];
    return NULL;
}

bool storage_enabled_on(const struct storage *s, const char *node)
{
    return !s->disabled && (s->nodes.n == 0 || strv_has(&s->nodes, node));
}

/* What drivers put into paths and arguments: no blanks, control bytes or commas. */
static bool volume_name_ok(const char *name)
{
    size_t n = 0;
    for (; name[n]; n++)
        if ((unsigned char)name[n] <= 0x20 || name[n] == 0x7f || name[n] == ',')
            return false;
    return n > 0 && n <= VOLUME_NAME_MAX;
}

int volid_split(const char *volid, char **store, char **name, struct err *e)
{
    const char *colon = strchr(volid, ':');
    _cleanup_free_ char *id = colon ? xstrndup(volid, (size_t)(colon - volid)) : NULL;
    if (!id || !storage_id_ok(id) || !volume_name_ok(colon + 1))
        return err_set(e, ERR_USAGE, 0, "unable to parse volume ID '%.600s': it is not STORAGE:NAME", volid);
    *store = take_ptr(id);
    *name = xstrdup(colon + 1);
    return 0;
}
