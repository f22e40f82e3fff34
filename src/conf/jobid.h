/* The id of a job: "100-0", its guest and a number. */
#pragma once

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

#define JOB_GUEST_MIN 100 /* those below are reserved */

struct job_id {
    uint32_t guest;  /* 100..999999999 */
    uint32_t number; /* 0..999999999 */
};

/* "100-0" in canonical form only (BEHAVIOUR.md#job-id; "100-00" is refused): ERR_USAGE with the described
 * texts. */
int job_id_parse(const char *text, struct job_id *ret, struct err *e);

/* With leading zeros allowed, as in the files' headers; false when it is not of that form. The guest may be
 * below 100. */
bool job_id_read(const char *text, struct job_id *ret);
void job_id_print(struct job_id id, char out[24]);
