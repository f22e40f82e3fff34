/* list, read, status: the jobs as they are configured and how they are doing (BEHAVIOUR.md#output). */
#include "cli/commands.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/num.h"
#include "cli/lines.h"
#include "cli/load.h"
#include "conf/calendar.h"
#include "notify/spool.h"
#include "view/job.h"
#include "view/json.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define WATCH_SECONDS 2

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
        return jobs_no_such(&jobs, "replication job", args_text(a, P_ID), e);
    json_t *o = job_json(job);
    json_object_set_new(o, "digest", json_string(jobs.digest));
    json_put(o, true);
    return 0;
}

/* ---- status ---- */

/* What the State column needs beside the job; `slots` is made when it is first asked for. */
struct shown {
    struct env *env;
    const struct jobs *jobs;
    const struct job_states *states;
    struct job_slots slots;
    int64_t now;
};

static void print_overdue(const struct job_view *s, struct shown *all)
{
    char since[32];
    const struct settings *set = &all->env->settings;
    if (!all->slots.made)
        job_slots_make(&all->slots, all->jobs, all->states, set->max_workers, set->max_per_target);
    _cleanup_free_ char *why = job_view_why(s, &all->slots, all->now);
    clock_print_log(s->overdue, since);
    put_line(stdout, "OVERDUE since %s: %s", since,
             why ? why : "no run has succeeded: is pvesrd running, and what does 'pvesr history' say?");
}

static void print_syncing(const struct job_view *s)
{
    _cleanup_free_ char *stopped = job_why_stopped(s->state.pid);
    put_line(stdout, "SYNCING%s%s%s", stopped ? " (" : "", stopped ? stopped : "", stopped ? ")" : "");
}

/* What the State column says: the first line that an administrator must know. */
static void print_state(const struct job_view *s, struct shown *shown)
{
    const struct strv *kept = &s->state.kept_aside;
    _cleanup_strv_ struct strv more = STRV_INIT;
    char when[32];
    clock_print_log(s->state.verified, when);
    if (kept->n == 1)
        strv_addf(&more, "kept aside on %s: %s", s->job->target, kept->v[0]);
    else if (kept->n)
        strv_addf(&more, "kept aside on %s: %s and %zu more", s->job->target, kept->v[kept->n - 1],
                  kept->n - 1);
    for (size_t i = 0; i < s->state.notes.n; i++)
        strv_add(&more, s->state.notes.v[i]);
    if (s->to_come)
        strv_add(&more, WHY_OTHER_CLOCK);
    if (s->state.verified)
        strv_addf(&more, "verified %.16s", when);
    _cleanup_free_ char *all = strv_join(&more, "; ");
    if (s->overdue)
        print_overdue(s, shown);
    else if (s->state.pid)
        print_syncing(s);
    else if (job_view_trouble(s))
        put_line(stdout, "%s", job_view_trouble(s));
    else if (s->doubtful)
        put_line(stdout, "%s", s->doubtful);
    else
        put_line(stdout, "OK%s%s%s", more.n ? " (" : "", all, more.n ? ")" : "");
}

static void print_status_head(void)
{
    printf("%-10s %-10s %-20s %20s %20s %10s %10s %s\n", "JobID", "Enabled", "Target", "LastSync", "NextSync",
           "Duration", "FailCount", "State");
}

static void print_status(const struct job_view *s, struct shown *all)
{
    char last[32] = "-", next[32] = "-", duration[32] = "-";
    if (s->unknown)
        strcpy(last, "?");
    _cleanup_free_ char *target = xasprintf("local/%s", s->job->target);
    if (s->state.last_sync)
        clock_print_status(s->state.last_sync, last);
    if (s->next_sync && s->next_sync <= all->now)
        strcpy(next, "pending");
    else if (s->next_sync)
        clock_print_status(s->next_sync, next);
    if (s->state.duration >= 0)
        num_print_double(whole_microseconds(s->state.duration), duration);
    printf("%-10s %-10s %-20s %20s %20s %10s %10" PRId64 " ", s->job->id, s->job->disabled ? "No" : "Yes",
           target, last, next, duration, s->state.fail_count);
    print_state(s, all);
}

/* Those that cannot be read last. states: or NULL, and why. */
static void show_jobs(struct env *env, const struct jobs *jobs, const struct job_states *states,
                      const char *why, int64_t only_guest, json_t *list)
{
    struct shown all = {.env = env, .jobs = jobs, .states = states, .now = clock_epoch()};
    for (size_t i = 0; i < jobs->n + jobs->n_unread; i++) {
        const struct job *job = i < jobs->n ? &jobs->v[i] : &jobs->unread[i - jobs->n];
        _cleanup_(job_view_release) struct job_view s = {0};
        if ((only_guest && job->guest != only_guest) ||
            !job_view_init(&s, job, env->settings.node, &env->guests))
            continue;
        s.state.duration = -1;
        s.unknown = why;
        if (states)
            job_view_look(&s, &env->members, states, jobs->written, all.now);
        if (list)
            json_array_append_new(list, job_view_json(&s));
        else
            print_status(&s, &all);
    }
    job_slots_release(&all.slots);
}

/* What waits for so long was not even tried. */
#define WAITING_SECONDS 120

static void tell_spooled(const struct spooled *x, size_t n)
{
    char since[32];
    bool one = n == 1;
    const char *how = x->refused ? (one ? "is refused" : "are refused") : one ? "waits" : "wait";
    clock_print_log(x->made, since);
    if (x->tries || clock_epoch() - x->made > WAITING_SECONDS)
        put_line(stderr, "warning: %zu notification%s for '%s' %s since %s: %s%s", n, one ? "" : "s",
                 x->target, how, since, x->error ? x->error : "not sent yet",
                 x->refused ? "; mend the target, which sends it again" : "");
}

/* Once of each target; the oldest that waits, or is refused, comes first, and has the reason. */
static void tell_waiting(const struct env *env)
{
    struct spool s;
    struct err e = {0};
    if (spool_load(env->settings.state_dir, &s, &e) < 0) {
        if (e.code != EACCES) /* who may not know does not */
            put_line(stderr, "warning: %s", e.text);
        return;
    }
    for (size_t i = 0, n; i < s.n; i++) {
        bool first = true;
        n = 1;
        for (size_t k = 0; k < s.n; k++) {
            bool same = strcmp(s.v[k].target, s.v[i].target) == 0 && s.v[k].refused == s.v[i].refused;
            first = first && !(same && k < i);
            n += same && k > i;
        }
        if (first)
            tell_spooled(&s.v[i], n);
    }
    spool_release(&s);
}

/* What keeps pvesrd from scheduling anything, and can be seen from here. */
static void tell_lock(const struct env *env)
{
    struct stat s;
    _cleanup_free_ char *path = xasprintf("%s/pvesrd.lock", env->settings.run_dir);
    if (lstat(path, &s) == 0 && !S_ISREG(s.st_mode))
        put_line(stderr, "warning: pvesrd schedules nothing: '%s' must be a regular file, remove it", path);
}

static int show_status(struct env *env, const struct args *a, struct err *e)
{
    _cleanup_(jobs_release) struct jobs jobs = {0};
    if (env_members_with_us(env, e) < 0 || load_jobs_repaired(env, &jobs, e) < 0)
        return -1;
    struct job_states *states = job_states_load(env->settings.state_dir, e);
    _cleanup_free_ char *why = states ? NULL : xasprintf("state cannot be read: %s", e->text);
    json_t *list = args_want_json(a) ? json_array() : NULL;
    if (!list)
        print_status_head();
    show_jobs(env, &jobs, states, why, a->value[P_GUEST].integer, list);
    if (list)
        json_put(list, false);
    job_states_free(states);
    tell_lock(env);
    if (why)
        return -1;
    tell_waiting(env);
    return warn_orphans(env, &jobs, e);
}

/* Whoever looks on sees what is wrong just now, and when it is over. */
static int watch_status(struct env *env, const struct args *a)
{
    static char screen[1 << 16];
    setvbuf(stdout, screen, _IOFBF,
            sizeof screen); /* a picture that is cleared and drawn at once does not flicker */
    for (; !ferror(stdout); sleep(WATCH_SECONDS)) {
        struct err problem = {0};
        char now[32];
        clock_print_log(clock_epoch(), now);
        printf("%s%s: jobs of node '%s', each %d s\n\n", isatty(STDOUT_FILENO) ? "\033[H\033[2J" : "", now,
               env->settings.node, WATCH_SECONDS);
        if (env_guests_again(env, &problem) < 0 || show_status(env, a, &problem) < 0)
            put_line(stdout, "%s", problem.text);
        fflush(stdout);
    }
    return 0;
}

int cmd_status(struct env *env, const struct args *a, struct err *e)
{
    return a->value[P_WATCH].flag ? watch_status(env, a) : show_status(env, a, e);
}
