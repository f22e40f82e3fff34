/* A rate limit: sleeps so that bytes leave at no more than `rate` bytes a second on average over a second or
 * more. A pause is not made up for later by more than one second's worth. */
#pragma once

#include <stdint.h>

struct rate {
    double bytes_per_second; /* 0: unlimited */
    double next;             /* clock_mono when the next byte may go */
};

void rate_init(struct rate *r, double bytes_per_second);
/* Account for n bytes and sleep as needed (at most one second at a time, returning the seconds still to wait
 * so that the caller can keep its peer awake and call again with n = 0). */
double rate_wait(struct rate *r, uint64_t n);
