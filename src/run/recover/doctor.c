#include "run/recover/doctor.h"

#include "base/lock.h"
#include "base/lookup.h"
#include "base/mem.h"
#include "run/recover/settle.h"
#include "run/snapshot.h"

#include <inttypes.h>
#include <string.h>

#define LOCK_SECONDS 10

struct doctor {
    struct env *env;
    struct findings *found;
    bool repair;
    struct lookup told; /* problems that are not of one guest */
    /* of the guest that is looked at */
    uint32_t guest;
    bool here;    /* this node owns it */
    bool jobless; /* no job replicates it anywhere */
    bool wanted;  /* a job replicates it to this node, or may do so once it has been turned round */
};

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

static void know_guest(struct doctor *d, uint32_t guest)
{
    const struct guest_entry *g = guests_find(&d->env->guests, guest);
    const struct jobs *jobs = &d->env->jobs.jobs;
    /* what could not be read, or is not there at all, may be a job of this guest, or the guest: then
     * everything may be needed */
    bool sure = *jobs->digest && !jobs->warnings.n && !d->env->guests.warnings.n;
    d->guest = guest;
    d->here = g && sure && strcmp(g->node, d->env->settings.node) == 0;
    d->jobless = sure;
    d->wanted = !sure;
    size_t end;
    for (size_t i = jobs_of_guest(jobs, guest, &end); i < end; i++) {
        d->jobless = false;
        d->wanted = d->wanted || (g && leads_to(d, &jobs->v[i], g->node));
    }
}

/* ---- one volume ---- */

/* Takes `text` over. */
static void add(struct doctor *d, enum finding_state state, const char *volid, char *text)
{
    struct findings *f = d->found;
    f->v = xgrow(f->v, f->n, sizeof *f->v);
    f->v[f->n++] = (struct finding){.state = state, .volid = xstrdup(volid), .text = text};
}

static enum finding_state removed(struct doctor *d, const char *volid, int r, const struct err *e)
{
    if (r < 0)
        strv_addf(&d->found->problems, "volume '%s': %s", volid, e->text);
    return r < 0 ? FINDING_LEFT : FINDING_REMOVED;
}

static void look_at_stage(struct doctor *d, struct volume *v, const char *volid,
                          const struct stage_info *stage)
{
    struct err e;
    if ((!stage->exists && !stage->scrap) || (d->wanted && !d->here))
        return;
    enum finding_state state = d->repair ? removed(d, volid, stage_discard(v, &e), &e) : FINDING_LEFT;
    add(d, state, volid,
        stage->exists ? xasprintf("an unfinished copy of '%s', which no run will go on with", stage->snapshot)
                      : xstrdup("the beginning of a copy, which no run will go on with"));
}

struct leftover {
    struct doctor *d;
    const char *volid;
};

static void add_leftover(struct doctor *d, enum finding_state state, const char *volid,
                         const struct snapshot *s)
{
    add(d, state, volid, xasprintf("'%s': the guest has no job any more", s->name));
}

static void tell_removed(const struct snapshot *s, int result, const struct err *e, void *arg)
{
    const struct leftover *l = arg;
    add_leftover(l->d, removed(l->d, l->volid, result, e), l->volid, s);
}

static int look_at_snapshots(struct doctor *d, struct volume *v, const char *volid, struct err *e)
{
    _cleanup_snapshots_ struct snapshots all = {0}, left = {0};
    if (volume_snapshots(v, &all, e) < 0)
        return -1;
    for (size_t i = 0; i < all.n; i++) {
        const struct snapshot *s = &all.v[i];
        if (snapshot_is_aside(s->name))
            add(d, FINDING_KEPT, volid, xasprintf("'%s': kept because nobody else had it", s->name));
        if (s->damaged)
            add(d, FINDING_KEPT, volid, snapshot_damaged_text(s, NULL));
        if (!d->here || !d->jobless || !snapshot_is_of_guest(s->name, d->guest) ||
            s->flags & SNAPSHOT_STRANGE)
            continue;
        if (d->repair)
            snapshots_add(&left, s);
        else
            add_leftover(d, FINDING_LEFT, volid, s);
    }
    return volume_snapshots_destroy(v, &left, tell_removed, &(struct leftover){d, volid}, e);
}

/* Where the guest is, its volume may come from a snapshot of a replica. */
static int look_at_strays(struct doctor *d, struct volume *v, const char *volid, struct err *e)
{
    _cleanup_strv_ struct strv strays = STRV_INIT;
    if (volume_strays(v, !d->here, &strays, e) < 0)
        return -1;
    for (size_t i = 0; i < strays.n; i++)
        add(d, FINDING_KEPT, volid, xasprintf("%s: it is left alone", strays.v[i]));
    return 0;
}

static int look_at_volume(struct volume *v, const char *volid, void *arg, struct err *e)
{
    struct doctor *d = arg;
    struct volume_info before, info;
    struct stage_info stage;
    char owner[32], base[SNAPSHOT_ID_LEN + 1];
    if (volume_info(v, &before, e) < 0 || volume_tidy(v, e) < 0 || volume_info(v, &info, e) < 0 ||
        stage_info(v, &stage, e) < 0 || volume_replica(v, owner, base, e) < 0)
        return -1;
    if (info.exists && !before.exists)
        add(d, FINDING_ENDED, volid, xstrdup("had lost its name in a crash and has it again"));
    look_at_stage(d, v, volid, &stage);
    if (look_at_snapshots(d, v, volid, e) < 0 || look_at_strays(d, v, volid, e) < 0)
        return -1;
    if (info.exists && *owner && !d->here && !d->wanted)
        add(d, FINDING_KEPT, volid,
            xasprintf("a replica of job '%s', which does not replicate to this node any more", owner));
    return 0;
}

static void settle(struct doctor *d)
{
    struct err problem = {0};
    _cleanup_free_ char *guest = xasprintf("guest %" PRIu32, d->guest);
    int r = settle_guest(d->env, d->guest, &problem);
    if (r == 0)
        add(d, FINDING_ENDED, guest,
            xstrdup("a commit of its replicas was cut: its disks are of one instant again"));
    if (r < 0)
        strv_add(&d->found->problems, problem.text);
}

/* ---- all of them ---- */

static int look_at_guest(struct doctor *d, uint32_t guest, struct err *e)
{
    _cleanup_free_ char *guest_path = env_guest_lock_path(d->env, guest);
    _cleanup_free_ char *agent_path = env_agent_lock_path(d->env, guest);
    _cleanup_(lock_freep) struct lock *runs = lock_take(guest_path, true, LOCK_SECONDS, false, e);
    _cleanup_(lock_freep) struct lock *agents =
        runs ? lock_take(agent_path, true, LOCK_SECONDS, false, e) : NULL;
    if (!agents) {
        strv_addf(&d->found->problems, "guest %" PRIu32 " was not looked at: %s", guest, e->text);
        return 0;
    }
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
    _cleanup_strv_ struct strv warnings = STRV_INIT;
    int r = env_each_volume(d->env, guest, look_at_volume, d, &warnings, e);
    add_untold(d, &warnings, &d->found->warnings);
    return r;
}

static int look(struct doctor *d, uint32_t guest, struct err *e)
{
    if (guest)
        return look_at_guest(d, guest, e);
    if (env_guests(d->env, e) < 0)
        return -1;
    size_t n = d->env->guests.n;
    _cleanup_free_ uint32_t *ids = xcalloc(n + 1, sizeof *ids);
    for (size_t i = 0; i < n; i++)
        ids[i] = d->env->guests.v[i].id;
    for (size_t i = 0; i < n; i++)
        if (look_at_guest(d, ids[i], e) < 0)
            return -1;
    return 0;
}

int doctor_look(struct env *env, uint32_t guest, bool repair, struct findings *ret, struct err *e)
{
    *ret = (struct findings){0};
    struct doctor d = {.env = env, .found = ret, .repair = repair};
    int r = look(&d, guest, e);
    lookup_release(&d.told);
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
