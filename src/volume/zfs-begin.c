/* The zfspool driver: what a received stream begins with. `zfs receive` would take more than what was agreed
 * upon: a package of streams makes datasets and sets properties such as mountpoint, and one that says it is
 * based on some other snapshot of the pool becomes a clone of that. */
#include "volume/zfs.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define MAGIC 0x2F5bacbacull
#define BEGIN 0u
#define ONE_STREAM 1u /* not a package */
#define TYPE_ZFS 2u
#define TYPE_ZVOL 3u

static uint64_t get(const unsigned char *record, size_t at, size_t width)
{
    uint64_t n = 0;
    memcpy(&n, record + at, width);
    return n;
}

static bool is_id(uint64_t guid, const char *id)
{
    char text[SNAPSHOT_ID_LEN + 1];
    snprintf(text, sizeof text, "%032" PRIx64, guid);
    return strcmp(text, id) == 0;
}

int zfs_begin_check(const unsigned char record[ZFS_RECORD], bool volume, const char *id, const char *base_id,
                    struct err *e)
{
    if (get(record, 0, 4) != BEGIN || get(record, 8, 8) != MAGIC || (get(record, 16, 8) & 3) != ONE_STREAM)
        return err_set(e, ERR_DATA, 0, "the stream is not one of a single ZFS dataset");
    if (get(record, 32, 4) != (volume ? TYPE_ZVOL : TYPE_ZFS))
        return err_set(e, ERR_DATA, 0, "the stream is not one of a %s", volume ? "volume" : "file system");
    uint64_t base = get(record, 48, 8);
    if (!is_id(get(record, 40, 8), id) || (*base_id ? !is_id(base, base_id) : base != 0))
        return err_set(e, ERR_DATA, 0, "the stream is of other snapshots than was said");
    return 0;
}
