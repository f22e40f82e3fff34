#include "volume/driver.h"
#include "volume/failed.h"
#include "volume/name.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

int stage_info(struct volume *v, struct stage_info *ret, struct err *e)
{
    memset(ret, 0, sizeof *ret);
    return volume_done(v, v->driver->stage_info(v, ret, e), e);
}

/* The wish comes from a peer. */
static int check_want(struct volume *v, const struct stage_want *want, struct err *e)
{
    bool base = want->base_id && want->base_id[0];
    if (volume_check_snapshot_name(v, want->snapshot, e) < 0 || volume_check_id(v, want->id, e) < 0 ||
        (base && volume_check_id(v, want->base_id, e) < 0))
        return -1;
    if ((want->owner && !owner_name_valid(want->owner)) || want->size > INT64_MAX)
        err_set(e, ERR_USAGE, 0, "the owner or the size of the replica is not valid");
    else
        return 0;
    return volume_failed(v, e);
}

/* The base may also be the stage's own snapshot (stage_want.base_id), or was when the stage was begun. */
static int upon_stage(struct volume *v, const struct stage_want *want, struct err *e)
{
    struct stage_info stage;
    if (stage_info(v, &stage, e) < 0)
        return -1;
    return stage.exists && ((stage.sealed && strcmp(stage.id, want->base_id) == 0) ||
                            (strcmp(stage.id, want->id) == 0 && strcmp(stage.base_id, want->base_id) == 0));
}

/* Fail before the transfer on what would fail after it. */
static int check_snapshots(struct volume *v, const struct stage_want *want, struct err *e)
{
    _cleanup_snapshots_ struct snapshots s = {0};
    if (volume_snapshots(v, &s, e) < 0)
        return -1;
    const struct snapshot *same = snapshots_find(&s, want->snapshot);
    if (same && strcmp(same->id, want->id) != 0)
        err_set(e, ERR_DATA, 0, "it has another snapshot '%s' already (id %s, not %s): rename or remove it",
                want->snapshot, same->id, want->id);
    else if (!want->base_id || !want->base_id[0] || strcmp(want->base_id, STAGE_OF_LIVE) == 0 ||
             snapshots_find_id(&s, want->base_id))
        return 0;
    else if (upon_stage(v, want, e) > 0)
        return 0;
    else
        err_set(e, ERR_DATA, 0, "the base snapshot with id %s is not there: the next run looks for another",
                want->base_id);
    return volume_failed(v, e);
}

/* Whoever does not ask for what was sent before may know that it stands upon what is wrong. */
static int discard_unasked(struct volume *v, const struct stage_want *want, struct err *e)
{
    struct stage_info there;
    if (want->resume)
        return 0;
    if (stage_info(v, &there, e) < 0)
        return -1;
    return there.exists && strcmp(there.id, want->id) == 0 ? stage_discard(v, e) : 0;
}

struct stage *stage_open(struct volume *v, const struct stage_want *want, uint64_t *offset, struct err *e)
{
    if (check_want(v, want, e) < 0 || volume_allowed(v, e) < 0 || check_snapshots(v, want, e) < 0 ||
        discard_unasked(v, want, e) < 0)
        return NULL;
    struct stage *s = xcalloc(1, sizeof *s);
    s->volume = v;
    s->driver = v->driver;
    s->size = want->size;
    *offset = 0;
    if (v->driver->stage_open(s, want, offset, e) < 0) {
        volume_failed(v, e);
        free(s);
        return NULL;
    }
    return s;
}

void stage_free(struct stage *s)
{
    if (!s)
        return;
    blockreader_release(&s->reader);
    s->driver->stage_close(s);
    free(s);
}

static int check_range(struct stage *s, bool stream, uint64_t offset, uint64_t n, struct err *e)
{
    if (s->sealed)
        err_set(e, ERR_USAGE, 0, "more was sent for a copy that is whole already");
    else if (s->stream != stream)
        err_set(e, ERR_USAGE, 0, "what was sent is not what was announced: this copy is made of %s",
                s->stream ? "a stream" : "ranges");
    else if (!stream && (offset > s->size || n > s->size - offset))
        err_set(e, ERR_USAGE, 0, "the range %" PRIu64 "+%" PRIu64 " is outside of its %" PRIu64 " bytes",
                offset, n, s->size);
    else
        return 0;
    return volume_failed(s->volume, e);
}

int stage_write(struct stage *s, uint64_t offset, const void *data, size_t n, struct err *e)
{
    if (check_range(s, false, offset, n, e) < 0)
        return -1;
    return n ? volume_done(s->volume, s->driver->stage_write(s, offset, data, n, e), e) : 0;
}

int stage_zero(struct stage *s, uint64_t offset, uint64_t n, struct err *e)
{
    if (check_range(s, false, offset, n, e) < 0)
        return -1;
    return n ? volume_done(s->volume, s->driver->stage_zero(s, offset, n, e), e) : 0;
}

int stage_feed(struct stage *s, const void *data, size_t n, struct err *e)
{
    if (check_range(s, true, 0, 0, e) < 0)
        return -1;
    return n ? volume_done(s->volume, s->driver->stage_feed(s, data, n, e), e) : 0;
}

int stage_digests(struct stage *s, uint64_t offset, size_t n, struct digest *ret, struct err *bad,
                  struct err *e)
{
    uint64_t blocks = (s->size + DIGEST_BLOCK - 1) / DIGEST_BLOCK;
    if (!s->driver->stage_fd)
        return volume_lacks(s->volume, "be compared while it is received", e);
    if (s->sealed || offset % DIGEST_BLOCK || offset / DIGEST_BLOCK > blocks ||
        n > blocks - offset / DIGEST_BLOCK) {
        err_set(e, ERR_USAGE, 0, "the unfinished copy has no blocks that could be compared at %" PRIu64,
                offset);
        return volume_failed(s->volume, e);
    }
    if (!s->reader.buffer)
        blockreader_init(&s->reader, s->driver->stage_fd(s), s->size, s->volume->name);
    return read_digests(s->volume, &s->reader, offset, n, ret, bad, e);
}

int stage_checkpoint(struct stage *s, uint64_t offset, struct err *e)
{
    if (s->stream)
        return 0;
    if (check_range(s, false, offset, 0, e) < 0)
        return -1;
    return volume_done(s->volume, s->driver->stage_checkpoint(s, offset, e), e);
}

int stage_seal(struct stage *s, struct err *e)
{
    if (s->sealed)
        return 0;
    if (s->driver->stage_seal(s, e) < 0)
        return volume_failed(s->volume, e);
    s->sealed = true;
    return 0;
}

int stage_discard(struct volume *v, struct err *e)
{
    return volume_allowed(v, e) < 0 ? -1 : volume_done(v, v->driver->stage_discard(v, e), e);
}

/* One that comes between this and the driver's commit is not replaced either: a driver replaces what it saw.
 */
static int check_none(struct volume *v, struct err *e)
{
    struct volume_info info;
    if (volume_info(v, &info, e) < 0)
        return -1;
    if (!info.exists)
        return 0;
    err_set(e, ERR_USAGE, 0, "it was made by somebody else meanwhile");
    return volume_failed(v, e);
}

int volume_commit(struct volume *v, const char *id, enum commit_how how, struct err *e)
{
    if (how == COMMIT_FIRST && check_none(v, e) < 0)
        return -1;
    return volume_check_id(v, id, e) < 0 ? -1 : volume_done(v, v->driver->commit(v, id, how, e), e);
}
