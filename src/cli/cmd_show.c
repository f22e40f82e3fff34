/* list, read, status: the jobs as they are configured and how they are doing (BEHAVIOUR.md#output). */
#include "cli/commands.h"

#include "base/clock.h"
#include "base/num.h"
#include "cli/json.h"
#include "cli/lines.h"
#include "cli/load.h"
#include "conf/calendar.h"
#include "run/source/damage.h"
#include "state/due.h"
#include "state/jobstate.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void add(json_t *object, const char *key, json_t *value)
{
    json_object_set_new(object, key, value);
}

static json_t *job_json(const struct job *job)
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

/* ---- list, read ---- */

static void print_list(const struct jobs *jobs)
{
    printf("%-20s %-20s %10s %5s %8s\n", "JobID", "Target", "Schedule", "Rate", "Enabled");
    for (size_t i = 0; i < jobs->n; i++) {
        const struct job *job = &jobs->v[i];
        char rate[32] = "-";
        _cleanup_free_ char *target = xasprintf("local/%s", job->target);
        if (job->rate > 0)
            num_print_double(job->rate, rate);
        put_line(stdout, "%-20s %-20s %10s %5s %8s", job->id, target,
                 job->schedule ? job->schedule : CALENDAR_DEFAULT, rate, job->disabled ? "no" : "yes");
    }
}

int cmd_list(struct env *env, const struct args *a, struct err *e)
{
    _cleanup_(jobs_release) struct jobs jobs = {0};
    if (load_jobs(env, &jobs, e) < 0)
        return -1;
    if (!args_want_json(a)) {
        print_list(&jobs);
        return 0;
    }
    json_t *all = json_array();
    for (size_t i = 0; i < jobs.n; i++)
        json_array_append_new(all, job_json(&jobs.v[i]));
    json_put(all, false);
    return 0;
}

int cmd_read(struct env *env, const struct args *a, struct err *e)
{
    _cleanup_(jobs_release) struct jobs jobs = {0};
    if (load_jobs(env, &jobs, e) < 0)
        return -1;
    const struct job *job = jobs_find(&jobs, args_text(a, P_ID));
    if (!job)
        return err_set(e, ERR_GONE, 0, "no such replication job '%s'", args_text(a, P_ID));
    json_t *o = job_json(job);
    add(o, "digest", json_string(jobs.digest));
    json_put(o, true);
    return 0;
}

/* ---- status ---- */

/* One line of `status`: a job, its guest, its state. */
struct shown {
    const struct job *job;
    const struct guest_entry *guest;
    struct job_state state;
    int64_t next_sync, overdue; /* since when it is; 0: it is not */
    char *lost;                 /* why it has no guest, or NULL */
};

static void shown_release(struct shown *s)
{
    job_state_release(&s->state);
    free(s->lost);
}

/* What keeps the job from running, if anything: a fault of its configuration, or its last failure. */
static const char *trouble(const struct shown *s)
{
    if (s->lost)
        return s->lost;
    return s->job->fault && s->job->remove == REMOVE_NOT ? s->job->fault : s->state.error;
}

static void print_overdue(const struct shown *s)
{
    char since[32];
    clock_print_log(s->overdue, since);
    put_line(stdout, "OVERDUE since %s: %s", since,
             trouble(s)     ? trouble(s)
             : s->state.pid ? "a run is under way"
                            : "no run has succeeded: is pvesrd running, and what does 'pvesr history' say?");
}

/* What the State column says: the first line that an administrator must know. */
static void print_state(const struct shown *s)
{
    const struct strv *kept = &s->state.kept_aside;
    const char *wrong = damage_open(&s->state.damaged);
    _cleanup_strv_ struct strv more = STRV_INIT;
    char when[32];
    clock_print_log(s->state.verified, when);
    if (kept->n == 1)
        strv_addf(&more, "kept aside on %s: %s", s->job->target, kept->v[0]);
    else if (kept->n)
        strv_addf(&more, "kept aside on %s: %s and %zu more", s->job->target, kept->v[kept->n - 1],
                  kept->n - 1);
    if (s->state.verified)
        strv_addf(&more, "verified %.16s", when);
    _cleanup_free_ char *all = strv_join(&more, "; ");
    if (s->overdue)
        print_overdue(s);
    else if (s->state.pid)
        printf("SYNCING\n");
    else if (trouble(s))
        put_line(stdout, "%s", trouble(s));
    else if (wrong)
        put_line(stdout, "DIFFERS on %s: %s (the next run sends it anew)", s->job->target, wrong);
    else
        put_line(stdout, "OK%s%s%s", more.n ? " (" : "", all, more.n ? ")" : "");
}

static json_t *shown_json(const struct shown *s)
{
    json_t *o = job_json(s->job);
    if (s->guest)
        add(o, "vmtype", json_string(guest_type_name(s->guest->type)));
    add(o, "next_sync", json_integer(s->next_sync));
    add(o, "last_sync", json_integer(s->state.last_sync));
    add(o, "last_try", json_integer(s->state.last_try));
    add(o, "fail_count", json_integer(s->state.fail_count));
    if (trouble(s))
        add(o, "error", json_text(trouble(s)));
    if (s->overdue)
        add(o, "overdue", json_integer(s->overdue));
    if (s->state.kept_aside.n) {
        json_t *kept = json_array();
        for (size_t i = 0; i < s->state.kept_aside.n; i++)
            json_array_append_new(kept, json_text(s->state.kept_aside.v[i]));
        add(o, "kept_aside", kept);
    }
    if (s->state.verified)
        add(o, "verified", json_integer(s->state.verified));
    if (damage_open(&s->state.damaged))
        add(o, "differs", json_text(damage_open(&s->state.damaged)));
    if (s->state.duration >= 0)
        add(o, "duration", json_real(whole_microseconds(s->state.duration)));
    if (s->state.pid)
        add(o, "pid", json_integer(s->state.pid));
    return o;
}

static void print_status_head(void)
{
    printf("%-10s %-10s %-20s %20s %20s %10s %10s %s\n", "JobID", "Enabled", "Target", "LastSync", "NextSync",
           "Duration", "FailCount", "State");
}

static void print_status(const struct shown *s, int64_t now)
{
    char last[32] = "-", next[32] = "-", duration[32] = "-";
    _cleanup_free_ char *target = xasprintf("local/%s", s->job->target);
    if (s->state.last_sync)
        clock_print_status(s->state.last_sync, last);
    if (s->next_sync && s->next_sync <= now)
        strcpy(next, "pending");
    else if (s->next_sync)
        clock_print_status(s->next_sync, next);
    if (s->state.duration >= 0)
        num_print_double(whole_microseconds(s->state.duration), duration);
    printf("%-10s %-10s %-20s %20s %20s %10s %10" PRId64 " ", s->job->id, s->job->disabled ? "No" : "Yes",
           target, last, next, duration, s->state.fail_count);
    print_state(s);
}

/* Jobs whose guest is elsewhere are that node's; a job to this node can only be removed. */
static bool is_shown(struct env *env, struct shown *s, int64_t only_guest)
{
    const char *node = env->settings.node;
    s->guest = guests_find(&env->guests, s->job->guest);
    if (only_guest && s->job->guest != only_guest)
        return false;
    s->lost = jobs_lost_guest(s->job, &env->guests, node);
    bool here = s->lost || (s->guest && strcmp(s->guest->node, node) == 0);
    return here && (strcmp(s->job->target, node) != 0 || s->job->remove != REMOVE_NOT);
}

static void look_at_state(struct env *env, const struct job_states *states, int64_t known, int64_t now,
                          struct shown *s)
{
    const struct member *target = members_find(&env->members, s->job->target);
    job_states_get(states, s->job->guest, s->job->target, &s->state);
    s->next_sync = s->lost ? 0 : job_next_sync(s->job, &s->state, target && target->online);
    int64_t overdue = s->job->disabled ? 0 : job_overdue_at(s->job, &s->state, known);
    s->overdue = overdue && overdue <= now ? overdue : 0;
}

static void show_jobs(struct env *env, const struct jobs *jobs, const struct job_states *states,
                      int64_t only_guest, json_t *list)
{
    int64_t now = clock_epoch();
    for (size_t i = 0; i < jobs->n; i++) {
        _cleanup_(shown_release) struct shown s = {.job = &jobs->v[i]};
        if (!is_shown(env, &s, only_guest))
            continue;
        look_at_state(env, states, jobs->written, now, &s);
        if (list)
            json_array_append_new(list, shown_json(&s));
        else
            print_status(&s, now);
    }
}

int cmd_status(struct env *env, const struct args *a, struct err *e)
{
    _cleanup_(jobs_release) struct jobs jobs = {0};
    if (load_jobs_repaired(env, &jobs, e) < 0 || env_members(env, e) < 0)
        return -1;
    struct job_states *states = job_states_load(env->settings.state_dir, e);
    if (!states)
        return -1;
    json_t *list = args_want_json(a) ? json_array() : NULL;
    if (!list)
        print_status_head();
    show_jobs(env, &jobs, states, a->value[P_GUEST].integer, list);
    if (list)
        json_put(list, false);
    job_states_free(states);
    return 0;
}
