#include "run/source/peer.h"

#include "base/debug.h"
#include "base/fs.h"

#include "run/message.h"
#include "run/source/peer-hint.h"
#include "run/transport.h"

#include <stdio.h>
#include <string.h>

/* A healthy agent says something at least each 5 s, however long its work takes. */
#define PEER_SECONDS 60
#define PEER_HELLO_SECONDS 15
#define PEER_HELLO_LIMIT 60
#define PEER_LIMIT_BYTES (32u << 20) /* for which a second is added */
#define SAID_BESIDE 64               /* bytes of a line of the log around a sentence */

/* While the source's own storage is at work (a large snapshot, a scan), the agent is told that we live. */
static void tell_alive(void *channel)
{
    struct err ignored;
    channel_alive(channel, &ignored);
}

/* What the agent does at our wish is told here as our own doings are: PVESR_DEBUG does not travel over ssh.
 */
static void pass_on(const char *line, void *node)
{
    static const char debug[] = "debug: ";
    if (strncmp(line, debug, sizeof debug - 1) == 0)
        debug_line("%s: %s", (const char *)node, line + sizeof debug - 1);
}

static void link_target_of(struct env *env, const struct member *m, char *known_hosts, struct link_target *t)
{
    *t = (struct link_target){.node = m->node.name,
                              .address = m->node.address,
                              .port = m->node.port,
                              .user = m->node.user,
                              .agent = m->node.agent,
                              .config = m->node.config,
                              .known_hosts = known_hosts,
                              .run_dir = env->settings.run_dir,
                              .line = pass_on,
                              .line_arg = (void *)m->node.name};
}

/* What was said before the line broke says more than that it did; and what is no frame, peer_hint_first
 * shows. */
static int hear_last_words(struct peer *p, struct err *e)
{
    struct frame f;
    struct err ignored;
    if (e->kind == ERR_NETWORK && frame_read(p->link.channel, &f, &ignored) == 0 && f.type == FRAME_ERROR)
        return peer_take_error(p, &f, e);
    return -1;
}

static int hello(struct env *env, struct peer *p, struct err *e)
{
    json_t *mine = json_pack("{s:i, s:s, s:s, s:b}", "pvesr", PROTOCOL_VERSION, "version", PVESR_VERSION,
                             "node", env->settings.node, "debug", (int)debug_on());
    if (message_send(p->link.channel, FRAME_HELLO, mine, e) < 0 && e->kind != ERR_NETWORK)
        return -1;
    /* also of one that has closed: what it said before, or that it said nothing, tells more */
    json_t *theirs = message_receive(p->link.channel, FRAME_HELLO, p->node, e);
    if (!theirs)
        return -1;
    const char *node = "";
    uint64_t version = 0;
    int r = 0;
    if (message_u64(theirs, "pvesr", &version, e) < 0 || message_string(theirs, "node", 63, &node, e) < 0)
        r = -1;
    else if (version != PROTOCOL_VERSION)
        r = err_set(e, ERR_CONFIG, 0,
                    "node '%s' speaks protocol %u, this node speaks %d: update the older one", p->node,
                    (unsigned)version, PROTOCOL_VERSION);
    else if (strcmp(node, p->node) != 0)
        r = err_set(e, ERR_CONFIG, 0,
                    "the machine at the address of node '%s' says that it is node '%s': check the addresses "
                    "in nodes.cfg and "
                    "'node' in its pvesr.conf",
                    p->node, node);
    json_decref(theirs);
    return r;
}

int peer_take_error(const struct peer *p, const struct frame *f, struct err *e)
{
    return message_take_error(f, p->node, e);
}

/* Of the sentences from the first new one on, those that are too much for one run go. */
static void bound_said(struct peer *p, struct strv *texts, size_t first)
{
    bool within = p->said <= PEER_SAID_MAX;
    size_t i = first;
    for (; i < texts->n && p->said <= PEER_SAID_MAX; i++)
        p->said += strlen(texts->v[i]) + SAID_BESIDE;
    while (texts->n > i)
        strv_remove(texts, texts->n - 1);
    if (within && p->said > PEER_SAID_MAX)
        joblog_add(p->log, "node '%s' has said more than %u MiB: what else it says is left out of this log",
                   p->node, PEER_SAID_MAX >> 20);
}

static int take_said(struct peer *p, const json_t *o, const char *key, struct strv *ret, struct err *e)
{
    size_t first = ret->n;
    if (message_texts(o, key, ret, e) < 0)
        return err_wrap(e, "%s", p->node);
    bound_said(p, ret, first);
    return 0;
}

static json_t *receive_reply(struct peer *p, struct err *e)
{
    _cleanup_strv_ struct strv removed = STRV_INIT;
    json_t *reply = message_reply(p->link.channel, p->node, &removed, e);
    bound_said(p, &removed, 0);
    for (size_t i = 0; i < removed.n; i++)
        joblog_add(p->log, "removed on '%s': %s", p->node, removed.v[i]);
    return reply;
}

static json_t *call(struct peer *p, json_t *request, struct err *e)
{
    channel_expect(p->link.channel);
    if (message_send(p->link.channel, FRAME_CALL, request, e) == 0)
        return receive_reply(p, e);
    hear_last_words(p, e);
    return NULL;
}

/* What is kept aside there, as far as this answer tells: the call that finds it and the one that needs it may
 * both do. A node of an older version does not say. */
static int take_kept(struct peer *p, const json_t *reply, struct err *e)
{
    _cleanup_strv_ struct strv told = STRV_INIT;
    if (json_object_get(reply, "kept") && message_texts(reply, "kept", &told, e) < 0)
        return err_wrap(e, "%s", p->node);
    for (size_t i = 0; i < told.n; i++)
        strv_add_once(&p->kept, told.v[i]);
    while (p->kept.n > PEER_KEPT_MAX)
        strv_remove(&p->kept, 0);
    return 0;
}

static int connect_at(struct env *env, const struct link_target *t, struct peer *ret, struct err *e)
{
    struct peer p = {.node = t->node, .limit = env->settings.peer_limit};
    if (link_open(t, &p.link, e) < 0) {
        peer_hint(t, e);
        err_unwrap(e, t->node);
        return err_wrap(e, "cannot reach node '%s'", t->node);
    }
    channel_set_timeout(p.link.channel, PEER_HELLO_SECONDS);
    channel_set_limit(p.link.channel, p.limit < PEER_HELLO_LIMIT ? p.limit : PEER_HELLO_LIMIT);
    channel_expect(p.link.channel);
    if (hello(env, &p, e) < 0) {
        peer_hint_first(t, &p.link, e);
        err_unwrap(e, t->node);
        err_wrap(e, "cannot start the agent on node '%s'", t->node);
        if (e->kind == ERR_NETWORK)
            link_forget(t);
        link_close(&p.link, e);
        peer_hint(t, e);
        return -1;
    }
    channel_set_timeout(p.link.channel, PEER_SECONDS);
    channel_set_limit(p.link.channel, p.limit);
    *ret = p;
    return 0;
}

/* The node's address in the network, asked over its default address: malloc'ed. */
static char *ask_address(struct env *env, const struct link_target *t, const char *network, struct err *e)
{
    struct peer p;
    _cleanup_strv_ struct strv addresses = STRV_INIT;
    char *address = NULL;
    if (connect_at(env, t, &p, e) < 0)
        return NULL;
    json_t *reply = call(&p, json_pack("{s:s, s:s}", "do", "address", "network", network), e);
    if (reply && message_volids(reply, "addresses", &addresses, e) == 0)
        address = transport_choose(t->node, network, &addresses, e);
    json_decref(reply);
    peer_close(&p, e);
    return address;
}

static int connect_in_network(struct env *env, const struct link_target *t, const char *network,
                              struct peer *ret, struct err *e)
{
    struct link_target there = *t;
    _cleanup_free_ char *address = transport_recall(t, network);
    if (!address && (address = ask_address(env, t, network, e)))
        transport_remember(t, network, address);
    if (!address)
        return -1;
    there.address = address;
    if (connect_at(env, &there, ret, e) == 0)
        return 0;
    transport_forget(t); /* it may have another one by now */
    return err_wrap(e, "network '%s'", network);
}

int peer_connect(struct env *env, const struct member *m, struct peer *ret, struct err *e)
{
    if (env_transport(env, e) < 0)
        return -1;
    _cleanup_free_ char *known_hosts =
        xasprintf("%s/nodes/%s/ssh_known_hosts", tree_root(env->tree), m->node.name);
    struct link_target t;
    link_target_of(env, m, fs_exists(known_hosts) ? known_hosts : NULL, &t);
    const char *network = transport_network(env, &m->node);
    if ((network ? connect_in_network(env, &t, network, ret, e) : connect_at(env, &t, ret, e)) < 0)
        return -1;
    ret->volumes = &env->volumes;
    ret->volumes->tick = (struct tick){tell_alive, ret->link.channel};
    return 0;
}

void peer_set_volumes(struct peer *p, uint64_t bytes)
{
    channel_set_limit(p->link.channel, p->limit + (double)(bytes / PEER_LIMIT_BYTES));
}

static int take_replicas(struct peer *p, const json_t *reply, size_t n, struct replica *ret, struct err *e)
{
    const json_t *array;
    int r = message_array(reply, "volumes", MESSAGE_VOLUMES_MAX, &array, e);
    p->marks = json_is_true(json_object_get(reply, "marks")); /* a node of an older version does not say */
    p->resyncs = json_is_true(json_object_get(reply, "resyncs"));
    if (r == 0 && json_array_size(array) != n)
        r = err_set(e, ERR_DATA, 0, "%s: was asked about %zu volumes and answers about %zu", p->node,
                    json_array_size(array), n);
    for (size_t i = 0; r == 0 && i < n; i++)
        r = message_replica_parse(json_array_get(array, i), &ret[i], e);
    return r;
}

int peer_look(struct peer *p, const char *job_id, const struct strv *volids, const struct strv *signs,
              struct replica *replicas, struct err *e)
{
    json_t *reply =
        call(p,
             json_pack("{s:s, s:s, s:o, s:[], s:o, s:b}", "do", "open", "job", job_id, "volumes",
                       message_strings(volids), "scan", "signs", message_strings(signs), "look", 1),
             e);
    if (!reply)
        return -1;
    int r = json_is_true(json_object_get(reply, "looks"))
                ? take_replicas(p, reply, volids->n, replicas, e)
                : err_set(e, ERR_CONFIG, 0,
                          "node '%s' has an older version that cannot verify: install this one there, too",
                          p->node);
    json_decref(reply);
    return r;
}

int peer_digest_ask(struct peer *p, const char *volid, const char *id, uint64_t offset, size_t blocks,
                    struct err *e)
{
    return message_send(p->link.channel, FRAME_CALL,
                        json_pack("{s:s, s:s, s:s, s:I, s:I}", "do", "digest", "volume", volid, "id", id,
                                  "offset", (json_int_t)offset, "blocks", (json_int_t)blocks),
                        e);
}

static int take_digests(const struct peer *p, const struct frame *f, uint64_t offset, size_t blocks,
                        struct peer_digests *ret, struct err *e)
{
    size_t n = f->len < 8 ? 0 : (f->len - 8) / sizeof *ret->v;
    if (f->len < 8 || (f->len - 8) % sizeof *ret->v || n > blocks || get_u64(f->payload) != offset)
        return err_set(e, ERR_DATA, 0, "%s: the answer is of other blocks than those that were asked for",
                       p->node);
    memcpy(ret->v, f->payload + 8, n * sizeof *ret->v);
    ret->n = n;
    return 0;
}

int peer_digest_take(struct peer *p, uint64_t offset, size_t blocks, struct peer_digests *ret, struct err *e)
{
    struct frame f;
    channel_expect(p->link.channel);
    int r = frame_read(p->link.channel, &f, e);
    if (r != 0)
        return r < 0 ? -1
                     : err_set(e, ERR_NETWORK, 0, "%s: closed the connection while its replica was compared",
                               p->node);
    if (f.type == FRAME_ERROR)
        return peer_take_error(p, &f, e);
    if (f.type != FRAME_DIGESTS)
        return err_set(e, ERR_DATA, 0, "%s: unexpected message of type %d", p->node, (int)f.type);
    if (take_digests(p, &f, offset, blocks, ret, e) < 0)
        return -1;
    json_t *reply = receive_reply(p, e);
    if (!reply)
        return -1;
    r = message_u64(reply, "size", &ret->size, e) < 0 || message_bool(reply, "wanted", &ret->wanted, e) < 0 ||
                message_text(reply, "bad", ret->bad, sizeof ret->bad, e) < 0
            ? -1
            : 0;
    json_decref(reply);
    return r;
}

int peer_still_there(struct peer *p, const char *volid, const char *id, struct err *e)
{
    struct peer_digests *none = xcalloc(1, sizeof *none);
    int r = peer_digest_ask(p, volid, id, 0, 0, e) < 0 || peer_digest_take(p, 0, 0, none, e) < 0
                ? -1
                : none->wanted;
    free(none);
    return r;
}

int peer_mark(struct peer *p, const char *volid, const char *id, bool damaged, char problem[PEER_PROBLEM_MAX],
              struct err *e)
{
    bool wanted;
    snprintf(problem, PEER_PROBLEM_MAX, "its version does not know how: install this one there, too");
    if (!p->marks)
        return 0;
    json_t *reply = call(
        p,
        json_pack("{s:s, s:s, s:s, s:b}", "do", "mark", "volume", volid, "id", id, "damaged", (int)damaged),
        e);
    int r = !reply || message_bool(reply, "wanted", &wanted, e) < 0 ||
                    message_text(reply, "problem", problem, PEER_PROBLEM_MAX, e) < 0
                ? -1
                : wanted;
    json_decref(reply);
    return r;
}

/* A node of an older version does not say, nor one that knows of no run. */
static int take_settings(struct peer *p, const json_t *reply, struct err *e)
{
    uint64_t epoch;
    if (!json_object_get(reply, "noted"))
        return 0;
    if (message_u64(reply, "noted", &epoch, e) < 0)
        return -1;
    p->noted = (int64_t)epoch;
    return take_said(p, reply, "settings", &p->settings, e);
}

int peer_open(struct peer *p, const char *job_id, const struct strv *volids, const struct strv *scan,
              const struct strv *signs, struct replica *replicas, struct strv *stale, struct err *e)
{
    json_t *reply = call(p,
                         json_pack("{s:s, s:s, s:o, s:o, s:o, s:I}", "do", "open", "job", job_id, "volumes",
                                   message_strings(volids), "scan", message_strings(scan), "signs",
                                   message_strings(signs), "since", (json_int_t)p->since),
                         e);
    if (!reply)
        return -1;
    int r = take_replicas(p, reply, volids->n, replicas, e);
    if (r == 0 && json_object_get(reply, "former"))
        r = message_volids(reply, "former", &p->former, e);
    if (r == 0)
        r = message_volids(reply, "stale", stale, e);
    if (r == 0 && json_object_get(reply, "used"))
        r = take_said(p, reply, "used", &p->used, e);
    if (r == 0)
        r = take_kept(p, reply, e);
    if (r == 0)
        r = take_settings(p, reply, e);
    p->opened = r == 0;
    json_decref(reply);
    return r;
}

int peer_stage(struct peer *p, const char *volid, const struct snapshot *s, const struct peer_stage *how,
               uint64_t *offset, struct err *e)
{
    json_t *reply =
        call(p,
             json_pack("{s:s, s:s, s:s, s:s, s:I, s:s, s:I, s:b, s:b, s:b}", "do", "stage", "volume", volid,
                       "snapshot", s->name, "id", s->id, "created", (json_int_t)s->created, "base",
                       how->base_id, "size", (json_int_t)s->size, "replace", (int)how->replace, "anew",
                       (int)how->anew, "resume", (int)how->resume),
             e);
    if (!reply)
        return -1;
    int r = message_u64(reply, "offset", offset, e);
    if (r == 0 && *offset > s->size)
        r = err_set(e, ERR_DATA, 0, "%s: wants to go on at byte %llu of a volume of %llu", p->node,
                    (unsigned long long)*offset, (unsigned long long)s->size);
    json_decref(reply);
    return r;
}

int peer_sealed(struct peer *p, uint64_t bytes, uint64_t frames, const struct transfer_digest *d,
                struct err *e)
{
    uint8_t end[32];
    put_u64(end, bytes);
    put_u64(end + 8, frames);
    transfer_digest_final(d, end + 16);
    if (frame_write(p->link.channel, FRAME_END, end, sizeof end, NULL, 0, false, e) < 0 ||
        channel_flush(p->link.channel, e) < 0)
        return -1;
    channel_expect(p->link.channel);
    json_t *reply = receive_reply(p, e);
    json_decref(reply);
    return reply ? 0 : -1;
}

int peer_commit_one(struct peer *p, const char *volid, const char *id, struct err *e)
{
    json_t *reply = call(p, json_pack("{s:s, s:s, s:s}", "do", "point", "volume", volid, "id", id), e);
    json_decref(reply);
    return reply ? 0 : -1;
}

static json_t *renames(const struct asides *a)
{
    json_t *array = json_array();
    for (size_t i = 0; i < a->n; i++)
        json_array_append_new(array, json_pack("[s, s, s]", a->v[i].from, a->v[i].to, a->v[i].base_id));
    return array;
}

int peer_aside(struct peer *p, const char *volid, const struct asides *a, struct strv *said, struct err *e)
{
    json_t *reply =
        call(p, json_pack("{s:s, s:s, s:o}", "do", "aside", "volume", volid, "aside", renames(a)), e);
    int r = reply ? take_said(p, reply, "asides", said, e) : -1;
    if (r == 0)
        r = take_kept(p, reply, e);
    json_decref(reply);
    return r;
}

static json_t *commit_volume(const struct peer_commit *v)
{
    return json_pack("{s:s, s:s, s:s, s:s, s:b, s:o, s:s}", "volume", v->volid, "id", v->id, "as", v->as,
                     "live-aside", v->live_aside, "keep-live", (int)v->keep_live, "aside", renames(v->aside),
                     "traits", v->traits);
}

int peer_commit(struct peer *p, const struct peer_commit *v, size_t n, const struct strv *settings,
                struct strv *asides, struct err *e)
{
    json_t *array = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(array, commit_volume(&v[i]));
    json_t *reply = call(
        p,
        json_pack("{s:s, s:o, s:o}", "do", "commit", "volumes", array, "settings", message_strings(settings)),
        e);
    int r = reply ? take_said(p, reply, "asides", asides, e) : -1;
    if (r == 0)
        r = take_kept(p, reply, e);
    json_decref(reply);
    return r;
}

static json_t *names_and_ids(const struct snapshots *s)
{
    json_t *list = json_array();
    for (size_t i = 0; i < s->n; i++)
        json_array_append_new(list, json_pack("[s, s]", s->v[i].name, s->v[i].id));
    return list;
}

static int call_prune(struct peer *p, json_t *o, const char *why, struct strv *problems, struct err *e)
{
    json_object_set_new(o, "do", json_string("prune"));
    json_object_set_new(o, "why", json_string(why));
    json_t *reply = call(p, o, e);
    int r = reply ? take_said(p, reply, "problems", problems, e) : -1;
    json_decref(reply);
    return r;
}

int peer_prune(struct peer *p, const struct strv *volids, const struct peer_prune *v, const char *why,
               struct strv *problems, struct err *e)
{
    json_t *array = json_array();
    for (size_t i = 0; i < volids->n; i++)
        json_array_append_new(array, json_pack("{s:s, s:o, s:o}", "volume", volids->v[i], "snapshots",
                                               names_and_ids(&v[i].go), "adopt", names_and_ids(&v[i].adopt)));
    return call_prune(p, json_pack("{s:o, s:[]}", "volumes", array, "drop"), why, problems, e);
}

int peer_drop(struct peer *p, const char *volid, const struct strv *named, const char *why,
              struct strv *problems, struct err *e)
{
    return call_prune(
        p, json_pack("{s:[], s:[s], s:o}", "volumes", "drop", volid, "named", message_strings(named)), why,
        problems, e);
}

void peer_close(struct peer *p, struct err *e)
{
    if (p->volumes)
        p->volumes->tick = (struct tick){0};
    if (e->kind == ERR_NETWORK) {
        err_unwrap(e, p->node);
        err_wrap(e, "lost the connection to node '%s'", p->node);
    }
    link_close(&p->link, e);
    strv_release(&p->used);
    strv_release(&p->former);
    strv_release(&p->kept);
    strv_release(&p->settings);
}
