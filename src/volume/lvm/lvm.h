/* Parts of the `lvmthin` driver. A storage of type lvmthin is a thin pool THINPOOL in volume group VGNAME; a
 * volume is a thin LV, named as Proxmox VE names it:
 *
 *     vm-100-disk-0                the live volume
 *     snap_vm-100-disk-0_SNAP      a snapshot: a read-only thin snapshot that is not activated by itself
 *     pvesr_stage_vm-100-disk-0    the replica in the making
 *     pvesr_new_vm-100-disk-0      the live volume to be, for the moment between two commands
 *     pvesr_old_vm-100-disk-0      what was live until then
 *     pvesr_tmp_vm-100-disk-0_SNAP a snapshot taken and not kept yet; removed by volume_tidy
 *
 * Identity. What is known about an LV is one tag of it (mark.h), set by the very command that makes the
 * LV, so no LV of ours is ever there without it. A snapshot without a tag (made by Proxmox VE) gets one when
 * it is first seen, with an id that follows from the LV's UUID: two commands that see it at once give it the
 * same. Thin snapshots do not inherit tags.
 *
 * Seals. What a restore point maps is its seal (seal.c), a tag of its own. A received one gets it with the
 * mark that makes it a restore point, one that was taken here when it is kept, others when they are first
 * looked at.
 *
 * Size. An LV is a whole number of extents of its group. A received restore point remembers the exact size
 * of the source's volume in its tag; behind it the LV holds zeros. A snapshot taken here has the LV's size:
 * a guest that was started here may have used all of it.
 *
 * Delta. thin_delta on a metadata snapshot of the pool, which is reserved for that moment only (pool.c);
 * changed chunks are read from the activated snapshots and compared in blocks of 4 KiB.
 *
 * Activation. Snapshots and stages are activated while we read or write them and deactivated after that,
 * unless they were active before. The live volume is activated only to be compared; a replica's live volume
 * is left inactive. A live volume that somebody has open is never deactivated, removed or renamed: ERR_BUSY
 * (volume/users.h).
 *
 * A crash leaves:
 *
 *   snapshot, keep     lvcreate -s (pvesr_tmp_…), lvrename          → temporary, or the whole snapshot
 *   stage_open         lvcreate, resize, zero the difference        → a stage at offset 0: begun anew
 *   checkpoint, seal   flush the device, lvchange --deltag --addtag → the state before, or after
 *   commit
 *     1. lvrename stage → snapshot                                  → sealed stage, or the snapshot
 *     2. lvcreate -s the snapshot as pvesr_new_…                    → the same, and a temporary
 *     3. lvrename live → pvesr_old_…                                → no live volume, its successor is whole
 *     4. lvrename pvesr_new_… → live                                → done, but for a temporary
 *     5. pvesr_old_… is asked once more whether it was written to   → volume_tidy asks
 *
 *   LVM has no way to exchange two LVs at once; between 3 and 4 the live volume is missing for an instant,
 *   and whoever opens the volume next does step 4.
 */
#pragma once

#include "volume/driver.h"
#include "volume/lvm/mark.h"

#include <stdbool.h>

#define LV_NAME_MAX 127
#define LV_UUID_LEN 38

struct lv {
    char name[LV_NAME_MAX + 1];
    char origin[LV_NAME_MAX + 1];
    char pool[LV_NAME_MAX + 1]; /* "" for one that is not thin */
    char uuid[LV_UUID_LEN + 1];
    uint64_t size, thin_id;
    int64_t created;
    bool active;
    bool read_only;
    bool merging; /* a snapshot takes its place when it is activated next */
    bool marked;  /* it has a tag of ours, which makes sense */
    struct lvm_mark mark;
    char tag[LVM_TAG_MAX]; /* that tag, as it is */
    int64_t damaged;       /* snapshot.damaged, of the other */
    char seal[LVM_SEAL_LEN + 1];
    unsigned snapshot_flags; /* of a snapshot, where they are listed: lvm_flags */
};

struct thin_pool {
    char name[LV_NAME_MAX + 1];
    uint64_t size, chunk;
    double used, meta_used; /* percent; negative when nobody knows, because the pool is not active */
    bool zeroes;            /* new chunks are zeroed */
};

/* What `lvs` said about a volume group: asked once, and again after a change. */
struct vg {
    char name[LV_NAME_MAX + 1];
    bool stale;
    double asked;
    uint64_t extent; /* bytes */
    struct lv *lvs;
    size_t n;
    struct thin_pool *pools;
    size_t n_pools;
};

struct lvm {
    const char *vg, *pool; /* of the storage */
    const char *volume;    /* the live LV's name */
    const struct tick *tick;
    const struct volume_store *store;
};

/* Are the names of the group and the pool such that they can be arguments? (lvm.c) */
int lvm_check_store(const struct volume_store *store, struct err *e);

/* ---- vg.c: the group, and the commands that change it ---- */

struct lvm_name {
    char s[LV_NAME_MAX + 1 + SNAPSHOT_NAME_MAX + 16];
};
enum lvm_kind { LVM_SNAPSHOT, LVM_STAGE, LVM_NEW, LVM_TEMP, LVM_OLD };
/* tag: the snapshot's name for LVM_SNAPSHOT and LVM_TEMP. */
struct lvm_name lvm_name(const struct lvm *l, enum lvm_kind kind, const char *tag);
/* ERR_USAGE when it makes no LV: a ':' in it, too long. */
int lvm_check_name(const struct lvm *l, const char *snapshot, struct err *e);

/* The group as it is. Belongs to a cache, valid until the next call or change. `old`: what was asked a moment
 * ago will do, although something of ours was changed meanwhile. NULL on failure. */
const struct vg *lvm_group(const struct lvm *l, bool old, struct err *e);
/* The same, whatever was asked a moment ago: for what somebody else may have made since. */
const struct vg *lvm_group_anew(const struct lvm *l, struct err *e);
void lvm_forget(void); /* all groups */
/* NULL: none of this name in this pool. */
const struct lv *lvm_lv(const struct vg *g, const struct lvm *l, const char *name);
const struct thin_pool *lvm_thin_pool(const struct vg *g, const struct lvm *l, struct err *e);
/* 1: no live volume. An LV of that name that is elsewhere than in the pool is ERR_CONFIG. */
int lvm_live(const struct lvm *l, struct lv *ret, struct err *e);
/* 1: none of this name. */
int lvm_find(const struct lvm *l, const char *name, struct lv *ret, struct err *e);
/* Which volume an LV belongs to, and as what: 1 when to none. *volume and *tag point into static memory. */
int lvm_owner(const struct vg *g, const struct lv *lv, enum lvm_kind *kind, const char **volume,
              const char **tag);

/* A command that changes the group, its arguments up to a NULL, logged at debug level. "VG/LV" arguments are
 * the caller's. What was known of the group is asked anew afterwards; not so after the
 * functions below, whose result is known. */
int lvm_change(const struct lvm *l, struct err *e, const char *program, ...) __attribute__((sentinel));
/* Refused when anything depends on it that is not of the pool (a classic snapshot, an LV with it as external
 * origin): lvremove would remove that, too. */
int lvm_remove(const struct lvm *l, const char *name, struct err *e);
/* ERR_CONFIG when there is such a thing. */
int lvm_check_dependents(const struct lvm *l, const char *name, struct err *e);
int lvm_rename(const struct lvm *l, const char *from, const char *to, struct err *e);
/* Replace the tag of ours, and add that of a seal (NULL: none). OFTEN is not worth a backup of the group's
 * metadata; FINAL makes the LV read-only, too. */
enum lvm_retag { LVM_RETAG, LVM_RETAG_OFTEN, LVM_RETAG_FINAL };
int lvm_retag(const struct lvm *l, const struct lv *lv, const struct lvm_mark *mark, const char *seal,
              enum lvm_retag how, struct err *e);

/* /dev/mapper/NAME of an LV: hyphens doubled. malloc'ed. */
char *lvm_device(const char *vg, const char *name, const char *suffix);

/* An LV activated for a while. */
struct lvm_open {
    int fd;
    char name[LV_NAME_MAX + 1];
    bool activated; /* by us */
};
#define LVM_OPEN_INIT                                                                                        \
    {                                                                                                        \
        .fd = -1                                                                                             \
    }
/* Activate what is not active, and open it. */
int lvm_open(const struct lvm *l, const struct lv *lv, int flags, struct lvm_open *ret, struct err *e);
/* Closes, and deactivates what lvm_open activated. */
void lvm_close(const struct lvm *l, struct lvm_open *o);
/* The same for two at once (b may be NULL), with one command of LVM. */
int lvm_open_both(const struct lvm *l, const struct lv *a, const struct lv *b, int flags,
                  struct lvm_open *ret_a, struct lvm_open *ret_b, struct err *e);
void lvm_close_both(const struct lvm *l, struct lvm_open *a, struct lvm_open *b);

/* The snapshot's device, which stays active. */
int lvm_show(const struct lvm *l, const struct lv *lv, int *fd, struct err *e);

/* ---- pool.c: room, and the pool's metadata ---- */

struct pool_room {
    uint64_t total, free;      /* bytes of data */
    uint64_t meta, meta_free;  /* blocks of metadata */
    bool held;                 /* a metadata snapshot is reserved */
    bool out, read_only, fail; /* the pool's own mode */
    bool needs_check;          /* its metadata */
};
/* 1: the pool is not active. */
int pool_room(const struct lvm *l, struct pool_room *ret, struct err *e);
bool pool_room_parse(const char *status, uint64_t chunk, struct pool_room *ret);
/* May this version of thin_delta (what its -V says) be believed? */
bool thin_delta_version_ok(const char *said);
/* How many bytes may be written before asking again (0 when the pool is not active yet); ERR_FULL when the
 * reserve is reached. */
int pool_check(const struct lvm *l, uint64_t chunk, uint64_t *budget, struct err *e);

/* Why the kernel may have refused a new device, which it says to its log alone: it has one of that id, which
 * LVM does not know. LVM takes one more than the highest that it knows. */
void pool_explain(const struct lvm *l, struct err *e);
/* The same where a disk of the group is missing: no command changes it then. */
void pool_explain_missing(const struct lvm *l, struct err *e);

/* The metadata snapshot, held. */
struct pool_hold {
    const struct lvm *lvm;
    int fd; /* of the note on it, locked */
    bool taken;
    double others, foreign; /* seconds that are waited for other processes of ours, and for somebody else */
};
#define POOL_HOLD_SECONDS 600.0
/* h->lvm is set, and how long is waited, h->fd -1. ERR_BUSY: longer. The pool must be active. */
int pool_hold(struct pool_hold *h, struct err *e);
int pool_hold_release(struct pool_hold *h, struct err *e);
void pool_hold_end(struct pool_hold *h);

struct thinmap;
/* Which chunks of thin device `id` (of `base`, too, when has_base) are mapped, and where they differ. The
 * pool must be active. */
struct thinmap *pool_compare(const struct lvm *l, const struct lv *base, const struct lv *lv, struct err *e);

/* ---- delta.c ---- */

int lvm_delta_open(struct delta *d, const struct snapshot *base, const struct snapshot *snapshot,
                   uint64_t from, struct err *e);
int lvm_delta_next(struct delta *d, struct extent *ret, struct err *e);
const void *lvm_delta_data(const struct delta *d);
void lvm_delta_close(struct delta *d);
/* What somebody wrote without a flush is in no metadata yet. */
int lvm_flush(const struct lvm *l, const struct lv *lv, struct err *e);
/* 0 the same size and content, 1 not. */
int lvm_same(const struct lvm *l, const struct lv *a, const struct lv *b, struct err *e);

/* ---- snapshots.c ---- */

int lvm_snapshots(const struct lvm *l, struct snapshots *ret, struct err *e);
/* 1: none with this id. */
int lvm_find_id(const struct lvm *l, const char *id, struct lv *ret, struct err *e);
int lvm_check_free(const struct lvm *l, const char *snapshot, struct err *e);
/* A number above those of all snapshots. */
int lvm_next_seq(const struct lvm *l, bool old, uint64_t *ret, struct err *e);
/* Take the snapshot `name`, as a temporary (LVM_TEMP) or at once. The guest may be frozen meanwhile: of the
 * group only what was known a moment ago, and one command. */
int lvm_take(const struct lvm *l, const char *name, enum lvm_kind kind, struct err *e);
int lvm_keep(const struct lvm *l, const char *name, struct snapshot *ret, struct err *e);
/* Of a snapshot by this name: struct snapshot. */
unsigned lvm_flags(const struct lvm *l, const struct lv *lv, const char *tag);
/* volume_strays */
int lvm_strays(const struct lvm *l, bool live, struct strv *ret, struct err *e);
/* The newest snapshot that the live volume is known to have been: one taken of it here, or the received one
 * that it was made from; else the newest of all. 1: none. */
int lvm_reference(const struct lvm *l, const struct lv *live, struct lv *ret, struct err *e);

/* ---- seal.c: does a restore point map what it mapped when it was made? (thinmeta.h) ---- */

/* Of an LV as it is now: *ret for lvm_retag. 1: it cannot be told, *e says why. */
int lvm_seal(const struct lvm *l, const struct lv *lv, char ret[LVM_SEAL_LEN + 1], struct err *e);
/* Seal a snapshot that was just taken of a live volume, unless it was written to already. What cannot be
 * sealed is compared by the run that builds on it. */
void lvm_seal_taken(const struct lvm *l, const struct lv *lv);
/* volume_seals */
int lvm_seals(const struct lvm *l, struct snapshots *all, bool wait, struct err *e);

/* ---- written.c ---- */

int lvm_keep_aside(const struct lvm *l, const char *name, struct err *e);
/* What was live before a commit is removed; what it has that no snapshot has, whatever asked before, is kept
 * aside. */
int lvm_former_settle(struct volume *v, struct err *e);
/* Could a guest write to the live volume? */
int lvm_writable(const struct lvm *l, struct err *e);
int lvm_written(const struct lvm *l, char *since, struct err *e);

/* ---- stage.c ---- */

int lvm_stage_info(struct volume *v, struct stage_info *ret, struct err *e);
int lvm_stage_open(struct stage *s, const struct stage_want *want, uint64_t *offset, struct err *e);
int lvm_stage_write(struct stage *s, uint64_t offset, const void *data, size_t n, struct err *e);
int lvm_stage_zero(struct stage *s, uint64_t offset, uint64_t n, struct err *e);
int lvm_stage_fd(const struct stage *s);
int lvm_stage_checkpoint(struct stage *s, uint64_t offset, struct err *e);
int lvm_stage_seal(struct stage *s, struct err *e);
void lvm_stage_close(struct stage *s);
int lvm_stage_discard(struct volume *v, struct err *e);
