/* The zfspool driver: which guests' volumes there are. A look at some (list.c) lists all that lies right
 * below their pool, so that is remembered for a while. */
#include "volume/zfs/zfs.h"

#include "base/clock.h"
#include "base/mem.h"
#include "volume/name.h"

#include <string.h>

const char *zfs_below(const char *pool, const char *dataset)
{
    size_t n = strlen(pool);
    return strncmp(dataset, pool, n) == 0 && dataset[n] == '/' ? dataset + n + 1 : NULL;
}

/* The name of the guest's volume that this dataset is something of; malloc'ed, NULL: of none. */
static char *name_of(const char *pool, const char *dataset, bool asides, uint32_t *vmid)
{
    static const char *const prefixes[] = {ZFS_STAGE, ZFS_OLD, ZFS_KEPT, ""};
    const char *name = zfs_below(pool, dataset), *prefix = "";
    for (size_t i = 0; name && !*prefix && i < ELEMENTS(prefixes); i++)
        if (strncmp(name, prefixes[i], strlen(prefixes[i])) == 0)
            prefix = prefixes[i];
    bool kept = strcmp(prefix, ZFS_KEPT) == 0;
    size_t all = name ? strlen(name + strlen(prefix)) : 0, guid = kept ? SNAPSHOT_ID_LEN + 1 : 0;
    if ((kept && !asides) || all <= guid)
        return NULL;
    _cleanup_free_ char *ret = xstrndup(name + strlen(prefix), all - guid);
    return volume_name_valid(ret, vmid, NULL) ? take_ptr(ret) : NULL;
}

/* What the last look at a pool showed right below it. */
static struct {
    char *pool;
    struct strv datasets;
    double asked;
} listed;

void zfs_names_forget(void)
{
    free(take_ptr(listed.pool));
    strv_release(&listed.datasets);
}

void zfs_names_begin(const char *pool)
{
    zfs_names_forget();
    listed.asked = clock_mono();
    listed.pool = xstrdup(pool);
}

void zfs_names_add(const char *dataset)
{
    const char *name = listed.pool ? zfs_below(listed.pool, dataset) : NULL;
    if (name && !strchr(name, '/'))
        strv_add(&listed.datasets, dataset);
}

static int ask_names(const struct volume_store *store, struct err *e)
{
    _cleanup_strv_ struct strv argv = STRV_INIT;
    _cleanup_buf_ struct buf out = BUF_INIT;
    strv_adds(&argv, "zfs", "list", "-H", "-d", "1", "-t", "filesystem,volume", "-o", "name", "--",
              store->pool, NULL);
    if (zfs_command(store_tick(store), &argv, &out, e) < 0) {
        e->kind = strstr(e->text, "does not exist") ? ERR_GONE : e->kind;
        return -1;
    }
    zfs_names_begin(store->pool);
    char *rest = out.data;
    for (char *line; rest && (line = strsep(&rest, "\n"));)
        zfs_names_add(line);
    return 0;
}

static int each_name(const struct volume_store *store, bool asides, volume_name_fn *each, void *arg,
                     struct err *e)
{
    bool known = listed.pool && strcmp(listed.pool, store->pool) == 0 &&
                 clock_mono() - listed.asked < ZFS_BELIEVED_SECONDS;
    if (!known && ask_names(store, e) < 0)
        return -1;
    for (size_t i = 0; i < listed.datasets.n; i++) {
        uint32_t vmid;
        _cleanup_free_ char *name = name_of(store->pool, listed.datasets.v[i], asides, &vmid);
        if (name)
            each(name, vmid, arg);
    }
    return 0;
}

int zfs_names(const struct volume_store *store, uint32_t vmid, bool asides, struct strv *ret, struct err *e)
{
    return each_name(store, asides, volume_name_add, &(struct volume_names){vmid, ret}, e);
}

int zfs_guests(const struct volume_store *store, volume_guest_fn *tell, void *arg, struct err *e)
{
    zfs_names_forget();
    return each_name(store, true, volume_name_tell, &(struct volume_telling){tell, arg}, e);
}
