#include "volume/dir/seal.h"

#include "base/fs.h"
#include "base/lookup.h"
#include "base/mem.h"
#include "volume/dir/ident.h"
#include "volume/mark.h"
#include "volume/name.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define SEAL "seal."
#define SEAL_ROOM 24

struct seal_key {
    char s[SNAPSHOT_ID_LEN + sizeof SEAL];
};

static struct seal_key key_of(const char *id)
{
    struct seal_key key;
    snprintf(key.s, sizeof key.s, SEAL "%.*s", SNAPSHOT_ID_LEN, id);
    return key;
}

int seal_look(const struct dir *d, int fd, struct snapshot *s, struct err *e)
{
    char seal[SEAL_ROOM], now[SEAL_ROOM];
    s->state = ident_hash(fd);
    if (!s->state)
        return err_sys(e, "cannot stat a restore point");
    snprintf(now, sizeof now, "%016" PRIx64, s->state);
    int r = mark_get(d->fd, key_of(s->id).s, seal, sizeof seal, e);
    if (r > 0)
        s->flags |= SNAPSHOT_UNSEALED;
    else if (r == 0 && strcmp(seal, now) != 0)
        s->flags |= SNAPSHOT_CHANGED;
    return r < 0 ? -1 : 0;
}

void seal_found(const struct dir *d, int fd, const char *id)
{
    char text[SEAL_ROOM];
    struct err ignored;
    uint64_t now = ident_hash(fd);
    snprintf(text, sizeof text, "%016" PRIx64, now);
    if (!now || mark_set(d->fd, key_of(id).s, text, &ignored) < 0)
        seal_end(d, id);
}

void seal_set(const struct dir *d, int fd, const char *id)
{
    char ident[IDENT_MAX];
    struct err ignored;
    if (ident_take(fd, ident, &ignored) == 0 && *ident)
        seal_found(d, fd, id);
    else
        seal_end(d, id);
}

void seal_renew(const struct dir *d, int fd, const struct snapshot *before)
{
    char seal[SEAL_ROOM];
    struct err ignored;
    if (!(before->flags & SNAPSHOT_CHANGED) &&
        mark_get(d->fd, key_of(before->id).s, seal, sizeof seal, &ignored) == 0)
        seal_set(d, fd, before->id);
}

void seal_end(const struct dir *d, const char *id)
{
    struct err ignored;
    mark_clear(d->fd, key_of(id).s, &ignored);
    mark_damaged_set(d->fd, id, 0, &ignored);
}

/* ---- of what is gone ---- */

/* -1: it cannot be read now, so nobody knows what is gone. */
static int add_id_of(const struct dir *d, const char *name, struct strv *ret)
{
    char id[SNAPSHOT_ID_LEN + 1];
    _cleanup_close_ int fd = -1;
    struct err ignored;
    int r = dir_file(d, name, O_RDONLY, &fd, &ignored);
    if (r == 0)
        r = mark_get(fd, "id", id, sizeof id, &ignored);
    if (r == 0)
        strv_add(ret, id);
    return r < 0 ? -1 : 0;
}

/* Of all volumes in the directory; ids NULL: only how many may have one. */
static int all_ids(const struct dir *d, struct strv *ids, size_t *n)
{
    int fd = openat(d->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir) {
        cleanup_closep(&fd);
        return -1;
    }
    int r = 0;
    bool failed = false;
    *n = 0;
    for (const struct dirent *entry; r == 0 && (entry = fs_next_entry(dir, &failed));) {
        if ((entry->d_type != DT_REG && entry->d_type != DT_UNKNOWN) || !strchr(entry->d_name, '@'))
            continue;
        ++*n;
        if (ids)
            r = add_id_of(d, entry->d_name, ids);
    }
    closedir(dir);
    return failed ? -1 : r;
}

void seal_tidy(const struct dir *d)
{
    _cleanup_strv_ struct strv sealed = STRV_INIT, ids = STRV_INIT;
    size_t n;
    mark_list(d->fd, SEAL, &sealed);
    if (all_ids(d, NULL, &n) < 0)
        return;
    if (sealed.n <= n)
        strv_release(&sealed);
    mark_list(d->fd, MARK_DAMAGED, &sealed);
    if (!sealed.n || all_ids(d, &ids, &n) < 0)
        return;
    _cleanup_lookup_ struct lookup there = {0};
    lookup_add_all(&there, &ids);
    for (size_t i = 0; i < sealed.n; i++)
        if (!lookup_has(&there, sealed.v[i]))
            seal_end(d, sealed.v[i]);
}
