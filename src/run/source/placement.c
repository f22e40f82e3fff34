#include "run/source/placement.h"

#include "base/mem.h"
#include "conf/storagemap.h"

#include <string.h>

static int check(struct env *env, const char *volid, const char *there, const char *node, struct err *e)
{
    _cleanup_free_ char *id = NULL;
    _cleanup_free_ char *name = NULL;
    if (volid_split(there, &id, &name, e) < 0)
        return -1;
    const struct storage *s = storages_find(&env->storages, id); /* it was mapped to, so it exists */
    if (!storage_enabled_on(s, node))
        return err_set(e, ERR_CONFIG, 0,
                       "storage '%s', to which '%s' is mapped, is not available on node '%s': see 'nodes' "
                       "and 'disable' in storage.cfg, or change the job with --target-storage",
                       id, volid, node);
    if (s->shared)
        return err_set(e, ERR_CONFIG, 0,
                       "storage '%s', to which '%s' is mapped, is shared: it has no replicas", id, volid);
    if (!volume_type_supported(s->type, name))
        return err_set(e, ERR_CONFIG, 0,
                       "storage '%s' of type '%s', to which '%s' is mapped, cannot hold its replica: map it "
                       "to another one with --target-storage",
                       id, s->type, volid);
    return 0;
}

static int place(struct env *env, const struct storagemap *map, const char *volid, const char *node,
                 struct strv *ret, struct err *e)
{
    _cleanup_free_ char *there = storagemap_volid(map, &env->storages, volid, e);
    if (!there || (strcmp(there, volid) != 0 && check(env, volid, there, node, e) < 0))
        return -1;
    strv_add(ret, there);
    return 0;
}

int placement_volids(struct env *env, const struct job *job, const char *node, const struct strv *volids,
                     struct strv *ret, struct err *e)
{
    _cleanup_storagemap_ struct storagemap map = {0};
    if (storagemap_parse(job->target_storage, &map, e) < 0)
        return err_wrap(e, "target-storage");
    if (env_storages(env, e) < 0)
        return -1;
    for (size_t i = 0; i < volids->n; i++)
        if (place(env, &map, volids->v[i], node, ret, e) < 0)
            return -1;
    return 0;
}

bool placement_is_other(struct env *env, const char *there, const char *volid)
{
    struct err ignored;
    _cleanup_free_ char *from = NULL, *name = NULL, *to = NULL, *is = NULL;
    if (volid_split(there, &from, &name, &ignored) < 0 || volid_split(volid, &to, &is, &ignored) < 0 ||
        strcmp(from, to) == 0)
        return false;
    const struct storage *a = storages_find(&env->storages, from), *b = storages_find(&env->storages, to);
    _cleanup_free_ char *called = a && b ? storagemap_name(name, a->type, b->type, &ignored) : NULL;
    return called && strcmp(called, is) == 0;
}
