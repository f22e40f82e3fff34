/* The one tree of cluster configuration: small files, laid out as in /etc/pve, on any engine.
 *
 * Paths are relative ("replication.cfg", "nodes/pve1/qemu-server/100.conf") and never contain ".." or a
 * leading '/'; no component that is a symlink is followed. Files are at most 1 MiB. Reads need no lock. Every
 * read-modify-write runs under tree_lock.
 *
 * Engines: `dir:PATH`, a plain directory (atomic durable writes; locks are flock files below priv/lock), and
 * pmxcfs, recognised by PATH/.members (mkdir locks; EACCES on a write means no quorum: ERR_BUSY "no quorum!"
 * in its sentence). `etcd:` is refused with a clear ERR_CONFIG until that engine exists. On pmxcfs every call
 * checks that it is still mounted: ERR_BUSY otherwise, never an empty tree.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "base/strv.h"

#include <stdbool.h>

struct tree;
struct tree_lock;

/* `spec` is the setting `cluster`. NULL on error. */
struct tree *tree_open(const char *spec, struct err *e);
void tree_free(struct tree *t);
static inline void tree_freep(struct tree **t)
{
    tree_free(*t);
}

/* 1 when the file does not exist. */
int tree_read(struct tree *t, const char *path, struct buf *ret, struct err *e);
/* Is there anything of this name? 1 or 0. */
int tree_has(struct tree *t, const char *path, struct err *e);
/* Missing directories are made. */
int tree_write(struct tree *t, const char *path, const void *data, size_t len, struct err *e);
int tree_remove(struct tree *t, const char *path, struct err *e); /* 1: was not there */
/* Atomic; fails with code EEXIST when `to` exists, ENOENT when `from` does not. This is what moves a guest to
 * another node. */
int tree_rename(struct tree *t, const char *from, const char *to, struct err *e);
/* Remove what writers of `path` that were killed left beside it (fs_sweep). The caller holds the lock under
 * which it is written. */
void tree_sweep(struct tree *t, const char *path);
/* Is there anything of that kind? */
bool tree_has_left(struct tree *t, const char *path);
/* Names in a directory, sorted; 1 when it does not exist. */
int tree_list(struct tree *t, const char *path, struct strv *ret, struct err *e);

/* The lock for changing `file` ("replication.cfg" → "file-replication_cfg"), waiting up to 10 s, whatever
 * stands in the way (BEHAVIOUR.md#cluster-tree). Re-entrant inside one process. While one is held that may
 * have expired, every change of the tree is refused: ERR_BUSY. */
struct tree_lock *tree_lock(struct tree *t, const char *file, struct err *e);
void tree_unlock(struct tree_lock *l);
static inline void tree_unlockp(struct tree_lock **l)
{
    tree_unlock(*l);
}

/* ERR_BUSY "no quorum!" while the majority of the cluster may decide without this node. An engine without
 * majorities always has one. */
int tree_check_quorum(struct tree *t, struct err *e);

bool tree_is_pmxcfs(const struct tree *t);
/* The directory of the engine, for inotify watches. */
const char *tree_root(const struct tree *t);
