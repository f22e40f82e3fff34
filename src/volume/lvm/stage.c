#include "volume/lvm/lvm.h"

#include "base/fs.h"
#include "volume/file/sparse.h"
#include "volume/lvm/thinmap.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

/* A checkpoint is a command of LVM here, not only a flush. */
#define CHECKPOINT_FACTOR 4
/* Writeback is begun this often. */
#define PUSH_BYTES (8u << 20)
/* …and waited for in steps of this size, between which the peer hears from us. */
#define FLUSH_BYTES (64u << 20)
#define PART (1u << 20)
#define DISCARD_PART (1ull << 30)
/* A pool that does not zero new chunks gets whole chunks from us, up to this size. */
#define WHOLE_CHUNK_MAX (16u << 20)

struct lvm_stage {
    const struct lvm *lvm;
    const struct volume *volume;
    struct lv lv; /* as it was when the stage was opened, but for its mark */
    struct lvm_open open;
    uint64_t chunk;
    bool zeroes; /* the pool zeroes new chunks */
    bool no_discard;
    uint64_t pending; /* bytes written or zeroed since the last checkpoint */
    uint64_t push_from, pushed;
    uint64_t dirty, dirty_end; /* what was written since the last flush lies here */
    uint64_t high;             /* end of the last byte written */
    uint64_t budget;           /* bytes to write before the pool is looked at again */
    uint64_t paid;             /* the chunk written last: it costs nothing again */
    unsigned char *part;       /* PART bytes */
    unsigned char *whole;      /* a chunk, where the pool does not zero */
};

static int flush(struct lvm_stage *x, struct err *e)
{
    for (uint64_t pos = x->dirty; pos < x->dirty_end; pos += FLUSH_BYTES) {
        tick_now(x->lvm->tick);
        /* an error that it tells is not told by fsync again */
        if (sync_file_range(x->open.fd, (off_t)pos, FLUSH_BYTES,
                            SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE |
                                SYNC_FILE_RANGE_WAIT_AFTER) < 0)
            return err_sys(e, "cannot write to '%s/%s'", x->lvm->vg, x->lv.name);
    }
    tick_now(x->lvm->tick);
    if (fsync(x->open.fd) < 0)
        return err_sys(e, "cannot flush '%s/%s'", x->lvm->vg, x->lv.name);
    tick_now(x->lvm->tick);
    x->dirty = x->dirty_end = 0;
    return 0;
}

/* ---- writing: never more than the pool has room for ---- */

static uint64_t cost(const struct lvm_stage *x, uint64_t offset, uint64_t n)
{
    uint64_t first = offset / x->chunk, last = (offset + n - 1) / x->chunk;
    return (last - first + (first != x->paid)) * x->chunk;
}

/* What is only in the page cache has no chunk yet, so flush before looking. */
static int afford(struct lvm_stage *x, uint64_t n, struct err *e)
{
    if (n <= x->budget)
        return 0;
    return flush(x, e) < 0 ? -1 : pool_check(x->lvm, x->chunk, &x->budget, e);
}

static void push(struct lvm_stage *x, uint64_t offset, uint64_t n)
{
    x->pending += n;
    if (!x->pushed || offset != x->push_from + x->pushed) {
        x->push_from = offset;
        x->pushed = 0;
    }
    x->pushed += n;
    if (x->pushed < PUSH_BYTES)
        return;
    sync_file_range(x->open.fd, (off_t)x->push_from, (off_t)x->pushed, SYNC_FILE_RANGE_WRITE);
    x->push_from += x->pushed;
    x->pushed = 0;
}

static int put(struct lvm_stage *x, uint64_t offset, const void *data, uint64_t n, struct err *e)
{
    if (fs_pwrite_all(x->open.fd, data, n, offset, x->lv.name, e) < 0)
        return -1;
    if (x->dirty == x->dirty_end || offset < x->dirty)
        x->dirty = offset;
    if (offset + n > x->dirty_end)
        x->dirty_end = offset + n;
    push(x, offset, n);
    return 0;
}

/* A part of a chunk. Where the pool does not zero a new chunk, the rest of it would show what somebody else
 * had there, so all of it is written. */
static int put_part(struct lvm_stage *x, uint64_t offset, const void *data, uint64_t n, struct err *e)
{
    if (x->zeroes || n == x->chunk)
        return put(x, offset, data, n, e);
    uint64_t start = offset - offset % x->chunk;
    uint64_t whole = x->lv.size - start < x->chunk ? x->lv.size - start : x->chunk;
    if (!x->whole)
        x->whole = xmalloc(x->chunk);
    if (fs_pread_all(x->open.fd, x->whole, whole, start, x->lv.name, e) < 0)
        return -1;
    memcpy(x->whole + (offset - start), data, n);
    return put(x, start, x->whole, whole, e);
}

static int write_all(struct lvm_stage *x, uint64_t offset, const unsigned char *data, uint64_t n,
                     struct err *e)
{
    while (n) {
        uint64_t part = x->chunk - offset % x->chunk;
        bool many = x->zeroes && cost(x, offset, n) <= x->budget;
        if (many || part > n)
            part = n;
        uint64_t price = cost(x, offset, part);
        if (afford(x, price, e) < 0 || put_part(x, offset, data, part, e) < 0)
            return -1;
        x->budget -= price < x->budget ? price : x->budget;
        x->paid = (offset + part - 1) / x->chunk;
        offset += part;
        data += part;
        n -= part;
    }
    return 0;
}

static bool all_zero(const unsigned char *p, uint64_t n)
{
    return n == 0 || (p[0] == 0 && memcmp(p, p + 1, n - 1) == 0);
}

/* Zeros written where there are none: what is not mapped stays so. */
static int write_zeros(struct lvm_stage *x, uint64_t offset, uint64_t n, struct err *e)
{
    static const unsigned char zeros[PART];
    if (!x->part)
        x->part = xmalloc(PART);
    while (n) {
        uint64_t part = PART - offset % PART;
        part = part < n ? part : n;
        if (fs_pread_all(x->open.fd, x->part, part, offset, x->lv.name, e) < 0 ||
            (!all_zero(x->part, part) && write_all(x, offset, zeros, part, e) < 0))
            return -1;
        offset += part;
        n -= part;
        tick_now(x->lvm->tick);
    }
    return 0;
}

/* Whole chunks; 1: the pool takes no discards. What is not mapped reads as zeros, whatever the pool's mode.
 * Each part ends with a chunk: the kernel leaves out of a discard what is no whole one. */
static int discard(struct lvm_stage *x, uint64_t offset, uint64_t n, struct err *e)
{
    uint64_t part = DISCARD_PART - DISCARD_PART % x->chunk;
    while (n) {
        uint64_t range[2] = {offset, n < part ? n : part};
        if (ioctl(x->open.fd, BLKDISCARD, range) < 0) {
            if (errno == EOPNOTSUPP)
                return 1;
            return err_sys(e, "cannot discard in '%s/%s'", x->lvm->vg, x->lv.name);
        }
        offset += range[1];
        n -= range[1];
        x->pending += PUSH_BYTES / 8;
        tick_now(x->lvm->tick);
    }
    return 0;
}

static int make_zero(struct lvm_stage *x, uint64_t offset, uint64_t n, struct err *e)
{
    uint64_t end = offset + n, first = (offset + x->chunk - 1) / x->chunk * x->chunk;
    uint64_t last = end - end % x->chunk;
    if (x->no_discard || first >= last)
        return write_zeros(x, offset, n, e);
    if (write_zeros(x, offset, first - offset, e) < 0 || write_zeros(x, last, end - last, e) < 0)
        return -1;
    int r = discard(x, first, last - first, e);
    if (r <= 0)
        return r;
    x->no_discard = true;
    return write_zeros(x, first, last - first, e);
}

int lvm_stage_zero(struct stage *s, uint64_t offset, uint64_t n, struct err *e)
{
    struct lvm_stage *x = s->priv;
    bool hole = !x->lv.mark.m.base_id[0] && offset >= x->high; /* nothing was ever written there */
    return hole ? 0 : make_zero(x, offset, n, e);
}

int lvm_stage_write(struct stage *s, uint64_t offset, const void *data, size_t n, struct err *e)
{
    struct lvm_stage *x = s->priv;
    for (const unsigned char *p = data; n;) {
        bool zero;
        size_t run = sparse_run(p, n, offset, &zero);
        if ((zero ? lvm_stage_zero(s, offset, run, e) : write_all(x, offset, p, run, e)) < 0)
            return -1;
        if (!zero && offset + run > x->high)
            x->high = offset + run;
        offset += run;
        p += run;
        n -= run;
    }
    return 0;
}

int lvm_stage_fd(const struct stage *s)
{
    const struct lvm_stage *x = s->priv;
    return x->open.fd;
}

/* ---- how far it came ---- */

static int set_mark(struct lvm_stage *x, const struct lvm_mark *mark, const char *seal, enum lvm_retag how,
                    struct err *e)
{
    if (lvm_retag(x->lvm, &x->lv, mark, seal, how, e) < 0)
        return -1;
    x->lv.mark = *mark;
    lvm_mark_print(mark, x->lv.tag);
    return 0;
}

int lvm_stage_checkpoint(struct stage *s, uint64_t offset, struct err *e)
{
    struct lvm_stage *x = s->priv;
    struct lvm_mark next = x->lv.mark;
    if (x->pending < CHECKPOINT_FACTOR * filestage_checkpoint_bytes || offset <= next.m.offset)
        return 0;
    next.m.offset = offset;
    if (flush(x, e) < 0 || set_mark(x, &next, NULL, LVM_RETAG_OFTEN, e) < 0)
        return -1;
    x->pending = 0;
    return 0;
}

int lvm_stage_seal(struct stage *s, struct err *e)
{
    struct lvm_stage *x = s->priv;
    struct lvm_mark next = x->lv.mark;
    char seal[LVM_SEAL_LEN + 1];
    struct lv now;      /* with what LVM gave it */
    struct err ignored; /* without a seal it is compared before anything is built upon it */
    next.m.sealed = true;
    next.m.offset = next.m.size;
    next.flags = SNAPSHOT_RECEIVED;
    if (flush(x, e) < 0 || lvm_next_seq(x->lvm, false, &next.seq, e) < 0)
        return -1;
    bool told =
        lvm_find(x->lvm, x->lv.name, &now, &ignored) == 0 && lvm_seal(x->lvm, &now, seal, &ignored) == 0;
    lvm_close(x->lvm, &x->open);
    return set_mark(x, &next, told ? seal : NULL, LVM_RETAG_FINAL, e);
}

/* ---- opening ---- */

/* Worth anything: sealed, or with something durable. 1: none. */
static int find_stage(const struct lvm *l, struct lv *ret, struct err *e)
{
    int r = lvm_find(l, lvm_name(l, LVM_STAGE, NULL).s, ret, e);
    if (r != 0)
        return r;
    return ret->marked && (ret->mark.m.sealed || ret->mark.m.offset) ? 0 : 1;
}

int lvm_stage_info(struct volume *v, struct stage_info *ret, struct err *e)
{
    struct lv lv;
    int r = find_stage(v->priv, &lv, e);
    if (r == 0)
        filestage_mark_info(&lv.mark.m, ret);
    else if (r > 0)
        ret->scrap = (r = lvm_find(v->priv, lvm_name(v->priv, LVM_STAGE, NULL).s, &lv, e)) == 0;
    return r < 0 ? -1 : 0;
}

int lvm_stage_discard(struct volume *v, struct err *e)
{
    const struct lvm *l = v->priv;
    struct lv lv;
    struct lvm_name name = lvm_name(l, LVM_STAGE, NULL);
    int r = lvm_find(l, name.s, &lv, e);
    return r != 0 ? (r < 0 ? -1 : 0) : lvm_remove(l, name.s, e);
}

/* A stage is nobody's but ours: it is deactivated in the end, also when a killed process left it active, or
 * the command that made it has activated it. */
static int open_stage(struct lvm_stage *x, struct err *e)
{
    int r = lvm_open(x->lvm, &x->lv, O_RDWR | O_EXCL, &x->open, e);
    x->open.activated = r == 0 || x->lv.active;
    return r;
}

static int open_new(struct lvm_stage *x, struct err *e)
{
    x->lv.active = true;
    return open_stage(x, e);
}

static int resize(struct lvm_stage *x, uint64_t size, struct err *e)
{
    const struct lvm *l = x->lvm;
    _cleanup_free_ char *path = xasprintf("%s/%s", l->vg, x->lv.name);
    char text[32];
    snprintf(text, sizeof text, "%" PRIu64 "b", size);
    if (size > x->lv.size)
        return lvm_change(l, e, "lvextend", "-L", text, path, NULL);
    /* newer versions care for a file system in it, unless told not to; older ones do not know the option */
    if (lvm_change(l, e, "lvreduce", "-f", "-y", "-L", text, path, NULL) < 0)
        return lvm_change(l, e, "lvreduce", "-f", "-y", "--fs", "ignore", "-L", text, path, NULL);
    return 0;
}

/* A copy of the base, of the wanted size, with zeros in all that the base does not have. */
static int copy_base(struct lvm_stage *x, const struct lv *base, uint64_t size, uint64_t exact, struct err *e)
{
    const struct lvm *l = x->lvm;
    _cleanup_free_ char *origin = xasprintf("%s/%s", l->vg, base->name);
    bool longer = size > base->size;
    if (lvm_change(l, e, "lvcreate", "-s", longer ? "-an" : "-ay", "-K", "-ky", "-prw", "--addtag", x->lv.tag,
                   "-n", x->lv.name, origin, NULL) < 0)
        return -1;
    x->lv.size = base->size;
    if (longer) {
        if (resize(x, size, e) < 0)
            return -1;
        x->lv.size = size;
        return open_stage(x, e) < 0 ? -1 : make_zero(x, base->size, size - base->size, e);
    }
    uint64_t known = base->mark.m.size < base->size && (base->mark.flags & SNAPSHOT_RECEIVED)
                         ? base->mark.m.size
                         : base->size;
    if (open_new(x, e) < 0 || (known > exact && make_zero(x, exact, base->size - exact, e) < 0))
        return -1;
    if (size == base->size)
        return 0;
    if (flush(x, e) < 0)
        return -1;
    lvm_close(l, &x->open);
    x->lv.active = false;
    if (resize(x, size, e) < 0)
        return -1;
    x->lv.size = size;
    return open_stage(x, e);
}

static int begin(struct lvm_stage *x, const struct stage_want *want, uint64_t size, struct err *e)
{
    const struct lvm *l = x->lvm;
    struct lv base;
    char text[32];
    memset(&x->lv, 0, sizeof x->lv);
    snprintf(x->lv.name, sizeof x->lv.name, "%s", lvm_name(l, LVM_STAGE, NULL).s);
    filestage_mark_init(&x->lv.mark.m, want);
    snprintf(x->lv.mark.volume, sizeof x->lv.mark.volume, "%s", l->volume);
    lvm_mark_print(&x->lv.mark, x->lv.tag);
    x->lv.marked = true;
    if (x->lv.mark.m.base_id[0]) {
        bool live = filestage_mark_of_live(&x->lv.mark.m);
        int r = live ? lvm_live(l, &base, e) : lvm_find_id(l, want->base_id, &base, e);
        if (r > 0 && live)
            return err_set(e, ERR_GONE, 0, "there is no logical volume '%s/%s'", l->vg, l->volume);
        if (r > 0)
            return err_set(e, ERR_DATA, 0, "the base snapshot with id %s is not there", want->base_id);
        return r < 0 ? -1 : copy_base(x, &base, size, want->size, e);
    }
    snprintf(text, sizeof text, "%" PRIu64 "b", size);
    x->lv.size = size;
    if (lvm_change(l, e, "lvcreate", "-ay", "-K", "-ky", "-Wn", "--addtag", x->lv.tag, "-V", text, "-n",
                   x->lv.name, "--thinpool", l->pool, l->vg, NULL) < 0 ||
        open_new(x, e) < 0)
        return -1;
    /* an lvcreate that wipes a volume's beginning maps a chunk: its rest is whatever lay there */
    return x->zeroes ? 0 : make_zero(x, 0, x->chunk < size ? x->chunk : size, e);
}

/* Zeros behind the offset in all chunks that the base does not have. */
static int forget_new_chunks(struct lvm_stage *x, struct err *e)
{
    const struct filestage_mark *m = &x->lv.mark.m;
    struct lv base;
    int r = lvm_find_id(x->lvm, m->base_id, &base, e);
    _cleanup_(thinmap_freep) struct thinmap *map = r == 0 ? pool_compare(x->lvm, &base, &x->lv, e) : NULL;
    if (r > 0 || (map && thinmap_coarse(map)))
        return err_set(e, ERR_GONE, 0, "it cannot be told what unfinished copy '%s' has of its own",
                       x->lv.name);
    if (!map)
        return -1;
    for (uint64_t pos = m->offset, end; pos < x->lv.size; pos = end) {
        enum thin_kind kind = thinmap_at(map, pos, &end);
        if (end > x->lv.size)
            end = x->lv.size;
        if (kind == THIN_RIGHT && make_zero(x, pos, end - pos, e) < 0)
            return -1;
    }
    return 0;
}

/* What lies behind the offset was not flushed when the power went; a full copy writes all that is not zero,
 * so it may start from zeros again. An incremental one cannot: there, every changed range is written again.
 * But of a new chunk only what is not zero, and where the pool does not zero it, it may have been mapped with
 * its former contents. */
static int resume(struct lvm_stage *x, struct err *e)
{
    const struct filestage_mark *m = &x->lv.mark.m;
    if (open_stage(x, e) < 0)
        return -1;
    x->high = m->offset;
    if (m->base_id[0])
        return x->zeroes || filestage_mark_of_live(m) ? 0 : forget_new_chunks(x, e);
    return make_zero(x, m->offset, x->lv.size - m->offset, e);
}

static int open_any(struct lvm_stage *x, const struct stage_want *want, uint64_t size, struct err *e)
{
    struct lvm_name name = lvm_name(x->lvm, LVM_STAGE, NULL);
    int r = lvm_find(x->lvm, name.s, &x->lv, e);
    if (r < 0)
        return -1;
    const struct filestage_mark *m = &x->lv.mark.m;
    bool fits = r == 0 && x->lv.marked && (m->sealed || m->offset) && filestage_mark_fits(m, want) &&
                x->lv.size == size;
    if (fits && (m->sealed || resume(x, e) == 0))
        return 0;
    lvm_close(x->lvm, &x->open);
    if (fits && (e->kind == ERR_FULL || e->kind == ERR_BUSY))
        return -1;
    if (r == 0 && lvm_remove(x->lvm, name.s, e) < 0)
        return -1;
    if (r == 0)
        volume_removed(x->volume, "an unfinished copy that the next one cannot go on from");
    return begin(x, want, size, e);
}

static void release(struct lvm_stage *x)
{
    lvm_close(x->lvm, &x->open);
    free(x->part);
    free(x->whole);
    free(x);
}
CLEANUP_FUNC(release, struct lvm_stage)

int lvm_stage_open(struct stage *s, const struct stage_want *want, uint64_t *offset, struct err *e)
{
    const struct lvm *l = s->volume->priv;
    const struct vg *g = lvm_group(l, false, e);
    const struct thin_pool *pool = g ? lvm_thin_pool(g, l, e) : NULL;
    uint64_t size = pool ? lvm_round(want->size, g->extent) : 0;
    if (!pool || lvm_check_name(l, want->snapshot, e) < 0)
        return -1;
    if (!size)
        return err_set(e, ERR_USAGE, 0, "%" PRIu64 " bytes are too many for a volume", want->size);
    if (!pool->zeroes && pool->chunk > WHOLE_CHUNK_MAX)
        return err_set(e, ERR_CONFIG, 0,
                       "thin pool '%s/%s' does not zero new chunks and they are %" PRIu64
                       " bytes large: let it zero them (lvchange --zero y %s/%s)",
                       l->vg, l->pool, pool->chunk, l->vg, l->pool);
    _cleanup_(releasep) struct lvm_stage *x = xcalloc(1, sizeof *x);
    x->lvm = l;
    x->open.fd = -1;
    x->chunk = pool->chunk;
    x->zeroes = pool->zeroes;
    x->paid = UINT64_MAX;
    x->volume = s->volume;
    if (pool_check(l, x->chunk, &x->budget, e) < 0 || open_any(x, want, size, e) < 0)
        return -1;
    *offset = x->lv.mark.m.offset;
    s->sealed = x->lv.mark.m.sealed;
    x->pending = 0;
    s->priv = take_ptr(x);
    return 0;
}

void lvm_stage_close(struct stage *s)
{
    release(s->priv);
}
