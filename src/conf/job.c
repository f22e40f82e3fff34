#include "conf/jobsection.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/num.h"
#include "conf/calendar.h"
#include "conf/comment.h"
#include "conf/lines.h"
#include "conf/warn.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#define RATE_MAX 1e9

/* ---- values ---- */

int job_check_schedule(const char *text, struct err *e)
{
    if (strlen(text) > CALENDAR_TEXT_MAX)
        return err_set(e, ERR_USAGE, 0, "invalid calendar event: value may only be %d characters long",
                       CALENDAR_TEXT_MAX);
    struct calendar *c = calendar_parse(text, e);
    calendar_free(c);
    return c ? 0 : -1;
}

#define EVER INT64_MIN

/* An event that comes at all, after a time; `when` says which. */
static int check_event(const char *text, int64_t after, const char *when, struct err *e)
{
    int64_t next;
    if (job_check_schedule(text, e) < 0)
        return -1;
    _cleanup_(calendar_freep) struct calendar *c = calendar_parse(text, e);
    return c && calendar_next(c, after, &next)
               ? 0
               : err_set(e, ERR_USAGE, 0, "invalid calendar event '%s': it never comes%s", text, when);
}

int job_check_rate(const char *text, double *ret, struct err *e)
{
    return num_parse_double("rate", text, 1, RATE_MAX, ret, e);
}

int job_check_comment(const char *text, struct err *e)
{
    return comment_check(text, e);
}

int node_name_check(const char *text, struct err *e)
{
    size_t n = strlen(text);
    bool ok = n > 0 && n < 64 && isalnum((unsigned char)text[0]) && isalnum((unsigned char)text[n - 1]);
    for (size_t i = 0; ok && i < n; i++)
        ok = isalnum((unsigned char)text[i]) || text[i] == '-';
    return ok ? 0 : err_set(e, ERR_USAGE, 0, "value does not look like a valid node name: '%s'", text);
}

static bool same(const char *a, const char *b)
{
    return strcmp(a ? a : "", b ? b : "") == 0;
}

/* A schedule is on one line of the file, and its blanks at the ends would not be read back. */
static int check_schedule_line(const char *text, struct err *e)
{
    size_t n = strlen(text);
    if (strpbrk(text, "\r\n") || line_lead(text, n) || line_trim(text, n) != n)
        return err_set(e, ERR_USAGE, 0, "invalid calendar event '%s': blanks or line breaks around it", text);
    return check_event(text, clock_epoch(), " from now on", e);
}

int job_check(const struct job *job, const struct job *old, struct err *e)
{
    if (!same(job->target, old->target) && node_name_check(job->target ? job->target : "", e) < 0)
        return err_wrap(e, "target");
    if (!same(job->source, old->source) && job->source && node_name_check(job->source, e) < 0)
        return err_wrap(e, "source");
    if (!same(job->schedule, old->schedule) && job->schedule && check_schedule_line(job->schedule, e) < 0)
        return err_wrap(e, "schedule");
    if (!same(job->comment, old->comment) && job->comment && comment_check(job->comment, e) < 0)
        return err_wrap(e, "comment");
    if (job->rate != old->rate && !(job->rate == 0 || (job->rate >= 1 && job->rate <= RATE_MAX)))
        return err_set(e, ERR_USAGE, 0, "rate: '%g' is not within 1..%g", job->rate, RATE_MAX);
    return job_extras_check(job, old, e);
}

void job_judge(struct job *job)
{
    struct err e;
    free(job->fault);
    job->fault = NULL;
    /* one that does not come any more is over; the job runs by hand */
    if (job->schedule && check_event(job->schedule, EVER, "", &e) < 0)
        job->fault = xasprintf("invalid schedule '%s': %s", job->schedule, e.text);
    else
        job->fault = job_extras_fault(job);
}

void job_release(struct job *job)
{
    free(job->target);
    free(job->source);
    free(job->schedule);
    free(job->comment);
    free(job->fault);
    job_extras_release(job);
    *job = (struct job){0};
}

static char *dup_or_null(const char *s)
{
    return s ? xstrdup(s) : NULL;
}

void job_copy(struct job *to, const struct job *from)
{
    *to = *from;
    to->target = dup_or_null(from->target);
    to->source = dup_or_null(from->source);
    to->schedule = dup_or_null(from->schedule);
    to->comment = dup_or_null(from->comment);
    to->fault = dup_or_null(from->fault);
    job_extras_copy(to, from);
}

/* ---- from the section ---- */

static const char *take_disable(struct job *job, const struct property *p)
{
    if (!p->bare && strcmp(p->value, "0") != 0 && strcmp(p->value, "1") != 0)
        return "only 0 or 1";
    job->disabled = p->bare || *p->value == '1';
    return NULL;
}

static const char *take_remove(struct job *job, const struct property *p)
{
    if (strcmp(p->value, "local") != 0 && strcmp(p->value, "full") != 0)
        return "only local or full";
    job->remove = *p->value == 'l' ? REMOVE_LOCAL : REMOVE_FULL;
    return NULL;
}

/* Take one property; the reason why it is ignored, or NULL. */
static const char *take_property(struct job *job, const struct property *p)
{
    struct err e;
    bool target = strcmp(p->key, "target") == 0;
    if (strcmp(p->key, "disable") == 0)
        return take_disable(job, p);
    if (p->bare)
        return "a value is missing";
    if (target || strcmp(p->key, "source") == 0) {
        if (node_name_check(p->value, &e) < 0)
            return "not a node name";
        *(target ? &job->target : &job->source) = xstrdup(p->value);
    } else if (strcmp(p->key, "schedule") == 0) {
        job->schedule = xstrdup(p->value);
    } else if (strcmp(p->key, "rate") == 0) {
        if (job_check_rate(p->value, &job->rate, &e) < 0)
            return "not a rate of at least 1 MB/s";
    } else if (strcmp(p->key, "comment") == 0) {
        job->comment = comment_decode(p->value, &e);
        return job->comment ? NULL : "not text in UTF-8 of the allowed length";
    } else if (strcmp(p->key, "remove_job") == 0) {
        return take_remove(job, p);
    } else {
        return "unknown property";
    }
    return NULL;
}

void job_from_section(const struct section *s, const char *file, struct strv *warnings, struct job *ret)
{
    *ret = (struct job){0};
    for (size_t i = 0; i < s->n_props; i++) {
        const char *wrong = take_property(ret, &s->props[i]);
        if (wrong && warnings)
            warn_at(warnings, file, s->props[i].line, "property ignored: %s: '%.40s %.80s'", wrong,
                    s->props[i].key, s->props[i].value);
    }
}

/* ---- to the section ---- */

static int rank(const char *key)
{
    return !strcmp(key, "comment") ? 0 : !strcmp(key, "disable") ? 1 : !strcmp(key, "target") ? 2 : 3;
}

static void set_or_unset(struct section *s, const char *key, const char *value)
{
    if (value && *value)
        section_set(s, key, value);
    else
        section_unset(s, key);
}

static void set_comment(struct section *s, const char *comment)
{
    _cleanup_buf_ struct buf encoded = BUF_INIT;
    if (comment)
        comment_encode(comment, &encoded);
    set_or_unset(s, "comment", buf_str(&encoded));
}

static void set_rate(struct section *s, double rate)
{
    char text[32];
    num_print_double(rate, text);
    set_or_unset(s, "rate", rate > 0 ? text : NULL);
}

void job_to_section(const struct job *job, struct section *s)
{
    static const char *const remove_names[] = {
        [REMOVE_NOT] = NULL, [REMOVE_LOCAL] = "local", [REMOVE_FULL] = "full"};
    struct job old;
    job_from_section(s, NULL, NULL, &old);
    if (!same(job->comment, old.comment))
        set_comment(s, job->comment);
    if (job->disabled && !old.disabled)
        section_set(s, "disable", NULL);
    if (!job->disabled && old.disabled)
        section_unset(s, "disable");
    if (!same(job->target, old.target))
        section_set(s, "target", job->target);
    if (job->rate != old.rate)
        set_rate(s, job->rate);
    if (job->remove != old.remove)
        set_or_unset(s, "remove_job", remove_names[job->remove]);
    /* also one that an earlier version, or somebody, wrote in words that the described tool drops */
    _cleanup_free_ char *schedule = job->schedule ? calendar_portable(job->schedule) : NULL;
    if (!same(schedule, old.schedule))
        set_or_unset(s, "schedule", schedule);
    if (!same(job->source, old.source))
        set_or_unset(s, "source", job->source);
    job_release(&old);
    if (!s->changed)
        return;
    free(s->id);
    s->id = xstrdup(job->id);
    section_sort(s, rank);
}
