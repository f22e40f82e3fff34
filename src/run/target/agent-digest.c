/* The call `digest`: what a replica, or one of its restore points, reads as. Nothing is changed, no lock is
 * held: whoever takes the one of the agents meanwhile finds the volume closed a moment later. */
#include "run/target/agent-parts.h"

#include "base/lock.h"
#include "base/mem.h"
#include "run/message.h"
#include "run/target/replica.h"
#include "volume/name.h"

#include <string.h>

struct reading {
    struct env_volume *volume;
    char id[SNAPSHOT_ID_LEN + 1]; /* "": the live volume */
    struct volume_reader reader;
    struct digest digests[FRAME_DIGESTS_MAX];
};

void agent_end_reading(struct agent *a)
{
    if (a->reading)
        volume_read_close(a->reading->volume->volume, &a->reading->reader);
    free(a->reading);
    a->reading = NULL;
}

const struct snapshot *agent_find_point(struct env_volume *v, const char *id, struct snapshots *all,
                                        struct err *e)
{
    if (volume_snapshots(v->volume, all, e) < 0)
        return NULL;
    const struct snapshot *s = snapshots_find_id(all, id);
    if (!s)
        err_set(e, ERR_GONE, 0, "the restore point with id %s is not there any more", id);
    return s;
}

static int open_reading(struct agent *a, struct env_volume *v, const char *id, struct err *e)
{
    _cleanup_snapshots_ struct snapshots all = {0};
    if (a->reading && a->reading->volume == v && strcmp(a->reading->id, id) == 0)
        return 0;
    agent_end_reading(a);
    const struct snapshot *s = *id ? agent_find_point(v, id, &all, e) : NULL;
    if (*id && !s)
        return -1;
    a->reading = xcalloc(1, sizeof *a->reading);
    a->reading->volume = v;
    strcpy(a->reading->id, id);
    return volume_read_open(v->volume, s, &a->reading->reader, e);
}

/* What is open can be read to its end although it was removed. */
static int check_there(struct agent *a, struct env_volume *v, const char *id, struct err *e)
{
    struct replica now = {0};
    const struct replica *before = &a->seen[v - a->replicas.v];
    agent_end_reading(a);
    if (replica_look(v->volume, &now, e) < 0)
        return -1;
    bool same = *id ? snapshots_find_id(&now.snapshots, id) != NULL
                    : now.info.exists && strcmp(now.base_id, before->base_id) == 0;
    replica_release(&now);
    return same ? 0 : err_set(e, ERR_GONE, 0, "what was compared here was removed or replaced meanwhile");
}

/* Does anybody want what we read? */
static bool is_wanted(struct agent *a)
{
    struct err ignored;
    if (a->lock)
        return false;
    _cleanup_free_ char *path = env_agent_lock_path(a->env, a->guest);
    struct lock *free_now = lock_take(path, false, 0, false, &ignored);
    lock_free(free_now);
    return !free_now;
}

static int answer(struct agent *a, uint64_t offset, size_t n, struct err *bad, struct err *e)
{
    struct reading *r = a->reading;
    uint8_t head[8];
    put_u64(head, offset);
    if (n && volume_read_digests(r->volume->volume, &r->reader, offset, n, r->digests, bad, e) < 0)
        return -1;
    return frame_write(a->channel, FRAME_DIGESTS, head, sizeof head, n ? r->digests : NULL,
                       n * sizeof *r->digests, true, e);
}

/* A block of the stage is asked for before anything at or behind it comes. */
int agent_answer_stage(struct agent *a, struct stage *s, uint64_t size, const struct frame *f, struct err *e)
{
    struct digest *digests = NULL;
    uint64_t offset, blocks;
    const char *what, *id;
    struct err bad = {0};
    json_t *o = message_parse(f, e);
    int r = !o || message_string(o, "do", 32, &what, e) < 0 ||
                    message_string(o, "id", SNAPSHOT_ID_LEN, &id, e) < 0 ||
                    message_u64(o, "offset", &offset, e) < 0 || message_u64(o, "blocks", &blocks, e) < 0
                ? -1
                : 0;
    if (r == 0 &&
        (strcmp(what, "digest") != 0 || strcmp(id, STAGE_OF_LIVE) != 0 || blocks > FRAME_DIGESTS_MAX))
        r = err_set(e, ERR_DATA, 0, "unexpected call '%s' in a transfer", what);
    json_decref(o);
    if (r < 0)
        return -1;
    uint8_t head[8];
    put_u64(head, offset);
    digests = xcalloc(blocks + 1, sizeof *digests);
    if ((blocks && stage_digests(s, offset, blocks, digests, &bad, e) < 0) ||
        frame_write(a->channel, FRAME_DIGESTS, head, sizeof head, blocks ? digests : NULL,
                    blocks * sizeof *digests, true, e) < 0 ||
        message_send(a->channel, FRAME_REPLY,
                     json_pack("{s:I, s:b, s:s}", "size", (json_int_t)size, "wanted", 0, "bad", bad.text),
                     e) < 0)
        r = -1;
    free(digests);
    return r;
}

int agent_call_digest(struct agent *a, const json_t *o, json_t **reply, struct err *e)
{
    const char *id;
    uint64_t offset, blocks, size = 0;
    struct err bad = {0};
    struct env_volume *v = agent_volume(a, o, e);
    if (!v || message_string(o, "id", SNAPSHOT_ID_LEN, &id, e) < 0 ||
        message_u64(o, "offset", &offset, e) < 0 || message_u64(o, "blocks", &blocks, e) < 0)
        return -1;
    if ((*id && !snapshot_id_valid(id)) || offset % DIGEST_BLOCK || blocks > FRAME_DIGESTS_MAX)
        return err_set(e, ERR_DATA, 0, "damaged message: 'digest' of no blocks that could be read");
    bool wanted = is_wanted(a);
    if (wanted)
        agent_end_reading(a);
    else if ((blocks ? open_reading(a, v, id, e) : check_there(a, v, id, e)) < 0)
        return err_wrap(e, "volume '%s'", v->volid);
    else if (blocks)
        size = a->reading->reader.blocks.size;
    uint64_t left = offset < size ? (size - offset + DIGEST_BLOCK - 1) / DIGEST_BLOCK : 0;
    if (answer(a, offset, (size_t)(blocks < left ? blocks : left), &bad, e) < 0)
        return err_wrap(e, "volume '%s'", v->volid);
    *reply = json_pack("{s:I, s:b, s:s}", "size", (json_int_t)size, "wanted", (int)wanted, "bad", bad.text);
    return 0;
}
