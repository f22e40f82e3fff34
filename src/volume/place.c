#include "volume/place.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>

int place_of_file(int dir, int root, const char *below, const char *name, struct volume_place *ret,
                  struct err *e)
{
    struct stat st;
    if (fstat(dir >= 0 ? dir : root, &st) < 0)
        return err_sys(e, "cannot stat the directory of '%s'", name);
    snprintf(ret->spot, sizeof ret->spot, "%" PRIx64 ":%" PRIx64 "/%s%s%s", (uint64_t)st.st_dev,
             (uint64_t)st.st_ino, dir >= 0 ? "" : below, dir >= 0 ? "" : "/", name);
    if (dir < 0)
        return 0;
    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : err_sys(e, "cannot stat '%s'", name);
    ret->device = (uint64_t)st.st_dev;
    ret->object = (uint64_t)st.st_ino;
    return 0;
}
