#include "volume/file/room.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/falloc.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define UNIT 512 /* of st_blocks */

bool room_is_full(int fd)
{
    struct stat st;
    return fstat(fd, &st) == 0 && st.st_size > 0 && (int64_t)st.st_blocks * UNIT >= st.st_size;
}

int room_check(int fd, const char *path, struct err *e)
{
    struct stat st;
    struct statvfs fs;
    if (fstat(fd, &st) < 0 || fstatvfs(fd, &fs) < 0)
        return err_sys(e, "cannot stat '%s'", path);
    int64_t needed = st.st_size - (int64_t)st.st_blocks * UNIT;
    uint64_t room = (uint64_t)fs.f_bavail * fs.f_frsize;
    if (needed <= 0 || (uint64_t)needed + (uint64_t)needed / 64 <= room)
        return 0;
    return err_set(e, ERR_FULL, ENOSPC,
                   "it needs %" PRId64 " bytes more, and %" PRIu64 " are free: make room, then fallocate -n "
                   "-l %" PRId64 " '%s'",
                   needed, room, (int64_t)st.st_size, path);
}

/* What was allocated and is not written reads as a hole once the file is flushed. */
static void give_back(int fd, off_t size)
{
    off_t end;
    for (off_t at = 0; fsync(fd) == 0 && at < size && (at = lseek(fd, at, SEEK_HOLE)) >= 0 && at < size;
         at = end) {
        end = lseek(fd, at, SEEK_DATA);
        if (end < 0)
            end = size;
        if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, end - at) < 0)
            return;
    }
}

int room_fill(int fd, const char *path, struct err *e)
{
    struct stat st;
    if (room_check(fd, path, e) < 0)
        return -1;
    if (fstat(fd, &st) < 0)
        return err_sys(e, "cannot stat '%s'", path);
    if (fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, st.st_size) < 0) {
        err_sys(e, "cannot allocate all of '%s'", path);
        if (e->code == ENOSPC)
            give_back(fd, st.st_size);
        return -1;
    }
    return fsync(fd) < 0 ? err_sys(e, "cannot flush '%s'", path) : 0;
}
