#include "run/recover/doctor-parts.h"

#include "base/lock.h"
#include "base/mem.h"
#include "guest/config.h"
#include "guest/runtime.h"
#include "run/orphans.h"
#include "run/recover/points.h"
#include "run/recover/settle.h"
#include "run/snapshot.h"

#include <inttypes.h>
#include <string.h>

#define LOCK_SECONDS 10

/* ---- what all of it needs ---- */

void doctor_add(struct doctor *d, enum finding_state state, const char *volid, char *text)
{
    struct findings *f = d->found;
    f->v = xgrow(f->v, f->n, sizeof *f->v);
    f->v[f->n++] = (struct finding){.state = state, .guest = d->guest, .volid = xstrdup(volid), .text = text};
}

enum finding_state doctor_removed(struct doctor *d, const char *volid, int r, const struct err *e)
{
    if (r < 0)
        strv_addf(&d->found->problems, "volume '%s': %s", volid, e->text);
    return r < 0 ? FINDING_LEFT : FINDING_REMOVED;
}

bool doctor_is_freed(struct doctor *d, const char *name)
{
    if (!d->free || !strv_has(d->free, name))
        return false;
    strv_add_once(&d->freed, name);
    return true;
}

char *doctor_free_command(const struct doctor *d, const char *name)
{
    return xasprintf("'pvesr doctor --guest %" PRIu32 " --free %s'", d->guest, name);
}

int doctor_find_place(struct doctor *d, const char *volid, struct volume_place *ret)
{
    struct err ignored;
    struct env_volume v = {0};
    int r = env_volume_open(d->env, volid, d->guest, &v, &ignored) < 0
                ? -1
                : volume_place(v.volume, ret, &ignored);
    env_volume_close(&v);
    return r;
}

/* ---- what it is for ---- */

static bool leads_to(const struct doctor *d, const struct job *job, const char *owner)
{
    const char *node = d->env->settings.node;
    return strcmp(job->target, node) == 0 || strcmp(job->target, owner) == 0 ||
           (job->source && strcmp(job->source, node) == 0);
}

/* Many guests have the same ones. */
static void add_untold(struct doctor *d, const struct strv *from, struct strv *to)
{
    for (size_t i = 0; i < from->n; i++)
        if (lookup_add(&d->told, from->v[i], 0))
            strv_add(to, from->v[i]);
}

/* Where a volume lies whose storage is disabled, or not there, is not known: another entry of storage.cfg may
 * lead to it. */
static bool are_all_found(struct doctor *d)
{
    struct volume_place place;
    for (size_t i = 0; i < d->volids.n; i++)
        if (doctor_find_place(d, d->volids.v[i], &place) < 0)
            return false;
    return true;
}

/* What cannot be read may name anything, and so may a file that lost what it said. */
static void know_volids(struct doctor *d, const struct guest_entry *g)
{
    struct err ignored;
    _cleanup_strv_ struct strv all = STRV_INIT, named = STRV_INIT;
    strv_release(&d->volids);
    strv_release(&d->others);
    struct guest_config *c = g ? env_guest_config(d->env, g, &ignored) : NULL;
    d->readable = !g || (c && guest_config_whole(c, &ignored) == 0 && !guest_config_is_empty(c));
    d->named = c && env_guest_volumes(d->env, c, VOLUMES_LENIENT, &d->volids, &ignored) == 0 &&
               env_guest_volumes(d->env, c, VOLUMES_CLEANUP, &all, &ignored) == 0 && !c->hides && all.n &&
               (!d->here || are_all_found(d));
    if (c)
        guest_volumes_named(c, &named);
    for (size_t i = 0; i < named.n; i++)
        if (!strv_has(&d->volids, named.v[i]))
            strv_add(&d->others, named.v[i]);
    guest_config_free(c);
}

static void know_guest(struct doctor *d, uint32_t guest)
{
    const struct guest_entry *g = guests_find(&d->env->guests, guest);
    const struct jobs *jobs = &d->env->jobs.jobs;
    /* what could not be read, or is not there at all, may be a job of this guest, or the guest: then
     * everything may be needed */
    bool sure = *jobs->digest && !jobs_may_be_lost(jobs) && !jobs->warnings.n && !d->env->guests.warnings.n;
    d->guest = guest;
    d->sure = sure;
    d->exists = g || !sure;
    d->here = g && sure && strcmp(g->node, d->env->settings.node) == 0;
    d->jobless = sure;
    d->wanted = !sure;
    size_t end;
    for (size_t i = jobs_of_guest(jobs, guest, &end); i < end; i++) {
        d->jobless = false;
        d->wanted = d->wanted || !g || leads_to(d, &jobs->v[i], g->node);
    }
    know_volids(d, g);
}

/* ---- one volume ---- */

/* The guest's file names no volume, but there is one: it may have lost them all. */
static bool is_vague(const struct doctor *d)
{
    return d->here && !d->named && (d->live || !d->jobless);
}

static void look_at_stage(struct doctor *d, struct volume *v, const char *volid,
                          const struct stage_info *stage)
{
    struct err e;
    if ((!stage->exists && !stage->scrap) || (d->wanted && !d->here) || is_vague(d))
        return;
    enum finding_state state = d->repair ? doctor_removed(d, volid, stage_discard(v, &e), &e) : FINDING_LEFT;
    doctor_add(d, state, volid,
               stage->exists
                   ? xasprintf("an unfinished copy of '%s', which no run will go on with", stage->snapshot)
                   : xstrdup("the beginning of a copy, which no run will go on with"));
}

/* Of a job that is no more, and one of today has a newer point of this volume. */
static bool is_outlived(const struct doctor *d, const struct snapshot *s)
{
    char of[24];
    struct jobs *jobs = &d->env->jobs.jobs;
    snapshot_job(s->name, of);
    if (d->jobless || !d->sure || !(d->here || d->wanted) || jobs_find(jobs, of))
        return false;
    for (size_t i = d->snapshots.n; i-- > 0;) {
        const struct snapshot *newer = &d->snapshots.v[i];
        snapshot_job(newer->name, of);
        if (newer->seq > s->seq && snapshot_is_of_guest(newer->name, d->guest) && jobs_find(jobs, of))
            return true;
    }
    return false;
}

/* Did a run make it, and may anything be concluded from what this node knows? */
static bool is_judged(const struct doctor *d, const struct snapshot *s)
{
    return !(s->flags & SNAPSHOT_STRANGE) && snapshot_epoch(s->name) && !is_vague(d);
}

/* Why no run will ever take care of it; NULL: one may. Of another node's guest it may be the last copy. */
static const char *unused(const struct doctor *d, const struct snapshot *s)
{
    if (!d->here || !is_judged(d, s))
        return NULL;
    if (!snapshot_is_of_guest(s->name, d->guest))
        return "it is of a guest whose disk this was";
    if (d->jobless)
        return "the guest has no job any more";
    return d->named && !strv_has(&d->volids, d->volid) ? "no job replicates this disk" : NULL;
}

/* Where it is no base, who says when it goes? No rules of a guest's whose disk it was. */
static enum received_is is_what(const struct doctor *d, const struct snapshot *s)
{
    enum received_is what = !(s->flags & SNAPSHOT_RECEIVED) ? RECEIVED_BASE
                            : d->counted ? received_is(&d->received, &d->env->jobs.jobs, s->name)
                                         : RECEIVED_RULED;
    return what == RECEIVED_RULED && !snapshot_is_of_guest(s->name, d->guest) ? RECEIVED_FREE : what;
}

/* …nor anybody need it, as one that was a base and nothing else. */
static const char *useless(const struct doctor *d, const struct snapshot *s)
{
    if (strcmp(s->name, CLONE_SNAPSHOT) == 0 && s->flags & SNAPSHOT_OURS && !*d->owner)
        return "a clone to this disk was cut here";
    return is_what(d, s) == RECEIVED_BASE ? unused(d, s) : NULL;
}

/* Of what was received, and is data. */
static const char *kept_for(const struct doctor *d, const struct snapshot *s)
{
    enum received_is what = is_what(d, s);
    if (what == RECEIVED_FREE)
        return "one of several that were kept here, of which no job takes care any more. It may be the only "
               "one of its time: unless somebody needs it, remove it";
    return what == RECEIVED_RULED && d->counted ? "kept by the rules of its job, though no job replicates "
                                                  "this disk. It may be the only one of "
                                                  "its time: unless somebody needs it, remove it"
                                                : NULL;
}

/* What it is that probably nobody needs; NULL: it is not. What other nodes hold, and what was copied or moved
 * to elsewhere, cannot be seen here: it may be the only point in common with a replica, or the last copy. */
static const char *doubtful(const struct doctor *d, const struct snapshot *s)
{
    if (snapshot_is_aside(s->name) && !(s->flags & SNAPSHOT_STRANGE))
        return "kept because nobody else had it: unless somebody needs it, remove it";
    const char *why = unused(d, s);
    bool ours = is_judged(d, s) && snapshot_is_of_guest(s->name, d->guest);
    bool outlived = ours && !why && d->exists && is_outlived(d, s);
    const char *kept = why || outlived ? kept_for(d, s) : NULL;
    if (kept)
        return kept;
    if (why || !ours)
        return NULL;
    if (!d->exists && d->jobless && !d->live && !(s->flags & SNAPSHOT_RECEIVED))
        return "the guest and its disk are no more. It may be the last copy: unless you need it, remove it";
    return outlived
               ? "its job is no more, and a job of today has a newer one. It may be the only one in common "
                 "with another node's replica, or of its time: if nothing is to be replicated there again, "
                 "and 'pvesr plan' of none of the guest's jobs names it, remove it"
               : NULL;
}

static void add_point(struct doctor *d, enum finding_state state, const char *volid, const struct snapshot *s,
                      const char *what)
{
    doctor_add(d, state, volid, xasprintf("'%s': %s", s->name, what));
}

static void tell_removed(const struct snapshot *s, int result, const struct err *e, void *arg)
{
    struct doctor *d = arg;
    const char *why = useless(d, s);
    add_point(d, doctor_removed(d, d->volid, result, e), d->volid, s, why ? why : "somebody asked for it");
}

/* What only a person can judge. True: one has. */
static bool look_at_doubtful(struct doctor *d, const char *volid, const struct snapshot *s)
{
    const char *why = doubtful(d, s);
    _cleanup_free_ char *name = xasprintf("%s@%s", volid, s->name);
    if (!why || doctor_is_freed(d, name))
        return why != NULL;
    _cleanup_free_ char *command = doctor_free_command(d, name);
    _cleanup_free_ char *text = xasprintf("%s: %s", why, command);
    add_point(d, FINDING_KEPT, volid, s, text);
    return false;
}

static int look_at_snapshots(struct doctor *d, struct volume *v, const char *volid, struct err *e)
{
    _cleanup_snapshots_ struct snapshots left = {0};
    d->points_of[0] = 0;
    d->newest = 0;
    for (size_t i = 0; i < d->snapshots.n; i++) {
        const struct snapshot *s = &d->snapshots.v[i];
        if (s->flags & SNAPSHOT_RECEIVED && snapshot_epoch(s->name)) {
            snapshot_job(s->name, d->points_of);
            d->newest = snapshot_epoch(s->name);
        }
        if (snapshot_is_aside(s->name) && s->flags & SNAPSHOT_STRANGE)
            add_point(d, FINDING_KEPT, volid, s, "kept because nobody else had it");
        if (s->damaged)
            doctor_add(d, FINDING_KEPT, volid, snapshot_damaged_text(s, NULL));
        bool freed = look_at_doubtful(d, volid, s), left_over = useless(d, s) != NULL;
        if (freed || (left_over && d->repair))
            snapshots_add(&left, s);
        else if (left_over)
            add_point(d, FINDING_LEFT, volid, s, useless(d, s));
    }
    return volume_snapshots_destroy(v, &left, tell_removed, d, e);
}

/* Where the guest is, its volume may come from a snapshot of a replica. */
static int look_at_strays(struct doctor *d, struct volume *v, const char *volid, struct err *e)
{
    _cleanup_strv_ struct strv strays = STRV_INIT;
    if (volume_strays(v, !d->here, &strays, e) < 0)
        return -1;
    for (size_t i = 0; i < strays.n; i++)
        doctor_add(d, FINDING_KEPT, volid, xasprintf("%s: it is left alone", strays.v[i]));
    return 0;
}

/* Replicas and restore points say that there were jobs, where the job file does not. */
static void look_for_lost(struct doctor *d, const char *volid)
{
    char job[24] = "";
    const struct jobs *jobs = &d->env->jobs.jobs;
    for (size_t i = 0; i < d->snapshots.n; i++)
        if (snapshot_epoch(d->snapshots.v[i].name) && !(d->snapshots.v[i].flags & SNAPSHOT_STRANGE))
            snapshot_job(d->snapshots.v[i].name, job);
    if (jobs_may_be_lost(jobs) && *job)
        doctor_add(
            d, FINDING_KEPT, volid,
            xasprintf("restore points of job '%s', and replication.cfg %s: put it back. Where all jobs were "
                      "deleted on purpose, write the line '%s' into it, and look again",
                      job, *jobs->digest ? "names no job at all" : "is missing", JOBS_NONE));
}

/* What there is of a volume, once what a crash left of it is tidied. 1: it had lost its name. */
static int know_volume(struct doctor *d, struct volume *v, const char *volid, struct volume_info *info,
                       struct err *e)
{
    struct volume_info before;
    char shown[SNAPSHOT_ID_LEN + 1];
    snapshots_release(&d->snapshots);
    if (volume_info(v, &before, e) < 0 || volume_tidy(v, e) < 0 || volume_info(v, info, e) < 0 ||
        volume_replica(v, d->owner, shown, e) < 0 || volume_snapshots(v, &d->snapshots, e) < 0)
        return -1;
    d->volid = volid;
    d->live = info->exists;
    return info->exists && !before.exists;
}

static int look_at_volume(struct volume *v, const char *volid, void *arg, struct err *e)
{
    struct doctor *d = arg;
    struct volume_info info;
    struct stage_info stage;
    int r = doctor_kept_elsewhere(d, v, volid, e);
    if (r != 0)
        return r < 0 ? -1 : 0;
    r = know_volume(d, v, volid, &info, e);
    if (r < 0 || stage_info(v, &stage, e) < 0)
        return -1;
    if (r > 0)
        doctor_add(d, FINDING_ENDED, volid, xstrdup("had lost its name in a crash and has it again"));
    look_at_stage(d, v, volid, &stage);
    if (look_at_snapshots(d, v, volid, e) < 0 || look_at_strays(d, v, volid, e) < 0)
        return -1;
    doctor_look_at_replica(d, v, volid, &info);
    look_for_lost(d, volid);
    return 0;
}

static char *stands_still(struct doctor *d, uint32_t guest)
{
    struct err ignored;
    const struct guest_entry *g = guests_find(&d->env->guests, guest);
    bool here = g && strcmp(g->node, d->env->settings.node) == 0;
    struct guest_config *c = here ? env_guest_config(d->env, g, &ignored) : NULL;
    char *how = c ? guest_stands_still(c) : NULL;
    guest_config_free(c);
    return how;
}

/* No run is at work on it now: the lock is ours. */
static void look_at_stillness(struct doctor *d)
{
    _cleanup_free_ char *guest = xasprintf("guest %" PRIu32, d->guest);
    _cleanup_free_ char *how = stands_still(d, d->guest);
    if (how)
        doctor_add(
            d, FINDING_KEPT, guest,
            xasprintf(
                "runs, and stands still: %s. Unless somebody means it to: a run that was killed together "
                "with its watchdog leaves it so",
                how));
}

static void settle(struct doctor *d)
{
    struct err problem = {0};
    _cleanup_free_ char *guest = xasprintf("guest %" PRIu32, d->guest);
    int r = settle_guest(d->env, d->guest, &problem);
    if (r == 0)
        doctor_add(d, FINDING_ENDED, guest,
                   xstrdup("a commit of its replicas was cut: its disks are of one instant again"));
    if (r < 0)
        strv_add(&d->found->problems, problem.text);
}

/* ---- all of them ---- */

/* Nobody else is at work on it. */
static int look_at_one(struct doctor *d, uint32_t guest, const char *still, struct err *e)
{
    /* it may have moved while the lock was waited for */
    int guests = env_guest_again(d->env, guest, e), jobs = guests < 0 ? -1 : env_jobs(d->env, e);
    if (jobs < 0)
        return -1;
    if (guests || jobs) {
        add_untold(d, &d->env->jobs.jobs.warnings, &d->found->problems);
        add_untold(d, &d->env->guests.warnings, &d->found->problems);
    }
    know_guest(d, guest);
    settle(d);
    if (still)
        look_at_stillness(d);
    received_release(&d->received);
    d->counted = d->here && received_look(d->env, guest, &d->received);
    _cleanup_strv_ struct strv warnings = STRV_INIT;
    int r = env_each_volume(d->env, guest, true, look_at_volume, d, &warnings, e);
    add_untold(d, &warnings, r > 0 ? &d->found->problems : &d->found->warnings);
    return r < 0 ? -1 : 0;
}

static int look_at_guest(struct doctor *d, uint32_t guest, struct err *e)
{
    _cleanup_free_ char *still = stands_still(d, guest); /* a guest that does not answer holds up no run */
    _cleanup_free_ char *guest_path = env_guest_lock_path(d->env, guest);
    _cleanup_free_ char *agent_path = env_agent_lock_path(d->env, guest);
    _cleanup_(lock_freep) struct lock *runs = lock_take(guest_path, true, LOCK_SECONDS, false, e);
    _cleanup_(lock_freep) struct lock *agents =
        runs ? lock_take(agent_path, true, LOCK_SECONDS, false, e) : NULL;
    if (!agents) {
        strv_addf(&d->found->problems, "guest %" PRIu32 " was not looked at: %s", guest, e->text);
        return 0;
    }
    env_hold(d->env, agents);
    int r = look_at_one(d, guest, still, e);
    env_hold(d->env, NULL);
    return r;
}

/* What who was killed left in files that are of no guest. */
static void tidy_files(struct doctor *d)
{
    struct err problem;
    if (jobs_sweep(d->env->tree, &problem) < 0)
        strv_add(&d->found->warnings, problem.text);
}

static void look_for_orphans(struct doctor *d)
{
    struct err problem;
    if (orphans_look(d->env, &d->env->jobs.jobs, &d->found->warnings, &problem) < 0)
        strv_add(problem.kind == ERR_CONFIG ? &d->found->problems : &d->found->warnings, problem.text);
}

static int look(struct doctor *d, uint32_t guest, struct err *e)
{
    if (env_guests(d->env, e) < 0 || env_jobs(d->env, e) < 0)
        return -1;
    look_for_orphans(d);
    add_untold(d, &d->env->jobs.jobs.warnings, &d->found->problems);
    add_untold(d, &d->env->guests.warnings, &d->found->problems);
    if (guest)
        return look_at_guest(d, guest, e);
    tidy_files(d);
    size_t n;
    _cleanup_strv_ struct strv warnings = STRV_INIT;
    _cleanup_free_ uint32_t *ids = NULL;
    int r = env_guests_all(d->env, &ids, &n, &warnings, e);
    if (r < 0)
        return -1;
    add_untold(d, &warnings, r > 0 ? &d->found->problems : &d->found->warnings);
    for (size_t i = 0; i < n; i++)
        if (look_at_guest(d, ids[i], e) < 0)
            return -1;
    return 0;
}

static void tell_unfreed(struct doctor *d)
{
    for (size_t i = 0; d->free && i < d->free->n; i++)
        if (!strv_has(&d->freed, d->free->v[i]))
            strv_addf(
                &d->found->problems,
                "'%s' is not removed: it is nothing of which 'pvesr doctor' says here that --free removes it",
                d->free->v[i]);
}

int doctor_look(struct env *env, const struct doctor_options *o, struct findings *ret, struct err *e)
{
    *ret = (struct findings){0};
    struct doctor d = {.env = env, .found = ret, .repair = o->repair, .free = o->free};
    bool removes = o->repair || (o->free && o->free->n);
    int r = removes && tree_check_quorum(env->tree, e) < 0 ? -1 : look(&d, o->guest, e);
    if (r == 0)
        tell_unfreed(&d);
    lookup_release(&d.told);
    strv_release(&d.freed);
    strv_release(&d.volids);
    strv_release(&d.others);
    received_release(&d.received);
    snapshots_release(&d.snapshots);
    if (r < 0)
        findings_release(ret);
    return r;
}

void findings_release(struct findings *f)
{
    for (size_t i = 0; i < f->n; i++) {
        free(f->v[i].volid);
        free(f->v[i].text);
    }
    free(f->v);
    strv_release(&f->warnings);
    strv_release(&f->problems);
    *f = (struct findings){0};
}

const char *finding_state_name(enum finding_state s)
{
    static const char *const names[] = {[FINDING_ENDED] = "ended",
                                        [FINDING_REMOVED] = "removed",
                                        [FINDING_LEFT] = "left",
                                        [FINDING_KEPT] = "kept"};
    return names[s];
}
