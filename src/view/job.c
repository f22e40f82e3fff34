#include "view/job.h"

#include "state/due.h"
#include "view/json.h"

#include <inttypes.h>
#include <string.h>

static void add(json_t *object, const char *key, json_t *value)
{
    json_object_set_new(object, key, value);
}

json_t *job_json(const struct job *job)
{
    json_t *o = json_object();
    add(o, "id", json_string(job->id));
    add(o, "guest", json_integer(job->guest));
    add(o, "jobnum", json_integer(job->number));
    add(o, "type", json_string("local"));
    add(o, "target", json_text(job->target));
    if (job->source)
        add(o, "source", json_text(job->source));
    if (job->schedule)
        add(o, "schedule", json_text(job->schedule));
    if (job->rate > 0)
        add(o, "rate", json_real(job->rate));
    if (job->keep)
        add(o, "keep", json_text(job->keep));
    if (job->max_age)
        add(o, "max-age", json_text(job->max_age));
    if (job->scrub_days)
        add(o, "scrub-days", json_integer(job_scrub_days(job)));
    if (job->target_storage)
        add(o, "target-storage", json_text(job->target_storage));
    if (job->comment && *job->comment)
        add(o, "comment", json_text(job->comment));
    if (job->disabled)
        add(o, "disable", json_integer(1));
    if (job->remove != REMOVE_NOT)
        add(o, "remove_job", json_string(job->remove == REMOVE_FULL ? "full" : "local"));
    return o;
}

/* ---- how it is doing ---- */

/* Now and then one is postponed: that becomes worth telling by itself. */
#define POSTPONED_TELL 3

/* Malloc'ed, or NULL: runs that did not fail and did not succeed either, behind the one that failed last. */
static char *hindrance(const struct job_state *s, bool overdue)
{
    if (s->lost)
        return job_why_lost(s->last_try);
    if (!s->postponed || (!overdue && s->postponements < POSTPONED_TELL))
        return NULL;
    return xasprintf("its runs were postponed, %" PRId64 " in a row: %s%s%s", s->postponements, s->postponed,
                     s->error ? "; the one before failed: " : "", s->error ? s->error : "");
}

static char *obstacle(const struct job_states *states)
{
    struct err e;
    return job_states_recordable(job_states_dir(states), &e) < 0 ? xstrdup(e.text) : NULL;
}

bool job_view_init(struct job_view *v, const struct job *job, const char *node,
                   const struct guest_list *guests)
{
    *v = (struct job_view){.job = job, .guest = guests_find(guests, job->guest)};
    char *lost = jobs_lost_guest(job, guests, node);
    bool here = lost || (v->guest && strcmp(v->guest->node, node) == 0);
    if (here && (strcmp(job->target, node) != 0 || job->remove != REMOVE_NOT)) {
        v->lost = lost;
        return true;
    }
    free(lost);
    return false;
}

void job_view_look(struct job_view *v, const struct members *members, const struct job_states *states,
                   int64_t written, int64_t now)
{
    const struct member *target = members_find(members, v->job->target);
    job_states_get_of(states, v->job->guest, v->job->target, v->job->id, &v->state);
    v->next_sync = v->lost ? 0 : job_next_sync(v->job, &v->state, target && target->online, now);
    v->offline = !target || !target->online;
    struct job as = *v->job;
    if (v->lost) /* no removal will come */
        as.remove = REMOVE_NOT;
    int64_t known = job_states_known(states, v->job, &v->state, written);
    int64_t overdue = as.disabled ? 0 : job_overdue_at(&as, &v->state, known, now);
    v->overdue = overdue && overdue <= now ? overdue : 0;
    v->newest = v->state.last_sync ? job_age_begins(&v->state, known, now) : 0;
    if (v->state.verified > now + JOB_CLOCK_SLACK)
        v->state.verified = 0; /* by a clock that was ahead: nobody knows when */
    v->to_come = job_sync_is_to_come(&v->state, now);
    v->unrecorded = v->overdue ? obstacle(states) : NULL;
    v->hindered = hindrance(&v->state, v->overdue);
    int64_t days = as.disabled || as.fault || as.remove != REMOVE_NOT ? 0 : job_scrub_days(&as);
    v->doubt = job_doubt(&v->state, days, now);
    v->doubtful = job_doubt_text(v->doubt, &v->state, v->job->target, days);
}

void job_view_release(struct job_view *v)
{
    job_state_release(&v->state);
    free(v->lost);
    free(v->unrecorded);
    free(v->hindered);
    free(v->doubtful);
    *v = (struct job_view){0};
}

const char *job_view_trouble(const struct job_view *v)
{
    if (v->lost)
        return v->lost;
    if (v->job->fault && v->job->remove == REMOVE_NOT)
        return v->job->fault;
    if (v->unknown)
        return v->unknown;
    if (v->unrecorded)
        return v->unrecorded;
    bool newer = v->hindered && v->state.postponed && !v->state.lost;
    return v->state.error && !newer ? v->state.error : v->hindered;
}

/* None where there is nothing to say. */
static void add_texts(json_t *o, const char *key, const struct strv *texts)
{
    if (!texts->n)
        return;
    json_t *all = json_array();
    for (size_t i = 0; i < texts->n; i++)
        json_array_append_new(all, json_text(texts->v[i]));
    add(o, key, all);
}

void job_slots_make(struct job_slots *s, const struct jobs *jobs, const struct job_states *states,
                    unsigned max_workers, unsigned max_per_target)
{
    const struct strv *first = NULL;
    *s = (struct job_slots){.made = true, .states = xcalloc(jobs->n + 1, sizeof *s->states)};
    s->slots.max = max_workers;
    s->slots.per_target = max_per_target;
    for (size_t i = 0; i < jobs->n; i++) {
        const struct job *job = &jobs->v[i];
        struct job_state *one = &s->states[s->n++];
        job_states_get_of(states, job->guest, job->target, job->id, one);
        s->slots.several |= first && one->sources.n && !strv_equal(first, &one->sources);
        first = first || !one->sources.n ? first : &one->sources;
        if (one->pid)
            slots_add(&s->slots, (struct slot){job->id, job->target, &one->sources, one->pid, false});
    }
}

void job_slots_release(struct job_slots *s)
{
    for (size_t i = 0; i < s->n; i++)
        job_state_release(&s->states[i]);
    free(s->states);
    slots_release(&s->slots);
    *s = (struct job_slots){0};
}

char *job_view_why(const struct job_view *v, const struct job_slots *slots, int64_t now)
{
    bool due = !v->state.pid && v->next_sync && v->next_sync <= now;
    bool faulty = v->job->fault && v->job->remove == REMOVE_NOT;
    _cleanup_free_ char *left = v->state.lost ? job_why_lost(v->state.last_try) : NULL;
    _cleanup_free_ char *waits = due ? slots_why(&slots->slots, v->job->target, &v->state.sources) : NULL;
    return job_why(&(struct job_why){.fault = v->lost  ? v->lost
                                              : faulty ? v->job->fault
                                                       : NULL,
                                     .unrecorded = v->unrecorded,
                                     .pid = v->state.pid,
                                     .running = v->state.pid,
                                     .began = v->state.last_try,
                                     .left = left,
                                     .waits = waits,
                                     .hindrance = v->state.postponed,
                                     .postponements = v->state.postponements,
                                     .error = v->state.error,
                                     .offline = v->offline ? v->job->target : NULL,
                                     .to_come = v->to_come,
                                     .over = !v->next_sync});
}

json_t *job_view_json(const struct job_view *v)
{
    json_t *o = job_json(v->job);
    if (v->guest)
        add(o, "vmtype", json_string(guest_type_name(v->guest->type)));
    if (v->unknown) {
        add(o, "error", json_text(job_view_trouble(v)));
        return o;
    }
    add(o, "next_sync", json_integer(v->next_sync));
    add(o, "last_sync", json_integer(v->state.last_sync));
    add(o, "last_try", json_integer(v->state.last_try));
    add(o, "fail_count", json_integer(v->state.fail_count));
    const char *why = job_view_trouble(v);
    if (why == v->hindered && !v->state.lost) /* what is postponed has not failed */
        why = v->state.error;
    if (why)
        add(o, "error", json_text(why));
    if (v->overdue)
        add(o, "overdue", json_integer(v->overdue));
    if (v->state.postponements)
        add(o, "postponed", json_integer(v->state.postponements));
    add_texts(o, "kept_aside", &v->state.kept_aside);
    add_texts(o, "notes", &v->state.notes);
    if (v->state.verified)
        add(o, "verified", json_integer(v->state.verified));
    if (job_state_differs(&v->state))
        add(o, "differs", json_text(job_state_differs(&v->state)));
    if (v->state.gone)
        add(o, "gone", json_text(v->state.gone));
    if (v->doubt == DOUBT_FAILS || v->doubt == DOUBT_LATE)
        add(o, "unverified", json_text(v->doubtful));
    if (v->state.duration >= 0)
        add(o, "duration", json_real(whole_microseconds(v->state.duration)));
    if (v->state.pid)
        add(o, "pid", json_integer(v->state.pid));
    return o;
}
