#include "volume/driver.h"
#include "volume/failed.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

void volume_send_as(struct volume *v, enum volume_form form)
{
    v->form = form;
}

void volume_send_large(struct volume *v, bool large)
{
    v->large = large;
}

struct delta *delta_open(struct volume *v, const struct snapshot *base, const struct snapshot *snapshot,
                         uint64_t from, struct err *e)
{
    if (from > snapshot->size) {
        err_set(e, ERR_USAGE, 0, "a transfer of snapshot '%s' cannot go on at byte %" PRIu64, snapshot->name,
                from);
        volume_failed(v, e);
        return NULL;
    }
    struct delta *d = xcalloc(1, sizeof *d);
    d->volume = v;
    d->driver = v->driver;
    d->size = snapshot->size;
    d->full = !base;
    d->at = from;
    if (v->driver->delta_open(d, base, snapshot, from, e) < 0) {
        volume_failed(v, e);
        free(d);
        return NULL;
    }
    return d;
}

struct delta *delta_resume(struct volume *v, const struct snapshot *base, const struct snapshot *snapshot,
                           const char *token, uint64_t *sent, struct err *e)
{
    if (!v->driver->delta_resume) {
        volume_lacks(v, "go on with an interrupted stream", e);
        return NULL;
    }
    struct delta *d = xcalloc(1, sizeof *d);
    d->volume = v;
    d->driver = v->driver;
    d->full = !base;
    *sent = 0;
    if (v->driver->delta_resume(d, base, snapshot, token, sent, e) < 0) {
        volume_failed(v, e);
        free(d);
        return NULL;
    }
    return d;
}

void delta_free(struct delta *d)
{
    if (!d)
        return;
    d->driver->delta_close(d);
    free(d);
}

int delta_next(struct delta *d, struct extent *ret, struct err *e)
{
    if (!d->driver->delta_next)
        return volume_lacks(d->volume, "tell what changed as ranges", e);
    int r = d->driver->delta_next(d, ret, e);
    if (r != 1)
        return volume_done(d->volume, r, e);
    bool fits = ret->length && ret->offset >= d->at && ret->offset <= d->size &&
                ret->length <= d->size - ret->offset &&
                (ret->kind == EXTENT_ZERO ? !d->full : ret->length <= EXTENT_DATA_MAX);
    if (!fits) {
        err_set(e, ERR_DATA, 0, "the storage driver gave the range %" PRIu64 "+%" PRIu64 " after %" PRIu64,
                ret->offset, ret->length, d->at);
        return volume_failed(d->volume, e);
    }
    d->at = ret->offset + ret->length;
    return 1;
}

static int differs_by_ranges(struct volume *v, const struct snapshot *base, const struct snapshot *s,
                             struct err *e)
{
    if (s->size != base->size)
        return 1;
    struct extent x;
    _cleanup_(delta_freep) struct delta *d = delta_open(v, base, s, 0, e);
    int r = d ? 2 : -1;
    while (r == 2)
        r = delta_next(d, &x, e);
    return r;
}

int volume_snapshot_differs(struct volume *v, const struct snapshot *base, const struct snapshot *s,
                            struct err *e)
{
    return v->driver->snapshot_differs ? volume_done(v, v->driver->snapshot_differs(v, base, s, e), e)
                                       : differs_by_ranges(v, base, s, e);
}

const void *delta_data(const struct delta *d)
{
    return d->driver->delta_data(d);
}

ssize_t delta_stream(struct delta *d, void *data, size_t room, struct err *e)
{
    if (!d->driver->delta_stream)
        return volume_lacks(d->volume, "give its data as a stream", e);
    ssize_t n = d->driver->delta_stream(d, data, room, e);
    return n < 0 ? volume_failed(d->volume, e) : n;
}
