/* One job and its section of replication.cfg (BEHAVIOUR.md#job-file); the whole file is jobs.c. jobs.c calls
 * job.c, that jobext.c, all of them jobid.c. */
#pragma once

#include "base/lookup.h"
#include "conf/job.h"

/* The properties into *ret, all but id, guest and number; a bad one is left out with a warning (warnings
 * NULL: silently). Without a good target, ret->target is NULL. */
void job_from_section(const struct section *s, const char *file, struct strv *warnings, struct job *ret);

/* Bring the section in line with the job: what already says the same stays as it is, so that a section
 * without a difference is not changed. Written in the described order, unknown properties kept. */
void job_to_section(const struct job *job, struct section *s);

/* job->fault anew from its schedule and the properties of replication-ext.cfg. */
void job_judge(struct job *job);

/* Every value that differs from `old` is one that the file can hold; ERR_USAGE "NAME: reason". */
int job_check(const struct job *job, const struct job *old, struct err *e);

/* ---- jobext.c: the properties that Proxmox VE does not know ---- */

void job_extras_release(struct job *job);
void job_extras_copy(struct job *to, const struct job *from);
int job_extras_check(const struct job *job, const struct job *old, struct err *e); /* as job_check */
char *job_extras_fault(const struct job *job); /* why it cannot run, or NULL; malloc'ed */
/* s NULL: it has none. */
void job_extras_load(struct job *job, const struct section *s);
/* Each job's id as we print it → the number of its section, the last one of its id; of either file. */
void job_sections_index(const struct section_file *f, struct lookup *ret);
/* The job's section of replication-ext.cfg, the last one of its id; NULL: none. */
struct section *job_extras_section(struct section_file *f, const char *id);
/* fresh: what the file says of this id is of an older job. */
void job_extras_store(const struct job *job, struct section_file *f, bool fresh);

/* ---- jobmark.c: of which job they are, what of them is missing, and whether somebody said so ---- */

#define JOB_MARK "mark"
/* The section of the job's properties gets the mark of the job, which stands in f; false: it has it already.
 */
bool job_mark_set(const struct section_file *f, const struct job *job, struct section *extras);
/* Are they this job's? sections: job_sections_index of replication.cfg. */
enum job_mark {
    MARK_FITS,
    MARK_DOUBTED, /* made anew, or somebody moved sections of the file */
    MARK_FOREIGN
};
enum job_mark job_mark_judge(const struct lookup *sections, const struct job *job,
                             const struct section *extras);

#define JOB_UNSET "unset"
/* job->unset, for a job that had the settings of `old` and now has its own: what went is meant. */
void job_unset_renew(struct job *job, const struct job *old);
/* Of a job that is new, whatever the one before it had: all that it has not. */
void job_unset_all(struct job *job);
/* job_extras_store, with what it says of the others: in a file that said that no job has settings, their
 * sections say so from now on; where no section says anything else, the file does. */
void job_words_store(struct jobs *j, const struct job *job, bool fresh);
/* The names in its section that are no setting, by commas, malloc'ed; NULL: there is none. */
char *job_extras_unknown(const struct section *s);
bool job_extras_knows(const char *key);
/* Headers that are none, within sections of extras: their jobs, and those in whose sections they stand, get a
 * fault. */
void job_extras_judge_lost(struct jobs *j);
