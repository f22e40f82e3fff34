/* The records of a `zfs send` stream: 312 bytes in the byte order of the machine, some with a payload.
 *
 * Source: dmu_replay_record_t, "ZFS Send Stream Format" in the OpenZFS documentation of zstream(8).
 */
#pragma once

#include <stdint.h>
#include <string.h>

#define ZFSRECORD_SIZE 312
#define ZFSRECORD_MAGIC 0x2F5bacbacull /* of the first one, at 8 */
#define ZFSRECORD_EMBEDS (1u << 18)    /* the first one's, at 16: bits of what the stream needs */
#define ZFSRECORD_LARGE (1u << 21)
#define ZFSRECORD_RAW (1u << 26)
#define ZFSRECORD_OF_FILESYSTEM 2u /* the first one's, at 32 */
#define ZFSRECORD_OF_ZVOL 3u
#define ZFSRECORD_NAME 56 /* in the first one: of the snapshot, ended by a zero byte where it is shorter */
#define ZFSRECORD_NAME_MAX 256

enum zfsrecord_type { /* at 0 */
                      ZFSRECORD_BEGIN,
                      ZFSRECORD_OBJECT,
                      ZFSRECORD_FREEOBJECTS,
                      ZFSRECORD_WRITE,
                      ZFSRECORD_FREE,
                      ZFSRECORD_END,
                      ZFSRECORD_BYREF,
                      ZFSRECORD_SPILL,
                      ZFSRECORD_EMBEDDED,
};

static inline uint32_t zfsrecord_u32(const unsigned char *record, size_t at)
{
    uint32_t n;
    memcpy(&n, record + at, sizeof n);
    return n;
}

static inline uint64_t zfsrecord_u64(const unsigned char *record, size_t at)
{
    uint64_t n;
    memcpy(&n, record + at, sizeof n);
    return n;
}
