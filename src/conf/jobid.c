#include "conf/jobid.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A number of at most nine digits after leading zeros; the end of it, or NULL. */
static const char *read_number(const char *s, uint32_t *ret)
{
    size_t zeros = strspn(s, "0"), digits = strspn(s + zeros, "0123456789");
    if (zeros + digits == 0 || digits > 9)
        return NULL;
    *ret = (uint32_t)strtoul(s, NULL, 10);
    return s + zeros + digits;
}

bool job_id_read(const char *text, struct job_id *ret)
{
    const char *s = read_number(text, &ret->guest);
    if (!s || *s != '-')
        return false;
    s = read_number(s + 1, &ret->number);
    return s && !*s;
}

void job_id_print(struct job_id id, char out[24])
{
    snprintf(out, 24, "%" PRIu32 "-%" PRIu32, id.guest, id.number);
}

int job_id_parse(const char *text, struct job_id *ret, struct err *e)
{
    struct job_id id;
    char canonical[24];
    if (!job_id_read(text, &id))
        return err_set(e, ERR_USAGE, 0,
                       "value does not match the regex pattern: '%s' is not GUEST-NUMBER, as in 100-0", text);
    if (id.guest < JOB_GUEST_MIN)
        return err_set(e, ERR_USAGE, 0, "invalid replication job id '%s' (guest IDs < 100 are reserved)",
                       text);
    job_id_print(id, canonical);
    if (strcmp(canonical, text) != 0)
        return err_set(e, ERR_USAGE, 0, "value does not match the regex pattern: write '%s' as '%s'", text,
                       canonical);
    *ret = id;
    return 0;
}
