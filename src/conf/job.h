/* Replication jobs: replication.cfg (BEHAVIOUR.md#job-file), and replication-ext.cfg beside it.
 *
 * A jobs object is the parsed file: change it through these functions, print it, write it under the cluster
 * lock (cluster/jobs.h does both). A section with a fault is reported in `warnings`, keeps its place in the
 * file, and is not among the jobs; where it tells the id, it is in `unread`. An invalid stored schedule keeps
 * the job, with `fault` saying why: it is shown, never run.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "base/strv.h"
#include "conf/jobid.h"
#include "conf/section.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum remove_mode { REMOVE_NOT, REMOVE_LOCAL, REMOVE_FULL };

struct job {
    char id[24]; /* canonical "100-0" */
    uint32_t guest, number;
    char *target;   /* node; never NULL */
    char *source;   /* node or NULL */
    char *schedule; /* NULL: CALENDAR_DEFAULT */
    char *comment;  /* decoded UTF-8, or NULL */
    double rate;    /* MB/s (10^6 bytes); 0: unlimited */
    char *keep;     /* how many restore points the target keeps (conf/keep.h), as written; NULL: one */
    char *
        target_storage; /* which storages differ between the nodes (conf/storagemap.h), as written, or NULL */
    char *scrub_days;   /* in how many days pvesrd verifies the replica once, as written; NULL: the default */
    char *max_age; /* how old the newest restore point may be, as written ("2h"); NULL: by the schedule */
    char *unset;   /* those of the four before that a command took back, by commas, or NULL: that they are
                      missing is meant */
    bool disabled;
    bool unturned; /* its source and target are not in the file yet (cluster/jobs.h): fault says why */
    enum remove_mode remove;
    bool cut; /* its section ends replication-ext.cfg, in the midst of a line: `keep` may be what is left of
                 it */
    char *fault;    /* NULL, or why this job cannot run ("invalid schedule '…': why") */
    size_t section; /* private to jobs.c */
};

struct jobs {
    struct job *v; /* sorted: guest ascending, then id as a string */
    size_t n;
    char digest[41]; /* SHA-1 hex of the raw text, "" when the file is missing; as loaded (cluster/jobs.h), of
                        that and the text of replication-ext.cfg, where that has sections */
    int64_t written; /* epoch: since when the file is as it is; 0: unknown */
    uint64_t stamp;  /* another one when it was written, be it with the same text; 0: unknown */
    bool emptied;    /* the file has the line JOBS_NONE: that it names no job is meant so */
    bool bare;       /* replication-ext.cfg has nothing, and not the line JOBS_PLAIN, either */
    /* Jobs that cannot be read from their sections: target is "-", fault says why; id, guest, source,
     * schedule, disabled as far as they are known. Nobody may run, change or replace them, and nothing of
     * theirs is nobody's. In the order of the file. */
    struct job *unread;
    size_t n_unread;
    struct strv warnings;
    struct strv doubts; /* of jobs_parse_extras: what may be another job's or is not known, a sentence each */
    struct strv dropped;              /* of jobs_drop_extras: what was another job's, the same */
    struct strv turned;               /* ids of jobs that loading has just turned round (cluster/jobs.h) */
    struct section_file file, extras; /* private */
};

/* A comment, which is a line, with nothing behind it but what cluster/jobs.h writes: the last job was removed
 * by somebody who meant to. A file that was cut or emptied by mistake has it not. jobs_print knows nothing of
 * it (cluster/jobs.h writes it). */
#define JOBS_NONE "# no jobs"
#define JOBS_WHY ": the last one was removed"
bool jobs_says_none(const char *line, size_t len);
/* The same in replication-ext.cfg: no job has settings of its own any more. */
#define JOBS_PLAIN "# no settings"
bool jobs_says_plain(const char *line, size_t len);

/* text NULL: the file is missing. Never fails on content. */
void jobs_parse(const char *name, const char *text, size_t len, struct jobs *ret);
void jobs_release(struct jobs *j);
/* Is there none, not even one that cannot be read, and nothing says that it is meant so? */
bool jobs_may_be_lost(const struct jobs *j);
/* Unchanged sections byte for byte, the others by the rules of BEHAVIOUR.md#job-file. */
void jobs_print(const struct jobs *j, struct buf *out);

/* replication-ext.cfg, sections named as in replication.cfg: the properties that Proxmox VE does not know
 * (`keep`, `target-storage`, `scrub-days`, `max-age`). Called after jobs_parse; text NULL: the file is
 * missing. A bad value sets the job's fault; so does what looks like a section's header within another
 * section, of both jobs. A property that nobody here knows stays, and is a doubt. What is printed has the
 * sections of jobs that are gone too, or were removed and made anew (BEHAVIOUR.md#job-file), until they are
 * dropped; that brings their marks up to date as well (true when anything changed). The order of writing that
 * makes a crash harmless is in cluster/jobs.c.
 */
void jobs_parse_extras(struct jobs *j, const char *name, const char *text, size_t len);
void jobs_print_extras(const struct jobs *j, struct buf *out);
bool jobs_drop_extras(struct jobs *j);

/* The settings of replication-ext.cfg that the job has, "KEY VALUE" each, added to *ret. */
void job_settings_list(const struct job *job, struct strv *ret);
/* Why the job has no more a setting of replication-ext.cfg that it had, where nobody said so: no command took
 * it back (job.unset), the job was not made anew, and the file does not say that no job has any. A sentence
 * about the file, malloc'ed; NULL: that is meant. */
char *jobs_setting_lost(const struct jobs *j, const struct job *job, const char *key);
/* What else its section has, which this version does not know: "'NAME', …", malloc'ed; NULL: nothing. */
char *jobs_unknown_settings(const struct jobs *j, const struct job *job);
/* That these are missing is meant from now on, until they are set; jobs_changed writes it. Other keys are
 * left out. */
void job_settings_unset(struct job *job, const struct strv *keys);

/* NULL: none. Pointers to jobs are valid until jobs_add or jobs_remove. */
struct job *jobs_find(struct jobs *j, const char *id);
/* Why that was NULL: ERR_GONE "no such WHAT 'ID'", or what is wrong with its section. Returns -1. */
int jobs_no_such(const struct jobs *j, const char *what, const char *id, struct err *e);

/* The jobs of one guest are v[first] to v[end - 1]. */
size_t jobs_of_guest(const struct jobs *j, uint32_t guest, size_t *end);

/* Add a copy of *job (guest and number follow from its id): ERR_USAGE when a value is bad ("schedule: why"),
 * the id is taken, if only by a faulty section, or the guest has a job to that target
 * (BEHAVIOUR.md#changing-jobs). */
int jobs_add(struct jobs *j, const struct job *job, struct err *e);
/* After changing the fields of a job found in j (the strings are malloc'ed), bring the file and job->fault in
 * line. The values that changed and the target's uniqueness are checked; on failure the file is as before,
 * and the caller gives j up. */
int jobs_changed(struct jobs *j, struct job *job, struct err *e);
/* Every section of this id, faulty and overridden ones included. Nothing happens when there is none. */
void jobs_remove(struct jobs *j, const char *id);

/* Stolen-guest repair for one guest now on `node` (BEHAVIOUR.md#turning-jobs-round): true when anything
 * changed. Here and in the switch, a target that another job of the guest has already is not set a second
 * time. */
bool jobs_repair_source(struct jobs *j, uint32_t guest, const char *node);
/* Direction switch of a migration from `node` to `target` (BEHAVIOUR.md#migration). */
void jobs_switch_direction(struct jobs *j, uint32_t guest, const char *node, const char *target);

void job_release(struct job *job);
void job_copy(struct job *to, const struct job *from);

/* Value checks shared by file, command line and API; ERR_USAGE, the sentence is only the reason. */
int job_check_schedule(const char *text, struct err *e);
int job_check_rate(const char *text, double *ret, struct err *e);
int job_check_keep(const char *text, struct err *e);
int job_check_scrub_days(const char *text, struct err *e);
/* 0: never. */
#define SCRUB_DAYS_DEFAULT "30"
int64_t job_scrub_days(const struct job *job);
/* "90", "90s", "15m", "2h", "3d": at least a second, at most 3650 days. */
int job_check_max_age(const char *text, struct err *e);
/* Seconds; 0: by the schedule. */
int64_t job_max_age(const struct job *job);
int job_check_target_storage(const char *text, struct err *e);
int job_check_comment(const char *text, struct err *e);
int node_name_check(const char *text, struct err *e);
