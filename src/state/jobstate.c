#include "state/jobstate.h"

#include "base/clock.h"
#include "state/due.h"
#include "state/statecodec.h"
#include "state/statefile.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { GUEST_JSON_CAP = 1 << 20, STATE_FILE_CROWDED = 8 << 20 };

void job_state_release(struct job_state *s)
{
    free(s->error);
    free(s->last_node);
    free(s->job);
    free(s->keep);
    strv_release(&s->storages);
    strv_release(&s->sources);
    strv_release(&s->first_copies);
    strv_release(&s->kept_aside);
    strv_release(&s->notes);
    strv_release(&s->damaged);
    strv_release(&s->guest);
    free(s->verify_at);
    free(s->gone);
    free(s->verify_error);
    free(s->postponed);
    *s = (struct job_state){.duration = -1};
}

const char *job_state_differs(const struct job_state *s)
{
    for (size_t i = 0; i < s->damaged.n; i++) {
        const char *ranges = strchr(s->damaged.v[i], ' ');
        const char *volid = ranges ? strchr(ranges + 1, ' ') : NULL;
        if (volid && ranges[1] != '-')
            return volid + 1;
    }
    return NULL;
}

/* The keys under which a state lies. */
struct place {
    char guest[16];
    char target[80]; /* "local/pve2" */
};

static int target_key(const char *target, char out[80], struct err *e)
{
    size_t n = strspn(target, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._");
    if (!n || target[n] || n > 70)
        return err_set(e, ERR_USAGE, 0, "'%s' is not a node name", target);
    snprintf(out, 80, "local/%s", target);
    return 0;
}

static int place_of(uint32_t guest, const char *target, struct place *ret, struct err *e)
{
    snprintf(ret->guest, sizeof ret->guest, "%u", (unsigned)guest);
    return target_key(target, ret->target, e);
}

int job_state_load(const char *state_dir, uint32_t guest, const char *target, struct job_state *ret,
                   struct err *e)
{
    struct place at;
    struct state_file f;
    pid_t lost;
    if (place_of(guest, target, &at, e) < 0)
        return -1;
    *ret = (struct job_state){.duration = -1};
    do { /* its process may have recorded its end since the file was read */
        lost = ret->lost;
        job_state_release(ret);
        if (state_file_read(state_dir, at.guest, &f, e) < 0)
            return -1;
        state_decode(json_get(f.guest.value, at.target), ret);
        state_file_release(&f);
    } while (ret->lost && ret->lost != lost);
    return 0;
}

int job_state_load_of(const char *state_dir, const struct job *job, struct job_state *ret, struct err *e)
{
    if (job_state_load(state_dir, job->guest, job->target, ret, e) < 0)
        return -1;
    state_of_job(ret, job->id);
    return 0;
}

/* A change of one entry: what it was, and the new one into `out`; nothing in `out`: the entry goes. */
typedef void change_fn(struct json_span old, const void *arg, bool crowded, struct buf *out);

static int change_locked(const struct state_file *f, const struct place *at, change_fn *change,
                         const void *arg, struct err *e)
{
    struct json_span object = f->guest.value;
    struct json_span old = json_get(object, at->target);
    _cleanup_buf_ struct buf entry = BUF_INIT, out = BUF_INIT;
    /* the jobs to one bad target must not push all others over the file's limit */
    change(old, arg, f->text.len > STATE_FILE_CROWDED, &entry);
    if (!entry.len && !old.p)
        return 0;
    struct object_writer w = object_begin(&out);
    object_copy_others(&w, object, at->target);
    if (entry.len) {
        object_key(&w, at->target);
        buf_add(&out, entry.data, entry.len);
    }
    object_end(&w);
    return state_file_write_guest(f, at->guest, &out, e);
}

static int change_entry(const char *state_dir, uint32_t guest, const char *target, change_fn *change,
                        const void *arg, struct err *e)
{
    struct place at;
    if (place_of(guest, target, &at, e) < 0)
        return -1;
    _cleanup_(lock_freep) struct lock *lock = state_file_lock(state_dir, e);
    struct state_file f;
    if (!lock || state_file_read(state_dir, at.guest, &f, e) < 0)
        return -1;
    int rc = change_locked(&f, &at, change, arg, e);
    state_file_release(&f);
    return rc;
}

/* What was asked for since this run began (job_state_ask_during) stays asked for. */
static void put_state(struct json_span old, const void *arg, bool crowded, struct buf *out)
{
    struct job_state s = *(const struct job_state *)arg, was;
    state_decode(old, &was);
    if (was.pid == getpid() && was.asked > s.asked) {
        s.asked = was.asked;
        s.last_try = s.pid ? s.last_try : 0;
    }
    job_state_release(&was);
    state_encode(out, old, &s, crowded);
}

int job_state_store(const char *state_dir, uint32_t guest, const char *target, const struct job_state *s,
                    struct err *e)
{
    return change_entry(state_dir, guest, target, put_state, s, e);
}

static void put_anew(struct json_span old, const void *arg, bool crowded, struct buf *out)
{
    if (old.len)
        put_state(old, arg, crowded, out);
}

int job_state_renew(const char *state_dir, uint32_t guest, const char *target, const struct job_state *s,
                    struct err *e)
{
    return change_entry(state_dir, guest, target, put_anew, s, e);
}

static void drop(struct json_span old, const void *arg, bool crowded, struct buf *out)
{
}

int job_state_remove(const char *state_dir, uint32_t guest, const char *target, struct err *e)
{
    return change_entry(state_dir, guest, target, drop, NULL, e);
}

/* Another one, and greater as long as that is possible. */
static int64_t next_asked(int64_t asked)
{
    int64_t now = clock_epoch();
    return asked < now || asked == INT64_MAX ? now : asked + 1;
}

void job_state_ask(struct job_state *s, int64_t asked)
{
    s->last_try = 0;
    s->asked = next_asked(asked);
}

static void try_soon(struct json_span old, const void *job, bool crowded, struct buf *out)
{
    struct job_state s;
    state_decode(old, &s);
    int64_t asked = s.asked;
    state_of_job(&s, job);
    job_state_ask(&s, asked);
    state_encode(out, old, &s, crowded);
    job_state_release(&s);
}

int job_state_schedule_now(const char *state_dir, const struct job *job, struct err *e)
{
    return change_entry(state_dir, job->guest, job->target, try_soon, job->id, e);
}

struct asking {
    const char *job;
    bool *during;
};

static bool is_under_way(const struct job_state *s, const char *job)
{
    return s->pid && s->job && strcmp(s->job, job) == 0;
}

static void ask_during(struct json_span old, const void *arg, bool crowded, struct buf *out)
{
    const struct asking *a = arg;
    struct job_state s;
    state_decode(old, &s);
    *a->during = is_under_way(&s, a->job);
    s.asked = next_asked(s.asked);
    if (*a->during)
        state_encode(out, old, &s, crowded);
    else
        json_add(out, old);
    job_state_release(&s);
}

int job_state_ask_during(const char *state_dir, const struct job *job, bool *ret, struct err *e)
{
    const struct asking a = {job->id, ret};
    struct job_state s = {0};
    if (job_state_load(state_dir, job->guest, job->target, &s, e) < 0)
        return -1;
    *ret = is_under_way(&s, job->id);
    job_state_release(&s);
    if (!*ret)
        return 0;
    return change_entry(state_dir, job->guest, job->target, ask_during, &a, e);
}

char *job_why_lost(int64_t began)
{
    char when[32] = "";
    if (began) /* schedule-now takes it away */
        clock_print_log(began, when);
    return xasprintf("%s%s left no word: it was killed, or the node went down",
                     began ? "the run that began at " : "the last run", when);
}

static void lose(struct job_state *s, const char *how)
{
    free(s->error);
    s->error = how ? xstrdup(how) : job_why_lost(s->last_try);
    s->fail_count++;
    s->lost = 0;
    s->ptime = 0;
}

void job_state_count_lost(struct job_state *s)
{
    if (s->lost)
        lose(s, NULL);
}

/* It ended before it could record that it began. */
static bool left_no_trace(const struct job_state *s, const struct job_loss *loss)
{
    bool older = s->last_try < loss->since || s->last_try > loss->since + JOB_CLOCK_SLACK;
    return loss->how && loss->since && !s->pid && !s->lost && older;
}

static void begin_for(struct job_state *s, const struct job_loss *loss)
{
    free(s->job);
    free(s->last_node);
    s->job = xstrdup(loss->job);
    s->last_node = xstrdup(loss->node);
    s->last_try = s->last_iteration = loss->since;
    s->lost = loss->pid;
    s->exists = true;
}

/* By job_state_ask_during. What lies ahead is of another clock, and would be so after each loss. */
static bool was_asked_since(const struct job_state *s)
{
    return s->asked > s->last_try && s->asked <= clock_epoch();
}

static void put_loss(struct json_span old, const void *arg, bool crowded, struct buf *out)
{
    const struct job_loss *loss = arg;
    struct job_state s;
    state_decode(old, &s);
    if (loss->job && loss->how)
        state_of_job(&s, loss->job);
    if (left_no_trace(&s, loss))
        begin_for(&s, loss);
    bool again = s.lost == loss->pid && was_asked_since(&s);
    if (s.lost == loss->pid && loss->how)
        lose(&s, loss->how);
    else if (s.lost == loss->pid)
        s.lost = 0;
    s.last_try = again ? 0 : s.last_try;
    if (s.exists)
        state_encode(out, old, &s, crowded);
    job_state_release(&s);
}

int job_state_lose(const char *state_dir, uint32_t guest, const char *target, const struct job_loss *loss,
                   struct err *e)
{
    return change_entry(state_dir, guest, target, put_loss, loss, e);
}

static void put_off(struct json_span old, const void *why, bool crowded, struct buf *out)
{
    struct job_state s;
    state_decode(old, &s);
    if (!s.pid) {
        free(s.postponed);
        s.postponed = xstrdup(why);
        s.postponements++;
    }
    state_encode(out, old, &s, crowded);
    job_state_release(&s);
}

int job_state_postpone(const char *state_dir, uint32_t guest, const char *target, const char *why,
                       struct err *e)
{
    return change_entry(state_dir, guest, target, put_off, why, e);
}

void job_state_count_verify(struct job_state *s, const char *why)
{
    free(s->verify_error);
    s->verify_error = xstrdup(why);
    s->verify_fails++;
    s->verify_next = clock_epoch() + JOB_VERIFY_RETRY;
}

struct unverified {
    const char *job, *why;
};

static void put_unverified(struct json_span old, const void *arg, bool crowded, struct buf *out)
{
    const struct unverified *u = arg;
    struct job_state s;
    state_decode(old, &s);
    state_of_job(&s, u->job);
    if (s.exists && !s.pid) { /* a run that is under way writes all of it when it ends */
        job_state_count_verify(&s, u->why);
        state_encode(out, old, &s, crowded);
    } else {
        json_add(out, old);
    }
    job_state_release(&s);
}

int job_state_unverified(const char *state_dir, uint32_t guest, const char *target, const char *job,
                         const char *why, struct err *e)
{
    return change_entry(state_dir, guest, target, put_unverified, &(struct unverified){job, why}, e);
}

static int check_guest_json(const char *json, struct json_span *ret, struct err *e)
{
    size_t bad, len = strnlen(json, GUEST_JSON_CAP + 1);
    if (len > GUEST_JSON_CAP)
        return err_set(e, ERR_USAGE, 0, "the state is larger than %d bytes", GUEST_JSON_CAP);
    if (json_check(json, len, ret, &bad) < 0)
        return err_set(e, ERR_USAGE, 0, "the state is not valid JSON, byte %zu", bad);
    if (!json_is_object(*ret))
        return err_set(e, ERR_USAGE, 0, "the state is not a JSON object");
    struct json_iter it = json_iter(*ret);
    struct json_span value;
    while (json_next(&it, NULL, &value))
        if (!json_is_object(value))
            return err_set(e, ERR_USAGE, 0, "the state of a target is not a JSON object");
    return 0;
}

int job_state_set_guest(const char *state_dir, uint32_t guest, const char *json, struct err *e)
{
    struct json_span object;
    if (check_guest_json(json, &object, e) < 0)
        return -1;
    char key[16];
    snprintf(key, sizeof key, "%u", (unsigned)guest);
    _cleanup_(lock_freep) struct lock *lock = state_file_lock(state_dir, e);
    struct state_file f;
    if (!lock || state_file_read(state_dir, key, &f, e) < 0)
        return -1;
    _cleanup_buf_ struct buf text = BUF_INIT;
    json_add(&text, object);
    int rc = state_file_write_guest(&f, key, &text, e);
    state_file_release(&f);
    return rc;
}

int job_state_get_guest(const char *state_dir, uint32_t guest, const char *from, const char *to, char **ret,
                        struct err *e)
{
    struct place at;
    char renamed[80];
    struct state_file f;
    if (place_of(guest, from, &at, e) < 0 || target_key(to, renamed, e) < 0 ||
        state_file_read(state_dir, at.guest, &f, e) < 0)
        return -1;
    struct json_span object = f.guest.value, moved = json_get(object, at.target);
    struct buf out = BUF_INIT;
    struct object_writer w = object_begin(&out);
    struct json_iter it = json_iter(object);
    struct json_span key, value;
    while (json_next(&it, &key, &value))
        if (!json_key_is(key, at.target) && !(moved.p && json_key_is(key, renamed)))
            object_copy(&w, key, value);
    if (moved.p) {
        object_key(&w, renamed);
        json_add(&out, moved);
    }
    object_end(&w);
    *ret = buf_take(&out);
    state_file_release(&f);
    return 0;
}

static int forget_own(const char *state_dir, const char *node, const struct job *job, struct err *e)
{
    struct job_state s = {0};
    if (job_state_load(state_dir, job->guest, job->target, &s, e) < 0)
        return -1;
    bool own = s.exists && s.pid == 0 && s.last_node && strcmp(s.last_node, node) == 0;
    job_state_release(&s);
    return own ? job_state_remove(state_dir, job->guest, job->target, e) : 0;
}

int job_states_forget_turned(const char *state_dir, const char *node, struct jobs *jobs, struct err *e)
{
    int r = 0;
    for (size_t i = 0; i < jobs->turned.n; i++) {
        const struct job *job = jobs_find(jobs, jobs->turned.v[i]);
        if (job && forget_own(state_dir, node, job, e) < 0)
            r = -1;
    }
    strv_release(&jobs->turned);
    return r;
}
