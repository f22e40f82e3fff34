/* How many lines of what strangers cause the log gets: OFTEN_LINES in OFTEN_SECONDS; what is more is counted.
 * Start with zeroes. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define OFTEN_LINES 30
#define OFTEN_SECONDS 60

struct often {
    int64_t since;
    unsigned said, held;
};

/* May a line be written at `now` (seconds of a clock that does not go back)? *held: so many were not lately,
 * which is to be said now; mostly 0. */
bool often_may(struct often *o, int64_t now, unsigned *held);
/* The same without a line: for whom nothing comes any more. */
unsigned often_over(struct often *o, int64_t now);
