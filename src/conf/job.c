#include "conf/job.h"

#include "base/mem.h"
#include "base/num.h"
#include "conf/calendar.h"
#include "conf/digest.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define GUEST_MIN 100
#define GUEST_MAX 999999999
#define NUMBER_MAX 999999999
#define COMMENT_MAX 4096

/* ---- values ---- */

/* "100-0", leading zeros allowed as in the file; false when it is not of that form. */
static bool split_id(const char *text, struct job_id *ret)
{
    size_t g = strspn(text, "0123456789");
    const char *n = text + g + 1;
    size_t k = text[g] == '-' ? strspn(n, "0123456789") : 0;
    if (g == 0 || g > 18 || k == 0 || k > 18 || n[k])
        return false;
    uint64_t guest = strtoull(text, NULL, 10), number = strtoull(n, NULL, 10);
    if (guest > GUEST_MAX || number > NUMBER_MAX)
        return false;
    *ret = (struct job_id){(uint32_t)guest, (uint32_t)number};
    return true;
}

static void print_id(struct job_id id, char out[24])
{
    snprintf(out, 24, "%" PRIu32 "-%" PRIu32, id.guest, id.number);
}

int job_id_parse(const char *text, struct job_id *ret, struct err *e)
{
    struct job_id id;
    char canonical[24];
    if (!split_id(text, &id))
        return err_set(e, ERR_USAGE, 0,
                       "value does not match the regex pattern: '%s' is not GUEST-NUMBER, as in 100-0", text);
    if (id.guest < GUEST_MIN)
        return err_set(e, ERR_USAGE, 0, "invalid replication job id '%s' (guest IDs < 100 are reserved)",
                       text);
    print_id(id, canonical);
    if (strcmp(canonical, text) != 0)
        return err_set(e, ERR_USAGE, 0, "value does not match the regex pattern: write '%s' as '%s'", text,
                       canonical);
    *ret = id;
    return 0;
}

int job_check_schedule(const char *text, struct err *e)
{
    struct calendar *c = calendar_parse(text, e);
    calendar_free(c);
    return c ? 0 : -1;
}

int job_check_rate(const char *text, double *ret, struct err *e)
{
    return num_parse_double("rate", text, 1, 1e9, ret, e);
}

int job_check_comment(const char *text, struct err *e)
{
    if (strlen(text) > COMMENT_MAX)
        return err_set(e, ERR_USAGE, 0, "value may only be %d bytes long", COMMENT_MAX);
    return 0;
}

int node_name_check(const char *text, struct err *e)
{
    size_t n = strlen(text);
    bool ok = n > 0 && n < 64 && isalnum((unsigned char)text[0]) && isalnum((unsigned char)text[n - 1]);
    for (size_t i = 0; ok && i < n; i++)
        ok = isalnum((unsigned char)text[i]) || text[i] == '-';
    return ok ? 0 : err_set(e, ERR_USAGE, 0, "value does not look like a valid node name: '%s'", text);
}

/* ---- comments: percent-encoded in the file only ---- */

static char *decode(const char *s)
{
    struct buf b = BUF_INIT;
    for (; *s; s++) {
        char hex[3] = {0};
        if (*s == '%' && isxdigit((unsigned char)s[1]) && isxdigit((unsigned char)s[2])) {
            memcpy(hex, s + 1, 2);
            char c = (char)strtoul(hex, NULL, 16);
            buf_addc(&b, c ? c : '?');
            s += 2;
        } else {
            buf_addc(&b, *s);
        }
    }
    return buf_take(&b);
}

static void encode(const char *s, struct buf *out)
{
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        if (c < 0x20 || c == '%' || c == ':' || c >= 0x7f)
            buf_addf(out, "%%%02X", c);
        else
            buf_addc(out, *s);
    }
}

/* ---- reading ---- */

void job_release(struct job *job)
{
    free(job->target);
    free(job->source);
    free(job->schedule);
    free(job->comment);
    free(job->fault);
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
}

static void replace(char **slot, const char *value)
{
    free(*slot);
    *slot = xstrdup(value);
}

/* Take one property; the reason why it is ignored, or NULL. */
static const char *take_property(struct job *job, const struct property *p)
{
    struct err e = {0};
    if (strcmp(p->key, "disable") == 0) {
        if (!p->bare && strcmp(p->value, "0") != 0 && strcmp(p->value, "1") != 0)
            return "only 0 or 1";
        job->disabled = p->bare || p->value[0] == '1';
        return NULL;
    }
    if (p->bare)
        return "a value is missing";
    if (strcmp(p->key, "target") == 0 || strcmp(p->key, "source") == 0) {
        if (node_name_check(p->value, &e) < 0)
            return "not a node name";
        replace(*p->key == 't' ? &job->target : &job->source, p->value);
    } else if (strcmp(p->key, "schedule") == 0) {
        replace(&job->schedule, p->value);
        if (job_check_schedule(p->value, &e) < 0) {
            free(job->fault);
            job->fault = xasprintf("invalid schedule '%s': %s", p->value, e.text);
        }
    } else if (strcmp(p->key, "rate") == 0) {
        if (job_check_rate(p->value, &job->rate, &e) < 0)
            return "not a rate of at least 1 MB/s";
    } else if (strcmp(p->key, "comment") == 0) {
        free(job->comment);
        job->comment = decode(p->value);
    } else if (strcmp(p->key, "remove_job") == 0) {
        if (strcmp(p->value, "local") != 0 && strcmp(p->value, "full") != 0)
            return "only local or full";
        job->remove = *p->value == 'l' ? REMOVE_LOCAL : REMOVE_FULL;
    } else {
        return "unknown property";
    }
    return NULL;
}

static bool take_section(struct jobs *j, const struct section *s, struct job *ret)
{
    struct job_id id;
    const char *file = j->file.name;
    if (strcmp(s->type, "local") != 0 || !split_id(s->id, &id) || id.guest < GUEST_MIN) {
        strv_addf(&j->warnings, "%s:%u: section skipped: '%s: %s' is not 'local: GUEST-NUMBER'", file,
                  s->line, s->type, s->id);
        return false;
    }
    struct job job = {.guest = id.guest, .number = id.number};
    print_id(id, job.id);
    for (size_t i = 0; i < s->n_props; i++) {
        const char *wrong = take_property(&job, &s->props[i]);
        if (wrong)
            strv_addf(&j->warnings, "%s:%u: property ignored: %s: '%s %s'", file, s->props[i].line, wrong,
                      s->props[i].key, s->props[i].value);
    }
    if (!job.target) {
        strv_addf(&j->warnings, "%s:%u: section skipped: job '%s' has no target", file, s->line, job.id);
        job_release(&job);
        return false;
    }
    *ret = job;
    return true;
}

static int compare(const void *a, const void *b)
{
    const struct job *x = a, *y = b;
    if (x->guest != y->guest)
        return x->guest < y->guest ? -1 : 1;
    return strcmp(x->id, y->id);
}

/* Of sections with the same id the last one in the file wins; of jobs of a guest to one target the first by
 * id. */
struct parsed {
    struct job job;
    size_t order;
};

static int compare_parsed(const void *a, const void *b)
{
    const struct parsed *x = a, *y = b;
    int r = compare(&x->job, &y->job);
    return r ? r : x->order < y->order ? -1 : 1;
}

static bool target_taken(const struct jobs *j, const struct job *job, const char *except_id)
{
    for (size_t i = j->n; i > 0 && j->v[i - 1].guest >= job->guest; i--) {
        const struct job *other = &j->v[i - 1];
        if (other->guest == job->guest && strcmp(other->target, job->target) == 0 &&
            (!except_id || strcmp(other->id, except_id) != 0))
            return true;
    }
    return false;
}

static void keep_valid(struct jobs *j, struct parsed *p, size_t n)
{
    j->v = xcalloc(n, sizeof *j->v);
    for (size_t i = 0; i < n; i++) {
        bool replaced = i + 1 < n && strcmp(p[i].job.id, p[i + 1].job.id) == 0;
        if (replaced) {
            strv_addf(&j->warnings, "%s: job '%s' is there twice, the last one counts", j->file.name,
                      p[i].job.id);
        } else if (target_taken(j, &p[i].job, NULL)) {
            strv_addf(&j->warnings,
                      "%s: job '%s' skipped: guest '%" PRIu32 "' has a job to target 'local/%s' already",
                      j->file.name, p[i].job.id, p[i].job.guest, p[i].job.target);
        } else {
            j->v[j->n++] = p[i].job;
            continue;
        }
        job_release(&p[i].job);
    }
}

void jobs_parse(const char *name, const char *text, size_t len, struct jobs *ret)
{
    *ret = (struct jobs){0};
    if (text)
        digest_sha1(text, len, ret->digest);
    section_parse(name, text, len, &ret->file);
    for (size_t i = 0; i < ret->file.warnings.n; i++)
        strv_add(&ret->warnings, ret->file.warnings.v[i]);
    struct parsed *p = xcalloc(ret->file.n, sizeof *p);
    size_t n = 0;
    for (size_t i = 0; i < ret->file.n; i++)
        if (take_section(ret, &ret->file.sections[i], &p[n].job)) {
            p[n].order = i;
            n++;
        }
    qsort(p, n, sizeof *p, compare_parsed);
    keep_valid(ret, p, n);
    free(p);
}

void jobs_release(struct jobs *j)
{
    for (size_t i = 0; i < j->n; i++)
        job_release(&j->v[i]);
    free(j->v);
    strv_release(&j->warnings);
    section_file_release(&j->file);
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
    if (!split_id(id, &parsed) || strlen(id) >= sizeof key.id)
        return NULL;
    key.guest = parsed.guest;
    strcpy(key.id, id);
    return j->n ? bsearch(&key, j->v, j->n, sizeof *j->v, compare) : NULL;
}

/* ---- writing ---- */

/* The section that counts for this id: the last one. */
static struct section *find_section(struct jobs *j, const char *id)
{
    struct section *found = NULL;
    for (size_t i = 0; i < j->file.n; i++) {
        struct job_id x;
        char canonical[24];
        struct section *s = &j->file.sections[i];
        if (strcmp(s->type, "local") != 0 || !split_id(s->id, &x))
            continue;
        print_id(x, canonical);
        if (strcmp(canonical, id) == 0)
            found = s;
    }
    return found;
}

static bool known(const char *key)
{
    static const char *const keys[] = {"comment",    "disable",  "target", "rate",
                                       "remove_job", "schedule", "source"};
    for (size_t i = 0; i < ELEMENTS(keys); i++)
        if (strcmp(keys[i], key) == 0)
            return true;
    return false;
}

static void add_or_not(struct section *s, const char *key, const char *value)
{
    if (value && *value)
        section_set(s, key, value);
}

/* Bring the section in line with the job, in the described order; what we do not know stays at the end. */
static void write_section(struct section *s, const struct job *job)
{
    struct section old = *s;
    char rate[32];
    _cleanup_buf_ struct buf comment = BUF_INIT;
    s->props = NULL;
    s->n_props = 0;
    replace(&s->id, job->id);
    if (job->comment)
        encode(job->comment, &comment);
    add_or_not(s, "comment", buf_str(&comment));
    if (job->disabled)
        section_set(s, "disable", NULL);
    section_set(s, "target", job->target);
    num_print_double(job->rate, rate);
    add_or_not(s, "rate", job->rate > 0 ? rate : NULL);
    add_or_not(s, "remove_job",
               job->remove == REMOVE_FULL    ? "full"
               : job->remove == REMOVE_LOCAL ? "local"
                                             : NULL);
    add_or_not(s, "schedule", job->schedule);
    add_or_not(s, "source", job->source);
    for (size_t i = 0; i < old.n_props; i++) {
        if (!known(old.props[i].key))
            section_set(s, old.props[i].key, old.props[i].bare ? NULL : old.props[i].value);
        free(old.props[i].key);
        free(old.props[i].value);
    }
    free(old.props);
    s->changed = true;
}

static int refuse_target(const struct job *job, struct err *e)
{
    return err_set(e, ERR_USAGE, 0,
                   "replication job for guest '%" PRIu32 "' to target 'local/%s' already exists", job->guest,
                   job->target);
}

int jobs_add(struct jobs *j, const struct job *job, struct err *e)
{
    if (jobs_find(j, job->id) || find_section(j, job->id))
        return err_set(e, ERR_USAGE, 0, "replication job '%s' already exists", job->id);
    if (target_taken(j, job, NULL))
        return refuse_target(job, e);
    j->v = xreallocarray(j->v, j->n + 1, sizeof *j->v);
    job_copy(&j->v[j->n++], job);
    write_section(section_add(&j->file, "local", job->id), job);
    qsort(j->v, j->n, sizeof *j->v, compare);
    return 0;
}

int jobs_changed(struct jobs *j, struct job *job, struct err *e)
{
    if (target_taken(j, job, job->id))
        return refuse_target(job, e);
    struct section *s = find_section(j, job->id);
    write_section(s ? s : section_add(&j->file, "local", job->id), job);
    struct err fault = {0};
    free(job->fault);
    job->fault = NULL;
    if (job->schedule && job_check_schedule(job->schedule, &fault) < 0)
        job->fault = xasprintf("invalid schedule '%s': %s", job->schedule, fault.text);
    return 0;
}

void jobs_remove(struct jobs *j, const char *id)
{
    for (struct section *s; (s = find_section(j, id));)
        section_remove(&j->file, (size_t)(s - j->file.sections));
    struct job *job = jobs_find(j, id);
    if (!job)
        return;
    size_t i = (size_t)(job - j->v);
    job_release(job);
    memmove(j->v + i, j->v + i + 1, (j->n - i - 1) * sizeof *j->v);
    j->n--;
}

/* ---- the owner changed ---- */

bool jobs_repair_source(struct jobs *j, uint32_t guest, const char *node)
{
    bool changed = false;
    for (size_t i = 0; i < j->n; i++) {
        struct job *job = &j->v[i];
        if (job->guest != guest || (job->source && strcmp(job->source, node) == 0))
            continue;
        if (job->source && strcmp(job->target, node) == 0)
            replace(&job->target, job->source);
        replace(&job->source, node);
        struct section *s = find_section(j, job->id);
        if (s)
            write_section(s, job);
        changed = true;
    }
    return changed;
}

void jobs_switch_direction(struct jobs *j, uint32_t guest, const char *node, const char *target)
{
    for (size_t i = 0; i < j->n; i++) {
        struct job *job = &j->v[i];
        if (job->guest != guest)
            continue;
        if (strcmp(job->target, target) == 0)
            replace(&job->target, node);
        replace(&job->source, target);
        struct section *s = find_section(j, job->id);
        if (s)
            write_section(s, job);
    }
}
