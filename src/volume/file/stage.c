#include "volume/file/stage.h"

#include "base/fs.h"
#include "base/num.h"
#include "volume/file/sparse.h"
#include "volume/mark.h"
#include "volume/name.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Writeback is begun this often, so that a checkpoint finds most of its data on the way already. */
#define PUSH_BYTES (8u << 20)
#define MARK_TEXT_MAX 512

uint64_t filestage_checkpoint_bytes = 64u << 20;

struct filestage {
    int fd;
    char *what;
    const struct tick *tick;
    struct filestage_mark mark; /* what the file's attribute says */
    uint64_t pending;           /* bytes written or zeroed since the last checkpoint */
    uint64_t push_from, pushed; /* start and bytes of the run that writeback has not been begun for */
    uint64_t high;              /* end of the last byte written */
    bool no_punch;
};

/* ---- the mark ----
 * "1 SNAPSHOT ID BASE|- OWNER|- CREATED SIZE OFFSET SEALED" */

int filestage_mark_set(int fd, const struct filestage_mark *m, struct err *e)
{
    char text[MARK_TEXT_MAX];
    snprintf(text, sizeof text, "1 %s %s %s %s %" PRId64 " %" PRIu64 " %" PRIu64 " %d", m->snapshot, m->id,
             m->base_id[0] ? m->base_id : "-", m->owner[0] ? m->owner : "-", m->created, m->size, m->offset,
             m->sealed);
    return mark_set(fd, "stage", text, e);
}

static bool copy_field(char *ret, size_t room, const char *text)
{
    if (strcmp(text, "-") == 0)
        text = "";
    if (strlen(text) >= room)
        return false;
    strcpy(ret, text);
    return true;
}

static bool parse(char *text, struct filestage_mark *m)
{
    _cleanup_strv_ struct strv f = STRV_INIT;
    strv_split(&f, text, " ");
    struct err ignored;
    uint64_t sealed;
    if (f.n != 9 || strcmp(f.v[0], "1") != 0 ||
        num_parse_i64("created", f.v[5], INT64_MIN, INT64_MAX, &m->created, &ignored) < 0 ||
        num_parse_u64("size", f.v[6], 0, INT64_MAX, &m->size, &ignored) < 0 ||
        num_parse_u64("offset", f.v[7], 0, m->size, &m->offset, &ignored) < 0 ||
        num_parse_u64("sealed", f.v[8], 0, 1, &sealed, &ignored) < 0)
        return false;
    m->sealed = sealed;
    return copy_field(m->snapshot, sizeof m->snapshot, f.v[1]) && copy_field(m->id, sizeof m->id, f.v[2]) &&
           copy_field(m->base_id, sizeof m->base_id, f.v[3]) &&
           copy_field(m->owner, sizeof m->owner, f.v[4]) && snapshot_id_valid(m->id) &&
           (!m->base_id[0] || snapshot_id_valid(m->base_id));
}

int filestage_mark_get(int fd, struct filestage_mark *ret, struct err *e)
{
    char text[MARK_TEXT_MAX];
    memset(ret, 0, sizeof *ret);
    int r = mark_get(fd, "stage", text, sizeof text, e);
    if (r == 0 && !parse(text, ret)) {
        memset(ret, 0, sizeof *ret);
        r = 1;
    }
    return r;
}

void filestage_mark_init(struct filestage_mark *m, const struct stage_want *want)
{
    memset(m, 0, sizeof *m);
    snprintf(m->snapshot, sizeof m->snapshot, "%s", want->snapshot);
    snprintf(m->id, sizeof m->id, "%s", want->id);
    snprintf(m->base_id, sizeof m->base_id, "%s", want->base_id ? want->base_id : "");
    snprintf(m->owner, sizeof m->owner, "%s", want->owner ? want->owner : "");
    m->created = want->created;
    m->size = want->size;
}

bool filestage_mark_fits(const struct filestage_mark *m, const struct stage_want *want)
{
    struct filestage_mark wanted;
    filestage_mark_init(&wanted, want);
    return strcmp(m->id, wanted.id) == 0 && strcmp(m->base_id, wanted.base_id) == 0 &&
           strcmp(m->snapshot, wanted.snapshot) == 0 && strcmp(m->owner, wanted.owner) == 0 &&
           m->size == wanted.size;
}

bool filestage_mark_of_live(const struct filestage_mark *m)
{
    return strcmp(m->base_id, STAGE_OF_LIVE) == 0;
}

void filestage_mark_info(const struct filestage_mark *m, struct stage_info *ret)
{
    memset(ret, 0, sizeof *ret);
    ret->exists = true;
    ret->sealed = m->sealed;
    ret->offset = m->offset;
    memcpy(ret->snapshot, m->snapshot, sizeof ret->snapshot);
    memcpy(ret->id, m->id, sizeof ret->id);
    memcpy(ret->base_id, m->base_id, sizeof ret->base_id);
}

int filestage_chain(int fd, struct filestage_mark *m, const struct stage_want *want, struct err *e)
{
    struct filestage_mark next;
    filestage_mark_init(&next, want);
    if (filestage_mark_set(fd, &next, e) < 0)
        return -1;
    if (ftruncate(fd, (off_t)next.size) < 0 || fsync(fd) < 0)
        return err_sys(e, "cannot go on from the unfinished copy");
    *m = next;
    return 0;
}

static bool has_mark(int fd, const struct filestage_mark *m)
{
    struct filestage_mark found;
    struct err ignored;
    return filestage_mark_get(fd, &found, &ignored) == 0 && found.offset == m->offset &&
           strcmp(found.id, m->id) == 0 && strcmp(found.base_id, m->base_id) == 0;
}

/* ---- the stage ---- */

/* What lies behind the offset was not flushed when the power went; a full copy writes all that is not zero,
 * so it may start from zeros again. An incremental one cannot: there, every changed range is written again.
 */
static int forget_tail(struct filestage *s, struct err *e)
{
    if (s->mark.sealed || s->mark.base_id[0])
        return 0;
    if (ftruncate(s->fd, (off_t)s->mark.offset) < 0 || ftruncate(s->fd, (off_t)s->mark.size) < 0)
        return err_sys(e, "cannot set the size of '%s'", s->what);
    return 0;
}

struct filestage *filestage_new(int fd, const char *what, const struct filestage_mark *mark,
                                const struct tick *tick, struct err *e)
{
    struct filestage *s = xcalloc(1, sizeof *s);
    s->fd = fd;
    s->what = xstrdup(what);
    s->tick = tick;
    s->mark = *mark;
    s->high = mark->offset;
    bool begin = mark->offset == 0 && !mark->sealed && !has_mark(fd, mark);
    int r = begin ? mark_clear(fd, "stage", e) : forget_tail(s, e);
    if (r < 0) {
        filestage_free(s);
        return NULL;
    }
    return s;
}

void filestage_free(struct filestage *s)
{
    if (!s)
        return;
    close(s->fd);
    free(s->what);
    free(s);
}

int filestage_fd(const struct filestage *s)
{
    return s->fd;
}

static void push(struct filestage *s, uint64_t offset, uint64_t n)
{
    s->pending += n;
    if (s->pushed && offset == s->push_from + s->pushed) {
        s->pushed += n;
    } else {
        if (s->pushed >= PUSH_BYTES / 8)
            sync_file_range(s->fd, (off_t)s->push_from, (off_t)s->pushed, SYNC_FILE_RANGE_WRITE);
        s->push_from = offset;
        s->pushed = n;
    }
    if (s->pushed < PUSH_BYTES)
        return;
    /* only a hint: what it does not do, the fdatasync of the checkpoint does */
    sync_file_range(s->fd, (off_t)s->push_from, (off_t)s->pushed, SYNC_FILE_RANGE_WRITE);
    s->push_from += s->pushed;
    s->pushed = 0;
}

/* As it is, zeros too. */
static int write_all(struct filestage *s, uint64_t offset, const void *data, size_t n, struct err *e)
{
    if (fs_pwrite_all(s->fd, data, n, offset, s->what, e) < 0)
        return -1;
    push(s, offset, n);
    if (offset + n > s->high)
        s->high = offset + n;
    return 0;
}

int filestage_write(struct filestage *s, uint64_t offset, const void *data, size_t n, struct err *e)
{
    for (const char *p = data; n;) {
        bool zero;
        size_t run = sparse_run(p, n, offset, &zero);
        if ((zero ? filestage_zero(s, offset, run, e) : write_all(s, offset, p, run, e)) < 0)
            return -1;
        offset += run;
        p += run;
        n -= run;
    }
    return 0;
}

static int write_zeros(struct filestage *s, uint64_t offset, uint64_t n, struct err *e)
{
    static const char zeros[1 << 18];
    while (n) {
        size_t part = n < sizeof zeros ? (size_t)n : sizeof zeros;
        if (write_all(s, offset, zeros, part, e) < 0)
            return -1;
        offset += part;
        n -= part;
        tick_now(s->tick);
    }
    return 0;
}

int filestage_zero(struct filestage *s, uint64_t offset, uint64_t n, struct err *e)
{
    bool hole = !s->mark.base_id[0] && offset >= s->high; /* nothing was ever written there */
    if (n == 0 || hole)
        return 0;
    if (!s->no_punch) {
        if (fallocate(s->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)n) == 0) {
            s->pending += PUSH_BYTES / 8; /* cheap, but many of them are worth a checkpoint */
            return 0;
        }
        if (errno != EOPNOTSUPP && errno != ENOSYS)
            return err_sys(e, "cannot make a hole in '%s'", s->what);
        s->no_punch = true;
    }
    return write_zeros(s, offset, n, e);
}

int filestage_checkpoint(struct filestage *s, uint64_t offset, struct err *e)
{
    if (s->pending < filestage_checkpoint_bytes || offset <= s->mark.offset)
        return 0;
    tick_now(s->tick);
    if (fdatasync(s->fd) < 0)
        return err_sys(e, "cannot flush '%s'", s->what);
    tick_now(s->tick);
    struct filestage_mark next = s->mark;
    next.offset = offset;
    if (filestage_mark_set(s->fd, &next, e) < 0)
        return -1;
    s->mark = next;
    s->pending = 0;
    return 0;
}

int filestage_seal(struct filestage *s, struct err *e)
{
    if (s->mark.sealed)
        return 0;
    tick_now(s->tick);
    if (fsync(s->fd) < 0)
        return err_sys(e, "cannot flush '%s'", s->what);
    struct filestage_mark next = s->mark;
    next.sealed = true;
    next.offset = next.size;
    if (filestage_mark_set(s->fd, &next, e) < 0)
        return -1;
    if (fsync(s->fd) < 0)
        return err_sys(e, "cannot flush '%s'", s->what);
    s->mark = next;
    return 0;
}
