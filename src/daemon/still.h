/* Runs that stand still: their process has not run at all from one look to the next, five minutes later. What
 * is at work is woken many times a second, also by a rate, and by a peer that only says that it lives: this
 * one waits for the kernel (a disk that does not answer, a dead server), which no signal ends, or is stopped.
 *
 * The queue gives its place to others (state/slots.h). One of ours that is stopped is killed, so that its job
 * goes on; another one may be somebody's who stopped it on purpose. */
#pragma once

#include "sched/queue.h"

#include <systemd/sd-event.h>

struct runs;

struct still {
    struct still_run *v; /* as they were at the last look */
    size_t n;
    sd_event_source *timer; /* one shot; NULL: there was no run */
};

/* A run is under way: there will be a look. */
void still_expect(struct runs *r);
void still_release(struct still *s);
