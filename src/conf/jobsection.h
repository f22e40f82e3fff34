/* One job and its section of replication.cfg (spec 2.1); the whole file is jobs.c. */
#pragma once

#include "conf/job.h"

/* "100-0" with leading zeros allowed, as in the file's headers; false when it is not of that form. The guest
 * may be below 100. */
bool job_id_read(const char *text, struct job_id *ret);
void job_id_print(struct job_id id, char out[24]);

/* The properties into *ret, all but id, guest and number; a bad one is left out with a warning (warnings
 * NULL: silently). Without a good target, ret->target is NULL. */
void job_from_section(const struct section *s, const char *file, struct strv *warnings, struct job *ret);

/* Bring the section in line with the job: what already says the same stays as it is, so that a section
 * without a difference is not changed. Written in the described order, unknown properties kept. */
void job_to_section(const struct job *job, struct section *s);

/* job->fault anew from its schedule. */
void job_judge(struct job *job);

/* Every value that differs from `old` is one that the file can hold; ERR_USAGE "NAME: reason". */
int job_check(const struct job *job, const struct job *old, struct err *e);
