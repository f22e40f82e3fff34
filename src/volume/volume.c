#include "volume/volume.h"

#include "base/refusal.h"
#include "volume/driver.h"
#include "volume/failed.h"
#include "volume/mark.h"
#include "volume/name.h"
#include "volume/root.h"
#include "volume/traits.h"
#include "volume/users.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct volume_driver *const drivers[] = {
    &driver_dir, &driver_btrfs, &driver_lvmthin, &driver_zfspool, &driver_fault,
};

static const struct volume_driver *driver_find(const char *type)
{
    for (size_t i = 0; i < ELEMENTS(drivers); i++)
        if (strcmp(drivers[i]->type, type) == 0)
            return drivers[i];
    return NULL;
}

void volumes_forget(void)
{
    for (size_t i = 0; i < ELEMENTS(drivers); i++)
        if (drivers[i]->forget)
            drivers[i]->forget();
}

bool volume_type_known(const char *type)
{
    return driver_find(type) != NULL;
}

static bool takes(const struct volume_driver *driver, const char *name)
{
    return (driver->links || !volume_name_linked(name)) && (!driver->supports || driver->supports(name));
}

bool volume_type_supported(const char *type, const char *name)
{
    const struct volume_driver *driver = driver_find(type);
    return driver && volume_name_valid(name, NULL, NULL) && takes(driver, name);
}

/* What of the volume, or of the folder of its guest, bars changes? */
static void explain_flag(const struct volume *v, struct err *e)
{
    _cleanup_free_ char *folder = xasprintf("%s/%s/%" PRIu32, v->store.path, root_images(&v->store), v->vmid);
    const char *slash = strrchr(v->name, '/');
    _cleanup_free_ char *image = xstrdup(slash ? slash + 1 : v->name);
    char *dot = strrchr(image, '.');
    if (dot)
        *dot = 0; /* a subvolume has none */
    bool found = refusal_by_flag(e, v->store.path) || refusal_by_flag(e, folder);
    DIR *dir = found ? NULL : opendir(folder);
    for (const struct dirent *x; dir && !found && (x = readdir(dir));) {
        _cleanup_free_ char *path = xasprintf("%s/%s", folder, x->d_name);
        found = strstr(x->d_name, image) && refusal_by_flag(e, path);
    }
    if (dir)
        closedir(dir);
}

static void explain(const struct volume *v, struct err *e)
{
    if (e->code == EPERM)
        explain_flag(v, e);
    else if (e->kind == ERR_FULL || e->code == EROFS || e->code == EIO)
        refusal_explain(e, v->store.path);
}

int volume_failed(const struct volume *v, struct err *e)
{
    if (v->store.path)
        explain(v, e);
    return err_wrap(e, "volume '%s:%s'", v->store.id, v->name);
}

int volume_done(const struct volume *v, int r, struct err *e)
{
    return r < 0 ? volume_failed(v, e) : r;
}

int volume_allowed(const struct volume *v, struct err *e)
{
    const struct volume_context *c = v->store.context;
    return c && c->allowed ? volume_done(v, c->allowed(c->allowed_arg, e), e) : 0;
}

int volume_lacks(const struct volume *v, const char *what, struct err *e)
{
    err_set(e, ERR_CONFIG, 0, "a storage of type '%s' cannot %s", v->driver->type, what);
    return volume_failed(v, e);
}

int volume_check_snapshot_name(const struct volume *v, const char *name, struct err *e)
{
    if (snapshot_name_valid(name))
        return 0;
    err_set(e, ERR_USAGE, 0, "'%.100s' is no name for a snapshot", name);
    return volume_failed(v, e);
}

int volume_check_id(const struct volume *v, const char *id, struct err *e)
{
    if (snapshot_id_valid(id))
        return 0;
    err_set(e, ERR_USAGE, 0, "'%.100s' is no id of a snapshot", id);
    return volume_failed(v, e);
}

/* ---- opening ---- */

static const struct volume_driver *check_type(const struct volume_store *store, struct err *e)
{
    const struct volume_driver *driver = driver_find(store->type);
    if (!driver)
        err_set(e, ERR_CONFIG, 0, "storage '%s': a storage of type '%s' cannot replicate", store->id,
                store->type);
    return driver;
}

struct volume *volume_open(const struct volume_store *store, const char *name, struct err *e)
{
    const struct volume_driver *driver = check_type(store, e);
    if (!driver)
        return NULL;
    uint32_t vmid;
    if (!volume_name_valid(name, &vmid, NULL)) {
        err_set(e, ERR_USAGE, 0, "storage '%s': '%.200s' is no name of a volume", store->id, name);
        return NULL;
    }
    if (!takes(driver, name)) {
        err_set(e, ERR_CONFIG, 0, "storage '%s': type '%s' cannot replicate a volume like '%s'", store->id,
                store->type, name);
        return NULL;
    }
    struct volume *v = xcalloc(1, sizeof *v);
    v->driver = driver;
    v->store = *store;
    v->name = xstrdup(name);
    v->vmid = vmid;
    if (driver->open(v, e) < 0) {
        volume_failed(v, e);
        v->driver = NULL;
        volume_free(v);
        return NULL;
    }
    return v;
}

void volume_free(struct volume *v)
{
    if (!v)
        return;
    if (v->driver && v->driver->close)
        v->driver->close(v);
    free(v->name);
    free(v);
}

const char *volume_name(const struct volume *v)
{
    return v->name;
}

static int list(const struct volume_store *store, uint32_t vmid, bool asides, struct strv *ret, struct err *e)
{
    const struct volume_driver *driver = check_type(store, e);
    if (!driver)
        return -1;
    if (driver->list(store, vmid, asides, ret, e) < 0)
        return err_wrap(e, "storage '%s'", store->id);
    strv_sort(ret);
    return 0;
}

int volume_list(const struct volume_store *store, uint32_t vmid, struct strv *ret, struct err *e)
{
    return list(store, vmid, false, ret, e);
}

int volume_list_all(const struct volume_store *store, uint32_t vmid, struct strv *ret, struct err *e)
{
    return list(store, vmid, true, ret, e);
}

void volume_name_add(const char *name, uint32_t vmid, void *names)
{
    const struct volume_names *n = names;
    if (vmid == n->vmid)
        strv_add_once(n->ret, name);
}

void volume_name_tell(const char *name, uint32_t vmid, void *telling)
{
    const struct volume_telling *t = telling;
    t->tell(vmid, t->arg);
}

int volume_guests(const struct volume_store *store, volume_guest_fn *tell, void *arg, struct err *e)
{
    const struct volume_driver *driver = check_type(store, e);
    if (!driver)
        return -1;
    return driver->guests(store, tell, arg, e) < 0 ? err_wrap(e, "storage '%s'", store->id) : 0;
}

int volume_info(struct volume *v, struct volume_info *ret, struct err *e)
{
    memset(ret, 0, sizeof *ret);
    return volume_done(v, v->driver->info(v, ret, e), e);
}

int volume_place(struct volume *v, struct volume_place *ret, struct err *e)
{
    memset(ret, 0, sizeof *ret);
    return volume_done(v, v->driver->place(v, ret, e), e);
}

int volume_sign(struct volume *v, char ret[VOLUME_SIGN_MAX + 1], struct err *e)
{
    *ret = 0;
    return volume_done(v, v->driver->sign(v, ret, e), e);
}

int volume_made(struct volume *v, char ret[VOLUME_SIGN_MAX + 1], struct err *e)
{
    *ret = 0;
    return volume_done(v, v->driver->made(v, ret, e), e);
}

int volume_sign_seen(struct volume *v, const char *sign, struct err *e)
{
    return *sign && strlen(sign) <= VOLUME_SIGN_MAX ? volume_done(v, v->driver->sign_seen(v, sign, e), e) : 0;
}

void volume_sign_end(struct volume *v, const char *sign)
{
    if (*sign && v->driver->sign_end)
        v->driver->sign_end(v, sign);
}

int volume_keeper(struct volume *v, char ret[VOLUME_KEEPER_MAX + 1], struct err *e)
{
    *ret = 0;
    return v->driver->keeper ? volume_done(v, v->driver->keeper(v, ret, e), e) : 0;
}

char *volume_keeper_remedy(struct volume *v)
{
    return v->driver->keeper_remedy ? v->driver->keeper_remedy(v) : NULL;
}

int volume_keeper_set(struct volume *v, const char *node, struct err *e)
{
    bool fits = v->driver->keeper_set && strlen(node) <= VOLUME_KEEPER_MAX;
    return fits ? volume_done(v, v->driver->keeper_set(v, node, e), e) : 0;
}

bool volume_place_same(const struct volume_place *a, const struct volume_place *b)
{
    return strcmp(a->spot, b->spot) == 0 || (a->object && a->object == b->object && a->device == b->device);
}

/* ---- snapshots ---- */

int volume_snapshots(struct volume *v, struct snapshots *ret, struct err *e)
{
    *ret = (struct snapshots){0};
    if (v->driver->snapshots(v, ret, e) < 0) {
        snapshots_release(ret);
        return volume_failed(v, e);
    }
    snapshots_sort(ret);
    return 0;
}

int volume_seals(struct volume *v, struct snapshots *all, bool wait, struct err *e)
{
    return v->driver->seals ? volume_done(v, v->driver->seals(v, all, wait, e), e) : 0;
}

int volume_strays(struct volume *v, bool live, struct strv *ret, struct err *e)
{
    return v->driver->strays ? volume_done(v, v->driver->strays(v, live, ret, e), e) : 0;
}

int volume_complete(struct volume *v, struct err *e)
{
    return v->driver->complete ? volume_done(v, v->driver->complete(v, e), e) : 0;
}

int volume_snapshot_complete(struct volume *v, const struct snapshot *s, struct err *e)
{
    if (volume_check_snapshot_name(v, s->name, e) < 0)
        return -1;
    return v->driver->snapshot_complete ? volume_done(v, v->driver->snapshot_complete(v, s, e), e) : 0;
}

int volume_alone(struct volume *v, struct err *e)
{
    return v->driver->alone ? volume_done(v, v->driver->alone(v, e), e) : 0;
}

int volume_part(struct volume *v, struct err *e)
{
    return v->driver->part ? volume_done(v, v->driver->part(v, e), e) : 0;
}

int volume_own(struct volume *v, struct err *e)
{
    return v->driver->own ? volume_done(v, v->driver->own(v, e), e) : 0;
}

int volume_large(struct volume *v, struct snapshots *all, unsigned *stage, struct err *e)
{
    *stage = 0;
    return v->driver->large ? volume_done(v, v->driver->large(v, all, stage, e), e) : 0;
}

void volume_removed(const struct volume *v, const char *format, ...)
{
    const struct volume_context *c = v->store.context;
    if (!c || !c->removed)
        return;
    char text[1000];
    va_list ap;
    int n = snprintf(text, sizeof text, "%s:%s: ", v->store.id, v->name);
    va_start(ap, format);
    vsnprintf(text + n, sizeof text - (size_t)n, format, ap); /* both names are shorter than that */
    va_end(ap);
    c->removed(c->removed_arg, text);
}

void volume_flush(struct volume *v)
{
    if (v->driver->flush)
        v->driver->flush(v);
}

int volume_snapshot_ahead(struct volume *v, const char *name, struct err *e)
{
    if (!v->driver->snapshot_ahead)
        return 0;
    if (name && volume_check_snapshot_name(v, name, e) < 0)
        return -1;
    int r = v->driver->snapshot_ahead(v, name, e);
    return r < 0 ? volume_done(v, r, e) : r;
}

int volume_snapshot(struct volume *v, const char *name, bool busy, struct err *e)
{
    return volume_check_snapshot_name(v, name, e) < 0
               ? -1
               : volume_done(v, v->driver->snapshot(v, name, busy, e), e);
}

/* Pools, not storages: those of one pool may have several datasets of it. */
bool volume_snapshot_together(const struct volume *a, const struct volume *b)
{
    const char *p = a->store.pool, *q = b->store.pool;
    if (a->driver != b->driver || !a->driver->snapshot_all || !p || !q)
        return false;
    size_t n = strcspn(p, "/");
    return n == strcspn(q, "/") && strncmp(p, q, n) == 0;
}

int volume_snapshot_all(struct volume *const v[], size_t n, const char *name, bool busy, size_t *taken,
                        struct err *e)
{
    *taken = 0;
    while (*taken < n) {
        struct volume *const *first = v + *taken;
        size_t k = 1;
        while (*taken + k < n && volume_snapshot_together(first[0], first[k]))
            k++;
        int r = k == 1 ? volume_snapshot(first[0], name, busy, e)
                : volume_check_snapshot_name(first[0], name, e) < 0
                    ? -1
                    : volume_done(first[0], first[0]->driver->snapshot_all(first, k, name, e), e);
        if (r < 0)
            return -1;
        *taken += k;
    }
    return 0;
}

int volume_snapshot_keep(struct volume *v, const char *name, struct snapshot *ret, struct err *e)
{
    memset(ret, 0, sizeof *ret);
    return volume_check_snapshot_name(v, name, e) < 0
               ? -1
               : volume_done(v, v->driver->snapshot_keep(v, name, ret, e), e);
}

/* What somebody renamed is theirs. */
static int refuse_strange(struct volume *v, const struct snapshots *all, const char *name, struct err *e)
{
    const struct snapshot *s = snapshots_find(all, name);
    if (!s || !(s->flags & SNAPSHOT_STRANGE))
        return 0;
    err_set(e, ERR_DATA, 0,
            "snapshot '%s' has this name from somebody who renamed it: it is left alone; rename it again, or "
            "remove it, where it is in the way",
            name);
    return volume_failed(v, e);
}

static int check_not_strange(struct volume *v, const char *name, struct err *e)
{
    _cleanup_snapshots_ struct snapshots all = {0};
    return volume_snapshots(v, &all, e) < 0 ? -1 : refuse_strange(v, &all, name, e);
}

int volume_snapshot_destroy(struct volume *v, const char *name, const char *id, struct err *e)
{
    if (volume_check_snapshot_name(v, name, e) < 0 || volume_check_id(v, id, e) < 0 ||
        volume_allowed(v, e) < 0 || check_not_strange(v, name, e) < 0)
        return -1;
    return volume_done(v, v->driver->snapshot_destroy(v, name, id, e), e);
}

static int destroy_seen(struct volume *v, const struct snapshots *all, const struct snapshot *s,
                        struct err *e)
{
    if (volume_check_snapshot_name(v, s->name, e) < 0 || volume_check_id(v, s->id, e) < 0 ||
        volume_allowed(v, e) < 0 || refuse_strange(v, all, s->name, e) < 0)
        return -1;
    return volume_done(v, v->driver->snapshot_destroy(v, s->name, s->id, e), e);
}

int volume_snapshots_destroy(struct volume *v, const struct snapshots *go, volume_destroyed_fn *told,
                             void *arg, struct err *e)
{
    _cleanup_snapshots_ struct snapshots all = {0};
    if (go->n && volume_snapshots(v, &all, e) < 0)
        return -1;
    if (go->n && v->driver->destroying)
        v->driver->destroying(v, true);
    for (size_t i = 0; i < go->n; i++) {
        struct err problem = {0};
        tick_now(volume_tick(v));
        int r = destroy_seen(v, &all, &go->v[i], &problem);
        told(&go->v[i], r, &problem, arg);
    }
    if (go->n && v->driver->destroying)
        v->driver->destroying(v, false);
    return 0;
}

int volume_snapshot_reduce(struct volume *v, const char *name, const char *id, struct err *e)
{
    if (volume_check_snapshot_name(v, name, e) < 0 || volume_check_id(v, id, e) < 0 ||
        volume_allowed(v, e) < 0 || check_not_strange(v, name, e) < 0)
        return -1;
    return v->driver->snapshot_reduce ? volume_done(v, v->driver->snapshot_reduce(v, name, id, e), e) : 1;
}

int volume_snapshot_rename(struct volume *v, const char *from, const char *to, struct err *e)
{
    if (volume_check_snapshot_name(v, from, e) < 0 || volume_check_snapshot_name(v, to, e) < 0 ||
        check_not_strange(v, from, e) < 0)
        return -1;
    return volume_done(v, v->driver->snapshot_rename(v, from, to, e), e);
}

int volume_snapshot_adopt(struct volume *v, const char *name, const char *id, struct err *e)
{
    if (volume_check_snapshot_name(v, name, e) < 0 || volume_check_id(v, id, e) < 0)
        return -1;
    return v->driver->snapshot_adopt ? volume_done(v, v->driver->snapshot_adopt(v, name, id, e), e) : 0;
}

int volume_snapshot_mark(struct volume *v, const char *name, const char *id, int64_t since, struct err *e)
{
    if (volume_check_snapshot_name(v, name, e) < 0 || volume_check_id(v, id, e) < 0)
        return -1;
    return volume_done(v, v->driver->snapshot_mark(v, name, id, since, e), e);
}

int volume_snapshot_open(struct volume *v, const struct snapshot *s, int *fd, struct err *e)
{
    *fd = -1;
    if (volume_check_snapshot_name(v, s->name, e) < 0 || volume_check_id(v, s->id, e) < 0)
        return -1;
    return v->driver->snapshot_open ? volume_done(v, v->driver->snapshot_open(v, s, fd, e), e)
                                    : volume_lacks(v, "show a snapshot as a file", e);
}

int volume_tidy(struct volume *v, struct err *e)
{
    return v->driver->tidy ? volume_done(v, v->driver->tidy(v, e), e) : 0;
}

int volume_written(struct volume *v, char since[SNAPSHOT_NAME_MAX + 1], struct err *e)
{
    since[0] = 0;
    return volume_done(v, v->driver->written(v, since, e), e);
}

int volume_differs(struct volume *v, const char *id, struct err *e)
{
    return volume_check_id(v, id, e) < 0 ? -1 : volume_done(v, v->driver->differs(v, id, e), e);
}

int volume_keep_aside(struct volume *v, const char *name, struct err *e)
{
    return volume_check_snapshot_name(v, name, e) < 0 ? -1
                                                      : volume_done(v, v->driver->keep_aside(v, name, e), e);
}

int volume_in_use(struct volume *v, char by[VOLUME_USER_MAX + 1], struct err *e)
{
    *by = 0;
    return volume_done(v, v->driver->in_use(v, by, e), e);
}

int volume_check_unused(struct volume *v, struct err *e)
{
    char by[VOLUME_USER_MAX + 1];
    int r = volume_in_use(v, by, e);
    return r > 0 ? volume_done(v, users_refuse(by, e), e) : r;
}

int volume_destroy(struct volume *v, struct err *e)
{
    return volume_allowed(v, e) < 0 || volume_alone(v, e) < 0 || volume_check_unused(v, e) < 0
               ? -1
               : volume_done(v, v->driver->destroy(v, e), e);
}

void volume_idle(struct volume *v)
{
    v->idle = true;
}

int volume_replica(struct volume *v, char owner[32], char base_id[SNAPSHOT_ID_LEN + 1], struct err *e)
{
    owner[0] = base_id[0] = 0;
    return volume_done(v, v->driver->replica(v, owner, base_id, e), e);
}

/* ---- what is set on it ---- */

int volume_writable(struct volume *v, struct err *e)
{
    return v->driver->writable ? volume_done(v, v->driver->writable(v, e), e) : 0;
}

int volume_traits(struct volume *v, char ret[VOLUME_TRAITS_MAX + 1], struct err *e)
{
    _cleanup_strv_ struct strv all = STRV_INIT;
    *ret = 0;
    if (v->driver->traits && v->driver->traits(v, &all, e) < 0)
        return volume_failed(v, e);
    _cleanup_free_ char *text = strv_join(&all, " ");
    if (strlen(text) > VOLUME_TRAITS_MAX) {
        err_set(e, ERR_DATA, 0, "more is set on it than can be told: '%.200s…'", text);
        return volume_failed(v, e);
    }
    strcpy(ret, text);
    return 0;
}

int volume_traits_check(const char *traits, struct err *e)
{
    _cleanup_strv_ struct strv all = STRV_INIT;
    strv_split(&all, traits, " ");
    for (size_t i = 0; i < all.n; i++)
        if (!trait_valid(all.v[i]))
            return err_set(e, ERR_DATA, 0, "'%.100s' is nothing that could be set on a volume", all.v[i]);
    return 0;
}

int volume_traits_set(struct volume *v, const char *traits, struct strv *notes, struct err *e)
{
    _cleanup_strv_ struct strv all = STRV_INIT;
    if (volume_traits_check(traits, e) < 0)
        return volume_failed(v, e);
    strv_split(&all, traits, " ");
    return v->driver->traits_set ? volume_done(v, v->driver->traits_set(v, &all, notes, e), e) : 0;
}

int volume_traits_lacking(struct volume *v, bool again, struct strv *notes, struct err *e)
{
    return v->driver->traits_lacking ? volume_done(v, v->driver->traits_lacking(v, again, notes, e), e) : 0;
}
