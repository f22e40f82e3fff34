#include "daemon/tell.h"

#include "base/clock.h"
#include "base/fs.h"
#include "base/modes.h"
#include "daemon/daemon.h"
#include "daemon/log.h"

#include <inttypes.h>
#include <string.h>

#define TOLD_MAX (8 << 20)
#define MINUTE_SECONDS 60

/* ---- targets ---- */

void tell_load(struct daemon *d)
{
    struct tell *t = &d->tell;
    struct err e = {0};
    struct targets_text text;
    if (targets_text_read(d->tree, &text, &e) < 0) {
        log_line(LOG_WARNING, "the targets of notifications stay as they were: %s", e.text);
        return;
    }
    bool first = !t->text.file;
    if (targets_text_equal(&text, &t->text)) {
        targets_text_release(&text);
        return;
    }
    targets_release(&t->targets);
    targets_of_text(&text, &t->targets);
    for (size_t i = 0; i < t->targets.warnings.n; i++)
        log_line(LOG_WARNING, "%s", t->targets.warnings.v[i]);
    targets_text_release(&t->text);
    t->text = text;
    if (!first)
        courier_retry(&d->courier);
}

bool tell_is_on(const struct daemon *d)
{
    for (size_t i = 0; i < d->tell.targets.n; i++)
        if (!d->tell.targets.v[i].disabled)
            return true;
    return false;
}

/* ---- what was told ---- */

static char *told_path(const struct daemon *d)
{
    return xasprintf("%s/pvesr-notify/told", d->settings.state_dir);
}

static json_t *told(struct daemon *d)
{
    struct err e;
    _cleanup_buf_ struct buf text = BUF_INIT;
    _cleanup_free_ char *path = told_path(d);
    if (!d->tell.told && fs_read(path, TOLD_MAX, &text, &e) == 0)
        d->tell.told = json_loadb(buf_str(&text), text.len, 0, NULL);
    if (!json_is_object(d->tell.told)) {
        json_decref(d->tell.told);
        d->tell.told = json_object();
    }
    return d->tell.told;
}

static void save_told(struct daemon *d)
{
    struct err e = {0};
    _cleanup_free_ char *path = told_path(d);
    _cleanup_free_ char *folder = xasprintf("%s/pvesr-notify", d->settings.state_dir);
    _cleanup_free_ char *text = json_dumps(d->tell.told, JSON_COMPACT | JSON_SORT_KEYS);
    if (fs_mkdir_p(folder, MODE_NOTES, &e) < 0 ||
        fs_write_atomic(path, text, strlen(text), MODE_NOTE, &e) < 0)
        log_line(LOG_WARNING, "notifications that were sent may come again: %s", e.text);
}

/* Of a job; borrowed. */
static json_t *told_of(struct daemon *d, const char *job)
{
    json_t *all = told(d), *one = json_object_get(all, job);
    if (json_is_object(one))
        return one;
    json_object_set_new(all, job, json_object());
    return json_object_get(all, job);
}

static int64_t told_time(const json_t *one, const char *key)
{
    return json_integer_value(json_object_get(one, key));
}

/* ---- to the spool ---- */

static void spool(struct daemon *d, const json_t *event)
{
    struct err e = {0};
    const struct notify_targets *all = &d->tell.targets;
    int64_t now = clock_epoch();
    bool kept = true;
    for (size_t i = 0; i < all->n; i++)
        if (targets_want(all, &all->v[i], event, now))
            kept &= courier_add(&d->courier, all->v[i].name, event, &e) == 0;
    if (!kept)
        report_event(d, event, &e);
}

static void flush(struct daemon *d)
{
    struct tell *t = &d->tell;
    json_t *all = events_group(t->pending);
    t->events += json_array_size(t->pending);
    json_decref(t->pending);
    t->pending = NULL;
    for (size_t i = 0; i < json_array_size(all); i++)
        spool(d, json_array_get(all, i));
    json_decref(all);
    if (t->changed)
        save_told(d); /* behind it: rather twice than never */
    t->changed = false;
}

static int on_flush(sd_event_source *s, uint64_t usec, void *arg)
{
    struct daemon *d = arg;
    flush(d);
    courier_look(&d->courier);
    return 0;
}

/* Seconds until more may go to the spool: whoever has heard of many within a minute, this one or the last,
 * hears of the others at its end, of all together. */
static double rest_of_minute(struct tell *t)
{
    double now = clock_mono();
    if (now - t->minute >= MINUTE_SECONDS) {
        t->gathers = now - t->minute < 2 * MINUTE_SECONDS && t->events > EVENTS_APART;
        t->minute = now;
        t->events = 0;
    }
    bool waits = t->pending && (t->gathers || t->events >= EVENTS_APART);
    return waits ? t->minute + MINUTE_SECONDS - now : 0;
}

static void flush_soon(struct daemon *d)
{
    struct tell *t = &d->tell;
    uint64_t usec = (uint64_t)(rest_of_minute(t) * 1e6);
    int r = t->flush ? sd_event_source_set_time_relative(t->flush, usec)
                     : sd_event_add_time_relative(d->event, &t->flush, CLOCK_MONOTONIC, usec, 1, on_flush, d);
    if (r >= 0)
        r = sd_event_source_set_enabled(t->flush, SD_EVENT_ONESHOT);
    if (r < 0)
        flush(d);
}

/* ---- telling ---- */

static void save_soon(struct daemon *d)
{
    d->tell.changed = true;
    flush_soon(d);
}

/* Remember something of a job; NULL: forget it. */
static void note(struct daemon *d, json_t *one, const char *key, json_t *value)
{
    if (value)
        json_object_set_new(one, key, value);
    else
        json_object_del(one, key);
    save_soon(d);
}

static void tell(struct daemon *d, struct event *ev)
{
    struct tell *t = &d->tell;
    ev->source = d->settings.node;
    ev->time = clock_epoch();
    if (!t->pending)
        t->pending = json_array();
    json_array_append_new(t->pending, event_json(ev));
    flush_soon(d);
}

static void tell_of(struct daemon *d, const struct queue_job *j, enum event_kind kind, int64_t since,
                    const char *error)
{
    tell(d, &(struct event){.kind = kind,
                            .job = j->id,
                            .target = j->target,
                            .guest = j->guest,
                            .since = since,
                            .next = j->next,
                            .failures = j->fail_count,
                            .error = error});
}

void tell_failure(struct daemon *d, const struct queue_job *j)
{
    json_t *one = told_of(d, j->id);
    int64_t since = told_time(one, "failing");
    if (!since) {
        since = j->last_try ? j->last_try : clock_epoch(); /* schedule-now has put it back */
        note(d, one, "failing", json_integer(since));
    }
    tell_of(d, j, EVENT_FAILURE, since, j->error ? j->error : "unknown error");
}

void tell_overdue(struct daemon *d, const struct queue_job *j, int64_t now)
{
    json_t *one = told_of(d, j->id);
    int64_t before = told_time(one, "overdue");
    if (before && before <= now && now - before < QUEUE_TELL_AGAIN)
        return;
    note(d, one, "overdue", json_integer(now));
    _cleanup_free_ char *why = report_why_overdue(d, j);
    tell_of(d, j, EVENT_OVERDUE, j->overdue, why);
}

void tell_paused(struct daemon *d, int64_t now)
{
    tell(d, &(struct event){.kind = EVENT_PAUSED, .since = d->paused_at, .error = d->problem});
}

/* ---- what the states say ---- */

/* Its end was seen by no daemon that could tell it: that was stopped, or killed, meanwhile. */
static void look_for_untold(struct daemon *d, const struct queue_job *j, const json_t *one)
{
    if (j->fail_count && !told_time(one, "failing"))
        tell_failure(d, j);
}

static void look_for_recovery(struct daemon *d, const struct queue_job *j, json_t *one, int64_t now)
{
    int64_t failing = told_time(one, "failing"), overdue = told_time(one, "overdue");
    bool is_overdue = j->overdue && j->overdue <= now;
    if ((!failing && !overdue) || is_overdue || j->fail_count || j->last_sync == 0 || j->last_sync < failing)
        return;
    note(d, one, "failing", NULL);
    note(d, one, "overdue", NULL);
    tell_of(d, j, EVENT_RECOVERY, failing ? failing : overdue, NULL);
}

static void look_for_fault(struct daemon *d, const struct queue_job *j, json_t *one)
{
    bool known = json_object_get(one, "stuck");
    if (known == (j->fault != NULL))
        return;
    note(d, one, "stuck", j->fault ? json_integer(clock_epoch()) : NULL);
    if (j->fault)
        tell_of(d, j, EVENT_CANNOT_RUN, 0, j->fault);
}

static bool has(const json_t *list, const char *text)
{
    for (size_t i = 0; i < json_array_size(list); i++)
        if (strcmp(json_string_value(json_array_get(list, i)), text) == 0)
            return true;
    return false;
}

static void look_for_kept(struct daemon *d, const struct queue_job *j, json_t *one)
{
    _cleanup_strv_ struct strv new = STRV_INIT;
    json_t *before = json_object_get(one, "kept"), *now = json_array();
    for (size_t i = 0; i < j->kept_aside.n; i++) {
        json_array_append_new(now, json_string(j->kept_aside.v[i]));
        if (!has(before, j->kept_aside.v[i]))
            strv_add(&new, j->kept_aside.v[i]);
    }
    if (json_array_size(before) != json_array_size(now) || new.n)
        note(d, one, "kept", json_array_size(now) ? json_incref(now) : NULL);
    json_decref(now);
    if (new.n) {
        _cleanup_free_ char *what = strv_join(&new, ", ");
        tell_of(d, j, EVENT_KEPT_ASIDE, 0, what);
    }
}

/* What was found behind another run is found anew. */
static char *name_doubt(const struct queue_job *j)
{
    bool found = j->doubt == DOUBT_GONE || j->doubt == DOUBT_DIFFERS;
    return found ? xasprintf("%s %" PRId64, job_doubt_name(j->doubt), j->last_sync)
                 : xstrdup(job_doubt_name(j->doubt));
}

/* Where a verification only comes late, the first part after a rest is waited for. */
static void look_for_doubt(struct daemon *d, const struct queue_job *j, int64_t now, struct strv *lines)
{
    _cleanup_free_ char *name = name_doubt(j);
    const char *before = json_string_value(json_object_get(json_object_get(told(d), j->id), "doubt"));
    if (strcmp(name, before ? before : "") == 0 ||
        (j->doubt == DOUBT_LATE && now - j->doubt_since < QUEUE_VERIFY_FIRST))
        return;
    note(d, told_of(d, j->id), "doubt", *name ? json_string(name) : NULL);
    if (!j->doubtful)
        return;
    log_line(LOG_WARNING, "job '%s' (guest %" PRIu32 " to node '%s'): %s", j->id, j->guest, j->target,
             j->doubtful);
    strv_addf(lines, "%s (guest %" PRIu32 " to node '%s'): %s", j->id, j->guest, j->target, j->doubtful);
    if (tell_is_on(d))
        tell_of(d, j, EVENT_VERIFICATION, 0, j->doubtful);
}

/* A job that is no more, or not this node's. */
static void forget_the_gone(struct daemon *d)
{
    const char *id;
    json_t *one;
    void *next;
    json_object_foreach_safe(told(d), next, id, one)
    {
        if (queue_find(&d->queue, id) && json_object_size(one))
            continue;
        if (json_object_size(one))
            save_soon(d);
        json_object_del(d->tell.told, id);
    }
}

static void look_for_doubts(struct daemon *d, int64_t now)
{
    _cleanup_strv_ struct strv lines = STRV_INIT;
    for (size_t i = 0; i < d->queue.n; i++)
        if (!d->queue.v[i].gone)
            look_for_doubt(d, &d->queue.v[i], now, &lines);
    if (lines.n && !tell_is_on(d))
        report_doubts(d, &lines);
}

void tell_look(struct daemon *d, int64_t now)
{
    bool first = !d->tell.looked;
    d->tell.looked = true;
    look_for_doubts(d, now);
    for (size_t i = 0; i < d->queue.n && tell_is_on(d); i++) {
        const struct queue_job *j = &d->queue.v[i];
        json_t *one = told_of(d, j->id);
        if (j->gone)
            continue;
        if (first)
            look_for_untold(d, j, one);
        look_for_recovery(d, j, one, now);
        look_for_fault(d, j, one);
        look_for_kept(d, j, one);
    }
    forget_the_gone(d);
}

void tell_release(struct daemon *d)
{
    if (d->tell.flush)
        flush(d);
    sd_event_source_disable_unref(d->tell.flush);
    targets_release(&d->tell.targets);
    targets_text_release(&d->tell.text);
    json_decref(d->tell.told);
}
