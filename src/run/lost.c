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

/* A setting that was `had`, in words `was`, and is to be `now`, NULL: it is not there. */
static int check(const struct lost *l, const char *key, const char *now, const char *had, const char *was,
                 const char *remedy, struct err *e)
{
    if (l->job->cut && (!now || strcmp(now, had) != 0))
        return err_set(
            e, ERR_CONFIG, 0,
            "the settings of job '%s' may be cut off: %s, and replication-ext.cfg ends in the midst of "
            "a line; put it right, and end it with a line feed",
            l->job->id, was);
    _cleanup_free_ char *why = now ? NULL : jobs_setting_lost(l->jobs, l->job, key);
    return why ? err_set(e, ERR_CONFIG, 0,
                         "the settings of job '%s' are lost: %s, and %s. Put it back, or say %s", l->job->id,
                         was, why, remedy)
               : 0;
}

static int check_keep(const struct lost *l, struct err *e)
{
    const char *had = noted(l, "keep");
    if (!had || strcmp(had, "last=1") == 0)
        return 0;
    _cleanup_free_ char *was = xasprintf("the target was to keep '%s'", had);
    _cleanup_free_ char *remedy =
        xasprintf("how many restore points are to be kept: 'pvesr update %s --keep %s'; 'last=1' leaves the "
                  "newest",
                  l->job->id, had);
    return check(l, "keep", l->job->keep, had, was, remedy, e);
}

static int check_target_storage(const struct lost *l, struct err *e)
{
    const char *had = noted(l, "target-storage");
    if (!had)
        return 0;
    _cleanup_free_ char *was = xasprintf("its replica is on the storages of '%s'", had);
    _cleanup_free_ char *remedy = xasprintf(
        "where the replica is to be: 'pvesr update %s --target-storage %s'; '--delete "
        "target-storage' makes another one on the storages of the guest's volumes, and removes this "
        "one",
        l->job->id, had);
    return check(l, "target-storage", l->job->target_storage, had, was, remedy, e);
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
