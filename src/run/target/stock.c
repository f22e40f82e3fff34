#include "run/target/stock.h"

#include "base/lock.h"
#include "base/mem.h"
#include "conf/job.h"
#include "run/message.h"
#include "run/places.h"
#include "run/snapshot.h"
#include "run/target/policy.h"
#include "run/target/replica.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define LOCK_SECONDS 10

struct cleanup {
    const char *job_id;
    int64_t last_sync;
    const char *parent;
};

struct cleaned {
    const char *volid;
    struct strv *notes;
};

static void tell_cleaned(const struct snapshot *s, int result, const struct err *e, void *arg)
{
    const struct cleaned *c = arg;
    strv_addf(c->notes, "delete stale replication snapshot '%s' on %s", s->name, c->volid);
    if (result < 0)
        strv_addf(c->notes, "delete stale replication snapshot error: %s", e->text);
}

/* The cleanup of one volume (BEHAVIOUR.md#stock-cleanup); what stays is added to `left`. What could not be
 * removed is only noted, and is not listed any more. */
static int clean_volume(struct volume *v, const char *volid, const struct cleanup *c, struct snapshots *left,
                        struct strv *notes, struct err *e)
{
    _cleanup_snapshots_ struct snapshots all = {0}, go = {0};
    bool confirmed = c->last_sync == 1, candidates = false;
    if (volume_snapshots(v, &all, e) < 0)
        return -1;
    for (size_t i = 0; i < all.n; i++)
        if (snapshot_is_of_job(all.v[i].name, c->job_id) && snapshot_epoch(all.v[i].name) == c->last_sync)
            confirmed = true;
    for (size_t i = 0; i < all.n; i++) {
        const struct snapshot *s = &all.v[i];
        bool candidate = snapshot_is_of_job(s->name, c->job_id) &&
                         !(c->last_sync > 1 && snapshot_epoch(s->name) == c->last_sync) &&
                         !(c->parent && strcmp(c->parent, s->name) == 0);
        candidates |= candidate;
        snapshots_add(!candidate || !confirmed || c->last_sync == 0 ? left : &go, s);
    }
    struct cleaned told = {volid, notes};
    if (volume_snapshots_destroy(v, &go, tell_cleaned, &told, e) < 0)
        return -1;
    if (candidates && !confirmed && c->last_sync != 0)
        strv_addf(notes,
                  "expected snapshot __replicate_%s_%" PRId64 "__ not present for %s, not removing others",
                  c->job_id, c->last_sync, volid);
    return 0;
}

/* As an agent does: the guest is looked for once nobody else of us is at work on its replicas. NULL: it must
 * not be, or *e says why. */
static struct lock *lock_replicas(struct env *env, const char *job_id, uint32_t *guest, struct err *e)
{
    struct job_id id;
    if (job_id_parse(job_id, &id, e) < 0)
        return NULL;
    _cleanup_free_ char *path = env_agent_lock_path(env, id.guest);
    _cleanup_(lock_freep) struct lock *lock = lock_take(path, true, LOCK_SECONDS, false, e);
    if (!lock && e->kind == ERR_BUSY)
        err_wrap(e, "another run for guest %" PRIu32 " is still at work on this target", id.guest);
    if (!lock || tree_check_quorum(env->tree, e) < 0 || env_guests_again(env, e) < 0)
        return NULL;
    const struct guest_entry *g = guests_find(&env->guests, id.guest);
    struct policy_guest facts = {.guest = id.guest, .self = env->settings.node, .owner = g ? g->node : NULL};
    if (policy_guest(&facts, e) < 0)
        return NULL;
    *guest = id.guest;
    return take_ptr(lock);
}

/* A stock source compares it, as text, with the guid of its own snapshot as `zfs get -p` tells it. */
static char *stock_id(const struct volume_store *store, const char *id)
{
    return strcmp(store->type, "zfspool") == 0 ? xasprintf("%llu", strtoull(id, NULL, 16)) : xstrdup(id);
}

static json_t *snapshots_json(const struct volume_store *store, const struct snapshots *s)
{
    json_t *o = json_object();
    for (size_t i = 0; i < s->n; i++) {
        if (s->v[i].flags & SNAPSHOT_APART) /* kept aside, and not of the image any more */
            continue;
        _cleanup_free_ char *created = xasprintf("%" PRId64, s->v[i].created);
        _cleanup_free_ char *id = stock_id(store, s->v[i].id);
        json_object_set_new(o, s->v[i].name, json_pack("{s:s, s:s}", "id", id, "timestamp", created));
    }
    return o;
}

struct preparation {
    struct env *env;
    const struct target_prepare *asked;
    uint32_t guest;
    struct replicas wanted;
    struct places seen;
    json_t *answer;
    struct strv *notes;
};

/* One image of the guest: destroyed when it is this job's and not wanted, else cleaned and put into the
 * answer, under the name by which it was asked for. */
static int prepare_image(struct preparation *p, const struct volume_store *store, struct volume *v,
                         const char *volid, struct err *e)
{
    struct cleanup c = {
        .job_id = p->asked->job_id, .last_sync = p->asked->last_sync, .parent = p->asked->parent};
    bool ours;
    int wanted = replicas_have(&p->wanted, v, &volid, e);
    if (wanted < 0 || replica_of_job(v, c.job_id, true, &ours, e) < 0)
        return -1;
    if (ours && !wanted) {
        strv_addf(p->notes, "delete stale volume '%s'", volid);
        return replica_drop(p->env, volid, c.job_id, p->guest, (const struct replicas *[]){&p->wanted, NULL},
                            p->notes, e);
    }
    _cleanup_snapshots_ struct snapshots left = {0};
    struct err problem = {0};
    if (volume_part(v, &problem) < 0)
        strv_addf(p->notes, "%s: the receive of this run may fail: %s", volid, problem.text);
    if (clean_volume(v, volid, &c, &left, p->notes, e) < 0)
        return -1;
    json_object_set_new(p->answer, volid, snapshots_json(store, &left));
    return 0;
}

static int prepare_storage(struct preparation *p, const char *storage, struct err *e)
{
    struct env_store store;
    _cleanup_strv_ struct strv names = STRV_INIT;
    if (env_store(p->env, storage, &store, e) < 0)
        return -1;
    int r = volume_list(&store.store, p->guest, &names, e);
    for (size_t i = 0; r == 0 && i < names.n; i++) {
        _cleanup_free_ char *volid = xasprintf("%s:%s", storage, names.v[i]);
        _cleanup_(volume_freep) struct volume *v = volume_open(&store.store, names.v[i], e);
        int seen = v ? places_add(&p->seen, v, volid, e) : -1;
        r = seen > 0 ? 0 : seen == 0 ? prepare_image(p, &store.store, v, volid, e) : -1;
    }
    env_store_release(&store);
    return r;
}

/* The storages of the wanted volumes, and the scanned ones that are available here. */
static int storages_of(const struct preparation *p, struct strv *ret, struct err *e)
{
    for (size_t i = 0; i < p->wanted.n; i++)
        strv_add_once(ret, p->wanted.v[i].store.store.id);
    for (size_t i = 0; i < p->asked->scan->n; i++) {
        const struct storage *s = storages_find(&p->env->storages, p->asked->scan->v[i]);
        if (!s)
            return err_set(e, ERR_CONFIG, 0, "storage '%s' does not exist", p->asked->scan->v[i]);
        if (s->shared || !storage_enabled_on(s, p->env->settings.node))
            continue;
        if (!volume_type_known(s->type))
            return err_set(e, ERR_CONFIG, 0, "storage '%s' is not replicatable", s->id);
        strv_add_once(ret, s->id);
    }
    strv_sort(ret);
    return 0;
}

static int prepare(struct preparation *p, struct buf *out, struct err *e)
{
    _cleanup_strv_ struct strv storages = STRV_INIT;
    if (replicas_open(p->env, p->asked->volids, p->guest, &p->wanted, e) < 0 ||
        storages_of(p, &storages, e) < 0)
        return -1;
    for (size_t i = 0; i < storages.n; i++)
        if (prepare_storage(p, storages.v[i], e) < 0)
            return -1;
    _cleanup_free_ char *text = json_dumps(p->answer, JSON_COMPACT | JSON_SORT_KEYS);
    buf_addf(out, "%s\n", text ? text : "{}");
    return 0;
}

int target_prepare(struct env *env, const struct target_prepare *asked, struct buf *out, struct strv *notes,
                   struct err *e)
{
    struct preparation p = {.env = env, .asked = asked, .notes = notes};
    if (asked->volids->n == 0 && !asked->force)
        return err_set(e, ERR_USAGE, 0, "no volumes specified");
    _cleanup_(lock_freep) struct lock *lock = lock_replicas(env, asked->job_id, &p.guest, e);
    if (!lock || env_storages(env, e) < 0)
        return -1;
    env_hold(env, lock);
    p.answer = json_object();
    int r = prepare(&p, out, e);
    json_decref(p.answer);
    places_release(&p.seen);
    replicas_close(&p.wanted);
    env_hold(env, NULL);
    return r;
}

/* The receive of a stock source leaves nothing that the source has not (`-F` of a `-R` stream), and no mark:
 * so up to the point of this run all was received. */
static void adopt_all(struct volume *v, const struct cleanup *c, const struct snapshots *left,
                      struct strv *notes)
{
    const struct snapshot *point = NULL;
    for (size_t i = 0; i < left->n; i++)
        if (snapshot_is_of_job(left->v[i].name, c->job_id) && snapshot_epoch(left->v[i].name) == c->last_sync)
            point = &left->v[i];
    for (size_t i = 0; point && i < left->n; i++) {
        const struct snapshot *s = &left->v[i];
        struct err problem = {0};
        if (s->seq <= point->seq && !(s->flags & (SNAPSHOT_RECEIVED | SNAPSHOT_APART)) &&
            !snapshot_is_aside(s->name) && volume_snapshot_adopt(v, s->name, s->id, &problem) < 0)
            strv_add(notes, problem.text);
    }
}

int target_finalize(struct env *env, const char *job_id, const struct strv *volids, int64_t last_sync,
                    struct strv *notes, struct err *e)
{
    uint32_t guest;
    struct cleanup c = {.job_id = job_id, .last_sync = last_sync};
    if (volids->n == 0)
        return err_set(e, ERR_USAGE, 0, "no volumes specified");
    _cleanup_(lock_freep) struct lock *lock = lock_replicas(env, job_id, &guest, e);
    if (!lock)
        return -1;
    int r = 0;
    env_hold(env, lock);
    for (size_t i = 0; r == 0 && i < volids->n; i++) {
        struct env_volume v = {0};
        struct snapshots left = {0};
        r = env_volume_open(env, volids->v[i], guest, &v, e);
        if (r == 0)
            r = clean_volume(v.volume, v.volid, &c, &left, notes, e);
        if (r == 0)
            adopt_all(v.volume, &c, &left, notes);
        snapshots_release(&left);
        env_volume_close(&v);
    }
    env_hold(env, NULL);
    return r;
}
