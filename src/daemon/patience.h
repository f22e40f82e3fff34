/* A child that does nothing at all, stopped or waiting for a disk that does not answer, is noticed. */
#pragma once

#include <sys/types.h>
#include <systemd/sd-event.h>

struct patience;

/* `ran_out` is called once, when `pid` has not had the processor for so many seconds. NULL: nobody looks. */
struct patience *patience_begin(sd_event *event, pid_t pid, double seconds, void (*ran_out)(void *arg),
                                void *arg);
void patience_end(struct patience *p);
