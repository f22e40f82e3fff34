#include "run/run.h"

#include "base/clock.h"
#include "base/lock.h"
#include "base/mem.h"
#include "base/proc.h"
#include "guest/runtime.h"
#include "run/intent.h"
#include "run/source/sync.h"
#include "state/joblog.h"
#include "state/jobstate.h"
#include "state/journal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* A stock pvesr serialises its runs by this lock. We hold it shared: our runs go on in parallel, a stock pass
 * waits. */
#define STOCK_LOCK "pvesr.lck"
#define STOCK_LOCK_SECONDS 60
#define GUEST_LOCK_SECONDS 2
#define AGENT_LOCK_SECONDS 10

/* Everything that is recorded about one run. */
struct run {
    struct env *env;
    const struct run_options *options;
    struct job job;
    struct strv siblings; /* of the guest's other jobs: the names of their last acknowledged snapshots */
    struct guest_entry guest;
    int64_t start;
    double began;
    struct job_state state;
    struct job_state before; /* for a run that is postponed: as if it had not been */
    struct joblog *log;
    struct journal *journal; /* NULL: history is not kept, the run goes on */
    struct journal_run row;
    struct steps steps;
};

/* The names of the last acknowledged snapshots of the guest's other jobs. */
static void find_siblings(const struct jobs *jobs, const struct job *job, const struct job_states *states,
                          struct strv *ret)
{
    size_t end;
    strv_release(ret);
    for (size_t i = jobs_of_guest(jobs, job->guest, &end); i < end; i++) {
        const struct job *other = &jobs->v[i];
        if (strcmp(other->id, job->id) == 0 || other->remove != REMOVE_NOT)
            continue;
        struct job_state state = {0};
        job_states_get_of(states, other->guest, other->target, other->id, &state);
        strv_addf(ret, "__replicate_%s_%" PRId64 "__", other->id, state.last_sync);
        job_state_release(&state);
    }
    for (size_t i = 0; i < jobs->n_unread; i++) /* whatever it has is needed when it can be read again */
        if (jobs->unread[i].guest == job->guest)
            strv_addf(ret, "__replicate_%s_0__", jobs->unread[i].id);
}

/* What the tree says of the job now. */
static const struct job *find_job(struct env *env, const char *job_id, struct err *e)
{
    struct job_id id;
    if ((job_id_read(job_id, &id) && env_guest_again(env, id.guest, e) < 0) || env_jobs_repaired(env, e) < 0)
        return NULL;
    const struct job *job = jobs_find(&env->jobs.jobs, job_id);
    if (!job)
        jobs_no_such(&env->jobs.jobs, "job", job_id, e);
    return job;
}

/* The same, and the states of its guest. */
static int find_job_and_states(struct env *env, const char *job_id, struct job *ret, struct strv *siblings,
                               struct job_states **states, struct err *e)
{
    const struct job *job = find_job(env, job_id, e);
    if (!job || !(*states = job_states_load_guest(env->settings.state_dir, job->guest, e)))
        return -1;
    find_siblings(&env->jobs.jobs, job, *states, siblings);
    job_copy(ret, job);
    return 0;
}

int run_find_job(struct env *env, const char *job_id, struct job *ret, struct strv *siblings, struct err *e)
{
    struct job_states *states;
    if (find_job_and_states(env, job_id, ret, siblings, &states, e) < 0)
        return -1;
    job_states_free(states);
    return 0;
}

int run_check_job(struct env *env, const struct job *job, struct guest_entry *guest, struct err *e)
{
    bool removal = job->remove != REMOVE_NOT;
    const char *node = env->settings.node;
    if (job->disabled && !removal)
        return err_set(e, ERR_CONFIG, 0, "job '%s' is disabled: enable it with 'pvesr enable %s'", job->id,
                       job->id);
    if (job->fault && (!removal || job->unturned))
        return err_set(e, ERR_CONFIG, 0, "job '%s' cannot run: %s", job->id, job->fault);
    const struct guest_entry *g = env_guest(env, job->guest, e);
    if (!g)
        return -1;
    if (strcmp(g->node, node) != 0)
        return err_set(e, ERR_CONFIG, 0,
                       "guest '%" PRIu32 "' is not on local node: it is on '%s', where its jobs run",
                       job->guest, g->node);
    if (strcmp(job->target, node) == 0 && !removal)
        return err_set(e, ERR_CONFIG, 0, "unable to sync to local node");
    *guest = *g;
    return 0;
}

/* The job as it is now, whether it may run here now, and how its last run ended. */
static int look_up(struct run *r, const char *job_id, struct err *e)
{
    struct job_states *states;
    if (find_job_and_states(r->env, job_id, &r->job, &r->siblings, &states, e) < 0)
        return -1;
    if (run_check_job(r->env, &r->job, &r->guest, e) == 0) {
        job_states_get_of(states, r->job.guest, r->job.target, r->job.id, &r->state);
        job_states_get_of(states, r->job.guest, r->job.target, r->job.id, &r->before);
        job_states_free(states);
        return 0;
    }
    job_states_free(states);
    job_release(&r->job);
    return -1;
}

/* Whose locks are to be taken, where it looks as if it may run; *target malloc'ed. */
static int look_first(struct run *r, const char *job_id, uint32_t *guest, char **target, struct err *e)
{
    const struct job *job = find_job(r->env, job_id, e);
    if (!job || run_check_job(r->env, job, &r->guest, e) < 0)
        return -1;
    *guest = job->guest;
    *target = xstrdup(job->target);
    return 0;
}

const struct member *run_find_target(struct env *env, const struct job *job, struct err *e)
{
    if (env_members(env, e) < 0)
        return NULL;
    const struct member *m = members_find(&env->members, job->target);
    if (!m)
        err_set(e, ERR_CONFIG, 0,
                "target node '%s' is not in the cluster: add it to nodes.cfg or remove the job with "
                "'pvesr delete %s --force'",
                job->target, job->id);
    return m;
}

/* NULL where it is not asked: it is this node, or the job goes without it. */
static int target_of(struct env *env, const struct job *job, const struct member **ret, struct err *e)
{
    bool far = strcmp(job->target, env->settings.node) != 0 && job->remove != REMOVE_LOCAL;
    *ret = far ? run_find_target(env, job, e) : NULL;
    return far && !*ret ? -1 : 0;
}

/* Snapshot names carry the start's second, so the next one is worth waiting for. A last sync that lies
 * further ahead is of another clock, and orders nothing (BEHAVIOUR.md#frame-of-a-run). */
static void await_start(struct run *r)
{
    while (r->start <= r->state.last_sync && r->state.last_sync - r->start < 2)
        r->start = clock_next_second();
}

static void tell_other_clock(const struct run *r)
{
    char last[32];
    if (r->start > r->state.last_sync)
        return;
    clock_print_log(r->state.last_sync, last);
    _cleanup_free_ char *text =
        xasprintf("WARNING: the last sync began at %s by the clock of this node, which is still to come: the "
                  "clock was ahead then, or is behind now",
                  last);
    joblog_add(r->log, "%s", text);
    fprintf(stderr, "%s: %s\n", r->job.id, text);
}

static void begin_journal(struct run *r)
{
    struct err problem = {0};
    r->row = (struct journal_run){.start = r->start, .duration = -1};
    snprintf(r->row.job, sizeof r->row.job, "%s", r->job.id);
    snprintf(r->row.node, sizeof r->row.node, "%s", r->env->settings.node);
    snprintf(r->row.target, sizeof r->row.target, "%s", r->job.target);
    r->journal = journal_open(r->env->settings.state_dir, &problem);
    if (!r->journal || journal_begin(r->journal, &r->row, &problem) < 0)
        joblog_add(r->log, "history is not kept: %s", problem.text);
}

/* A storage that does not answer keeps a run from saying anything, so this is said first: whose places it
 * takes (state/slots.h). As far as it can be told; what is wrong with the guest is told when it is looked at.
 */
static void note_sources(struct run *r)
{
    struct err ignored;
    _cleanup_strv_ struct strv volids = STRV_INIT;
    struct guest_config *g = env_guest_config(r->env, &r->guest, &ignored);
    if (g && env_guest_volumes(r->env, g, VOLUMES_LENIENT, &volids, &ignored) == 0)
        strv_release(&r->state.sources);
    for (size_t i = 0; i < volids.n; i++) {
        _cleanup_free_ char *storage = NULL, *name = NULL;
        if (volid_split(volids.v[i], &storage, &name, &ignored) == 0)
            strv_add_once(&r->state.sources, storage);
    }
    guest_config_free(g);
}

static int begin(struct run *r, struct err *e)
{
    const struct settings *set = &r->env->settings;
    job_state_count_lost(&r->state);
    job_state_count_lost(&r->before);
    r->state.pid = getpid();
    r->state.ptime = proc_start_time(getpid());
    r->state.last_try = r->start;
    r->state.last_iteration = r->options->iteration ? r->options->iteration : r->start;
    free(r->state.last_node);
    r->state.last_node = xstrdup(set->node);
    free(r->state.job);
    r->state.job = xstrdup(r->job.id);
    note_sources(r);
    if (job_state_store(set->state_dir, r->job.guest, r->job.target, &r->state, e) < 0)
        return -1;
    struct err ignored;
    r->log = joblog_open(set->log_dir, r->job.id, r->options->verbose, &ignored);
    joblog_add(r->log, "start replication job");
    begin_journal(r);
    return 0;
}

static void end_journal(struct run *r, int result, const struct err *failure)
{
    if (!r->journal)
        return;
    struct err problem = {0};
    _cleanup_free_ char *steps = steps_finish(&r->steps);
    bool removed = r->job.remove != REMOVE_NOT;
    snprintf(r->row.result, sizeof r->row.result, "%s",
             result < 0 ? (failure->kind == ERR_BUSY ? "postponed" : "failed")
                        : (removed ? "removed" : "ok"));
    if (result < 0) {
        snprintf(r->row.err_kind, sizeof r->row.err_kind, "%s", err_kind_name(failure->kind));
        r->row.error = (char *)failure->text;
    }
    r->row.duration = r->state.duration;
    r->row.steps = steps;
    r->row.log = (char *)joblog_text(r->log);
    int64_t before = r->start - (int64_t)r->env->settings.history_days * 86400;
    if (journal_end(r->journal, &r->row, &problem) < 0 ||
        journal_prune(r->journal, r->job.id, before, &problem) < 0)
        fprintf(stderr, "history is not kept: %s\n", problem.text);
}

static void state_after(struct run *r, int result, const struct err *failure)
{
    struct job_state *s = &r->state;
    s->pid = 0;
    s->ptime = 0;
    s->duration = (double)(int64_t)((clock_mono() - r->began) * 1e6) / 1e6; /* no digits that mean nothing */
    free(s->error);
    s->error = result < 0 ? xstrdup(failure->text) : NULL;
    s->fail_count = result < 0 ? s->fail_count + 1 : 0;
    free(s->postponed);
    s->postponed = NULL;
    s->postponements = 0;
    if (result == 0) {
        free(s->keep);
        s->keep = r->job.keep ? xstrdup(r->job.keep) : NULL;
    }
}

/* The target is at work for this guest, or a lock is held there: no failure of this job, it stays due. Of the
 * run only what the next one needs to know is kept, and why it was. */
static void state_postponed(struct run *r, const char *why)
{
    struct strv first_copies = r->state.first_copies;
    r->state.first_copies = r->before.first_copies;
    r->before.first_copies = first_copies;
    job_state_release(&r->state);
    r->state = r->before;
    r->before = (struct job_state){.duration = -1};
    r->state.pid = 0;
    r->state.ptime = 0;
    free(r->state.postponed);
    r->state.postponed = xstrdup(why);
    r->state.postponements++;
}

/* Whoever removed the job meanwhile, or made it anew, took its state away: that stays away. */
static int store_state(struct run *r, bool gone, struct err *e)
{
    const char *dir = r->env->settings.state_dir;
    return gone ? job_state_remove(dir, r->job.guest, r->job.target, e)
                : job_state_renew(dir, r->job.guest, r->job.target, &r->state, e);
}

/* Record the end. A run that succeeded stays a success only if that could be written down. */
static int end(struct run *r, int result, struct err *e)
{
    bool postponed = result < 0 && e->kind == ERR_BUSY;
    bool removed = result == 0 && r->job.remove != REMOVE_NOT;
    state_after(r, result, e);
    joblog_add(r->log, "%s%s%s", postponed ? "replication job postponed" : "end replication job",
               result == 0 ? ""
               : postponed ? ": "
                           : " with error: ",
               result == 0 ? "" : e->text);
    end_journal(r, result, e);
    if (postponed)
        state_postponed(r, e->text);
    if (joblog_failure(r->log))
        fprintf(stderr, "the log of job '%s' is not kept: %s\n", r->job.id, joblog_failure(r->log));
    struct err problem = {0};
    if (store_state(r, removed, &problem) == 0)
        return result;
    if (result < 0)
        return err_wrap(e, "the run failed, and that cannot be recorded (%s)", problem.text);
    *e = problem;
    return err_wrap(e, "the run succeeded but its end cannot be recorded");
}

/* This node may have been the target when its last commit was cut. */
static int settle_own(struct run *r, struct err *e)
{
    return intent_settle_own(r->env, r->job.guest, guest_running(r->guest.type, r->guest.id), e);
}

static int work(struct run *r, struct err *e)
{
    bool removal = r->job.remove != REMOVE_NOT;
    const struct member *target;
    if (target_of(r->env, &r->job, &target, e) < 0)
        return -1;
    struct sync s = {.env = r->env,
                     .job = &r->job,
                     .guest = &r->guest,
                     .target = target,
                     .start = r->start,
                     .siblings = &r->siblings,
                     .state = &r->state,
                     .log = r->log,
                     .steps = &r->steps,
                     .terminal = r->options->progress,
                     .resync = r->options->resync,
                     .checks = true,
                     .locked = true};
    int result;
    if (removal)
        result = sync_remove(&s, e);
    else if (settle_own(r, e) < 0 || sync_look(&s, e) < 0 || sync_ask(&s, e) < 0 || sync_plan(&s, e) < 0)
        result = -1;
    else
        result = sync_carry_out(&s, e);
    if (s.connected)
        r->row.bytes = channel_sent(s.peer.link.channel);
    r->row.delta = s.delta;
    if (s.connected && s.peer.opened) {
        strv_release(&r->state.kept_aside);
        r->state.kept_aside = s.peer.kept;
        s.peer.kept = (struct strv)STRV_INIT;
    }
    steps_enter(&r->steps, "close");
    if (s.connected)
        peer_close(&s.peer, e);
    s.connected = false;
    sync_release(&s);
    return result;
}

static int run_locked(struct run *r, struct err *e)
{
    r->began = clock_mono();
    steps_enter(&r->steps, "begin");
    int result = begin(r, e);
    if (result == 0) {
        if (r->job.remove == REMOVE_NOT) {
            await_start(r);
            tell_other_clock(r);
        }
        result = end(r, work(r, e), e);
    }
    journal_free(r->journal);
    joblog_free(r->log);
    job_state_release(&r->state);
    job_state_release(&r->before);
    return result;
}

static struct lock *take_stock_lock(struct env *env, struct err *e)
{
    bool stock = strcmp(env->settings.lock_dir, "/var/lock/pve-manager") == 0;
    _cleanup_free_ char *path = xasprintf("%s/" STOCK_LOCK, stock ? "/var/lock" : env->settings.lock_dir);
    return lock_take(path, false, STOCK_LOCK_SECONDS, false, e);
}

/* Whatever keeps a run from beginning is to be seen in `status`, for it may do so for ever. A job that is not
 * to run here has no state to be changed; who is not root cannot, and is told so already. */
static void note_postponed(const struct run *r, uint32_t guest, const char *target, const struct err *why)
{
    struct err problem = {0};
    if (geteuid() == 0 && why->kind != ERR_CONFIG && why->kind != ERR_GONE &&
        job_state_postpone(r->env->settings.state_dir, guest, target, why->text, &problem) < 0)
        fprintf(stderr, "that the run was postponed is not recorded: %s\n", problem.text);
}

/* What changes the guest's volumes elsewhere than in a run holds its agent lock alone (env_hold): a failover
 * or doctor that was killed may have left something at work. */
static int await_changes(struct env *env, uint32_t guest, struct err *e)
{
    _cleanup_free_ char *path = env_agent_lock_path(env, guest);
    struct lock *lock = lock_take(path, true, AGENT_LOCK_SECONDS, false, e);
    lock_free(lock);
    return lock ? 0 : -1;
}

/* While we wait for the locks, the guest may move and the job may be changed: it is looked up again. */
static int lock_and_run(struct run *r, const char *job_id, struct err *e)
{
    _cleanup_(lock_freep) struct lock *stock = NULL;
    _cleanup_(lock_freep) struct lock *guest = NULL;
    _cleanup_free_ char *target = NULL;
    uint32_t id;
    if (look_first(r, job_id, &id, &target, e) < 0)
        return -1;
    _cleanup_free_ char *path = env_guest_lock_path(r->env, id);
    stock = take_stock_lock(r->env, e);
    guest = stock ? lock_take(path, true, GUEST_LOCK_SECONDS, false, e) : NULL;
    if (!guest || await_changes(r->env, id, e) < 0 || tree_check_quorum(r->env->tree, e) < 0 ||
        look_up(r, job_id, e) < 0) {
        note_postponed(r, id, target, e);
        return -1;
    }
    r->start = clock_epoch();
    env_hold(r->env, guest);
    int result = run_locked(r, e);
    env_hold(r->env, NULL);
    job_release(&r->job);
    return result;
}

int run_job(struct env *env, const char *job_id, const struct run_options *o, struct err *e)
{
    struct run r = {.env = env, .options = o};
    int result = lock_and_run(&r, job_id, e);
    strv_release(&r.siblings);
    return result;
}

/* ---- plan ---- */

static int tell(struct sync *s, struct buf *out, struct err *e)
{
    int r;
    if (s->job->remove != REMOVE_NOT)
        r = sync_tell_removal(s, out, e);
    else if ((r = sync_look(s, e) < 0 || sync_ask(s, e) < 0 || sync_plan(s, e) < 0 ? -1 : 0) == 0)
        sync_tell_plan(s, out);
    if (s->connected)
        peer_close(&s->peer, e);
    s->connected = false;
    return r;
}

/* When a run would begin (await_start): a plan waits for nothing. */
static int64_t next_start(const struct job_state *state)
{
    int64_t now = clock_epoch(), last = state->last_sync;
    return now <= last && last - now < 2 ? last + 1 : now;
}

int run_plan(struct env *env, const char *job_id, struct buf *out, struct err *e)
{
    struct job job;
    struct guest_entry guest;
    struct job_state state = {0};
    struct job_states *states;
    struct steps steps = {0};
    _cleanup_strv_ struct strv siblings = STRV_INIT;
    if (find_job_and_states(env, job_id, &job, &siblings, &states, e) < 0)
        return -1;
    job_states_get_of(states, job.guest, job.target, job.id, &state);
    job_states_free(states);
    const struct member *target;
    int result = run_check_job(env, &job, &guest, e);
    if (result == 0)
        result = target_of(env, &job, &target, e);
    if (result == 0) {
        struct sync s = {.env = env,
                         .job = &job,
                         .guest = &guest,
                         .target = target,
                         .start = next_start(&state),
                         .siblings = &siblings,
                         .state = &state,
                         .checks = true,
                         .steps = &steps};
        result = tell(&s, out, e);
        sync_release(&s);
    }
    job_state_release(&state);
    job_release(&job);
    return result;
}
