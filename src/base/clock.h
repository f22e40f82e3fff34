/* The two clocks. Durations and deadlines use the monotonic one, so that a clock step cannot hurt them. */
#pragma once

#include <stdint.h>

int64_t clock_epoch(void); /* seconds since 1970, UTC */
double clock_boot(void);   /* the same, and goes on while the machine is suspended */
double clock_mono(void);   /* seconds since an arbitrary moment, never goes back */
/* Sleep until the next full second of the wall clock, and return it. */
int64_t clock_next_second(void);
/* Local time: "2026-01-01 00:15:03" for logs, "2026-01-01_00:15:03" for `pvesr status`. */
void clock_print_log(int64_t epoch, char out[32]);
void clock_print_status(int64_t epoch, char out[32]);
