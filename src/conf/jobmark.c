/* Of which job a section of replication-ext.cfg is: `mark TARGET SOURCE NEXT`, NEXT the job whose section was
 * the next one in replication.cfg, "-" where there was none. A tool that does not know replication-ext.cfg
 * may have removed the job and made another of its id since. It appends that one: what stood behind the
 * former stands before it then. A job's target is never edited; when the guest moves, the former source
 * becomes the target. */
#include "conf/jobsection.h"

#include "base/mem.h"

#include <string.h>

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
