/* The pool: how full it is, and its metadata snapshot.
 *
 * A pool can hold one metadata snapshot, and nothing in it says whose it is. Ours is held only while
 * thin_delta runs, or we read (thinmeta.h), under a lock of the pool; before it is taken a note is written
 * (durably, into the lock's own file), and wiped out when it was released. So a metadata snapshot that is
 * there with our note and without our lock is what a killed process of ours left: it is released. One without
 * our note is somebody else's, waited for, and left alone. */
#include "volume/lvm/lvm.h"

#include "base/clock.h"
#include "base/fs.h"
#include "base/modes.h"
#include "base/num.h"
#include "base/proc.h"
#include "volume/lvm/dm.h"
#include "volume/lvm/thinmap.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <time.h>

#define NOTES "/var/lib/pvesr"
#define FOREIGN_SECONDS 30.0
/* thin_delta prints all the time once it has begun */
#define SILENT_SECONDS 600.0
#define BUDGET_MAX (256u << 20)
#define RESERVE_MAX (1ull << 30)

/* ---- how full ---- */

static bool fraction(const char *text, uint64_t *used, uint64_t *total)
{
    char copy[64], *slash;
    struct err ignored;
    if (strlen(text) >= sizeof copy)
        return false;
    strcpy(copy, text);
    slash = strchr(copy, '/');
    if (!slash)
        return false;
    *slash = 0;
    return num_parse_u64("used", copy, 0, INT64_MAX, used, &ignored) == 0 &&
           num_parse_u64("total", slash + 1, *used, INT64_MAX, total, &ignored) == 0;
}

/* "0 SECTORS thin-pool TRANSACTION META/META DATA/DATA HELD|- MODE …", or "… thin-pool Fail". Data comes in
 * chunks. */
bool pool_room_parse(const char *status, uint64_t chunk, struct pool_room *ret)
{
    _cleanup_strv_ struct strv f = STRV_INIT;
    uint64_t used, total, meta_used, meta;
    *ret = (struct pool_room){0};
    strv_split(&f, status, " \n");
    if (f.n < 4 || strcmp(f.v[2], "thin-pool") != 0)
        return false;
    if (strcmp(f.v[3], "Fail") == 0 || strcmp(f.v[3], "Error") == 0) {
        ret->fail = true;
        return true;
    }
    if (f.n < 8 || !fraction(f.v[4], &meta_used, &meta) || !fraction(f.v[5], &used, &total) || !chunk ||
        total > INT64_MAX / chunk)
        return false;
    ret->total = total * chunk;
    ret->free = (total - used) * chunk;
    ret->meta = meta;
    ret->meta_free = meta - meta_used;
    ret->held = strcmp(f.v[6], "-") != 0;
    ret->out = strcmp(f.v[7], "out_of_data_space") == 0;
    ret->read_only = strcmp(f.v[7], "ro") == 0;
    ret->needs_check = f.n > 10 && strcmp(f.v[10], "needs_check") == 0;
    return true;
}

static uint64_t chunk_of(const struct lvm *l, struct err *e)
{
    const struct vg *g = lvm_group(l, true, e);
    const struct thin_pool *p = g ? lvm_thin_pool(g, l, e) : NULL;
    return p ? p->chunk : 0;
}

static char *pool_device(const struct lvm *l)
{
    return lvm_device(l->vg, l->pool, "-tpool");
}

int pool_room(const struct lvm *l, struct pool_room *ret, struct err *e)
{
    _cleanup_free_ char *device = pool_device(l);
    _cleanup_buf_ struct buf status = BUF_INIT;
    uint64_t chunk = chunk_of(l, e);
    if (!chunk)
        return -1;
    int r = dm_status(device, &status, e);
    if (r == 0 && !pool_room_parse(buf_str(&status), chunk, ret))
        r = err_set(e, ERR_DATA, 0, "its status '%.200s' is not understood", buf_str(&status));
    return r < 0 ? err_wrap(e, "thin pool '%s/%s'", l->vg, l->pool) : r;
}

/* What must stay free: a pool that is full makes all its guests wait, or fail. */
static uint64_t reserve_of(const struct pool_room *p, uint64_t chunk)
{
    uint64_t reserve = p->total / 50;
    if (reserve > RESERVE_MAX)
        reserve = RESERVE_MAX;
    return reserve < 8 * chunk ? 8 * chunk : reserve;
}

int pool_check(const struct lvm *l, uint64_t chunk, uint64_t *budget, struct err *e)
{
    struct pool_room p;
    *budget = 0;
    int r = pool_room(l, &p, e);
    if (r != 0)
        return r < 0 ? -1 : 0;
    uint64_t reserve = reserve_of(&p, chunk);
    if (p.fail || p.read_only)
        return err_set(e, ERR_SYSTEM, 0,
                       "thin pool '%s/%s' is %s%s: see the kernel's log; once nothing uses it, lvchange -an "
                       "%s/%s and lvconvert --repair %s/%s",
                       l->vg, l->pool, p.fail ? "broken" : "read-only",
                       p.needs_check ? ", its metadata needs a check" : "", l->vg, l->pool, l->vg, l->pool);
    if (p.meta_free * 20 < p.meta)
        return err_set(e, ERR_FULL, 0,
                       "the metadata of thin pool '%s/%s' is full but for %" PRIu64 " of %" PRIu64
                       " blocks: extend it (lvextend --poolmetadatasize +SIZE %s/%s)",
                       l->vg, l->pool, p.meta_free, p.meta, l->vg, l->pool);
    if (p.out || p.free <= reserve + 4 * chunk)
        return err_set(e, ERR_FULL, 0,
                       "thin pool '%s/%s' has %" PRIu64 " of %" PRIu64 " bytes free, of which %" PRIu64
                       " are left alone so that its guests can go on: extend it (lvextend -L +SIZE %s/%s) or "
                       "remove volumes or snapshots",
                       l->vg, l->pool, p.free, p.total, reserve, l->vg, l->pool);
    *budget = (p.free - reserve) / 4;
    if (*budget > BUDGET_MAX)
        *budget = BUDGET_MAX;
    return 0;
}

void pool_explain(const struct lvm *l, struct err *e)
{
    struct err ignored;
    const struct vg *g = lvm_group(l, true, &ignored);
    uint64_t id = 0;
    for (size_t i = 0; g && i < g->n; i++)
        if (strcmp(g->lvs[i].pool, l->pool) == 0 && g->lvs[i].thin_id > id)
            id = g->lvs[i].thin_id;
    _cleanup_free_ char *device = lvm_device(l->vg, l->pool, "-tpool");
    struct err why = *e;
    err_set(e, ERR_CONFIG, 0,
            "%.300s. Perhaps thin pool '%s/%s' has a device %" PRIu64
            " already, of which LVM knows nothing: if "
            "'lvs -a -o lv_name,thin_id %s' does not list it, and nobody needs it, dmsetup message %s 0 "
            "\"delete %" PRIu64 "\"",
            why.text, l->vg, l->pool, id + 1, l->vg, device, id + 1);
}

void pool_explain_missing(const struct lvm *l, struct err *e)
{
    char *argv[] = {"vgs", "--noheadings", "-o", "vg_missing_pv_count", "--", (char *)l->vg, NULL};
    struct proc_options options = {.tick = l->tick};
    _cleanup_buf_ struct buf out = BUF_INIT;
    struct err ignored, why = *e;
    if (proc_check(argv, &options, &out, &ignored) < 0 || strtoul(buf_str(&out), NULL, 10) == 0)
        return;
    err_set(e, ERR_CONFIG, 0,
            "%.300s. A disk of it is missing, 'pvs' names it: bring it back, and if that is not all, "
            "'vgextend --restoremissing %s DISK'",
            why.text, l->vg);
}

/* ---- the metadata snapshot ---- */

static void pause_a_moment(const struct lvm *l)
{
    tick_now(l->tick);
    nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
}

/* ERR_BUSY: somebody was faster. */
static int message(const struct lvm *l, const char *text, struct err *e)
{
    _cleanup_free_ char *device = pool_device(l);
    return dm_message(device, text, e) < 0 ? err_wrap(e, "thin pool '%s/%s': %s", l->vg, l->pool, text) : 0;
}

static int lock_note(struct pool_hold *h, struct err *e)
{
    const struct lvm *l = h->lvm;
    _cleanup_free_ char *path = xasprintf(NOTES "/metadata-snapshot-of-%s-%s", l->vg, l->pool);
    if (fs_mkdir_p(NOTES, MODE_NOTES, e) < 0)
        return -1;
    h->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, MODE_NOTE);
    if (h->fd < 0)
        return err_sys(e, "cannot open '%s'", path);
    double until = clock_mono() + h->others;
    while (flock(h->fd, LOCK_EX | LOCK_NB) < 0) {
        if (errno != EWOULDBLOCK && errno != EINTR)
            return err_sys(e, "cannot lock '%s'", path);
        if (clock_mono() > until)
            return err_set(e, ERR_BUSY, 0, "other runs read the metadata of thin pool '%s/%s' all the time",
                           l->vg, l->pool);
        pause_a_moment(l);
    }
    return 0;
}

int pool_hold_release(struct pool_hold *h, struct err *e)
{
    if (message(h->lvm, "release_metadata_snap", e) < 0)
        return -1;
    h->taken = false;
    if (ftruncate(h->fd, 0) < 0)
        return err_sys(e, "cannot wipe out the note on a metadata snapshot");
    return 0;
}

void pool_hold_end(struct pool_hold *h)
{
    struct err ignored;
    if (h->taken)
        pool_hold_release(h, &ignored);
    cleanup_closep(&h->fd);
}

/* Wait until nobody has a metadata snapshot; release one that a process of ours left. */
static int wait_for_turn(struct pool_hold *h, struct err *e)
{
    struct pool_room p;
    double until = clock_mono() + h->foreign;
    for (;;) {
        int r = pool_room(h->lvm, &p, e);
        if (r > 0)
            return err_set(e, ERR_SYSTEM, 0, "thin pool '%s/%s' is not active", h->lvm->vg, h->lvm->pool);
        if (r < 0 || !p.held)
            return r;
        if (lseek(h->fd, 0, SEEK_END) > 0)
            return pool_hold_release(h, e);
        if (clock_mono() > until) {
            _cleanup_free_ char *device = pool_device(h->lvm);
            return err_set(e, ERR_BUSY, 0,
                           "somebody else holds a metadata snapshot of thin pool '%s/%s': when nobody needs "
                           "it, release it (dmsetup message %s 0 release_metadata_snap)",
                           h->lvm->vg, h->lvm->pool, device);
        }
        pause_a_moment(h->lvm);
    }
}

int pool_hold(struct pool_hold *h, struct err *e)
{
    static const char note[] = "reserve_metadata_snap\n";
    if (lock_note(h, e) < 0 || wait_for_turn(h, e) < 0 ||
        fs_pwrite_all(h->fd, note, sizeof note - 1, 0, "the note on a metadata snapshot", e) < 0)
        return -1;
    if (fdatasync(h->fd) < 0)
        return err_sys(e, "cannot flush the note on a metadata snapshot");
    if (message(h->lvm, "reserve_metadata_snap", e) < 0) {
        /* with our note, theirs would be taken for ours */
        if (e->kind == ERR_BUSY)
            (void)!ftruncate(h->fd, 0);
        return -1;
    }
    h->taken = true;
    return 0;
}

/* ---- thin_delta ---- */

/* "0.9.0", or "thin_delta 1.0.4". The first releases of the version written anew, up to 1.0.5, call chunks
 * the same that were overwritten in the middle of a run of chunks (its CHANGES, 1.0.6). */
bool thin_delta_version_ok(const char *said)
{
    unsigned major, minor, patch = 0;
    const char *digits = said + strcspn(said, "0123456789");
    if (sscanf(digits, "%4u.%4u.%4u", &major, &minor, &patch) < 2)
        return false;
    return major == 0 ? strchr(said, '-') == NULL : major > 1 || minor > 0 || patch >= 6;
}

static int check_version(const struct lvm *l, struct err *e)
{
    static bool known;
    char *argv[] = {"thin_delta", "-V", NULL};
    struct proc_options options = {.tick = l->tick};
    _cleanup_buf_ struct buf said = BUF_INIT;
    if (known)
        return 0;
    if (proc_check(argv, &options, &said, e) < 0)
        return -1;
    known = thin_delta_version_ok(buf_str(&said));
    if (known)
        return 0;
    return err_set(e, ERR_CONFIG, 0,
                   "thin_delta says that its version is '%.40s': versions 1.0.0 to 1.0.5 overlook changes, "
                   "install another one "
                   "(thin-provisioning-tools)",
                   buf_str(&said));
}

static int read_map(const struct lvm *l, struct proc *p, struct thinmap *map, struct err *e)
{
    char part[65536];
    double heard = clock_mono();
    for (;;) {
        struct pollfd fd = {.fd = p->out, .events = POLLIN};
        int r = poll(&fd, 1, 1000);
        tick_now(l->tick);
        if (r < 0 && errno != EINTR)
            return err_sys(e, "thin_delta: cannot wait for it");
        if (r <= 0 && clock_mono() - heard < SILENT_SECONDS)
            continue;
        if (r <= 0)
            return err_set(e, ERR_SYSTEM, 0, "thin_delta said nothing for %g s and was ended: see dmesg",
                           SILENT_SECONDS);
        ssize_t n = read(p->out, part, sizeof part);
        if (n < 0 && errno != EINTR)
            return err_sys(e, "thin_delta: cannot read from it");
        if (n == 0)
            return 0;
        heard = clock_mono();
        if (n > 0 && thinmap_feed(map, part, (size_t)n, e) < 0)
            return -1;
    }
}

static int fail_with(int complaints, int status, struct err *e)
{
    char text[512];
    ssize_t n = pread(complaints, text, sizeof text - 1, 0);
    text[n < 0 ? 0 : n] = 0;
    text[strcspn(text, "\n")] = 0;
    return err_set(e, ERR_SYSTEM, 0, "thin_delta: exit status %d: %s", status, text);
}

static int run_delta(const struct lvm *l, const struct lv *base, const struct lv *lv, struct thinmap *map,
                     struct err *e)
{
    _cleanup_free_ char *metadata = lvm_device(l->vg, l->pool, "_tmeta");
    _cleanup_close_ int complaints = memfd_create("thin_delta", MFD_CLOEXEC);
    char left[24], right[24];
    snprintf(left, sizeof left, "%" PRIu64, (base ? base : lv)->thin_id);
    snprintf(right, sizeof right, "%" PRIu64, lv->thin_id);
    char *argv[] = {"thin_delta", "-m", "--snap1", left, "--snap2", right, metadata, NULL};
    struct proc p = PROC_INIT;
    struct proc_streams streams = {.pipe_out = true, .use_err = complaints};
    if (complaints < 0)
        return err_sys(e, "cannot make a file in memory");
    if (proc_spawn(argv, &streams, &p, e) < 0)
        return -1;
    if (read_map(l, &p, map, e) < 0) {
        proc_kill(&p);
        return -1;
    }
    int status = proc_wait(&p, 60);
    return status != 0 ? fail_with(complaints, status, e) : thinmap_finish(map, e);
}

struct thinmap *pool_compare(const struct lvm *l, const struct lv *base, const struct lv *lv, struct err *e)
{
    _cleanup_(pool_hold_end) struct pool_hold h = {
        .lvm = l, .fd = -1, .others = POOL_HOLD_SECONDS, .foreign = FOREIGN_SECONDS};
    _cleanup_(thinmap_freep) struct thinmap *map = thinmap_new(base ? base->size : 0);
    if (check_version(l, e) < 0 || pool_hold(&h, e) < 0)
        return NULL;
    if (run_delta(l, base, lv, map, e) < 0) {
        err_wrap(e, "thin pool '%s/%s'", l->vg, l->pool);
        return NULL;
    }
    return pool_hold_release(&h, e) < 0 ? NULL : take_ptr(map);
}
