#include "volume/dir/dir.h"

#include "base/fs.h"
#include "base/mem.h"
#include "base/refusal.h"
#include "volume/dir/bond.h"
#include "volume/dir/seal.h"
#include "volume/file/image.h"
#include "volume/mark.h"
#include "volume/name.h"
#include "volume/place.h"
#include "volume/root.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

/* ---- volumes ---- */

static bool has_suffix(const char *name, const char *suffix)
{
    size_t n = strlen(name), k = strlen(suffix);
    return n > k && strcmp(name + n - k, suffix) == 0;
}

/* "100/vm-100-disk-0.raw": bytes in one file, whatever they mean. */
static bool dir_supports(const char *name)
{
    return strchr(name, '/') && (has_suffix(name, ".raw") || has_suffix(name, ".qcow2"));
}

static void dir_free(struct dir *d)
{
    if (d->root >= 0)
        close(d->root);
    if (d->fd >= 0)
        close(d->fd);
    free(d->file);
    free(d->ahead);
    free(d);
}
CLEANUP_FUNC(dir_free, struct dir)

static struct dir *dir_new(const struct volume_store *store, uint32_t vmid, const char *file, struct err *e)
{
    _cleanup_(dir_freep) struct dir *d = xcalloc(1, sizeof *d);
    d->store = store;
    d->vmid = vmid;
    d->file = xstrdup(file);
    d->mode = -1;
    d->fd = -1;
    d->root = root_open(store, e);
    if (d->root < 0 || dir_enter(d, false, e) < 0)
        return NULL;
    return take_ptr(d);
}

static int dir_open(struct volume *v, struct err *e)
{
    v->priv = dir_new(&v->store, v->vmid, strchr(v->name, '/') + 1, e);
    return v->priv ? 0 : -1;
}

static void dir_close(struct volume *v)
{
    if (v->priv)
        dir_free(v->priv);
}

/* "vm-100-disk-0.raw" of "vm-100-disk-0.raw", ".pvesr.vm-100-disk-0.raw@s", ".pvesr-stage.vm-100-disk-0.raw"
 * …; malloc'ed, NULL when the file says of no volume that anything of it is here. */
static char *volume_of(const char *entry, bool asides)
{
    static const char snapshot[] = ".pvesr.", digest[] = ".pvesr-digest.", stage[] = ".pvesr-stage.",
                      temp[] = ".pvesr-tmp.";
    const char *at = strchr(entry, '@');
    bool kept = at && !asides && snapshot_is_aside(at + 1);
    if (strncmp(entry, temp, strlen(temp)) == 0)
        return xstrndup(entry + strlen(temp), strcspn(entry + strlen(temp), "@"));
    if (strncmp(entry, stage, strlen(stage)) == 0)
        return at ? NULL : xstrdup(entry + strlen(stage));
    for (size_t i = 0; i < 2; i++) {
        const char *prefix = i ? digest : snapshot;
        if (strncmp(entry, prefix, strlen(prefix)) == 0)
            return at && !kept ? xstrndup(entry + strlen(prefix), (size_t)(at - entry) - strlen(prefix))
                               : NULL;
    }
    return at ? NULL : xstrdup(entry);
}

static int list_one(const struct dir *d, const char *entry, bool asides, struct strv *ret, struct err *e)
{
    _cleanup_free_ char *file = volume_of(entry, asides);
    _cleanup_free_ char *name = xasprintf("%u/%s", d->vmid, file ? file : "");
    struct stat st;
    uint32_t owner;
    if (!file || !volume_name_valid(name, &owner, NULL) || owner != d->vmid || !dir_supports(name))
        return 0;
    if (fstatat(d->fd, entry, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : err_sys(e, "cannot stat '%s'", entry);
    if (S_ISREG(st.st_mode))
        strv_add_once(ret, name);
    return 0;
}

static int dir_list(const struct volume_store *store, uint32_t vmid, bool asides, struct strv *ret,
                    struct err *e)
{
    _cleanup_(dir_freep) struct dir *d = dir_new(store, vmid, "", e);
    if (!d)
        return -1;
    if (d->fd < 0)
        return 0;
    DIR *dir = fdopendir(dup(d->fd));
    if (!dir)
        return err_sys(e, "cannot read the directory %s/%u", root_images(store), vmid);
    bool failed = false;
    int r = 0;
    for (const struct dirent *entry; r == 0 && (entry = fs_next_entry(dir, &failed));)
        r = list_one(d, entry->d_name, asides, ret, e);
    if (failed)
        r = err_sys(e, "cannot read the directory %s/%u", root_images(store), vmid);
    closedir(dir);
    return r;
}

static int dir_info(struct volume *v, struct volume_info *ret, struct err *e)
{
    struct dir *d = v->priv;
    struct statvfs fs;
    _cleanup_close_ int fd = -1;
    int reflink = dir_can_reflink(d, e);
    if (reflink < 0)
        return -1;
    int r = dir_file(d, d->file, O_RDONLY, &fd, e);
    if (r < 0)
        return -1;
    if (fstatvfs(d->fd >= 0 ? d->fd : d->root, &fs) < 0)
        return err_sys(e, "cannot ask for the free space of '%s'", d->store->path);
    ret->many = reflink;
    ret->proves = true;
    ret->available = (uint64_t)fs.f_bavail * fs.f_frsize;
    struct stat st;
    if (r > 0)
        return 0;
    if (fstat(fd, &st) < 0)
        return err_sys(e, "cannot stat '%s'", d->file);
    ret->exists = true;
    ret->size = (uint64_t)st.st_size;
    return 0;
}

static int slot_place(struct volume *v, struct volume_place *ret, struct err *e)
{
    struct dir *d = v->priv;
    _cleanup_free_ char *below = xasprintf("%s/%u", root_images(d->store), d->vmid);
    return dir_enter(d, false, e) < 0 ? -1 : place_of_file(d->fd, d->root, below, d->file, ret, e);
}

static int slot_sign(struct volume *v, char *ret, struct err *e)
{
    struct dir *d = v->priv;
    struct dir_name name = dir_name(d, DIR_TEMP, "");
    name.s[strlen(name.s) - 1] = 0; /* its '@' */
    return dir_enter(d, false, e) < 0 ? -1 : sign_put(d->fd, name.s, ret, e);
}

static int slot_sign_seen(struct volume *v, const char *sign, struct err *e)
{
    struct dir *d = v->priv;
    return dir_enter(d, false, e) < 0 ? -1 : sign_seen(d->fd, sign, e);
}

static void slot_sign_end(struct volume *v, const char *sign)
{
    struct dir *d = v->priv;
    sign_end(d->fd, sign);
}

static int slot_made(struct volume *v, char *ret, struct err *e)
{
    struct dir *d = v->priv;
    return dir_enter(d, false, e) < 0 ? -1 : made_of_file(d->fd, d->file, ret, e);
}

static int slot_keeper(struct volume *v, char *ret, struct err *e)
{
    struct dir *d = v->priv;
    return dir_enter(d, false, e) < 0 ? -1 : keeper_get(d->fd, d->file, ret, e);
}

static int slot_keeper_set(struct volume *v, const char *node, struct err *e)
{
    struct dir *d = v->priv;
    return dir_enter(d, false, e) < 0 ? -1 : keeper_set(d->fd, d->file, node, e);
}

static char *slot_keeper_remedy(struct volume *v)
{
    struct dir *d = v->priv;
    _cleanup_free_ char *path = xasprintf("%s/%s/%u", d->store->path, root_images(d->store), d->vmid);
    return keeper_remedy(path, d->file);
}

/* ---- by mode ---- */

/* 1 reflink, 0 plain; the volume must be there. */
static int existing(struct dir *d, struct err *e)
{
    int r = dir_enter(d, false, e);
    if (r > 0)
        return err_set(e, ERR_GONE, 0, "the directory %s/%u is not there", root_images(d->store), d->vmid);
    return r < 0 ? -1 : dir_can_reflink(d, e);
}

static int slot_snapshots(struct volume *v, struct snapshots *ret, struct err *e)
{
    return dir_snapshots(v->priv, ret, e);
}

static int slot_strays(struct volume *v, bool live, struct strv *ret, struct err *e)
{
    return bond_strays(v->priv, live, ret, e);
}

static int slot_complete(struct volume *v, struct err *e)
{
    struct dir *d = v->priv;
    _cleanup_close_ int fd = -1;
    int r = dir_enter(d, false, e);
    if (r == 0)
        r = dir_file(d, d->file, O_RDONLY, &fd, e);
    return r == 0 ? image_check(fd, d->file, e) : r < 0 ? -1 : 0;
}

/* The disk may have been made whole since. */
static int slot_snapshot_complete(struct volume *v, const struct snapshot *s, struct err *e)
{
    struct dir *d = v->priv;
    _cleanup_close_ int fd = -1;
    struct dir_name name = dir_name(d, DIR_SNAPSHOT, s->name);
    int r = dir_enter(d, false, e) < 0 ? -1 : dir_file(d, name.s, O_RDONLY, &fd, e);
    if (r != 0)
        return r < 0 ? -1 : 0;
    if (image_check(fd, d->file, e) == 0)
        return 0;
    _cleanup_free_ char *path = dir_path(d, name.s);
    return err_wrap(e, "snapshot '%s', to be removed (rm '%s') if it cannot be mended", s->name, path);
}

/* What bars its replacement is told before anything is sent. */
static int slot_alone(struct volume *v, struct err *e)
{
    struct dir *d = v->priv;
    _cleanup_free_ char *path = dir_path(d, d->file);
    return dir_enter(d, false, e) < 0 ? -1 : refusal_barred(path, e);
}

static void slot_flush(struct volume *v)
{
    struct dir *d = v->priv;
    _cleanup_close_ int fd = -1;
    struct err ignored;
    if (dir_file(d, d->file, O_RDONLY, &fd, &ignored) == 0)
        fs_write_back(fd, volume_tick(v));
}

static int slot_snapshot(struct volume *v, const char *name, bool busy, struct err *e)
{
    int reflink = existing(v->priv, e);
    if (reflink < 0)
        return -1;
    return reflink ? reflink_snapshot(v->priv, name, e) : plain_snapshot(v->priv, name, busy, e);
}

static int slot_keep(struct volume *v, const char *name, struct snapshot *ret, struct err *e)
{
    int reflink = existing(v->priv, e);
    if (reflink < 0)
        return -1;
    return reflink ? reflink_keep(v->priv, name, ret, e) : plain_keep(v->priv, name, ret, e);
}

static int slot_destroy_snapshot(struct volume *v, const char *name, const char *id, struct err *e)
{
    return dir_snapshot_destroy(v->priv, name, id, e);
}

static int slot_adopt_snapshot(struct volume *v, const char *name, const char *id, struct err *e)
{
    return dir_snapshot_adopt(v->priv, name, id, e);
}

static int slot_mark_snapshot(struct volume *v, const char *name, const char *id, int64_t since,
                              struct err *e)
{
    return dir_snapshot_mark(v->priv, name, id, since, e);
}

static int slot_rename_snapshot(struct volume *v, const char *from, const char *to, struct err *e)
{
    return dir_snapshot_rename(v->priv, from, to, e);
}

static int slot_keep_aside(struct volume *v, const char *name, struct err *e)
{
    int reflink = existing(v->priv, e);
    if (reflink < 0)
        return -1;
    return reflink ? reflink_keep_aside(v->priv, name, e) : plain_keep_aside(v->priv, name, e);
}

static int slot_in_use(struct volume *v, char *by, struct err *e)
{
    struct dir *d = v->priv;
    return dir_enter(d, false, e) < 0 ? -1 : dir_in_use(d, by, e);
}

/* ---- removing ---- */

static int slot_tidy(struct volume *v, struct err *e)
{
    struct dir *d = v->priv;
    _cleanup_strv_ struct strv tags = STRV_INIT;
    int r = dir_enter(d, false, e);
    if (r != 0)
        return r < 0 ? -1 : 0;
    if (former_settle(v, true, e) < 0 || dir_tags(d, DIR_TEMP, &tags, e) < 0 ||
        dir_remove_all(d, DIR_TEMP, e) < 0)
        return -1;
    for (size_t i = 0; i < tags.n; i++)
        if (*tags.v[i] != '@') /* a snapshot that was not kept */
            volume_removed(v, "'%s', which a run that was cut left", dir_name(d, DIR_TEMP, tags.v[i]).s);
    if (plain_tidy(d, e) < 0)
        return -1;
    seal_tidy(d);
    return 0;
}

/* As long as anything is left, the volume is listed and the removal can be done again.
 * What is nobody's data goes first, since the former file may need room to be kept. */
static int slot_destroy(struct volume *v, struct err *e)
{
    struct dir *d = v->priv;
    int r = dir_enter(d, false, e);
    if (r != 0)
        return r < 0 ? -1 : 0;
    if (dir_check_clones(d, e) < 0 || dir_remove_all(d, DIR_TEMP, e) < 0 ||
        dir_remove_all(d, DIR_STAGE, e) < 0 || former_settle(v, true, e) != 0 ||
        dir_remove_snapshots(d, false, e) < 0 || dir_remove(d, d->file, e) < 0 ||
        dir_remove_snapshots(d, true, e) < 0 || dir_traits_forget(d, e) < 0)
        return -1;
    keeper_end(d->fd, d->file);
    seal_tidy(d);
    return dir_sync(d, e);
}

/* ---- stage ---- */

/* Open the stage's file and read its mark. 1: there is none that is worth anything. */
static int open_stage(struct dir *d, int *fd, struct filestage_mark *mark, struct err *e)
{
    struct stat st;
    int r = dir_file(d, dir_name(d, DIR_STAGE, NULL).s, O_RDWR, fd, e);
    enum bond bond = BOND_NONE;
    if (r == 0)
        r = filestage_mark_get(*fd, mark, e);
    if (r == 0 && bond_get(*fd, BOND_STAGE, dir_name(d, DIR_STAGE, NULL).s, &bond, e) < 0)
        r = -1;
    if (r != 0)
        return r;
    if (fstat(*fd, &st) < 0)
        return err_sys(e, "cannot stat the unfinished copy");
    /* the attributes of a copy, which are read last, may say more than its bytes */
    return bond != BOND_OURS || (uint64_t)st.st_size != mark->size;
}

static int slot_stage_info(struct volume *v, struct stage_info *ret, struct err *e)
{
    _cleanup_close_ int fd = -1;
    struct filestage_mark mark;
    struct dir *d = v->priv;
    if (dir_enter(d, false, e) < 0)
        return -1;
    int r = open_stage(d, &fd, &mark, e);
    if (r == 0)
        filestage_mark_info(&mark, ret);
    else
        ret->scrap = fd >= 0;
    return r < 0 ? -1 : 0;
}

static int begin_stage(struct dir *d, const struct stage_want *want, int *fd, struct filestage_mark *mark,
                       struct err *e)
{
    struct dir_name name = dir_name(d, DIR_STAGE, NULL);
    int reflink = dir_can_reflink(d, e);
    filestage_mark_init(mark, want);
    if (reflink < 0 || dir_create(d, name.s, fd, e) < 0)
        return -1;
    if (bond_set(*fd, BOND_STAGE, name.s, NULL, e) == 0 &&
        (reflink ? reflink_prepare(d, mark, *fd, e) : plain_prepare(d, mark, *fd, e)) == 0)
        return 0;
    struct err ignored;
    dir_remove(d, name.s, &ignored);
    return -1;
}

static int slot_stage_open(struct stage *s, const struct stage_want *want, uint64_t *offset, struct err *e)
{
    _cleanup_close_ int fd = -1;
    struct filestage_mark mark;
    struct dir *d = s->volume->priv;
    if (dir_enter(d, true, e) < 0)
        return -1;
    int r = open_stage(d, &fd, &mark, e);
    if (r < 0)
        return -1;
    int reflink = dir_can_reflink(d, e);
    if (reflink < 0)
        return -1;
    if (r == 0 && !reflink && mark.sealed && want->base_id && strcmp(mark.id, want->base_id) == 0) {
        if (filestage_chain(fd, &mark, want, e) < 0)
            return -1;
    } else if (r > 0 || !filestage_mark_fits(&mark, want)) {
        if (fd >= 0)
            volume_removed(s->volume, "an unfinished copy that the next one cannot go on from");
        cleanup_closep(&fd);
        fd = -1;
        if (begin_stage(d, want, &fd, &mark, e) < 0)
            return -1;
    }
    *offset = mark.offset;
    s->sealed = mark.sealed;
    s->priv = filestage_new(take_fd(&fd), dir_name(d, DIR_STAGE, NULL).s, &mark, volume_tick(s->volume), e);
    return s->priv ? 0 : -1;
}

static int slot_stage_write(struct stage *s, uint64_t offset, const void *data, size_t n, struct err *e)
{
    return filestage_write(s->priv, offset, data, n, e);
}

static int slot_stage_zero(struct stage *s, uint64_t offset, uint64_t n, struct err *e)
{
    return filestage_zero(s->priv, offset, n, e);
}

static int slot_stage_fd(const struct stage *s)
{
    return filestage_fd(s->priv);
}

static int slot_stage_checkpoint(struct stage *s, uint64_t offset, struct err *e)
{
    return filestage_checkpoint(s->priv, offset, e);
}

/* What comes from a peer may name any file of this node. */
static int check_staged(struct dir *d, struct err *e)
{
    _cleanup_close_ int fd = -1;
    int r = dir_file(d, dir_name(d, DIR_STAGE, NULL).s, O_RDONLY, &fd, e);
    return r == 0 ? image_check(fd, d->file, e) : r < 0 ? -1 : 0;
}

/* The file's name is made durable here too: what a sealed stage holds may be all there is of it. */
static int slot_stage_seal(struct stage *s, struct err *e)
{
    struct dir *d = s->volume->priv;
    return check_staged(d, e) < 0 || filestage_seal(s->priv, e) < 0 ? -1 : dir_sync(d, e);
}

static void slot_stage_close(struct stage *s)
{
    filestage_free(s->priv);
}

static int slot_stage_discard(struct volume *v, struct err *e)
{
    struct dir *d = v->priv;
    if (dir_enter(d, false, e) < 0)
        return -1;
    int r = dir_remove(d, dir_name(d, DIR_STAGE, NULL).s, e);
    return r == 0 ? dir_sync(d, e) : r < 0 ? -1 : 0;
}

/* A stage of a snapshot that is there already has nothing to give any more. */
static int drop_stage_of(struct dir *d, const char *id, struct err *e)
{
    _cleanup_close_ int fd = -1;
    struct filestage_mark mark;
    int r = open_stage(d, &fd, &mark, e);
    if (r != 0 || strcmp(mark.id, id) != 0)
        return r < 0 ? -1 : 0;
    return dir_remove(d, dir_name(d, DIR_STAGE, NULL).s, e) < 0 ? -1 : dir_sync(d, e);
}

static int slot_commit(struct volume *v, const char *id, enum commit_how how, struct err *e)
{
    struct dir *d = v->priv;
    int reflink = existing(d, e);
    if (reflink < 0 || check_staged(d, e) < 0 ||
        (reflink ? reflink_commit(v, id, how, e) : plain_commit(v, id, how, e)) < 0)
        return -1;
    return drop_stage_of(d, id, e);
}

static int slot_replica(struct volume *v, char *owner, char *base_id, struct err *e)
{
    struct dir *d = v->priv;
    _cleanup_close_ int fd = -1, stage = -1;
    struct filestage_mark mark;
    if (dir_enter(d, false, e) < 0)
        return -1;
    enum bond bond;
    int r = dir_file(d, d->file, O_RDONLY, &fd, e);
    if (r == 0 && (bond_of_live(d, fd, &bond, e) < 0 || mark_get(fd, "owner", owner, 32, e) < 0 ||
                   mark_get(fd, "base", base_id, SNAPSHOT_ID_LEN + 1, e) < 0))
        return -1;
    if (r == 0 && (bond == BOND_COPY || bond == BOND_RENAMED))
        owner[0] = 0;
    if (r == 0)
        return 0;
    /* not shown yet: who is making it? */
    if (r > 0 && (r = open_stage(d, &stage, &mark, e)) == 0)
        strcpy(owner, mark.owner);
    return r < 0 ? -1 : 0;
}

static int slot_writable(struct volume *v, struct err *e)
{
    return dir_writable(v->priv, e);
}

const struct volume_driver driver_dir = {
    .type = "dir",
    .supports = dir_supports,
    .open = dir_open,
    .close = dir_close,
    .list = dir_list,
    .guests = root_guests,
    .info = dir_info,
    .place = slot_place,
    .sign = slot_sign,
    .sign_seen = slot_sign_seen,
    .sign_end = slot_sign_end,
    .made = slot_made,
    .keeper = slot_keeper,
    .keeper_set = slot_keeper_set,
    .keeper_remedy = slot_keeper_remedy,
    .snapshots = slot_snapshots,
    .strays = slot_strays,
    .complete = slot_complete,
    .snapshot_complete = slot_snapshot_complete,
    .alone = slot_alone,
    .flush = slot_flush,
    .snapshot_ahead = dir_snapshot_ahead,
    .snapshot = slot_snapshot,
    .snapshot_keep = slot_keep,
    .snapshot_destroy = slot_destroy_snapshot,
    .snapshot_rename = slot_rename_snapshot,
    .snapshot_adopt = slot_adopt_snapshot,
    .snapshot_mark = slot_mark_snapshot,
    .snapshot_open = dir_show_snapshot,
    .read_open = dir_read_open,
    .tidy = slot_tidy,
    .written = dir_written,
    .differs = dir_differs,
    .keep_aside = slot_keep_aside,
    .in_use = slot_in_use,
    .destroy = slot_destroy,
    .replica = slot_replica,
    .writable = slot_writable,
    .traits = dir_traits,
    .traits_set = dir_traits_set,
    .traits_lacking = dir_traits_lacking,
    .delta_open = dir_delta_open,
    .delta_next = dir_delta_next,
    .delta_data = dir_delta_data,
    .delta_close = dir_delta_close,
    .stage_info = slot_stage_info,
    .stage_open = slot_stage_open,
    .stage_write = slot_stage_write,
    .stage_zero = slot_stage_zero,
    .stage_fd = slot_stage_fd,
    .stage_checkpoint = slot_stage_checkpoint,
    .stage_seal = slot_stage_seal,
    .stage_close = slot_stage_close,
    .stage_discard = slot_stage_discard,
    .commit = slot_commit,
};
