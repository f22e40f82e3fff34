/* at-risk: what would be lost if this node died now, of each guest that is here. */
#include "cli/commands.h"

#include "base/clock.h"
#include "base/mem.h"
#include "view/json.h"
#include "cli/lines.h"
#include "cli/load.h"
#include "run/left-out.h"
#include "run/source/damage.h"
#include "state/due.h"

#include <float.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WEEK 604800

/* A guest of this node on one target, or (job NULL) on none. */
struct risk {
    const struct guest_entry *guest;
    const struct job *job;
    int64_t newest;       /* when the newest restore point there was taken; 0: there is none */
    bool ageless;         /* …by a clock that was ahead, so that nothing says how old it is */
    int64_t allowed;      /* seconds that it may be old; 0: any */
    bool twice;           /* it has another configuration, so that no job of it runs */
    bool gone, differs;   /* a verification found no replica, or a restore point wrong */
    double pain, least;   /* age by what is allowed; that of the guest's best target */
    struct strv left_out; /* volumes of the guest that no job carries */
    struct err unknown;   /* why these are not known */
};

struct risks {
    struct risk *v;
    size_t n;
    int64_t now;
};

static void risks_release(struct risks *r)
{
    for (size_t i = 0; i < r->n; i++)
        strv_release(&r->v[i].left_out);
    free(r->v);
}

static struct risk *add(struct risks *r, const struct guest_entry *guest, const struct job *job)
{
    r->v = xreallocarray(r->v, r->n + 1, sizeof *r->v);
    struct risk *new = &r->v[r->n++];
    *new = (struct risk){.guest = guest, .job = job, .pain = DBL_MAX};
    return new;
}

/* What no job would carry of what is read. 0: no volume of the guest is on this node's disks. */
static size_t compare_volumes(struct env *env, const struct jobs *jobs, const struct guest_config *g,
                              struct risk *risk)
{
    _cleanup_strv_ struct strv carried = STRV_INIT, all = STRV_INIT;
    if (env_guest_volumes(env, g, VOLUMES_LENIENT, &carried, &risk->unknown) < 0 ||
        env_guest_volumes(env, g, VOLUMES_CLEANUP, &all, &risk->unknown) < 0)
        return 1;
    for (size_t i = 0; i < all.n; i++)
        if (!strv_has(&carried, all.v[i]))
            strv_add(&risk->left_out, all.v[i]);
    if (left_out_foreign(env, jobs, g, true, &risk->left_out, &risk->unknown) < 0 ||
        left_out_check_shared(env, g, risk->guest->id, &risk->unknown) < 0)
        return 1;
    return all.n + risk->left_out.n;
}

/* False: nothing is at risk. A file that is not understood, or holds nothing, is no guest without disks, nor
 * is one that has a job. */
static bool look_at_volumes(struct env *env, const struct jobs *jobs, struct risk *risk)
{
    struct guest_config *g = env_guest_config(env, risk->guest, &risk->unknown);
    if (!g)
        return true;
    size_t n = compare_volumes(env, jobs, g, risk);
    bool empty = guest_config_is_empty(g);
    guest_config_whole(g, &risk->unknown);
    guest_config_free(g);
    if (n == 0 && risk->unknown.kind == ERR_NONE && (empty || risk->job))
        err_set(&risk->unknown, ERR_CONFIG, 0,
                "its configuration names none that could be replicated: put the lines of its disks back%s",
                risk->job ? ", or remove the job ('pvesr delete' with --keep where its replicas are of value)"
                          : "");
    return n > 0 || risk->unknown.kind != ERR_NONE;
}

static void look_at_job(const struct job_states *states, int64_t written, int64_t now, struct risk *risk)
{
    struct job_state state = {0};
    job_states_get_of(states, risk->job->guest, risk->job->target, risk->job->id, &state);
    int64_t known = job_states_known(states, risk->job, &state, written);
    int64_t overdue = job_overdue_at(risk->job, &state, known, now);
    int64_t begins = job_age_begins(&state, known, now);
    risk->ageless = state.last_sync && !begins;
    risk->newest = !state.last_sync || risk->ageless ? state.last_sync : begins;
    risk->allowed = overdue > risk->newest && risk->newest ? overdue - risk->newest : 0;
    risk->gone = state.gone != NULL;
    risk->differs = job_state_differs(&state) != NULL;
    if (risk->newest && !risk->ageless)
        risk->pain = (double)(now - risk->newest) / (double)(risk->allowed ? risk->allowed : 3 * WEEK);
    job_state_release(&state);
}

/* The rows of a guest are n: the first has no job, and goes where others have one. False: no volume of it is
 * on this node's disks. */
static bool look_at_guest(struct env *env, const struct jobs *jobs, struct risk *rows, size_t n)
{
    double least = DBL_MAX;
    struct risk *first = &rows[n > 1];
    bool here = look_at_volumes(env, jobs, first);
    for (size_t i = 0; i < n; i++)
        least = rows[i].pain < least ? rows[i].pain : least;
    for (size_t i = 0; i < n; i++) {
        rows[i].least = least;
        rows[i].unknown = first->unknown;
    }
    return here;
}

static int by_guest(const void *a, const void *b)
{
    const struct risk *x = a, *y = b;
    if (x->guest->id != y->guest->id)
        return x->guest->id < y->guest->id ? -1 : 1;
    return !y->job - !x->job;
}

/* The guest that has most to lose first; of each the target that has most of it. */
static int by_pain(const void *a, const void *b)
{
    const struct risk *x = a, *y = b;
    if (x->least != y->least)
        return x->least > y->least ? -1 : 1;
    if (x->guest->id != y->guest->id)
        return x->guest->id < y->guest->id ? -1 : 1;
    return x->pain < y->pain ? -1 : x->pain > y->pain;
}

/* One row for each guest that is here, and one for each of its jobs. */
static void collect(struct env *env, const struct jobs *jobs, const struct job_states *states,
                    int64_t only_guest, struct risks *r)
{
    for (size_t i = 0; i < env->guests.n; i++)
        if (strcmp(env->guests.v[i].node, env->settings.node) == 0 &&
            (!only_guest || env->guests.v[i].id == only_guest))
            add(r, &env->guests.v[i], NULL);
    for (size_t i = 0; i < env->guests.n_twice; i++)
        if (strcmp(env->guests.twice[i].node, env->settings.node) == 0 &&
            (!only_guest || env->guests.twice[i].id == only_guest))
            add(r, &env->guests.twice[i], NULL)->twice = true;
    for (size_t i = 0; i < jobs->n; i++) {
        const struct guest_entry *guest = guests_find(&env->guests, jobs->v[i].guest);
        if (guest && strcmp(guest->node, env->settings.node) == 0 && jobs->v[i].remove == REMOVE_NOT &&
            (!only_guest || guest->id == only_guest))
            look_at_job(states, jobs->written, r->now, add(r, guest, &jobs->v[i]));
    }
}

static void keep_what_is_at_risk(struct env *env, const struct jobs *jobs, struct risks *r)
{
    size_t kept = 0;
    for (size_t i = 0, n; i < r->n; i += n) {
        for (n = 1; i + n < r->n && r->v[i + n].guest == r->v[i].guest;)
            n++;
        bool here = look_at_guest(env, jobs, &r->v[i], n);
        for (size_t k = n > 1; k < n && here; k++)
            r->v[kept++] = r->v[i + k];
    }
    r->n = kept;
}

static int look(struct env *env, const struct jobs *jobs, int64_t only_guest, struct risks *r, struct err *e)
{
    struct job_states *states = job_states_load(env->settings.state_dir, e);
    if (!states)
        return -1;
    r->now = clock_epoch();
    collect(env, jobs, states, only_guest, r);
    job_states_free(states);
    if (!r->n)
        return 0;
    qsort(r->v, r->n, sizeof *r->v, by_guest);
    keep_what_is_at_risk(env, jobs, r);
    qsort(r->v, r->n, sizeof *r->v, by_pain);
    return 0;
}

/* ---- what is printed ---- */

/* A run would be refused, or nobody knows what it carries. */
static bool is_faulty(const struct risk *x)
{
    return x->job->fault || x->unknown.kind != ERR_NONE;
}

static const char *state_of(const struct risk *x)
{
    return x->twice           ? "two files"
           : !x->job          ? "no job"
           : !x->newest       ? "never"
           : x->gone          ? "gone"
           : x->differs       ? "differs"
           : x->pain > 1      ? "OVERDUE"
           : is_faulty(x)     ? "faulty"
           : x->job->disabled ? "disabled"
                              : "ok";
}

/* Of the two largest units: 3d4h, 17m2s. */
static void print_age(int64_t seconds, char out[32])
{
    static const struct {
        int64_t seconds;
        char name;
    } units[] = {{86400, 'd'}, {3600, 'h'}, {60, 'm'}, {1, 's'}};
    size_t i = 0;
    while (i < ELEMENTS(units) - 1 && seconds < units[i].seconds)
        i++;
    int n = snprintf(out, 32, "%" PRId64 "%c", seconds / units[i].seconds, units[i].name);
    int64_t rest = seconds % units[i].seconds;
    if (i + 1 < ELEMENTS(units) && rest >= units[i + 1].seconds)
        snprintf(out + n, 32 - (size_t)n, "%" PRId64 "%c", rest / units[i + 1].seconds, units[i + 1].name);
}

static void print_risk(const struct risk *x, int64_t now)
{
    char newest[32] = "-", age[32] = "-", allowed[32] = "-";
    _cleanup_free_ char *left_out = strv_join(&x->left_out, ", ");
    if (x->newest) {
        clock_print_status(x->newest, newest);
        if (!x->ageless)
            print_age(now > x->newest ? now - x->newest : 0, age);
    }
    if (x->allowed)
        print_age(x->allowed, allowed);
    put_line(stdout, "%-10" PRIu32 " %-10s %-20s %20s %8s %8s %s%s%s%s%s", x->guest->id,
             x->job ? x->job->id : "-", x->job ? x->job->target : "-", newest, age, allowed, state_of(x),
             *left_out ? "; on no target: " : "", left_out,
             x->unknown.kind ? "; its volumes are not known: " : "", x->unknown.kind ? x->unknown.text : "");
}

static json_t *risk_json(const struct risk *x, int64_t now)
{
    json_t *o = json_object(), *left_out = json_array();
    json_object_set_new(o, "guest", json_integer(x->guest->id));
    json_object_set_new(o, "vmtype", json_string(guest_type_name(x->guest->type)));
    json_object_set_new(o, "state", json_string(state_of(x)));
    if (x->job) {
        json_object_set_new(o, "job", json_string(x->job->id));
        json_object_set_new(o, "target", json_text(x->job->target));
    }
    if (x->newest) {
        json_object_set_new(o, "newest", json_integer(x->newest));
        if (!x->ageless)
            json_object_set_new(o, "age", json_integer(now - x->newest));
    }
    if (x->allowed)
        json_object_set_new(o, "allowed", json_integer(x->allowed));
    for (size_t i = 0; i < x->left_out.n; i++)
        json_array_append_new(left_out, json_text(x->left_out.v[i]));
    json_object_set_new(o, "left-out", left_out);
    if (x->unknown.kind)
        json_object_set_new(o, "error", json_text(x->unknown.text));
    return o;
}

int cmd_at_risk(struct env *env, const struct args *a, struct err *e)
{
    _cleanup_(jobs_release) struct jobs jobs = {0};
    _cleanup_(risks_release) struct risks r = {0};
    if (env_members_with_us(env, e) < 0 || load_jobs_repaired(env, &jobs, e) < 0 ||
        look(env, &jobs, a->value[P_GUEST].integer, &r, e) < 0)
        return -1;
    json_t *list = args_want_json(a) ? json_array() : NULL;
    if (!list)
        printf("%-10s %-10s %-20s %20s %8s %8s %s\n", "Guest", "JobID", "Target", "Newest", "Age", "Allowed",
               "State");
    for (size_t i = 0; i < r.n; i++)
        if (list)
            json_array_append_new(list, risk_json(&r.v[i], r.now));
        else
            print_risk(&r.v[i], r.now);
    if (list)
        json_put(list, false);
    return tell_orphans(env, &jobs, e);
}
