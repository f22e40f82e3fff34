#include "volume/place.h"

#include "base/modes.h"
#include "volume/mark.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

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

#define SIGN "file:"

/* The file that a sign means, NULL: it is none of these, or asks for something else. */
static const char *file_of(const char *sign)
{
    const char *name = sign + strlen(SIGN);
    if (strncmp(sign, SIGN, strlen(SIGN)) != 0 || strchr(name, '/') || !strstr(name, SIGN_TAG))
        return NULL;
    return name;
}

int sign_put(int dir, const char *temporary, char ret[VOLUME_SIGN_MAX + 1], struct err *e)
{
    char id[SNAPSHOT_ID_LEN + 1];
    if (dir < 0)
        return 0;
    mark_new_id(id);
    snprintf(ret, VOLUME_SIGN_MAX + 1, SIGN "%s" SIGN_TAG "%s", temporary, id);
    int fd = openat(dir, file_of(ret), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, MODE_NOTE);
    if (fd < 0)
        return err_sys(e, "cannot make '%s', by which another node would know this directory", file_of(ret));
    close(fd);
    return 0;
}

int sign_seen(int dir, const char *sign, struct err *e)
{
    struct stat st;
    const char *name = file_of(sign);
    if (dir < 0 || !name)
        return 0;
    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
        return 1;
    return errno == ENOENT || errno == ENAMETOOLONG ? 0 : err_sys(e, "cannot look for '%s'", name);
}

void sign_end(int dir, const char *sign)
{
    const char *name = file_of(sign);
    if (dir >= 0 && name)
        unlinkat(dir, name, 0);
}
