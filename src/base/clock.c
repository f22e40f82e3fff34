#include "base/clock.h"

#include <string.h>
#include <time.h>

int64_t clock_epoch(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return t.tv_sec;
}

int64_t clock_next_second(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    nanosleep(&(struct timespec){0, 1000000000 - now.tv_nsec}, NULL);
    return clock_epoch();
}

static double seconds_of(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

double clock_mono(void)
{
    return seconds_of(CLOCK_MONOTONIC);
}

double clock_boot(void)
{
    return seconds_of(CLOCK_BOOTTIME);
}

static void print(int64_t epoch, char between, char out[32])
{
    struct tm tm;
    time_t t = epoch;
    if (!localtime_r(&t, &tm) || strftime(out, 32, "%Y-%m-%d %H:%M:%S", &tm) == 0)
        out[0] = 0;
    else
        strchr(out, ' ')[0] = between; /* years may have five digits */
}

void clock_print_log(int64_t epoch, char out[32])
{
    print(epoch, ' ', out);
}

void clock_print_status(int64_t epoch, char out[32])
{
    print(epoch, '_', out);
}
