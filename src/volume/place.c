#include "volume/place.h"

#include "base/mem.h"
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

int made_of_file(int dir, const char *name, char ret[VOLUME_SIGN_MAX + 1], struct err *e)
{
    struct statx st;
    if (dir < 0)
        return 0;
    if (statx(dir, name, AT_SYMLINK_NOFOLLOW, STATX_INO | STATX_BTIME, &st) < 0)
        return errno == ENOENT ? 0 : err_sys(e, "cannot stat '%s'", name);
    bool born = st.stx_mask & STATX_BTIME;
    snprintf(ret, VOLUME_SIGN_MAX + 1, "file:%" PRIu64 ":%" PRId64 ".%09u", (uint64_t)st.stx_ino,
             born ? (int64_t)st.stx_btime.tv_sec : 0, born ? (unsigned)st.stx_btime.tv_nsec : 0);
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

/* ---- whose replica it is ---- */

struct keeper_key {
    char s[SNAPSHOT_ID_LEN + 16];
};

static struct keeper_key keeper_key(const char *name)
{
    struct keeper_key key;
    char id[SNAPSHOT_ID_LEN + 1];
    mark_id_of(name, id);
    snprintf(key.s, sizeof key.s, "keeper.%s", id);
    return key;
}

/* "INODE NODE": a directory that was copied with its attributes is another one. */
static int inode_of(int dir, char ret[24], struct err *e)
{
    struct stat st;
    if (fstat(dir, &st) < 0)
        return err_sys(e, "cannot stat the directory of the guest's images");
    snprintf(ret, 24, "%" PRIu64 " ", (uint64_t)st.st_ino);
    return 0;
}

int keeper_get(int dir, const char *name, char ret[VOLUME_KEEPER_MAX + 1], struct err *e)
{
    char inode[24], text[VOLUME_KEEPER_MAX + 24];
    *ret = 0;
    if (dir < 0)
        return 0;
    int r = mark_get(dir, keeper_key(name).s, text, sizeof text, e);
    if (r != 0)
        return r < 0 ? -1 : 0;
    if (inode_of(dir, inode, e) < 0)
        return -1;
    if (strncmp(text, inode, strlen(inode)) == 0)
        snprintf(ret, VOLUME_KEEPER_MAX + 1, "%s", text + strlen(inode));
    return 0;
}

int keeper_set(int dir, const char *name, const char *node, struct err *e)
{
    char text[VOLUME_KEEPER_MAX + 24];
    if (dir < 0)
        return 0;
    if (inode_of(dir, text, e) < 0)
        return -1;
    size_t n = strlen(text);
    snprintf(text + n, sizeof text - n, "%s", node);
    return mark_set(dir, keeper_key(name).s, text, e);
}

char *keeper_remedy(const char *path, const char *name)
{
    return xasprintf("setfattr -x user.pvesr.%s %s", keeper_key(name).s, path);
}

void keeper_end(int dir, const char *name)
{
    struct err ignored;
    if (dir >= 0)
        mark_clear(dir, keeper_key(name).s, &ignored);
}
