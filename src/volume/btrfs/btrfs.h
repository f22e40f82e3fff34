/* The btrfs driver's own: where things lie, who they are.
 *
 *     PATH/images/VMID/                      a plain directory
 *         vm-VMID-disk-0                     a disk: subvolume that holds the file disk.raw (extents family)
 *         subvol-VMID-disk-0                 a container's root: a subvolume (stream family)
 *         IMAGE@SNAP                         read-only snapshot, made by us, by Proxmox VE or by hand
 *         .pvesr-stage.IMAGE                 subvolume being staged; read-only with its received id: sealed
 *         .pvesr-stage.IMAGE.info            empty file; its marks say what the stage of subvolume `uuid` is
 *         .pvesr-tmp.IMAGE                   what will be live, or was: see btrfs_former_settle
 *         .pvesr-tmp.IMAGE@SNAP              anything unfinished; always free to remove
 *
 * Identity. The id of a snapshot is its received_uuid, or its uuid when it has none: the source's id, on
 * every node and after any number of switches of the direction (btrfs clears received_uuid in a writable
 * snapshot, so the live volume and what is snapped from it are somebody new). Order (seq) is the id of the
 * subvolume's tree: btrfs gives them out ascending per file system, for received snapshots as for own ones,
 * and two are never equal as transaction ids could be.
 *
 * The maker of a replica is the attribute trusted.pvesr.owner of the live subvolume's root directory, which
 * the guest cannot see; the restore point is its parent_uuid.
 *
 * A snapshot made here and adopted later has no received_uuid, and a read-only subvolume takes no attribute:
 * the directory's attribute user.pvesr.adopted.ID says so.
 *
 * So does user.pvesr.damaged.UUID, by its own uuid, of one that was found to be another than it should be.
 *
 * The limits of its quota group that could not be set here are in the directory's attribute
 * user.pvesr.lacking.IMAGE (limit.c).
 *
 * A read-only snapshot that somebody made of a restore point has that one's received_uuid and the marks of
 * its root. So what is ours is tied to its own uuid and the name that we gave it (bond.c).
 *
 * Refused: subvolumes with data inside a container's root, which btrfs snapshots leave out. Not carried over:
 * the attribute "no copy on write" of a new disk.raw (chattr +C; an incremental replica keeps what its first
 * copy had).
 */
#pragma once

#include "volume/btrfs/subvol.h"
#include "volume/driver.h"
#include "volume/mark.h"

#define BTRFS_DISK_FILE "disk.raw"
#define BTRFS_STAGE ".pvesr-stage."
#define BTRFS_TMP ".pvesr-tmp."
#define BTRFS_IMAGE_MAX 64
#define BTRFS_NAME_MAX 192 /* of anything in the directory */
#define BTRFS_OWNER_ATTR "trusted.pvesr.owner"

struct btrfs_volume { /* volume.priv */
    const struct volume_store *store;
    int root; /* PATH */
    int dir;  /* PATH/images/VMID, -1 while it does not exist */
    char *dir_path;
    char image[BTRFS_IMAGE_MAX + 1];
    char stage[BTRFS_NAME_MAX], stage_info[BTRFS_NAME_MAX], tmp[BTRFS_NAME_MAX];
    bool stream;
};

struct btrfs_image {
    uint32_t vmid;
    bool stream;
    char image[BTRFS_IMAGE_MAX + 1];
};

struct btrfs_snapshot {
    struct snapshot s;
    char uuid[SUBVOL_UUID_LEN + 1];   /* this subvolume's own */
    char parent[SUBVOL_UUID_LEN + 1]; /* the subvolume it was taken of; "" if none */
    bool copy;                        /* somebody's, of another that is here: left out */
};
struct btrfs_snapshots {
    struct btrfs_snapshot *v; /* ascending seq */
    size_t n;
};
void btrfs_snapshots_release(struct btrfs_snapshots *s);
#define _cleanup_btrfs_snapshots_ _cleanup_(btrfs_snapshots_release)

static inline struct btrfs_volume *btrfs_of(const struct volume *v)
{
    return v->priv;
}
static inline const struct tick *btrfs_tick(const struct btrfs_volume *b)
{
    return store_tick(b->store);
}

/* ---- btrfs.c ---- */

/* volume_alone, volume_complete: subvolumes with data inside it, files beside a disk. */
int btrfs_alone(struct volume *v, struct err *e);

/* ---- image.c ---- */

/* `[VMID/]vm-VMID-REST[.raw]` or `[VMID/]subvol-VMID-REST[.subvol]`. */
bool btrfs_image_parse(const char *name, struct btrfs_image *ret);
/* Calls `each` for every name in the directory (-1: none) that starts with `prefix`, with the rest of it,
 * until one is not 0. */
int btrfs_each_name(int dir, const char *prefix, int (*each)(const char *rest, void *arg, struct err *e),
                    void *arg, struct err *e);
/* Open the volume's directory of the guest's images if it is there; `make`: make it. 1 when it is not there.
 */
int btrfs_dir(struct btrfs_volume *b, uint32_t vmid, bool make, struct err *e);
void btrfs_snapshot_name(const struct btrfs_volume *b, const char *snapshot, char ret[BTRFS_NAME_MAX]);
/* 1 when it is not there. */
int btrfs_open_live(struct btrfs_volume *b, int *ret, struct err *e);
/* ERR_GONE when it is not there. */
int btrfs_need_live(struct btrfs_volume *b, int *ret, struct err *e);
/* Who uses it (volume/users.h): the disk's file, or anything in the container's subvolume. A mount
 * of a disk's subvolume would go on with the old one: it counts, if `mounts`. */
int btrfs_in_use(struct btrfs_volume *b, bool mounts, char *by, struct err *e);
/* The same of this subvolume, but for mounts of a disk's. */
int btrfs_used(struct btrfs_volume *b, int subvol, char *by, struct err *e);
/* disk.raw in a subvolume, a regular file. */
int btrfs_open_disk(int subvol, int flags, struct err *e);
/* Of a subvolume's disk.raw; 0 for a container. */
int btrfs_disk_size(const struct btrfs_volume *b, int subvol, uint64_t *ret, struct err *e);
int btrfs_owner_get(int live, char owner[32], struct err *e);
int btrfs_owner_set(int live, const char *owner, struct err *e);

/* ---- bond.c ---- */

/* also: NULL, or the other name while it is renamed. */
int btrfs_bond_set(const struct btrfs_volume *b, const char *uuid, const char *name, const char *also,
                   struct err *e);
/* Never BOND_COPY: a copy has a uuid of its own, and no bond. */
int btrfs_bond_get(const struct btrfs_volume *b, const char *uuid, const char *name, enum bond *ret,
                   struct err *e);
/* Of what goes: what was found of it, too. */
void btrfs_bond_end(const struct btrfs_volume *b, const char *uuid);
int btrfs_bonds_begin(struct btrfs_volume *b, struct err *e);
/* Those of subvolumes that somebody removed go, once there are more of them than names in the directory; what
 * was found of such (mark_damaged_set), at once. */
int btrfs_bonds_tidy(struct btrfs_volume *b, struct err *e);
int btrfs_strays(struct volume *v, bool live, struct strv *ret, struct err *e);
/* btrfs_owner_get of the live volume; "" when somebody copied it, or gave it its name. */
int btrfs_live_owner(struct btrfs_volume *b, int live, char owner[32], struct err *e);

/* ---- snapshot.c ---- */

int btrfs_scan(struct btrfs_volume *b, struct btrfs_snapshots *ret, struct err *e);
const struct btrfs_snapshot *btrfs_find_id(const struct btrfs_snapshots *s, const char *id);
const struct btrfs_snapshot *btrfs_find_uuid(const struct btrfs_snapshots *s, const char *uuid);
/* Of the live volume: the snapshot it was made from, or NULL. */
int btrfs_shown(struct btrfs_volume *b, int live, const struct btrfs_snapshots *all,
                const struct btrfs_snapshot **ret, struct err *e);
/* ERR_GONE when it is not there, ERR_DATA when it has another id. */
int btrfs_open_snapshot(struct btrfs_volume *b, const struct snapshot *s, int *ret, struct err *e);
int btrfs_list_snapshots(struct volume *v, struct snapshots *ret, struct err *e);
void btrfs_flush(struct volume *v);
int btrfs_snapshot(struct volume *v, const char *name, bool busy, struct err *e);
int btrfs_snapshot_keep(struct volume *v, const char *name, struct snapshot *ret, struct err *e);
int btrfs_snapshot_destroy(struct volume *v, const char *name, const char *id, struct err *e);
int btrfs_snapshot_adopt(struct volume *v, const char *name, const char *id, struct err *e);
int btrfs_snapshot_mark(struct volume *v, const char *name, const char *id, int64_t since, struct err *e);
int btrfs_snapshot_rename(struct volume *v, const char *from, const char *to, struct err *e);

/* ---- delta.c ---- */

struct streamproc;
/* Start `btrfs send`, without the data unless `data`. base NULL: full. Names are those in the directory of
 * images. */
int btrfs_sender_start(struct streamproc *s, const struct btrfs_volume *b, const char *base, const char *name,
                       bool data, struct err *e);
int btrfs_delta_open(struct delta *d, const struct snapshot *base, const struct snapshot *snapshot,
                     uint64_t from, struct err *e);
int btrfs_delta_next(struct delta *d, struct extent *ret, struct err *e);
const void *btrfs_delta_data(const struct delta *d);
ssize_t btrfs_delta_stream(struct delta *d, void *data, size_t room, struct err *e);
void btrfs_delta_close(struct delta *d);

/* ---- written.c ---- */

/* Does the live volume differ from one of its snapshots? */
int btrfs_differs(struct btrfs_volume *b, int live, const struct snapshot *base, struct err *e);
int btrfs_written(struct volume *v, char *since, struct err *e);
/* What was live before a commit exchanged it is removed; what it has that no snapshot has, whatever asked
 * before, is kept aside. What is there instead after a crash has nothing. 1, with a sentence in *e: there is
 * no room to find that out, or to keep it, so it stays where it is, and no other one can be replaced. */
int btrfs_former_settle(struct volume *v, struct err *e);
/* volume_differs */
int btrfs_differs_from(struct volume *v, const char *id, struct err *e);
int btrfs_keep_aside(struct volume *v, const char *name, struct err *e);
int btrfs_snapshot_differs(struct volume *v, const struct snapshot *base, const struct snapshot *s,
                           struct err *e);

/* ---- limit.c ---- */

int btrfs_traits(struct volume *v, struct strv *ret, struct err *e);
int btrfs_traits_set(struct volume *v, const struct strv *traits, struct strv *notes, struct err *e);
int btrfs_traits_lacking(struct volume *v, bool again, struct strv *notes, struct err *e);
/* Of a volume that goes. */
int btrfs_traits_forget(const struct btrfs_volume *b, struct err *e);
int btrfs_writable(struct volume *v, struct err *e);

/* ---- stage.c ---- */

int btrfs_stage_info(struct volume *v, struct stage_info *ret, struct err *e);
int btrfs_stage_open(struct stage *s, const struct stage_want *want, uint64_t *offset, struct err *e);
int btrfs_stage_write(struct stage *s, uint64_t offset, const void *data, size_t n, struct err *e);
int btrfs_stage_zero(struct stage *s, uint64_t offset, uint64_t n, struct err *e);
int btrfs_stage_feed(struct stage *s, const void *data, size_t n, struct err *e);
int btrfs_stage_fd(const struct stage *s);
int btrfs_stage_checkpoint(struct stage *s, uint64_t offset, struct err *e);
int btrfs_stage_seal(struct stage *s, struct err *e);
void btrfs_stage_close(struct stage *s);
int btrfs_stage_discard(struct volume *v, struct err *e);
int btrfs_commit(struct volume *v, const char *id, enum commit_how how, struct err *e);
