/* Of which job a section of replication-ext.cfg is, what is missing in it, and whether somebody said so. */
#include "conf/jobsection.h"

#include "base/mem.h"

#include <string.h>

/* ---- of which job ---- */

/* `mark TARGET SOURCE NEXT`, NEXT the job whose section was
 * the next one in replication.cfg, "-" where there was none. A tool that does not know replication-ext.cfg
 * may have removed the job and made another of its id since. It appends that one: what stood behind the
 * former stands before it then. A job's target is never edited; when the guest moves, the former source
 * becomes the target. */
static char *next_job(const struct section_file *f, const struct job *job)
{
    for (size_t i = job->section + 1; i < f->n; i++) {
        struct job_id id;
        char text[sizeof job->id];
        if (strcmp(f->sections[i].type, "local") != 0 || !job_id_read(f->sections[i].id, &id))
            continue;
        job_id_print(id, text);
        return xstrdup(text);
    }
    return xstrdup("-");
}

bool job_mark_set(const struct section_file *f, const struct job *job, struct section *extras)
{
    _cleanup_free_ char *next = next_job(f, job);
    _cleanup_free_ char *text = xasprintf("%s %s %s", job->target, job->source ? job->source : "-", next);
    const char *had = section_get(extras, JOB_MARK);
    if (had && strcmp(had, text) == 0)
        return false;
    section_set(extras, JOB_MARK, text);
    return true;
}

enum job_mark job_mark_judge(const struct lookup *sections, const struct job *job,
                             const struct section *extras)
{
    const char *text = section_get(extras, JOB_MARK);
    _cleanup_strv_ struct strv words = STRV_INIT;
    strv_split(&words, text ? text : "", " ");
    if (words.n != 3) /* of an earlier version */
        return MARK_FITS;
    size_t next = lookup_get(sections, words.v[2]);
    if (next != LOOKUP_NONE &&
        next > job->section) /* it was not appended: whatever its target, it only moved */
        return MARK_FITS;
    if (strcmp(job->target, words.v[0]) != 0 && strcmp(job->target, words.v[1]) != 0)
        return MARK_FOREIGN;
    return next == LOOKUP_NONE ? MARK_FITS : MARK_DOUBTED;
}

/* ---- what is missing ---- */

/* Without `keep` a run removes all restore
 * points but the newest, without `target-storage` it makes a replica elsewhere and removes the one that there
 * is: a line or a section that got lost must not say so. Who says so is a command (`unset NAME,…` in the
 * job's section), and whoever writes another value. */
static const struct setting {
    const char *key;
    size_t at; /* its char * in struct job */
} settings[] = {
    {"keep", offsetof(struct job, keep)},
    {"target-storage", offsetof(struct job, target_storage)},
    {"scrub-days", offsetof(struct job, scrub_days)},
    {"max-age", offsetof(struct job, max_age)},
};

static const char *value(const struct job *job, const struct setting *s)
{
    return *(char *const *)(const void *)((const char *)job + s->at);
}

void job_settings_list(const struct job *job, struct strv *ret)
{
    for (size_t i = 0; i < ELEMENTS(settings); i++)
        if (value(job, &settings[i]))
            strv_addf(ret, "%s %s", settings[i].key, value(job, &settings[i]));
}

static bool is_unset(const struct job *job, const char *key)
{
    _cleanup_strv_ struct strv names = STRV_INIT;
    strv_split(&names, job->unset ? job->unset : "", ",");
    return strv_has(&names, key);
}

/* What is set is not unset; names of another version stay. */
static void put(struct job *job, const struct strv *names)
{
    _cleanup_strv_ struct strv now = STRV_INIT;
    for (size_t i = 0; i < names->n; i++) {
        bool set = false;
        for (size_t k = 0; k < ELEMENTS(settings); k++)
            set = set || (strcmp(names->v[i], settings[k].key) == 0 && value(job, &settings[k]));
        if (!set)
            strv_add_once(&now, names->v[i]);
    }
    free(job->unset);
    job->unset = now.n ? strv_join(&now, ",") : NULL;
}

void job_unset_renew(struct job *job, const struct job *old)
{
    _cleanup_strv_ struct strv names = STRV_INIT;
    strv_split(&names, job->unset ? job->unset : "", ",");
    for (size_t i = 0; i < ELEMENTS(settings); i++)
        if (value(old, &settings[i]))
            strv_add(&names, settings[i].key);
    put(job, &names);
}

void job_unset_all(struct job *job)
{
    _cleanup_strv_ struct strv names = STRV_INIT;
    for (size_t i = 0; i < ELEMENTS(settings); i++)
        strv_add(&names, settings[i].key);
    put(job, &names);
}

void job_settings_unset(struct job *job, const struct strv *keys)
{
    _cleanup_strv_ struct strv names = STRV_INIT;
    strv_split(&names, job->unset ? job->unset : "", ",");
    for (size_t i = 0; i < ELEMENTS(settings); i++)
        if (strv_has(keys, settings[i].key))
            strv_add(&names, settings[i].key);
    put(job, &names);
}

/* Does it say nothing but what is not set? */
static bool is_word(const struct section *s)
{
    for (size_t i = 0; i < s->n_props; i++)
        if (strcmp(s->props[i].key, JOB_MARK) != 0 && strcmp(s->props[i].key, JOB_UNSET) != 0)
            return false;
    return strcmp(s->type, "local") == 0;
}

static void drop_words(struct section_file *f)
{
    for (size_t i = 0; i < f->n; i++)
        if (!is_word(&f->sections[i]))
            return;
    while (f->n)
        section_remove(f, f->n - 1);
}

static void unset_others(struct jobs *j, const struct job *but)
{
    for (size_t i = 0; i < j->n; i++) {
        struct job *job = &j->v[i];
        if (job == but)
            continue;
        job_unset_all(job);
        struct section *s = section_add(&j->extras, "local", job->id);
        section_set(s, JOB_UNSET, job->unset);
        job_mark_set(&j->file, job, s);
    }
}

void job_words_store(struct jobs *j, const struct job *job, bool fresh)
{
    bool plain = !j->extras.n && !j->bare;
    job_extras_store(job, &j->extras, fresh);
    const struct section *s = job_extras_section(&j->extras, job->id);
    if (s && is_word(s)) /* an earlier one of its id would come to life with the end of this one */
        job_extras_store(job, &j->extras, true);
    if (!j->bare || j->emptied)
        drop_words(&j->extras);
    if (plain && j->extras.n)
        unset_others(j, job);
}

char *job_extras_unknown(const struct section *s)
{
    _cleanup_strv_ struct strv names = STRV_INIT;
    for (size_t i = 0; i < s->n_props; i++)
        if (!job_extras_knows(s->props[i].key))
            strv_addf(&names, "'%.40s'", s->props[i].key);
    return names.n ? strv_join(&names, ", ") : NULL;
}

static const struct section *section_of(const struct jobs *j, const struct job *job)
{
    return job_extras_section((struct section_file *)&j->extras, job->id);
}

char *jobs_unknown_settings(const struct jobs *j, const struct job *job)
{
    const struct section *s = section_of(j, job);
    return s ? job_extras_unknown(s) : NULL;
}

char *jobs_setting_lost(const struct jobs *j, const struct job *job, const char *key)
{
    if (is_unset(job, key))
        return NULL;
    if (!j->extras.n)
        return j->bare ? xstrdup("replication-ext.cfg is missing or empty") : NULL;
    const struct section *s = section_of(j, job);
    if (!s)
        return xstrdup("replication-ext.cfg has no section of it any more");
    _cleanup_free_ char *unknown = job_extras_unknown(s);
    return unknown ? xasprintf("its section in replication-ext.cfg has no '%s' any more, but %s, which this "
                               "version does not know",
                               key, unknown)
                   : xasprintf("its section in replication-ext.cfg has no '%s' any more", key);
}

/* ---- headers that are none ---- */

/* In whose section is this line? NULL: nobody's. */
static struct job *job_at_line(struct jobs *j, unsigned line)
{
    const struct section *in = NULL;
    for (size_t i = 0; i < j->extras.n && j->extras.sections[i].line < line; i++)
        in = &j->extras.sections[i];
    return in && strcmp(in->type, "local") == 0 ? jobs_find(j, in->id) : NULL;
}

static void set_fault(struct job *job, const struct lost_header *h)
{
    if (!job || job->fault)
        return;
    job->fault = xasprintf("replication-ext.cfg, line %u: '%.40s: %.40s' is taken for a part of the section "
                           "before it, and what follows for its settings: it must not be indented, and needs "
                           "an empty line before it",
                           h->line, h->type, h->id);
}

void job_extras_judge_lost(struct jobs *j)
{
    for (size_t i = 0; i < j->extras.n_lost; i++) {
        const struct lost_header *h = &j->extras.lost[i];
        if (strcmp(h->type, "local") != 0)
            continue;
        set_fault(job_at_line(j, h->line), h);
        set_fault(jobs_find(j, h->id), h);
    }
}
