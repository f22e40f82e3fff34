#include "run/drop.h"

#include "base/clock.h"
#include "base/mem.h"
#include "cluster/jobs.h"
#include "run/snapshot.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

int drop_shows_received(struct volume *v, const char *job_id, const char *since, struct snapshot *point,
                        struct err *e)
{
    _cleanup_snapshots_ struct snapshots all = {0};
    struct volume_info info;
    if (!snapshot_is_of_job(since, job_id))
        return 0;
    if (volume_info(v, &info, e) < 0 || volume_snapshots(v, &all, e) < 0)
        return -1;
    const struct snapshot *s = snapshots_find(&all, since);
    if (!info.one_line || info.strange || !s || s->flags & (SNAPSHOT_STRANGE | SNAPSHOT_APART) ||
        (s->flags & SNAPSHOT_OURS && !(s->flags & SNAPSHOT_RECEIVED)))
        return 0;
    *point = *s;
    return 1;
}

static int refuse_kept(struct volume *v, const char *volid, const struct job *job, struct err *e)
{
    _cleanup_free_ char *remedy = volume_keeper_remedy(v);
    return err_set(
        e, ERR_CONFIG, 0,
        "volume '%s' is the replica of job '%s' on node '%s', which sees the same storage: give each "
        "node a place of its own, or delete one of the two jobs with --keep; if that node does not "
        "see it any more: %s",
        volid, job->id, job->target, remedy ? remedy : "destroy it there");
}

int drop_check_keeper(struct env *env, struct volume *v, const char *volid, uint32_t guest, struct err *e)
{
    char keeper[VOLUME_KEEPER_MAX + 1];
    struct jobs jobs;
    if (volume_keeper(v, keeper, e) < 0)
        return -1;
    if (!*keeper || strcmp(keeper, env->settings.node) == 0)
        return 0;
    if (jobs_load(env->tree, &jobs, e) < 0)
        return -1;
    int r = 0;
    for (size_t i = 0; r == 0 && i < jobs.n; i++)
        if (jobs.v[i].guest == guest && strcmp(jobs.v[i].target, keeper) == 0)
            r = refuse_kept(v, volid, &jobs.v[i], e);
    jobs_release(&jobs);
    return r;
}

/* 1: the live volume is there and no run of a job ever made it. */
static int was_original(struct volume *v, struct err *e)
{
    struct volume_info info;
    char owner[32], base[SNAPSHOT_ID_LEN + 1];
    if (volume_info(v, &info, e) < 0 || volume_replica(v, owner, base, e) < 0)
        return -1;
    return info.exists && !owner[0];
}

/* Whose volume it was. */
struct own {
    uint32_t guest;
    struct strv snapshots; /* in the guest's configuration */
    uint64_t brought;      /* up to this seq all came from the source (drop_shows_received) */
};

/* Snapshots of the guest or of runs that were made on this node may be nowhere else. Others are somebody's:
 * they stay as they are. */
static int keep_own_snapshots(struct volume *v, const char *volid, const struct own *own, struct strv *kept,
                              struct err *e)
{
    struct snapshots all = {0};
    _cleanup_strv_ struct strv given = STRV_INIT;
    int r = volume_snapshots(v, &all, e);
    for (size_t i = 0; r == 0 && i < all.n; i++) {
        const struct snapshot *s = &all.v[i];
        char to[SNAPSHOT_NAME_MAX + 1];
        if (s->flags & (SNAPSHOT_RECEIVED | SNAPSHOT_STRANGE) || snapshot_is_aside(s->name) ||
            (own->brought && s->seq <= own->brought) ||
            !(s->flags & SNAPSHOT_OURS || snapshot_is_of_guest(s->name, own->guest) ||
              strv_has(&own->snapshots, s->name)))
            continue;
        unsigned n = 1;
        do
            aside_name(s->name, n++, to);
        while (snapshots_find(&all, to) || strv_has(&given, to));
        r = volume_snapshot_rename(v, s->name, to, e);
        if (r == 0 && kept)
            strv_addf(kept, "'%s' of %s was made on this node: it is kept as '%s'", s->name, volid, to);
        strv_add(&given, to);
    }
    snapshots_release(&all);
    return r;
}

/* 1: it is kept, by this name; 0: a plain file that has the name of another aside already, which is what
 * somebody goes on writing to. */
static int keep_aside(struct volume *v, const char *name, struct err *e)
{
    _cleanup_snapshots_ struct snapshots all = {0};
    if (volume_keep_aside(v, name, e) < 0 || volume_snapshots(v, &all, e) < 0)
        return -1;
    return snapshots_find(&all, name) != NULL;
}

static int drop(struct volume *v, const char *volid, const char *job_id, struct own *own, struct strv *kept,
                struct err *e)
{
    char since[SNAPSHOT_NAME_MAX + 1];
    char name[SNAPSHOT_NAME_MAX + 1], late_name[SNAPSHOT_NAME_MAX + 1];
    struct snapshot point = {0};
    volume_idle(v);
    if (volume_alone(v, e) < 0 || volume_check_unused(v, e) < 0)
        return -1;
    int written = volume_written(v, since, e);
    int received = written == 0 ? drop_shows_received(v, job_id, since, &point, e) : 0;
    if (received < 0)
        return -1;
    if (received && !(point.flags & SNAPSHOT_RECEIVED))
        own->brought = point.seq;
    if (written == 0 && !received)
        written = was_original(v, e);
    snprintf(name, sizeof name, ASIDE_PREFIX "%s_%" PRId64, job_id, clock_epoch());
    if (written < 0 || (written && (written = keep_aside(v, name, e)) < 0))
        return -1;
    int late = keep_own_snapshots(v, volid, own, kept, e) < 0 ? -1 : volume_written(v, since, e);
    /* all that may have taken long; what fails now would never be found stale again */
    snprintf(late_name, sizeof late_name, ASIDE_PREFIX "%s_%" PRId64 "_late", job_id, clock_epoch());
    if (late < 0 || (late && (late = keep_aside(v, late_name, e)) < 0))
        return -1;
    if (written && kept)
        strv_addf(kept, "what %s has that no restore point has is kept as '%s'", volid, name);
    if (late && kept)
        strv_addf(kept, "what was written to %s meanwhile is kept as '%s'", volid, late_name);
    return volume_destroy(v, e);
}

int drop_volume(struct env *env, struct volume *v, const char *volid, const char *job_id, uint32_t guest,
                struct strv *kept, struct err *e)
{
    struct own own = {.guest = guest};
    struct err ignored;
    const struct guest_entry *g = env_guest(env, guest, &ignored);
    struct guest_config *c = g ? env_guest_config(env, g, &ignored) : NULL;
    for (size_t i = 0; c && i < guest_config_snapshots(c)->n; i++)
        strv_add(&own.snapshots, guest_config_snapshots(c)->v[i]);
    guest_config_free(c);
    int r = drop(v, volid, job_id, &own, kept, e);
    strv_release(&own.snapshots);
    return r;
}
