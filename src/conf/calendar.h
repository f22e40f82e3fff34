/* Calendar events: when a job is due (BEHAVIOUR.md#calendar-events, BEHAVIOUR.md#next-event). Differences on
 * purpose: "*" "/0" and "*" "/00" are accepted and mean the field's first value (minute 0 of every hour).
 *
 * Parse, normalise, validate, print: calendar_print gives the canonical text, and parsing that text gives an
 * equal event. Times are the process's local time ($TZ) unless the event ends in "UTC".
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

#define CALENDAR_TEXT_MAX 128
#define CALENDAR_DEFAULT "*/15"

struct calendar; /* opaque, immutable */

/* NULL and ERR_USAGE "invalid calendar event '…': why and where" */
struct calendar *calendar_parse(const char *text, struct err *e);
void calendar_free(struct calendar *c);
static inline void calendar_freep(struct calendar **c)
{
    calendar_free(*c);
}
void calendar_print(const struct calendar *c, struct buf *out);
/* The same event in words that Proxmox VE's tool reads, too, which drops a job's schedule with a "*" "/0" and
 * runs it each 15 minutes: the field's first value in its place ("*:00" for minute 0 of every hour), all else
 * as it was typed. Malloc'ed, never longer; what is no event comes as it is. */
char *calendar_portable(const char *text);
bool calendar_equal(const struct calendar *a, const struct calendar *b);

/* The smallest matching second > last into *ret: true; false when there is none ("never"). Bounded work. */
bool calendar_next(const struct calendar *c, int64_t last, int64_t *ret);
