#include "run/message.h"

#include "base/mem.h"
#include "base/text.h"
#include "volume/name.h"

#include <stdio.h>
#include <string.h>

/* At most what jansson takes for the values of a JSON text, which need not be valid: for each kind of token
 * what its value, its place in a table of pairs or items, and malloc take (test-message.c measures it). */
static size_t weigh(const uint8_t *text, size_t n)
{
    enum { OBJECT = 256, ARRAY = 192, PAIR = 64, ITEM = 64, STRING = 48 };
    size_t weight = 0;
    for (size_t i = 0; i < n; i++) {
        uint8_t c = text[i];
        weight += c == '{' ? OBJECT : c == '[' ? ARRAY : c == ':' ? PAIR : c == ',' ? ITEM : 0;
        if (c != '"')
            continue;
        size_t from = i++;
        while (i < n && text[i] != '"')
            i += text[i] == '\\' ? 2 : 1;
        weight += STRING + (i - from);
    }
    return weight;
}

json_t *message_parse(const struct frame *f, struct err *e)
{
    json_error_t error;
    if (weigh(f->payload, f->len) > MESSAGE_HOLD_MAX) {
        err_set(e, ERR_DATA, 0, "damaged message: its %zu bytes would take more than %u MiB of memory",
                f->len, MESSAGE_HOLD_MAX >> 20);
        return NULL;
    }
    json_t *o = json_loadb((const char *)f->payload, f->len, JSON_REJECT_DUPLICATES, &error);
    if (!json_is_object(o)) {
        json_decref(o);
        err_set(e, ERR_DATA, 0, "damaged message: %s", o ? "not a JSON object" : error.text);
        return NULL;
    }
    return o;
}

int message_send(struct channel *c, enum frame_type type, json_t *object, struct err *e)
{
    _cleanup_free_ char *text = json_dumps(object, JSON_COMPACT);
    json_decref(object);
    if (!text)
        return err_set(e, ERR_DATA, 0,
                       "a name of a volume or snapshot is not valid UTF-8, so the other node cannot be told "
                       "of it: rename it");
    size_t n = strlen(text);
    if (n > FRAME_MAX)
        return err_set(e, ERR_DATA, 0,
                       "the list of the snapshots is too long for one message (%zu bytes): remove some of "
                       "the guest's snapshots",
                       n);
    if (frame_write(c, type, text, n, NULL, 0, false, e) < 0)
        return -1;
    return channel_flush(c, e);
}

json_t *message_error(const struct err *err)
{
    json_t *text = json_string(err->text);
    return json_pack("{s:s, s:i, s:o}", "kind", err_kind_name(err->kind), "code", err->code, "text",
                     text ? text : json_string("(the text is not valid UTF-8)"));
}

int message_take_error(const struct frame *f, const char *who, struct err *e)
{
    json_t *o = message_parse(f, e);
    if (!o)
        return err_wrap(e, "%s", who);
    const char *kind = json_string_value(json_object_get(o, "kind"));
    const char *text = json_string_value(json_object_get(o, "text"));
    err_set(e, err_kind_parse(kind ? kind : "system"), 0, "%s: %s", who,
            text ? text : "it failed, and does not say why");
    if (e->kind == ERR_NONE || e->kind == ERR_USAGE)
        e->kind = ERR_SYSTEM;
    json_decref(o);
    return -1;
}

void message_removed(const json_t *o, struct strv *ret)
{
    struct err ignored;
    if (ret && json_object_get(o, "removed"))
        message_texts(o, "removed", ret, &ignored);
}

static json_t *receive(struct channel *c, enum frame_type type, const char *who, struct strv *removed,
                       struct err *e)
{
    struct frame f;
    int r = frame_read(c, &f, e);
    if (r < 0) {
        err_wrap(e, "%s", who);
        return NULL;
    }
    if (r > 0) {
        err_set(e, ERR_NETWORK, 0, "%s: the connection was closed %s", who,
                type == FRAME_HELLO ? "before a word was said" : "in the middle of the run");
        return NULL;
    }
    if (f.type == FRAME_ERROR) {
        json_t *failure = message_parse(&f, e);
        message_removed(failure, removed);
        json_decref(failure);
        message_take_error(&f, who, e);
        return NULL;
    }
    if (f.type != type) {
        err_set(e, ERR_DATA, 0, "%s: unexpected message of type %d", who, (int)f.type);
        return NULL;
    }
    json_t *o = message_parse(&f, e);
    if (!o)
        err_wrap(e, "%s", who);
    return o;
}

json_t *message_receive(struct channel *c, enum frame_type type, const char *who, struct err *e)
{
    return receive(c, type, who, NULL, e);
}

json_t *message_reply(struct channel *c, const char *who, struct strv *removed, struct err *e)
{
    json_t *o = receive(c, FRAME_REPLY, who, removed, e);
    message_removed(o, removed);
    return o;
}

int message_string(const json_t *o, const char *key, size_t max, const char **ret, struct err *e)
{
    const json_t *v = json_object_get(o, key);
    if (!json_is_string(v) || json_string_length(v) > max ||
        strlen(json_string_value(v)) != json_string_length(v) || !text_is_clean(json_string_value(v)))
        return err_set(e, ERR_DATA, 0, "damaged message: '%s' is not one line of at most %zu bytes", key,
                       max);
    *ret = json_string_value(v);
    return 0;
}

int message_u64(const json_t *o, const char *key, uint64_t *ret, struct err *e)
{
    const json_t *v = json_object_get(o, key);
    if (!json_is_integer(v) || json_integer_value(v) < 0)
        return err_set(e, ERR_DATA, 0, "damaged message: '%s' is not a number", key);
    *ret = (uint64_t)json_integer_value(v);
    return 0;
}

int message_bool(const json_t *o, const char *key, bool *ret, struct err *e)
{
    const json_t *v = json_object_get(o, key);
    if (!json_is_boolean(v))
        return err_set(e, ERR_DATA, 0, "damaged message: '%s' is not true or false", key);
    *ret = json_is_true(v);
    return 0;
}

int message_array(const json_t *o, const char *key, size_t max, const json_t **ret, struct err *e)
{
    const json_t *v = json_object_get(o, key);
    if (!json_is_array(v) || json_array_size(v) > max)
        return err_set(e, ERR_DATA, 0, "damaged message: '%s' is not a list of at most %zu", key, max);
    *ret = v;
    return 0;
}

json_t *message_strings(const struct strv *s)
{
    json_t *array = json_array();
    for (size_t i = 0; i < s->n; i++)
        json_array_append_new(array, json_string(s->v[i]));
    return array;
}

int message_traits(const json_t *o, char **ret, struct err *e)
{
    const char *traits;
    *ret = NULL;
    if (!json_object_get(o, "traits"))
        return 0;
    if (message_string(o, "traits", VOLUME_TRAITS_MAX, &traits, e) < 0 || volume_traits_check(traits, e) < 0)
        return -1;
    *ret = xstrdup(traits);
    return 0;
}

int message_volids(const json_t *o, const char *key, struct strv *ret, struct err *e)
{
    const json_t *array;
    if (message_array(o, key, MESSAGE_VOLUMES_MAX, &array, e) < 0)
        return -1;
    for (size_t i = 0; i < json_array_size(array); i++) {
        const char *volid = json_string_value(json_array_get(array, i));
        if (!volid || strlen(volid) > MESSAGE_NAME_MAX || !text_is_clean(volid))
            return err_set(e, ERR_DATA, 0, "damaged message: '%s' holds something else than names", key);
        if (!strv_add_once(ret, volid))
            return err_set(e, ERR_DATA, 0, "damaged message: '%s' names '%s' twice", key, volid);
    }
    return 0;
}

int message_texts(const json_t *o, const char *key, struct strv *ret, struct err *e)
{
    const json_t *array = json_object_get(o, key);
    size_t n = json_array_size(array), most = n < MESSAGE_TEXTS_MAX ? n : MESSAGE_TEXTS_MAX;
    if (!json_is_array(array))
        return err_set(e, ERR_DATA, 0, "damaged message: '%s' is not a list", key);
    for (size_t i = 0; i < most; i++) {
        const char *text = json_string_value(json_array_get(array, i));
        if (!text)
            return err_set(e, ERR_DATA, 0, "damaged message: '%s' holds something else than texts", key);
        _cleanup_free_ char *line = xstrndup(text, MESSAGE_TEXT_MAX);
        text_clean(line);
        strv_add(ret, line);
    }
    if (most < n)
        strv_addf(ret, "(and %zu more)", n - most);
    return 0;
}

int message_text(const json_t *o, const char *key, char *ret, size_t room, struct err *e)
{
    const char *text = json_string_value(json_object_get(o, key));
    if (!text)
        return err_set(e, ERR_DATA, 0, "damaged message: '%s' is not a text", key);
    snprintf(ret, room, "%s", text);
    text_clean(ret);
    return 0;
}

static int take_name(const json_t *o, const char *key, char out[SNAPSHOT_NAME_MAX + 1], struct err *e)
{
    const char *name;
    if (message_string(o, key, SNAPSHOT_NAME_MAX, &name, e) < 0)
        return -1;
    if (!snapshot_name_portable(name))
        return err_set(e, ERR_DATA, 0, "damaged message: '%s' is not a snapshot name", key);
    strcpy(out, name);
    return 0;
}

/* An empty id is allowed where it says "none". */
static int take_id(const json_t *o, const char *key, bool or_empty, char out[SNAPSHOT_ID_LEN + 1],
                   struct err *e)
{
    const char *id;
    if (message_string(o, key, SNAPSHOT_ID_LEN, &id, e) < 0)
        return -1;
    if (!snapshot_id_valid(id) && !(or_empty && !*id))
        return err_set(e, ERR_DATA, 0, "damaged message: '%s' is not a snapshot id", key);
    strcpy(out, id);
    return 0;
}

/* Left out where it is not known, as by a node of an older version. */
static void put_large(json_t *o, unsigned flags)
{
    if (flags & (SNAPSHOT_LARGE | SNAPSHOT_SMALL))
        json_object_set_new(o, "large", json_boolean(flags & SNAPSHOT_LARGE));
}

static unsigned take_large(const json_t *o)
{
    const json_t *large = json_object_get(o, "large");
    return json_is_true(large) ? SNAPSHOT_LARGE : json_is_false(large) ? SNAPSHOT_SMALL : 0;
}

json_t *message_snapshot(const struct snapshot *s)
{
    json_t *o = json_pack(
        "{s:s, s:s, s:I, s:I, s:I, s:b, s:b, s:b, s:b, s:b, s:b}", "name", s->name, "id", s->id, "created",
        (json_int_t)s->created, "seq", (json_int_t)s->seq, "size", (json_int_t)s->size, "received",
        (s->flags & SNAPSHOT_RECEIVED) != 0, "readable", (s->flags & SNAPSHOT_READABLE) != 0, "doubtful",
        (s->flags & SNAPSHOT_DOUBTFUL) != 0, "changed", (s->flags & SNAPSHOT_CHANGED) != 0, "unsealed",
        (s->flags & SNAPSHOT_UNSEALED) != 0, "strange", (s->flags & SNAPSHOT_STRANGE) != 0);
    put_large(o, s->flags);
    if (s->damaged)
        json_object_set_new(o, "damaged", json_integer((json_int_t)s->damaged));
    return o;
}

/* Of a snapshot against which nothing is known it is not there, nor of any from an older version. */
static int take_damaged(const json_t *o, int64_t *ret, struct err *e)
{
    uint64_t since;
    if (!json_object_get(o, "damaged"))
        return 0;
    if (message_u64(o, "damaged", &since, e) < 0)
        return -1;
    *ret = (int64_t)since;
    return snapshot_damaged_valid(*ret)
               ? 0
               : err_set(e, ERR_DATA, 0, "damaged message: 'damaged' is not a time since 1970");
}

int message_snapshot_parse(const json_t *o, struct snapshot *ret, struct err *e)
{
    uint64_t created;
    bool received, readable;
    *ret = (struct snapshot){0};
    if (take_name(o, "name", ret->name, e) < 0 || take_id(o, "id", false, ret->id, e) < 0 ||
        message_u64(o, "created", &created, e) < 0 || message_u64(o, "seq", &ret->seq, e) < 0 ||
        message_u64(o, "size", &ret->size, e) < 0 || message_bool(o, "received", &received, e) < 0 ||
        message_bool(o, "readable", &readable, e) < 0 || take_damaged(o, &ret->damaged, e) < 0)
        return -1;
    ret->created = (int64_t)created;
    const json_t *doubtful = json_object_get(o, "doubtful"); /* a node of an older version does not say */
    ret->flags = (received ? SNAPSHOT_RECEIVED : 0u) | (readable ? SNAPSHOT_READABLE : 0u) |
                 (json_is_true(doubtful) ? SNAPSHOT_DOUBTFUL : 0u) | (doubtful ? 0u : SNAPSHOT_UNTOLD) |
                 (json_is_true(json_object_get(o, "changed")) ? SNAPSHOT_CHANGED : 0u) |
                 (json_is_true(json_object_get(o, "unsealed")) ? SNAPSHOT_UNSEALED : 0u) |
                 (json_is_true(json_object_get(o, "strange")) ? SNAPSHOT_STRANGE : 0u) | take_large(o);
    return 0;
}

static json_t *stage_message(const struct stage_info *s)
{
    if (!s->exists)
        return json_null();
    json_t *o = json_pack("{s:s, s:s, s:s, s:I, s:b, s:b, s:s}", "snapshot", s->snapshot, "id", s->id, "base",
                          s->base_id, "offset", (json_int_t)s->offset, "sealed", s->sealed, "doubtful",
                          s->doubtful, "token", s->token);
    put_large(o, s->large);
    return o;
}

static int stage_parse(const json_t *o, struct stage_info *ret, struct err *e)
{
    const char *token;
    *ret = (struct stage_info){0};
    if (json_is_null(o))
        return 0;
    if (message_string(o, "token", STAGE_TOKEN_MAX, &token, e) < 0)
        return -1;
    strcpy(ret->token, token);
    ret->exists = true;
    ret->doubtful = json_is_true(json_object_get(o, "doubtful"));
    ret->large = take_large(o);
    return take_name(o, "snapshot", ret->snapshot, e) < 0 || take_id(o, "id", false, ret->id, e) < 0 ||
                   take_id(o, "base", true, ret->base_id, e) < 0 ||
                   message_u64(o, "offset", &ret->offset, e) < 0 ||
                   message_bool(o, "sealed", &ret->sealed, e) < 0
               ? -1
               : 0;
}

json_t *message_replica(const struct replica *r)
{
    json_t *snapshots = json_array();
    for (size_t i = 0; i < r->snapshots.n; i++) /* what a run cannot name or use it leaves alone */
        if (snapshot_name_portable(r->snapshots.v[i].name) && !(r->snapshots.v[i].flags & SNAPSHOT_APART))
            json_array_append_new(snapshots, message_snapshot(&r->snapshots.v[i]));
    return json_pack("{s:b, s:b, s:b, s:b, s:b, s:b, s:b, s:I, s:I, s:b, s:s, s:s, s:o, s:o}", "exists",
                     (int)r->info.exists, "stream", (int)r->info.stream, "flags", (int)r->info.flags, "many",
                     (int)r->info.many, "proves", (int)r->info.proves, "encrypts", (int)r->info.encrypts,
                     "encrypted", (int)r->info.encrypted, "size", (json_int_t)r->info.size, "available",
                     (json_int_t)r->info.available, "written", (int)r->written, "owner", r->owner, "base",
                     r->base_id, "stage", stage_message(&r->stage), "snapshots", snapshots);
}

static int snapshots_parse(const json_t *array, struct snapshots *ret, struct err *e)
{
    for (size_t i = 0; i < json_array_size(array); i++) {
        struct snapshot one = {0};
        if (message_snapshot_parse(json_array_get(array, i), &one, e) < 0)
            return -1;
        snapshots_add(ret, &one);
    }
    return 0;
}

int message_replica_parse(const json_t *o, struct replica *ret, struct err *e)
{
    struct replica r = {0};
    const char *owner;
    const json_t *array;
    if (message_bool(o, "exists", &r.info.exists, e) < 0 ||
        message_bool(o, "stream", &r.info.stream, e) < 0 || message_bool(o, "many", &r.info.many, e) < 0 ||
        message_bool(o, "encrypts", &r.info.encrypts, e) < 0 || message_u64(o, "size", &r.info.size, e) < 0 ||
        message_u64(o, "available", &r.info.available, e) < 0 ||
        message_bool(o, "written", &r.written, e) < 0 ||
        message_string(o, "owner", sizeof r.owner - 1, &owner, e) < 0 ||
        take_id(o, "base", true, r.base_id, e) < 0 ||
        stage_parse(json_object_get(o, "stage"), &r.stage, e) < 0 ||
        message_array(o, "snapshots", MESSAGE_SNAPSHOTS_MAX, &array, e) < 0)
        return -1;
    strcpy(r.owner, owner);
    /* a node of an older version does not say */
    const json_t *encrypted = json_object_get(o, "encrypted");
    r.info.encrypted = encrypted ? json_is_true(encrypted) : r.info.exists;
    r.info.flags = json_is_true(json_object_get(o, "flags"));
    const json_t *proves = json_object_get(o, "proves");
    r.info.proves = !proves || json_is_true(proves);
    if (snapshots_parse(array, &r.snapshots, e) < 0) {
        replica_release(&r);
        return -1;
    }
    *ret = r;
    return 0;
}
