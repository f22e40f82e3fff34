/* The zfspool driver: what a pool can (zpool-features(7)). Features come, when somebody upgrades a pool, and
 * do not go. */
#include "volume/zfs/zfs.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/proc.h"

#include <string.h>

#define LARGE "feature@large_blocks"
#define EXTENSIBLE "feature@extensible_dataset"

/* Of the one that was asked last: a process has to do with few. */
static struct {
    char *pool;
    double asked; /* clock_mono */
    bool has_large, resumes;
} can;

static size_t pool_len(const struct zfs *z)
{
    return strcspn(z->pool, "/");
}

static bool is_known(const struct zfs *z)
{
    return can.pool && strlen(can.pool) == pool_len(z) && strncmp(can.pool, z->pool, pool_len(z)) == 0;
}

static int ask(const struct zfs *z, struct err *e)
{
    _cleanup_free_ char *pool = xstrndup(z->pool, pool_len(z));
    char *argv[] = {(char *)"zpool",
                    (char *)"get",
                    (char *)"-H",
                    (char *)"-o",
                    (char *)"property,value",
                    (char *)LARGE "," EXTENSIBLE,
                    pool,
                    NULL};
    struct proc_options o = {.cap = 4096, .seconds = 60, .tick = zfs_tick(z)};
    _cleanup_buf_ struct buf out = BUF_INIT;
    double now = clock_mono();
    if (proc_check(argv, &o, &out, e) < 0)
        return -1;
    free(can.pool);
    can.pool = take_ptr(pool);
    can.asked = now;
    can.has_large = strstr(buf_str(&out), LARGE "\tactive");
    can.resumes = !strstr(buf_str(&out), EXTENSIBLE "\tdisabled");
    return 0;
}

/* What was asked after the look at this volume is true of all that was seen then. */
int zfs_pool_has_none(const struct zfs *z, bool *ret, struct err *e)
{
    if (!(is_known(z) && can.asked > z->asked) && ask(z, e) < 0)
        return -1;
    *ret = !can.has_large;
    return 0;
}

int zfs_pool_resumes(const struct zfs *z, bool *ret, struct err *e)
{
    if (!is_known(z) && ask(z, e) < 0)
        return -1;
    *ret = can.resumes;
    return 0;
}
