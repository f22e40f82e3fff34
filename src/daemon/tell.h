/* Who is told what (BEHAVIOUR.md#notifications). What was told is remembered on disk, so that
 * it is told once, also by the next daemon.
 *
 * Events are collected while one event of the loop is handled, or, behind many of them, for the rest of a
 * minute, and go to the spool together: many of a kind as one, and however many there are, what was told is
 * written once. */
#pragma once

#include "daemon/targets.h"
#include "sched/queue.h"

#include <systemd/sd-event.h>

struct daemon;

struct tell {
    struct notify_targets targets;
    struct targets_text text; /* as they were parsed */
    json_t *told;    /* by job: "failing", "overdue": since when; "stuck": why; "kept": names; "doubt": which.
                        NULL:    not read */
    bool changed;    /* `told`, since it was written */
    bool looked;     /* at the states, for the first time */
    json_t *pending; /* events (notify/event.h), NULL: none */
    sd_event_source *flush; /* one shot: it is on while there are any, or told was changed */
    double minute;          /* monotonic: when the present one began… */
    size_t events;          /* …how many went to the spool since… */
    bool gathers;           /* …and there were many in the one before it */
};

/* The targets as they are now. */
void tell_load(struct daemon *d);
/* False: there is none, or no target in it that is not turned off; mails are sent as ever. */
bool tell_is_on(const struct daemon *d);
void tell_failure(struct daemon *d, const struct queue_job *j);
void tell_overdue(struct daemon *d, const struct queue_job *j, int64_t now);
void tell_paused(struct daemon *d, int64_t now);
/* The states were read: who works again, what is kept aside, what cannot run. */
void tell_look(struct daemon *d, int64_t now);
/* What is pending goes to the spool. */
void tell_release(struct daemon *d);
