/* The tag of ours on a logical volume: everything that is known about it, as one text in the characters that
 * LVM allows in tags (A-Za-z0-9_+.-/=!:#&, at most 1024).
 *
 *     pvesr=2/SNAPSHOT/ID/BASE/OWNER/CREATED/SIZE/OFFSET/SEALED/SEQ/FLAGS/VOLUME/WAS
 *
 * VOLUME and SNAPSHOT are the names for which the LV got it (WAS: another one of the latter, while we rename
 * it). No copy has it, but what somebody renames keeps it, and is theirs from then on. Those of earlier
 * versions begin with 1 and end with FLAGS. An empty text is "-"; bytes of SNAPSHOT and OWNER that a tag
 * cannot have, '&' and '/' are &HH. On a live volume it is the tag of the restore point that the volume was
 * made from. Whoever administers the machine can write anything there: a tag that is not what it must be is
 * as good as none.
 */
#pragma once

#include "volume/file/stage.h"
#include "volume/mark.h"
#include "volume/name.h"

#define LVM_TAG_PREFIX "pvesr="
#define LVM_TAG_MAX 640
/* A tag of its own, which an earlier version passes over: since when a restore point is known to be another
 * than it should be (mark_damaged_parse). */
#define LVM_TAG_DAMAGED "pvesr_damaged="

/* Another one: what a restore point mapped when it was made (lvm_seal), in hex digits. */
#define LVM_TAG_SEAL "pvesr_seal="
#define LVM_SEAL_LEN 32

struct lvm_mark {
    struct filestage_mark m; /* offset, sealed, base_id: of a stage, and kept when it is a snapshot */
    uint64_t seq;
    unsigned flags;                   /* SNAPSHOT_RECEIVED */
    char volume[VOLUME_FILE_MAX + 1]; /* "": a tag of an earlier version, which does not say */
    char was[SNAPSHOT_NAME_MAX + 1];
};

void lvm_mark_print(const struct lvm_mark *mark, char ret[LVM_TAG_MAX]);
/* Does an LV of this volume, and of this snapshot if it is one (else NULL), have the mark that was made for
 * it? A snapshot that only has another volume's name is nobody's: a guest that becomes a template has such.
 */
enum bond lvm_mark_bond(const struct lvm_mark *mark, const char *volume, const char *snapshot);
/* false when it makes no sense. */
bool lvm_mark_parse(const char *tag, struct lvm_mark *ret);

/* `bytes` rounded up to whole extents, at least one. 0 when there is no such number. */
uint64_t lvm_round(uint64_t bytes, uint64_t extent);
