#include "volume/dir/bond.h"

#include "base/mem.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* Inode and birth: no other file has both, be it on another file system. */
static int print_identity(int fd, char ret[64], struct err *e)
{
    struct statx st;
    if (statx(fd, "", AT_EMPTY_PATH, STATX_INO | STATX_BTIME, &st) < 0)
        return err_sys(e, "cannot stat a file with a mark of ours");
    bool born = st.stx_mask & STATX_BTIME;
    snprintf(ret, 64, "%" PRIu64 " %" PRId64 ".%09u", (uint64_t)st.stx_ino,
             born ? (int64_t)st.stx_btime.tv_sec : 0, born ? st.stx_btime.tv_nsec : 0);
    return 0;
}

int bond_set(int fd, const char *key, const char *name, const char *also, struct err *e)
{
    char identity[64];
    if (print_identity(fd, identity, e) < 0)
        return -1;
    _cleanup_free_ char *text = xasprintf("%s %s%s%s", identity, name, also ? " " : "", also ? also : "");
    return mark_set(fd, key, text, e);
}

int bond_get(int fd, const char *key, const char *name, enum bond *ret, struct err *e)
{
    char identity[64], text[BOND_MAX];
    int r = mark_get(fd, key, text, sizeof text, e);
    if (r < 0 || print_identity(fd, identity, e) < 0)
        return -1;
    size_t n = strlen(identity);
    bool same = r == 0 && strncmp(text, identity, n) == 0 && text[n] == ' ';
    bool moved = strcmp(key, BOND_SNAPSHOT) == 0; /* with its directory, to another file system */
    *ret = r > 0                                          ? BOND_NONE
           : mark_has_name(text, name) && (same || moved) ? BOND_OURS
           : same                                         ? BOND_RENAMED
                                                          : BOND_COPY;
    return 0;
}

int bond_of_live(const struct dir *d, int fd, enum bond *ret, struct err *e)
{
    if (bond_get(fd, BOND_LIVE, d->file, ret, e) < 0)
        return -1;
    return *ret == BOND_NONE ? bond_get(fd, BOND_SNAPSHOT, "", ret, e) : 0;
}

/* ---- what is not ours ---- */

static int tell_snapshot(struct dir *d, const char *tag, struct strv *ret, struct err *e)
{
    _cleanup_close_ int fd = -1;
    struct dir_name name = dir_name(d, DIR_SNAPSHOT, tag);
    enum bond bond;
    int r = dir_file(d, name.s, O_RDONLY, &fd, e);
    if (r != 0)
        return r > 0 || e->kind == ERR_DATA ? 0 : -1;
    if (bond_get(fd, BOND_SNAPSHOT, name.s, &bond, e) < 0)
        return -1;
    if (bond == BOND_COPY)
        strv_addf(ret, "'%s' is a copy of a restore point that somebody made", name.s);
    if (bond == BOND_RENAMED)
        strv_addf(ret, "'%s' is a restore point that somebody gave this name", name.s);
    return 0;
}

int bond_strays(struct dir *d, bool live, struct strv *ret, struct err *e)
{
    _cleanup_strv_ struct strv tags = STRV_INIT;
    _cleanup_close_ int fd = -1;
    enum bond bond = BOND_NONE;
    int r = dir_enter(d, false, e);
    if (r != 0)
        return r < 0 ? -1 : 0;
    if (dir_tags(d, DIR_SNAPSHOT, &tags, e) < 0 || (r = dir_file(d, d->file, O_RDONLY, &fd, e)) < 0 ||
        (r == 0 && live && bond_of_live(d, fd, &bond, e) < 0))
        return -1;
    for (size_t i = 0; i < tags.n; i++)
        if (tell_snapshot(d, tags.v[i], ret, e) < 0)
            return -1;
    if (bond == BOND_COPY || bond == BOND_RENAMED)
        strv_addf(ret, "'%s' is a replica, or a restore point, that somebody %s", d->file,
                  bond == BOND_COPY ? "copied to this name" : "gave this name");
    return 0;
}
