/* Parts of the `dir` driver. A storage of type dir keeps the live file PATH/images/VMID/FILE; everything of
 * ours lies beside it:
 *
 *     .pvesr.FILE@SNAP         a snapshot with its data: a reflink, mode 0400, never written to
 *     .pvesr-digest.FILE@SNAP  a snapshot without data: one digest per block (volume/file/blockmap.h)
 *     .pvesr-stage.FILE        the replica in the making
 *     .pvesr-tmp.FILE@TAG      anything unfinished; removed by volume_tidy
 *
 * What is known about each is in its extended attributes (volume/mark.h). Names are opened relative to the
 * directory's descriptor, with O_NOFOLLOW: no symlink below the storage's path is ever followed.
 *
 * Two modes, by what the file system can do: reflink.c and plain.c.
 */
#pragma once

#include "volume/driver.h"
#include "volume/file/stage.h"

#include <limits.h>
#include <stdbool.h>

struct dir {
    const struct volume_store *store;
    uint32_t vmid;
    char *file;       /* name of the live file */
    int root;         /* the storage's path */
    int fd;           /* images/VMID; -1 while it is not there */
    char *ahead;      /* the snapshot whose temporary is nearly what the live file is; NULL: none */
    signed char mode; /* -1 not asked yet, 0 plain, 1 reflink */
};

enum dir_kind { DIR_SNAPSHOT, DIR_DIGEST, DIR_STAGE, DIR_TEMP };
struct dir_name {
    char s[NAME_MAX + 1];
};

/* Tags of temporaries that are not a snapshot's; no snapshot's name has an '@'. */
#define DIR_TAG_LIVE "@live"
#define DIR_TAG_MAP "@map"
#define DIR_TAG_FORMER "@former"
#define DIR_TAG_UNDONE "@undone"
#define DIR_TAG_PROBE "@probe"

/* ---- files.c: files in the directory ---- */

struct dir_name dir_name(const struct dir *d, enum dir_kind kind, const char *tag);
/* For people: malloc'ed. */
char *dir_path(const struct dir *d, const char *name);
/* Open images/VMID. 1: it is not there (and `make` is false). */
int dir_enter(struct dir *d, bool make, struct err *e);
/* Open a regular file; *fd is -1 unless 0 is returned. 1: not there. */
int dir_file(const struct dir *d, const char *name, int flags, int *fd, struct err *e);
/* volume_writable: not of a read-only mount, or of an immutable file. */
int dir_writable(struct dir *d, struct err *e);
/* Make an empty file for reading and writing, mode 0600, in place of any other. */
int dir_create(const struct dir *d, const char *name, int *fd, struct err *e);
/* Rename; an existing `to` is only replaced when asked for, else ERR_DATA. Not durable before dir_sync. */
int dir_move(const struct dir *d, const char *from, const char *to, bool replace, struct err *e);
/* 1 when it was not there. */
int dir_remove(const struct dir *d, const char *name, struct err *e);
int dir_sync(const struct dir *d, struct err *e);
/* 1: it is there, 0: it is not. */
int dir_has(const struct dir *d, const char *name, struct err *e);
/* The tags of this volume's files of a kind; for DIR_STAGE one empty string when it is there. */
int dir_tags(const struct dir *d, enum dir_kind kind, struct strv *ret, struct err *e);
/* Can the file system share blocks between files? 1 or 0; asked once per file system and process, by trying.
 * Where that is refused, what there is of the volume tells: who only reads or removes can do so on a full or
 * read-only one. */
int dir_can_reflink(struct dir *d, struct err *e);
/* The live file's mode and owner become those of fd (0640 when there is none). */
int dir_copy_mode(const struct dir *d, int fd, struct err *e);
/* Who uses the live file (volume/users.h); nobody, when it is not there. */
int dir_in_use(const struct dir *d, char by[VOLUME_USER_MAX + 1], struct err *e);
/* The file `from` becomes the live file, unless somebody has that open for writing; durable. */
int dir_replace_live(const struct dir *d, const char *from, struct err *e);
int dir_flush(int fd, const char *name, struct err *e);

/* ---- room.c ---- */

int dir_traits(struct volume *v, struct strv *ret, struct err *e);
int dir_traits_set(struct volume *v, const struct strv *traits, struct strv *notes, struct err *e);
int dir_traits_lacking(struct volume *v, bool again, struct strv *notes, struct err *e);
int dir_traits_forget(struct dir *d, struct err *e);

/* ---- snapshots.c: what snapshots there are ---- */

/* Every snapshot that can be relied on; a data file without an id gets one. Not sorted. */
int dir_snapshots(struct dir *d, struct snapshots *ret, struct err *e);
/* 1: none with this id. */
int dir_find(struct dir *d, const char *id, struct snapshot *ret, struct err *e);
/* The newest snapshot that `file`, which is or was the live one, is known to have been: one taken of it here,
 * or the received one that it was made from; else the newest of all. digests: of those with digests. 1: none.
 */
int dir_reference(struct dir *d, const char *file, bool digests, struct snapshot *ret, struct err *e);
/* Open its data or its digests; *kind says which. 1: not there. */
int dir_open_snapshot(struct dir *d, const char *name, enum dir_kind *kind, int *fd, struct err *e);
/* ERR_USAGE when the name is taken. */
int dir_check_free(struct dir *d, const char *name, struct err *e);
/* A number above all others. */
int dir_next_seq(struct dir *d, uint64_t *ret, struct err *e);
/* Make the file `from` (flushed here) the snapshot s->name of this kind, durably; s->seq is filled. */
int dir_publish(struct dir *d, int fd, const char *from, enum dir_kind kind, struct snapshot *s,
                const char *owner, struct err *e);
int dir_snapshot_destroy(struct dir *d, const char *name, const char *id, struct err *e);
int dir_snapshot_adopt(struct dir *d, const char *name, const char *id, struct err *e);
int dir_snapshot_mark(struct dir *d, const char *name, const char *id, int64_t since, struct err *e);
int dir_snapshot_rename(struct dir *d, const char *from, const char *to, struct err *e);
/* All of this kind; of temporaries not what former_settle left. */
int dir_remove_all(struct dir *d, enum dir_kind kind, struct err *e);
/* Those that go with the volume (snapshot_goes_along), and all digests. */
int dir_remove_snapshots(struct dir *d, bool points, struct err *e);

/* ---- the two modes; volume.h says what each must do ---- */

int reflink_snapshot_ahead(struct dir *d, const char *name, struct err *e);
int reflink_snapshot(struct dir *d, const char *name, struct err *e);
int reflink_keep(struct dir *d, const char *name, struct snapshot *ret, struct err *e);
int reflink_keep_aside(struct dir *d, const char *name, struct err *e);
/* volume_written and volume_differs, of the live file or of what was it (`file`). */
int reflink_written(struct dir *d, const char *file, char *since, struct err *e);
int reflink_differs(struct dir *d, const char *file, const struct snapshot *s, struct err *e);
/* A stage's file: a copy of the base (or empty), of the wanted size. */
int reflink_prepare(struct dir *d, const struct filestage_mark *mark, int fd, struct err *e);
int reflink_commit(struct volume *v, const char *id, enum commit_how how, struct err *e);

int plain_snapshot(struct dir *d, const char *name, bool busy, struct err *e);
int plain_keep(struct dir *d, const char *name, struct snapshot *ret, struct err *e);
int plain_keep_aside(struct dir *d, const char *name, struct err *e);
int plain_written(struct dir *d, char *since, struct err *e);
int plain_differs(struct dir *d, const struct snapshot *s, struct err *e);
int plain_prepare(struct dir *d, const struct filestage_mark *mark, int fd, struct err *e);
/* Digest maps that count no more, of restore points that nothing here can go back to. */
int plain_tidy(struct dir *d, struct err *e);
int plain_commit(struct volume *v, const char *id, enum commit_how how, struct err *e);

/* ---- clones.c: linked clones that stand on the live file ---- */

/* ERR_CONFIG when there are any; only a template has some. */
int dir_check_clones(const struct dir *d, struct err *e);
/* The same, but it may be replaced by a file of the same bytes. */
int dir_check_clones_of(const struct dir *d, int live, const char *by, struct err *e);

/* ---- former.c: the file whose place a commit has taken ---- */

/* Give the live file this other name, a temporary's; nothing, where there are no hard links. */
int former_link(struct volume *v, const char *tag, struct err *e);
/* What such a file has that no snapshot has is kept aside, whatever asked before; remove: and the name goes.
 * 1: there is no room to keep it, says *e, and it stays what it is. */
int former_settle(struct volume *v, bool remove, struct err *e);
/* Of a file that has been linked, and so has another ctime. */
int plain_former_written(struct dir *d, int fd, const char *file, struct err *e);

/* ---- delta.c: of the driver's table ---- */

int dir_delta_open(struct delta *d, const struct snapshot *base, const struct snapshot *snapshot,
                   uint64_t from, struct err *e);
int dir_delta_next(struct delta *d, struct extent *ret, struct err *e);
const void *dir_delta_data(const struct delta *d);
void dir_delta_close(struct delta *d);

/* ---- show.c: of the driver's table ---- */

int dir_snapshot_ahead(struct volume *v, const char *name, struct err *e);
int dir_written(struct volume *v, char *since, struct err *e);
int dir_differs(struct volume *v, const char *id, struct err *e);
int dir_show_snapshot(struct volume *v, const struct snapshot *s, int *fd, struct err *e);
int dir_read_open(struct volume *v, const struct snapshot *s, struct volume_reader *ret, int *fd,
                  uint64_t *size, struct err *e);
