#include "sched/queue.h"

#include "base/strv.h"
#include "cluster/jobs.h"
#include "state/due.h"
#include "state/slots.h"
#include "state/why.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void queue_init(struct queue *q, unsigned max_workers, unsigned max_per_target)
{
    *q = (struct queue){.max_workers = max_workers, .max_per_target = max_per_target};
}

static void job_free_parts(struct queue_job *j)
{
    free(j->target);
    free(j->schedule);
    free(j->error);
    free(j->hindrance);
    free(j->doubtful);
    free(j->fault);
    free(j->said);
    strv_release(&j->kept_aside);
    strv_release(&j->sources);
}

void queue_release(struct queue *q)
{
    for (size_t i = 0; i < q->n; i++)
        job_free_parts(&q->v[i]);
    free(q->v);
    *q = (struct queue){0};
}

static int compare_ids(uint32_t guest_a, const char *a, uint32_t guest_b, const char *b)
{
    return guest_a != guest_b ? (guest_a < guest_b ? -1 : 1) : strcmp(a, b);
}

static int by_id(const void *a, const void *b)
{
    const struct queue_job *x = a, *y = b;
    return compare_ids(x->guest, x->id, y->guest, y->id);
}

struct queue_job *queue_find(struct queue *q, const char *id)
{
    struct queue_job key = {.guest = (uint32_t)strtoul(id, NULL, 10)};
    strncpy(key.id, id, sizeof key.id - 1);
    return q->n ? bsearch(&key, q->v, q->n, sizeof *q->v, by_id) : NULL;
}

/* ---- facts ---- */

static char *dup_or_null(const char *s)
{
    return s ? xstrdup(s) : NULL;
}

static void copy_config(struct queue_job *to, const struct job *from, const struct members *members)
{
    const struct member *target = members_find(members, from->target);
    memcpy(to->id, from->id, sizeof to->id);
    to->guest = from->guest;
    to->target = xstrdup(from->target);
    to->schedule = dup_or_null(from->schedule);
    to->remove = from->remove;
    to->faulty = from->fault != NULL;
    to->fault = dup_or_null(from->fault);
    to->max_age = job_max_age(from);
    to->target_online = target && target->online;
    to->scrub_days = job_scrub_days(from);
}

/* What belongs to the process rather than the configuration moves on. With another target the job has another
 * state and begins anew, but a run of it is a run. */
static void carry_over(struct queue_job *to, struct queue_job *from)
{
    to->running = from->running;
    to->pid = from->pid;
    to->still = from->still;
    to->stale = from->stale;
    to->outcome = from->outcome;
    to->try_before = from->try_before;
    to->sync_before = from->sync_before;
    to->fails_before = from->fails_before;
    to->changes_before = from->changes_before;
    to->verify_after = from->verify_after;
    free(to->said);
    to->said = take_ptr(from->said);
    to->said_by = from->said_by;
    to->said_since = from->said_since;
    if (strcmp(to->target, from->target) != 0 || to->remove != from->remove)
        return;
    to->not_before = from->not_before;
    to->last_try = from->last_try; /* to tell when it is asked for */
    to->asked = from->asked;
    to->lost = from->lost;
    to->anew = from->anew;
    to->untraced = from->untraced;
    to->postponed = from->postponed;
    to->told = from->told;
    to->doubt = from->doubt;
    to->doubt_since = from->doubt_since;
    to->last_sync = from->last_sync;
}

/* A job without a guest stays in the queue, never due, so that it is told. */
static bool concerns(const struct job *job, const struct guest_list *guests, const char *node, char **lost)
{
    bool rests = job->disabled && job->remove == REMOVE_NOT;
    *lost = rests ? NULL : jobs_lost_guest(job, guests, node);
    return *lost || due_concerns(job, guests, node);
}

static void count_change(struct queue *q, const struct jobs *jobs)
{
    q->changes += strcmp(q->digest, jobs->digest) != 0 || q->stamp != jobs->stamp;
    memcpy(q->digest, jobs->digest, sizeof q->digest);
    q->stamp = jobs->stamp;
}

void queue_set_jobs(struct queue *q, const struct jobs *jobs, const struct guest_list *guests,
                    const struct members *members, const char *node)
{
    struct queue_job *v = xcalloc(jobs->n + jobs->n_unread + q->running + 1, sizeof *v);
    size_t n = 0;
    count_change(q, jobs);
    for (size_t i = 0; i < jobs->n + jobs->n_unread; i++) {
        const struct job *job = i < jobs->n ? &jobs->v[i] : &jobs->unread[i - jobs->n];
        struct queue_job *before = queue_find(q, job->id);
        char *lost;
        if (!concerns(job, guests, node, &lost))
            continue;
        copy_config(&v[n], job, members);
        v[n].known = jobs->written;
        if (lost) {
            free(v[n].fault);
            v[n].fault = lost;
            v[n].faulty = v[n].guestless = true;
        }
        if (before) {
            carry_over(&v[n], before);
            before->running = false; /* counted with its successor */
        }
        n++;
    }
    for (size_t i = 0; i < q->n; i++) {
        if (q->v[i].running) { /* no longer ours to start, but it still takes a worker and its guest */
            v[n] = q->v[i];
            v[n++].gone = true;
        } else {
            job_free_parts(&q->v[i]);
        }
    }
    qsort(v, n, sizeof *v, by_id);
    free(q->v);
    q->v = v;
    q->n = n;
    q->running = 0;
    q->foreign = 0;
    for (size_t i = 0; i < n; i++)
        q->running += v[i].running;
}

static bool may_be_of_another(const struct queue *q, const struct queue_job *j, const struct job_state *s)
{
    bool none = j->outcome == QUEUE_DONE ? !s->last_try : j->changes_before != q->changes;
    return none && j->anew < QUEUE_MADE_ANEW_MOST;
}

/* A run that was no success, and whose failure is not in the state either (it could not even begin, or was
 * killed), is put off here, or it would be started again at once. */
static void judge_run(const struct queue *q, struct queue_job *j, const struct job_state *s, int64_t now)
{
    /* schedule-now, right after a run, sets last_try to what it was before one that it asked for */
    bool traced = j->outcome == QUEUE_DONE ? s->last_try != j->try_before || s->last_sync != j->sync_before
                                           : s->fail_count > j->fails_before;
    j->postponed = j->outcome == QUEUE_POSTPONED ? j->postponed + 1 : 0;
    j->untraced = false;
    if (j->outcome == QUEUE_POSTPONED) {
        j->not_before = now + QUEUE_POSTPONE;
    } else if (traced) {
        j->lost = j->anew = 0;
        j->not_before = 0;
    } else if (may_be_of_another(q, j, s)) {
        j->anew++;
        j->not_before = now + QUEUE_MADE_ANEW;
    } else {
        j->lost++;
        j->untraced = true;
        j->not_before = now + job_retry_delay(j->lost);
    }
}

static void set_foreign(struct queue *q, struct queue_job *j, const struct job_state *s,
                        const struct queue_events *ev)
{
    bool theirs = s->pid > 0 && !j->running && !(ev && ev->own && ev->own(s->pid, ev->arg));
    q->foreign += theirs;
    j->foreign = theirs ? s->pid : 0;
    j->foreign_start = theirs ? s->ptime : 0;
    j->still &= theirs || j->running;
}

static void take_hindrance(struct queue_job *j, struct job_state *s, const struct queue_events *ev)
{
    free(j->hindrance);
    j->hindrance = take_ptr(s->postponed);
    if (j->hindrance)
        j->postponed = (unsigned)s->postponements;
    j->dead = s->lost && !(ev && ev->own && ev->own(s->lost, ev->arg)) ? s->lost : 0;
}

static void take_names(struct strv *to, struct strv *from)
{
    strv_release(to);
    *to = *from;
    *from = (struct strv)STRV_INIT;
}

static void take_verification(struct queue_job *j, const struct job_state *s, int64_t now)
{
    int64_t days = j->faulty || j->remove != REMOVE_NOT ? 0 : j->scrub_days;
    enum doubt before = j->doubt;
    free(j->doubtful);
    j->doubt = job_doubt(s, days, now);
    j->doubt_since = j->doubt == before && j->doubt_since <= now ? j->doubt_since : now;
    j->doubtful = job_doubt_text(j->doubt, s, j->target, days);
    /* no part is put off for longer than that, but by another clock */
    j->verify_next = s->verify_next > now + j->scrub_days * 86400 + JOB_CLOCK_SLACK ? now : s->verify_next;
    if (!j->verify_after || j->verify_after > now + QUEUE_VERIFY_FIRST) /* the clock was put back */
        j->verify_after = now + QUEUE_VERIFY_FIRST * !s->verify_next;
}

static void set_state(struct queue *q, struct queue_job *j, struct job_state *s,
                      const struct job_states *states, int64_t now, const struct queue_events *ev)
{
    char age[24];
    struct job job = {
        .target = j->target, .schedule = j->schedule, .remove = j->guestless ? REMOVE_NOT : j->remove};
    snprintf(age, sizeof age, "%" PRId64, j->max_age);
    job.max_age = j->max_age ? age : NULL;
    job.guest = j->guest;
    memcpy(job.id, j->id, sizeof job.id);
    job.fault = j->faulty ? j->id : NULL;
    /* not before a run that is under way has ended, and was judged: it may be put off */
    bool asked = !j->running && s->asked && s->asked != j->asked;
    if (s->exists && s->last_try == 0 && j->last_try != 0)
        j->not_before = 0; /* this is all that Proxmox VE's own schedule-now says */
    j->next = j->guestless ? 0 : due_time(&job, s, j->target_online, now);
    j->last_iteration = s->last_iteration;
    j->last_try = s->last_try;
    j->asked = j->running ? j->asked : s->asked;
    j->told = j->last_sync == s->last_sync && j->told <= now ? j->told : 0;
    j->postponed =
        j->last_sync == s->last_sync ? j->postponed : 0; /* somebody else's run may have succeeded */
    j->last_sync = s->last_sync;
    int64_t known = job_states_known(states, &job, s, j->known);
    j->age_begins = job_age_begins(s, known, now);
    j->overdue = job_overdue_at(&job, s, known, now);
    j->fail_count = s->fail_count;
    take_verification(j, s, now);
    free(j->error);
    j->error = take_ptr(s->error);
    take_names(&j->kept_aside, &s->kept_aside);
    take_names(&j->sources, &s->sources);
    set_foreign(q, j, s, ev);
    bool ended = j->stale;
    j->stale = false;
    if (ended)
        judge_run(q, j, s, now);
    if (asked)
        j->not_before = 0;
    take_hindrance(j, s, ev);
    if (ended && ev && ev->ended)
        ev->ended(j, ev->arg);
}

static void note_storages(struct queue *q)
{
    const struct strv *first = NULL;
    q->several = false;
    for (size_t i = 0; i < q->n && !q->several; i++) {
        const struct strv *one = &q->v[i].sources;
        q->several = first && one->n && !strv_equal(first, one);
        first = first || !one->n ? first : one;
    }
}

void queue_set_states(struct queue *q, const struct job_states *states, int64_t now,
                      const struct queue_events *events)
{
    q->foreign = 0;
    for (size_t i = 0; i < q->n; i++) {
        struct queue_job *j = &q->v[i];
        struct job_state s = {0};
        job_states_get_of(states, j->guest, j->target, j->id, &s);
        set_state(q, j, &s, states, now, events);
        job_state_release(&s);
    }
    note_storages(q);
}

/* ---- decisions ---- */

/* When it may start: 0 never or not before something else happens. A date further away than any putting off
 * was made before the clock was put back. */
static int64_t startable_at(const struct queue_job *j, int64_t now)
{
    if (j->running || j->stale || j->gone || j->next == 0)
        return 0;
    bool put_off = j->not_before > j->next && j->not_before <= now + job_retry_delay(INT64_MAX);
    return put_off ? j->not_before : j->next;
}

static bool is_due(const struct queue_job *j, int64_t now)
{
    int64_t at = startable_at(j, now);
    return at != 0 && at <= now;
}

static bool is_under_way(const struct queue_job *j)
{
    return j->running || j->foreign;
}

/* The jobs of a guest are neighbours. */
static bool guest_is_busy(const struct queue *q, size_t at)
{
    uint32_t guest = q->v[at].guest;
    while (at > 0 && q->v[at - 1].guest == guest)
        at--;
    for (; at < q->n && q->v[at].guest == guest; at++)
        if (is_under_way(&q->v[at]))
            return true;
    return false;
}

static struct slots slots_of(const struct queue *q)
{
    struct slots s = {.max = q->max_workers, .per_target = q->max_per_target, .several = q->several};
    for (size_t i = 0; i < q->n; i++) {
        const struct queue_job *j = &q->v[i];
        if (is_under_way(j))
            slots_add(&s, (struct slot){.job = j->id,
                                        .target = j->target,
                                        .sources = &j->sources,
                                        .pid = j->running ? j->pid : j->foreign,
                                        .still = j->still});
    }
    return s;
}

size_t queue_taken(const struct queue *q)
{
    struct slots s = slots_of(q);
    size_t n = slots_taken(&s);
    slots_release(&s);
    return n;
}

static struct due_rank rank_of(const struct queue_job *j)
{
    return (struct due_rank){j->last_iteration, j->next, j->guest, j->id};
}

struct queue_job *queue_pick(struct queue *q, int64_t now)
{
    struct queue_job *best = NULL;
    struct slots slots = slots_of(q);
    for (size_t i = 0; i < q->n; i++) {
        struct queue_job *j = &q->v[i];
        if (!is_due(j, now))
            continue;
        struct due_rank a = rank_of(j), b = best ? rank_of(best) : a;
        if ((!best || due_compare(&a, &b) < 0) && !guest_is_busy(q, i) &&
            slots_free(&slots, j->target, &j->sources))
            best = j;
    }
    slots_release(&slots);
    return best;
}

/* ---- verifications ---- */

/* 0: not before something else happens. */
static int64_t verifiable_at(const struct queue_job *j)
{
    bool well = j->scrub_days && !j->faulty && j->remove == REMOVE_NOT && j->target_online &&
                j->last_sync > 0 && j->fail_count == 0 && !j->gone && !j->running && !j->stale;
    return !well ? 0 : j->verify_next > j->verify_after ? j->verify_next : j->verify_after;
}

static bool guest_has_due(const struct queue *q, size_t at, int64_t now)
{
    uint32_t guest = q->v[at].guest;
    while (at > 0 && q->v[at - 1].guest == guest)
        at--;
    for (; at < q->n && q->v[at].guest == guest; at++)
        if (is_due(&q->v[at], now))
            return true;
    return false;
}

struct queue_job *queue_pick_verify(struct queue *q, int64_t now)
{
    struct queue_job *best = NULL;
    int64_t first = 0;
    for (size_t i = 0; i < q->n; i++) {
        int64_t at = verifiable_at(&q->v[i]);
        if (at == 0 || at > now || (best && at >= first) || guest_is_busy(q, i) || guest_has_due(q, i, now))
            continue;
        best = &q->v[i];
        first = at;
    }
    return best;
}

void queue_verified(struct queue *q, const char *id, bool failed, int64_t now)
{
    struct queue_job *j = queue_find(q, id);
    if (j)
        j->verify_after = now + (failed ? QUEUE_VERIFY_FIRST : QUEUE_VERIFY_PAUSE);
}

static int64_t sooner(int64_t a, int64_t b, int64_t now)
{
    return b > now && (a == 0 || b < a) ? b : a;
}

int64_t queue_wake_verify(const struct queue *q, int64_t now)
{
    int64_t wake = 0;
    for (size_t i = 0; i < q->n; i++)
        wake = sooner(wake, verifiable_at(&q->v[i]), now);
    return wake;
}

int64_t queue_wake(const struct queue *q, int64_t now)
{
    int64_t wake = 0;
    for (size_t i = 0; i < q->n; i++) {
        int64_t at = startable_at(&q->v[i], now);
        if (at > now && (wake == 0 || at < wake))
            wake = at;
    }
    return wake;
}

size_t queue_count_due(const struct queue *q, int64_t now)
{
    size_t due = 0;
    for (size_t i = 0; i < q->n; i++)
        due += is_due(&q->v[i], now);
    return due;
}

/* ---- what is overdue ---- */

/* 0: nothing is to be told by itself. */
static int64_t tellable_at(const struct queue_job *j, int64_t began)
{
    int64_t patience = j->overdue - j->age_begins;
    int64_t first = began + (patience < QUEUE_TELL_FIRST ? patience : QUEUE_TELL_FIRST);
    int64_t at = j->told ? j->told + QUEUE_TELL_AGAIN : j->overdue > first ? j->overdue : first;
    return j->gone || !j->overdue ? 0 : at;
}

void queue_tell_overdue(struct queue *q, int64_t began, int64_t now,
                        void (*tell)(const struct queue_job *job, void *arg), void *arg)
{
    for (size_t i = 0; i < q->n; i++) {
        struct queue_job *j = &q->v[i];
        int64_t at = tellable_at(j, began);
        if (at == 0 || at > now || j->overdue > now)
            continue;
        tell(j, arg);
        j->told = now;
    }
}

int64_t queue_wake_overdue(const struct queue *q, int64_t began, int64_t now)
{
    int64_t wake = 0;
    for (size_t i = 0; i < q->n; i++)
        wake = sooner(wake, tellable_at(&q->v[i], began), now);
    return wake;
}

/* Runs of which nothing but this process knows, or nothing at all. */
static char *why_unseen(const struct queue_job *j)
{
    if (j->postponed)
        return xasprintf("its runs were postponed, %u in a row: see the job's log", j->postponed);
    if (j->lost)
        return xasprintf("%u runs in a row left no trace%s%s", j->lost, j->said ? ", the last: " : "",
                         j->said ? j->said
                                 : ": were they killed, or can the state directory not be written to?");
    return xstrdup("no run has succeeded: 'pvesr history' says what they did");
}

static char *why_waits(const struct queue *q, const struct queue_job *j, int64_t now)
{
    if (is_under_way(j) || !is_due(j, now))
        return NULL;
    struct slots slots = slots_of(q);
    char *why = slots_why(&slots, j->target, &j->sources);
    slots_release(&slots);
    return why;
}

char *queue_why_overdue(const struct queue *q, const struct queue_job *j, const char *unrecorded, int64_t now)
{
    bool unseen = !j->hindrance && !j->error && (j->postponed || j->lost);
    _cleanup_free_ char *waits = why_waits(q, j, now);
    char *why = job_why(&(struct job_why){.fault = j->fault,
                                          .unrecorded = unrecorded,
                                          .pid = j->running ? j->pid : j->foreign,
                                          .running = is_under_way(j) && !unseen,
                                          .still = j->still,
                                          .began = j->last_try,
                                          .waits = waits,
                                          .hindrance = j->hindrance,
                                          .postponements = j->postponed,
                                          .error = j->error,
                                          .offline = j->target_online ? NULL : j->target,
                                          .over = !j->next && !j->postponed && !j->lost});
    return why ? why : why_unseen(j);
}
