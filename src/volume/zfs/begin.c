/* The zfspool driver: what a received stream begins with. `zfs receive` would take more than what was agreed
 * upon: a package of streams makes datasets and sets properties such as mountpoint, and one that says it is
 * based on some other snapshot of the pool becomes a clone of that. And whether it can be one that loses
 * something. */
#include "volume/zfs/zfs.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define ONE_STREAM 1u /* not a package */

static bool is_id(uint64_t guid, const char *id)
{
    char text[SNAPSHOT_ID_LEN + 1];
    snprintf(text, sizeof text, "%032" PRIx64, guid);
    return strcmp(text, id) == 0;
}

/* "DATASET@SNAPSHOT" */
static bool is_named(const unsigned char record[ZFSRECORD_SIZE], const char *snapshot)
{
    char name[ZFSRECORD_NAME_MAX + 1] = "";
    memcpy(name, record + ZFSRECORD_NAME, ZFSRECORD_NAME_MAX);
    const char *at = strchr(name, '@');
    return at && strcmp(at + 1, snapshot) == 0;
}

int zfs_begin_check(const unsigned char record[ZFSRECORD_SIZE], bool volume, const char *snapshot,
                    const char *id, const char *base_id, struct err *e)
{
    if (zfsrecord_u32(record, 0) != ZFSRECORD_BEGIN || zfsrecord_u64(record, 8) != ZFSRECORD_MAGIC ||
        (zfsrecord_u64(record, 16) & 3) != ONE_STREAM)
        return err_set(e, ERR_DATA, 0, "the stream is not one of a single ZFS dataset");
    if (zfsrecord_u32(record, 32) != (volume ? ZFSRECORD_OF_ZVOL : ZFSRECORD_OF_FILESYSTEM))
        return err_set(e, ERR_DATA, 0, "the stream is not one of a %s", volume ? "volume" : "file system");
    uint64_t base = zfsrecord_u64(record, 48);
    if (!is_id(zfsrecord_u64(record, 40), id) || (*base_id ? !is_id(base, base_id) : base != 0))
        return err_set(e, ERR_DATA, 0, "the stream is of other snapshots than was said");
    if (!is_named(record, snapshot))
        return err_set(e, ERR_DATA, 0, "the stream is of a snapshot of another name than '%s'", snapshot);
    return 0;
}

/* Encrypted blocks are never embedded, whatever the stream may have by its flags. */
bool zfs_begin_embeds(const unsigned char record[ZFSRECORD_SIZE])
{
    uint64_t flags = zfsrecord_u64(record, 16);
    return flags & ZFSRECORD_EMBEDS && !(flags & ZFSRECORD_RAW);
}

bool zfs_begin_large(const unsigned char record[ZFSRECORD_SIZE])
{
    return zfsrecord_u64(record, 16) & ZFSRECORD_LARGE;
}

bool zfs_release_lossy(const char *release)
{
    unsigned major, minor;
    return sscanf(release, "%u.%u", &major, &minor) != 2 || major > 2 || (major == 2 && minor >= 3);
}
