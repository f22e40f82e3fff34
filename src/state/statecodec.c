#include "state/statecodec.h"

#include "base/num.h"
#include "base/proc.h"
#include "base/text.h"
#include "state/statefile.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { ERROR_CAP = 2048 };

/* Bytes, in a file with room and in one that is large already (crowded): what a peer or a program said, and
 * what a peer has of damage. */
static const size_t texts_most[] = {4096, 256}, damage_most[] = {8192, 256};

/* The numbers of a state; Perl may have written them as strings. */
static const struct {
    const char *key;
    size_t offset;
} numbers[] = {
    {"last_sync", offsetof(struct job_state, last_sync)},
    {"last_try", offsetof(struct job_state, last_try)},
    {"last_iteration", offsetof(struct job_state, last_iteration)},
    {"fail_count", offsetof(struct job_state, fail_count)},
};

/* Those that are written only where they say something. */
static const struct {
    const char *key;
    size_t offset;
} rarely[] = {
    {"verified", offsetof(struct job_state, verified)},
    {"verify_next", offsetof(struct job_state, verify_next)},
    {"verify_began", offsetof(struct job_state, verify_began)},
    {"verify_fails", offsetof(struct job_state, verify_fails)},
    {"verify_since", offsetof(struct job_state, verify_since)},
    {"verify_left", offsetof(struct job_state, verify_left)},
    {"postponements", offsetof(struct job_state, postponements)},
    {"began", offsetof(struct job_state, began)},
    {"asked", offsetof(struct job_state, asked)},
};

/* …and the texts. */
static const struct {
    const char *key;
    size_t offset;
} texts[] = {
    {"error", offsetof(struct job_state, error)},
    {"verify_at", offsetof(struct job_state, verify_at)},
    {"verify_error", offsetof(struct job_state, verify_error)},
    {"gone", offsetof(struct job_state, gone)},
    {"postponed", offsetof(struct job_state, postponed)},
    {"last_node", offsetof(struct job_state, last_node)},
    {"job", offsetof(struct job_state, job)},
    {"keep", offsetof(struct job_state, keep)},
};

static const char *const other_keys[] = {"duration", "storeid_list", "first_copies", "kept_aside", "notes",
                                         "sources",  "damaged",      "guest",        "pid",        "ptime"};

static bool decode_number(struct json_span key, struct json_span value, struct job_state *s)
{
    for (size_t i = 0; i < ELEMENTS(numbers); i++)
        if (json_key_is(key, numbers[i].key)) {
            int64_t number;
            if (json_to_i64(value, &number) && number >= 0)
                memcpy((char *)s + numbers[i].offset, &number, sizeof number);
            return true;
        }
    for (size_t i = 0; i < ELEMENTS(rarely); i++)
        if (json_key_is(key, rarely[i].key)) {
            int64_t number;
            if (json_to_i64(value, &number) && number >= 0)
                memcpy((char *)s + rarely[i].offset, &number, sizeof number);
            return true;
        }
    return false;
}

/* A state may come from another node (set-state), or from Proxmox VE's tool, whose errors have line ends. */
static char *decode_text(struct json_span value)
{
    char *text = json_to_string(value);
    if (text)
        text_clean(text);
    return text;
}

static void decode_names(struct json_span list, struct strv *ret)
{
    strv_release(ret);
    struct json_iter it = json_iter(list);
    struct json_span item;
    while (json_next(&it, NULL, &item)) {
        _cleanup_free_ char *name = decode_text(item);
        if (name)
            strv_add(ret, name);
    }
}

static bool decode_said(struct json_span key, struct json_span value, struct job_state *s)
{
    for (size_t i = 0; i < ELEMENTS(texts); i++)
        if (json_key_is(key, texts[i].key)) {
            char **text = (char **)((char *)s + texts[i].offset);
            free(*text);
            *text = decode_text(value);
            return true;
        }
    return false;
}

static void decode_other(struct json_span key, struct json_span value, struct job_state *s, int64_t *pid)
{
    int64_t number;
    if (json_key_is(key, "duration")) {
        if (!json_to_double(value, &s->duration))
            s->duration = -1;
    } else if (json_key_is(key, "storeid_list")) {
        decode_names(value, &s->storages);
    } else if (json_key_is(key, "sources")) {
        decode_names(value, &s->sources);
    } else if (json_key_is(key, "first_copies")) {
        decode_names(value, &s->first_copies);
    } else if (json_key_is(key, "kept_aside")) {
        decode_names(value, &s->kept_aside);
    } else if (json_key_is(key, "notes")) {
        decode_names(value, &s->notes);
    } else if (json_key_is(key, "damaged")) {
        decode_names(value, &s->damaged);
    } else if (json_key_is(key, "guest")) {
        decode_names(value, &s->guest);
    } else if (json_key_is(key, "pid")) {
        *pid = json_to_i64(value, &number) && number > 0 && number <= INT32_MAX ? number : 0;
    } else if (json_key_is(key, "ptime")) {
        s->ptime = json_to_i64(value, &number) && number > 0 ? (uint64_t)number : 0;
    }
}

void state_decode(struct json_span s, struct job_state *ret)
{
    *ret = (struct job_state){.duration = -1, .exists = json_is_object(s)};
    if (!ret->exists)
        return;
    int64_t pid = 0;
    struct json_iter it = json_iter(s);
    struct json_span key, value;
    while (json_next(&it, &key, &value))
        if (!decode_number(key, value, ret) && !decode_said(key, value, ret))
            decode_other(key, value, ret, &pid);
    if (pid && ret->ptime && proc_start_time((pid_t)pid) == ret->ptime)
        ret->pid = (pid_t)pid;
    else
        ret->lost = (pid_t)pid;
}

void state_of_job(struct job_state *s, const char *job)
{
    if (!s->job || strcmp(s->job, job) == 0 || s->pid)
        return;
    struct strv storages = s->storages;
    s->storages = (struct strv)STRV_INIT;
    job_state_release(s);
    s->storages = storages;
}

static bool is_known(struct json_span key)
{
    for (size_t i = 0; i < ELEMENTS(numbers); i++)
        if (json_key_is(key, numbers[i].key))
            return true;
    for (size_t i = 0; i < ELEMENTS(rarely); i++)
        if (json_key_is(key, rarely[i].key))
            return true;
    for (size_t i = 0; i < ELEMENTS(texts); i++)
        if (json_key_is(key, texts[i].key))
            return true;
    for (size_t i = 0; i < ELEMENTS(other_keys); i++)
        if (json_key_is(key, other_keys[i]))
            return true;
    return false;
}

/* How much of the text it took. */
static size_t encode_said(struct object_writer *w, const char *key, const char *error, size_t most)
{
    size_t n = strnlen(error, most < ERROR_CAP ? most : ERROR_CAP);
    while (n && (error[n] & 0xc0) == 0x80) /* not through the middle of a character */
        n--;
    while (n && (error[n - 1] == '\n' || error[n - 1] == '\r'))
        n--;
    _cleanup_free_ char *text = xstrndup(error, n);
    object_key(w, key);
    json_add_string(w->out, text);
    return n;
}

static void encode_names(struct object_writer *w, const char *key, const struct strv *names, size_t first)
{
    if (first >= names->n)
        return;
    object_key(w, key);
    for (size_t i = first; i < names->n; i++) {
        buf_addc(w->out, i > first ? ',' : '[');
        json_add_string(w->out, names->v[i]);
    }
    buf_addc(w->out, ']');
}

/* The newest, which are the last. What they take. */
static size_t encode_last(struct object_writer *w, const char *key, const struct strv *all, size_t most)
{
    size_t first = all->n, bytes = 0;
    while (first > 0 && bytes + strlen(all->v[first - 1]) <= most)
        bytes += strlen(all->v[--first]);
    encode_names(w, key, all, first);
    return bytes;
}

/* "ID OFFSET+LENGTH,…,OFFSET+LENGTH VOLID" (run/source/damage.h) with one range, from the first to the last.
 */
static char *widen(const char *damaged)
{
    uint64_t from, first, last, length;
    const char *ranges = strchr(damaged, ' '), *volid = ranges ? strchr(ranges + 1, ' ') : NULL;
    const char *end = volid ? memrchr(ranges, ',', (size_t)(volid - ranges)) : NULL;
    if (!end || sscanf(ranges, " %" SCNu64 "+%" SCNu64, &from, &first) != 2 ||
        sscanf(end, ",%" SCNu64 "+%" SCNu64, &last, &length) != 2)
        return xstrdup(damaged);
    return xasprintf("%.*s %" PRIu64 "+%" PRIu64 "%s", (int)(ranges - damaged), damaged, from,
                     last + length - from, volid);
}

/* None is left out: a run would build upon it. */
static void encode_damaged(struct object_writer *w, const struct strv *damaged, size_t most)
{
    _cleanup_strv_ struct strv wide = STRV_INIT;
    size_t bytes = 0;
    for (size_t i = 0; i < damaged->n; i++) {
        _cleanup_free_ char *one = widen(damaged->v[i]);
        bytes += strlen(damaged->v[i]);
        strv_add(&wide, one);
    }
    encode_names(w, "damaged", bytes > most ? &wide : damaged, 0);
}

static void encode_text(struct object_writer *w, const char *key, const char *text)
{
    if (!text)
        return;
    object_key(w, key);
    json_add_string(w->out, text);
}

static void encode_rare(struct object_writer *w, const struct job_state *s, size_t damage)
{
    for (size_t i = 0; i < ELEMENTS(rarely); i++) {
        int64_t number;
        memcpy(&number, (const char *)s + rarely[i].offset, sizeof number);
        if (!number)
            continue;
        object_key(w, rarely[i].key);
        buf_addf(w->out, "%" PRId64, number);
    }
    encode_text(w, "verify_at", s->verify_at);
    encode_text(w, "gone", s->gone);
    encode_text(w, "keep", s->keep);
    encode_damaged(w, &s->damaged, damage);
    encode_names(w, "guest", &s->guest, 0);
    if (s->sources.n)
        encode_names(w, "sources", &s->sources, 0);
}

static void encode_process(struct object_writer *w, pid_t pid, uint64_t ptime)
{
    object_key(w, "pid");
    buf_addf(w->out, "%d", (int)pid);
    object_key(w, "ptime"); /* a string: that is how Proxmox VE writes it */
    buf_addf(w->out, "\"%" PRIu64 "\"", ptime);
}

void state_encode(struct buf *out, struct json_span old, const struct job_state *s, bool crowded)
{
    size_t most = texts_most[crowded];
    struct object_writer w = object_begin(out);
    struct json_iter it = json_iter(old);
    struct json_span key, value;
    while (json_next(&it, &key, &value))
        if (!is_known(key))
            object_copy(&w, key, value);
    for (size_t i = 0; i < ELEMENTS(numbers); i++) {
        int64_t number;
        memcpy(&number, (const char *)s + numbers[i].offset, sizeof number);
        object_key(&w, numbers[i].key);
        buf_addf(out, "%" PRId64, number);
    }
    if (s->duration >= 0 && isfinite(s->duration)) {
        char text[32];
        num_print_double(s->duration, text);
        object_key(&w, "duration");
        buf_adds(out, text);
    }
    size_t said = s->error ? encode_said(&w, "error", s->error, most) : 0;
    said += s->postponed ? encode_said(&w, "postponed", s->postponed, most - said) : 0;
    said += s->verify_error ? encode_said(&w, "verify_error", s->verify_error, most - said) : 0;
    encode_names(&w, "storeid_list", &s->storages, 0);
    encode_names(&w, "first_copies", &s->first_copies, 0);
    said += encode_last(&w, "kept_aside", &s->kept_aside, most - said);
    encode_last(&w, "notes", &s->notes, most - said);
    encode_rare(&w, s, damage_most[crowded]);
    encode_text(&w, "last_node", s->last_node);
    encode_text(&w, "job", s->job);
    if (s->pid || s->lost)
        encode_process(&w, s->pid ? s->pid : s->lost, s->ptime);
    object_end(&w);
}
