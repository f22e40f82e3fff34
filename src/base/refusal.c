#include "base/refusal.h"

#include "base/mem.h"
#include "base/mountinfo.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

__attribute__((format(printf, 2, 3))) static void add(struct err *e, const char *format, ...)
{
    char more[ERR_TEXT_MAX];
    va_list ap;
    va_start(ap, format);
    vsnprintf(more, sizeof more, format, ap);
    va_end(ap);
    if (strstr(e->text, more))
        return;
    int code = e->code;
    err_set(e, e->kind, 0, "%s (%s)", e->text, more);
    e->code = code;
}

/* What was begun is gone again when the reason is asked for. */
enum { INODES_FEW = 16, BYTES_SOME = 1 << 20 };

/* The nearest folder that is there. */
static char *folder_of(const char *path)
{
    char *at = xstrdup(path);
    struct stat st;
    while (stat(at, &st) < 0 || !S_ISDIR(st.st_mode)) {
        char *slash = strrchr(at, '/');
        if (!slash || slash == at) {
            free(at);
            return xstrdup(slash ? "/" : ".");
        }
        *slash = 0;
    }
    return at;
}

int refusal_barred(const char *path, struct err *e)
{
    struct statx st;
    if (statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, &st) < 0)
        return 0;
    uint64_t set = st.stx_attributes & st.stx_attributes_mask;
    if (!(set & (STATX_ATTR_IMMUTABLE | STATX_ATTR_APPEND)))
        return 0;
    bool immutable = set & STATX_ATTR_IMMUTABLE;
    return err_set(e, ERR_CONFIG, 0, "'%s' is %s: chattr -%c '%s'", path,
                   immutable ? "immutable" : "append-only", immutable ? 'i' : 'a', path);
}

bool refusal_by_flag(struct err *e, const char *path)
{
    struct err why;
    if (e->code != EPERM || refusal_barred(path, &why) == 0)
        return false;
    add(e, "%s", why.text);
    return true;
}

static void explain_full(struct err *e, const char *folder)
{
    struct statvfs fs;
    if (statvfs(folder, &fs) < 0)
        return;
    uint64_t bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
    if (fs.f_files && fs.f_favail < INODES_FEW && bytes >= BYTES_SOME)
        add(e,
            "no inodes are left for '%s', though %" PRIu64
            " bytes are free: remove files there, see df -i '%s'",
            folder, bytes, folder);
    else
        add(e, "'%s' has %" PRIu64 " bytes free: make room there", folder, bytes);
}

/* ---- a file system that fails ---- */

static const struct {
    const char *type, *remedy; /* of each type that begins so */
} repairs[] = {
    {"xfs", "unmount it and mount it anew; if that fails, xfs_repair"},
    {"ext", "unmount it, then e2fsck -f"},
    {"btrfs", "btrfs device stats and btrfs scrub start tell what is damaged on"},
    {"zfs", "zpool status -v tells what is damaged of"},
    {"nfs", "its server failed, or answered no more: see"},
    {"cifs", "its server failed, or answered no more: see"},
    {"", "unmount it, then check and repair"},
};

/* Of mounts that lie upon each other the last one counts. */
static void explain_mount(struct err *e, const char *path, FILE *mounts)
{
    struct mountinfo m;
    size_t room = 0, longest = 0;
    char *line = NULL;
    _cleanup_free_ char *found = NULL;
    while (getline(&line, &room, mounts) > 0) {
        if (!mountinfo_parse(line, &m) || !mountinfo_holds(&m, path) || strlen(m.point) < longest)
            continue;
        size_t i = 0;
        while (strncmp(m.type, repairs[i].type, strlen(repairs[i].type)) != 0)
            i++;
        longest = strlen(m.point);
        free(found);
        found = xasprintf("'%s' is the %s of '%s': %s '%s'", m.point, m.type, m.source, repairs[i].remedy,
                          strcmp(repairs[i].type, "btrfs") == 0 ? m.point : m.source);
    }
    free(line);
    if (found)
        add(e, "%s", found);
}

/* Where the path leads, as far as that can be read. */
static char *resolve(const char *path)
{
    _cleanup_free_ char *at = xstrdup(path);
    char *slash, *real = realpath(at, NULL);
    while (!real && (slash = strrchr(at, '/')) && slash > at) {
        *slash = 0;
        real = realpath(at, NULL);
    }
    return real;
}

static void explain_damage(struct err *e, const char *path)
{
    _cleanup_free_ char *real = *path == '/' ? resolve(path) : NULL;
    FILE *mounts = real ? fopen("/proc/self/mountinfo", "re") : NULL;
    if (!mounts)
        return;
    explain_mount(e, real, mounts);
    fclose(mounts);
}

void refusal_explain(struct err *e, const char *path)
{
    if (e->code == EIO) { /* nothing there answers */
        explain_damage(e, path);
        return;
    }
    _cleanup_free_ char *folder = folder_of(path);
    switch (e->code) {
    case ENOSPC:
        explain_full(e, folder);
        break;
    case EDQUOT:
        add(e,
            "a quota of user, group, project or subvolume for '%s' is reached: raise it, see quota(1), "
            "xfs_quota(8), or btrfs qgroup show -pcre '%s'",
            folder, folder);
        break;
    case EROFS:
        add(e,
            "'%s' is mounted read-only, perhaps by the kernel after an error: see dmesg, then mount -o "
            "remount,rw \"$(findmnt -nT '%s' -o TARGET)\"",
            folder, folder);
        break;
    case EPERM:
        if (!refusal_by_flag(e, path))
            refusal_by_flag(e, folder);
    }
}
