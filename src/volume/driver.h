/* What a storage driver provides. One `const struct volume_driver` per storage type at the end of its file,
 * one row in the table in volume.c. The wrapper in volume.c checks names, ids, ranges and the order of calls,
 * sorts snapshots, names the volume in errors and the free bytes when the storage is full, so that a driver
 * is only about its storage. Semantics: volume.h, the function of the same name.
 *
 * May be NULL: part, large, own, supports (every valid name), close, flush, tidy, snapshot_adopt (nothing
 * happens), snapshot_open, read_open, snapshot_all (one after the other), writable (it is), traits and what
 * belongs to it (none), snapshot_differs, delta_resume (stage_info gives no token then), and the slots of the
 * other family; strays, complete, alone, keeper, keeper_set and keeper_remedy (there can be nothing of that
 * kind).
 *
 * To add one: docs/HACKING.md.
 */
#pragma once

#include "volume/volume.h"

#include <string.h>

struct volume_driver;

struct volume {
    const struct volume_driver *driver;
    struct volume_store store; /* borrowed strings */
    char *name;                /* as in the volid */
    uint32_t vmid;
    enum volume_form form; /* volume_send_as */
    bool large;            /* volume_send_large */
    bool idle;             /* volume_idle */
    void *priv;            /* the driver's */
};

/* To be called in long work on it. */
static inline const struct tick *store_tick(const struct volume_store *store)
{
    return store->context ? &store->context->tick : NULL;
}
static inline const struct tick *volume_tick(const struct volume *v)
{
    return store_tick(&v->store);
}

/* For a program that changes something there (volume_context.lock_fd, proc_options.held_fd). */
static inline int store_lock(const struct volume_store *store)
{
    return store->context ? store->context->lock_fd : 0;
}

/* Tells that something was removed (volume_context.removed): "VOLID: TEXT". */
void volume_removed(const struct volume *v, const char *format, ...) __attribute__((format(printf, 2, 3)));

struct delta {
    struct volume *volume;
    const struct volume_driver *driver;
    uint64_t size; /* of the snapshot */
    uint64_t at;   /* no range may start below */
    bool full;     /* no base */
    void *priv;
};

struct stage {
    struct volume *volume;
    const struct volume_driver *driver;
    uint64_t size;
    bool stream;               /* set by stage_open of a driver of the stream family */
    bool sealed;               /* set by stage_open when it found the stage sealed */
    struct blockreader reader; /* stage_digests; with a buffer: it was asked before */
    void *priv;
};

/* What was written to a live volume between the question whether it was (written) and the moment in which it
 * was replaced is kept under a name that begins so, and told by volume_removed. */
#define ASIDE_LATE ASIDE_PREFIX "late_"
/* It is of what was replaced: nothing of what is live is made from it, though it came later. */
static inline bool snapshot_is_late(const char *name)
{
    return strncmp(name, ASIDE_LATE, strlen(ASIDE_LATE)) == 0;
}
#define ASIDE_LATE_TEXT "what was written to the replica while it was being replaced is kept as '%s'"

/* For the slots `list` and `guests`, where the names of volumes come from one list of the whole storage. */
typedef void volume_name_fn(const char *name, uint32_t vmid, void *arg);
struct volume_names {
    uint32_t vmid;
    struct strv *ret;
};
void volume_name_add(const char *name, uint32_t vmid, void *names); /* each once, of that guest */
struct volume_telling {
    volume_guest_fn *tell;
    void *arg;
};
void volume_name_tell(const char *name, uint32_t vmid, void *telling);

struct volume_driver {
    const char *type;
    bool (*supports)(const char *name);
    bool links; /* takes the names of linked clones */
    int (*open)(struct volume *v, struct err *e);
    void (*close)(struct volume *v);
    void (*forget)(void); /* NULL: nothing is known beyond a call */
    int (*list)(const struct volume_store *store, uint32_t vmid, bool asides, struct strv *ret,
                struct err *e);
    int (*guests)(const struct volume_store *store, volume_guest_fn *tell, void *arg, struct err *e);
    int (*info)(struct volume *v, struct volume_info *ret, struct err *e);
    int (*place)(struct volume *v, struct volume_place *ret, struct err *e);
    int (*sign)(struct volume *v, char *ret, struct err *e);
    int (*sign_seen)(struct volume *v, const char *sign, struct err *e);
    void (*sign_end)(struct volume *v, const char *sign); /* NULL: it needs none */
    int (*made)(struct volume *v, char *ret, struct err *e);
    int (*keeper)(struct volume *v, char *ret, struct err *e);
    int (*keeper_set)(struct volume *v, const char *node, struct err *e);
    char *(*keeper_remedy)(struct volume *v);
    int (*snapshots)(struct volume *v, struct snapshots *ret, struct err *e);
    int (*seals)(struct volume *v, struct snapshots *all, bool wait,
                 struct err *e); /* NULL: snapshots says all */
    int (*strays)(struct volume *v, bool live, struct strv *ret, struct err *e);
    int (*complete)(struct volume *v, struct err *e);
    int (*snapshot_complete)(struct volume *v, const struct snapshot *s, struct err *e); /* NULL: it is */
    int (*alone)(struct volume *v, struct err *e);
    int (*part)(struct volume *v, struct err *e);
    int (*own)(struct volume *v, struct err *e);
    int (*large)(struct volume *v, struct snapshots *all, unsigned *stage, struct err *e);
    void (*flush)(struct volume *v);
    int (*snapshot_ahead)(struct volume *v, const char *name, struct err *e); /* NULL: 0 */
    int (*snapshot)(struct volume *v, const char *name, bool busy, struct err *e);
    /* all or none; their `pool` begins with the same name of a pool */
    int (*snapshot_all)(struct volume *const v[], size_t n, const char *name, struct err *e);
    int (*snapshot_keep)(struct volume *v, const char *name, struct snapshot *ret, struct err *e);
    int (*snapshot_destroy)(struct volume *v, const char *name, const char *id, struct err *e);
    int (*snapshot_reduce)(struct volume *v, const char *name, const char *id,
                           struct err *e); /* may be NULL */
    /* Until it is called with `on` false, nothing but snapshot_destroy is, so what is seen now may be
     * believed. NULL: that looks at the one snapshot only. */
    void (*destroying)(struct volume *v, bool on);
    int (*snapshot_rename)(struct volume *v, const char *from, const char *to, struct err *e);
    int (*snapshot_adopt)(struct volume *v, const char *name, const char *id, struct err *e);
    int (*snapshot_mark)(struct volume *v, const char *name, const char *id, int64_t since, struct err *e);
    /* NULL: told by their delta */
    int (*snapshot_differs)(struct volume *v, const struct snapshot *base, const struct snapshot *s,
                            struct err *e);
    int (*snapshot_open)(struct volume *v, const struct snapshot *s, int *fd, struct err *e);
    /* opens what is read, and gives its size; NULL: nothing can be read so. read_close NULL: close(fd) */
    int (*read_open)(struct volume *v, const struct snapshot *s, struct volume_reader *ret, int *fd,
                     uint64_t *size, struct err *e);
    void (*read_close)(struct volume *v, struct volume_reader *r);
    int (*tidy)(struct volume *v, struct err *e);
    int (*written)(struct volume *v, char *since, struct err *e);
    int (*differs)(struct volume *v, const char *id, struct err *e);
    int (*keep_aside)(struct volume *v, const char *name, struct err *e);
    /* volume/users.h; commit asks, too, right before it replaces the live volume, of a
     * file only who has it open; destroy need not */
    int (*in_use)(struct volume *v, char *by, struct err *e);
    /* In this order: what else goes along, the live volume, the restore points (snapshot_is_point), or all at
     * once. Without those nothing tells whether the live one was written to; once it is gone they say whose
     * the rest is. */
    int (*destroy)(struct volume *v, struct err *e);
    int (*replica)(struct volume *v, char *owner, char *base_id, struct err *e);
    int (*writable)(struct volume *v, struct err *e);
    /* All three or none. `notes`: by trait_note (traits.h). Each trait is valid, perhaps unknown. */
    int (*traits)(struct volume *v, struct strv *ret, struct err *e);
    int (*traits_set)(struct volume *v, const struct strv *traits, struct strv *notes, struct err *e);
    int (*traits_lacking)(struct volume *v, bool again, struct strv *notes, struct err *e);

    int (*delta_open)(struct delta *d, const struct snapshot *base, const struct snapshot *snapshot,
                      uint64_t from, struct err *e);
    int (*delta_resume)(struct delta *d, const struct snapshot *base, const struct snapshot *snapshot,
                        const char *token, uint64_t *sent, struct err *e);
    int (*delta_next)(struct delta *d, struct extent *ret, struct err *e);
    const void *(*delta_data)(const struct delta *d);
    ssize_t (*delta_stream)(struct delta *d, void *data, size_t room, struct err *e);
    void (*delta_close)(struct delta *d);

    int (*stage_info)(struct volume *v, struct stage_info *ret, struct err *e);
    int (*stage_open)(struct stage *s, const struct stage_want *want, uint64_t *offset, struct err *e);
    int (*stage_write)(struct stage *s, uint64_t offset, const void *data, size_t n, struct err *e);
    int (*stage_zero)(struct stage *s, uint64_t offset, uint64_t n, struct err *e);
    int (*stage_feed)(struct stage *s, const void *data, size_t n, struct err *e);
    /* borrowed, of one that is not sealed; NULL: nothing can be read of it */
    int (*stage_fd)(const struct stage *s);
    int (*stage_checkpoint)(struct stage *s, uint64_t offset, struct err *e);
    int (*stage_seal)(struct stage *s, struct err *e);
    void (*stage_close)(struct stage *s);
    int (*stage_discard)(struct volume *v, struct err *e);
    int (*commit)(struct volume *v, const char *id, enum commit_how how, struct err *e);
};

extern const struct volume_driver driver_dir;
extern const struct volume_driver driver_btrfs;
extern const struct volume_driver driver_lvmthin;
extern const struct volume_driver driver_zfspool;
extern const struct volume_driver driver_fault;
