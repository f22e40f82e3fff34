/* A rate limit: sleeps so that bytes leave at no more than `rate` bytes a second. There is no burst at the
 * start, and a pause is made up for later by at most a quarter of a second's worth, so that any ten seconds
 * carry at most 2.5 % more, and a steady sender 10 s worth within 1 %. */
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
