/* The tree as /etc/pve of a Proxmox VE node: pmxcfs, a FUSE file system that replicates every change to the
 * cluster before the call returns (BEHAVIOUR.md#cluster-tree).
 *
 * Tested against a plain directory that plays pmxcfs: recognition, .members and .vmlist, the mkdir lock and
 * its release request (the test's child removes the lock when utime asks for it, as pmxcfs does with one that
 * has expired), the answer to EACCES. Not testable that way: that pmxcfs expires locks after 120 s, refuses
 * writes without quorum and guards against one VMID on two nodes. Those are its documented behaviour.
 */
#include "cluster/tree_engine.h"

#include "base/clock.h"
#include "base/fs.h"
#include "base/jsonspan.h"
#include "cluster/dotmembers.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

/* pmxcfs gives a lock away that is older than this and asked for; ours is then not ours to remove. */
enum { LOCK_EXPIRES = 120 };

enum { MEMBERS_CAP = 1 << 20 };

bool tree_pmxcfs_is_at(const char *root)
{
    _cleanup_free_ char *path = xasprintf("%s/.members", root);
    _cleanup_buf_ struct buf text = BUF_INIT;
    struct err e;
    struct json_span json;
    size_t bad;
    if (fs_read(path, MEMBERS_CAP, &text, &e) != 0 || json_check(buf_str(&text), text.len, &json, &bad) < 0)
        return false;
    _cleanup_free_ char *node = json_to_string(json_get(json, "nodename"));
    return node && *node;
}

/* What FUSE answers when its server is gone: to what comes later, and to what was asked meanwhile. */
bool tree_pmxcfs_died(int code)
{
    return code == ENOTCONN || code == ECONNABORTED;
}

int tree_pmxcfs_say_died(const char *root, struct err *e)
{
    return err_set(e, ERR_BUSY, 0, "pmxcfs on '%s' has died: systemctl restart pve-cluster", root);
}

/* The root, only if pmxcfs is mounted on it: below it lies an empty directory that must not be taken for a
 * cluster without guests. */
static int open_root(struct tree *t, struct err *e)
{
    _cleanup_close_ int root = tree_files_open_root(t, e);
    if (root >= 0 && faccessat(root, ".members", F_OK, 0) == 0)
        return take_fd(&root);
    int code = root < 0 ? e->code : errno;
    if (tree_pmxcfs_died(code))
        return tree_pmxcfs_say_died(t->root, e);
    return err_set(e, ERR_BUSY, 0, "pmxcfs is not mounted on '%s' (%s): systemctl start pve-cluster", t->root,
                   strerror(code));
}

/* A member list that cannot be read says nothing against quorum being lost. */
static bool is_quorate(struct tree *t)
{
    _cleanup_buf_ struct buf text = BUF_INIT;
    struct err ignored;
    _cleanup_close_ int root = tree_files_open_root(t, &ignored);
    return root >= 0 && tree_files_read(root, ".members", MEMBERS_CAP, &text, &ignored) == 0 &&
           dotmembers_quorate(&text);
}

static int no_quorum(const struct tree *t, struct err *e)
{
    return err_set(e, ERR_BUSY, 0, "no quorum! '%s' is read-only until enough nodes are online", t->root);
}

/* Without quorum pmxcfs answers EACCES to every change, to root as well; to others EACCES also is what it
 * says. In the seconds in which it does not know yet that it was lost, it is EPERM. */
static int explain(struct tree *t, struct err *e)
{
    int code = e->code;
    if (tree_pmxcfs_died(code))
        return tree_pmxcfs_say_died(t->root, e);
    bool refused = code == EACCES || code == EROFS || code == EPERM;
    if (refused && (!is_quorate(t) || (geteuid() == 0 && code != EPERM)))
        return no_quorum(t, e);
    if (code == EPERM && geteuid() == 0)
        return err_set(e, ERR_BUSY, 0,
                       "pmxcfs refuses to change '%s': the quorum may have been lost a moment ago; try again",
                       t->root);
    return err_wrap(e, "configuration tree '%s'", t->root);
}

static int explain_reading(const struct tree *t, struct err *e)
{
    return tree_pmxcfs_died(e->code) ? tree_pmxcfs_say_died(t->root, e)
                                     : err_wrap(e, "configuration tree '%s'", t->root);
}

static int pmxcfs_read(struct tree *t, const char *path, size_t cap, struct buf *ret, struct err *e)
{
    _cleanup_close_ int root = open_root(t, e);
    if (root < 0)
        return -1;
    int rc = tree_files_read(root, path, cap, ret, e);
    return rc < 0 ? explain_reading(t, e) : rc;
}

static int pmxcfs_has(struct tree *t, const char *path, struct err *e)
{
    _cleanup_close_ int root = open_root(t, e);
    if (root < 0)
        return -1;
    int rc = tree_files_has(root, path, e);
    return rc < 0 ? explain_reading(t, e) : rc;
}

static int pmxcfs_write(struct tree *t, const char *path, const void *data, size_t len, struct err *e)
{
    _cleanup_close_ int root = open_root(t, e);
    if (root < 0)
        return -1;
    return tree_files_write(root, path, data, len, e) < 0 ? explain(t, e) : 0;
}

static int pmxcfs_remove(struct tree *t, const char *path, struct err *e)
{
    _cleanup_close_ int root = open_root(t, e);
    if (root < 0)
        return -1;
    int rc = tree_files_remove(root, path, e);
    return rc < 0 ? explain(t, e) : rc;
}

/* pmxcfs itself refuses a second owner of a VMID, so the look before the rename needs no lock. */
static int pmxcfs_rename(struct tree *t, const char *from, const char *to, struct err *e)
{
    _cleanup_close_ int root = open_root(t, e);
    if (root < 0)
        return -1;
    return tree_files_rename(root, from, to, e) < 0 ? explain(t, e) : 0;
}

static int pmxcfs_list(struct tree *t, const char *path, struct strv *ret, struct err *e)
{
    _cleanup_close_ int root = open_root(t, e);
    if (root < 0)
        return -1;
    int rc = tree_files_list(root, path, ret, e);
    return rc < 0 ? explain_reading(t, e) : rc;
}

/* mkdir succeeds for one node of the cluster; utime to 0 asks pmxcfs to drop a lock that has expired. */
static int try_lock(struct tree *t, const char *name, struct err *e)
{
    _cleanup_close_ int root = open_root(t, e);
    _cleanup_close_ int dir = root < 0 ? -1 : tree_files_make_dir(root, "priv/lock", e);
    if (root < 0)
        return -1;
    if (dir < 0)
        return explain(t, e);
    if (mkdirat(dir, name, 0700) == 0)
        return 0;
    if (errno != EEXIST) {
        err_sys(e, "cannot make 'priv/lock/%s'", name);
        return explain(t, e);
    }
    utimensat(dir, name, (struct timespec[2]){{0, 0}, {0, 0}}, AT_SYMLINK_NOFOLLOW);
    return err_set(e, ERR_BUSY, 0, "got lock request timeout: another node or process holds it");
}

/* Whatever is in the way may be over in a moment: a quorum that was lost, a pmxcfs that is started anew. */
static int pmxcfs_lock(struct tree *t, const char *name, double seconds, void **ret, struct err *e)
{
    double deadline = clock_mono() + seconds, taken = clock_boot();
    for (; try_lock(t, name, e) < 0; taken = clock_boot()) {
        if (clock_mono() + 1 > deadline)
            return err_wrap(e, "cfs-lock '%s' error", name);
        nanosleep(&(struct timespec){1, 0}, NULL);
    }
    struct pmxcfs_lock *held = xmalloc(sizeof *held);
    held->taken = taken;
    *ret = held;
    return 0;
}

static bool pmxcfs_holds(const void *data)
{
    const struct pmxcfs_lock *held = data;
    return clock_boot() - held->taken < LOCK_EXPIRES - 5;
}

static int pmxcfs_check_quorum(struct tree *t, struct err *e)
{
    return is_quorate(t) ? 0 : no_quorum(t, e);
}

static void pmxcfs_unlock(struct tree *t, const char *name, void *data)
{
    struct pmxcfs_lock *held = data;
    struct err e;
    _cleanup_close_ int root = pmxcfs_holds(held) ? open_root(t, &e) : -1;
    _cleanup_free_ char *path = xasprintf("priv/lock/%s", name);
    if (root >= 0)
        unlinkat(root, path, AT_REMOVEDIR); /* lost quorum: it expires by itself */
    free(held);
}

const struct tree_engine tree_pmxcfs_engine = {
    .name = "pmxcfs",
    .read = pmxcfs_read,
    .has = pmxcfs_has,
    .write = pmxcfs_write,
    .remove = pmxcfs_remove,
    .rename = pmxcfs_rename,
    .list = pmxcfs_list,
    .lock = pmxcfs_lock,
    .unlock = pmxcfs_unlock,
    .holds = pmxcfs_holds,
    .check_quorum = pmxcfs_check_quorum,
};
