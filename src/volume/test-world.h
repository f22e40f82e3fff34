/* Two storages side by side, one volume on both, and a model of its bytes in memory: what the tests of all
 * drivers work on. Failures are cmocka's. */
#pragma once

#include "volume/lvm/test-world.h"
#include "volume/test-mount.h"
#include "volume/volume.h"

#include <stdbool.h>
#include <stdint.h>

/* Where a world can be. */
struct place {
    const char *name;
    const char *type;        /* of the storages */
    const char *const *mkfs; /* NULL: no file system of its own, a directory below /var/tmp */
    const char *mount;       /* its options; with mkfs NULL: a tmpfs, when not NULL */
    const char *live;        /* the volume's file below a storage's path, or its LV */
    const char *volume;      /* its name in the volid */
};
extern const struct place places[];
extern const unsigned n_places;

struct image {
    unsigned char *data; /* WORLD_ROOM bytes; zero behind the size */
    uint64_t size;
};
#define WORLD_ROOM (5u << 20)

struct world {
    const struct place *place;
    struct test_mount mount;
    struct lvmworld lvm;
    char root[96];
    unsigned resets;
    char src_path[128], dst_path[128];
    struct volume_context src_context, dst_context;
    unsigned src_ticks, dst_ticks;
    struct volume_store src_store, dst_store;
    struct volume *src, *dst;
    bool many;
    struct image image; /* of the source's live volume */
};

/* NULL, or why it cannot be here. */
const char *world_open(struct world *w, const struct place *place);
/* Two new, empty storages at the same place. */
void world_reset(struct world *w);
/* Fine in any state, also after a failed assertion. */
void world_close(struct world *w);
/* No temporary may be left once volume_tidy ran. */
void expect_tidy(const struct world *w, const struct volume_store *store);
/* Forget the handles, as a new process would. */
void world_reopen(struct world *w);

void world_seed(const char *what);
unsigned rnd(unsigned below);

/* PATH/…/live of a storage (an LV is activated); a static buffer. */
const char *live_path(const struct world *w, const struct volume_store *store);
/* A new live volume of the source, with data. */
void world_create(struct world *w, uint64_t size);
/* Random changes of the source's live volume and of the model: writes, zeros, holes, growth, shrinking. */
void world_change(struct world *w, unsigned changes);

void image_copy(struct image *to, const struct image *from);
void image_release(struct image *i);

/* Snapshot and keep. */
void world_snapshot(struct world *w, const char *name, struct snapshot *ret);
/* Stage the snapshot at the target; the handles are dropped and opened anew `cuts` times on the way. */
extern unsigned world_resumed; /* how often the last one went on behind its start */
void world_stage(struct world *w, const struct snapshot *base, const struct snapshot *s, unsigned cuts);
/* As world_stage, sealed, and committed twice. */
void world_replicate(struct world *w, const struct snapshot *base, const struct snapshot *s, unsigned cuts);

void expect_live(const struct world *w, const struct volume_store *store, const struct image *image);
/* 1 when it is that image, 0 when not. */
int live_is(const struct world *w, const struct volume_store *store, const struct image *image);
/* The snapshot's data, read as a full delta. */
void expect_snapshot(struct volume *v, const char *id, const struct image *image);

#define ok(call)                                                                                             \
    do {                                                                                                     \
        err.text[0] = 0;                                                                                     \
        if ((call) < 0)                                                                                      \
            fail_msg("%s: %s", #call, err.text);                                                             \
    } while (0)
#define refused(call, wanted_kind, part)                                                                     \
    do {                                                                                                     \
        err.text[0] = 0;                                                                                     \
        err.kind = ERR_NONE;                                                                                 \
        if ((call) >= 0)                                                                                     \
            fail_msg("%s was not refused", #call);                                                           \
        if (err.kind != (wanted_kind) || !strstr(err.text, part))                                            \
            fail_msg("%s: kind %s: %s", #call, err_kind_name(err.kind), err.text);                           \
    } while (0)
extern struct err err;
