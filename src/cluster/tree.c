#include "cluster/tree.h"

#include "base/fs.h"
#include "cluster/tree_engine.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { FILE_CAP = 1 << 20, VIRTUAL_CAP = 16 << 20, PATH_CAP = 512, LOCK_SECONDS = 10 };

static struct tree_lock *locks;

/* Opening "dir:/etc/pve" of a Proxmox VE node whose pmxcfs is down would show an empty cluster. */
static bool is_missing_pmxcfs(const char *root)
{
    return strcmp(root, "/etc/pve") == 0 && fs_exists("/var/lib/pve-cluster/config.db");
}

static int check_root(const char *root, struct err *e)
{
    struct stat st;
    if (*root != '/')
        return err_set(e, ERR_CONFIG, 0, "setting 'cluster': 'dir:%s' is not an absolute path", root);
    if (stat(root, &st) < 0 && tree_pmxcfs_died(errno))
        return tree_pmxcfs_say_died(root, e);
    if (stat(root, &st) < 0)
        return err_set(e, ERR_CONFIG, errno,
                       "cannot open the configuration tree '%s', which 'cluster' in pvesr.conf names", root);
    if (!S_ISDIR(st.st_mode))
        return err_set(e, ERR_CONFIG, 0, "the configuration tree '%s' is not a directory", root);
    return 0;
}

static char *without_trailing_slashes(const char *path)
{
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        n--;
    return xstrndup(path, n);
}

struct tree *tree_open(const char *spec, struct err *e)
{
    if (strncmp(spec, "etcd:", 5) == 0) {
        err_set(e, ERR_CONFIG, 0, "setting 'cluster': '%s': this version has no etcd engine; use 'dir:PATH'",
                spec);
        return NULL;
    }
    if (strncmp(spec, "dir:", 4) != 0) {
        err_set(e, ERR_CONFIG, 0, "setting 'cluster': '%s' is not of the form 'dir:PATH'", spec);
        return NULL;
    }
    _cleanup_free_ char *root = without_trailing_slashes(spec + 4);
    if (check_root(root, e) < 0)
        return NULL;
    bool pmxcfs = tree_pmxcfs_is_at(root);
    if (!pmxcfs && is_missing_pmxcfs(root)) {
        err_set(e, ERR_BUSY, 0, "pmxcfs is not mounted on '%s': systemctl start pve-cluster", root);
        return NULL;
    }
    struct tree *t = xmalloc(sizeof *t);
    t->engine = pmxcfs ? &tree_pmxcfs_engine : &tree_dir_engine;
    t->root = take_ptr(root);
    return t;
}

void tree_free(struct tree *t)
{
    if (!t)
        return;
    free(t->root);
    free(t);
}

int tree_check_quorum(struct tree *t, struct err *e)
{
    return t->engine->check_quorum ? t->engine->check_quorum(t, e) : 0;
}

bool tree_is_pmxcfs(const struct tree *t)
{
    return t->engine == &tree_pmxcfs_engine;
}

const char *tree_root(const struct tree *t)
{
    return t->root;
}

/* Printable parts between single slashes, none of them "." or "..". */
static int check_path(const char *path, struct err *e)
{
    bool ok = *path && strlen(path) < PATH_CAP;
    for (const char *part = path; ok;) {
        size_t n = strcspn(part, "/");
        ok = n > 0 && n < 200 && !(n == 1 && part[0] == '.') && !(n == 2 && memcmp(part, "..", 2) == 0);
        for (size_t i = 0; ok && i < n; i++)
            ok = (unsigned char)part[i] >= 0x20 && part[i] != 0x7f;
        if (!part[n])
            break;
        part += n + 1;
    }
    if (!ok)
        return err_set(e, ERR_USAGE, 0, "'%.200s' is not a path inside the configuration tree", path);
    return 0;
}

int tree_read(struct tree *t, const char *path, struct buf *ret, struct err *e)
{
    buf_clear(ret);
    if (check_path(path, e) < 0)
        return -1;
    return t->engine->read(t, path, *path == '.' ? VIRTUAL_CAP : FILE_CAP, ret, e);
}

int tree_has(struct tree *t, const char *path, struct err *e)
{
    return check_path(path, e) < 0 ? -1 : t->engine->has(t, path, e);
}

/* Whoever slept while it held a lock may not write over what another did with it since. */
static int check_change(const struct tree *t, const char *path, struct err *e)
{
    for (const struct tree_lock *l = locks; l; l = l->next)
        if (l->pid == getpid() && strcmp(l->tree->root, t->root) == 0 && t->engine->holds &&
            !t->engine->holds(l->held))
            return err_set(e, ERR_BUSY, 0,
                           "this node stood still for so long that its lock '%s' may be another's by now: "
                           "nothing was changed, try again",
                           l->name);
    return check_path(path, e);
}

int tree_write(struct tree *t, const char *path, const void *data, size_t len, struct err *e)
{
    if (check_change(t, path, e) < 0)
        return -1;
    if (len > FILE_CAP)
        return err_set(e, ERR_FULL, 0, "cannot write '%s': %zu bytes are more than the %d of one file", path,
                       len, FILE_CAP);
    return t->engine->write(t, path, data, len, e);
}

int tree_remove(struct tree *t, const char *path, struct err *e)
{
    return check_change(t, path, e) < 0 ? -1 : t->engine->remove(t, path, e);
}

int tree_rename(struct tree *t, const char *from, const char *to, struct err *e)
{
    if (check_change(t, from, e) < 0 || check_path(to, e) < 0)
        return -1;
    return t->engine->rename(t, from, to, e);
}

int tree_list(struct tree *t, const char *path, struct strv *ret, struct err *e)
{
    return check_path(path, e) < 0 ? -1 : t->engine->list(t, path, ret, e);
}

static bool sweep(struct tree *t, const char *path, bool look)
{
    struct err ignored;
    _cleanup_close_ int root = check_change(t, path, &ignored) < 0 ? -1 : tree_files_open_root(t, &ignored);
    return root >= 0 && tree_files_sweep(root, path, look);
}

void tree_sweep(struct tree *t, const char *path)
{
    sweep(t, path, false);
}

bool tree_has_left(struct tree *t, const char *path)
{
    return sweep(t, path, true);
}

/* "replication.cfg" → "file-replication_cfg" (BEHAVIOUR.md#cluster-tree). */
static char *lock_name(const char *file)
{
    char *name = xasprintf("file-%s", file);
    for (char *p = name; *p; p++)
        if (*p == '.' || *p == '/')
            *p = '_';
    return name;
}

static struct tree_lock *find_lock(const struct tree *t, const char *name)
{
    for (struct tree_lock *l = locks; l; l = l->next)
        if (l->pid == getpid() && strcmp(l->tree->root, t->root) == 0 && strcmp(l->name, name) == 0)
            return l;
    return NULL;
}

struct tree_lock *tree_lock(struct tree *t, const char *file, struct err *e)
{
    if (check_path(file, e) < 0)
        return NULL;
    _cleanup_free_ char *name = lock_name(file);
    struct tree_lock *l = find_lock(t, name);
    if (l) {
        l->count++;
        return l;
    }
    void *held;
    if (t->engine->lock(t, name, LOCK_SECONDS, &held, e) < 0)
        return NULL;
    l = xmalloc(sizeof *l);
    *l = (struct tree_lock){t, take_ptr(name), held, 1, getpid(), locks};
    locks = l;
    return l;
}

void tree_unlock(struct tree_lock *l)
{
    if (!l || --l->count > 0)
        return;
    for (struct tree_lock **p = &locks; *p; p = &(*p)->next)
        if (*p == l) {
            *p = l->next;
            break;
        }
    l->tree->engine->unlock(l->tree, l->name, l->held);
    free(l->name);
    free(l);
}
