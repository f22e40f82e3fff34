#include "run/recover/failover.h"

#include "base/lock.h"
#include "base/mem.h"
#include "conf/storagemap.h"
#include "guest/runtime.h"
#include "run/intent.h"
#include "run/left-out.h"
#include "run/recover/instant.h"
#include "run/recover/settle.h"
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
    struct strv named;    /* as the configuration names them, when they were looked at */
    struct strv volids;   /* on this node, of all volumes */
    struct strv from, to; /* those that change */
};

/* ---- which volumes ---- */

/* True: the volume is on this node, or (`replica`) a run made it there. *point: the name of the restore point
 * that it shows, or "". False: it is not, and *e says what was found out. */
static bool is_here(struct failover *f, const char *volid, bool replica, char point[SNAPSHOT_NAME_MAX + 1],
                    struct err *e)
{
    struct env_volume v;
    struct volume_info info;
    struct snapshots all = {0};
    char owner[32] = "", base[SNAPSHOT_ID_LEN + 1] = "";
    *point = 0;
    if (env_volume_open(f->env, volid, f->guest.id, &v, e) < 0)
        return false;
    /* a commit may have been cut */
    int r = volume_tidy(v.volume, e) < 0 ? -1 : volume_info(v.volume, &info, e);
    if (r == 0 && !info.exists)
        err_set(e, ERR_GONE, 0, "no such volume '%s' on node '%s'", volid, f->env->settings.node);
    bool there = r == 0 && info.exists;
    if (there && (volume_replica(v.volume, owner, base, e) < 0 || volume_snapshots(v.volume, &all, e) < 0))
        there = false;
    if (there && replica && !*owner && !*base) { /* one whose storage was moved has the latter */
        err_set(e, ERR_DATA, 0, "volume '%s' was never received on this node", volid);
        there = false;
    }
    const struct snapshot *s = there && *base ? snapshots_find_id(&all, base) : NULL;
    if (s)
        strcpy(point, s->name);
    snapshots_release(&all);
    env_volume_close(&v);
    return there;
}

static char *by_map_of(struct failover *f, const struct job *job, const char *volid, struct err *e)
{
    _cleanup_storagemap_ struct storagemap map = {0};
    if (storagemap_parse(job->target_storage, &map, e) < 0) {
        err_wrap(e, "target-storage of job '%s'", job->id);
        return NULL;
    }
    return storagemap_volid(&map, &f->env->storages, volid, e);
}

static bool leads_here(const struct failover *f, const struct job *job)
{
    const char *node = f->env->settings.node;
    return job->guest == f->guest.id && job->remove != REMOVE_FULL &&
           (strcmp(job->target, node) == 0 || (f->here && job->source && strcmp(job->source, node) == 0));
}

/* The replica of a volume, by the job to this node. malloc'ed. */
static char *replica_of(struct failover *f, const char *volid, char point[SNAPSHOT_NAME_MAX + 1],
                        struct err *e)
{
    for (size_t i = 0; i < f->jobs.n; i++) {
        if (!leads_here(f, &f->jobs.v[i]))
            continue;
        _cleanup_free_ char *there = by_map_of(f, &f->jobs.v[i], volid, e);
        if (there && is_here(f, there, true, point, e))
            return take_ptr(there);
    }
    return NULL;
}

/* Is it here by its own name? Whoever moved the configuration may have named the volumes already; and until
 * the first run after a change of the job's map, the replica is where it was before. */
static bool stays(struct failover *f, const char *volid, char point[SNAPSHOT_NAME_MAX + 1])
{
    struct err ignored;
    return is_here(f, volid, !f->here, point, &ignored);
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

static int check_disk(struct failover *f, const char *volid, struct err *e)
{
    struct env_volume v;
    if (env_volume_open(f->env, volid, f->guest.id, &v, e) < 0)
        return -1;
    int r = check_not_its_own(f, v.volume, volid, e) < 0 ? -1 : volume_writable(v.volume, e);
    env_volume_close(&v);
    return r;
}

static int resolve(struct failover *f, const char *volid, struct err *e)
{
    char point[SNAPSHOT_NAME_MAX + 1];
    _cleanup_free_ char *there =
        f->here && stays(f, volid, point) ? xstrdup(volid) : replica_of(f, volid, point, e);
    if (!there && !f->here && stays(f, volid, point))
        there = xstrdup(volid);
    if (!there)
        return err_wrap(e, "volume '%s' has no replica on this node, nothing was changed", volid);
    if (check_disk(f, there, e) < 0)
        return err_wrap(e, "nothing was changed");
    bool renamed = strcmp(there, volid) != 0;
    buf_addf(f->out, "%s%s%s%s%s\n", volid, renamed ? " -> " : "", renamed ? there : "",
             *point ? ", at " : "", point);
    strv_add(&f->volids, there);
    if (renamed) {
        strv_add(&f->from, volid);
        strv_add(&f->to, there);
    }
    return 0;
}

static int list_volumes(struct failover *f, struct strv *ret, struct err *problem, struct err *e)
{
    _cleanup_(guest_config_freep) struct guest_config *config = env_guest_config(f->env, &f->guest, e);
    if (!config || guest_config_whole(config, e) < 0)
        return -1;
    if (env_guest_volumes(f->env, config, VOLUMES_STRICT, ret, problem) == 0)
        return 0;
    strv_release(ret);
    return env_guest_volumes(f->env, config, VOLUMES_LENIENT, ret, e);
}

static int resolve_all(struct failover *f, struct err *e)
{
    struct err problem = {0};
    if (list_volumes(f, &f->named, &problem, e) < 0)
        return -1;
    if (problem.kind != ERR_NONE)
        buf_addf(f->out, "note: %s\n", problem.text);
    for (size_t i = 0; i < f->named.n; i++)
        if (resolve(f, f->named.v[i], e) < 0)
            return -1;
    return 0;
}

/* It may have been edited since: a disk that came meanwhile has no replica that anybody looked at. */
static int same_volumes(struct failover *f, struct err *e)
{
    struct err ignored = {0};
    _cleanup_strv_ struct strv now = STRV_INIT;
    if (list_volumes(f, &now, &ignored, e) < 0)
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

/* Another job of the guest finds its replicas only under the names that its own map gives the new volids. */
static void note_other_jobs(struct failover *f)
{
    for (size_t i = 0; i < f->jobs.n; i++) {
        const struct job *job = &f->jobs.v[i];
        if (job->guest != f->guest.id || leads_here(f, job) || job->remove != REMOVE_NOT)
            continue;
        for (size_t k = 0; k < f->from.n; k++) {
            struct err ignored;
            _cleanup_free_ char *before = by_map_of(f, job, f->from.v[k], &ignored);
            _cleanup_free_ char *after = by_map_of(f, job, f->to.v[k], &ignored);
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
    note_other_jobs(f);
    return 0;
}

/* ---- one instant ---- */

/* Where the guest is on this node already, it may have run here: then its disks are what it wrote, whichever
 * snapshots there are of that. Not so in the middle of a commit: that was never one instant. */
static int lives_here(const struct failover *f, const struct instants *all, struct err *e)
{
    _cleanup_intent_ struct intent cut = {0};
    bool written = false;
    for (size_t k = 0; k < all->n; k++)
        written = written || all->v[k].written || !all->v[k].shown;
    return f->here && written ? intent_load(f->env, f->guest.id, &cut, e) : 0;
}

/* Whatever can be found out of disks that are taken as they are is told. */
static int take_as_is(struct failover *f, struct err *e)
{
    _cleanup_instants_ struct instants all = {0};
    struct err problem = {0};
    if (instants_look(f->env, &f->volids, f->guest.id, &all, &problem) < 0)
        buf_addf(f->out, "note: %s\n", problem.text);
    instants_tell_written(&all, f->out);
    return f->options->dry_run || intent_forget(f->env, f->guest.id, e) >= 0 ? 0 : -1;
}

static int stay(struct failover *f, const struct instants *all, struct err *e)
{
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

static int align_disks(struct failover *f, struct err *e)
{
    _cleanup_instants_ struct instants all = {0};
    if (f->options->as_is)
        return take_as_is(f, e);
    if (instants_look(f->env, &f->volids, f->guest.id, &all, e) < 0)
        return -1;
    int lives = lives_here(f, &all, e);
    if (lives != 0)
        return lives < 0 ? -1 : stay(f, &all, e);
    int r = instants_choose(&all, f->guest.id, f->options->point, e);
    if (r > 0)
        instants_tell(&all, f->out);
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

static int tell_snapshots_of(struct failover *f, const struct guest_config *config, size_t i, struct err *e)
{
    struct env_volume v;
    _cleanup_snapshots_ struct snapshots all = {0};
    const struct strv *names = guest_config_snapshots(config);
    if (env_volume_open(f->env, f->volids.v[i], f->guest.id, &v, e) < 0)
        return -1;
    int r = volume_snapshots(v.volume, &all, e);
    for (size_t k = 0; r == 0 && k < names->n; k++) {
        const char *wrong = what_is_wrong(snapshots_find(&all, names->v[k]));
        if (wrong && guest_config_snapshot_has(config, names->v[k], f->named.v[i]))
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
    _cleanup_(guest_config_freep) struct guest_config *config = NULL;
    if (f->here)
        return;
    config = env_guest_config(f->env, &f->guest, &problem);
    int r = config ? 0 : -1;
    for (size_t i = 0; r == 0 && i < f->volids.n; i++)
        r = tell_snapshots_of(f, config, i, &problem);
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
                        "a run of another node is writing to the replicas of guest %" PRIu32
                        " on this one; if that node is dead, it ends within minutes",
                        guest);
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
    jobs_release(&f.jobs);
    strv_release(&f.named);
    strv_release(&f.volids);
    strv_release(&f.from);
    strv_release(&f.to);
    return r;
}
