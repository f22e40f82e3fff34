#include "run/source/verify-parts.h"

#include "base/clock.h"
#include "base/lock.h"
#include "run/run.h"
#include "run/source/compare.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>

#include <linux/ioprio.h>

#define PART_BYTES (UINT64_C(1) << 30)
#define PARTS_A_DAY 24
#define PART_WAIT_SECONDS 600

void verify_say(struct verify *v, const char *format, ...)
{
    va_list ap;
    char line[1024];
    va_start(ap, format);
    vsnprintf(line, sizeof line, format, ap);
    va_end(ap);
    buf_addf(&v->text, "%s\n", line);
    if (v->o->say)
        v->o->say(v->o->arg, line);
}

size_t verify_differing(const struct verify *v)
{
    size_t n = 0;
    for (size_t i = 0; i < v->n; i++)
        n += v->found[i].ranges.n > 0;
    return n;
}

void verify_forget(struct verify *v)
{
    for (size_t i = 0; i < v->n; i++) {
        free(v->found[i].volid);
        ranges_release(&v->found[i].ranges);
    }
    free(v->found);
    v->found = NULL;
    v->n = 0;
}

static void go_on_at(struct verify *v, const char *volid, bool live, uint64_t at)
{
    char *copy = xstrdup(volid);
    free(v->volid);
    v->volid = copy;
    v->live = live;
    v->at = at;
}

/* ---- who waits ---- */

static bool is_free(struct verify *v)
{
    struct err ignored;
    _cleanup_free_ char *path = env_guest_lock_path(v->env, v->job.guest);
    struct lock *lock = lock_take(path, false, 0, false, &ignored);
    lock_free(lock);
    return lock;
}

static bool is_wanted(void *verify)
{
    return !is_free(verify);
}

/* A part does not keep those of all other jobs waiting behind one guest. */
static int await_free(struct verify *v, struct err *e)
{
    double began = clock_mono();
    do {
        if (v->o->part && clock_mono() - began > PART_WAIT_SECONDS)
            return err_set(e, ERR_BUSY, 0, "guest %" PRIu32 " was in use for more than %d s", v->job.guest,
                           PART_WAIT_SECONDS);
        nanosleep(&(struct timespec){.tv_nsec = 250000000}, NULL);
    } while (!is_free(v));
    return 0;
}

/* ---- one volume ---- */

static bool is_tree(const struct volume_info *info)
{
    return info->stream && !info->ranges;
}

/* The one that is asked for; else what the replica shows, or the newest that both have. */
static const struct snapshot *find_point(const struct verify *v, const struct sync_volume *one)
{
    const struct snapshots *here = &one->snapshots, *there = &one->replica.snapshots;
    const struct snapshot *shown = v->o->point ? NULL : snapshots_find_id(here, one->replica.base_id);
    for (size_t i = here->n; !shown && i-- > 0;)
        if (snapshots_find_id(there, here->v[i].id) &&
            (!v->o->point || strcmp(here->v[i].name, v->o->point) == 0))
            shown = &here->v[i];
    return shown;
}

static const struct snapshot *choose(const struct verify *v, const struct sync_volume *one, struct err *e)
{
    const struct snapshot *best = find_point(v, one);
    if (best && best->flags & SNAPSHOT_READABLE && !best->damaged)
        return best;
    if (best && best->damaged)
        err_set(e, ERR_DATA, 0,
                "restore point '%s' of '%s' was found damaged when it was a replica's: it is not what could "
                "be compared with. The next run makes a new one",
                best->name, one->local.volid);
    else if (best)
        err_set(
            e, ERR_CONFIG, 0,
            "volume '%s' was written to since its restore point '%s', and its storage keeps no other copy: "
            "verify it right after a run",
            one->local.volid, best->name);
    else if (v->o->point)
        err_set(e, ERR_GONE, 0, "volume '%s' has no restore point '%s' on both nodes", one->local.volid,
                v->o->point);
    else
        err_set(
            e, ERR_GONE, 0,
            "there is no restore point of '%s' on both nodes that could be compared: let the job run first",
            one->local.volid);
    return NULL;
}

static void print_age(int64_t seconds, char out[32])
{
    if (seconds < 120)
        snprintf(out, 32, "%" PRId64 " s", seconds < 0 ? 0 : seconds);
    else if (seconds < 7200)
        snprintf(out, 32, "%" PRId64 " min", seconds / 60);
    else if (seconds < 2 * 86400)
        snprintf(out, 32, "%" PRId64 " h", seconds / 3600);
    else
        snprintf(out, 32, "%" PRId64 " days", seconds / 86400);
}

static void report(struct verify *v, const struct finding *f, const char *bad)
{
    char when[32], age[32];
    clock_print_log(f->point.created, when);
    print_age(v->began - f->point.created, age);
    if (!f->ranges.n) {
        if (!v->o->part)
            verify_say(v, "%s: equal on '%s': restore point '%s' of %s, %s old", f->volid, v->job.target,
                       f->point.name, when, age);
        return;
    }
    verify_say(v,
               "%s: DIFFERS on '%s' from restore point '%s' of %s, %s old%s: %" PRIu64 " bytes in %zu ranges",
               f->volid, v->job.target, f->point.name, when, age,
               f->live ? " (the replica was written to there)" : "", ranges_bytes(&f->ranges), f->ranges.n);
    for (size_t i = 0; i < f->ranges.n; i++)
        verify_say(v, "%s: bytes %" PRIu64 " to %" PRIu64, f->volid, f->ranges.v[i].offset,
                   f->ranges.v[i].offset + f->ranges.v[i].length - 1);
    if (*bad)
        verify_say(v, "%s: %s", f->volid, bad);
}

/* The target is to know it, too: who starts the guest there asks no other node. What a part finds sound is
 * not all of it. 1: somebody there needs the volume. */
static int tell_target(struct verify *v, size_t i, const struct finding *f, char problem[PEER_PROBLEM_MAX],
                       struct err *e)
{
    const struct snapshot *there = snapshots_find_id(&v->sync.volumes[i].replica.snapshots, f->point.id);
    bool damaged = f->ranges.n;
    *problem = 0;
    if (f->live || !there || damaged == (there->damaged != 0) || (!damaged && v->o->part))
        return 0;
    return peer_mark(&v->sync.peer, v->sync.there.v[i], f->point.id, damaged, problem, e);
}

/* Written down at once, on both nodes: what comes after it may fail, or never come. 1 as verify_remember. */
static int keep(struct verify *v, size_t i, const struct compare *c, bool live, struct err *e)
{
    char problem[PEER_PROBLEM_MAX];
    v->found = xgrow(v->found, v->n, sizeof *v->found);
    struct finding *f = &v->found[v->n++];
    *f = (struct finding){
        .volid = xstrdup(v->sync.volids.v[i]), .point = *c->snapshot, .live = live, .ranges = c->ranges};
    int r = c->ranges.n ? verify_remember(v, e) : 0;
    if (r == 0)
        r = tell_target(v, i, f, problem, e);
    if (r == 0 && (c->whole || c->ranges.n))
        report(v, f, c->bad);
    if (r == 0 && *problem)
        verify_say(v, "%s: this could not be noted on '%s', where nobody knows of it now: %s", f->volid,
                   v->job.target, problem);
    return r;
}

/* The id by which the target is asked for it. */
static const char *id_there(const struct sync_volume *one, const struct snapshot *point, bool live)
{
    return live || !one->replica.info.many ? "" : point->id;
}

/* What is open can be read to its end although it was removed: is it on both nodes still? 1: somebody there
 * needs it. */
static int confirm(struct verify *v, size_t i, const struct snapshot *point, bool live, struct err *e)
{
    struct sync_volume *one = &v->sync.volumes[i];
    _cleanup_snapshots_ struct snapshots here = {0};
    if (volume_snapshots(one->local.volume, &here, e) < 0)
        return -1;
    if (!snapshots_find_id(&here, point->id))
        return err_set(
            e, ERR_GONE, 0,
            "restore point '%s' of '%s' was removed or replaced on this node while it was compared",
            point->name, one->local.volid);
    return peer_still_there(&v->sync.peer, v->sync.there.v[i], id_there(one, point, live), e);
}

/* live: what the replica is now, beside a restore point that has data of its own. */
static int compare_one(struct verify *v, size_t i, const struct snapshot *point, bool live, struct err *e)
{
    struct sync_volume *one = &v->sync.volumes[i];
    uint64_t from = v->live == live ? v->at : 0;
    struct compare c = {.peer = &v->sync.peer,
                        .rate = &v->rate,
                        .volume = one->local.volume,
                        .snapshot = point,
                        .there = v->sync.there.v[i],
                        .id = id_there(one, point, live),
                        .stop = is_wanted,
                        .arg = v,
                        .at = from,
                        .end = v->o->part ? from + v->left : 0};
    int r = compare_volume(&c, e);
    if (r == 0)
        r = confirm(v, i, point, live, e);
    uint64_t compared = r < 0 ? 0 : c.at - from;
    v->done += compared;
    v->left -= compared < v->left ? compared : v->left;
    if (r == 0) {
        go_on_at(v, v->sync.volids.v[i], live, c.at);
        r = keep(v, i, &c, live, e);
        return r != 0 ? r : c.whole ? 0 : 2;
    }
    if (r > 0)
        go_on_at(v, v->sync.volids.v[i], live, c.ranges.n ? c.ranges.v[0].offset : c.at);
    ranges_release(&c.ranges);
    return r;
}

/* 2: the part ends here; 3: there is nothing that could be compared, the others go on. */
static int verify_volume(struct verify *v, size_t i, struct err *e)
{
    struct sync_volume *one = &v->sync.volumes[i];
    const struct replica *there = &one->replica;
    const struct snapshot *point = choose(v, one, e);
    if (!point)
        return 3;
    bool both = there->info.many && there->info.exists && there->written && !v->o->part && !v->o->point;
    int r = v->live ? 0 : compare_one(v, i, point, false, e);
    if (r == 0 && both)
        r = compare_one(v, i, point, true, e);
    return r;
}

/* ---- all of them ---- */

static void tell_tree(struct verify *v, size_t i)
{
    const char *type = v->sync.volumes[i].local.store.store.type;
    if (!v->o->part)
        verify_say(v,
                   "%s: a directory tree is kept by its storage's own checksums: let '%s' look on both nodes",
                   v->sync.volids.v[i], strcmp(type, "btrfs") == 0 ? "btrfs scrub start" : "zpool scrub");
}

static void leave_out(struct verify *v, size_t i, struct err *e)
{
    verify_say(v, "%s: not compared: %s", v->sync.volids.v[i], e->text);
    if (v->left_out.kind == ERR_NONE)
        v->left_out = *e;
    *e = (struct err){0};
}

static size_t first(struct verify *v)
{
    for (size_t i = 0; v->volid && i < v->sync.n; i++)
        if (strcmp(v->sync.volids.v[i], v->volid) == 0)
            return i;
    v->at = 0;
    v->live = false;
    return 0;
}

/* The volumes that were compared before the last one, from the finding n on. */
static int confirm_all(struct verify *v, size_t n, struct err *e)
{
    int r = 0;
    for (; r == 0 && n < v->n; n++)
        for (size_t i = 0; r == 0 && i < v->sync.n; i++)
            if (strcmp(v->sync.volids.v[i], v->found[n].volid) == 0)
                r = confirm(v, i, &v->found[n].point, v->found[n].live, e);
    return r;
}

static int verify_all(struct verify *v, struct err *e)
{
    size_t found = v->n;
    int r = 0;
    for (size_t i = first(v); r == 0 && i < v->sync.n; i++) {
        if (is_tree(&v->sync.volumes[i].info))
            tell_tree(v, i);
        else if (verify_is_gone(v, i) && !v->sync.volumes[i].replica.snapshots.n)
            r = 0;
        else if (v->o->part && !v->left)
            r = 2;
        else if ((r = verify_volume(v, i, e)) == 3) {
            leave_out(v, i, e);
            r = 0;
        }
        if (r == 0 && i + 1 < v->sync.n)
            go_on_at(v, v->sync.volids.v[i + 1], false, 0);
    }
    v->complete = r == 0;
    return r == 0 || r == 2 ? confirm_all(v, found, e) : r;
}

static int measure(struct verify *v, struct err *e)
{
    v->total = 0;
    for (size_t i = 0; i < v->sync.n; i++)
        if (!is_tree(&v->sync.volumes[i].info))
            v->total += v->sync.volumes[i].info.size;
    if (!v->total)
        return err_set(e, ERR_CONFIG, 0,
                       "guest %" PRIu32 " has no disks: directory trees are kept by the checksums of their "
                       "storage: let 'zpool scrub' or 'btrfs scrub start' look on both nodes",
                       v->job.guest);
    if (v->o->part && !v->left && !v->done) {
        uint64_t share = v->total / ((uint64_t)job_scrub_days(&v->job) * PARTS_A_DAY);
        v->left = share > PART_BYTES ? share : PART_BYTES;
    }
    return 0;
}

static int look_there(struct verify *v, struct err *e)
{
    struct sync *s = &v->sync;
    struct replica *replicas = xcalloc(s->n, sizeof *replicas);
    int r = sync_connect(s, e) < 0 ? -1 : sync_look_there(s, replicas, e);
    for (size_t i = 0; i < s->n; i++)
        s->volumes[i].replica = replicas[i];
    free(replicas);
    return r;
}

static int conversation(struct verify *v, struct err *e)
{
    struct sync *s = &v->sync;
    int r = sync_look(s, e) < 0 || look_there(v, e) < 0 ? -1 : 0;
    if (r == 0) {
        verify_look_for_gone(v);
        verify_tell_missing(v);
        r = measure(v, e) < 0 ? -1 : verify_all(v, e);
    }
    if (s->connected) {
        v->sent += channel_sent(s->peer.link.channel) + channel_received(s->peer.link.channel);
        peer_close(&s->peer, e);
    }
    s->connected = false;
    return r;
}

static void take_cursor(struct verify *v)
{
    const char *blank = v->state.verify_at ? strchr(v->state.verify_at, ' ') : NULL;
    if (!v->o->part || v->volid || !blank)
        return;
    uint64_t at = strtoull(v->state.verify_at, NULL, 10);
    go_on_at(v, blank + 1, false, at - at % DIGEST_BLOCK);
}

static int begin(struct verify *v, const char *job_id, struct err *e)
{
    _cleanup_strv_ struct strv siblings = STRV_INIT;
    job_release(&v->job);
    job_state_release(&v->state);
    if (run_find_job(v->env, job_id, &v->job, &siblings, e) < 0 ||
        run_check_job(v->env, &v->job, &v->guest, e) < 0)
        return -1;
    const struct member *target = run_find_target(v->env, &v->job, e);
    if (!target || job_state_load_of(v->env->settings.state_dir, &v->job, &v->state, e) < 0)
        return -1;
    take_cursor(v);
    v->sync = (struct sync){.env = v->env,
                            .job = &v->job,
                            .guest = &v->guest,
                            .target = target,
                            .start = clock_epoch(),
                            .state = &v->state,
                            .steps = &v->steps};
    return 0;
}

/* What was found is of restore points that are not the newest any more: the new ones may be made from them.
 */
static void look_again(struct verify *v)
{
    for (size_t i = 0; i < v->n; i++)
        if (v->found[i].ranges.n) {
            go_on_at(v, v->found[i].volid, v->found[i].live, v->found[i].ranges.v[0].offset);
            verify_say(v, "a run came in between: what differed is looked at again");
            verify_forget(v);
        }
}

/* A run that came and went unnoticed takes away what is compared. */
static bool has_changed(struct verify *v)
{
    struct job_state now = {0};
    struct err ignored;
    int r = v->job.target ? job_state_load_of(v->env->settings.state_dir, &v->job, &now, &ignored) : -1;
    bool changed = r == 0 && now.last_sync != v->state.last_sync;
    job_state_release(&now);
    return changed || !is_free(v);
}

/* 1: somebody else needs the guest; afterwards it can go on. */
static int attempt(struct verify *v, const char *job_id, struct err *e)
{
    *e = v->left_out = (struct err){0};
    free(v->gone);
    v->gone = NULL;
    v->looked_there = false;
    int r = begin(v, job_id, e);
    if (r == 0) {
        r = conversation(v, e);
        sync_release(&v->sync);
    }
    if (r == 0)
        r = verify_record(v, e);
    if (r < 0 && has_changed(v))
        r = 1;
    if (r > 0)
        look_again(v);
    return r;
}

static int repair(struct verify *v, struct err *e)
{
    struct run_options o = {0};
    verify_say(v, "what differs is sent anew by a run of job '%s'", v->job.id);
    if (run_job(v->env, v->job.id, &o, e) < 0)
        return err_wrap(e, "the replica differs, and the run that was to send it anew failed");
    verify_say(v, "the replica on '%s' is a new one, of what the guest has now", v->job.target);
    return 0;
}

/* Whoever needs the guest here is waited for, however long it takes. Who needs the replica there is known
 * from the target's word alone: attempts that compare nothing come to an end. */
static int attempt_until_done(struct verify *v, const char *job_id, struct err *e)
{
    int r;
    for (double vain = 0; vain < v->env->settings.peer_limit;) {
        uint64_t done = v->done;
        double began = clock_mono();
        if ((r = attempt(v, job_id, e)) != 1)
            return r;
        vain = v->done == done ? vain + clock_mono() - began : 0;
        if (await_free(v, e) < 0)
            return -1;
    }
    return err_set(e, ERR_BUSY, 0,
                   "node '%s' said for more than %u s that somebody else needs the replica: nothing could be "
                   "compared; see who holds it there ('lslocks'), or try again later",
                   v->job.target, v->env->settings.peer_limit);
}

static int go_through(struct verify *v, const char *job_id, struct err *e)
{
    int r = attempt_until_done(v, job_id, e);
    if (r < 0) {
        verify_record_failure(v, e);
        return -1;
    }
    if (!verify_differing(v)) {
        *e = v->left_out;
        return e->kind == ERR_NONE ? 0 : -1;
    }
    return v->o->repair ? repair(v, e) : 1;
}

/* Guests come first. */
static void be_modest(void)
{
    setpriority(PRIO_PROCESS, 0, 19);
    syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, IOPRIO_PRIO_VALUE(IOPRIO_CLASS_IDLE, 0));
}

int verify_job(struct env *env, const char *job_id, const struct verify_options *o, struct err *e)
{
    struct job_id id;
    struct verify v = {.env = env, .o = o, .began = clock_epoch(), .began_mono = clock_mono()};
    if (job_id_parse(job_id, &id, e) < 0)
        return -1;
    _cleanup_free_ char *path = xasprintf("%s/pvesr-verify-%" PRIu32, env->settings.lock_dir, id.guest);
    _cleanup_(lock_freep) struct lock *lock = lock_take(path, true, 0, false, e);
    if (!lock && o->part && e->kind == ERR_BUSY)
        return 0; /* whoever is at it says when the next part is due */
    if (!lock)
        return e->kind == ERR_BUSY ? err_wrap(e, "guest %" PRIu32 " is being verified already", id.guest)
                                   : -1;
    if (o->part)
        be_modest();
    int r = begin(&v, job_id, e);
    rate_init(&v.rate, (o->rate > 0 ? o->rate : v.job.rate) * 1e6);
    if (r == 0)
        r = go_through(&v, job_id, e);
    verify_forget(&v);
    job_release(&v.job);
    job_state_release(&v.state);
    buf_release(&v.text);
    free(v.volid);
    free(v.gone);
    return r;
}
