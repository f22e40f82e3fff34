/* What an engine of the tree offers; private to src/cluster. tree.c checks paths, sizes and nested locks
 * before it calls, so an engine sees only sane arguments. */
#pragma once

#include "cluster/tree.h"

#include <sys/types.h>

struct tree_engine {
    const char *name;
    int (*read)(struct tree *t, const char *path, size_t cap, struct buf *ret, struct err *e);
    int (*has)(struct tree *t, const char *path, struct err *e);
    int (*write)(struct tree *t, const char *path, const void *data, size_t len, struct err *e);
    int (*remove)(struct tree *t, const char *path, struct err *e);
    int (*rename)(struct tree *t, const char *from, const char *to, struct err *e);
    int (*list)(struct tree *t, const char *path, struct strv *ret, struct err *e);
    /* `name` is a lock's name ("file-replication_cfg"). *ret is the engine's own. */
    int (*lock)(struct tree *t, const char *name, double seconds, void **ret, struct err *e);
    void (*unlock)(struct tree *t, const char *name, void *held);
    bool (*holds)(const void *held);                    /* NULL: a lock never expires */
    int (*check_quorum)(struct tree *t, struct err *e); /* NULL: there is no such thing */
};

struct tree {
    const struct tree_engine *engine;
    char *root; /* absolute */
};

/* One lock of this process; nested requests count. A forked child does not hold its parent's locks. */
struct tree_lock {
    struct tree *tree;
    char *name;
    void *held;
    unsigned count;
    pid_t pid;
    struct tree_lock *next;
};

/* What pmxcfs' locks are, in tree_lock.held. */
struct pmxcfs_lock {
    double taken; /* clock_boot */
};

extern const struct tree_engine tree_dir_engine;
extern const struct tree_engine tree_pmxcfs_engine;

/* PATH/.members is there and reads as pmxcfs' JSON. */
bool tree_pmxcfs_is_at(const char *root);
/* Is this errno what a mount answers whose pmxcfs is gone? Then say so: ERR_BUSY, -1. */
bool tree_pmxcfs_died(int code);
int tree_pmxcfs_say_died(const char *root, struct err *e);

/* Files below a mounted root, for the engines that are a mounted file system. `rootfd` is opened by the
 * caller for each call, so that a file system mounted anew (a restarted pmxcfs) is seen; a symlink in `path`
 * is never followed. Missing parent directories are made. On failure e->code is the errno. */
int tree_files_open_root(struct tree *t, struct err *e);
int tree_files_read(int rootfd, const char *path, size_t cap, struct buf *ret, struct err *e);
int tree_files_has(int rootfd, const char *path, struct err *e);
int tree_files_write(int rootfd, const char *path, const void *data, size_t len, struct err *e);
int tree_files_remove(int rootfd, const char *path, struct err *e);
/* fs_sweep */
bool tree_files_sweep(int rootfd, const char *path, bool look);
/* Never replaces. */
int tree_files_rename(int rootfd, const char *from, const char *to, struct err *e);
/* The second way of tree_files_rename, for file systems that cannot rename without replacing (pmxcfs, some
 * network file systems): look, then rename; the caller holds a lock. -1 and errno. */
int tree_files_look_and_rename(int from_dir, const char *from, int to_dir, const char *to);
int tree_files_list(int rootfd, const char *path, struct strv *ret, struct err *e);
/* The directory `path`, made with its parents when missing. The fd, or -1. */
int tree_files_make_dir(int rootfd, const char *path, struct err *e);
