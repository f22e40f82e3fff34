/* All states at once: the file's text and an index into it, about 300 bytes a job; a state is decoded when
 * asked for. */
#include "state/jobstate.h"

#include "base/clock.h"
#include "base/hash.h"
#include "state/seen.h"
#include "state/statecodec.h"
#include "state/statefile.h"

#include <stdio.h>
#include <string.h>

struct entry {
    uint32_t guest;
    uint32_t target, target_len; /* offsets into the text, which is at most 16 MiB */
    uint32_t state, state_len;
};

struct job_states {
    char *dir;
    struct state_file file;
    struct entry *v; /* by guest, then target */
    size_t n, room;
    struct seen seen; /* where all guests are asked for */
};

static const char *text_of(const struct job_states *s)
{
    return s->file.text.data;
}

static void add_entry(struct job_states *s, uint32_t guest, struct json_span target, struct json_span state)
{
    if (s->n == s->room) {
        s->room = s->room ? s->room * 2 : 64;
        s->v = xreallocarray(s->v, s->room, sizeof *s->v);
    }
    const char *text = text_of(s);
    s->v[s->n++] = (struct entry){guest, (uint32_t)(target.p - text), (uint32_t)target.len,
                                  (uint32_t)(state.p - text), (uint32_t)state.len};
}

static void index_guest(struct job_states *s, uint32_t guest, struct json_span object)
{
    struct json_iter it = json_iter(object);
    struct json_span key, state;
    while (json_next(&it, &key, &state)) {
        struct json_span target = state_key_target(key);
        if (target.p && json_is_object(state))
            add_entry(s, guest, target, state);
    }
}

static int compare_text(const char *a, size_t a_len, const char *b, size_t b_len)
{
    int by_bytes = memcmp(a, b, a_len < b_len ? a_len : b_len);
    return by_bytes ? by_bytes : (a_len > b_len) - (a_len < b_len);
}

static int by_place(const void *a, const void *b, void *arg)
{
    const struct entry *x = a, *y = b;
    const char *text = arg;
    if (x->guest != y->guest)
        return x->guest < y->guest ? -1 : 1;
    int by_target = compare_text(text + x->target, x->target_len, text + y->target, y->target_len);
    return by_target ? by_target : (x->state > y->state) - (x->state < y->state);
}

static void index_all(struct job_states *s)
{
    struct json_iter it = json_iter(s->file.root);
    struct json_span key, object;
    uint32_t guest;
    while (json_next(&it, &key, &object))
        if (state_key_guest(key, &guest) && json_is_object(object))
            index_guest(s, guest, object);
}

/* only: 0: all guests. */
static struct job_states *load(const char *state_dir, uint32_t only, struct err *e)
{
    struct job_states *s = xcalloc(1, sizeof *s);
    char wanted[16];
    snprintf(wanted, sizeof wanted, "%u", (unsigned)only);
    if (state_file_read(state_dir, only ? wanted : NULL, &s->file, e) < 0) {
        free(s);
        return NULL;
    }
    s->dir = xstrdup(state_dir);
    if (only && json_is_object(s->file.guest.value))
        index_guest(s, only, s->file.guest.value);
    else if (!only)
        index_all(s);
    if (!only)
        seen_load(state_dir, &s->seen);
    if (s->n)
        qsort_r(s->v, s->n, sizeof *s->v, by_place, s->file.text.data);
    return s;
}

struct job_states *job_states_load(const char *state_dir, struct err *e)
{
    return load(state_dir, 0, e);
}

struct job_states *job_states_load_guest(const char *state_dir, uint32_t guest, struct err *e)
{
    return load(state_dir, guest, e);
}

const char *job_states_dir(const struct job_states *s)
{
    return s->dir;
}

bool job_states_any(const struct job_states *s)
{
    return s->n > 0;
}

bool job_states_had_any(const char *state_dir)
{
    struct err ignored;
    struct job_states *s = job_states_load(state_dir, &ignored);
    bool any = !s || job_states_any(s);
    job_states_free(s);
    return any;
}

void job_states_free(struct job_states *s)
{
    if (!s)
        return;
    state_file_release(&s->file);
    seen_release(&s->seen);
    free(s->dir);
    free(s->v);
    free(s);
}

int64_t job_states_known(const struct job_states *s, const struct job *job, const struct job_state *state,
                         int64_t written)
{
    const struct seen_job *seen = seen_find(&s->seen, job->id, job->target);
    return state->last_sync == 0 && seen && seen->since < written ? seen->since : written;
}

static void load_anew(const struct job_states *s, uint32_t guest, const char *target, struct job_state *ret)
{
    struct job_state now;
    struct err ignored;
    if (job_state_load(s->dir, guest, target, &now, &ignored) < 0)
        return;
    job_state_release(ret);
    *ret = now;
}

/* The text of an entry's state; p NULL: there is none. */
static struct json_span find(const struct job_states *s, uint32_t guest, const char *target)
{
    /* behind the last entry that is not greater: of two with one key the later one counts */
    size_t low = 0, high = s->n, len = strlen(target);
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct entry *at = &s->v[middle];
        bool greater = at->guest != guest
                           ? at->guest > guest
                           : compare_text(text_of(s) + at->target, at->target_len, target, len) > 0;
        if (greater)
            high = middle;
        else
            low = middle + 1;
    }
    const struct entry *at = low > 0 ? &s->v[low - 1] : NULL;
    bool is_it = at && at->guest == guest && at->target_len == len &&
                 memcmp(text_of(s) + at->target, target, len) == 0;
    return is_it ? (struct json_span){text_of(s) + at->state, at->state_len} : (struct json_span){NULL, 0};
}

void job_states_get(const struct job_states *s, uint32_t guest, const char *target, struct job_state *ret)
{
    state_decode(find(s, guest, target), ret);
    if (ret->lost) /* as of the text, which is old by now */
        load_anew(s, guest, target, ret);
}

uint64_t job_states_stamp(const struct job_states *s, uint32_t guest, const char *target)
{
    struct json_span state = find(s, guest, target);
    return state.p ? hash_bytes(state.p, state.len) : 0;
}

void job_states_get_of(const struct job_states *s, uint32_t guest, const char *target, const char *job,
                       struct job_state *ret)
{
    job_states_get(s, guest, target, ret);
    state_of_job(ret, job);
}

/* ---- what has no job ---- */

static bool is_named(const struct jobs *jobs, uint32_t guest, const char *id)
{
    size_t end;
    for (size_t i = jobs_of_guest(jobs, guest, &end); i < end; i++)
        if (strcmp(jobs->v[i].id, id) == 0)
            return true;
    for (size_t i = 0; i < jobs->n_unread; i++)
        if (jobs->unread[i].guest == guest)
            return true;
    return false;
}

static bool has_job_to(const struct job_states *s, const struct jobs *jobs, const struct entry *at)
{
    size_t end;
    for (size_t i = jobs_of_guest(jobs, at->guest, &end); i < end; i++)
        if (strlen(jobs->v[i].target) == at->target_len &&
            memcmp(jobs->v[i].target, text_of(s) + at->target, at->target_len) == 0)
            return true;
    return false;
}

/* Of a removal that nobody here could see, as by another tool on another node, this is the end. */
static bool is_recent(const struct job_state *s, int64_t now)
{
    int64_t last = s->last_try > s->last_sync ? s->last_try : s->last_sync;
    return last && last > now - ORPHAN_SECONDS && last < now + ORPHAN_SECONDS;
}

void job_states_orphans(const struct job_states *s, const struct jobs *jobs, guest_here_fn *here,
                        const void *arg, struct strv *ret)
{
    int64_t now = clock_epoch();
    for (size_t i = 0; i < s->n; i++) {
        const struct entry *at = &s->v[i];
        struct job_state state = {0};
        if (has_job_to(s, jobs, at) || !here(at->guest, arg))
            continue;
        state_decode((struct json_span){text_of(s) + at->state, at->state_len}, &state);
        if (state.job && !state.pid && is_recent(&state, now) && !is_named(jobs, at->guest, state.job))
            strv_addf(ret, "'%s' (guest %u to node '%.*s')", state.job, (unsigned)at->guest,
                      (int)at->target_len, text_of(s) + at->target);
        job_state_release(&state);
    }
}

int job_states_check_lost(const struct job_states *s, const struct jobs *jobs, guest_here_fn *here,
                          const void *arg, struct err *e)
{
    _cleanup_strv_ struct strv orphans = STRV_INIT;
    if (!jobs_may_be_lost(jobs))
        return 0;
    job_states_orphans(s, jobs, here, arg, &orphans);
    if (!orphans.n)
        return 0;
    _cleanup_free_ char *names = strv_join(&orphans, ", ");
    return err_set(e, ERR_CONFIG, 0,
                   "replication.cfg %s, and nothing of these is replicated any more: %s. Put the file back; "
                   "where they were deleted on purpose, write the line '%s' into it, or wait: a job that did "
                   "not run for "
                   "%d days is missed no more",
                   *jobs->digest ? "names no job" : "is missing", names, JOBS_NONE, ORPHAN_SECONDS / 86400);
}

/* ---- purging ---- */

struct purge {
    bool (*keep)(uint32_t guest, const char *target, void *arg);
    void *arg;
    bool dropped;
};

static bool is_kept(struct purge *p, uint32_t guest, struct json_span key)
{
    struct json_span span = state_key_target(key);
    if (!span.p)
        return true;
    _cleanup_free_ char *target = xstrndup(span.p, span.len);
    bool kept = p->keep(guest, target, p->arg);
    p->dropped |= !kept;
    return kept;
}

/* The guest's object with what is kept; a guest that loses its last entry goes too. */
static void purge_guest(struct purge *p, struct object_writer *w, struct json_span key, uint32_t guest,
                        struct json_span object)
{
    bool before = p->dropped;
    p->dropped = false;
    _cleanup_buf_ struct buf text = BUF_INIT;
    struct object_writer inner = object_begin(&text);
    struct json_iter it = json_iter(object);
    struct json_span target, state;
    while (json_next(&it, &target, &state))
        if (is_kept(p, guest, target))
            object_copy(&inner, target, state);
    object_end(&inner);
    if (inner.any || !p->dropped)
        object_copy(w, key, (struct json_span){text.data, text.len});
    p->dropped |= before;
}

static void purge_all(struct purge *p, const struct state_file *f, struct buf *out)
{
    struct object_writer w = object_begin(out);
    struct json_iter it = json_iter(f->root);
    struct json_span key, object;
    uint32_t guest;
    while (json_next(&it, &key, &object)) {
        if (state_key_guest(key, &guest) && json_is_object(object))
            purge_guest(p, &w, key, guest, object);
        else
            object_copy(&w, key, object);
    }
    object_end(&w);
}

static int purge_once(const char *state_dir, struct purge *p, bool write, struct err *e)
{
    struct state_file f;
    if (state_file_read(state_dir, NULL, &f, e) < 0)
        return -1;
    _cleanup_buf_ struct buf out = BUF_INIT;
    p->dropped = false;
    purge_all(p, &f, &out);
    int rc = write && p->dropped ? state_file_write(&f, &out, e) : 0;
    state_file_release(&f);
    return rc;
}

int job_states_purge(const char *state_dir, bool (*keep)(uint32_t guest, const char *target, void *arg),
                     void *arg, struct err *e)
{
    struct purge p = {keep, arg, false};
    if (purge_once(state_dir, &p, false, e) < 0)
        return -1;
    if (!p.dropped)
        return 0;
    _cleanup_(lock_freep) struct lock *lock = state_file_lock(state_dir, e);
    return lock ? purge_once(state_dir, &p, true, e) : -1;
}
