/* Properties of a job that Proxmox VE does not know: replication-ext.cfg. */
#include "conf/jobsection.h"

#include "base/mem.h"
#include "base/num.h"
#include "conf/keep.h"
#include "conf/lines.h"
#include "conf/storagemap.h"

#include <string.h>

struct extra {
    const char *key;
    size_t at; /* its char * in struct job */
    int (*check)(const char *text, struct err *e);
};

/* Names that a later version knows are no fault. */
static int check_nothing(const char *text, struct err *e)
{
    (void)text;
    (void)e;
    return 0;
}

/* A new property is a row here and a field in struct job. */
static const struct extra extras[] = {
    {"keep", offsetof(struct job, keep), job_check_keep},
    {"target-storage", offsetof(struct job, target_storage), job_check_target_storage},
    {"scrub-days", offsetof(struct job, scrub_days), job_check_scrub_days},
    {"max-age", offsetof(struct job, max_age), job_check_max_age},
    {JOB_UNSET, offsetof(struct job, unset), check_nothing},
};

bool job_extras_knows(const char *key)
{
    for (size_t i = 0; i < ELEMENTS(extras); i++)
        if (strcmp(key, extras[i].key) == 0)
            return true;
    return strcmp(key, JOB_MARK) == 0;
}

int job_check_keep(const char *text, struct err *e)
{
    struct keep keep;
    return keep_parse(text, &keep, e);
}

#define SCRUB_DAYS_MAX 3650

int job_check_scrub_days(const char *text, struct err *e)
{
    uint64_t days;
    return num_parse_u64("days", text, 0, SCRUB_DAYS_MAX, &days, e);
}

int64_t job_scrub_days(const struct job *job)
{
    struct err ignored;
    uint64_t days = 0;
    const char *text = job->scrub_days ? job->scrub_days : SCRUB_DAYS_DEFAULT;
    return num_parse_u64("days", text, 0, SCRUB_DAYS_MAX, &days, &ignored) < 0 ? 0 : (int64_t)days;
}

#define DAY 86400
#define MAX_AGE_DAYS 3650

static int parse_age(const char *text, int64_t *ret, struct err *e)
{
    static const struct {
        char letter;
        unsigned seconds;
    } units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', DAY}};
    size_t digits = strspn(text, "0123456789");
    _cleanup_free_ char *number = xstrndup(text, digits);
    unsigned unit = text[digits] ? 0 : 1;
    for (size_t i = 0; i < ELEMENTS(units); i++)
        if (text[digits] == units[i].letter && !text[digits + 1])
            unit = units[i].seconds;
    uint64_t n;
    struct err ignored;
    if (!unit || num_parse_u64("age", number, 1, MAX_AGE_DAYS * DAY / unit, &n, &ignored) < 0)
        return err_set(e, ERR_USAGE, 0, "'%s' is no age of 1s to %dd: a number with s, m, h or d, as in '2h'",
                       text, MAX_AGE_DAYS);
    *ret = (int64_t)n * unit;
    return 0;
}

int job_check_max_age(const char *text, struct err *e)
{
    int64_t seconds;
    return parse_age(text, &seconds, e);
}

int64_t job_max_age(const struct job *job)
{
    struct err ignored;
    int64_t seconds = 0;
    return job->max_age && parse_age(job->max_age, &seconds, &ignored) == 0 ? seconds : 0;
}

int job_check_target_storage(const char *text, struct err *e)
{
    _cleanup_storagemap_ struct storagemap map = {0};
    return storagemap_parse(text, &map, e);
}

static char **slot(struct job *job, const struct extra *x)
{
    return (char **)(void *)((char *)job + x->at);
}

static const char *value(const struct job *job, const struct extra *x)
{
    return *slot((struct job *)job, x);
}

static bool same(const char *a, const char *b)
{
    return strcmp(a ? a : "", b ? b : "") == 0;
}

/* ---- one job ---- */

void job_extras_release(struct job *job)
{
    for (size_t i = 0; i < ELEMENTS(extras); i++) {
        free(*slot(job, &extras[i]));
        *slot(job, &extras[i]) = NULL;
    }
}

void job_extras_copy(struct job *to, const struct job *from)
{
    for (size_t i = 0; i < ELEMENTS(extras); i++) {
        const char *text = value(from, &extras[i]);
        *slot(to, &extras[i]) = text ? xstrdup(text) : NULL;
    }
}

int job_extras_check(const struct job *job, const struct job *old, struct err *e)
{
    for (size_t i = 0; i < ELEMENTS(extras); i++) {
        const char *text = value(job, &extras[i]);
        if (!text || same(text, value(old, &extras[i])))
            continue;
        size_t n = strlen(text);
        if (strpbrk(text, "\r\n") || line_lead(text, n) || line_trim(text, n) != n)
            return err_set(e, ERR_USAGE, 0, "%s: blanks or line breaks around '%s'", extras[i].key, text);
        if (extras[i].check(text, e) < 0)
            return err_wrap(e, "%s", extras[i].key);
    }
    return 0;
}

char *job_extras_fault(const struct job *job)
{
    for (size_t i = 0; i < ELEMENTS(extras); i++) {
        struct err e = {0};
        const char *text = value(job, &extras[i]);
        if (text && extras[i].check(text, &e) < 0)
            return xasprintf("invalid %s '%s': %s", extras[i].key, text, e.text);
    }
    return NULL;
}

/* ---- its section of the file ---- */

struct section *job_extras_section(struct section_file *f, const char *id)
{
    for (size_t i = f->n; i-- > 0;) {
        struct job_id x;
        char canonical[24];
        struct section *s = &f->sections[i];
        if (strcmp(s->type, "local") != 0 || !job_id_read(s->id, &x))
            continue;
        job_id_print(x, canonical);
        if (strcmp(canonical, id) == 0)
            return s;
    }
    return NULL;
}

void job_sections_index(const struct section_file *f, struct lookup *ret)
{
    for (size_t i = f->n; i-- > 0;) {
        struct job_id id;
        char canonical[24];
        if (strcmp(f->sections[i].type, "local") != 0 || !job_id_read(f->sections[i].id, &id))
            continue;
        job_id_print(id, canonical);
        lookup_add(ret, canonical, i);
    }
}

static void remove_all(struct section_file *f, const char *id)
{
    for (struct section *s; (s = job_extras_section(f, id));)
        section_remove(f, (size_t)(s - f->sections));
}

void job_extras_load(struct job *job, const struct section *s)
{
    for (size_t i = 0; i < ELEMENTS(extras); i++) {
        const char *text = s ? section_get(s, extras[i].key) : NULL;
        free(*slot(job, &extras[i]));
        *slot(job, &extras[i]) = text ? xstrdup(text) : NULL;
    }
}

static bool any(const struct job *job)
{
    for (size_t i = 0; i < ELEMENTS(extras); i++)
        if (value(job, &extras[i]))
            return true;
    return false;
}

void job_extras_store(const struct job *job, struct section_file *f, bool fresh)
{
    if (fresh)
        remove_all(f, job->id);
    struct section *s = job_extras_section(f, job->id);
    if (!s && any(job))
        s = section_add(f, "local", job->id);
    for (size_t i = 0; s && i < ELEMENTS(extras); i++) {
        const char *text = value(job, &extras[i]), *had = section_get(s, extras[i].key);
        if (text && (!had || !same(text, had)))
            section_set(s, extras[i].key, text);
        else if (!text && had)
            section_unset(s, extras[i].key);
    }
    if (s && s->n_props <= (section_get(s, JOB_MARK) != NULL))
        remove_all(f, job->id);
}
