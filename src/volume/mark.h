/* Marks: what we remember about a file or directory, in its extended attributes `user.pvesr.KEY`. They travel
 * with a rename, do not travel with FICLONE, and do travel with a btrfs snapshot.
 *
 *     id, seq, created, flags, owner   of a snapshot (struct mark_snapshot)
 *     base, owner                            of a live replica: the restore point it shows, and who made it
 *     stage                                  of a file being staged (volume/file/stage.h)
 *
 * Values are text. A file's owner can write anything there: a value that is not what it must be is as good as
 * none. Setting a mark is not durable before the next fsync of the file.
 */
#pragma once

#define MARK_KEY_MAX 52

#include "base/err.h"
#include "base/strv.h"
#include "volume/volume.h"

#include <stdbool.h>
#include <stdint.h>

/* 0, or 1 when there is none (or it does not fit, or is not printable text). */
int mark_get(int fd, const char *key, char *ret, size_t room, struct err *e);
/* ERR_CONFIG when the file system keeps no user attributes. */
int mark_set(int fd, const char *key, const char *value, struct err *e);
/* 1 when it was not there. */
int mark_clear(int fd, const char *key, struct err *e);

/* What follows `prefix` in the keys of all that begin with it; nothing, when they cannot be listed. */
void mark_list(int fd, const char *prefix, struct strv *ret);

/* Of a restore point that was found to be another than it should be (snapshot.damaged): since when, as text.
 * 0: what it says makes no sense. */
int64_t mark_damaged_parse(const char *text);
/* The same in the attribute `user.pvesr.damaged.KEY` of the directory in which it lies: one of its own would
 * change its times, or it takes none. since 0: none. Not durable before the directory is. */
#define MARK_DAMAGED "damaged."
int mark_damaged_set(int dir, const char *key, int64_t since, struct err *e);
int mark_damaged_get(int dir, const char *key, int64_t *ret, struct err *e);

/* What ties a mark to the thing that got it, and to the name that we gave that: a copy may have the mark,
 * too, and so does what somebody renamed to keep it. Neither is ours. */
enum bond {
    BOND_NONE, /* an earlier version made it, another tool, or somebody */
    BOND_OURS,
    BOND_RENAMED, /* what we made, by another name */
    BOND_COPY     /* something else */
};
/* Is the name one of those in the text, between blanks? */
bool mark_has_name(const char *names, const char *name);

/* A key for what is kept of a file of this name beside it: the name itself, or its hash where an attribute's
 * name could not hold it. */
struct mark_key {
    char s[MARK_KEY_MAX + 1];
};
struct mark_key mark_key_of(const char *prefix, const char *name);

/* Random, 32 hex digits. */
void mark_new_id(char id[SNAPSHOT_ID_LEN + 1]);
/* The same for the same name: of what has a name that nothing else in the world has. */
void mark_id_of(const char *unique, char id[SNAPSHOT_ID_LEN + 1]);

/* Everything of a snapshot but its name and size. The id is written last: a file without one is no snapshot
 * of ours. READABLE is not kept. owner may be "". */
int mark_snapshot_set(int fd, const struct snapshot *s, const char *owner, struct err *e);
/* Make it one that was received. */
int mark_snapshot_adopt(int fd, struct err *e);
/* 1 when the file has no valid id. ret->name and ret->size are not touched. */
int mark_snapshot_get(int fd, struct snapshot *ret, struct err *e);
