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
    struct job as = *v->job;
    if (v->lost) /* no removal will come */
        as.remove = REMOVE_NOT;
    int64_t overdue = as.disabled ? 0 : job_overdue_at(&as, &v->state, written, now);
    v->overdue = overdue && overdue <= now ? overdue : 0;
    v->newest = v->state.last_sync ? job_age_begins(&v->state, written, now) : 0;
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
    if (v->state.kept_aside.n) {
        json_t *kept = json_array();
        for (size_t i = 0; i < v->state.kept_aside.n; i++)
            json_array_append_new(kept, json_text(v->state.kept_aside.v[i]));
        add(o, "kept_aside", kept);
    }
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
