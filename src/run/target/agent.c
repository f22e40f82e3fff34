#include "run/target/agent.h"
#include "run/target/agent-parts.h"

#include "base/cidr.h"
#include "base/clock.h"
#include "base/lock.h"
#include "base/mem.h"
#include "run/intent.h"
#include "run/known.h"
#include "run/message.h"
#include "run/snapshot.h"
#include "run/target/policy.h"
#include "run/target/prune.h"
#include "run/target/replica.h"
#include "volume/name.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define AGENT_SECONDS 60 /* the peer sends something at least each 5 s */
#define LOCK_SECONDS 10
#define REMOVED_BYTES (1u << 20)

CLEANUP_FUNC(transfer_digest_free, struct transfer_digest)

static void tell_alive(void *channel)
{
    struct err ignored;
    channel_alive(channel, &ignored);
}

struct env_volume *agent_volume(struct agent *a, const json_t *o, struct err *e)
{
    const char *volid;
    return message_string(o, "volume", MESSAGE_NAME_MAX, &volid, e) < 0
               ? NULL
               : replicas_find(&a->replicas, volid, e);
}

static int look_up_guest(struct agent *a, struct policy_guest *ret, struct err *e)
{
    if (env_guest_again(a->env, a->guest, e) < 0)
        return -1;
    const struct guest_entry *g = guests_find(&a->env->guests, a->guest);
    *ret = (struct policy_guest){.guest = a->guest,
                                 .self = a->env->settings.node,
                                 .peer = a->peer,
                                 .owner = g ? g->node : NULL,
                                 .twice = guests_has_two(&a->env->guests, a->guest)};
    return 0;
}

int agent_check_owner(struct agent *a, struct err *e)
{
    struct policy_guest g;
    return look_up_guest(a, &g, e) < 0 ? -1 : policy_guest(&g, e);
}

/* The file of a new guest may reach this node's tree a moment after its owner's. */
static int await_owner(struct agent *a, struct err *e)
{
    struct policy_guest g;
    double began = clock_mono();
    int r;
    while ((r = look_up_guest(a, &g, e)) == 0 && policy_guest_may_come(&g) &&
           clock_mono() - began < a->options->patience) {
        tell_alive(a->channel);
        nanosleep(&(struct timespec){0, 200000000}, NULL);
    }
    g.waited = (unsigned)(clock_mono() - began);
    return r < 0 ? -1 : policy_guest(&g, e);
}

static void note_removed(void *agent, const char *text)
{
    struct agent *a = agent;
    strv_add(&a->removed, text);
}

static int open_guest(struct agent *a, const json_t *o, struct err *e)
{
    const char *job;
    struct job_id id;
    if (a->lock || a->looks)
        return err_set(e, ERR_DATA, 0, "the peer opened a second run on one connection");
    if (message_string(o, "job", sizeof a->job - 1, &job, e) < 0 || job_id_parse(job, &id, e) < 0)
        return -1;
    strcpy(a->job, job);
    a->guest = id.guest;
    if (await_owner(a, e) < 0)
        return -1;
    _cleanup_free_ char *path = env_agent_lock_path(a->env, a->guest);
    a->lock = lock_take(path, true, LOCK_SECONDS, false, e);
    if (!a->lock && e->kind != ERR_BUSY)
        return -1;
    if (!a->lock)
        return err_wrap(e, "another run for guest %" PRIu32 " is still at work on this target", a->guest);
    env_hold(a->env, a->lock);
    return agent_check_owner(a, e); /* it may have moved while we waited */
}

/* The cluster may have decided otherwise, and this node would not know: only who looks is served. */
static int check_quorum(struct agent *a, struct err *e)
{
    return tree_check_quorum(a->env->tree, e) < 0 ? err_wrap(e, "target node '%s'", a->env->settings.node)
                                                  : 0;
}

/* A commit that was cut. Where it cannot be ended, this run may: it shows newer restore points of all. */
static void settle(struct agent *a)
{
    struct err problem = {0};
    if (intent_settle(a->env, a->guest, &problem) < 0)
        fprintf(stderr, "%s\n", problem.text);
}

/* Into the array, what is there of one volume. */
static int tell_volume(struct agent *a, size_t at, json_t *array, struct err *e)
{
    struct env_volume *v = &a->replicas.v[at];
    struct replica r = {0};
    if (storages_find(&a->env->storages, v->store.store.id)->shared)
        return err_set(e, ERR_CONFIG, 0, "volume '%s' lies on a shared storage: it has no replica", v->volid);
    if (volume_alone(v->volume, e) < 0 || replica_look(v->volume, &r, e) < 0)
        return err_wrap(e, "volume '%s'", v->volid);
    size_t n = r.snapshots.n;
    a->snapshots += n;
    bool fits = n <= MESSAGE_SNAPSHOTS_MAX && a->snapshots <= MESSAGE_ALL_SNAPSHOTS_MAX;
    for (size_t i = 0; i < n; i++)
        if (snapshot_is_aside(r.snapshots.v[i].name))
            agent_note_kept(a, v->volid, r.snapshots.v[i].name);
    if (fits)
        json_array_append_new(array, message_replica(&r));
    a->seen[at] = r;
    if (fits)
        return 0;
    return err_set(e, ERR_CONFIG, 0,
                   "volume '%s' has %zu snapshots on node '%s', a run can deal with %d, and with %d of all "
                   "volumes: remove some",
                   v->volid, n, a->env->settings.node, MESSAGE_SNAPSHOTS_MAX, MESSAGE_ALL_SNAPSHOTS_MAX);
}

/* Whoever only looks may take hours, and is in nobody's way. */
static void only_look(struct agent *a, json_t *reply)
{
    a->looks = true;
    json_object_set_new(reply, "looks", json_true());
    env_hold(a->env, NULL);
    lock_free(a->lock);
    a->lock = NULL;
}

/* Who uses a replica, for a source that would else find out at the end of its run, with its guest frozen in
 * vain. */
static int tell_used(struct agent *a, struct strv *used, struct err *e)
{
    for (size_t i = 0; i < a->replicas.n; i++) {
        struct err why = {0};
        if (volume_check_unused(a->replicas.v[i].volume, &why) == 0)
            continue;
        if (why.kind != ERR_BUSY) {
            *e = why;
            return -1;
        }
        strv_add(used, why.text);
    }
    return 0;
}

/* With which settings the last commit's run worked. The job may have lost them since, and its source, if it
 * is a new owner of the guest, need not know. */
static void tell_settings(const struct agent *a, json_t *reply)
{
    struct err ignored;
    _cleanup_(known_release) struct known known = {0};
    _cleanup_free_ char *path = known_path(a->env->settings.state_dir, a->job);
    if (known_load(path, &known, &ignored) < 0 || !known.epoch)
        return;
    json_object_set_new(reply, "noted", json_integer((json_int_t)known.epoch));
    json_object_set_new(reply, "settings", message_strings(&known.settings));
}

static int call_open(struct agent *a, const json_t *o, json_t **reply, struct err *e)
{
    _cleanup_strv_ struct strv volids = STRV_INIT;
    _cleanup_strv_ struct strv scan = STRV_INIT;
    _cleanup_strv_ struct strv used = STRV_INIT, former = STRV_INIT;
    uint64_t since = 0;
    if (message_volids(o, "volumes", &volids, e) < 0 || message_volids(o, "scan", &scan, e) < 0 ||
        (json_object_get(o, "signs") && message_volids(o, "signs", &a->replicas.signs, e) < 0) ||
        (json_object_get(o, "since") && message_u64(o, "since", &since, e) < 0) || open_guest(a, o, e) < 0)
        return -1;
    bool looks = json_is_true(json_object_get(o, "look"));
    if (!looks && check_quorum(a, e) < 0)
        return -1;
    a->asks_to_resume = json_object_get(o, "since") != NULL;
    settle(a);
    if (replicas_open(a->env, &volids, a->guest, &a->replicas, e) < 0)
        return -1;
    json_t *array = json_array();
    int r = 0;
    a->seen = xcalloc(a->replicas.n + 1, sizeof *a->seen);
    for (size_t i = 0; r == 0 && i < a->replicas.n; i++)
        r = tell_volume(a, i, array, e);
    if (r == 0)
        r = replica_stale(a->env, a->job, a->guest, &a->replicas, &scan, &a->stale, e);
    if (r == 0 && since)
        r = replica_former(a->env, a->job, a->guest, (int64_t)since, &a->stale, &former, e);
    if (r == 0)
        r = tell_used(a, &used, e);
    if (r == 0)
        *reply = json_pack("{s:O, s:o, s:o, s:o, s:o, s:b, s:b}", "volumes", array, "stale",
                           message_strings(&a->stale), "former", message_strings(&former), "used",
                           message_strings(&used), "kept", agent_tell_kept(a), "marks", 1, "resyncs", 1);
    json_decref(array);
    if (r == 0)
        tell_settings(a, *reply);
    if (r == 0 && looks)
        only_look(a, *reply);
    return r;
}

static int take_data(struct stage *s, const struct frame *f, struct transfer_digest *d, uint64_t *bytes,
                     struct err *e)
{
    uint64_t offset, length;
    const uint8_t *data = NULL;
    if (f->type == FRAME_FEED) {
        transfer_digest_add(d, f->type, *bytes, f->len, f->payload);
        *bytes += f->len;
        return stage_feed(s, f->payload, f->len, e);
    }
    if (f->len < 8 || (f->type == FRAME_ZERO && f->len != 16))
        return err_set(e, ERR_DATA, 0, "what arrives is damaged: too short for its type");
    offset = get_u64(f->payload);
    if (f->type == FRAME_DATA) {
        data = f->payload + 8;
        length = f->len - 8;
    } else {
        length = get_u64(f->payload + 8);
    }
    transfer_digest_add(d, f->type, offset, length, data);
    *bytes += length;
    int r = data ? stage_write(s, offset, data, length, e) : stage_zero(s, offset, length, e);
    return r < 0 ? -1 : stage_checkpoint(s, offset + length, e);
}

static int check_end(const struct frame *f, const struct transfer_digest *d, uint64_t bytes, uint64_t frames,
                     struct err *e)
{
    uint8_t digest[16];
    transfer_digest_final(d, digest);
    if (f->len != 32 || get_u64(f->payload) != bytes || get_u64(f->payload + 8) != frames ||
        memcmp(f->payload + 16, digest, 16) != 0)
        return err_set(
            e, ERR_DATA, 0,
            "what arrived is not what was sent (counts or digest differ): the next run sends it again");
    return 0;
}

/* Apply frames until END, in ascending order and within the size: stage_write checks the latter, we the
 * former. */
static int receive(struct agent *a, struct stage *s, const struct stage_want *want, struct err *e)
{
    _cleanup_(transfer_digest_freep) struct transfer_digest *d = transfer_digest_new();
    bool compares = strcmp(want->base_id, STAGE_OF_LIVE) == 0;
    uint64_t bytes = 0, frames = 0;
    for (;;) {
        struct frame f;
        int r = frame_read(a->channel, &f, e);
        if (r < 0)
            return -1;
        if (r > 0)
            return err_set(e, ERR_NETWORK, 0, "the source closed the connection in the middle of a transfer");
        switch (f.type) {
        case FRAME_DATA:
        case FRAME_ZERO:
        case FRAME_FEED:
            if (take_data(s, &f, d, &bytes, e) < 0)
                return -1;
            frames++;
            break;
        case FRAME_CALL:
            if (!compares)
                return err_set(e, ERR_DATA, 0, "unexpected call in a transfer");
            if (agent_answer_stage(a, s, want->size, &f, e) < 0)
                return -1;
            break;
        case FRAME_END:
            if (check_end(&f, d, bytes, frames, e) < 0)
                return -1;
            return stage_seal(s, e);
        default:
            return err_set(e, ERR_DATA, 0, "unexpected message of type %d in a transfer", (int)f.type);
        }
    }
}

/* Where a change leaves no trace: is the replica another than its restore point, which it was not? */
static int differs_now(const struct replica *before, struct volume *v, struct err *e)
{
    char since[SNAPSHOT_NAME_MAX + 1];
    bool told = before->info.proves || !before->info.exists || before->written;
    return told ? 0 : volume_written(v, since, e);
}

/* The source judged the base by what we told of it. */
static int check_base(struct agent *a, const struct env_volume *v, const char *base_id, struct err *e)
{
    _cleanup_snapshots_ struct snapshots now = {0};
    const struct replica *seen = &a->seen[v - a->replicas.v];
    const struct snapshot *before = snapshots_find_id(&seen->snapshots, base_id);
    if (!before || !before->state)
        return 0;
    if (replica_look_again(v->volume, seen, &now, e) != 0)
        return -1;
    const struct snapshot *after = snapshots_find_id(&now, base_id);
    int differs = after && after->state == before->state ? differs_now(seen, v->volume, e) : 1;
    if (differs <= 0)
        return differs;
    stage_discard(v->volume, e);
    return err_set(
        e, ERR_BUSY, 0,
        "restore point '%s' was written to while a run was building upon it: unmount it, or detach "
        "its loop device, and the next run goes on",
        before->name);
}

static int call_stage(struct agent *a, const json_t *o, json_t **reply, struct err *e)
{
    struct stage_want want = {.owner = a->job};
    uint64_t created, offset = 0;
    bool replace;
    struct env_volume *v = agent_volume(a, o, e);
    if (!v || message_string(o, "snapshot", SNAPSHOT_NAME_MAX, &want.snapshot, e) < 0 ||
        message_string(o, "id", SNAPSHOT_ID_LEN, &want.id, e) < 0 ||
        message_string(o, "base", SNAPSHOT_ID_LEN, &want.base_id, e) < 0 ||
        message_u64(o, "created", &created, e) < 0 || message_u64(o, "size", &want.size, e) < 0 ||
        message_bool(o, "replace", &replace, e) < 0 || message_bool(o, "resume", &want.resume, e) < 0)
        return -1;
    if (!snapshot_name_portable(want.snapshot) || !snapshot_id_valid(want.id) ||
        (*want.base_id && !snapshot_id_valid(want.base_id)))
        return err_set(e, ERR_DATA, 0, "damaged message: '%s' is no snapshot", want.snapshot);
    want.created = (int64_t)created;
    want.resume |= !a->asks_to_resume && !a->seen[v - a->replicas.v].info.stream;
    want.anew = json_is_true(json_object_get(o, "anew")); /* a source of an older version does not say */
    if (replace && replica_replace(v, a->job, e) < 0)
        return err_wrap(e, "volume '%s'", v->volid);
    if (replace)
        strv_addf(&a->removed, "%s: the unfinished first copy of this job: it begins anew", v->volid);
    _cleanup_(stage_freep) struct stage *s = stage_open(v->volume, &want, &offset, e);
    if (!s)
        return err_wrap(e, "volume '%s'", v->volid);
    if (message_send(a->channel, FRAME_REPLY, json_pack("{s:I}", "offset", (json_int_t)offset), e) < 0)
        return -1;
    if (receive(a, s, &want, e) < 0)
        return err_wrap(e, "volume '%s'", v->volid);
    stage_free(take_ptr(s));
    if (check_base(a, v, want.base_id, e) < 0)
        return err_wrap(e, "volume '%s'", v->volid);
    *reply = json_pack("{s:b}", "sealed", 1);
    return 0;
}

static int call_point(struct agent *a, const json_t *o, json_t **reply, struct err *e)
{
    const char *id;
    struct env_volume *v = agent_volume(a, o, e);
    if (!v || message_string(o, "id", SNAPSHOT_ID_LEN, &id, e) < 0)
        return -1;
    if (volume_commit(v->volume, id, COMMIT_POINT, e) < 0)
        return err_wrap(e, "volume '%s'", v->volid);
    struct snapshots *seen = &a->seen[v - a->replicas.v].snapshots;
    for (size_t i = 0; i < seen->n; i++) /* it may have been sent again */
        if (strcmp(seen->v[i].id, id) == 0)
            seen->v[i].state = 0;
    *reply = json_object();
    return 0;
}

static int call_prune(struct agent *a, const json_t *o, json_t **reply, struct err *e)
{
    struct pruning p = {.env = a->env,
                        .job = a->job,
                        .guest = a->guest,
                        .replicas = &a->replicas,
                        .stale = &a->stale,
                        .removed = &a->removed};
    return prune_serve(&p, o, reply, e);
}

/* Which of this node's addresses are in the network: of several the source must not choose. */
static int call_address(struct agent *a, const json_t *o, json_t **reply, struct err *e)
{
    const char *network;
    struct cidr cidr;
    _cleanup_strv_ struct strv addresses = STRV_INIT;
    if (message_string(o, "network", 64, &network, e) < 0)
        return -1;
    if (!cidr_parse(network, &cidr))
        return err_set(e, ERR_DATA, 0, "damaged message: '%s' is no network", network);
    if (cidr_local_addresses(&cidr, &addresses, e) < 0)
        return -1;
    *reply = json_pack("{s:o}", "addresses", message_strings(&addresses));
    return 0;
}

enum needs { NEEDS_NOTHING, NEEDS_LOOK, NEEDS_OPEN };

static const struct call {
    const char *name;
    int (*serve)(struct agent *a, const json_t *o, json_t **reply, struct err *e);
    enum needs needs;
} calls[] = {
    {"open", call_open, NEEDS_NOTHING},        {"aside", agent_call_aside, NEEDS_OPEN},
    {"stage", call_stage, NEEDS_OPEN},         {"point", call_point, NEEDS_OPEN},
    {"commit", agent_call_commit, NEEDS_OPEN}, {"prune", call_prune, NEEDS_OPEN},
    {"address", call_address, NEEDS_NOTHING},  {"digest", agent_call_digest, NEEDS_LOOK},
    {"mark", agent_call_mark, NEEDS_LOOK},
};

static bool may_call(const struct agent *a, enum needs needs)
{
    return needs == NEEDS_NOTHING || a->lock || (needs == NEEDS_LOOK && a->looks);
}

/* As much as fits well into a message; the next has the rest. */
static void tell_removed(struct agent *a, json_t *message)
{
    json_t *list = json_array();
    struct strv rest = STRV_INIT;
    for (size_t i = 0, bytes = 0; i < a->removed.n; i++) {
        bytes += strlen(a->removed.v[i]);
        if (bytes <= REMOVED_BYTES)
            json_array_append_new(list, json_string(a->removed.v[i]));
        else
            strv_add(&rest, a->removed.v[i]);
    }
    if (json_array_size(list))
        json_object_set(message, "removed", list);
    json_decref(list);
    strv_release(&a->removed);
    a->removed = rest;
}

static int dispatch(struct agent *a, const json_t *o, struct err *e)
{
    const char *name;
    if (message_string(o, "do", 32, &name, e) < 0)
        return -1;
    for (size_t i = 0; i < ELEMENTS(calls); i++) {
        if (strcmp(calls[i].name, name) != 0)
            continue;
        if (!may_call(a, calls[i].needs))
            return err_set(e, ERR_DATA, 0, "the peer calls '%s' before 'open'", name);
        /* the guest may have moved since */
        if ((calls[i].needs != NEEDS_NOTHING && agent_check_owner(a, e) < 0) ||
            (calls[i].needs == NEEDS_OPEN && check_quorum(a, e) < 0))
            return -1;
        if (calls[i].serve != agent_call_digest) /* what is open cannot be removed on every storage */
            agent_end_reading(a);
        json_t *reply = NULL;
        if (calls[i].serve(a, o, &reply, e) < 0)
            return -1;
        tell_removed(a, reply);
        return message_send(a->channel, FRAME_REPLY, reply, e);
    }
    return err_set(e, ERR_DATA, 0, "unknown call '%s'", name);
}

static int greet(struct agent *a, struct err *e)
{
    json_t *theirs = message_receive(a->channel, FRAME_HELLO, "source", e);
    if (!theirs)
        return -1;
    uint64_t version;
    const char *node = "";
    int r = message_u64(theirs, "pvesr", &version, e);
    if (r == 0)
        r = message_string(theirs, "node", sizeof a->peer - 1, &node, e);
    snprintf(a->peer, sizeof a->peer, "%s", node);
    if (json_is_true(json_object_get(theirs, "debug")))
        setenv("PVESR_DEBUG", "1", 1);
    json_decref(theirs);
    if (r < 0 || policy_peer(&(struct policy_peer){a->peer, a->options->peer}, e) < 0)
        return -1;
    return message_send(a->channel, FRAME_HELLO,
                        json_pack("{s:i, s:s, s:s}", "pvesr", PROTOCOL_VERSION, "version", PVESR_VERSION,
                                  "node", a->env->settings.node),
                        e);
}

static int serve(struct agent *a, struct err *e)
{
    if (greet(a, e) < 0)
        return -1;
    for (;;) {
        struct frame f;
        int r = frame_read(a->channel, &f, e);
        if (r != 0)
            return r < 0 ? -1 : 0;
        if (f.type != FRAME_CALL)
            return err_set(e, ERR_DATA, 0, "unexpected message of type %d between calls", (int)f.type);
        json_t *o = message_parse(&f, e);
        if (!o)
            return -1;
        r = dispatch(a, o, e);
        json_decref(o);
        if (r < 0)
            return -1;
    }
}

int agent_serve(struct env *env, int in, int out, const struct agent_options *o, struct err *e)
{
    _cleanup_(channel_freep) struct channel *channel = channel_new(in, out, AGENT_SECONDS);
    struct agent a = {.env = env, .options = o, .channel = channel, .in = in, .out = out};
    env->volumes.tick = (struct tick){tell_alive, channel};
    env->volumes.removed = note_removed;
    env->volumes.removed_arg = &a;
    int r = serve(&a, e);
    if (r < 0 && e->kind != ERR_NETWORK) {
        struct err ignored;
        json_t *failure = message_error(e);
        tell_removed(&a, failure);
        message_send(channel, FRAME_ERROR, failure, &ignored);
    }
    env->volumes.tick = (struct tick){0};
    env->volumes.removed = NULL;
    agent_end_reading(&a);
    for (size_t i = 0; i < a.replicas.n && a.seen; i++)
        replica_release(&a.seen[i]);
    free(a.seen);
    replicas_close(&a.replicas);
    strv_release(&a.stale);
    strv_release(&a.kept);
    strv_release(&a.removed);
    env_hold(env, NULL);
    lock_free(a.lock);
    return r;
}
