/* Volumes: one guest disk or container root on one storage, its snapshots, the delta between two of them, and
 * the staged making of a replica. Nothing here knows a job, a peer or a frame.
 *
 * Two families behind one interface, told apart by volume_info.stream:
 *   extents  the delta is a list of changed byte ranges in ascending order, data is read and written by range
 *   stream   the delta is an opaque native stream (btrfs send of a container's subvolume)
 *
 * Source side, per run:
 *     volume_snapshot_ahead, volume_flush × all   slow, the guest runs
 *     volume_snapshot × all volumes        fast, the guest is frozen
 *     volume_snapshot_keep × all           durable and visible; before it, a crash leaves only a temporary
 *                                          that the next volume_tidy removes
 *     delta_open(base, snapshot) → delta_next, delta_data …    (delta_stream for the stream family)
 *
 * Target side, per snapshot:
 *     stage_open(base, …) → stage_write, stage_zero (stage_feed) … [stage_checkpoint] → stage_seal
 *     volume_commit                        the sealed stage becomes the snapshot; with `live`, the live
 *                                          volume shows it too
 *
 * Nothing is visible before commit. A stage survives a crash; stage_open with the same snapshot id and base
 * resumes it at the last durable offset. A commit that is repeated after a crash at any instruction ends in
 * the same state.
 *
 * Every function that changes something makes it durable before it returns 0. Functions check names
 * themselves: a volume name is `[<id>/]vm-<id>-…` or `subvol-…`, components never "..", never a symlink below
 * the storage's path.
 */
#pragma once

#include "base/err.h"
#include "base/mem.h"
#include "base/strv.h"
#include "base/tick.h"
#include "volume/blocks.h"
#include "volume/snapshot.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STAGE_TOKEN_MAX 1023

/* For whom the work on volumes is done. It may change while volumes are open. */
struct volume_context {
    struct tick tick; /* called by drivers in long work, so that the caller can keep its peer awake */
    /* A lock that is to last until the programs that change a volume have ended, also when this process is
     * killed: they inherit this descriptor, so that whoever comes next finds what they did. 0: none. */
    int lock_fd;
    /* What a driver removed on the way to something else: one sentence each; NULL: nobody wants to know. What
     * it was asked to remove, its caller tells. */
    void (*removed)(void *arg, const char *text);
    void *removed_arg;
    /* Asked before anything of a volume is removed, or staged over what is there: -1, *e says why that must
     * not be now. What is written down of a commit goes on once it was begun (run/intent.h). NULL: it may. */
    int (*allowed)(void *arg, struct err *e);
    void *allowed_arg;
};

/* Where a storage lies on this node. All is borrowed and must outlive the volumes opened with it. */
struct volume_store {
    const char *id;
    const char *type;                     /* "dir", "btrfs", "lvmthin", "zfspool", "fault" */
    const char *path;                     /* dir, btrfs: storage-root already put before it */
    const char *mountpoint;               /* dir, btrfs: must be one; NULL: nothing must */
    const char *images;                   /* dir, btrfs: folder of images below the path; NULL: "images" */
    const char *pool;                     /* zfspool */
    const char *vgname;                   /* lvmthin */
    const char *thinpool;                 /* lvmthin */
    const struct volume_context *context; /* may be NULL */
};

struct volume_info {
    bool exists; /* the live volume is there */
    bool stream; /* which family */
    bool flags;  /* stream family: its stream has the flags of files (chattr(1)) beside the rest */
    bool ranges; /* stream family: its data can be had as ranges, too (VOLUME_RANGES) */
    bool strict; /* stream family: volume_written sees every change, also of times alone, and a commit of what
                  * is shown already loses nothing that was written meanwhile */
    bool many; /* can hold several snapshots with data; false: a plain file, only the newest restore point */
    bool proves;   /* a change of a snapshot there leaves a trace, or none can be made (SNAPSHOT_CHANGED) */
    bool one_line; /* stream family: its snapshots are of one line; a copy of all takes the place of all
                    * (stage_want.anew) */
    bool strange;  /* the live volume bears a mark of ours for another name or place: somebody made it what it
                      is */
    bool compares; /* volume_written may take long: it compares, or waits for others that do */
    bool linked; /* a linked clone: a copy of it stands on a copy of its template's volume (TEMPLATE_SNAPSHOT)
                  */
    bool lossy; /* earlier versions sent such a volume so that the OpenZFS that runs here loses parts of it */
    bool encrypted; /* the live volume is, on the storage */
    bool encrypts;  /* the storage encrypts what it receives, with a key of its own */
    uint64_t size;
    uint64_t available; /* free bytes of the storage */
};

/* A stage left by an interrupted transfer, or a sealed one. */
struct stage_info {
    bool exists;
    bool scrap; /* instead: something that nothing can go on with, which the next stage_open replaces */
    bool sealed;
    bool doubtful; /* as its snapshot will be (SNAPSHOT_DOUBTFUL) */
    char snapshot[SNAPSHOT_NAME_MAX + 1];
    char id[SNAPSHOT_ID_LEN + 1];
    char base_id[SNAPSHOT_ID_LEN + 1]; /* "" for a full copy */
    unsigned large;                    /* SNAPSHOT_LARGE, SNAPSHOT_SMALL, or 0: volume_large says so */
    uint64_t offset;                   /* everything below is durable; 0 for the stream family */
    /* Stream family: what the sender needs to go on with a stage that is not sealed (delta_resume), "" if
     * that is not possible. */
    char token[STAGE_TOKEN_MAX + 1];
};

struct volume; /* an open volume; need not exist yet */

/* ERR_CONFIG when the type has no driver, ERR_USAGE for a bad name, ERR_GONE when the storage's path is not
 * there. */
struct volume *volume_open(const struct volume_store *store, const char *name, struct err *e);
void volume_free(struct volume *v);
CLEANUP_FUNC(volume_free, struct volume)
const char *volume_name(const struct volume *v);
/* Is there a driver for this type; and can it replicate a volume of this name? */
bool volume_type_known(const char *type);
bool volume_type_supported(const char *type, const char *name);

int volume_info(struct volume *v, struct volume_info *ret, struct err *e);

/* Where a volume is, or would be made, whatever its storage is called: two entries of storage.cfg may lead to
 * one directory, two names of a volid to one subvolume. */
#define VOLUME_SPOT_MAX 511
struct volume_place {
    char spot[VOLUME_SPOT_MAX + 1];
    uint64_t device, object; /* of a live file or subvolume (stat(2)); 0: not there, or spot says all */
};
int volume_place(struct volume *v, struct volume_place *ret, struct err *e);
/* Are two volumes of this node one and the same? Both places must have been asked for at the same time. */
bool volume_place_same(const struct volume_place *a, const struct volume_place *b);

/* Is what a node has the very volume of another node, or beside it? Two nodes may see one directory that no
 * storage.cfg calls shared. The one puts up a sign at its volume, the other looks for it at its own: a file
 * of a random name beside it, or what the storage made only once (a dataset's guid, an LV's uuid). */
#define VOLUME_SIGN_MAX 300
/* "" when there is nothing of the volume. A file that a crash leaves goes with volume_tidy. */
int volume_sign(struct volume *v, char ret[VOLUME_SIGN_MAX + 1], struct err *e);
/* 1: it is; 0: it is not. Any text will do. */
int volume_sign_seen(struct volume *v, const char *sign, struct err *e);
void volume_sign_end(struct volume *v, const char *sign);
/* Which one the live volume is, whatever is written to it: one that is made anew under its name is another.
 * "" when it is not there, or its storage tells nothing. At most VOLUME_SIGN_MAX characters. */
int volume_made(struct volume *v, char ret[VOLUME_SIGN_MAX + 1], struct err *e);

/* The node whose replica it is, noted beside it until it is destroyed: two nodes to which a guest is
 * replicated may see one directory as well. "" where nobody noted it, or no two nodes can have the storage in
 * use. What was set is durable with the next commit. */
#define VOLUME_KEEPER_MAX 255
int volume_keeper(struct volume *v, char ret[VOLUME_KEEPER_MAX + 1], struct err *e);
/* The command that makes forget it, where nobody keeps it any more; malloc'ed, NULL where nothing is noted.
 */
char *volume_keeper_remedy(struct volume *v);
int volume_keeper_set(struct volume *v, const char *node, struct err *e);

int volume_snapshots(struct volume *v, struct snapshots *ret, struct err *e);
/* What that leaves out because it takes a while: of those of `all` in which a trace of a change must be
 * looked for, SNAPSHOT_CHANGED, SNAPSHOT_UNSEALED and `state`. For whoever builds on them; who only shows
 * them does not `wait` for others who look, beyond a moment. 1: here nobody can tell now, as where
 * volume_info.proves is false; *e says why. */
int volume_seals(struct volume *v, struct snapshots *all, bool wait, struct err *e);
/* What bears a mark of ours and is not ours, as sentences: copies, and what somebody renamed
 * (SNAPSHOT_STRANGE). Nothing of it is ever changed, or removed. live: the live volume is looked at, too. */
int volume_strays(struct volume *v, bool live, struct strv *ret, struct err *e);
/* Is the live volume all that there is of it? ERR_CONFIG when it stands on, or holds, what a replica does not
 * carry: datasets or subvolumes below it, a backing file. The sentence names it and the way out. What is
 * staged is held to the same by the commit. */
int volume_complete(struct volume *v, struct err *e);
/* The same of one of its snapshots. */
int volume_snapshot_complete(struct volume *v, const struct snapshot *s, struct err *e);
/* Would anything go with the live volume, were it destroyed or replaced, that is not its own? ERR_CONFIG: it
 * neither is destroyed nor replaced; the sentence names what is below it or depends on it, and the way out.
 */
int volume_alone(struct volume *v, struct err *e);

/* The names of the volumes of guest `vmid` that the storage holds anything of: live volumes, and also those
 * of which there is only a stage or snapshots so far (volume_info.exists is then false), so that they can be
 * removed. Snapshots kept aside (ASIDE_PREFIX) alone make no volume. */
int volume_list(const struct volume_store *store, uint32_t vmid, struct strv *ret, struct err *e);
/* Those, too, of which only what was kept aside is left. */
int volume_list_all(const struct volume_store *store, uint32_t vmid, struct strv *ret, struct err *e);
/* Tell of each guest of which volume_list_all may find anything, by the names on the storage alone; of some
 * more than once. */
typedef void volume_guest_fn(uint32_t vmid, void *arg);
int volume_guests(const struct volume_store *store, volume_guest_fn *tell, void *arg, struct err *e);
/* ZFS: let what is kept of the volume stand on nothing of the live one, whatever copying that takes: somebody
 * comes who cannot go round it. ERR_FULL. */
int volume_part(struct volume *v, struct err *e);
/* ZFS: the live volume is its guest's, here: what says that it is a replica goes, lest it travels with what
 * other tools send of it. */
int volume_own(struct volume *v, struct err *e);

/* ZFS: set SNAPSHOT_LARGE or SNAPSHOT_SMALL of those of `all` (volume_snapshots) of which it is known, and in
 * *stage for what the stage has of snapshots. */
int volume_large(struct volume *v, struct snapshots *all, unsigned *stage, struct err *e);

/* Let the host write out now what it would have to write when the snapshot is taken: called before the guest
 * is frozen, so that it is not frozen for that. Takes its time; nothing depends on it. */
void volume_flush(struct volume *v);
/* Do ahead what can be done of volume_snapshot `name`, while the guest runs, where that shortens for how long
 * it is frozen: 1, it was done; 0: it would not. name NULL: only tell. A crash leaves a temporary. */
int volume_snapshot_ahead(struct volume *v, const char *name, struct err *e);
/* Take snapshot `name` of the live volume. `busy`: the guest runs; a plain file without reflinks is then
 * refused with a sentence that says what would help. */
int volume_snapshot(struct volume *v, const char *name, bool busy, struct err *e);
/* Are their snapshots of one instant when they are taken together? Those of one ZFS pool, whatever storages
 * have them. */
bool volume_snapshot_together(const struct volume *a, const struct volume *b);
/* The same of several volumes, in order, as close together as their storages allow: what is of one instant
 * together (volume_snapshot_together) and side by side here is taken at once. *taken: of so many of them it
 * was taken, also after a failure. */
int volume_snapshot_all(struct volume *const v[], size_t n, const char *name, bool busy, size_t *taken,
                        struct err *e);
/* Make it durable and visible, with an id. */
int volume_snapshot_keep(struct volume *v, const char *name, struct snapshot *ret, struct err *e);
/* Remove a snapshot; the id must match what is there, and it must not be STRANGE (ERR_DATA otherwise); not
 * there: 1. After a power cut it
 * may be back: whoever removes it next does so again. */
int volume_snapshot_destroy(struct volume *v, const char *name, const char *id, struct err *e);
/* Many of them, after one look at what there is; `told` hears how each went, as above. -1: that look failed.
 */
typedef void volume_destroyed_fn(const struct snapshot *s, int result, const struct err *e, void *arg);
int volume_snapshots_destroy(struct volume *v, const struct snapshots *go, volume_destroyed_fn *told,
                             void *arg, struct err *e);
/* Of a snapshot of this node's own only what makes it a base of another time, which takes no room, is left.
 * 1: its storage has no such thing, or not of this one, and it stays as it is. */
int volume_snapshot_reduce(struct volume *v, const char *name, const char *id, struct err *e);
int volume_snapshot_rename(struct volume *v, const char *from, const char *to, struct err *e);
/* Does the later one, s, hold anything that `base` does not, or the other way round? 0: they are the same, 1:
 * they differ, or it would cost more than a delta to find out. */
int volume_snapshot_differs(struct volume *v, const struct snapshot *base, const struct snapshot *s,
                            struct err *e);
/* A snapshot that was made on this node counts as received from now on (SNAPSHOT_RECEIVED): its guest lives
 * elsewhere and has it there. The id must match (ERR_DATA); not there: 1. */
int volume_snapshot_adopt(struct volume *v, const char *name, const char *id, struct err *e);
/* It was found, since this moment (epoch), to be another than what its guest had (snapshot.damaged); 0: it
 * was not, whatever was found before. Whoever lists the snapshots is told so from then on, whatever name it
 * gets, until it goes (and volume_tidy came by, where another hand removed it). The snapshot itself is not
 * touched. The id must match (ERR_DATA); not there: 1. */
int volume_snapshot_mark(struct volume *v, const char *name, const char *id, int64_t since, struct err *e);
/* Open the file, block device or directory that holds the snapshot's data, for reading; the id must match
 * (ERR_DATA). A directory may be the root of a mount that is nowhere else (fsmount(2)). A device stays as
 * long as the snapshot does. ERR_CONFIG where the storage has no such thing. */
int volume_snapshot_open(struct volume *v, const struct snapshot *s, int *fd, struct err *e);
/* A disk's data, to be read for itself, of a snapshot or of the live volume. */
struct volume_reader {
    struct blockreader blocks; /* its fd and size */
    void *priv;                /* the driver's */
};
/* s NULL: the live volume. A plain file's snapshot without data of its own is read from the live file,
 * whatever was written to that. ERR_CONFIG for a directory tree. What the reader holds is in the way of who
 * removes it. */
int volume_read_open(struct volume *v, const struct snapshot *s, struct volume_reader *ret, struct err *e);
/* After a failed volume_read_open, or of zeroes, too. */
void volume_read_close(struct volume *v, struct volume_reader *r);
/* The digests of the n blocks from `offset` on (a multiple of the block size, ascending calls), past the page
 * cache where the data can be had from the disk. UNREADABLE (unlike that of any data): the disk gives an
 * error there, of which *bad gets the first sentence. */
int volume_read_digests(struct volume *v, struct volume_reader *r, uint64_t offset, size_t n,
                        struct digest *ret, struct err *bad, struct err *e);
/* In a child that goes on when its parent dies: what that had read of storages is read again, since the
 * parent has changed it meanwhile. */
void volumes_forget(void);
/* Remove temporaries that a crash left (not stages, not snapshots). The caller holds the guest's lock. */
int volume_tidy(struct volume *v, struct err *e);

/* Does the live volume differ from the newest state it is known to have been: a snapshot taken of it on this
 * node, or the received restore point that it was made from? 1 written (or nothing is known), 0 clean.
 * `since` gets the name of that snapshot, "" if unknown. */
int volume_written(struct volume *v, char since[SNAPSHOT_NAME_MAX + 1], struct err *e);
/* Is the live volume what this one snapshot of it holds? 0 it is; 1 it is not, or nothing tells: the snapshot
 * is not there, or has no data to compare with. Another question than volume_written: that asks whether
 * anything would be lost, and is content with any snapshot that has it. */
int volume_differs(struct volume *v, const char *id, struct err *e);
/* No guest runs on the live volume: it is another node's. volume_written may unmount it then, to see what is
 * on the disk. */
void volume_idle(struct volume *v);
/* Keep the live volume's state aside as snapshot `name`, whoever uses it. Repeated with the same name while
 * the live volume stays as it is: fine. A plain file without reflinks that is kept already under another name
 * is not kept again, and has no older state left to build on: the next stage must be a full copy. */
int volume_keep_aside(struct volume *v, const char *name, struct err *e);

/* Traits: what is set on the live volume and that no snapshot's data has, "KEY=VALUE KEY=VALUE…" in the words
 * of its storage: a limit, a reservation, how it is compressed. "" for none; a storage without such things
 * has none, and another kind's are no matter to it.
 */
#define VOLUME_TRAITS_MAX 1023
int volume_traits(struct volume *v, char ret[VOLUME_TRAITS_MAX + 1], struct err *e);
/* ERR_DATA when a text, of a peer perhaps, is no such list. */
int volume_traits_check(const char *traits, struct err *e);
/* The live volume, which was just committed, gets these and no others; they come from a peer. What cannot be
 * set here (no room for a reservation, quotas are off) is no failure: `notes` gets a sentence, and it is
 * remembered with the volume, so that volume_traits gives it on and the guest's former node gets it back. */
int volume_traits_set(struct volume *v, const char *traits, struct strv *notes, struct err *e);
/* What the live volume was to have and has not: a sentence each. `again`: try once more to set it before. */
int volume_traits_lacking(struct volume *v, bool again, struct strv *notes, struct err *e);
/* Could a guest write to the live volume? Tried without writing. ERR_CONFIG with the remedy if not. */
int volume_writable(struct volume *v, struct err *e);

/* Does anybody else on this node use the live volume? What is written to it would be lost when it is replaced
 * or removed. 1: `by` says who, for people; 0: nobody, or it is not there. Whoever only reads a file, but for
 * a container's, uses nothing. volume_destroy asks, too, and so does volume_commit, for who came a moment
 * later, though not for all mounts: who is about to commit asks with this, for several volumes before the
 * first. */
#define VOLUME_USER_MAX 255
int volume_in_use(struct volume *v, char by[VOLUME_USER_MAX + 1], struct err *e);
/* ERR_BUSY when it is in use. */
int volume_check_unused(struct volume *v, struct err *e);

/* Remove the live volume, its stage, its digests, and every snapshot but those kept aside (ASIDE_PREFIX) and
 * those that are somebody's (volume_strays). ERR_CONFIG, and nothing is changed, when it is not
 * alone (volume_alone). ERR_BUSY, and the same, when it is in use. */
int volume_destroy(struct volume *v, struct err *e);

/* ---- delta (source side) ---- */

enum extent_kind { EXTENT_DATA, EXTENT_ZERO };
#define EXTENT_DATA_MAX (1u << 20)
struct extent {
    uint64_t offset, length;
    enum extent_kind kind;
};

struct delta;

enum volume_form {
    VOLUME_NATIVE, /* as its family does */
    VOLUME_RAW,    /* an encrypted volume's stream as it is stored (volume_info.encrypted), for a target that
                    * has no key */
    VOLUME_UNFLAGGED, /* a native stream without the flags of files, for a target that knows none (flags) */
    VOLUME_RANGES,    /* as the extents family does (volume_info.ranges), for a target of that */
};
/* In which form the deltas opened from now on give the volume's data. */
void volume_send_as(struct volume *v, enum volume_form form);
/* ZFS: blocks above 128 KiB go as they are, not in parts. Proxmox VE's own tool sends parts only. */
void volume_send_large(struct volume *v, bool large);
/* From base (NULL: everything that is not zero) to snapshot. Ranges below `from` are left out (resume). */
struct delta *delta_open(struct volume *v, const struct snapshot *base, const struct snapshot *snapshot,
                         uint64_t from, struct err *e);
/* Stream family: what an interrupted transfer of the same still lacks, by the target's token (stage_info).
 * ERR_DATA when the token is for anything else than these two snapshots: it comes from a peer. *sent gets how
 * many bytes of the stream the target has. */
struct delta *delta_resume(struct volume *v, const struct snapshot *base, const struct snapshot *snapshot,
                           const char *token, uint64_t *sent, struct err *e);
void delta_free(struct delta *d);
CLEANUP_FUNC(delta_free, struct delta)
/* 1: *ret is the next range (ascending, not overlapping, at most 1 MiB for DATA, ends within the snapshot's
 * size); 2: still looking, nothing yet (so that the caller can keep its peer awake); 0: end. All-zero blocks
 * found while reading come as EXTENT_ZERO. For a full copy no EXTENT_ZERO is given. */
int delta_next(struct delta *d, struct extent *ret, struct err *e);
/* The data of the DATA extent just returned, in the delta's buffer until the next call. */
const void *delta_data(const struct delta *d);
/* Stream family: read up to `room` bytes of the stream; 0 at its end, which is then known to be whole. */
ssize_t delta_stream(struct delta *d, void *data, size_t room, struct err *e);

/* ---- stage (target side) ---- */

/* A stage_want.base_id, of no snapshot: the stage begins as a copy of the live volume, whatever that holds.
 * Nothing of it is believed: the sender compares each block with its own (stage_digests) and writes what
 * differs. Extents family. */
#define STAGE_OF_LIVE "ffffffffffffffffffffffffffffffff"

struct stage_want {
    const char *snapshot; /* name and id that the sealed stage will have */
    const char *id;
    int64_t created;
    /* NULL or "": full copy; STAGE_OF_LIVE; else a snapshot that is on this volume, or on a storage that
     * keeps only one restore point (many false) the one of the sealed stage, which is then changed in place.
     */
    const char *base_id;
    uint64_t size; /* extents family: size of the volume */
    bool resume;   /* the sender goes on with the stage that stage_info told of; else that is discarded */
    /* ZFS: a new copy beside the live volume, which takes its place at the commit, with none of the snapshots
     * that it has; the base is one that such a stage has already, or the template's. */
    bool anew;
    const char *owner; /* who makes it (job id): kept with the replica, so that only its maker replaces it */
};

struct stage;

int stage_info(struct volume *v, struct stage_info *ret, struct err *e);
/* Opens, or resumes if that is wished (*offset says from where the sender goes on). A stage that does not fit
 * the wish is discarded first. ERR_DATA when the base is not there, ERR_FULL when it cannot fit. */
struct stage *stage_open(struct volume *v, const struct stage_want *want, uint64_t *offset, struct err *e);
/* Closes; an unsealed stage stays for resume. */
void stage_free(struct stage *s);
CLEANUP_FUNC(stage_free, struct stage)
int stage_write(struct stage *s, uint64_t offset, const void *data, size_t n, struct err *e);
int stage_zero(struct stage *s, uint64_t offset, uint64_t n, struct err *e);
int stage_feed(struct stage *s, const void *data, size_t n, struct err *e);
/* What a stage of the extents family holds, as volume_read_digests; ascending calls, each before anything at
 * or behind its offset is written. */
int stage_digests(struct stage *s, uint64_t offset, size_t n, struct digest *ret, struct err *bad,
                  struct err *e);
/* Everything below `offset` has been written: make it durable and remember it, when enough has come together.
 */
int stage_checkpoint(struct stage *s, uint64_t offset, struct err *e);
/* All is there: flush, mark sealed. */
int stage_seal(struct stage *s, struct err *e);
int stage_discard(struct volume *v, struct err *e);

enum commit_how {
    COMMIT_POINT, /* the live volume stays as it is */
    COMMIT_LIVE,  /* it is replaced by a writable copy, unless it was made from this snapshot already */
    COMMIT_ANEW,  /* the same also where it was, when it was written to since */
    COMMIT_FIRST, /* as COMMIT_LIVE, but there must be none: ERR_USAGE, and all is as it was */
};
/* The sealed stage with this id becomes its snapshot. If that is there already (a repeated commit, or one
 * that goes back), only the live volume is brought in line. ERR_BUSY when that is in use. */
int volume_commit(struct volume *v, const char *id, enum commit_how how, struct err *e);
/* Who made this replica (stage_want.owner), "" if it is not one, or a copy of one; `base` the id of the
 * restore point shown. */
int volume_replica(struct volume *v, char owner[32], char base_id[SNAPSHOT_ID_LEN + 1], struct err *e);
