/* The tree as a plain directory: one machine, or several that share a file system with working flock and
 * atomic rename. */
#include "cluster/tree_engine.h"

#include "base/lock.h"
#include "base/refusal.h"

#include <errno.h>

/* "cannot write 'replication.cfg': Read-only file system" needs the tree's name and what to do. */
static int explain(struct tree *t, const char *path, struct err *e)
{
    _cleanup_free_ char *file = xasprintf("%s/%s", t->root, path);
    if (e->code == EROFS)
        return err_wrap(e, "the configuration tree '%s' is read-only; remount it writable", t->root);
    refusal_explain(e, file);
    return err_wrap(e, "configuration tree '%s'", t->root);
}

static int dir_read(struct tree *t, const char *path, size_t cap, struct buf *ret, struct err *e)
{
    _cleanup_close_ int root = tree_files_open_root(t, e);
    int rc = root < 0 ? -1 : tree_files_read(root, path, cap, ret, e);
    return rc < 0 ? explain(t, path, e) : rc;
}

static int dir_has(struct tree *t, const char *path, struct err *e)
{
    _cleanup_close_ int root = tree_files_open_root(t, e);
    int rc = root < 0 ? -1 : tree_files_has(root, path, e);
    return rc < 0 ? explain(t, path, e) : rc;
}

static int dir_write(struct tree *t, const char *path, const void *data, size_t len, struct err *e)
{
    _cleanup_close_ int root = tree_files_open_root(t, e);
    int rc = root < 0 ? -1 : tree_files_write(root, path, data, len, e);
    return rc < 0 ? explain(t, path, e) : rc;
}

static int dir_remove(struct tree *t, const char *path, struct err *e)
{
    _cleanup_close_ int root = tree_files_open_root(t, e);
    int rc = root < 0 ? -1 : tree_files_remove(root, path, e);
    return rc < 0 ? explain(t, path, e) : rc;
}

static int dir_list(struct tree *t, const char *path, struct strv *ret, struct err *e)
{
    _cleanup_close_ int root = tree_files_open_root(t, e);
    int rc = root < 0 ? -1 : tree_files_list(root, path, ret, e);
    return rc < 0 ? explain(t, path, e) : rc;
}

static struct lock *take(struct tree *t, const char *name, double seconds, struct err *e)
{
    _cleanup_close_ int root = tree_files_open_root(t, e);
    if (root < 0)
        return NULL;
    _cleanup_close_ int dir = tree_files_make_dir(root, "priv/lock", e);
    if (dir < 0)
        return NULL;
    _cleanup_free_ char *path = xasprintf("%s/priv/lock/%s", t->root, name);
    return lock_take(path, true, seconds, false, e);
}

static int dir_lock(struct tree *t, const char *name, double seconds, void **ret, struct err *e)
{
    *ret = take(t, name, seconds, e);
    return *ret ? 0 : explain(t, "priv/lock", e);
}

static void dir_unlock(struct tree *t, const char *name, void *held)
{
    lock_free(held);
}

/* All renames of this tree take one lock, for the file systems on which looking and renaming are two steps.
 */
static int dir_rename(struct tree *t, const char *from, const char *to, struct err *e)
{
    _cleanup_(lock_freep) struct lock *lock = take(t, "rename", 10, e);
    if (!lock)
        return explain(t, "priv/lock", e);
    _cleanup_close_ int root = tree_files_open_root(t, e);
    int rc = root < 0 ? -1 : tree_files_rename(root, from, to, e);
    return rc < 0 ? explain(t, from, e) : rc;
}

const struct tree_engine tree_dir_engine = {
    .name = "dir",
    .read = dir_read,
    .has = dir_has,
    .write = dir_write,
    .remove = dir_remove,
    .rename = dir_rename,
    .list = dir_list,
    .lock = dir_lock,
    .unlock = dir_unlock,
};
