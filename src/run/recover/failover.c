#include "run/recover/failover.h"

#include "base/lock.h"
#include "base/mem.h"
#include "guest/runtime.h"
#include "run/intent.h"
#include "run/left-out.h"
#include "run/recover/instant.h"
#include "run/recover/settle.h"
#include "run/recover/whereabouts.h"
#include "run/snapshot.h"
#include "state/jobstate.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define LOCK_SECONDS 10

void failover_result_release(struct failover_result *r)
{
    buf_release(&r->said);
}

struct failover {
    struct env *env;
    const struct failover_options *options;
    struct buf *out; /* result->said */
    struct failover_result *result;
    struct guest_entry guest; /* where it is before */
    bool here;                /* that is this node */
    struct jobs jobs;
    struct guest_config *config; /* when its volumes were looked at… */
    struct strv named;           /* …and as it names them */
    /* On this node, of all volumes that are here, and what the configuration calls them; from `needed` on
     * those without which the guest starts. */
    struct strv volids, called;
    size_t needed, own;   /* own: so many of those needed are no replicas, but the guest's disks of before */
    struct strv from, to; /* those that change */
};

/* ---- which volumes ---- */

static struct where_ask ask_where(const struct failover *f)
{
    return (struct where_ask){.env = f->env,
                              .guest = f->guest,
                              .here = f->here,
                              .as_is = f->options->as_is,
                              .point = f->options->point,
                              .jobs = &f->jobs,
                              .config = f->config,
                              .named = &f->named};
}

static bool leads_here(const struct failover *f, const struct job *job)
{
    const struct where_ask ask = ask_where(f);
    return where_job_leads(&ask, job);
}

/* What the guest's node was sent while it was a target is the guest's disk now, wherever it is seen. */
static int check_not_its_own(struct failover *f, struct volume *v, const char *volid, struct err *e)
{
    char keeper[VOLUME_KEEPER_MAX + 1];
    if (f->here || f->options->as_is)
        return 0;
    if (volume_keeper(v, keeper, e) < 0)
        return -1;
    if (strcmp(keeper, f->guest.node) != 0)
        return 0;
    return err_set(e, ERR_CONFIG, 0,
                   "volume '%s' is no replica, but the disk that guest %" PRIu32
                   " has on node '%s', and both "
                   "nodes see the storage: mark it 'shared 1' in storage.cfg and move the guest's "
                   "configuration, or give each node a place of its own; --as-is takes it as it is",
                   volid, f->guest.id, f->guest.node);
}

/* needed: the guest writes to it. */
static int check_disk(struct failover *f, const char *volid, bool needed, struct err *e)
{
    struct env_volume v;
    if (env_volume_open(f->env, volid, f->guest.id, &v, e) < 0)
        return -1;
    int r = check_not_its_own(f, v.volume, volid, e);
    if (r == 0 && needed)
        r = volume_writable(v.volume, e);
    env_volume_close(&v);
    return r;
}

static int refuse_missing(const struct failover *f, const char *volid, const struct err *why, struct err *e)
{
    _cleanup_free_ char *path = guest_config_path(&f->guest);
    if (why->kind == ERR_SYSTEM)
        return err_set(
            e, why->kind, 0,
            "whether volume '%s' has a replica on this node cannot be read, nothing was changed: %s", volid,
            why->text);
    return err_set(e, why->kind, 0,
                   "volume '%s' has no replica on this node, nothing was changed: %s. What came after the "
                   "last run is never here: if the guest can do without it, take it out of '%s/%s', or set "
                   "replicate=0 on it, and repeat this",
                   volid, why->text, tree_root(f->env->tree), path);
}

/* It keeps no guest from starting: what came since the last run is never here. */
static void tell_missing(struct failover *f, const char *volid, const struct err *why)
{
    _cleanup_strv_ struct strv snapshots = STRV_INIT;
    guest_config_snapshots_with(f->config, volid, &snapshots);
    _cleanup_free_ char *names = snapshots.n ? strv_join(&snapshots, "', '") : NULL;
    buf_addf(f->out,
             "WARNING: %s is not here (%s): the guest starts without it, %s%s%s; no run from here goes on "
             "until its configuration names it no more\n",
             volid, why->text, names ? "but cannot go back to its snapshot '" : "which it does not use",
             names ? names : "", names ? "'" : "");
}

static void add_volume(struct failover *f, const char *volid, const struct where *w, bool needed)
{
    bool renamed = strcmp(w->volid, volid) != 0;
    buf_addf(f->out, "%s%s%s%s%s\n", volid, renamed ? " -> " : "", renamed ? w->volid : "",
             *w->point ? ", at " : "", w->point);
    for (size_t i = 0; i < w->notes.n; i++)
        buf_addf(f->out, "note: %s\n", w->notes.v[i]);
    strv_add(&f->volids, w->volid);
    strv_add(&f->called, volid);
    f->needed += needed;
    f->own += needed && w->own;
    if (renamed) {
        strv_add(&f->from, volid);
        strv_add(&f->to, w->volid);
    }
}

static int resolve(struct failover *f, const char *volid, bool needed, struct err *e)
{
    const struct where_ask ask = ask_where(f);
    struct err why = {0};
    _cleanup_(where_release) struct where w = {0};
    if (where_is(&ask, volid, &w, &why) < 0 && needed)
        return refuse_missing(f, volid, &why, e);
    if (!w.volid)
        tell_missing(f, volid, &why);
    else if (check_disk(f, w.volid, needed, e) < 0)
        return err_wrap(e, "nothing was changed");
    else
        add_volume(f, volid, &w, needed);
    return 0;
}

static int list_volumes(struct failover *f, struct guest_config **config, struct strv *ret,
                        struct err *problem, struct err *e)
{
    *config = env_guest_config(f->env, &f->guest, e);
    if (!*config || guest_config_whole(*config, e) < 0)
        return -1;
    if (env_guest_volumes(f->env, *config, VOLUMES_STRICT, ret, problem) == 0)
        return 0;
    strv_release(ret);
    return env_guest_volumes(f->env, *config, VOLUMES_LENIENT, ret, e);
}

static int resolve_all(struct failover *f, struct err *e)
{
    struct err problem = {0};
    if (list_volumes(f, &f->config, &f->named, &problem, e) < 0)
        return -1;
    if (problem.kind != ERR_NONE)
        buf_addf(f->out, "note: %s\n", problem.text);
    for (int needed = 1; needed >= 0; needed--)
        for (size_t i = 0; i < f->named.n; i++)
            if (guest_config_starts_with(f->config, f->named.v[i]) == needed &&
                resolve(f, f->named.v[i], needed, e) < 0)
                return -1;
    return 0;
}

/* It may have been edited since: a disk that came meanwhile has no replica that anybody looked at. */
static int same_volumes(struct failover *f, struct err *e)
{
    struct err ignored = {0};
    _cleanup_strv_ struct strv now = STRV_INIT;
    _cleanup_(guest_config_freep) struct guest_config *config = NULL;
    if (list_volumes(f, &config, &now, &ignored, e) < 0)
        return -1;
    bool same = now.n == f->named.n;
    for (size_t i = 0; same && i < now.n; i++)
        same = strcmp(now.v[i], f->named.v[i]) == 0;
    return same ? 0
                : err_set(e, ERR_BUSY, 0,
                          "the disks of guest %" PRIu32
                          " were changed in its configuration meanwhile: it was not moved, "
                          "repeat this",
                          f->guest.id);
}

/* The first run from here ends it, and what is its on the other node. */
static void note_removals(struct failover *f)
{
    for (size_t i = 0; i < f->jobs.n; i++)
        if (leads_here(f, &f->jobs.v[i]) && f->jobs.v[i].remove != REMOVE_NOT)
            buf_addf(f->out, "note: job '%s' is to be removed%s, which its next run goes on with from here\n",
                     f->jobs.v[i].id, f->jobs.v[i].remove == REMOVE_FULL ? " with its replicas" : "");
}

/* Another job of the guest finds its replicas only under the names that its own map gives the new volids. */
static void note_other_jobs(struct failover *f)
{
    for (size_t i = 0; i < f->jobs.n; i++) {
        const struct job *job = &f->jobs.v[i];
        if (job->guest != f->guest.id || leads_here(f, job) || job->remove != REMOVE_NOT)
            continue;
        for (size_t k = 0; k < f->from.n; k++) {
            struct err ignored;
            _cleanup_free_ char *before = where_by_map(f->env, job, f->from.v[k], &ignored);
            _cleanup_free_ char *after = where_by_map(f->env, job, f->to.v[k], &ignored);
            if (before && after && strcmp(before, after) != 0)
                buf_addf(f->out,
                         "note: on node '%s' the replica of job '%s' is '%s', but the next run begins a new "
                         "one, '%s': see --target-storage\n",
                         job->target, job->id, before, after);
        }
    }
}

/* ---- may it come? ---- */

static int check(struct failover *f, struct err *e)
{
    bool job = false;
    for (size_t i = 0; i < f->jobs.n; i++)
        job = job || leads_here(f, &f->jobs.v[i]);
    if (!job)
        return err_set(e, ERR_CONFIG, 0,
                       "no job replicates guest %" PRIu32 " to node '%s': it has no replicas here",
                       f->guest.id, f->env->settings.node);
    if (f->here)
        return guest_running(f->guest.type, f->guest.id)
                   ? err_set(e, ERR_BUSY, 0,
                             "guest %" PRIu32 " is running on this node: stop it first, then repeat this",
                             f->guest.id)
                   : 0;
    if (env_members(f->env, e) < 0)
        return -1;
    const struct member *m = members_find(&f->env->members, f->guest.node);
    if (m && m->online && !f->options->force && !f->options->dry_run)
        return err_set(e, ERR_USAGE, 0,
                       "node '%s' may be alive: make sure that guest %" PRIu32 " does not run there and will "
                       "not be started, then repeat this with --force",
                       f->guest.node, f->guest.id);
    return 0;
}

static int look_up(struct failover *f, uint32_t guest, struct err *e)
{
    if (env_guests_again(f->env, e) < 0 || env_storages(f->env, e) < 0)
        return -1;
    const struct guest_entry *g = env_guest(f->env, guest, e);
    if (!g || jobs_load(f->env->tree, &f->jobs, e) < 0)
        return -1;
    f->guest = *g;
    snprintf(f->result->from, sizeof f->result->from, "%s", g->node);
    f->here = strcmp(g->node, f->env->settings.node) == 0;
    return check(f, e);
}

/* What remains of a commit that cannot be ended, align_disks finds out. */
static void end_commit(struct failover *f)
{
    struct err problem = {0};
    if (f->options->as_is)
        return;
    if (!f->options->dry_run && settle_guest(f->env, f->guest.id, &problem) < 0)
        buf_addf(f->out, "note: %s\n", problem.text);
}

/* What no run brought here: nothing of it may be shown beside what runs did, and what stays behind is told.
 */
static int look_at_left_out(struct failover *f, struct err *e)
{
    _cleanup_strv_ struct strv shared = STRV_INIT, foreign = STRV_INIT;
    _cleanup_(guest_config_freep) struct guest_config *config = env_guest_config(f->env, &f->guest, e);
    if (!config || (!f->options->as_is && left_out_check_shared(f->env, config, f->guest.id, e) < 0))
        return config ? err_wrap(e, "nothing was changed (--as-is takes the disks as they are)") : -1;
    guest_volumes_left_out(config, &f->env->storages, false, &shared, &foreign);
    for (size_t i = 0; i < foreign.n; i++)
        buf_addf(f->out,
                 "note: '%s' is by its name another guest's: no job of this guest brought it here, and what "
                 "node '%s' has of it stays there\n",
                 foreign.v[i], f->guest.node);
    return 0;
}

static int look(struct failover *f, uint32_t guest, struct err *e)
{
    if (look_up(f, guest, e) < 0 || look_at_left_out(f, e) < 0)
        return -1;
    end_commit(f);
    if (resolve_all(f, e) < 0)
        return -1;
    note_removals(f);
    note_other_jobs(f);
    return 0;
}

/* ---- one instant ---- */

static bool are_own(const struct failover *f)
{
    return !f->here && f->own && f->own == f->needed;
}

static void tell_own(struct failover *f, const struct instants *all)
{
    const char *point = instants_newest(all, f->guest.id);
    buf_addf(f->out,
             "WARNING: these are no replicas, but the disks that guest %" PRIu32
             " had on this node before it went to node '%s', and they stay as it left them: what it wrote on "
             "'%s' since then is not here%s%s\n",
             f->guest.id, f->guest.node, f->guest.node,
             point ? ". --point takes a restore point of the time before instead, the newest is " : "",
             point ? point : "");
}

/* Where the guest is on this node already, it may have run here: then its disks are what it wrote, whichever
 * snapshots there are of that. So are those that it had here before it went to another node: it stopped at
 * one instant, and no restore point is newer. Not so in the middle of a commit: that was never one instant.
 */
static int lives_here(const struct failover *f, const struct instants *all, struct err *e)
{
    _cleanup_intent_ struct intent cut = {0};
    bool written = false;
    for (size_t k = 0; k < all->n; k++)
        written = written || all->v[k].written || !all->v[k].shown;
    bool lives = (f->here && written) || (are_own(f) && !f->options->point);
    return lives ? intent_load(f->env, f->guest.id, &cut, e) : 0;
}

/* Whatever can be found out of disks that are taken as they are is told. */
static int take_as_is(struct failover *f, struct err *e)
{
    _cleanup_instants_ struct instants all = {0};
    struct err problem = {0};
    if (instants_look(f->env, &f->volids, f->needed, f->guest.id, &all, &problem) < 0)
        buf_addf(f->out, "note: %s\n", problem.text);
    instants_tell_written(&all, f->out);
    if (are_own(f))
        tell_own(f, &all);
    return f->options->dry_run || intent_forget(f->env, f->guest.id, e) >= 0 ? 0 : -1;
}

static int stay(struct failover *f, const struct instants *all, struct err *e)
{
    if (are_own(f)) {
        tell_own(f, all);
        return 0;
    }
    if (f->options->point)
        return err_set(e, ERR_USAGE, 0,
                       "guest %" PRIu32 " is on this node already, and its disks are what it "
                       "wrote: --point is for replicas",
                       f->guest.id);
    instants_tell_written(all, f->out);
    return 0;
}

/* Whether they are brought there, or stay. */
static void note_point(struct failover *f, const struct instants *all)
{
    const struct snapshot *s = *all->chosen ? snapshots_find(&all->v[0].snapshots, all->chosen)
                               : all->n     ? all->v[0].shown
                                            : NULL;
    if (!s)
        return;
    int64_t epoch = snapshot_epoch(s->name);
    strcpy(f->result->point, s->name);
    f->result->taken = epoch ? epoch : s->created;
}

/* The guest is here, and its disks are one restore point: a person chose it, maybe, since the newer ones are
 * not to be had. */
static bool stay_shown(struct failover *f, const struct instants *all)
{
    if (!f->here || f->options->point || !all->n || !instants_are_one(all))
        return false;
    const char *newest = instants_newest(all, f->guest.id), *shown = all->v[0].shown->name;
    if (newest && strcmp(newest, shown) != 0)
        buf_addf(f->out,
                 "note: guest %" PRIu32
                 " is on this node already, and its disks stay at restore point %s; --point "
                 "takes another, the newest is %s\n",
                 f->guest.id, shown, newest);
    note_point(f, all);
    return true;
}

static int align_disks(struct failover *f, struct err *e)
{
    _cleanup_instants_ struct instants all = {0};
    if (f->options->as_is)
        return take_as_is(f, e);
    if (instants_look(f->env, &f->volids, f->needed, f->guest.id, &all, e) < 0)
        return -1;
    int lives = lives_here(f, &all, e);
    if (lives != 0)
        return lives < 0 ? -1 : stay(f, &all, e);
    if (stay_shown(f, &all))
        return 0;
    int r = instants_choose(&all, f->guest.id, f->options->point, e);
    if (r > 0)
        instants_tell(&all, f->guest.id, f->out);
    if (r >= 0 || instants_are_one(&all))
        note_point(f, &all);
    if (r > 0 && !f->options->dry_run)
        r = instants_show(f->env, &all, f->guest.id, e);
    if (r >= 0 || f->options->point || !instants_are_one(&all))
        return r < 0 ? -1 : 0;
    buf_addf(f->out, "note: the disks stay as they were, which is of one instant, too: %s\n", e->text);
    return 0;
}

/* What a run could not set is tried again: a dead node's replica is the guest's disk from now on. */
static int set_lacking(struct failover *f, struct err *e)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < f->volids.n; i++) {
        struct env_volume v;
        _cleanup_strv_ struct strv notes = STRV_INIT;
        if (env_volume_open(f->env, f->volids.v[i], f->guest.id, &v, e) < 0)
            return -1;
        r = volume_traits_lacking(v.volume, !f->options->dry_run, &notes, e);
        for (size_t k = 0; k < notes.n; k++)
            buf_addf(f->out, "note: %s: %s\n", f->volids.v[i], notes.v[k]);
        env_volume_close(&v);
    }
    return r;
}

/* ---- the guest's own snapshots ---- */

/* NULL: nothing that can be known here; who made it, is not. */
static const char *what_is_wrong(const struct snapshot *s)
{
    if (!s)
        return "is not here: the guest cannot go back to it";
    if (s->damaged)
        return "was found damaged: do not let the guest go back to it";
    if (s->flags & (SNAPSHOT_CHANGED | SNAPSHOT_STRANGE))
        return "is not what was received (somebody wrote to it, or gave it this name): do not let the guest "
               "go back to it";
    return NULL;
}

static int tell_snapshots_of(struct failover *f, size_t i, struct err *e)
{
    struct env_volume v;
    _cleanup_snapshots_ struct snapshots all = {0};
    const struct strv *names = guest_config_snapshots(f->config);
    if (env_volume_open(f->env, f->volids.v[i], f->guest.id, &v, e) < 0)
        return -1;
    int r = volume_snapshots(v.volume, &all, e);
    for (size_t k = 0; r == 0 && k < names->n; k++) {
        const char *wrong = what_is_wrong(snapshots_find(&all, names->v[k]));
        if (wrong && guest_config_snapshot_has(f->config, names->v[k], f->called.v[i]))
            buf_addf(f->out, "WARNING: %s: the guest's snapshot '%s' %s\n", f->volids.v[i], names->v[k],
                     wrong);
    }
    env_volume_close(&v);
    return r;
}

/* They keep no guest from starting: what was taken since the last run is never here. */
static void tell_snapshots(struct failover *f)
{
    struct err problem = {0};
    int r = 0;
    for (size_t i = 0; r == 0 && !f->here && i < f->volids.n; i++)
        r = tell_snapshots_of(f, i, &problem);
    if (r < 0)
        buf_addf(f->out, "note: whether the guest's snapshots are here cannot be told: %s\n", problem.text);
}

/* ---- do it ---- */

static int move(struct failover *f, struct guest_entry *to, struct err *e)
{
    _cleanup_free_ char *old = guest_config_path(&f->guest);
    snprintf(to->node, sizeof to->node, "%s", f->env->settings.node);
    _cleanup_free_ char *new = guest_config_path(to);
    return f->here ? 0 : tree_rename(f->env->tree, old, new, e);
}

/* The file is read again: it may have been edited until it was moved. */
static int rename_volumes(struct failover *f, const struct guest_entry *g, struct err *e)
{
    _cleanup_free_ char *path = guest_config_path(g);
    _cleanup_buf_ struct buf old = BUF_INIT, new = BUF_INIT;
    int r = tree_read(f->env->tree, path, &old, e);
    if (r != 0)
        return r < 0 ? -1 : err_set(e, ERR_GONE, 0, "'%s' was removed or moved meanwhile", path);
    _cleanup_(guest_config_freep) struct guest_config *c =
        guest_config_parse(path, g->type, g->id, buf_str(&old), old.len);
    guest_config_rename(c, buf_str(&old), old.len, &f->from, &f->to, &new);
    return tree_write(f->env->tree, path, buf_str(&new), new.len, e);
}

/* From when the file is here until its disks have their names no tool of this node may edit it: it would
 * write back what it read before. *ret NULL: there is no such tool. */
static int lock_edits(const struct failover *f, struct lock **ret, struct err *e)
{
    _cleanup_free_ char *path = guest_edit_lock_path(f->guest.type, f->guest.id);
    *ret = path ? lock_take(path, true, LOCK_SECONDS, false, e) : NULL;
    return path && !*ret ? -1 : 0;
}

static int turn_jobs(struct failover *f, const char *node, struct err *e)
{
    struct jobs jobs;
    struct err ignored; /* a state is a hint */
    if (env_guests_again(f->env, e) < 0 ||
        jobs_load_repaired(f->env->tree, &f->env->guests, node, &jobs, e) < 0)
        return -1;
    int r = 0;
    size_t end;
    for (size_t i = jobs_of_guest(&jobs, f->guest.id, &end); r == 0 && i < end; i++)
        if (jobs.v[i].unturned)
            r = err_set(e, ERR_SYSTEM, 0, "job '%s': %s", jobs.v[i].id, jobs.v[i].fault);
    job_states_forget_turned(f->env->settings.state_dir, node, &jobs, &ignored);
    jobs_release(&jobs);
    return r;
}

/* Under the tree's lock: who fails it over elsewhere at the same time finds it here, with its new names. */
static int carry_out(struct failover *f, struct err *e)
{
    struct guest_entry to = f->guest;
    _cleanup_(lock_freep) struct lock *edits = NULL;
    if (lock_edits(f, &edits, e) < 0)
        return -1;
    _cleanup_(tree_unlockp) struct tree_lock *lock = tree_lock(f->env->tree, "replication.cfg", e);
    if (!lock || (!f->here && same_volumes(f, e) < 0) || move(f, &to, e) < 0)
        return -1;
    if (f->from.n && rename_volumes(f, &to, e) < 0)
        return err_wrap(
            e, "the guest is on this node now, but its disks have the names of node '%s'; repeat this",
            f->guest.node);
    buf_addf(f->out, "guest %" PRIu32 " is on node '%s' now\n", f->guest.id, to.node);
    if (turn_jobs(f, to.node, e) < 0)
        return err_wrap(
            e, "the guest is on this node now, but its jobs do not replicate from here yet; repeat this");
    return 0;
}

int run_failover(struct env *env, uint32_t guest, const struct failover_options *o,
                 struct failover_result *ret, struct err *e)
{
    struct failover f = {.env = env, .options = o, .out = &ret->said, .result = ret};
    _cleanup_free_ char *guest_path = env_guest_lock_path(env, guest);
    _cleanup_free_ char *agent_path = env_agent_lock_path(env, guest);
    _cleanup_(lock_freep) struct lock *guest_lock = lock_take(guest_path, true, LOCK_SECONDS, false, e);
    if (!guest_lock)
        return -1;
    _cleanup_(lock_freep) struct lock *agent_lock = lock_take(agent_path, true, LOCK_SECONDS, false, e);
    if (!agent_lock)
        return err_wrap(e,
                        "a run of another node, or what it had started, is writing to the replicas of guest "
                        "%" PRIu32 " on this one; if that node is dead, it ends within minutes",
                        guest);
    env_hold(env, agent_lock);
    int r = o->dry_run ? 0 : tree_check_quorum(env->tree, e);
    if (r == 0)
        r = look(&f, guest, e);
    if (r == 0)
        r = align_disks(&f, e);
    if (r == 0)
        r = set_lacking(&f, e);
    if (r == 0)
        tell_snapshots(&f);
    if (r == 0 && !o->dry_run)
        r = carry_out(&f, e);
    env_hold(env, NULL);
    jobs_release(&f.jobs);
    strv_release(&f.named);
    strv_release(&f.volids);
    strv_release(&f.called);
    guest_config_free(f.config);
    strv_release(&f.from);
    strv_release(&f.to);
    return r;
}
