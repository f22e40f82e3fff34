#include "run/lost.h"

#include "base/mem.h"

#include <string.h>

#define BETWEEN "between"

void lost_note_make(const char *node, const struct job *job, struct strv *ret)
{
    strv_release(ret);
    strv_addf(ret, BETWEEN " %s %s", node, job->target);
    job_settings_list(job, ret);
}

static const char *find(const struct strv *settings, const char *key)
{
    size_t n = strlen(key);
    for (size_t i = 0; i < settings->n; i++)
        if (strncmp(settings->v[i], key, n) == 0 && settings->v[i][n] == ' ')
            return settings->v[i] + n + 1;
    return NULL;
}

/* A job's target is never edited, and becomes the former source when the guest moves: else the job was made
 * anew by another tool. */
static bool is_of_job(const struct lost *l, const struct lost_note *note)
{
    const char *between = note->epoch ? find(note->settings, BETWEEN) : NULL;
    _cleanup_strv_ struct strv nodes = STRV_INIT;
    strv_split(&nodes, between ? between : "", " ");
    return strv_has(&nodes, l->job->target);
}

/* The newest note decides; the state's has but `keep`. */
static const char *noted(const struct lost *l, const char *key)
{
    const struct lost_note *newest = is_of_job(l, &l->here) ? &l->here : NULL;
    if ((!newest || l->there.epoch > newest->epoch) && is_of_job(l, &l->there))
        newest = &l->there;
    if (strcmp(key, "keep") == 0 && l->state->keep && (!newest || l->state->last_sync > newest->epoch))
        return l->state->keep;
    return newest ? find(newest->settings, key) : NULL;
}

static int refuse_cut(const struct lost *l, const char *was, struct err *e)
{
    return err_set(
        e, ERR_CONFIG, 0,
        "the settings of job '%s' may be cut off: %s, and replication-ext.cfg ends in the midst of "
        "a line; put it right, and end it with a line feed",
        l->job->id, was);
}

static bool is_cut(const struct lost *l, const char *now, const char *had)
{
    return l->job->cut && (!now || strcmp(now, had) != 0);
}

static int check_keep(const struct lost *l, struct err *e)
{
    const char *id = l->job->id, *now = l->job->keep, *kept = noted(l, "keep");
    if (!kept || strcmp(kept, "last=1") == 0)
        return 0;
    _cleanup_free_ char *was = xasprintf("the target was to keep '%s'", kept);
    if (is_cut(l, now, kept))
        return refuse_cut(l, was, e);
    _cleanup_free_ char *why = now ? NULL : jobs_setting_lost(l->jobs, l->job, "keep");
    if (!why)
        return 0;
    return err_set(
        e, ERR_CONFIG, 0,
        "the settings of job '%s' are lost: %s, and %s. Put it back, or say how many restore points "
        "are to be kept: 'pvesr update %s --keep %s'; 'last=1' leaves the newest",
        id, was, why, id, kept);
}

static int check_target_storage(const struct lost *l, struct err *e)
{
    const char *id = l->job->id, *now = l->job->target_storage, *had = noted(l, "target-storage");
    if (!had)
        return 0;
    _cleanup_free_ char *was = xasprintf("its replica is on the storages of '%s'", had);
    if (is_cut(l, now, had))
        return refuse_cut(l, was, e);
    _cleanup_free_ char *why = now ? NULL : jobs_setting_lost(l->jobs, l->job, "target-storage");
    if (!why)
        return 0;
    return err_set(
        e, ERR_CONFIG, 0,
        "the settings of job '%s' are lost: %s, and %s. Put it back, or say where the replica is to "
        "be: 'pvesr update %s --target-storage %s'; '--delete target-storage' makes another one on "
        "the storages of the guest's volumes, and removes this one",
        id, was, why, id, had);
}

int lost_check(const struct lost *l, struct err *e)
{
    return check_keep(l, e) < 0 || check_target_storage(l, e) < 0 ? -1 : 0;
}

static void tell_lost(const struct lost *l, const char *key, const char *now, struct strv *ret)
{
    const char *had = noted(l, key);
    _cleanup_free_ char *why = had && !now ? jobs_setting_lost(l->jobs, l->job, key) : NULL;
    if (why)
        strv_addf(ret, "the job's '%s' was '%s' at the last run, and %s", key, had, why);
}

void lost_tell(const struct lost *l, struct strv *ret)
{
    tell_lost(l, "scrub-days", l->job->scrub_days, ret);
    tell_lost(l, "max-age", l->job->max_age, ret);
    _cleanup_free_ char *unknown = jobs_unknown_settings(l->jobs, l->job);
    if (unknown)
        strv_addf(ret, "the job's section in replication-ext.cfg has what this version does not know: %s",
                  unknown);
}
