#include "state/doubt.h"

#include "base/clock.h"

#include <inttypes.h>

#define DAY 86400

static int64_t since(const struct job_state *s)
{
    return s->verified > s->verify_since ? s->verified : s->verify_since;
}

enum doubt job_doubt(const struct job_state *s, int64_t scrub_days, int64_t now)
{
    int64_t begins = since(s);
    if (s->gone)
        return DOUBT_GONE;
    if (job_state_differs(s))
        return DOUBT_DIFFERS;
    if (!scrub_days)
        return DOUBT_NONE;
    if (s->verify_fails >= JOB_VERIFY_FAILS)
        return DOUBT_FAILS;
    return begins > 0 && now - begins > JOB_VERIFY_PERIODS * scrub_days * DAY ? DOUBT_LATE : DOUBT_NONE;
}

static char *late_text(const struct job_state *s, int64_t scrub_days)
{
    char when[32];
    clock_print_log(since(s), when);
    return xasprintf("its replica was not verified since %s, and is to be within %" PRId64
                     " days: see 'pvesr history'%s%s",
                     when, scrub_days, s->verify_error ? "; the last part failed: " : "",
                     s->verify_error ? s->verify_error : "");
}

char *job_doubt_text(enum doubt d, const struct job_state *s, const char *target, int64_t scrub_days)
{
    switch (d) {
    case DOUBT_GONE:
        return xasprintf("GONE on %s: %s (the next run sends it anew)", target, s->gone);
    case DOUBT_DIFFERS:
        return xasprintf("DIFFERS on %s: %s (the next run sends it anew)", target, job_state_differs(s));
    case DOUBT_FAILS:
        return xasprintf("its replica cannot be verified, %" PRId64 " times in a row: %s", s->verify_fails,
                         s->verify_error ? s->verify_error : "see 'pvesr history'");
    case DOUBT_LATE:
        return late_text(s, scrub_days);
    default:
        return NULL;
    }
}

const char *job_doubt_name(enum doubt d)
{
    static const char *const names[] = {"", "gone", "differs", "fails", "late"};
    return names[d];
}
