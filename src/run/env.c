#include "run/env.h"
#include "volume/name.h"

#include "run/places.h"
#include "state/jobstate.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

static int may_remove(void *tree, struct err *e)
{
    return tree_check_quorum(tree, e);
}

int env_open(struct env *env, const char *config, struct err *e)
{
    *env = (struct env){0};
    if (settings_load(config, &env->settings, e) < 0)
        return -1;
    env->tree = tree_open(env->settings.cluster, e);
    if (!env->tree) {
        if (env->settings.warnings.n) /* that is why it looks elsewhere */
            err_wrap(e, "%s", env->settings.warnings.v[0]);
        settings_release(&env->settings);
        return -1;
    }
    env->volumes = (struct volume_context){.allowed = may_remove, .allowed_arg = env->tree};
    return 0;
}

void env_release(struct env *env)
{
    if (env->has_guests)
        guests_release(&env->guests);
    jobs_kept_release(&env->jobs);
    if (env->has_members)
        members_release(&env->members);
    if (env->has_storages)
        storages_release(&env->storages);
    transport_release(&env->transport);
    strv_release(&env->transport_warnings);
    tree_free(env->tree);
    settings_release(&env->settings);
    *env = (struct env){0};
}

int env_guests(struct env *env, struct err *e)
{
    if (env->has_guests)
        return 0;
    if (guests_load(env->tree, &env->guests, e) < 0)
        return -1;
    env->has_guests = true;
    return 0;
}

int env_guests_again(struct env *env, struct err *e)
{
    if (env->has_guests)
        guests_release(&env->guests);
    env->has_guests = false;
    return env_guests(env, e);
}

int env_guest_again(struct env *env, uint32_t id, struct err *e)
{
    if (!env->has_guests)
        return env_guests(env, e);
    int r = guests_still(env->tree, &env->guests, id, e);
    if (r == 0)
        return env_guests_again(env, e) < 0 ? -1 : 1;
    return r < 0 ? -1 : 0;
}

int env_jobs(struct env *env, struct err *e)
{
    return jobs_again(env->tree, &env->jobs, e);
}

int env_jobs_repaired(struct env *env, struct err *e)
{
    if (env_guests(env, e) < 0)
        return -1;
    int r = jobs_again_repaired(env->tree, &env->guests, env->settings.node, &env->jobs, e);
    return r < 0 || job_states_forget_turned(env->settings.state_dir, env->settings.node, &env->jobs.jobs,
                                             e) < 0
               ? -1
               : r;
}

int env_members(struct env *env, struct err *e)
{
    if (env->has_members)
        return 0;
    if (members_load(env->tree, &env->members, e) < 0)
        return -1;
    env->has_members = true;
    return 0;
}

int env_members_again(struct env *env, struct err *e)
{
    if (env->has_members)
        members_release(&env->members);
    env->has_members = false;
    return env_members(env, e);
}

int env_members_with_us(struct env *env, struct err *e)
{
    if (env_members_again(env, e) < 0)
        return -1;
    return members_check_node(env->tree, &env->members, env->settings.node,
                              job_states_had_any(env->settings.state_dir), e);
}

int env_storages(struct env *env, struct err *e)
{
    if (env->has_storages)
        return 0;
    _cleanup_buf_ struct buf text = BUF_INIT;
    int r = tree_read(env->tree, "storage.cfg", &text, e);
    if (r < 0)
        return -1;
    storages_parse("storage.cfg", r ? NULL : buf_str(&text), text.len, &env->storages);
    env->has_storages = true;
    return 0;
}

int env_transport(struct env *env, struct err *e)
{
    if (env->has_transport)
        return 0;
    _cleanup_buf_ struct buf text = BUF_INIT;
    int r = tree_read(env->tree, "datacenter.cfg", &text, e);
    if (r < 0)
        return -1;
    datacenter_parse("datacenter.cfg", r ? NULL : buf_str(&text), text.len, &env->transport,
                     &env->transport_warnings);
    env->has_transport = true;
    return 0;
}

const struct guest_entry *env_guest(struct env *env, uint32_t id, struct err *e)
{
    if (env_guests(env, e) < 0)
        return NULL;
    const struct guest_entry *g = guests_find(&env->guests, id);
    if (!g && guests_has_two(&env->guests, id))
        err_set(e, ERR_CONFIG, 0,
                "guest %" PRIu32
                " has two configuration files: remove the one of the node that it does not run on "
                "('pvesr doctor' names them)",
                id);
    else if (!g)
        err_set(e, ERR_GONE, 0, "no such guest '%" PRIu32 "'", id);
    return g;
}

struct guest_config *env_guest_config(struct env *env, const struct guest_entry *g, struct err *e)
{
    _cleanup_free_ char *path = guest_config_path(g);
    _cleanup_buf_ struct buf text = BUF_INIT;
    int r = tree_read(env->tree, path, &text, e);
    if (r < 0)
        return NULL;
    if (r > 0) {
        err_set(e, ERR_GONE, 0,
                "the configuration file '%s' of guest %" PRIu32 " was removed or moved meanwhile", path,
                g->id);
        return NULL;
    }
    return guest_config_parse(path, g->type, g->id, buf_str(&text), text.len);
}

static bool can_replicate(const struct storage *s, const char *volname, void *arg)
{
    (void)arg;
    return volume_type_supported(s->type, volname);
}

int env_guest_volumes(struct env *env, const struct guest_config *g, enum volumes_mode mode, struct strv *ret,
                      struct err *e)
{
    if (env_storages(env, e) < 0)
        return -1;
    return guest_volumes(g, &env->storages, mode, can_replicate, NULL, ret, e);
}

void env_store_release(struct env_store *s)
{
    free(s->path);
    free(s->mountpoint);
    free(s->pool);
    free(s->vgname);
    *s = (struct env_store){0};
}

/* NULL stays NULL. */
static char *prefixed(const char *prefix, const char *name)
{
    return name ? xasprintf("%s%s", prefix ? prefix : "", name) : NULL;
}

int env_store(struct env *env, const char *storage_id, struct env_store *ret, struct err *e)
{
    if (env_storages(env, e) < 0)
        return -1;
    const char *node = env->settings.node;
    const struct storage *s = storages_find(&env->storages, storage_id);
    const char *skipped = storages_skipped(&env->storages, storage_id);
    if (!s)
        return err_set(e, ERR_CONFIG, 0, "storage '%s' does not exist: %s", storage_id,
                       skipped ? skipped : "add it to storage.cfg");
    if (!storage_enabled_on(s, node))
        return err_set(
            e, ERR_CONFIG, 0,
            "storage '%s' is not available on node '%s': a storage of that name must be enabled there "
            "(see 'nodes' and 'disable' in storage.cfg), or the job must map it to another one with "
            "--target-storage",
            storage_id, node);
    const struct settings *own = &env->settings;
    const char *slash = own->storage_root && s->path && *s->path != '/' ? "/" : "";
    _cleanup_free_ char *root = own->storage_root ? xasprintf("%s%s", own->storage_root, slash) : NULL;
    *ret = (struct env_store){.path = prefixed(root, s->path),
                              .mountpoint = prefixed(own->storage_root, s->mountpoint),
                              .pool = prefixed(own->pool_prefix, s->pool),
                              .vgname = prefixed(own->pool_prefix, s->vgname)};
    ret->store = (struct volume_store){.id = s->id,
                                       .type = s->type,
                                       .path = ret->path,
                                       .mountpoint = ret->mountpoint,
                                       .images = s->images,
                                       .pool = ret->pool,
                                       .vgname = ret->vgname,
                                       .thinpool = s->thinpool,
                                       .context = &env->volumes};
    return 0;
}

static struct volume *open_volume(struct env *env, const char *volid, uint32_t guest, struct env_store *store,
                                  struct err *e)
{
    _cleanup_free_ char *id = NULL;
    _cleanup_free_ char *name = NULL;
    if (volid_split(volid, &id, &name, e) < 0)
        return NULL;
    if (volume_name_owner(name) != guest) {
        err_set(e, ERR_CONFIG, 0, "volume '%s' has wrong owner: it does not belong to guest %" PRIu32, volid,
                guest);
        return NULL;
    }
    if (env_store(env, id, store, e) < 0)
        return NULL;
    if (!volume_type_supported(store->store.type, name)) {
        err_set(e, ERR_CONFIG, 0,
                "storage '%s' of type '%s' cannot replicate volume '%s': move it to another storage, or set "
                "replicate=0 on it",
                id, store->store.type, volid);
        env_store_release(store);
        return NULL;
    }
    struct volume *v = volume_open(&store->store, name, e);
    if (!v) {
        err_wrap(e, "volume '%s'", volid);
        env_store_release(store);
    }
    return v;
}

int env_volume_open(struct env *env, const char *volid, uint32_t guest, struct env_volume *ret, struct err *e)
{
    *ret = (struct env_volume){.guest = guest};
    ret->volume = open_volume(env, volid, guest, &ret->store, e);
    if (!ret->volume)
        return -1;
    ret->volid = xstrdup(volid);
    return 0;
}

void env_volume_close(struct env_volume *v)
{
    free(v->volid);
    if (v->volume)
        volume_free(v->volume);
    env_store_release(&v->store);
    *v = (struct env_volume){0};
}

/* ---- all that there is of a guest ---- */

typedef int volume_function(struct volume *v, const char *volid, void *arg, struct err *e);

struct search {
    struct env *env;
    uint32_t guest;
    bool asides;
    struct places named; /* by the guest's configuration */
    struct places seen;
    volume_function *fn;
    void *arg;
};

/* What cannot be read of the configuration names nothing. */
static void find_named(struct search *s)
{
    struct err ignored;
    _cleanup_strv_ struct strv volids = STRV_INIT;
    const struct guest_entry *g = env_guest(s->env, s->guest, &ignored);
    struct guest_config *c = g ? env_guest_config(s->env, g, &ignored) : NULL;
    if (c)
        env_guest_volumes(s->env, c, VOLUMES_LENIENT, &volids, &ignored);
    guest_config_free(c);
    for (size_t i = 0; i < volids.n; i++) {
        struct env_volume v = {0};
        if (env_volume_open(s->env, volids.v[i], s->guest, &v, &ignored) == 0)
            places_add(&s->named, v.volume, volids.v[i], &ignored);
        env_volume_close(&v);
    }
}

static int call_with(struct search *s, struct volume *v, const char *volid, struct err *e)
{
    int r = places_add(&s->seen, v, volid, e);
    if (r != 0)
        return r < 0 ? -1 : 0;
    if (places_find(&s->named, v, &volid, e) < 0)
        return -1;
    return s->fn(v, volid, s->arg, e);
}

static int each_of_storage(struct search *s, const char *storage_id, struct err *e)
{
    struct env_store store;
    _cleanup_strv_ struct strv names = STRV_INIT;
    if (env_store(s->env, storage_id, &store, e) < 0)
        return -1;
    int r = (s->asides ? volume_list_all : volume_list)(&store.store, s->guest, &names, e);
    if (r < 0 && e->code == ENOENT) /* its tools are not here */
        e->kind = ERR_GONE;
    for (size_t i = 0; r == 0 && i < names.n; i++) {
        _cleanup_free_ char *volid = xasprintf("%s:%s", storage_id, names.v[i]);
        _cleanup_(volume_freep) struct volume *v = volume_open(&store.store, names.v[i], e);
        r = v && call_with(s, v, volid, e) == 0 ? 0 : err_wrap(e, "volume '%s'", volid);
    }
    env_store_release(&store);
    return r;
}

/* On a shared storage there are no replicas: what looks like one is the own of whichever node has the guest.
 */
static bool is_looked_at(const struct env *env, const struct storage *s)
{
    return !s->shared && storage_enabled_on(s, env->settings.node) && volume_type_known(s->type);
}

int env_each_volume(struct env *env, uint32_t guest, bool asides, volume_function *fn, void *arg,
                    struct strv *problems, struct err *e)
{
    struct search s = {.env = env, .guest = guest, .asides = asides, .fn = fn, .arg = arg};
    int unread = 0;
    if (env_storages(env, e) < 0)
        return -1;
    find_named(&s);
    for (size_t i = 0; i < env->storages.n; i++) {
        const struct storage *one = &env->storages.v[i];
        struct err problem = {0};
        if (!is_looked_at(env, one) || each_of_storage(&s, one->id, &problem) == 0)
            continue;
        strv_add(problems, problem.text);
        unread |= problem.kind != ERR_GONE;
    }
    places_release(&s.named);
    places_release(&s.seen);
    return unread;
}

struct held {
    uint32_t *v;
    size_t n;
};

static void add_held(uint32_t vmid, void *arg)
{
    struct held *h = arg;
    h->v = xgrow(h->v, h->n, sizeof *h->v);
    h->v[h->n++] = vmid;
}

static int ascending(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static void sort_once(struct held *h)
{
    size_t n = 0;
    if (h->n)
        qsort(h->v, h->n, sizeof *h->v, ascending);
    for (size_t i = 0; i < h->n; i++)
        if (n == 0 || h->v[n - 1] != h->v[i])
            h->v[n++] = h->v[i];
    h->n = n;
}

int env_guests_all(struct env *env, uint32_t **ret, size_t *n, struct strv *problems, struct err *e)
{
    struct held h = {0};
    int unread = 0;
    if (env_guests(env, e) < 0 || env_storages(env, e) < 0)
        return -1;
    for (size_t i = 0; i < env->guests.n; i++)
        add_held(env->guests.v[i].id, &h);
    for (size_t i = 0; i < env->storages.n; i++) {
        struct env_store store;
        struct err problem;
        if (!is_looked_at(env, &env->storages.v[i]))
            continue;
        int r = env_store(env, env->storages.v[i].id, &store, &problem);
        if (r == 0) {
            r = volume_guests(&store.store, add_held, &h, &problem);
            env_store_release(&store);
        }
        if (r == 0)
            continue;
        strv_add(problems, problem.text);
        unread |= problem.kind != ERR_GONE && problem.code != ENOENT;
    }
    sort_once(&h);
    *ret = h.v;
    *n = h.n;
    return unread;
}

void env_hold(struct env *env, const struct lock *l)
{
    env->volumes.lock_fd = l ? lock_fd(l) : 0;
}

char *env_guest_lock_path(const struct env *env, uint32_t guest)
{
    return xasprintf("%s/pve-migrate-%" PRIu32, env->settings.lock_dir, guest);
}

char *env_agent_lock_path(const struct env *env, uint32_t guest)
{
    return xasprintf("%s/pvesr-agent-%" PRIu32, env->settings.lock_dir, guest);
}
