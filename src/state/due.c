#include "state/due.h"

#include "base/mem.h"
#include "conf/calendar.h"

#define OVERDUE_EVENTS 3
#define OVERDUE_LEAST 300
#define OVERDUE_EVENTLESS 86400

int64_t job_retry_delay(int64_t fail_count)
{
    return fail_count < 1 ? 0 : fail_count <= 3 ? 300 * fail_count : 1800;
}

static bool is_to_come(int64_t time, int64_t now)
{
    return time > now + JOB_CLOCK_SLACK;
}

bool job_sync_is_to_come(const struct job_state *state, int64_t now)
{
    return is_to_come(state->last_sync, now);
}

static int64_t retry_at(const struct job_state *state, int64_t now)
{
    int64_t at;
    if (is_to_come(state->last_try, now))
        return 1;
    return __builtin_add_overflow(state->last_try, job_retry_delay(state->fail_count), &at) ? 0 : at;
}

static struct calendar *schedule_of(const struct job *job)
{
    struct err ignored = {0};
    return calendar_parse(job->schedule ? job->schedule : CALENDAR_DEFAULT, &ignored);
}

int64_t job_next_sync(const struct job *job, const struct job_state *state, bool target_online, int64_t now)
{
    bool failed = state->fail_count > 0;
    if (job->remove != REMOVE_NOT)
        return failed ? retry_at(state, now) : 1;
    if (job->fault)
        return 0;
    if (failed)
        return target_online ? retry_at(state, now) : 0;
    if ((state->exists && state->last_try == 0) || is_to_come(state->last_try, now))
        return 1;
    int64_t next;
    _cleanup_(calendar_freep) struct calendar *schedule = schedule_of(job);
    return schedule && calendar_next(schedule, state->last_try, &next) ? next : 0;
}

int64_t job_age_begins(const struct job_state *state, int64_t known, int64_t now)
{
    if (state->last_sync > 0 && !job_sync_is_to_come(state, now))
        return state->last_sync;
    return state->last_sync > 0 && known > now ? 0 : known;
}

int64_t job_overdue_at(const struct job *job, const struct job_state *state, int64_t known, int64_t now)
{
    int64_t newest = job_age_begins(state, known, now), age = job_max_age(job), at = newest;
    if (job->remove != REMOVE_NOT)
        return 0;
    if (newest <= 0)
        return known > now && job_sync_is_to_come(state, now) ? now : 0;
    if (age)
        return newest + age;
    _cleanup_(calendar_freep) struct calendar *schedule = schedule_of(job);
    for (int i = 0; i < OVERDUE_EVENTS; i++)
        if (!schedule || !calendar_next(schedule, at, &at))
            return at + OVERDUE_EVENTLESS;
    return at < newest + OVERDUE_LEAST ? newest + OVERDUE_LEAST : at;
}

bool job_reports(int64_t fail_count)
{
    if (fail_count < 48)
        return fail_count >= 1 && fail_count <= 3;
    return fail_count % 48 == 0 && (fail_count / 48 & (fail_count / 48 - 1)) == 0;
}
