#include "run/source/retain.h"

#include "base/mem.h"
#include "run/snapshot.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* ---- the history of a job ---- */

void history_release(struct history *h)
{
    free(h->v);
    h->v = NULL;
    h->n = 0;
}

bool history_has(const struct history *h, const char *snapshot)
{
    if (!h || !snapshot_is_of_job(snapshot, h->job_id))
        return false;
    for (size_t i = 0; i < h->n; i++)
        if (h->v[i].epoch == snapshot_epoch(snapshot))
            return true;
    return false;
}

void history_add(struct history *h, const struct snapshots *s)
{
    int64_t before = 0;
    for (size_t i = 0; i < s->n; i++) {
        const char *name = s->v[i].name;
        if (!snapshot_is_of_job(name, h->job_id) || s->v[i].flags & SNAPSHOT_STRANGE)
            continue;
        int64_t epoch = snapshot_epoch(name), when = h->now && epoch > h->now ? before : epoch;
        before = when;
        if (history_has(h, name))
            continue;
        h->v = xgrow(h->v, h->n, sizeof *h->v);
        h->v[h->n] = (struct history_run){epoch, when, h->n};
        h->n++;
    }
}

/* ---- the rules ---- */

/* An hour, a day … in words. */
struct period {
    char text[40];
};

static size_t print_period(enum keep_rule rule, const struct tm *tm, char *out, size_t room)
{
    switch (rule) {
    case KEEP_HOURLY:
        return strftime(out, room, "%Y-%m-%d %H %z", tm); /* the repeated hour of autumn is two hours */
    case KEEP_DAILY:
        return strftime(out, room, "%Y-%m-%d", tm);
    case KEEP_WEEKLY:
        return strftime(out, room, "%G-%V", tm);
    case KEEP_MONTHLY:
        return strftime(out, room, "%Y-%m", tm);
    case KEEP_YEARLY:
        return strftime(out, room, "%Y", tm);
    default:
        return 0;
    }
}

static struct period period_of(enum keep_rule rule, int64_t epoch)
{
    struct tm tm;
    struct period p;
    time_t t = (time_t)epoch;
    /* Each run is a period of `last`; and so is a time that is in no calendar, as in a name made by hand. */
    if (!localtime_r(&t, &tm) || !print_period(rule, &tm, p.text, sizeof p.text))
        snprintf(p.text, sizeof p.text, "%" PRId64, epoch);
    return p;
}

static int newest_first(const void *a, const void *b)
{
    const struct history_run *x = a, *y = b;
    return x->when != y->when ? (x->when < y->when) - (x->when > y->when)
                              : (x->order < y->order) - (x->order > y->order);
}

/* Is anything kept, by this rule or one before it, of the period that point i is in? */
static bool covered(const struct period *periods, const bool *kept, size_t n, size_t i)
{
    for (size_t k = 0; k < n; k++)
        if (kept[k] && strcmp(periods[k].text, periods[i].text) == 0)
            return true;
    return false;
}

static void apply(enum keep_rule rule, unsigned room, const struct history *h, bool *kept)
{
    struct period *periods = xcalloc(h->n, sizeof *periods);
    for (size_t i = 0; i < h->n; i++)
        periods[i] = period_of(rule, h->v[i].when);
    for (size_t i = 0; i < h->n && room; i++) {
        if (covered(periods, kept, h->n, i))
            continue;
        kept[i] = true;
        room--;
    }
    free(periods);
}

void history_prune(struct history *h, const struct keep *rules)
{
    if (h->n == 0)
        return;
    tzset();
    qsort(h->v, h->n, sizeof *h->v, newest_first);
    bool *kept = xcalloc(h->n, sizeof *kept);
    for (enum keep_rule rule = 0; rule < KEEP_RULES; rule++)
        apply(rule, rules->n[rule], h, kept);
    size_t n = 0;
    for (size_t i = 0; i < h->n; i++)
        if (kept[i])
            h->v[n++] = h->v[i];
    h->n = n;
    free(kept);
}

/* ---- the snapshots ---- */

bool siblings_settled(const struct snapshots *source, const struct strv *siblings)
{
    for (size_t i = 0; i < siblings->n; i++) {
        const struct snapshot *s = snapshots_find(source, siblings->v[i]);
        if (!s || s->flags & SNAPSHOT_RECEIVED)
            return false;
    }
    return true;
}

/* Of the same guest, but of none of its jobs. */
static bool is_orphan(const char *name, const char *job_id, const struct strv *siblings)
{
    if (snapshot_is_of_job(name, job_id) || !snapshot_is_of_guest(name, (uint32_t)strtoul(job_id, NULL, 10)))
        return false;
    const char *job = name + strlen("__replicate_");
    size_t n = (size_t)(strchr(job, '_') - name) + 1; /* up to the job's end */
    for (size_t i = 0; siblings && i < siblings->n; i++)
        if (strncmp(siblings->v[i], name, n) == 0)
            return false;
    return true;
}

static bool is_data(const struct retain *by, const struct received *side, const char *name)
{
    return received_is(side, by->jobs, name) != RECEIVED_BASE;
}

/* On the source: does what was received for this job, or one that is no more, go? */
static bool received_goes(const struct retain *by, const char *name)
{
    if (!snapshot_is_of_job(name, by->job_id))
        return is_orphan(name, by->job_id, by->siblings) && !is_data(by, by->here, name);
    return by->leave ? !is_data(by, by->here, name) : !history_has(by->history, name);
}

void retain_source(const struct retain *by, const struct snapshots *source, struct snapshots *ret)
{
    bool all = siblings_settled(source, by->siblings);
    for (size_t i = 0; i < source->n; i++) {
        const struct snapshot *s = &source->v[i];
        if (s->flags & SNAPSHOT_STRANGE || strcmp(s->name, by->new_snapshot) == 0)
            continue;
        if (s->flags & SNAPSHOT_RECEIVED ? all && received_goes(by, s->name)
                                         : snapshot_is_of_job(s->name, by->job_id))
            snapshots_add(ret, s);
    }
}

bool snapshot_lost_here(const struct snapshot *there, const struct snapshots *source,
                        const struct strv *listed)
{
    return there->flags & SNAPSHOT_RECEIVED && !(there->flags & SNAPSHOT_STRANGE) && listed &&
           strv_has(listed, there->name) && !snapshots_find_id(source, there->id) &&
           !snapshots_find(source, there->name);
}

bool retain_keeps_alone(const struct retain *by, const struct snapshots *source, const struct snapshot *s)
{
    return snapshot_lost_here(s, source, by->listed) ||
           (is_orphan(s->name, by->job_id, by->siblings) && received_several(by->there, s->name));
}

/* Of a job of today's, the newest point comes along with each run of another: that is no history there. */
static bool stays_of_other(const struct retain *by, const char *name)
{
    enum received_is what = received_is(by->there, by->jobs, name);
    for (size_t i = 0; what == RECEIVED_RULED && i < by->n_others; i++)
        if (history_has(&by->others[i], name))
            return true;
    return what == RECEIVED_FREE;
}

static bool stays_there(const struct retain *by, const struct snapshot *s)
{
    return history_has(by->history, s->name) ||
           (s->flags & SNAPSHOT_RECEIVED && !snapshot_is_of_job(s->name, by->job_id) &&
            stays_of_other(by, s->name));
}

/* Chosen from what both sides have once the new snapshot is acknowledged, and carried out only then
 * (sync_carry_out: commit, record, prune): the new snapshot and all that the source has left are among what
 * stays, so that the last restore point, and the last base, outlive each removal; policy_prune on the target
 * keeps what the replica shows, whatever it is told. */
void retain_target(const struct retain *by, const struct snapshots *target,
                   const struct snapshots *source_after, const char *new_snapshot_id, struct snapshots *ret)
{
    uint32_t guest = (uint32_t)strtoul(by->job_id, NULL, 10);
    for (size_t i = 0; i < target->n; i++) {
        const struct snapshot *s = &target->v[i];
        if (strcmp(s->id, new_snapshot_id) == 0 || snapshots_find_id(source_after, s->id) ||
            snapshot_is_aside(s->name) || s->flags & SNAPSHOT_STRANGE || stays_there(by, s) ||
            snapshot_lost_here(s, source_after, by->listed))
            continue;
        if (snapshot_is_of_guest(s->name, guest) || s->flags & SNAPSHOT_RECEIVED)
            snapshots_add(ret, s);
    }
}
