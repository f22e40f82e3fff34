/* The source side of the btrfs driver: what changed between two snapshots. */
#include "volume/btrfs/btrfs.h"

#include "volume/btrfs/flags.h"
#include "volume/file/delta.h"
#include "volume/stream/sendstream.h"
#include "volume/stream/streamproc.h"

#include <fcntl.h>
#include <string.h>

int btrfs_sender_start(struct streamproc *s, const struct btrfs_volume *b, const char *base, const char *name,
                       bool data, struct err *e)
{
    _cleanup_strv_ struct strv argv = STRV_INIT;
    strv_adds(&argv, "btrfs", "send", "-q", NULL);
    if (!data)
        strv_add(&argv, "--no-data");
    if (base) {
        strv_add(&argv, "-p");
        strv_addf(&argv, "%s/%s", b->dir_path, base);
    }
    strv_addf(&argv, "%s/%s", b->dir_path, name);
    return streamproc_start(s, argv.v, true, b->store->context, e);
}

/* ---- delta ---- */

struct btrfs_delta {
    struct streamproc sender; /* stream family */
    size_t passed;            /* of the stream's header */
    struct buf flags;         /* what comes after that, and before the rest */
    size_t flags_sent;
    int base, disk; /* extents family */
    struct filedelta *files;
};

void btrfs_delta_close(struct delta *d)
{
    struct btrfs_delta *x = d->priv;
    if (!x)
        return;
    streamproc_stop(&x->sender);
    filedelta_free(x->files);
    buf_release(&x->flags);
    if (x->base >= 0)
        close(x->base);
    if (x->disk >= 0)
        close(x->disk);
    free(x);
    d->priv = NULL;
}

/* Is all that the snapshot has of transactions before the base's in the base, too? So it is if both were
 * taken of one subvolume, or the live volume was made of the base; after a rollback it is not. */
static bool descends(struct btrfs_volume *b, const struct subvol *base, const struct subvol *snapshot)
{
    struct subvol live;
    struct err ignored;
    _cleanup_close_ int fd = -1;
    if (!snapshot->parent_uuid[0])
        return false;
    if (strcmp(base->parent_uuid, snapshot->parent_uuid) == 0)
        return true;
    return btrfs_open_live(b, &fd, &ignored) == 0 && subvol_read(fd, &live, &ignored) == 0 &&
           strcmp(live.uuid, snapshot->parent_uuid) == 0 && strcmp(live.parent_uuid, base->uuid) == 0;
}

static int gather_flags(struct btrfs_delta *x, struct btrfs_volume *b, int base, int snapshot, struct err *e)
{
    struct subvol old, new;
    if (base < 0)
        return flags_gather(-1, 0, snapshot, btrfs_tick(b), &x->flags, e);
    if (subvol_read(base, &old, e) < 0 || subvol_read(snapshot, &new, e) < 0)
        return -1;
    return flags_gather(base, descends(b, &old, &new) ? old.generation : 0, snapshot, btrfs_tick(b),
                        &x->flags, e);
}

static int open_streams(struct btrfs_delta *x, struct btrfs_volume *b, const struct snapshot *base,
                        const struct snapshot *snapshot, struct err *e)
{
    char from[BTRFS_NAME_MAX], name[BTRFS_NAME_MAX];
    if (base)
        btrfs_snapshot_name(b, base->name, from);
    btrfs_snapshot_name(b, snapshot->name, name);
    return btrfs_sender_start(&x->sender, b, base ? from : NULL, name, true, e);
}

int btrfs_delta_open(struct delta *d, const struct snapshot *base, const struct snapshot *snapshot,
                     uint64_t from, struct err *e)
{
    struct btrfs_volume *b = btrfs_of(d->volume);
    _cleanup_close_ int new = -1, old = -1;
    if (btrfs_open_snapshot(b, snapshot, &new, e) < 0 || (base && btrfs_open_snapshot(b, base, &old, e) < 0))
        return -1;
    struct btrfs_delta *x = xcalloc(1, sizeof *x);
    x->sender = (struct streamproc)STREAMPROC_INIT;
    x->base = x->disk = -1;
    d->priv = x;
    int r = 0;
    if (b->stream) {
        if (d->volume->form != VOLUME_UNFLAGGED)
            r = gather_flags(x, b, old, new, e);
        if (r == 0)
            r = open_streams(x, b, base, snapshot, e);
    } else {
        x->disk = btrfs_open_disk(new, O_RDONLY, e);
        if (base && x->disk >= 0)
            x->base = btrfs_open_disk(old, O_RDONLY, e);
        if (x->disk < 0 || (base && x->base < 0))
            r = -1;
        else
            x->files = filedelta_new(x->base, x->disk, snapshot->size, from, e);
        if (!x->files)
            r = -1;
    }
    if (r < 0)
        btrfs_delta_close(d);
    return r;
}

int btrfs_delta_next(struct delta *d, struct extent *ret, struct err *e)
{
    const struct btrfs_delta *x = d->priv;
    return filedelta_next(x->files, ret, e);
}

const void *btrfs_delta_data(const struct delta *d)
{
    const struct btrfs_delta *x = d->priv;
    return filedelta_data(x->files);
}

ssize_t btrfs_delta_stream(struct delta *d, void *data, size_t room, struct err *e)
{
    struct btrfs_delta *x = d->priv;
    size_t header = SEND_HEADER - x->passed, flags = x->flags.len - x->flags_sent;
    if (header || !flags) {
        ssize_t n = streamproc_read(&x->sender, data, header && room > header ? header : room, e);
        x->passed += header && n > 0 ? (size_t)n : 0;
        return n;
    }
    size_t n = flags < room ? flags : room;
    memcpy(data, x->flags.data + x->flags_sent, n);
    x->flags_sent += n;
    return (ssize_t)n;
}
