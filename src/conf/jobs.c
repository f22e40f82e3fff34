/* All jobs of replication.cfg. */
#include "conf/jobsection.h"

#include "base/mem.h"
#include "conf/digest.h"
#include "conf/lines.h"
#include "conf/warn.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ---- order ---- */

static int compare(const void *a, const void *b)
{
    const struct job *x = a, *y = b;
    if (x->guest != y->guest)
        return x->guest < y->guest ? -1 : 1;
    return strcmp(x->id, y->id);
}

/* Sections with the same id: in the order of the file. */
static int compare_parsed(const void *a, const void *b)
{
    const struct job *x = a, *y = b;
    int r = compare(x, y);
    return r ? r : (x->section > y->section) - (x->section < y->section);
}

/* Jobs of a guest with the same target: in the order of the ids. */
static int compare_target(const void *a, const void *b)
{
    const struct job *x = *(const struct job *const *)a, *y = *(const struct job *const *)b;
    if (x->guest != y->guest)
        return x->guest < y->guest ? -1 : 1;
    int r = strcmp(x->target, y->target);
    return r ? r : strcmp(x->id, y->id);
}

/* The first job at or behind (guest, id). */
static size_t lower_bound(const struct jobs *j, const struct job *key)
{
    size_t from = 0, to = j->n;
    while (from < to) {
        size_t middle = from + (to - from) / 2;
        if (compare(&j->v[middle], key) < 0)
            from = middle + 1;
        else
            to = middle;
    }
    return from;
}

size_t jobs_of_guest(const struct jobs *j, uint32_t guest, size_t *end)
{
    size_t first = lower_bound(j, &(struct job){.guest = guest});
    for (*end = first; *end < j->n && j->v[*end].guest == guest; ++*end)
        ;
    return first;
}

/* Has another job than `except` of the guest this target? */
static bool target_taken(const struct jobs *j, uint32_t guest, const char *target, const struct job *except)
{
    size_t end;
    for (size_t i = jobs_of_guest(j, guest, &end); i < end; i++)
        if (&j->v[i] != except && strcmp(j->v[i].target, target) == 0)
            return true;
    return false;
}

/* ---- reading ---- */

#define UNREAD_TARGET "-"

/* *job becomes one that is not read: from `line`, where its section begins, on. */
static void add_unread(struct jobs *j, struct job *job, struct job_id id, unsigned line, const char *why)
{
    job->guest = id.guest;
    job->number = id.number;
    job_id_print(id, job->id);
    job->remove = REMOVE_NOT;
    job->target = xstrdup(UNREAD_TARGET);
    job->fault = xasprintf("its section in %s, line %u, %s", j->file.name, line, why);
    j->unread = xgrow(j->unread, j->n_unread, sizeof *j->unread);
    j->unread[j->n_unread++] = *job;
    *job = (struct job){0};
}

static bool take_section(struct jobs *j, size_t i, struct job *ret)
{
    const struct section *s = &j->file.sections[i];
    struct job_id id;
    if (strcmp(s->type, "local") != 0 || !job_id_read(s->id, &id)) {
        warn_at(&j->warnings, j->file.name, s->line, "section skipped: '%s: %s' is not 'local: GUEST-NUMBER'",
                s->type, s->id);
        return false;
    }
    if (id.guest < JOB_GUEST_MIN) {
        warn_at(&j->warnings, j->file.name, s->line, "section skipped: '%s' (guest IDs < 100 are reserved)",
                s->id);
        return false;
    }
    job_from_section(s, j->file.name, &j->warnings, ret);
    ret->guest = id.guest;
    ret->number = id.number;
    ret->section = i;
    job_id_print(id, ret->id);
    if (ret->target)
        return true;
    warn_at(&j->warnings, j->file.name, s->line, "section skipped: job '%s' has no target", ret->id);
    _cleanup_free_ char *why =
        xasprintf("has no target that is a node's name: correct it, or remove the job with "
                  "'pvesr delete %s --force'",
                  ret->id);
    add_unread(j, ret, id, s->line, why);
    return false;
}

/* Headers that are none hide their jobs in the section before. */
static void take_lost_headers(struct jobs *j)
{
    _cleanup_lookup_ struct lookup there = {0};
    if (j->file.n_lost)
        job_sections_index(&j->file, &there);
    for (size_t i = 0; i < j->file.n_lost; i++) {
        const struct lost_header *h = &j->file.lost[i];
        struct job_id id;
        char canonical[24];
        if (strcmp(h->type, "local") != 0 || !job_id_read(h->id, &id) || id.guest < JOB_GUEST_MIN)
            continue;
        job_id_print(id, canonical);
        if (!lookup_has(&there, canonical))
            add_unread(
                j, &(struct job){0}, id, h->line,
                "is taken for a part of what stands before it: it must not be indented, and needs an empty "
                "line before it");
    }
}

/* Drop the job, keep its section in the file. */
static void skip(struct jobs *j, struct job *job, const char *why)
{
    warn_at(&j->warnings, j->file.name, j->file.sections[job->section].line,
            "section skipped: job '%s' to '%s': %s", job->id, job->target, why);
    job_release(job);
}

/* v without the jobs that were released. */
static void close_gaps(struct jobs *j)
{
    size_t n = 0;
    for (size_t i = 0; i < j->n; i++)
        if (j->v[i].target)
            j->v[n++] = j->v[i];
    j->n = n;
}

/* Of sections with the same id the last one counts. */
static void keep_last_of_id(struct jobs *j)
{
    for (size_t i = 0; i + 1 < j->n; i++)
        if (strcmp(j->v[i].id, j->v[i + 1].id) == 0)
            skip(j, &j->v[i], "the id is there again further down, the last one counts");
    close_gaps(j);
}

/* Of jobs of a guest with the same target the first one by id counts. */
static void keep_first_of_target(struct jobs *j)
{
    struct job **v = xcalloc(j->n, sizeof *v);
    for (size_t i = 0; i < j->n; i++)
        v[i] = &j->v[i];
    qsort(v, j->n, sizeof *v, compare_target);
    for (size_t i = j->n; i-- > 1;)
        if (v[i]->guest == v[i - 1]->guest && strcmp(v[i]->target, v[i - 1]->target) == 0)
            skip(j, v[i], "the guest has another job to this target");
    free(v);
    close_gaps(j);
}

/* What is there twice is read once at least, or told once. */
static void drop_read(struct jobs *j)
{
    size_t n = 0;
    _cleanup_lookup_ struct lookup told = {0};
    for (size_t i = 0; i < j->n_unread; i++) {
        struct job *job = &j->unread[i];
        if (jobs_find(j, job->id) || lookup_has(&told, job->id)) {
            job_release(job);
            continue;
        }
        lookup_add(&told, job->id, 0);
        j->unread[n++] = *job;
    }
    j->n_unread = n;
}

/* Nobody's comment that begins like it: "# no jobs at night". */
static bool says(const char *line, size_t len, const char *word)
{
    size_t n = strlen(word);
    while (len && isspace((unsigned char)line[len - 1]))
        len--;
    return len >= n && memcmp(line, word, n) == 0 &&
           (len == n || (len == n + strlen(JOBS_WHY) && memcmp(line + n, JOBS_WHY, strlen(JOBS_WHY)) == 0));
}

bool jobs_says_none(const char *line, size_t len)
{
    return says(line, len, JOBS_NONE);
}

bool jobs_says_plain(const char *line, size_t len)
{
    return says(line, len, JOBS_PLAIN);
}

bool jobs_may_be_lost(const struct jobs *j)
{
    return !j->n && !j->n_unread && !j->emptied;
}

/* Whoever writes such a file ends its last line. */
static bool is_cut(const char *text, size_t len)
{
    return len && text[len - 1] != '\n';
}

void jobs_parse(const char *name, const char *text, size_t len, struct jobs *ret)
{
    struct lines l = LINES_INIT(text, len);
    *ret = (struct jobs){0};
    if (text)
        digest_sha1(text, len, ret->digest);
    while (lines_next(&l))
        ret->emptied = ret->emptied || jobs_says_none(l.text, l.len);
    section_parse(name, text, len, &ret->file);
    section_parse("replication-ext.cfg", NULL, 0, &ret->extras);
    ret->warnings = ret->file.warnings;
    ret->file.warnings = (struct strv)STRV_INIT;
    if (is_cut(text, len))
        strv_addf(&ret->warnings,
                  "%s ends in the midst of a line: it was cut off, or lacks a line feed at its end", name);
    for (size_t i = 0; i < ret->file.n; i++) {
        ret->v = xgrow(ret->v, ret->n, sizeof *ret->v);
        ret->n += take_section(ret, i, &ret->v[ret->n]);
    }
    take_lost_headers(ret);
    if (ret->n)
        qsort(ret->v, ret->n, sizeof *ret->v, compare_parsed);
    keep_last_of_id(ret);
    drop_read(ret);
    keep_first_of_target(ret);
    for (size_t i = 0; i < ret->n; i++) {
        job_judge(&ret->v[i]);
        if (ret->v[i].fault)
            warn_at(&ret->warnings, name, ret->file.sections[ret->v[i].section].line,
                    "job '%s' is not run: %s", ret->v[i].id, ret->v[i].fault);
    }
}

void jobs_release(struct jobs *j)
{
    for (size_t i = 0; i < j->n; i++)
        job_release(&j->v[i]);
    free(j->v);
    for (size_t i = 0; i < j->n_unread; i++)
        job_release(&j->unread[i]);
    free(j->unread);
    strv_release(&j->doubts);
    strv_release(&j->dropped);
    strv_release(&j->turned);
    strv_release(&j->warnings);
    section_file_release(&j->file);
    section_file_release(&j->extras);
    *j = (struct jobs){0};
}

void jobs_print(const struct jobs *j, struct buf *out)
{
    section_print(&j->file, out);
}

struct job *jobs_find(struct jobs *j, const char *id)
{
    struct job key = {0};
    struct job_id parsed;
    if (!job_id_read(id, &parsed) || strlen(id) >= sizeof key.id)
        return NULL;
    key.guest = parsed.guest;
    memcpy(key.id, id, strlen(id) + 1);
    size_t i = lower_bound(j, &key);
    return i < j->n && compare(&j->v[i], &key) == 0 ? &j->v[i] : NULL;
}

static const struct job *find_unread(const struct jobs *j, const char *id)
{
    for (size_t i = 0; i < j->n_unread; i++)
        if (strcmp(j->unread[i].id, id) == 0)
            return &j->unread[i];
    return NULL;
}

int jobs_no_such(const struct jobs *j, const char *what, const char *id, struct err *e)
{
    const struct job *unread = find_unread(j, id);
    if (unread)
        return err_set(e, ERR_CONFIG, 0, "job '%s' is not understood: %s", id, unread->fault);
    return err_set(e, ERR_GONE, 0, "no such %s '%s'", what, id);
}

/* ---- changing ---- */

/* Is it a section of this job, be it a faulty one? */
static bool is_section_of(const struct section *s, struct job_id id)
{
    struct job_id x;
    return strcmp(s->type, "local") == 0 && job_id_read(s->id, &x) && x.guest == id.guest &&
           x.number == id.number;
}

static bool has_section(const struct jobs *j, struct job_id id)
{
    for (size_t i = 0; i < j->file.n; i++)
        if (is_section_of(&j->file.sections[i], id))
            return true;
    return false;
}

static void mark(struct jobs *j, const struct job *job)
{
    struct section *extras = job_extras_section(&j->extras, job->id);
    if (extras)
        job_mark_set(&j->file, job, extras);
}

static void store(struct jobs *j, const struct job *job)
{
    job_to_section(job, &j->file.sections[job->section]);
}

static int refuse_target(const struct job *job, uint32_t guest, struct err *e)
{
    return err_set(e, ERR_USAGE, 0,
                   "replication job for guest '%" PRIu32 "' to target 'local/%s' already exists", guest,
                   job->target);
}

int jobs_add(struct jobs *j, const struct job *job, struct err *e)
{
    struct job_id id;
    if (job_id_parse(job->id, &id, e) < 0)
        return -1;
    if (has_section(j, id) || find_unread(j, job->id))
        return err_set(e, ERR_USAGE, 0, "replication job '%s' already exists", job->id);
    if (job_check(job, &(struct job){0}, e) < 0)
        return -1;
    if (!job->target)
        return err_set(e, ERR_USAGE, 0, "target: a value is missing");
    if (target_taken(j, id.guest, job->target, NULL))
        return refuse_target(job, id.guest, e);

    size_t at = lower_bound(j, &(struct job){.guest = id.guest}), end;
    for (jobs_of_guest(j, id.guest, &end); at < end && strcmp(j->v[at].id, job->id) < 0; at++)
        ;
    j->v = xgrow(j->v, j->n, sizeof *j->v);
    memmove(j->v + at + 1, j->v + at, (j->n - at) * sizeof *j->v);
    j->n++;
    struct job *added = &j->v[at];
    job_copy(added, job);
    added->guest = id.guest;
    added->number = id.number;
    added->section = j->file.n;
    job_judge(added);
    if (!j->bare || j->emptied) /* else no job ever had any */
        job_unset_all(added);
    section_add(&j->file, "local", job->id);
    store(j, added);
    job_words_store(j, added, true);
    mark(j, added);
    return 0;
}

int jobs_changed(struct jobs *j, struct job *job, struct err *e)
{
    struct job old;
    job_from_section(&j->file.sections[job->section], NULL, NULL, &old);
    snprintf(old.id, sizeof old.id, "%s", job->id);
    job_extras_load(&old, job_extras_section(&j->extras, job->id));
    int r = job_check(job, &old, e);
    job_unset_renew(job, &old);
    job_release(&old);
    if (r == 0 && target_taken(j, job->guest, job->target, job))
        r = refuse_target(job, job->guest, e);
    if (r < 0)
        return -1;
    store(j, job);
    job_words_store(j, job, false);
    mark(j, job);
    job_judge(job);
    return 0;
}

/* Remove section i; the jobs further down move up. */
static void remove_section(struct jobs *j, size_t i)
{
    section_remove(&j->file, i);
    for (size_t k = 0; k < j->n; k++)
        if (j->v[k].section > i)
            j->v[k].section--;
}

void jobs_remove(struct jobs *j, const char *id)
{
    struct job_id parsed;
    if (!job_id_read(id, &parsed))
        return;
    struct job *job = jobs_find(j, id);
    if (job) {
        job_release(job);
        close_gaps(j);
    }
    /* Faulty and overridden sections of this id too: they would come to life. */
    for (size_t i = j->file.n; i-- > 0;)
        if (is_section_of(&j->file.sections[i], parsed))
            remove_section(j, i);
}

/* ---- replication-ext.cfg ---- */

/* Taking one for the other would cost restore points, so that is a person's decision. */
static void doubt(struct jobs *j, const struct job *job, const char *name)
{
    strv_addf(&j->doubts,
              "job '%s' has moved within replication.cfg: if another tool removed it and made it anew, what "
              "%s says of "
              "it is of the one before; 'pvesr read %s' shows it, 'pvesr update' of any of these settings "
              "ends this",
              job->id, name, job->id);
}

/* "last=30" may have become "last=3", and a run would remove what is one too many; or somebody's editor ends
 * no file with a line feed. A run can tell by what was kept at the last one. */
static void doubt_last(struct jobs *j, const char *name)
{
    struct job *job = j->extras.n ? jobs_find(j, j->extras.sections[j->extras.n - 1].id) : NULL;
    strv_addf(&j->warnings, "%s ends in the midst of a line: it was cut off, or lacks a line feed at its end",
              name);
    if (job)
        job->cut = true;
}

/* A key that was mistyped, or of a later version. */
static void tell_unknown(struct jobs *j, const struct job *job, const char *name, const struct section *s)
{
    _cleanup_free_ char *unknown = s ? job_extras_unknown(s) : NULL;
    if (unknown)
        warn_at(&j->doubts, name, s->line, "settings of job '%s' that this version does not know: %s",
                job->id, unknown);
}

void jobs_parse_extras(struct jobs *j, const char *name, const char *text, size_t len)
{
    struct lines l = LINES_INIT(text, len);
    section_file_release(&j->extras);
    section_parse(name, text, len, &j->extras);
    j->bare = !j->extras.n;
    while (lines_next(&l))
        j->bare = j->bare && !jobs_says_plain(l.text, l.len);
    for (size_t i = 0; i < j->extras.warnings.n; i++)
        strv_add(&j->warnings, j->extras.warnings.v[i]);
    _cleanup_lookup_ struct lookup at = {0}, jobs = {0};
    job_sections_index(&j->extras, &at);
    if (at.n)
        job_sections_index(&j->file, &jobs);
    for (size_t i = 0; i < j->n_unread; i++)
        job_extras_load(&j->unread[i], job_extras_section(&j->extras, j->unread[i].id));
    for (size_t i = 0; i < j->n; i++) {
        struct job *job = &j->v[i];
        size_t k = lookup_get(&at, job->id);
        const struct section *s = k == LOOKUP_NONE ? NULL : &j->extras.sections[k];
        enum job_mark mark = s ? job_mark_judge(&jobs, job, s) : MARK_FITS;
        if (mark == MARK_FOREIGN)
            strv_addf(&j->doubts,
                      "job '%s' was removed and made anew by another tool: what %s says is not of it",
                      job->id, name);
        if (mark == MARK_FOREIGN)
            s = NULL;
        if (mark == MARK_DOUBTED)
            doubt(j, job, name);
        job_extras_load(job, s);
        tell_unknown(j, job, name, s);
        if (!s || job->fault)
            continue;
        job_judge(job);
        if (job->fault)
            warn_at(&j->warnings, name, s->line, "job '%s' is not run: %s", job->id, job->fault);
    }
    if (is_cut(text, len))
        doubt_last(j, name);
    job_extras_judge_lost(j);
}

void jobs_print_extras(const struct jobs *j, struct buf *out)
{
    section_print(&j->extras, out);
}

bool jobs_drop_extras(struct jobs *j)
{
    bool dropped = false;
    _cleanup_lookup_ struct lookup there = {0};
    job_sections_index(&j->file, &there);
    for (size_t i = j->extras.n; i-- > 0;) {
        struct job_id id;
        char canonical[24];
        struct section *s = &j->extras.sections[i];
        if (strcmp(s->type, "local") != 0 || !job_id_read(s->id, &id))
            continue;
        job_id_print(id, canonical);
        const struct job *job = jobs_find(j, canonical);
        enum job_mark mark = job ? job_mark_judge(&there, job, s) : MARK_FITS;
        if (mark == MARK_FOREIGN)
            strv_addf(
                &j->dropped,
                "job '%s' was removed and made anew by another tool: the settings of the one before, in "
                "replication-ext.cfg, are not its own and go",
                canonical);
        if (find_unread(j, canonical))
            continue;
        if (mark != MARK_FOREIGN && lookup_has(&there, canonical)) {
            dropped |= job && mark == MARK_FITS && job_mark_set(&j->file, job, s);
            continue;
        }
        section_remove(&j->extras, i);
        dropped = true;
    }
    return dropped;
}

/* ---- the owner changed ---- */

static void replace(char **slot, const char *value)
{
    char *copy = xstrdup(value);
    free(*slot);
    *slot = copy;
}

/* The job's target becomes `to`, unless the guest has a job there already. */
static void retarget(struct jobs *j, struct job *job, const char *to)
{
    if (!target_taken(j, job->guest, to, job))
        replace(&job->target, to);
}

bool jobs_repair_source(struct jobs *j, uint32_t guest, const char *node)
{
    bool changed = false;
    size_t end;
    for (size_t i = jobs_of_guest(j, guest, &end); i < end; i++) {
        struct job *job = &j->v[i];
        if (job->source && strcmp(job->source, node) == 0)
            continue;
        if (job->source && strcmp(job->target, node) == 0)
            retarget(j, job, job->source);
        replace(&job->source, node);
        store(j, job);
        mark(j, job);
        changed = true;
    }
    return changed;
}

void jobs_switch_direction(struct jobs *j, uint32_t guest, const char *node, const char *target)
{
    size_t end;
    for (size_t i = jobs_of_guest(j, guest, &end); i < end; i++) {
        struct job *job = &j->v[i];
        if (strcmp(job->target, target) == 0)
            retarget(j, job, node);
        replace(&job->source, target);
        store(j, job);
        mark(j, job);
    }
}
