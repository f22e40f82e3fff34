#include "wire/rate.h"

#include "base/clock.h"

#include <time.h>

/* What a pause may be made up for, in seconds: small, so that ten seconds stay within 5 %. */
#define CREDIT 0.25
#define SLEEP_MAX 1.0

void rate_init(struct rate *r, double bytes_per_second)
{
    *r = (struct rate){.bytes_per_second = bytes_per_second, .next = clock_mono()};
}

double rate_wait(struct rate *r, uint64_t n)
{
    if (r->bytes_per_second <= 0)
        return 0;
    double now = clock_mono();
    if (r->next < now - CREDIT)
        r->next = now - CREDIT;
    r->next += (double)n / r->bytes_per_second;
    double left = r->next - now;
    if (left <= 0)
        return 0;
    double pause = left < SLEEP_MAX ? left : SLEEP_MAX;
    struct timespec t = {(time_t)pause, (long)((pause - (double)(time_t)pause) * 1e9)};
    nanosleep(&t, NULL); /* a signal only makes it shorter: what is left is computed anew */
    left = r->next - clock_mono();
    return left > 0 ? left : 0;
}
