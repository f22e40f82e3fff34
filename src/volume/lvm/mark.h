/* The tag of ours on a logical volume: everything that is known about it, as one text in the characters that
 * LVM allows in tags (A-Za-z0-9_+.-/=!:#&, at most 1024).
 *
 *     pvesr=1/SNAPSHOT/ID/BASE/OWNER/CREATED/SIZE/OFFSET/SEALED/SEQ/FLAGS
 *
 * An empty text is "-"; bytes of SNAPSHOT and OWNER that a tag cannot have, '&' and '/' are &HH. On a live
 * volume it is the tag of the restore point that the volume was made from. Whoever administers the machine
 * can write anything there: a tag that is not what it must be is as good as none.
 */
#pragma once

#include "volume/file/stage.h"

#define LVM_TAG_PREFIX "pvesr="
#define LVM_TAG_MAX 640

struct lvm_mark {
    struct filestage_mark m; /* offset, sealed, base_id: of a stage, and kept when it is a snapshot */
    uint64_t seq;
    unsigned flags; /* SNAPSHOT_RECEIVED */
};

void lvm_mark_print(const struct lvm_mark *mark, char ret[LVM_TAG_MAX]);
/* false when it makes no sense. */
bool lvm_mark_parse(const char *tag, struct lvm_mark *ret);

/* `bytes` rounded up to whole extents, at least one. 0 when there is no such number. */
uint64_t lvm_round(uint64_t bytes, uint64_t extent);
