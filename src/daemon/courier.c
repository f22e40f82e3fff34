#include "daemon/courier.h"

#include "api/child.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/lock.h"
#include "conf/datacenter.h"
#include "daemon/log.h"
#include "daemon/targets.h"
#include "notify/send.h"
#include "notify/spool.h"
#include "state/mail.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#define DEADLINE_SECONDS 120 /* sendmail gets 60, a server SEND_SECONDS */
#define AT_ONCE 4
#define REST_SECONDS 30 /* between two tries, also when none of it can be recorded */

struct delivery {
    struct courier *courier;
    struct delivery *next;
    char name[SPOOL_NAME_MAX];
    char *target;
    struct child *child; /* NULL: it failed, and the target is left alone until then */
    double until;        /* monotonic */
};

/* ---- one delivery ---- */

static void delivery_free(struct delivery *d)
{
    free(d->target);
    free(d);
}

static void drop(struct delivery *d)
{
    struct delivery **p = &d->courier->under_way;
    while (*p != d)
        p = &(*p)->next;
    *p = d->next;
    delivery_free(d);
}

/* The process has recorded it, unless it was ended. */
static void on_failed(struct delivery *d, const struct child_result *r)
{
    struct err e = {0};
    log_line(LOG_WARNING, "a notification for target '%s' waits: %s", d->target,
             r->late          ? "it took too long"
             : r->err.len     ? buf_str(&r->err)
             : r->status == 0 ? "its process has ended and left it"
                              : "its process was ended");
    if (r->status >= 128)
        spool_failed(d->courier->settings->state_dir, d->name, "it took too long, or was ended", false, NULL,
                     clock_epoch(), &e);
    d->child = NULL;
    d->until = clock_mono() + REST_SECONDS;
}

static bool is_settled(const struct delivery *d, const struct child_result *r)
{
    struct courier *c = d->courier;
    switch (r->late ? -1 : r->status) {
    case 0: /* whatever it did: what is still there is not begun anew at once */
        return !spool_has(c->settings->state_dir, d->name);
    case COURIER_STAYS:
        strv_add_once(&c->settled, d->name);
        log_line(LOG_ERR, "%s", buf_str(&r->err));
        return true;
    case COURIER_REFUSED:
        strv_add_once(&c->refused, d->name);
        log_line(LOG_ERR, "%s", buf_str(&r->err));
        return true;
    case COURIER_DROPPED:
        log_line(LOG_NOTICE, "%s", buf_str(&r->err));
        return true;
    default:
        return false;
    }
}

static void on_ended(const struct child_result *r, void *arg)
{
    struct delivery *d = arg;
    struct courier *c = d->courier;
    if (is_settled(d, r))
        drop(d);
    else
        on_failed(d, r);
    courier_look(c);
}

static void start(struct courier *c, const struct spooled *what)
{
    struct err e = {0};
    _cleanup_strv_ struct strv argv = STRV_INIT;
    strv_adds(&argv, "/proc/self/exe", "--send-notification", NULL);
    if (c->config)
        strv_addf(&argv, "--config=%s", c->config);
    _cleanup_free_ char *input = xasprintf("%s\n%s", what->name, c->settings->state_dir);
    struct delivery *d = xcalloc(1, sizeof *d);
    *d = (struct delivery){.courier = c, .target = xstrdup(what->target)};
    snprintf(d->name, sizeof d->name, "%s", what->name);
    d->child = child_start(c->children, &argv, input, strlen(input), DEADLINE_SECONDS, on_ended, d, &e);
    if (!d->child)
        log_line(LOG_WARNING, "a notification for target '%s' waits: %s", d->target, e.text);
    d->until = clock_mono() + REST_SECONDS; /* where it could not even begin */
    d->next = c->under_way;
    c->under_way = d;
}

/* ---- all ---- */

static size_t count(const struct courier *c)
{
    size_t n = 0;
    for (const struct delivery *d = c->under_way; d; d = d->next)
        n += d->child != NULL;
    return n;
}

/* The one to this target that is under way, or since which it rests; or NULL. */
static const struct delivery *delivery_to(const struct courier *c, const char *target)
{
    for (const struct delivery *d = c->under_way; d; d = d->next)
        if (strcmp(d->target, target) == 0)
            return d;
    return NULL;
}

/* Seconds until the first target that rests can be tried again; 0: none rests. */
static int64_t wake_rested(struct courier *c)
{
    int64_t soonest = 0;
    double now = clock_mono();
    for (struct delivery *d = c->under_way, *next; d; d = next) {
        next = d->next;
        int64_t left = (int64_t)(d->until - now) + 1;
        if (!d->child && d->until <= now)
            drop(d);
        else if (!d->child && (!soonest || left < soonest))
            soonest = left;
    }
    return soonest;
}

static int64_t tried_at(const struct spooled *x)
{
    return x->next - spool_retry_delay(x->tries);
}

/* What was wrong may have been mended where nobody sees it: at the server. */
static bool is_long_ago(const struct spooled *x, int64_t now)
{
    return x->refused && now - tried_at(x) >= COURIER_REFUSED_SECONDS;
}

/* Was something mended since it was tried? A moment far ahead was set by a clock that was ahead. */
static bool is_to_retry(const struct courier *c, const struct spooled *x, int64_t now)
{
    return x->next > now + spool_retry_delay(UINT32_MAX) || tried_at(x) <= c->retried || is_long_ago(x, now);
}

/* Neither sent by itself, nor in the way of others. */
static bool rests(const struct courier *c, const struct spooled *x, int64_t now)
{
    return strv_has(&c->settled, x->name) || (x->refused && !is_long_ago(x, now) &&
                                              (strv_has(&c->refused, x->name) || !is_to_retry(c, x, now)));
}

/* One who does not take it now holds up no other one, who has it. */
static bool is_first(const struct courier *c, const struct spool *s, size_t i, int64_t now)
{
    for (size_t k = 0; k < i; k++)
        if (strcmp(s->v[k].target, s->v[i].target) == 0 && !s->v[k].partly && !rests(c, &s->v[k], now))
            return false;
    return !rests(c, &s->v[i], now);
}

static bool is_due(const struct courier *c, const struct spooled *x, int64_t now)
{
    return x->next <= now || is_to_retry(c, x, now);
}

/* Never untried: the clock may have been set since it was made. */
static bool give_up(struct courier *c, const struct spooled *x, int64_t now)
{
    struct err e = {0};
    bool old = x->tries > 0 && now - x->made >= SPOOL_KEEP_SECONDS;
    if (!old || strv_has(&c->settled, x->name))
        return false;
    log_line(LOG_ERR, "'%s' is not told to target '%s', given up after %u tries: %s", x->title, x->target,
             x->tries, x->error ? x->error : "it was never sent");
    if (spool_remove(c->settings->state_dir, x->name, &e) < 0)
        strv_add_once(&c->settled, x->name);
    return true;
}

/* Once more, since what kept them may be mended. */
static void remove_settled(struct courier *c)
{
    struct err ignored;
    for (size_t i = c->settled.n; i-- > 0;)
        if (spool_remove(c->settings->state_dir, c->settled.v[i], &ignored) == 0)
            strv_remove(&c->settled, i);
}

static int64_t sooner(int64_t soonest, int64_t next, int64_t now)
{
    return next > now && (!soonest || next < soonest) ? next : soonest;
}

/* What is first of its target. The moment of the next look, 0: none by itself. */
static int64_t look_at(struct courier *c, const struct spool *s, int64_t now)
{
    int64_t soonest = 0;
    for (size_t i = 0; i < s->n; i++) {
        const struct spooled *x = &s->v[i];
        const struct delivery *d = delivery_to(c, x->target);
        int64_t next = x->next;
        if (x->refused && rests(c, x, now) && !give_up(c, x, now))
            soonest = sooner(soonest, tried_at(x) + COURIER_REFUSED_SECONDS, now);
        if (!is_first(c, s, i, now) || (d && d->child))
            continue;
        if (give_up(c, x, now))
            next = now + 1;
        else if (!d && is_due(c, x, now) && count(c) < AT_ONCE)
            start(c, x);
        soonest = sooner(soonest, next, now);
    }
    return soonest;
}

static int on_timer(sd_event_source *s, uint64_t usec, void *arg)
{
    courier_look(arg);
    return 0;
}

static void set_timer(struct courier *c, int64_t seconds)
{
    uint64_t usec = (uint64_t)seconds * 1000000;
    if (!c->timer) {
        sd_event_add_time_relative(c->event, &c->timer, CLOCK_MONOTONIC, usec, 0, on_timer, c);
        return;
    }
    sd_event_source_set_time_relative(c->timer, usec);
    sd_event_source_set_enabled(c->timer, SD_EVENT_ONESHOT);
}

void courier_look(struct courier *c)
{
    struct err e = {0};
    struct spool s;
    int64_t now = clock_epoch();
    wake_rested(c);
    remove_settled(c);
    if (spool_load(c->settings->state_dir, &s, &e) < 0) {
        log_line(LOG_WARNING, "%s", e.text);
        set_timer(c, REST_SECONDS);
        return;
    }
    c->waiting = 0;
    for (size_t i = 0; i < s.n; i++)
        c->waiting += !strv_has(&c->settled, s.v[i].name);
    int64_t soonest = look_at(c, &s, now);
    spool_release(&s);
    int64_t rests = wake_rested(c);
    if (rests && (!soonest || now + rests < soonest))
        soonest = now + rests;
    if (soonest)
        set_timer(c, soonest > now ? soonest - now : 1);
}

void courier_retry(struct courier *c)
{
    c->retried = clock_epoch();
    strv_release(&c->refused);
    for (struct delivery *d = c->under_way; d; d = d->next)
        d->until = 0; /* of one that is at it: set anew when it fails */
    courier_look(c);
}

int courier_add(struct courier *c, const char *target, const json_t *event, struct err *e)
{
    _cleanup_free_ char *lost = NULL;
    int r = spool_add(c->settings->state_dir, target, event, clock_epoch(), &lost, e);
    if (lost)
        log_line(LOG_ERR, "%s", lost);
    return r;
}

void courier_release(struct courier *c)
{
    sd_event_source_disable_unref(c->timer);
    while (c->under_way) {
        struct delivery *d = c->under_way;
        c->under_way = d->next;
        child_forget(d->child);
        delivery_free(d);
    }
    strv_release(&c->settled);
    strv_release(&c->refused);
}

/* ---- the process ---- */

struct errand {
    const struct settings *settings;
    struct tree *tree;
    char name[SPOOL_NAME_MAX + 1], state_dir[PATH_MAX]; /* room for the ends of lines */
    struct strv had;                                    /* recipients who have it */
};

static int send_to(struct errand *x, const struct notify_target *target, const json_t *event, struct err *e)
{
    struct err ignored;
    _cleanup_buf_ struct buf datacenter = BUF_INIT;
    _cleanup_free_ char *from = tree_read(x->tree, "datacenter.cfg", &datacenter, &ignored) == 0
                                    ? datacenter_email_from(buf_str(&datacenter), datacenter.len)
                                    : NULL;
    _cleanup_free_ char *id = xasprintf("%s@%s", x->name, x->settings->node);
    struct sending sending = {.sendmail = x->settings->sendmail, .from = from, .id = id, .had = &x->had};
    return notify_send(target, event, &sending, e);
}

static int send_mail(const struct errand *x, const json_t *event, struct err *e)
{
    _cleanup_buf_ struct buf text = BUF_INIT;
    buf_adds(&text, event_text(event, COURIER_MAIL));
    if (strcmp(x->settings->mail_to, "none") != 0)
        return mail_send(x->settings->sendmail, &text, e);
    err_set(e, ERR_GONE, 0, "'%s' is dropped: 'mail-to' in pvesr.conf is 'none'", event_text(event, "title"));
    return COURIER_DROPPED;
}

/* Why there is no such target, or it is off. What nobody wants any more is dropped, but no mistake is taken
 * for that. */
static int explain(const struct notify_targets *targets, const char *name, const json_t *event, struct err *e)
{
    _cleanup_free_ char *warnings = strv_join(&targets->warnings, "; ");
    if (targets_find(targets, name))
        return err_set(e, ERR_CONFIG, 0,
                       "target '%s' of %s is turned off: take 'disable 1' from it, or remove all of it", name,
                       targets->file);
    if (targets->warnings.n)
        return err_set(e, ERR_CONFIG, 0, "target '%s' is not in what is understood of %s: %s", name,
                       targets->file, warnings);
    err_set(e, ERR_GONE, 0, "'%s' is dropped: its target '%s' is not in %s any more",
            event_text(event, "title"), name, targets->file);
    return COURIER_DROPPED;
}

static int try(struct errand *x, const char *name, const json_t *event, struct err *e)
{
    struct notify_targets targets = {0};
    if (targets_load(x->tree, &targets, e) < 0)
        return -1;
    const struct notify_target *target = targets_find(&targets, name);
    int r = target && !target->disabled ? send_to(x, target, event, e) : explain(&targets, name, event, e);
    targets_release(&targets);
    return r;
}

int courier_test(const struct settings *s, struct tree *t, const char *target, struct err *e)
{
    struct errand x = {.settings = s, .tree = t};
    struct event ev = {.kind = EVENT_TEST, .source = s->node, .time = clock_epoch()};
    struct notify_targets targets = {0};
    if (targets_load(t, &targets, e) < 0)
        return -1;
    snprintf(x.name, sizeof x.name, "test-%" PRId64, ev.time);
    const struct notify_target *found = targets_find(&targets, target);
    json_t *event = event_json(&ev);
    int r = found ? send_to(&x, found, event, e)
                  : err_set(e, ERR_GONE, 0, "there is no target '%s' in %s", target, targets.file);
    json_decref(event);
    strv_release(&x.had);
    for (size_t i = 0; i < targets.warnings.n; i++)
        fprintf(stderr, "warning: %s\n", targets.warnings.v[i]);
    targets_release(&targets);
    return r;
}

/* This daemon does not try it again: nobody is to get twice what could not be noted to have been told. */
static int stays(const json_t *event, const char *what, const char *target, const char *why, struct err *e)
{
    err_set(e, ERR_DATA, 0, "'%s' was %s target '%s', and may be told again by the next pvesrd: %s",
            event_text(event, "title"), what, target, why);
    return COURIER_STAYS;
}

static int failed(const struct errand *x, const json_t *event, const char *target, size_t had, struct err *e)
{
    struct err problem = *e;
    bool refused = problem.kind == ERR_DATA;
    if (spool_failed(x->state_dir, x->name, problem.text, refused, &x->had, clock_epoch(), e) < 0) {
        _cleanup_free_ char *why = xasprintf("%s; and that cannot be noted: %s", problem.text, e->text);
        return x->had.n > had ? stays(event, "told to a part of", target, why, e) : -1;
    }
    *e = problem;
    if (!refused)
        return -1;
    err_set(e, ERR_DATA, 0,
            "'%s' is refused, and sent again when its target is mended, by the next pvesrd, or "
            "in %d hours: %s",
            event_text(event, "title"), COURIER_REFUSED_SECONDS / 3600, problem.text);
    return COURIER_REFUSED;
}

static int deliver(struct errand *x, const json_t *o, struct err *e)
{
    struct err problem;
    const json_t *event = json_object_get(o, "event");
    const char *target = json_string_value(json_object_get(o, "target"));
    spool_had(o, &x->had);
    size_t had = x->had.n;
    int r = json_object_get(event, COURIER_MAIL) ? send_mail(x, event, e) : try(x, target, event, e);
    if (r < 0)
        return failed(x, event, target, had, e);
    return spool_remove(x->state_dir, x->name, &problem) == 0
               ? r
               : stays(event, r ? "dropped for" : "told to", target, problem.text, e);
}

/* Another process, of a daemon that is gone, may be at it still; then it is gone, or not, when that has
 * ended. */
static int lock_target(const struct errand *x, const char *target, struct lock **ret, struct err *e)
{
    _cleanup_free_ char *path = xasprintf("%s/pvesr-notify/%s.lock", x->state_dir, target);
    *ret = lock_take(path, true, SEND_SECONDS, true, e);
    return *ret ? 0 : -1;
}

static bool read_line(char *line, int size)
{
    if (!fgets(line, size, stdin))
        return false;
    line[strcspn(line, "\n")] = 0;
    return *line;
}

int courier_errand(const struct settings *s, struct tree *t, struct err *e)
{
    struct errand x = {.settings = s, .tree = t};
    struct lock *lock;
    if (!read_line(x.name, sizeof x.name) || !read_line(x.state_dir, sizeof x.state_dir))
        return err_set(e, ERR_USAGE, 0, "nothing is to be sent");
    json_t *o = spool_read(x.state_dir, x.name, e);
    if (!o)
        return e->kind == ERR_GONE ? 0 : -1;
    int r = lock_target(&x, json_string_value(json_object_get(o, "target")), &lock, e);
    json_decref(o);
    if (r < 0)
        return -1;
    o = spool_read(x.state_dir, x.name, e);
    r = o ? deliver(&x, o, e) : e->kind == ERR_GONE ? 0 : -1;
    strv_release(&x.had);
    json_decref(o);
    lock_free(lock);
    return r;
}
