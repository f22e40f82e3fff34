/* metrics: how this node's jobs are doing, as figures (BEHAVIOUR.md#metrics). Takes no lock and changes
 * nothing: it is called each few seconds. */
#include "cli/commands.h"

#include "base/clock.h"
#include "cli/lines.h"
#include "cli/load.h"
#include "view/metrics.h"

#include <stdio.h>

struct figures {
    struct metrics_job *v;
    size_t n;
    bool counted;
};

static void figures_release(struct figures *f)
{
    for (size_t i = 0; i < f->n; i++)
        job_view_release(&f->v[i].view);
    free(f->v);
}

static void look_at_jobs(struct env *env, const struct jobs *jobs, const struct job_states *states,
                         int64_t now, struct figures *f)
{
    size_t all = jobs->n + jobs->n_unread;
    f->v = xcalloc(all + 1, sizeof *f->v);
    for (size_t i = 0; i < all; i++) {
        const struct job *job = i < jobs->n ? &jobs->v[i] : &jobs->unread[i - jobs->n];
        struct job_view *view = &f->v[f->n].view;
        if (!job_view_init(view, job, env->settings.node, &env->guests))
            continue;
        job_view_look(view, &env->members, states, jobs->written, now);
        f->n++;
    }
}

/* Without a journal all else is known still. */
static void count_runs(struct env *env, int64_t now, struct figures *f)
{
    struct err e = {0};
    _cleanup_(run_totals_freep) struct run_totals_reader *r = run_totals_open(env->settings.state_dir, &e);
    f->counted = r != NULL;
    for (size_t i = 0; i < f->n && f->counted; i++)
        f->counted =
            run_totals_get(r, f->v[i].view.job->id, now - METRICS_RUNS_SECONDS, &f->v[i].runs, &e) == 0;
    if (!f->counted)
        put_line(stderr, "warning: runs are not counted: %s", e.text);
}

int cmd_metrics(struct env *env, const struct args *a, struct err *e)
{
    _cleanup_(jobs_release) struct jobs jobs = {0};
    _cleanup_(figures_release) struct figures f = {0};
    _cleanup_buf_ struct buf text = BUF_INIT;
    if (env_members_with_us(env, e) < 0 || load_jobs(env, &jobs, e) < 0 || env_guests(env, e) < 0)
        return -1;
    struct job_states *states = job_states_load(env->settings.state_dir, e);
    if (!states)
        return -1;
    int64_t now = clock_epoch();
    look_at_jobs(env, &jobs, states, now, &f);
    job_states_free(states);
    count_runs(env, now, &f);
    metrics_print_jobs(f.v, f.n, env->settings.node, f.counted, now, &text);
    metrics_print_end(&text);
    fwrite(buf_str(&text), 1, text.len, stdout);
    return tell_orphans(env, &jobs, e);
}
