/* Replicas that probably nobody needs: which they are, and how they go. */
#include "run/recover/doctor-parts.h"

#include "base/clock.h"
#include "base/mem.h"
#include "conf/storagemap.h"
#include "run/drop.h"
#include "volume/name.h"

#include <inttypes.h>
#include <string.h>

/* Is it that volume, by whatever name? Yes, where that one cannot be looked at. */
static bool is_at(struct doctor *d, struct volume *v, const char *volid)
{
    struct err ignored;
    struct volume_place place, other;
    return volume_place(v, &place, &ignored) < 0 || doctor_find_place(d, volid, &other) < 0 ||
           volume_place_same(&place, &other);
}

static bool replicates_to(struct doctor *d, const struct job *job, struct volume *v)
{
    struct err ignored;
    _cleanup_storagemap_ struct storagemap map = {0};
    bool found = strcmp(job->target, d->env->settings.node) != 0 ||
                 storagemap_parse(job->target_storage, &map, &ignored) < 0;
    for (size_t i = 0; !found && i < d->volids.n; i++) {
        _cleanup_free_ char *there = storagemap_volid(&map, &d->env->storages, d->volids.v[i], &ignored);
        found = !there || is_at(d, v, there);
    }
    return found;
}

/* Does it replicate a disk that the guest has? Yes, where that is not known. */
static bool is_current(struct doctor *d, struct volume *v)
{
    const struct jobs *jobs = &d->env->jobs.jobs;
    size_t end;
    for (size_t i = jobs_of_guest(jobs, d->guest, &end); i < end; i++)
        if (replicates_to(d, &jobs->v[i], v))
            return true;
    return !d->named || !d->sure;
}

/* ---- whose it is ---- */

int doctor_kept_elsewhere(struct doctor *d, struct volume *v, const char *volid, struct err *e)
{
    char keeper[VOLUME_KEEPER_MAX + 1];
    if (d->here)
        return 0;
    if (volume_keeper(v, keeper, e) < 0 || env_members(d->env, e) < 0)
        return -1;
    if (!*keeper || strcmp(keeper, d->env->settings.node) == 0 || !members_find(&d->env->members, keeper))
        return 0;
    _cleanup_free_ char *remedy = volume_keeper_remedy(v);
    doctor_add(
        d, FINDING_KEPT, volid,
        xasprintf("is what node '%s' keeps, and this node sees its storage, too: look at it there, and "
                  "mark the storage 'shared 1' in storage.cfg, or give each node a place of its own; if "
                  "that node does not see it any more: %s",
                  keeper, remedy ? remedy : "destroy it there"));
    return 1;
}

/* No: also where that one cannot be looked at, under another name. */
static bool is_surely_at(struct doctor *d, struct volume *v, const char *volid)
{
    struct err ignored;
    struct volume_place place, other;
    return strcmp(volid, d->volid) == 0 ||
           (doctor_find_place(d, volid, &other) == 0 && volume_place(v, &place, &ignored) == 0 &&
            volume_place_same(&place, &other));
}

static bool is_there_by_map(struct doctor *d, const struct job *job, struct volume *v, const char *volid)
{
    struct err ignored;
    _cleanup_storagemap_ struct storagemap map = {0};
    if (storagemap_parse(job->target_storage, &map, &ignored) < 0)
        return false;
    _cleanup_free_ char *there = storagemap_volid(&map, &d->env->storages, volid, &ignored);
    return there && is_surely_at(d, v, there);
}

/* What the guest's file names and no run sends may be nowhere else, since none went back to where it came
 * from. */
static bool is_not_replicated(struct doctor *d, struct volume *v)
{
    const struct jobs *jobs = &d->env->jobs.jobs;
    size_t end, from = jobs_of_guest(jobs, d->guest, &end);
    for (size_t i = 0; i < d->others.n; i++) {
        if (is_surely_at(d, v, d->others.v[i]))
            return true;
        for (size_t k = from; k < end; k++)
            if (is_there_by_map(d, &jobs->v[k], v, d->others.v[i]))
                return true;
    }
    return false;
}

static bool names_it(struct doctor *d, const struct guest_entry *g, struct volume *v)
{
    struct err ignored;
    _cleanup_strv_ struct strv named = STRV_INIT;
    _cleanup_(guest_config_freep) struct guest_config *c = env_guest_config(d->env, g, &ignored);
    if (c)
        guest_volumes_named(c, &named);
    for (size_t i = 0; i < named.n; i++) {
        const char *name = strchr(named.v[i], ':');
        if (name && volume_name_owner(name + 1) == d->guest && is_surely_at(d, v, named.v[i]))
            return true;
    }
    return false;
}

/* The other guest of this node whose file names it; 0: none does. */
static uint32_t find_user(struct doctor *d, struct volume *v)
{
    const struct guest_list *all = &d->env->guests;
    for (size_t i = 0; i < all->n; i++)
        if (all->v[i].id != d->guest && strcmp(all->v[i].node, d->env->settings.node) == 0 &&
            names_it(d, &all->v[i], v))
            return all->v[i].id;
    return 0;
}

/* Why it is no leftover, although no run writes to it; malloc'ed, or NULL. */
static char *describe_named(struct doctor *d, struct volume *v, const char *job)
{
    uint32_t user = find_user(d, v);
    if (user)
        return xasprintf("a replica by job '%s' that guest %" PRIu32
                         " of this node has as its own disk: it stays",
                         job, user);
    return is_not_replicated(d, v)
               ? xasprintf("a replica by job '%s' of a disk that the guest's file names and no run sends "
                           "(replicate=0, or a shared storage): it may be all that there is of it, and stays",
                           job)
               : NULL;
}

/* ---- what it is ---- */

/* A guest of this id that was destroyed left it, and no run of the jobs of today's takes it for its own.
 * Malloc'ed. */
static char *describe_former(struct doctor *d, uint64_t size, const char *job)
{
    char when[32] = "no time that is known";
    if (d->newest)
        clock_print_log(d->newest, when);
    return xasprintf(
        "a replica by job '%s', %" PRIu64
        " MiB, its newest restore point of %s, of a disk that the guest has "
        "not. The next run removes what it left itself; not if it is of a former guest of this id, nor if "
        "the disk's image is still on the guest's node or was missing there: then it stays until somebody "
        "removes it",
        job, size >> 20, when);
}

/* It may be all that there is of the guest. Malloc'ed. */
static char *describe_left(const struct doctor *d, bool live, const char *job)
{
    return xasprintf(
        "%s of job '%s', %s: if %s not needed, remove %s", live ? "a replica" : "restore points", job,
        d->exists ? "which does not replicate to this node any more" : "of a guest that exists no more",
        live ? "it is" : "they are", live ? "it" : "them");
}

/* What drop_volume will do; reading all of it to know is left to that. */
static const char *describe_written(struct volume *v, const struct volume_info *info)
{
    struct err ignored;
    char since[SNAPSHOT_NAME_MAX + 1];
    if (!info->exists)
        return "";
    if (info->compares)
        return " (what was written to it since its restore point, if anything was, is kept aside then)";
    return volume_written(v, since, &ignored) != 0 ? " (it was written to since its restore point, or that "
                                                     "cannot be told: this is kept aside then)"
                                                   : "";
}

/* ---- how it goes ---- */

/* Others may have gone before, and taken long. */
static int check_not_here(struct doctor *d, struct err *e)
{
    if (env_guest_again(d->env, d->guest, e) < 0)
        return -1;
    const struct guest_entry *g = guests_find(&d->env->guests, d->guest);
    return g && strcmp(g->node, d->env->settings.node) == 0
               ? err_set(e, ERR_BUSY, 0, "guest %" PRIu32 " is on this node by now", d->guest)
               : 0;
}

static enum finding_state drop(struct doctor *d, struct volume *v, const char *volid, const char *job)
{
    struct err e;
    _cleanup_strv_ struct strv kept = STRV_INIT;
    int r = check_not_here(d, &e) < 0 ? -1 : drop_volume(d->env, v, volid, job, d->guest, &kept, &e);
    for (size_t i = 0; i < kept.n; i++)
        doctor_add(d, FINDING_KEPT, volid, xstrdup(kept.v[i]));
    return doctor_removed(d, volid, r, &e);
}

/* The same judgement as where a run drops it (run/drop.h). */
static void offer(struct doctor *d, struct volume *v, const char *volid, const struct volume_info *info,
                  const char *job)
{
    _cleanup_free_ char *what =
        d->wanted ? describe_former(d, info->size, job) : describe_left(d, info->exists, job);
    _cleanup_free_ char *command = doctor_free_command(d, volid);
    char *text = xasprintf("%s%s: %s", what, describe_written(v, info), command);
    doctor_add(d, doctor_is_freed(d, volid) ? drop(d, v, volid, job) : FINDING_KEPT, volid, text);
}

void doctor_look_at_replica(struct doctor *d, struct volume *v, const char *volid,
                            const struct volume_info *info)
{
    const char *job = info->exists ? d->owner : d->points_of;
    if (d->here || !*job || !d->readable || (d->wanted && is_current(d, v)))
        return;
    char *text = describe_named(d, v, job);
    if (text)
        doctor_add(d, FINDING_KEPT, volid, text);
    else
        offer(d, v, volid, info, job);
}
