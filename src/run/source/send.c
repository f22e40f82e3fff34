#include "run/source/send.h"

#include "base/fs.h"
#include "run/source/compare.h"

#include <inttypes.h>
#include <string.h>

CLEANUP_FUNC(transfer_digest_free, struct transfer_digest)

struct sending {
    const struct transfer *t;
    struct channel *channel;
    struct transfer_digest *digest;
    uint64_t bytes, frames;
    uint64_t at;                 /* all below is sent, or as it is on the target */
    struct volume_reader reader; /* for what the delta does not read */
};

/* When the line breaks while we write, the peer may have said why before it hung up. */
static int write_failed(const struct sending *s, struct err *e)
{
    if (e->kind != ERR_NETWORK)
        return -1;
    struct err theirs = {0};
    struct frame f;
    channel_set_timeout(s->channel, 2);
    channel_set_limit(s->channel, 10);
    channel_expect(s->channel);
    while (frame_read(s->channel, &f, &theirs) == 0)
        if (f.type == FRAME_ERROR)
            return peer_take_error(s->t->peer, &f, e);
    return -1;
}

/* The rate limit counts what is about to be sent; while it holds us back the peer is told that we live. */
static int hold_back(const struct sending *s, uint64_t n, struct err *e)
{
    for (double left = rate_wait(s->t->rate, n); left > 0; left = rate_wait(s->t->rate, 0))
        if (channel_flush(s->channel, e) < 0 || channel_alive(s->channel, e) < 0)
            return -1;
    return 0;
}

static int send_extent(struct sending *s, const struct extent *x, const void *data, struct err *e)
{
    uint8_t head[16];
    put_u64(head, x->offset);
    put_u64(head + 8, x->length);
    bool zero = x->kind == EXTENT_ZERO;
    uint64_t wire = zero ? sizeof head : 8 + x->length;
    if (hold_back(s, wire, e) < 0)
        return -1;
    int r = zero ? frame_write(s->channel, FRAME_ZERO, head, 16, NULL, 0, false, e)
                 : frame_write(s->channel, FRAME_DATA, head, 8, data, x->length, false, e);
    if (r < 0)
        return -1;
    transfer_digest_add(s->digest, zero ? FRAME_ZERO : FRAME_DATA, x->offset, x->length, zero ? NULL : data);
    s->bytes += x->length;
    s->frames++;
    progress_update(s->t->progress, x->offset + x->length, zero ? 0 : x->length);
    return 0;
}

/* ---- what is sent though it did not change ---- */

static int send_read(struct sending *s, int fd, uint64_t from, uint64_t to, struct err *e)
{
    static uint8_t piece[EXTENT_DATA_MAX];
    for (uint64_t n; from < to; from += n) {
        n = to - from < sizeof piece ? to - from : sizeof piece;
        struct extent x = {.offset = from, .length = n, .kind = EXTENT_DATA};
        if (fs_pread_all(fd, piece, n, from, s->t->volid, e) < 0)
            return -1;
        if (send_extent(s, &x, piece, e) < 0)
            return write_failed(s, e);
    }
    return 0;
}

/* Of the patch, what lies below `until` and was not sent. */
static int send_patch(struct sending *s, uint64_t until, struct err *e)
{
    const struct ranges *patch = s->t->patch;
    for (size_t i = 0; patch && i < patch->n; i++) {
        const struct range *r = &patch->v[i];
        uint64_t from = r->offset > s->at ? r->offset : s->at, to = r->offset + r->length;
        to = to < until ? to : until;
        if (from < to && send_read(s, s->reader.blocks.fd, from, to, e) < 0)
            return -1;
    }
    s->at = until > s->at ? until : s->at;
    return 0;
}

static int send_one(struct sending *s, const struct extent *x, const void *data, struct err *e)
{
    if (send_patch(s, x->offset, e) < 0)
        return -1;
    s->at = x->offset + x->length;
    return send_extent(s, x, data, e) < 0 ? write_failed(s, e) : 0;
}

static int send_extents(struct sending *s, struct delta *d, struct err *e)
{
    for (;;) {
        struct extent x;
        int r = delta_next(d, &x, e);
        if (r < 0)
            return -1;
        if (r == 0)
            return send_patch(s, s->t->snapshot->size, e);
        if (r == 2 && channel_alive(s->channel, e) < 0)
            return write_failed(s, e);
        if (r == 1 && send_one(s, &x, delta_data(d), e) < 0)
            return -1;
    }
}

static int send_all(struct sending *s, struct delta *d, struct err *e)
{
    const struct transfer *t = s->t;
    bool patches = t->patch && t->patch->n;
    if (patches && volume_read_open(t->volume, t->snapshot, &s->reader, e) < 0)
        return -1;
    int r = send_extents(s, d, e);
    if (patches)
        volume_read_close(t->volume, &s->reader);
    return r;
}

/* ---- what differs from what the target has ---- */

static int send_differing(void *sending, const struct volume_reader *r, uint64_t offset, uint64_t length,
                          bool zero, struct err *e)
{
    struct sending *s = sending;
    if (!zero)
        return send_read(s, r->blocks.fd, offset, offset + length, e);
    struct extent x = {.offset = offset, .length = length, .kind = EXTENT_ZERO};
    return send_extent(s, &x, NULL, e) < 0 ? write_failed(s, e) : 0;
}

static int send_compared(struct sending *s, struct err *e)
{
    const struct transfer *t = s->t;
    struct rate rate; /* digests are not worth counting */
    struct compare c = {.peer = t->peer,
                        .rate = &rate,
                        .volume = t->volume,
                        .snapshot = t->snapshot,
                        .there = t->there,
                        .id = STAGE_OF_LIVE,
                        .differs = send_differing,
                        .arg = s,
                        .at = s->at - s->at % DIGEST_BLOCK};
    rate_init(&rate, 0);
    int r = compare_volume(&c, e);
    return r > 0 ? err_set(e, ERR_DATA, 0,
                           "%s: does not go on comparing, as somebody there needs the replica: the next run "
                           "begins anew",
                           t->peer->node)
                 : r;
}

static int send_stream(struct sending *s, struct delta *d, struct err *e)
{
    static uint8_t piece[256 << 10];
    for (;;) {
        ssize_t n = delta_stream(d, piece, sizeof piece, e);
        if (n <= 0)
            return (int)n;
        if (hold_back(s, (uint64_t)n, e) < 0 ||
            frame_write(s->channel, FRAME_FEED, piece, (size_t)n, NULL, 0, false, e) < 0)
            return write_failed(s, e);
        transfer_digest_add(s->digest, FRAME_FEED, s->bytes, (uint64_t)n, piece);
        s->bytes += (uint64_t)n;
        s->frames++;
        progress_update(s->t->progress, 0, (uint64_t)n);
    }
}

static void log_going_on(const struct transfer *t, uint64_t offset)
{
    if (t->progress->log)
        joblog_add(t->progress->log, "%s: going on at byte %" PRIu64 " of an interrupted transfer", t->volid,
                   offset);
}

/* A stream goes on only if our storage takes the target's token: NULL otherwise, and it begins anew. */
static struct delta *resume_stream(const struct transfer *t)
{
    struct err problem = {0};
    uint64_t sent;
    struct delta *d = delta_resume(t->volume, t->base, t->snapshot, t->stage->token, &sent, &problem);
    if (d)
        log_going_on(t, sent);
    else if (t->progress->log)
        joblog_add(t->progress->log, "an interrupted transfer begins anew: %s", problem.text);
    return d;
}

static int open_stage(const struct transfer *t, bool resume, uint64_t *offset, struct err *e)
{
    struct peer_stage how = {.base_id = t->resync ? STAGE_OF_LIVE
                                        : t->base ? t->base->id
                                                  : "",
                             .replace = t->replace,
                             .anew = t->anew,
                             .resume = resume};
    if (peer_stage(t->peer, t->there, t->snapshot, &how, offset, e) < 0)
        return -1;
    if (*offset && !resume) /* what stands there may stand upon what is wrong */
        return err_set(e, ERR_DATA, 0,
                       "%s goes on with what was sent before, and was asked to begin anew: install the "
                       "version of this node there",
                       t->peer->node);
    if (*offset)
        log_going_on(t, *offset);
    return 0;
}

static int send_changes(struct sending *s, struct delta *d, struct err *e)
{
    const struct transfer *t = s->t;
    if (t->resync)
        return t->snapshot->size && s->at == t->snapshot->size ? 0 : send_compared(s, e);
    return !d ? 0 : t->stream ? send_stream(s, d, e) : send_all(s, d, e);
}

int transfer_send(const struct transfer *t, uint64_t *changed, struct err *e)
{
    uint64_t offset = 0;
    _cleanup_(delta_freep) struct delta *d = NULL;
    bool all_there = t->stream && t->stage && t->stage->sealed;
    if (t->stream && t->stage && t->stage->token[0] && !all_there)
        d = resume_stream(t);
    bool resume = t->stream ? d || all_there : t->stage != NULL;
    if (open_stage(t, resume, &offset, e) < 0)
        return -1;
    bool needs = !d && !all_there && !t->resync;
    if (needs && !(d = delta_open(t->volume, t->base, t->snapshot, offset, e)))
        return -1;
    _cleanup_(transfer_digest_freep) struct transfer_digest *digest = transfer_digest_new();
    struct sending s = {.t = t, .channel = t->peer->link.channel, .digest = digest, .at = offset};
    progress_begin(t->progress, t->volid, t->stream ? 0 : t->snapshot->size, offset);
    if (send_changes(&s, d, e) < 0)
        return -1;
    *changed += s.bytes;
    if (peer_sealed(t->peer, s.bytes, s.frames, digest, e) < 0)
        return -1;
    progress_end(t->progress);
    return 0;
}
