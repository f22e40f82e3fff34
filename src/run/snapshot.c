#include "run/snapshot.h"

#include "base/clock.h"
#include "base/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define PREFIX "__replicate_"

/* "__replicate_100-0_1700000000__" → *job points at "100-0", its length, and the epoch. */
static bool split_name(const char *name, const char **job, size_t *job_len, int64_t *epoch)
{
    if (strncmp(name, PREFIX, strlen(PREFIX)) != 0)
        return false;
    *job = name + strlen(PREFIX);
    *job_len = strcspn(*job, "_");
    const char *digits = *job + *job_len;
    if (*digits++ != '_')
        return false;
    size_t n = strspn(digits, "0123456789");
    if (n == 0 || n > 18 || strcmp(digits + n, "__") != 0)
        return false;
    *epoch = strtoll(digits, NULL, 10);
    return true;
}

bool snapshot_is_of_job(const char *name, const char *job_id)
{
    const char *job;
    size_t len;
    int64_t epoch;
    return split_name(name, &job, &len, &epoch) && strlen(job_id) == len && memcmp(job, job_id, len) == 0;
}

bool snapshot_is_of_guest(const char *name, uint32_t guest)
{
    const char *job;
    size_t len;
    int64_t epoch;
    char want[24];
    int n = snprintf(want, sizeof want, "%" PRIu32 "-", guest);
    return split_name(name, &job, &len, &epoch) && len > (size_t)n && memcmp(job, want, (size_t)n) == 0;
}

int64_t snapshot_epoch(const char *name)
{
    const char *job;
    size_t len;
    int64_t epoch;
    return split_name(name, &job, &len, &epoch) ? epoch : 0;
}

void snapshot_job(const char *name, char out[24])
{
    const char *job;
    size_t len;
    int64_t epoch;
    out[0] = 0;
    if (split_name(name, &job, &len, &epoch) && len < 24)
        snprintf(out, 24, "%.*s", (int)len, job);
}

char *snapshot_damaged_text(const struct snapshot *s, const char *volid)
{
    char since[32];
    clock_print_log(s->damaged, since);
    return xasprintf("restore point '%s'%s%s%s was found on %s to be another than what the guest had",
                     s->name, volid ? " of '" : "", volid ? volid : "", volid ? "'" : "", since);
}

void aside_name(const char *from, unsigned n, char to[SNAPSHOT_NAME_MAX + 1])
{
    const char *job, *end = from + strlen(from), *core = from;
    size_t len;
    int64_t epoch;
    char number[12] = "";
    if (split_name(from, &job, &len, &epoch)) {
        core = job;
        end -= 2;
    }
    if (n > 1)
        snprintf(number, sizeof number, "_%u", n);
    int room = (int)(SNAPSHOT_NAME_MAX + 1 - sizeof ASIDE_PREFIX - strlen(number));
    snprintf(to, SNAPSHOT_NAME_MAX + 1, ASIDE_PREFIX "%.*s%s",
             (int)(end - core) < room ? (int)(end - core) : room, core, number);
}
