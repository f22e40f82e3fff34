/* A replica in the making, in one regular file: written by ranges, flushed in the background, with a durable
 * offset from which a later process goes on. The driver makes the file (empty or a copy of the base, with the
 * wanted size) and says where the sealed file goes; this module knows nothing of names.
 *
 *     filestage_new → filestage_write/_zero … [filestage_checkpoint] → filestage_seal
 *
 * What is being staged and how far it came is one extended attribute `user.pvesr.stage` of the file, set when
 * a checkpoint is durable and when the stage is sealed. A file without it is worth nothing: no data of it,
 * nor its copy of the base, is known to be on the disk; throw it away. The attribute is set after the data it
 * speaks of was flushed; a power cut can therefore lose the newest checkpoint, never claim bytes that are not
 * there.
 *
 * A copy of the file that keeps attributes (btrfs snapshot) keeps this one too: set another, or clear it with
 * mark_clear(fd, "stage"), before the copy is anything else.
 */
#pragma once

#include "base/err.h"
#include "base/tick.h"
#include "volume/volume.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct filestage_mark {
    char snapshot[SNAPSHOT_NAME_MAX + 1];
    char id[SNAPSHOT_ID_LEN + 1];
    char base_id[SNAPSHOT_ID_LEN + 1]; /* "" for a full copy */
    char owner[32];
    int64_t created;
    uint64_t size;
    uint64_t offset;
    bool sealed;
};

/* 1 when there is none, or none that makes sense. */
int filestage_mark_get(int fd, struct filestage_mark *ret, struct err *e);
/* Not durable before the next fsync. */
int filestage_mark_set(int fd, const struct filestage_mark *m, struct err *e);
/* Offset 0, not sealed. base_id NULL becomes "". */
void filestage_mark_init(struct filestage_mark *m, const struct stage_want *want);
/* Can a stage with this mark be gone on with for this wish? A sealed one can: its offset is its size. */
bool filestage_mark_fits(const struct filestage_mark *m, const struct stage_want *want);
void filestage_mark_info(const struct filestage_mark *m, struct stage_info *ret);

/* Turn a sealed stage into the unsealed one that is wanted upon it, in place and durably, before anything of
 * the new one is written. *m becomes the new mark. */
int filestage_chain(int fd, struct filestage_mark *m, const struct stage_want *want, struct err *e);

struct filestage;

/* Takes over fd (open for reading and writing, of size mark->size). Begins the stage (any mark of the
 * file is cleared) when mark->offset is 0 and the file does not have this very mark, else resumes it there; a
 * full copy that is resumed loses what lies behind the offset. `what` names it in messages; `tick` is
 * borrowed, may be NULL. On failure fd is closed. */
struct filestage *filestage_new(int fd, const char *what, const struct filestage_mark *mark,
                                const struct tick *tick, struct err *e);
/* NULL is fine. The file stays as it is. */
void filestage_free(struct filestage *s);
CLEANUP_FUNC(filestage_free, struct filestage)

/* Borrowed. */
int filestage_fd(const struct filestage *s);
/* Does a stage with this mark begin as a copy of the live volume (STAGE_OF_LIVE)? */
bool filestage_mark_of_live(const struct filestage_mark *m);

/* Nothing of a sealed one; ranges lie within the size (volume.c has checked both). Zeros become holes where
 * the file system can, in whole pages of 4 KiB, those within written data too. */
int filestage_write(struct filestage *s, uint64_t offset, const void *data, size_t n, struct err *e);
int filestage_zero(struct filestage *s, uint64_t offset, uint64_t n, struct err *e);
/* Everything below offset has been written. Each filestage_checkpoint_bytes (64 MiB; tests want less) or so
 * it is made durable. */
extern uint64_t filestage_checkpoint_bytes;
int filestage_checkpoint(struct filestage *s, uint64_t offset, struct err *e);
/* Flush everything, mark sealed, make that durable too. */
int filestage_seal(struct filestage *s, struct err *e);
