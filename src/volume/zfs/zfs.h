/* The zfspool driver's own. Used by zfs*.c alone. Everything is done by the `zfs` program (zfs(8)).
 *
 *     POOL/NAME                    the live volume: vm-… a zvol, subvol-… a filesystem
 *     POOL/NAME@SNAP               its snapshots, as Proxmox VE names them
 *     POOL/pvesr-stage-NAME        what is being received: a clone of the base, or new
 *     POOL/pvesr-old-NAME          the former live volume, while a commit is on its way
 *     POOL/pvesr-kept-NAME-GUID    what a commit took out of the way and is not to be lost
 *
 * Identity. The id of a snapshot is its guid, 16 hex digits behind 16 zeros: zfs receive keeps it, so a
 * replica that Proxmox VE's own tool made has the same ids and is gone on with. Order (seq) is createtxg,
 * which `zfs promote` keeps.
 *
 * Receiving. An incremental stream is received into a new dataset with the base as its origin
 * (zfs-receive(8), -o origin): the live volume is not touched, whatever was written to it, and shows the
 * earlier restore point until the commit. The commit promotes the stage, which takes the snapshots up to the
 * base with it, and swaps the names; what the former live volume had besides them is kept, if there is
 * anything.
 *
 * Such a stream takes no properties along (zfs-send(8), -p), so ours begins with a line of its own before
 * that of `zfs send`: "pvesr-zfs 1 KEY=VALUE KEY=VALUE…\n" with those of ZFS_PROPERTIES that the source has,
 * be they set or inherited there, and the ZFS_SNAPSHOT_QUOTA of the snapshot that is sent. They are noted at
 * the stage when it begins and set before it goes live, where they differ. A zvol has none: its size is in
 * its data.
 *
 * A replica of a filesystem is not mounted, and has canmount=noauto: Proxmox VE mounts what it is to start,
 * and who reads in what is mounted changes it (atime).
 *
 * For a storage that takes ranges a zvol's are found in a plain stream of it (volume/zfs/ranges.h).
 *
 * A crash leaves, and who opens the volume next
 * - while receiving: a stage without its snapshot, with what zfs receive -s saved of it; its
 *   receive_resume_token goes to the source, which checks it, and on it goes
 * - received: the stage with its snapshot, sealed; commits it
 * - commit 1, marks and promote: POOL/NAME with its origin in the stage; promotes that again, as before
 * - commit 2, live → pvesr-old-: no POOL/NAME; goes on with 3
 * - commit 3, stage → live: pvesr-old- beside it; goes on with 4
 * - commit 4: pvesr-old- is destroyed or kept.
 *
 * A `zfs` command takes longer than anything else here, so what there is is asked for once and again only
 * after a change, or after a while (struct zfs.seen), and of all volumes of the guest that are open at once.
 * What decides what is kept or destroyed is asked at that time: whether a live volume was written to, once
 * the pool is flushed (zfs_view_exact), and what there is when the names have been exchanged (zfs_tidy).
 *
 * Each snapshot that was taken here of a volume without guest snapshots has a bookmark of its name
 * (zfs-bookmark(8)): should somebody destroy the snapshot, it is a base still. Where there are guest
 * snapshots, those are, and a bookmark would stand in the way of rolling back to them. It stays as long as
 * the target keeps the snapshot (volume_snapshot_reduce): somebody may roll the replica back to that. A pool
 * without the feature does without.
 *
 * Encryption. A stream of an encrypted volume is plain, and what receives it encrypts it with the key of the
 * storage there; where it has none, the stream is raw (zfs-send(8), -w).
 *
 * Marks are user properties. Of datasets: pvesr:stage (what a stage is, "1 SNAPSHOT ID BASE|- OWNER|-
 * CREATED"), pvesr:properties (of a stage: what its stream's first line said), pvesr:point (of a stage: the
 * id of its newest snapshot that counts as the volume's already), pvesr:owner and pvesr:base (of a replica),
 * pvesr:lacking (of a live volume: what it was to have and could not, traits.c); they do not travel. Of
 * snapshots: pvesr:received, pvesr:damaged (snapshot.damaged).
 *
 * What is ours. Properties travel with `zfs send -p`, go down to children, and stay with what is renamed. So
 * pvesr:at beside pvesr:owner is the name of the live volume for which the dataset was made, and pvesr:name
 * of a snapshot says "@SNAP VOLUME…" (more of both while we rename it, or where one command took or
 * marked the snapshots of several volumes). Where it does not fit, somebody copied or renamed it: it is
 * theirs. Where it is missing an earlier version, or Proxmox VE, made it. A bookmark has no properties: ours
 * are those of replication snapshots' names; others are somebody's: `zfs promote` takes those along that are
 * as old as the base, and for others the dataset before is kept. Datasets below a volume's are nobody's
 * concern but a person's: with them it is neither sent nor replaced. Nothing is destroyed recursively.
 *
 * Embedded blocks. `zfs send -e` of OpenZFS 2.3 and later loses a block of system attributes that is embedded
 * in its pointer: long symbolic links and extended attributes of filesystems are gone, contents of small
 * files overwritten. Earlier versions sent so. None of our streams has embedded blocks now (of an encrypted
 * volume that is sent as it is stored none can have; a zvol has no such attributes), and each says so in its
 * first record. A dataset of which that is true of all the streams that ever made it has pvesr:whole, equal
 * to its pvesr:base, so that a mark that somebody else's receive brings along is none. One that a run of ours
 * made (pvesr:owner), without that, is doubtful, and so are all its snapshots. A copy to take its place
 * (stage_want.anew) is a stage that does not stand on the live volume: its snapshots have the ids of those of
 * the live volume, and do not count before the commit.
 *
 * A snapshot on which a kept dataset (or somebody's clone) stands cannot be destroyed. The kept one is made
 * to stand on its own (part.c); where that is not to be, the snapshot is renamed to pvesr-base-…, which is
 * none of ours from then on, and marked to go with the last of them (zfs-destroy(8), -d).
 *
 * A linked clone (BASE/NAME in the volid) is POOL/NAME with POOL/BASE@__base__ as its origin. As long as it
 * is that, or is not there, this counts as a snapshot of the volume, so that a first copy is sent as what
 * differs from it, where the template's replica has it (by its id), and stands on it there, too.
 *
 * `zfs promote` of somebody's clone takes the volume's snapshots away, and the volume stands on the clone's
 * then. They are the clone's from then on, but they can be bases: what they are of is in the volume's past.
 */
#pragma once

#include "base/buf.h"
#include "base/strv.h"
#include "volume/driver.h"
#include "volume/zfs/record.h"

#include <stdbool.h>

#define ZFS_NAME_MAX 256
/* Others change datasets, too: what was seen is believed for that long. */
#define ZFS_BELIEVED_SECONDS 5.0
#define ZFS_BASE "pvesr-base-"
#define ZFS_STAGE "pvesr-stage-"
#define ZFS_OLD "pvesr-old-"
#define ZFS_KEPT "pvesr-kept-"
#define ZFS_HEADER "pvesr-zfs 1 "
#define ZFS_PROPERTIES_MAX 320
/* With that of the snapshot. */
#define ZFS_WANTED_MAX (ZFS_PROPERTIES_MAX + 64)
#define ZFS_HEADER_MAX (sizeof ZFS_HEADER + ZFS_WANTED_MAX)
/* What of a snapshot of a container its replica has, too: the quota to which Proxmox VE rolls back
 * (BEHAVIOUR.md#zfs). */
#define ZFS_SNAPSHOT_QUOTA "pve-storage:refquota"
/* What of a container's filesystem its replica has, too. */
#define ZFS_PROPERTIES(of)                                                                                   \
    of(refquota) of(acltype) of(xattr) of(aclinherit) of(atime) of(relatime) of(recordsize) of(devices)      \
        of(exec) of(setuid)

/* One line of `zfs list` of a dataset; empty name: not there. */
struct zfs_dataset {
    char name[ZFS_NAME_MAX];
    char guid[SNAPSHOT_ID_LEN + 1];
    char origin[ZFS_NAME_MAX]; /* snapshot, "" for none */
    bool volume;               /* else a filesystem */
    bool mounted;
    bool encrypted;
    bool key; /* if encrypted: it is loaded */
    uint64_t size, available, written, referenced;
    char properties[ZFS_PROPERTIES_MAX]; /* "KEY=VALUE KEY=VALUE…", "" of a zvol */
    char wanted[ZFS_WANTED_MAX]; /* if a stage: those that it is to have, and ZFS_SNAPSHOT_QUOTA of its newest
                                  * snapshot */
    char owner[32], base[SNAPSHOT_ID_LEN + 1];
    bool bound; /* the marks say that they are this one's */
    bool stray; /* the marks are those of another dataset: "owner" is "" then */
    bool doubtful;
    char whole[SNAPSHOT_ID_LEN + 1];
    char stage[256]; /* the mark, "" for none */
    char point[SNAPSHOT_ID_LEN + 1];
    char token[STAGE_TOKEN_MAX + 1]; /* of what was partly received */
    bool partial;
};

struct zfs_snapshot {
    struct snapshot s;
    char dataset[ZFS_NAME_MAX];
    bool of_origin;                       /* of another dataset, on which the volume stands, or will */
    bool is_bookmark;                     /* the snapshot itself is gone */
    char bookmark[SNAPSHOT_NAME_MAX + 1]; /* the name of its bookmark, "" for none */
    char quota[24];                       /* ZFS_SNAPSHOT_QUOTA, "" for none */
    uint64_t written;                     /* bytes that the snapshot before it has not */
};

/* All that belongs to a volume, as it was when asked. */
struct zfs_view {
    struct zfs_dataset pool, live, stage, old;
    struct strv kept;   /* names of datasets */
    struct strv others; /* datasets with snapshots of which nothing is known here */
    struct strv below;  /* datasets below the live volume, the stage, the old one: none of ours */
    struct strv marks;  /* somebody's bookmarks of them, "DATASET#NAME" */
    struct strv clones; /* "ORIGIN NAME" of the datasets beside it that have an origin */
    struct strv bases;  /* datasets with snapshots named ZFS_BASE… */
    struct zfs_snapshot *snapshots;
    size_t n;
};
void zfs_view_release(struct zfs_view *w);
#define _cleanup_view_ _cleanup_(zfs_view_release)

struct zfs { /* volume.priv */
    const struct volume *volume;
    char *pool; /* POOL, perhaps with datasets below */
    char *name; /* the volume's */
    char *base; /* a linked clone's template volume, POOL/base-…; else NULL */
    char *live, *stage, *old;
    struct zfs_view seen; /* as long as `known`: a command takes longer than all we do between two */
    bool known, looked, exact;
    struct zfs_view held; /* while `holds`: of what is destroyed one after the other */
    bool holds;
    double asked;      /* when that was, clock_mono */
    double flushed;    /* when the pool was, by a receive after which nothing else was done; 0: it was not */
    struct strv local; /* what `zfs get` told of the live volume beside another; for one question */
    bool has_local;
    bool bare_stage, bare_live; /* this process received it: nothing is set on it but what that says */
    struct strv expected;       /* which datasets the volume will have at the next look: a guess */
    char times_of[SNAPSHOT_ID_LEN + 1]; /* a dataset of which `times` bytes are written: access times alone */
    uint64_t times;
};
static inline struct zfs *zfs_of(struct volume *v)
{
    return v->priv;
}
static inline const struct tick *zfs_tick(const struct zfs *z)
{
    return volume_tick(z->volume);
}

/* Run `zfs` for something that changes this volume, tell it at debug level, look again afterwards. */
int zfs_change(struct zfs *z, struct err *e, const char *first, ...) __attribute__((sentinel));
/* The same where the caller knows what is changed by it: what was seen stays, unless it fails, and is brought
 * up to date by one of zfs_seen_…. */
int zfs_change_known(struct zfs *z, struct err *e, const char *first, ...) __attribute__((sentinel));
/* The whole command; zfs_forget is the caller's. */
int zfs_change_all(struct zfs *z, const struct strv *argv, struct err *e);
/* For what only looks: nobody waits for it where this process is killed, or gave it up. ERR_FULL where it
 * says so. */
int zfs_command(const struct tick *tick, const struct strv *argv, struct buf *out, struct err *e);
/* What makes a command fail on all of a pool, and what helps. */
void zfs_explain(const char *dataset, struct err *e);
/* After this command: what there is to be named at the next look. */
void zfs_expect(struct zfs *z, const struct strv *argv);
/* The live volume's snapshot has got a bookmark of its name. */
void zfs_seen_bookmark(struct zfs *z, const char *snapshot);
/* That dataset was destroyed. */
void zfs_seen_gone(struct zfs *z, const char *dataset);
/* With all its snapshots that are known and nobody's; ERR_CONFIG when there is anything else. Somebody's scan
 * of new devices holds a zvol for a moment: tried again for a while. */
int zfs_destroy(struct zfs *z, const char *dataset, struct err *e);
/* What is kept aside has a name that says so. */
bool zfs_has_aside(const struct zfs_view *w, const char *dataset);
/* What is kept aside stays, and what is somebody's, in a dataset out of the way. */
int zfs_destroy_but_kept(struct zfs *z, const struct zfs_view *w, const struct zfs_dataset *d, struct err *e);
/* The stage goes, if there is one. What was received there and counts already may have been kept aside: that
 * stays. */
int zfs_clear_stage(struct zfs *z, const struct zfs_view *w, struct err *e);
/* ERR_CONFIG when there are datasets below this one. */
int zfs_check_below(const struct zfs_view *w, const char *dataset, struct err *e);
/* Has the dataset bookmarks of somebody's? */
bool zfs_has_marks(const struct zfs_view *w, const char *dataset);
/* ERR_CONFIG when it has. */
int zfs_check_marks(const struct zfs_view *w, const char *dataset, struct err *e);
int zfs_strays(struct volume *v, bool live, struct strv *ret, struct err *e);
/* One dataset or snapshot. Somebody's scan of new devices holds a zvol for a moment: tried again for a while.
 */
int zfs_destroy_one(struct zfs *z, const char *name, struct err *e);
/* The same text for a snapshot of several volumes that one command takes or marks. */
char *zfs_names_text(const struct strv *volumes, const char *snapshot);
/* "pvesr:name=@SNAP VOLUME" of a snapshot; `also`: NULL, or its other name while it is renamed. malloc'ed */
char *zfs_name_text(const char *volume, const char *snapshot, const char *also);
/* That snapshot of the stage was received. The same command says so of those of its name that the stages of
 * other volumes of the guest have (zfs_beside_open), which are committed next. */
int zfs_mark_received(struct zfs *z, const struct zfs_snapshot *x, struct err *e);
/* What was kept may stand on the volume's snapshots: it takes them along, and the rest can go. */
void zfs_free_kept(struct zfs *z, const struct zfs_view *w);
/* Look at volumes of one pool: one command, or two where what is there is not what was expected. Of each,
 * `seen` and `known`; -1: nothing is known of the first. Where that fails, the first is looked at alone. */
int zfs_look(struct zfs *const z[], size_t n, struct err *e);
/* From now on, and no longer, a look at another volume of the pool may be one at this, too. */
void zfs_opened(struct zfs *z);
/* It, and those of its pool that were looked at a moment ago: to be asked with it. */
size_t zfs_beside_open(struct zfs *z, struct zfs ***ret);
void zfs_closed(const struct zfs *z);
/* What there is, as it was at the last look: after the last change of ours, and some seconds ago at most. */
int zfs_view(struct zfs *z, struct zfs_view *ret, struct err *e);
/* The same with `written` as it is now: it counts what is on the disk, so the pool is flushed. Where no guest
 * runs, this process's first look at the volume, be it one at another of the pool, does for the first such
 * question, for as long as a look is believed, and so does the first behind a receive (zfs_received). Each
 * further question has a look of its own, so that what was written since the last answer is seen. */
int zfs_view_exact(struct zfs *z, struct zfs_view *ret, struct err *e);
void zfs_forget(struct zfs *z);
void zfs_forget_all(void);
/* A receive for this volume ended well: as each command that changes something it waited until the pool had
 * on the disk all that was written before. The commit that follows asks what was written meanwhile, and once
 * more when the names have been exchanged. */
void zfs_received(struct zfs *z);
/* Of a live volume on which no guest runs: unmount it, unless somebody uses it, and find out whether it was
 * but read in. */
int zfs_settle(struct zfs *z, struct err *e);
/* Has a filesystem that is not mounted nothing but access times that this snapshot of it has not? 1; 0: it
 * has, or nothing tells. */
int zfs_times_alone(struct zfs *z, const char *dataset, const char *snapshot, struct err *e);
/* Who uses the live volume (volume/users.h). */
int zfs_in_use(struct zfs *z, char *by, struct err *e);
int zfs_check_unused(struct zfs *z, struct err *e);
/* Has it anything that its newest snapshot has not? */
bool zfs_written(const struct zfs *z, const struct zfs_dataset *d);
/* volume_differs. Of a snapshot that is not the newest access times count, too. */
int zfs_differs(struct volume *v, const char *id, struct err *e);
/* The newest snapshot of that dataset, NULL for none. */
const struct zfs_snapshot *zfs_newest(const struct zfs_view *w, const char *dataset);
/* Of several, the live volume's first; then what it was or stands on, the stage's, a bookmark, what was kept.
 */
const struct zfs_snapshot *zfs_find_id(const struct zfs_view *w, const char *id);
/* The snapshot of this dataset, NULL for none. */
const struct zfs_snapshot *zfs_find_on(const struct zfs_view *w, const char *dataset, const char *id);
/* The names in POOL that say of a volume of this guest that something of it is here. */
int zfs_names(const struct volume_store *store, uint32_t vmid, bool asides, struct strv *ret, struct err *e);
/* What is right below this pool is listed: each dataset that may be. */
void zfs_names_begin(const char *pool);
void zfs_names_add(const char *dataset);
/* A dataset of whatever pool comes or goes. */
void zfs_names_forget(void);
/* The dataset's name below POOL, NULL: it is elsewhere. */
const char *zfs_below(const char *pool, const char *dataset);
/* volume_guests */
int zfs_guests(const struct volume_store *store, volume_guest_fn *tell, void *arg, struct err *e);
/* The snapshot of the stage on which the live volume stands, because a commit died after the promotion: up to
 * it the stage's snapshots are the live volume's. NULL: no such thing. */
const struct zfs_snapshot *zfs_promoted(const struct zfs_view *w);
/* The one since which the live volume's `written` counts: the newest of its own, or zfs_promoted. NULL: none.
 */
const struct zfs_snapshot *zfs_newest_of_live(const struct zfs_view *w);
/* Does what has this origin stand on a snapshot of that dataset? */
bool zfs_stands_on(const char *origin, const char *dataset);
/* Is the stage a copy of all beside the live volume? */
bool zfs_beside(const struct zfs_view *w);
/* Does that dataset stand on the snapshot of its template's volume? */
bool zfs_linked(const struct zfs *z, const struct zfs_dataset *d);
/* Does the live volume stand on a snapshot of somebody's dataset, which is no template? */
bool zfs_stands_elsewhere(const struct zfs_view *w);
/* "…/pvesr-kept-NAME-GUID" out of a dataset's guid; malloc'ed. */
char *zfs_kept_name(const struct zfs *z, const struct zfs_dataset *d);

/* Of values in the order of ZFS_PROPERTIES, "-" for one that does not apply. */
void zfs_properties_join(char *const values[], char ret[ZFS_PROPERTIES_MAX]);
bool zfs_properties_valid(const char *text);
/* The part of it that is for the snapshot, "KEY=VALUE", malloc'ed; NULL: none. */
char *zfs_properties_of_snapshot(const char *text);
/* Set what of d->wanted is not so. */
int zfs_properties_apply(struct zfs *z, const struct zfs_dataset *d, struct err *e);

/* ---- part.c ---- */

/* That snapshot of the live volume, "DATASET@NAME", is to go, and something stands on it. Nothing does any
 * more, and it is still there (FREE); it is now called as somebody's snapshot of the same state was, and
 * stays (RENAMED); 0: something stands on it still. */
#define ZFS_PART_FREE 1
#define ZFS_PART_RENAMED 2
int zfs_part(struct zfs *z, const char *snapshot, struct err *e);
int zfs_part_all(struct volume *v, struct err *e);
/* The one of these names of snapshots of one and the same state that outlives the others; NULL: not all of
 * them are those of a tool that takes them by the clock. */
const char *zfs_part_lasting(const struct strv *names);

/* ---- pool.c ---- */

/* Has no dataset of the pool blocks above 128 KiB? */
int zfs_pool_has_none(const struct zfs *z, bool *ret, struct err *e);
/* Does it keep what zfs receive -s got of a stream that was cut? */
int zfs_pool_resumes(const struct zfs *z, bool *ret, struct err *e);

/* ---- large.c ---- */

int zfs_large(struct volume *v, struct snapshots *all, unsigned *stage, struct err *e);

/* ---- traits.c ---- */

int zfs_traits(struct volume *v, struct strv *ret, struct err *e);
int zfs_traits_set(struct volume *v, const struct strv *traits, struct strv *notes, struct err *e);
int zfs_traits_lacking(struct volume *v, bool again, struct strv *notes, struct err *e);
int zfs_writable(struct volume *v, struct err *e);
/* What reserves room for a guest is of no use for what is taken out of its way. */
int zfs_reserve_nothing(struct zfs *z, const char *dataset, struct err *e);

/* Is a resume token, of which `zfs send -nvt` told this, for the stream of snapshot NAME with the id from
 * base_id ("": whole)? *sent gets the bytes that the target has. ERR_DATA. */
struct zfs_token_want {
    const char *name, *base_id, *id;
    bool raw, embedded; /* embedded blocks may be asked for */
    bool large;         /* it has blocks above 128 KiB as they are */
};
int zfs_token_check(char *told, const struct zfs_token_want *want, uint64_t *sent, struct err *e);

/* Is the stream that begins with this record one of the snapshot of this name and id, from base_id ("":
 * whole), and nothing else? ERR_DATA. */
int zfs_begin_check(const unsigned char record[ZFSRECORD_SIZE], bool volume, const char *snapshot,
                    const char *id, const char *base_id, struct err *e);
/* May it have embedded blocks that can be lost? */
bool zfs_begin_embeds(const unsigned char record[ZFSRECORD_SIZE]);
/* Has it blocks above 128 KiB as they are? */
bool zfs_begin_large(const unsigned char record[ZFSRECORD_SIZE]);
/* Has the OpenZFS of this release ("2.4.4-1") the fault? Yes, if it is not known. */
bool zfs_release_lossy(const char *release);

int zfs_delta_open(struct delta *d, const struct snapshot *base, const struct snapshot *snapshot,
                   uint64_t from, struct err *e);
int zfs_delta_resume(struct delta *d, const struct snapshot *base, const struct snapshot *snapshot,
                     const char *token, uint64_t *sent, struct err *e);
int zfs_delta_next(struct delta *d, struct extent *ret, struct err *e);
const void *zfs_delta_data(const struct delta *d);
ssize_t zfs_delta_stream(struct delta *d, void *data, size_t room, struct err *e);
void zfs_delta_close(struct delta *d);

/* Waits a while for the device to come. */
int zfs_device_open(const char *path, int flags, const struct tick *tick, struct err *e);
int zfs_snapshot_open(struct volume *v, const struct snapshot *s, int *fd, struct err *e);
int zfs_read_open(struct volume *v, const struct snapshot *s, struct volume_reader *ret, int *fd,
                  uint64_t *size, struct err *e);

int zfs_stage_info(struct volume *v, struct stage_info *ret, struct err *e);
int zfs_stage_open(struct stage *s, const struct stage_want *want, uint64_t *offset, struct err *e);
int zfs_stage_feed(struct stage *s, const void *data, size_t n, struct err *e);
int zfs_stage_seal(struct stage *s, struct err *e);
void zfs_stage_close(struct stage *s);
int zfs_stage_discard(struct volume *v, struct err *e);
int zfs_commit(struct volume *v, const char *id, enum commit_how how, struct err *e);
/* Go on with a commit that was cut. */
int zfs_tidy(struct volume *v, struct err *e);
